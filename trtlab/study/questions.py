"""study/questions: the bank of interview questions; what older answers say and what to say now; the words of the field.

In: words/questions, words/calls, words/terms. Out: frozen `Question`s, checked while they are read: every field is
there, a spoken answer fits into 60 seconds, names have their form; `Call`s, with NVIDIA's headers as witness; `Term`s.
teach/saycard and teach/machine draw them.
"""

import enum
import functools
import re
from dataclasses import dataclass

from trtlab.study import bank
from trtlab.study.bank import MISSING, Words

SPOKEN = {"en": (range(100, 161), "words"), "zh": (range(160, 341), "characters")}
"""What takes about 60 seconds aloud; of Chinese, a Latin word or number counts as two characters."""
NAME = re.compile(r"Q\d+-\d\d")
PROOF = re.compile(r"C\d\d")
_CHINESE_OR_WORD = re.compile(r"[\u4e00-\u9fff]|[A-Za-z0-9_.]+")


class Level(enum.Enum):
    """Whom an interviewer asks this."""

    JUNIOR = "junior"
    MID = "mid"
    SENIOR = "senior"


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """What the interviewer asks next, and a short answer."""

    question: Words
    answer: Words


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What candidates often say, and why it is wrong."""

    said: Words
    why: Words


@dataclass(frozen=True, kw_only=True)
class Change:
    """One row of said then / say now: what was right for TensorRT 8 and 10, and what is right for 11 and RTX 1.7."""

    topic: Words
    trt8: Words
    trt10: Words
    now: Words


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question with everything a learner says about it; all but the answer may wait. `proofs` name claims."""

    name: str
    topic: str
    level: Level
    question: Words
    answer: Words
    follow_ups: tuple[FollowUp, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    changes: tuple[Change, ...] = ()
    sources: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, form, such in ((self.name, NAME, "Q3-01"), *((proof, PROOF, "C74") for proof in self.proofs)):
            if not form.fullmatch(name):
                raise ValueError(f"found {name!r}; expected a name such as {such}")
        for language, (allowed, unit) in SPOKEN.items():
            size = spoken_size(self.answer[language], language)
            if size not in allowed and MISSING[language] not in self.answer[language]:
                expected = f"{allowed.start} to {allowed.stop - 1}, about 60 seconds aloud"
                raise ValueError(f"answer.{language}: {size} {unit}; expected {expected}")


@functools.cache
def questions() -> dict[str, Question]:
    """Every question of the bank by name, in order. BadEntry when a file breaks the schema."""
    return dict(sorted(bank.read("questions", Question).items()))


def question(name: str) -> Question:
    """The question of that name, such as "Q3-01", or of one's own: a text of several lines as in words/questions.

    UnknownEntry names the close ones, BadEntry what a text lacks.
    """
    if "\n" in name:
        return next(iter(bank.entries_in(name, "your text", Question).values()))
    return bank.find(questions(), str(name).upper(), "question")


def spoken_size(text: str, language: str) -> int:
    """How many words a speaker of English says, or how many characters, about, a speaker of Chinese."""
    if language == "en":
        return len(text.split())
    return sum(1 if len(found) == 1 and found >= "一" else 2 for found in _CHINESE_OR_WORD.findall(text))


# --- calls and words --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Call:
    """`name` is what is said; `header` its name in NVIDIA's headers (recorded per release), or a header file; `python`
    the `Class.name` to look for in the installed module; `now` what replaces it, `python_now` where that is found."""

    name: str
    header: str
    now: Words
    python_now: str
    python: str | None = None


CALLS = tuple(bank.read("calls", Call).values())


@dataclass(frozen=True, kw_only=True)
class Term:
    """A word of the field, and what it means here."""

    name: str
    means: Words


def terms() -> dict[str, Term]:
    """The glossary, by word."""
    return bank.read("terms", Term)
