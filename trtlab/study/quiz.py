"""study/quiz: quizzes with options, to choose or to put in order, each with the grading of replies. Draws nothing.

In: words in two languages, options, and what a truth `Found`. Out: frozen quizzes whose shape was checked, and for each
reply a `Result`. Numbers are in study/number_quiz, the bank is study/quizzes. tests/study/test_quiz.py grades replies
to every quiz of the bank.
"""

import enum
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from trtlab.study.bank import Words, said
from trtlab.study.found import Found


class QuizError(ValueError):
    """A quiz that is not well formed: which one, what is wrong, and what was expected."""


class NotAnAnswer(ValueError):
    """A reply that cannot be graded. It says what was expected, in `words`, and counts as no attempt."""

    def __init__(self, phrase: str, **facts: Any) -> None:
        self.words = said(phrase, **facts)
        super().__init__(self.words.en)


class Verdict(enum.Enum):
    """What a mark says about one option or value."""

    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something to tick or to put in order. `why`: why it is right, why it tempts and is wrong, or what it needs."""

    key: str
    text: Words
    why: Words | None = None


@dataclass(frozen=True, kw_only=True)
class Slip:
    """A wrong number that people arrive at, and how. In the bank `value` may be the name of a fact of the truth."""

    value: Any
    why: Words


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A verdict on one option or value: `key` names it, `text` is what the learner reads, `why` explains."""

    key: str
    text: Words
    verdict: Verdict
    why: Words | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What grading found. `reply` is the reply as it was understood; `marks` are on what the learner chose."""

    quiz: str
    reply: Any
    correct: bool
    headline: Words
    explanation: Words
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quiz:
    """What the four kinds share. `explanation` is said once the answer is right, `evidence` where it was seen.

    A malformed quiz raises QuizError when it is made, not when a learner meets it.
    """

    name: str
    question: Words
    explanation: Words
    evidence: Words
    truth: Found
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        for field in ("question", "explanation", "evidence"):
            words = getattr(self, field)
            self._expect(words.en.strip() and words.zh.strip(), f"{field} is empty; write one in both languages")
        self._check()

    def grade(self, reply: Any) -> Result:
        """The result of a reply. Raises NotAnAnswer when there is nothing to grade."""
        raise NotImplementedError

    @property
    def shown(self) -> tuple[Option, ...]:
        """The options in the order in which every form of this quiz shows them; none of a number."""
        return ()

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        """Everything there is to say about the answer: each option or typical slip with its explanation."""
        raise NotImplementedError

    def _check(self) -> None:
        raise NotImplementedError

    def _expect(self, holds: object, wrong: str) -> None:
        if not holds:
            raise QuizError(f"quiz {self.name!r}: {wrong}")

    def _result(self, reply: Any, headline: Words, marks: Sequence[Mark] = (), wrong: Words | None = None) -> Result:
        """The result of a reply that is right, unless it is explained why it is `wrong`."""
        explained = wrong or self.explanation
        return Result(
            quiz=self.name, reply=reply, correct=not wrong, headline=headline, explanation=explained, marks=tuple(marks)
        )


@dataclass(frozen=True, kw_only=True)
class _Options(Quiz):
    """A quiz with options."""

    options: tuple[Option, ...]

    def _check(self) -> None:
        self._expect(len(self.options) > 1, f"{len(self.options)} option(s); give at least two")
        for word, values in (("key", self._keys), ("text", [o.text.en.casefold() for o in self.options])):
            twice = sorted({value for value in values if values.count(value) > 1})
            self._expect(not twice, f"duplicate option: {word} {', '.join(map(repr, twice))} appears twice")
        self._check_answer()

    def _check_answer(self) -> None:
        raise NotImplementedError

    @property
    def _keys(self) -> list[str]:
        return [option.key for option in self.options]

    @property
    def shown(self) -> tuple[Option, ...]:
        """Shuffled the same way on every machine and in every year."""
        return tuple(sorted(self.options, key=lambda o: hashlib.sha256(f"{self.name}/{o.key}".encode()).hexdigest()))

    def _pick(self, key: Any) -> Option:
        for option in self.options:
            if key in (option.key, option.text.en, option.text.zh):
                return option
        raise NotAnAnswer("no_option", key=key, keys=", ".join(self._keys))


@dataclass(frozen=True, kw_only=True)
class _Ticks(_Options):
    """A quiz with options to tick, right or wrong."""

    @property
    def right_keys(self) -> frozenset[str]:
        """The keys of the right options."""
        raise NotImplementedError

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(map(self._mark, self.shown))

    def _check_answer(self) -> None:
        self._expect(self.right_keys, f"no option is right: the truth is {self.truth.value!r}; options: {self._keys}")
        strays = sorted(self.right_keys - set(self._keys))
        self._expect(not strays, f"the answer {', '.join(map(repr, strays))} is not among its options {self._keys}")
        for option in self.options:
            self._expect(option.why, f"option {option.key!r} is unexplained; write its `why`")

    def _mark(self, option: Option) -> Mark:
        return _marked(option, Verdict.RIGHT if option.key in self.right_keys else Verdict.WRONG)


def _marked(option: Option, verdict: Verdict) -> Mark:
    return Mark(key=option.key, text=option.text, verdict=verdict, why=option.why)


@dataclass(frozen=True, kw_only=True)
class Choice(_Ticks):
    """One option is right; `truth.value` is its key. A reply is a key."""

    kind: ClassVar[str] = "choice"

    @property
    def right_keys(self) -> frozenset[str]:
        return frozenset() if self.truth.value is None else frozenset([self.truth.value])

    def grade(self, reply: Any) -> Result:
        if not reply:
            raise NotAnAnswer("choose_first")
        mark = self._mark(self._pick(reply))
        if mark.verdict is Verdict.RIGHT:
            return self._result(mark.key, said("right"), [mark])
        return self._result(mark.key, said("not_this_one"), [mark], mark.why)


@dataclass(frozen=True, kw_only=True)
class Several(_Ticks):
    """One or more options are right; `truth.value` holds their keys. A reply is an iterable of keys."""

    kind: ClassVar[str] = "several"

    @property
    def right_keys(self) -> frozenset[str]:
        return frozenset(self.truth.value)

    def grade(self, reply: Any) -> Result:
        picked = {self._pick(key).key for key in ([reply] if isinstance(reply, str) else reply or ())}
        if not picked:
            raise NotAnAnswer("tick_first")
        marks = [self._mark(option) for option in self.shown if option.key in picked]
        keys = tuple(mark.key for mark in marks)
        wrong = [mark.why for mark in marks if mark.verdict is Verdict.WRONG and mark.why]
        missing = len(self.right_keys - picked)
        if not wrong and not missing:
            return self._result(keys, said("all_of_them"), marks)
        counted = "_and_".join(["wrong"] * bool(wrong) + ["missing"] * bool(missing))
        headline = said(counted, wrong=len(wrong), ticked=len(marks), missing=missing)
        return self._result(keys, headline, marks, functools.reduce(Words.then, wrong) if wrong else said("not_all"))


@dataclass(frozen=True, kw_only=True)
class Ordering(_Options):
    """Steps to put in order. A reply is a sequence of all keys, and right when every step comes after what it needs.

    `truth.value` maps each key to the keys it needs; its own order is one of those that work, and the one shown.
    """

    kind: ClassVar[str] = "ordering"

    def _check_answer(self) -> None:
        needs, keys = self.truth.value, self._keys
        self._expect(sorted(needs) == sorted(keys), f"the answer {(*needs,)} does not order its options {keys}")
        for key, needed in needs.items():
            strays = [other for other in needed if other not in keys]
            self._expect(not strays, f"step {key!r} needs {', '.join(map(repr, strays))}, which is no step")
            why = self._pick(key).why or not needed
            self._expect(why, f"step {key!r} is unexplained; write why it needs {', '.join(needed)}")
        if early := self._find_early((*needs,)):
            self._expect(False, f"its order does not work: {[*needs][early[0]]!r} is before {early[1]!r}")

    def _find_early(self, order: Sequence[str]) -> tuple[int, str] | None:
        """(place, needed key) of the first step that comes before one it needs, or None: the order works."""
        for place, key in enumerate(order):
            missing = [other for other in self.truth.value if other in self.truth.value[key]]
            missing = [other for other in missing if other not in order[:place]]
            if missing:
                return place, missing[0]
        return None

    @property
    def shown(self) -> tuple[Option, ...]:
        """The steps as every form of this quiz starts: shuffled, and never in an order that works."""
        works = self._find_early([step.key for step in super().shown]) is None
        return tuple(map(self._pick, reversed([*self.truth.value]))) if works else super().shown

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(_marked(self._pick(key), Verdict.RIGHT) for key in self.truth.value)

    def grade(self, reply: Any) -> Result:
        order, total = tuple(self._pick(key).key for key in reply or ()), len(self.options)
        if len(order) != total or len(set(order)) != total:
            raise NotAnAnswer("no_order", total=total, given=len(order))
        early = self._find_early(order)
        if early is None:
            return self._result(order, said("in_order" if order == (*self.truth.value,) else "in_another_order"))
        place, needed = early
        step = self._pick(order[place])
        why = said("too_early", step=step.text, needed=self._pick(needed).text)
        step = replace(step, why=why.then(step.why) if step.why else why)
        placed = ("not_in_order", "first_in_place", "some_in_place")[min(place, 2)]
        return self._result(order, said(placed, place=place), [_marked(step, Verdict.WRONG)], step.why)
