"""study/questions: the bank of interview questions; what older answers say and what to say now; the words of the field.

In: words/questions, words/calls, words/terms. Out: frozen `Question`s, `Call`s, with NVIDIA's headers as witness, and
`Term`s. teach/saycard and teach/machine draw them; the tests see that an answer takes about 60 seconds aloud.
"""

import enum
import functools
import re
from dataclasses import dataclass

from trtlab.study import bank
from trtlab.study.bank import Words

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


@functools.cache
def questions() -> dict[str, Question]:
    """Every question of the bank by name, in order. BadEntry when a file breaks the schema."""
    return dict(sorted(bank.read("questions", Question).items()))


def question(name: str) -> Question:
    """The question of that name, such as "Q3-01", or of one's own: a text of several lines as in words/questions.

    UnknownEntry names the close ones, BadEntry what a text lacks.
    """
    if "\n" in (name := str(name)):
        return bank.only_entry(name, Question)
    return bank.find(questions(), name.upper(), "question")


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
