"""study/quizbase: what the kinds of quizzes share: truth, options, marks, results, and the checks of a quiz's shape.

In: values of a quiz's author. Out: frozen values; a malformed quiz raises `QuizError` when it is made, not when a
learner meets it. The four kinds are in study/quiz.py.
"""

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trtlab.engine.measure import Provenance


class QuizError(ValueError):
    """A quiz that is not well formed: which one, what is wrong, and what was expected."""


class Verdict(enum.Enum):
    """What a mark says about one option, step or value."""

    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What was found: `value` is the answer, `evidence` one sentence about where it was seen."""

    value: Any
    evidence: str
    provenance: "Provenance"


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something to tick. `why` explains it: why it is right, or why it tempts and is wrong."""

    key: str
    text: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to put in order. `why` says what it needs of earlier steps; which those are, the truth says."""

    key: str
    text: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Slip:
    """A wrong number that people arrive at, and how."""

    value: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A verdict on one option, step or value: `key` names it, `text` is what the learner reads, `why` explains."""

    key: str
    text: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What grading found. `reply` is the reply as it was understood; `marks` are on what the learner chose."""

    quiz: str
    reply: Any
    correct: bool
    headline: str
    explanation: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quiz:
    """What the four kinds share. `explanation` is said once the answer is right. Backticks mark code."""

    name: str
    question: str
    explanation: str
    truth: Truth
    kind: ClassVar[str]
    asks: ClassVar[str]

    def __post_init__(self) -> None:
        for field in ("name", "question", "explanation"):
            self._expect(getattr(self, field).strip(), f"{field} is empty; write one")
        self._expect(self.truth.evidence.strip(), "the truth has no evidence; say where its value was seen")
        self._check()

    def grade(self, reply: Any) -> Result:
        """The result of a reply. Raises NotAnAnswer when there is nothing to grade."""
        raise NotImplementedError

    @property
    def answer(self) -> str:
        """The answer in words."""
        raise NotImplementedError

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        """Everything there is to say about the answer: each option, step or typical slip with its explanation."""
        raise NotImplementedError

    def _check(self) -> None:
        raise NotImplementedError

    def _expect(self, holds: object, wrong: str) -> None:
        if not holds:
            raise QuizError(f"quiz {self.name!r}: {wrong}")

    def _expect_distinct(self, items: Sequence[Option | Step]) -> None:
        self._expect(len(items) > 1, f"{len(items)} option(s); give at least two")
        for word, values in (("key", [i.key for i in items]), ("text", [_plain(i.text) for i in items])):
            twice = sorted({value for value in values if values.count(value) > 1})
            self._expect(not twice, f"duplicate option: {word} {', '.join(map(repr, twice))} appears twice")
        for item in items:
            self._expect(item.key.strip() and item.text.strip(), f"option {item.key!r} has no key or no text")

    def _right(self, headline: str, reply: Any, marks: tuple[Mark, ...] = ()) -> Result:
        return Result(
            quiz=self.name, reply=reply, correct=True, headline=headline, explanation=self.explanation, marks=marks
        )

    def _wrong(self, headline: str, reply: Any, explanation: str, marks: tuple[Mark, ...] = ()) -> Result:
        return Result(
            quiz=self.name, reply=reply, correct=False, headline=headline, explanation=explanation, marks=marks
        )


def seeded(name: str, key: str) -> str:
    """A sort key that shuffles, the same on every machine and in every year."""
    return hashlib.sha256(f"{name}/{key}".encode()).hexdigest()


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
