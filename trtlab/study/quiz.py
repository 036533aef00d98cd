"""study/quiz: the four kinds of quizzes, each with the grading of replies. Draws nothing.

In: words in two languages, options or slips, and what a truth `Found`. Out: frozen quizzes whose shape was checked, and
for each reply a `Result`. The bank is study/quizzes. Checked by tests/study/test_quiz.py, which also grades replies to
every quiz of the bank.
"""

import enum
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trtlab.study.bank import Words, said
from trtlab.study.found import Found
from trtlab.study.typed import NotAnAnswer, number_words, readings

NO_UNIT = Words(en="", zh="")


class QuizError(ValueError):
    """A quiz that is not well formed: which one, what is wrong, and what was expected."""


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
    def answer(self) -> Words:
        """The answer in words."""
        raise NotImplementedError

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        """Everything there is to say about the answer: each option or typical slip with its explanation."""
        raise NotImplementedError

    def _check(self) -> None:
        raise NotImplementedError

    def _expect(self, holds: object, wrong: str) -> None:
        if not holds:
            raise QuizError(f"quiz {self.name!r}: {wrong}")

    def _expect_distinct(self, options: Sequence[Option]) -> None:
        self._expect(len(options) > 1, f"{len(options)} option(s); give at least two")
        for word, values in (("key", [o.key for o in options]), ("text", [o.text.en.casefold() for o in options])):
            twice = sorted({value for value in values if values.count(value) > 1})
            self._expect(not twice, f"duplicate option: {word} {', '.join(map(repr, twice))} appears twice")

    def _pick(self, options: Sequence[Option], key: Any) -> Option:
        for option in options:
            if key in (option.key, option.text.en, option.text.zh):
                return option
        raise NotAnAnswer("no_option", key=key, keys=", ".join(option.key for option in options))

    def _result(
        self, reply: Any, headline: Words, *, wrong: Words | None = None, marks: tuple[Mark, ...] = ()
    ) -> Result:
        """The result of a reply that is right, unless it is explained why it is `wrong`."""
        return Result(
            quiz=self.name, reply=reply, correct=wrong is None, headline=headline,
            explanation=wrong or self.explanation, marks=marks,
        )  # fmt: skip

    def _shuffled(self, options: Sequence[Option]) -> tuple[Option, ...]:
        """Shuffled the same way on every machine and in every year."""
        return tuple(sorted(options, key=lambda o: hashlib.sha256(f"{self.name}/{o.key}".encode()).hexdigest()))


@dataclass(frozen=True, kw_only=True)
class _Ticks(Quiz):
    """A quiz with options to tick, right or wrong."""

    options: tuple[Option, ...]

    def _check(self) -> None:
        self._expect_distinct(self.options)
        keys = [option.key for option in self.options]
        self._expect(self.right_keys, f"no option is right: the truth is {self.truth.value!r}; options are {keys}")
        strays = sorted(self.right_keys - set(keys))
        self._expect(not strays, f"the answer {', '.join(map(repr, strays))} is not among its options {keys}")
        for option in self.options:
            self._expect(option.why, f"option {option.key!r} is unexplained; write its `why`")

    @property
    def right_keys(self) -> frozenset[str]:
        """The keys of the right options."""
        raise NotImplementedError

    @property
    def shown(self) -> tuple[Option, ...]:
        return self._shuffled(self.options)

    @property
    def answer(self) -> Words:
        right = [option.text for option in self.shown if option.key in self.right_keys]
        return Words(en="; ".join(text.en for text in right), zh="；".join(text.zh for text in right))

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(map(self._mark, self.shown))

    def _mark(self, option: Option) -> Mark:
        verdict = Verdict.RIGHT if option.key in self.right_keys else Verdict.WRONG
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
        mark = self._mark(self._pick(self.options, reply))
        if mark.verdict is Verdict.RIGHT:
            return self._result(mark.key, said("right"), marks=(mark,))
        return self._result(mark.key, said("not_this_one"), wrong=mark.why, marks=(mark,))


@dataclass(frozen=True, kw_only=True)
class Several(_Ticks):
    """One or more options are right; `truth.value` holds their keys. A reply is an iterable of keys."""

    kind: ClassVar[str] = "several"

    @property
    def right_keys(self) -> frozenset[str]:
        return frozenset(self.truth.value)

    def grade(self, reply: Any) -> Result:
        picked = {self._pick(self.options, key).key for key in ([reply] if isinstance(reply, str) else reply or ())}
        if not picked:
            raise NotAnAnswer("tick_first")
        marks = tuple(self._mark(option) for option in self.shown if option.key in picked)
        keys = tuple(mark.key for mark in marks)
        wrong = [mark.why for mark in marks if mark.verdict is Verdict.WRONG and mark.why]
        missing = len(self.right_keys - picked)
        if not wrong and not missing:
            return self._result(keys, said("all_of_them"), marks=marks)
        counted = "_and_".join(["wrong"] * bool(wrong) + ["missing"] * bool(missing))
        headline = said(counted, wrong=len(wrong), ticked=len(marks), missing=missing)
        explained = functools.reduce(Words.then, wrong) if wrong else said("not_all")
        return self._result(keys, headline, wrong=explained, marks=marks)


@dataclass(frozen=True, kw_only=True)
class Number(Quiz):
    """A number in `unit`; replies within `tolerance` (in that unit) are right. `slips` are typical wrong values."""

    unit: Words = NO_UNIT
    tolerance: float = 0.0
    slips: tuple[Slip, ...]
    kind: ClassVar[str] = "number"

    def _check(self) -> None:
        value = self.truth.value
        self._expect(isinstance(value, int | float) and math.isfinite(value), f"the truth is {value!r}, no number")
        self._expect(self.tolerance >= 0, f"tolerance is {self.tolerance!r}; expected zero or more")
        self._expect(self.slips, "no slips; explain at least one typical wrong value")
        for slip in self.slips:
            self._expect(not self._accepts(slip.value), f"slip {slip.value!r} would be graded as right")

    def _accepts(self, value: float) -> bool:
        truth: float = self.truth.value
        return abs(value - truth) <= self.tolerance + 1e-9 * abs(truth)

    @property
    def answer(self) -> Words:
        number = number_words(self.truth.value, self.unit)
        return said("counts", number=number, spread=f"{self.tolerance:.3g}") if self.tolerance else number

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(
            Mark(key=str(s.value), text=number_words(s.value, self.unit), verdict=Verdict.WRONG, why=s.why)
            for s in self.slips
        )

    def grade(self, reply: Any) -> Result:
        values = readings(reply, self.unit)
        if right := [value for value in values if self._accepts(value)]:
            return self._result(right[0], said("right_number", answer=self.answer))
        slips = [(value, slip.why) for value in values if (slip := self._find_slip(value))]
        value, why = slips[0] if slips else (values[0], said(self._direction(values[0])))
        return self._result(value, said("not_number", number=number_words(value, self.unit)), wrong=why)

    def _find_slip(self, value: float) -> Slip | None:
        """The slip that made this value, or None where the truth is nearer."""
        slip = min(self.slips, key=lambda slip: abs(slip.value - value))
        off = abs(slip.value - value)
        return slip if off <= max(0.02 * abs(slip.value), 1e-9) and off < abs(self.truth.value - value) else None

    def _direction(self, value: float) -> str:
        """The phrase for a wrong value that no slip explains."""
        truth = self.truth.value
        if self._accepts(-value):
            return "other_sign"
        ratio = value / truth if truth and value * truth > 0 else 0.0
        off = "too_large" if value > truth else "too_small"
        if not 0.1 <= ratio <= 10:
            return f"far_{off}"
        return f"close_{off}" if 0.75 <= ratio <= 1.33 else off


@dataclass(frozen=True, kw_only=True)
class Ordering(Quiz):
    """Steps to put in order. A reply is a sequence of all keys, and right when every step comes after what it needs.

    `truth.value` maps each key to the keys it needs; its own order is one of those that work, and the one shown.
    """

    options: tuple[Option, ...]
    kind: ClassVar[str] = "ordering"

    def _check(self) -> None:
        self._expect_distinct(self.options)
        needs, keys = self.truth.value, [step.key for step in self.options]
        self._expect(sorted(needs) == sorted(keys), f"the answer {(*needs,)} does not order its options {keys}")
        for key, needed in needs.items():
            strays = [other for other in needed if other not in keys]
            self._expect(not strays, f"step {key!r} needs {', '.join(map(repr, strays))}, which is no step")
            why = self._step(key).why or not needed
            self._expect(why, f"step {key!r} is unexplained; write why it needs {', '.join(needed)}")
        early = self._find_early((*needs,))
        place, needed = early or (0, "")
        self._expect(
            early is None, f"the answer does not work: {[*needs][place]!r} is before {needed!r}, which it needs"
        )

    def _find_early(self, order: Sequence[str]) -> tuple[int, str] | None:
        """(place, needed key) of the first step that comes before one it needs, or None: the order works."""
        for place, key in enumerate(order):
            missing = [other for other in self.truth.value if other in self.truth.value[key]]
            missing = [other for other in missing if other not in order[:place]]
            if missing:
                return place, missing[0]
        return None

    def _step(self, key: Any) -> Option:
        return self._pick(self.options, key)

    @property
    def shown(self) -> tuple[Option, ...]:
        """The steps in the order in which every form of this quiz starts; never one that works."""
        start = self._shuffled(self.options)
        works = self._find_early([step.key for step in start]) is None
        return tuple(map(self._step, reversed([*self.truth.value]))) if works else start

    @property
    def answer(self) -> Words:
        texts = [self._step(key).text for key in self.truth.value]
        return Words(en=" → ".join(text.en for text in texts), zh=" → ".join(text.zh for text in texts))

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        steps = map(self._step, self.truth.value)
        return tuple(Mark(key=s.key, text=s.text, verdict=Verdict.RIGHT, why=s.why) for s in steps)

    def grade(self, reply: Any) -> Result:
        order, total = tuple(self._step(key).key for key in reply or ()), len(self.options)
        if len(order) != total or len(set(order)) != total:
            raise NotAnAnswer("no_order", total=total, given=len(order))
        early = self._find_early(order)
        if early is None:
            return self._result(order, said("in_order" if order == (*self.truth.value,) else "in_another_order"))
        place, needed = early
        step = self._step(order[place])
        why = said("too_early", step=step.text, needed=self._step(needed).text)
        why = why.then(step.why) if step.why else why
        placed = ("not_in_order", "first_in_place", "some_in_place")[min(place, 2)]
        mark = Mark(key=step.key, text=step.text, verdict=Verdict.WRONG, why=why)
        return self._result(order, said(placed, place=place), wrong=why, marks=(mark,))


KINDS: dict[str, type[Quiz]] = {kind.kind: kind for kind in (Choice, Several, Number, Ordering)}
