"""study/quiz: the four kinds of quizzes, each with the grading of replies. Draws nothing.

In: options, steps or slips, and a `Truth`: what a function found when the quiz was first needed, with its evidence and
provenance. Out: frozen quizzes whose shape was checked, and for each reply a `Result`. The bank is study/quizzes.
Checked by tests/study/test_quiz.py, which also grades replies to every quiz of the bank.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trtlab.study.quizbase import Mark, Option, Quiz, QuizError, Result, Slip, Step, Truth, Verdict, seeded
from trtlab.study.typed import NotAnAnswer, number_text, readings

__all__ = [
    "Choice", "Mark", "NotAnAnswer", "Number", "Option", "Ordering", "Quiz", "QuizError", "Result", "Several", "Slip",
    "Step", "Truth", "Verdict",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Options(Quiz):
    """A quiz with options to tick, right or wrong."""

    options: tuple[Option, ...]

    def _check(self) -> None:
        self._expect_distinct(self.options)
        keys = [option.key for option in self.options]
        self._expect(self.right_keys, f"no option is right: the truth is {self.truth.value!r}; options are {keys}")
        strays = sorted(self.right_keys - set(keys))
        self._expect(not strays, f"the answer {', '.join(map(repr, strays))} is not among its options {keys}")
        for option in self.options:
            verdict = self._mark(option).verdict.value
            self._expect(option.why.strip(), f"{verdict} option {option.key!r} is unexplained; write its `why`")

    @property
    def right_keys(self) -> frozenset[str]:
        raise NotImplementedError

    @property
    def shown(self) -> tuple[Option, ...]:
        """The options in the order in which every form of this quiz shows them."""
        return tuple(sorted(self.options, key=lambda option: seeded(self.name, option.key)))

    @property
    def answer(self) -> str:
        return "; ".join(option.text for option in self.shown if option.key in self.right_keys)

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(map(self._mark, self.shown))

    def _mark(self, option: Option) -> Mark:
        verdict = Verdict.RIGHT if option.key in self.right_keys else Verdict.WRONG
        return Mark(key=option.key, text=option.text, verdict=verdict, why=option.why)

    def _pick(self, key: Any) -> Option:
        for option in self.options:
            if key in (option.key, option.text):
                return option
        raise NotAnAnswer(f"{key!r} is no option; expected one of {', '.join(o.key for o in self.shown)}.")


@dataclass(frozen=True, kw_only=True)
class Choice(_Options):
    """One option is right; `truth.value` is its key. A reply is a key."""

    kind: ClassVar[str] = "choice"
    asks: ClassVar[str] = "Choose one"

    @property
    def right_keys(self) -> frozenset[str]:
        return frozenset() if self.truth.value is None else frozenset([self.truth.value])

    def grade(self, reply: Any) -> Result:
        if not reply:
            raise NotAnAnswer("Choose an option first.")
        mark = self._mark(self._pick(reply))
        if mark.verdict is Verdict.RIGHT:
            return self._right("Right.", mark.key, (mark,))
        return self._wrong("Not this one.", mark.key, mark.why, (mark,))


@dataclass(frozen=True, kw_only=True)
class Several(_Options):
    """One or more options are right; `truth.value` holds their keys. A reply is an iterable of keys."""

    kind: ClassVar[str] = "several"
    asks: ClassVar[str] = "Choose every right one"

    @property
    def right_keys(self) -> frozenset[str]:
        return frozenset(self.truth.value)

    def grade(self, reply: Any) -> Result:
        picked = {self._pick(key).key for key in ([reply] if isinstance(reply, str) else reply or ())}
        if not picked:
            raise NotAnAnswer("Tick at least one option first.")
        marks = tuple(self._mark(option) for option in self.shown if option.key in picked)
        keys = tuple(mark.key for mark in marks)
        wrong = [mark for mark in marks if mark.verdict is Verdict.WRONG]
        missing = len(self.right_keys - picked)
        if not wrong and not missing:
            return self._right("Right, all of them.", keys, marks)
        counts = [f"{len(wrong)} of {len(marks)} ticked wrongly"] * bool(wrong) + [f"{missing} missing"] * bool(missing)
        explanation = " ".join(mark.why for mark in wrong) or "What you ticked is right, and it is not all."
        return self._wrong(f"Not yet: {', '.join(counts)}.", keys, explanation, marks)


@dataclass(frozen=True, kw_only=True)
class Number(Quiz):
    """A number in `unit`; replies within `tolerance` (in that unit) are right. `slips` are typical wrong values."""

    unit: str
    tolerance: float = 0.0
    slips: tuple[Slip, ...]
    kind: ClassVar[str] = "number"
    asks: ClassVar[str] = "Type a number"

    def _check(self) -> None:
        value = self.truth.value
        self._expect(isinstance(value, int | float) and math.isfinite(value), f"the truth is {value!r}, no number")
        self._expect(self.tolerance >= 0, f"tolerance is {self.tolerance!r}; expected zero or more")
        self._expect(self.slips, "no slips; explain at least one typical wrong value")
        for slip in self.slips:
            self._expect(not self._accepts(slip.value), f"slip {slip.value!r} would be graded as right")
            self._expect(slip.why.strip(), f"slip {slip.value!r} is unexplained; write its `why`")

    def _accepts(self, value: float) -> bool:
        truth: float = self.truth.value
        return abs(value - truth) <= self.tolerance + 1e-9 * abs(truth)

    @property
    def answer(self) -> str:
        spread = "" if not self.tolerance else f" (± {number_text(self.tolerance)} counts)"
        return number_text(self.truth.value, self.unit) + spread

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(
            Mark(key=str(slip.value), text=number_text(slip.value, self.unit), verdict=Verdict.WRONG, why=slip.why)
            for slip in self.slips
        )

    def grade(self, reply: Any) -> Result:
        values = readings(reply, self.unit)
        for value in values:
            if self._accepts(value):
                return self._right(f"Right: {self.answer}.", value)
        for value in values:
            slip = min(self.slips, key=lambda slip: abs(slip.value - value))
            off = abs(slip.value - value)
            if off <= max(0.02 * abs(slip.value), 1e-9) and off < abs(self.truth.value - value):
                return self._wrong(f"Not {number_text(value, self.unit)}.", value, slip.why)
        return self._wrong(f"Not {number_text(values[0], self.unit)}.", values[0], self._direction(values[0]))

    def _direction(self, value: float) -> str:
        truth = self.truth.value
        if self._accepts(-value):
            return "The size is right, the sign is not."
        how = "too large" if value > truth else "too small"
        ratio = value / truth if truth and value * truth > 0 else 0.0
        if not 0.1 <= ratio <= 10:
            return f"Far {how}: check the unit, and what is counted."
        return f"Close, but {how}." if 0.75 <= ratio <= 1.33 else f"It is {how}."


@dataclass(frozen=True, kw_only=True)
class Ordering(Quiz):
    """Steps to put in order. A reply is a sequence of all keys, and right when every step comes after what it needs.

    `truth.value` maps each key to the keys it needs; its own order is one of those that work, and the one shown.
    """

    steps: tuple[Step, ...]
    kind: ClassVar[str] = "ordering"
    asks: ClassVar[str] = "Put in order"

    def _check(self) -> None:
        self._expect_distinct(self.steps)
        needs, keys = self.truth.value, [step.key for step in self.steps]
        self._expect(sorted(needs) == sorted(keys), f"the answer {(*needs,)} does not order its options {keys}")
        for key, needed in needs.items():
            strays = [other for other in needed if other not in keys]
            self._expect(not strays, f"step {key!r} needs {', '.join(map(repr, strays))}, which is no step")
            why = self._step(key).why.strip()
            self._expect(why or not needed, f"step {key!r} is unexplained; write why it needs {', '.join(needed)}")
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

    def _step(self, key: Any) -> Step:
        for step in self.steps:
            if key in (step.key, step.text):
                return step
        raise NotAnAnswer(f"{key!r} is no step; expected {', '.join(s.key for s in self.shown)} in some order.")

    @property
    def shown(self) -> tuple[Step, ...]:
        """The steps in the order in which every form of this quiz starts; never one that works."""
        start = sorted(self.steps, key=lambda step: seeded(self.name, step.key))
        works = self._find_early([step.key for step in start]) is None
        return tuple(map(self._step, reversed([*self.truth.value]))) if works else tuple(start)

    @property
    def answer(self) -> str:
        return " → ".join(self._step(key).text for key in self.truth.value)

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        steps = map(self._step, self.truth.value)
        return tuple(Mark(key=s.key, text=s.text, verdict=Verdict.RIGHT, why=s.why) for s in steps)

    def grade(self, reply: Any) -> Result:
        order = tuple(self._step(key).key for key in reply or ())
        if len(order) != len(self.steps) or len(set(order)) != len(order):
            raise NotAnAnswer(f"An order names each of the {len(self.steps)} steps once; this one has {len(order)}.")
        early = self._find_early(order)
        if early is None:
            usual = order == (*self.truth.value,)
            return self._right(
                "Right, all in order." if usual else "Right: yours works too. Below, the usual one.", order
            )
        place, needed = early
        step = self._step(order[place])
        why = f"“{step.text}” comes too early: it needs “{self._step(needed).text}” first. {step.why}"
        mark = Mark(key=step.key, text=step.text, verdict=Verdict.WRONG, why=why)
        placed = f"The first {place} are in place. " if place > 1 else "The first is in place. " * place
        return self._wrong(f"Not yet. {placed}".strip(), order, why, (mark,))
