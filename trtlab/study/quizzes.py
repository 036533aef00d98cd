"""study/quizzes: the bank of quizzes: words in two languages, around what a function finds when a quiz is first needed.

In: words/quizzes, and a name such as `q3-stage-order`. Out: the `Quiz`. Its answer is computed on this machine, or
recorded, and never typed in: the words name a function of study/truths, whose facts fill their places.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from trtlab.study import bank
from trtlab.study.bank import Words
from trtlab.study.found import Found
from trtlab.study.number_quiz import NO_UNIT, Number
from trtlab.study.quiz import Choice, Option, Ordering, Quiz, QuizError, Several, Slip
from trtlab.study.truths.builds import built

KINDS: dict[str, type[Quiz]] = {kind.kind: kind for kind in (Choice, Several, Number, Ordering)}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A quiz as it is written: `truth` names a function of study/truths, alone or with arguments by place or by name.

    `options` of a choice, of several or of an ordering; `slips`, `unit` and `tolerance` of a number.
    """

    name: str
    kind: str
    truth: Any
    question: Words
    evidence: Words
    explanation: Words
    options: tuple[Option, ...] = ()
    slips: tuple[Slip, ...] = ()
    unit: Words = NO_UNIT
    tolerance: float = 0.0

    @property
    def find(self) -> Callable[[], Found]:
        """What finds the truth, with its arguments; `func` is the function whose source is shown."""
        return bank.call(self.truth, "truths")

    def asked(self, found: Found) -> Quiz:
        """The quiz around what was found."""
        if self.kind not in KINDS:
            raise QuizError(f"quiz {self.name!r} is of the kind {self.kind!r}; expected one of {', '.join(KINDS)}")
        kind = KINDS[self.kind]
        facts = {**found.facts, "value": found.value, "evidence": found.evidence}
        names = {field.name for field in fields(kind)} - {"truth"}
        return kind(truth=found, **{name: _filled(getattr(self, name), facts) for name in names})


def _filled(value: Any, facts: Mapping[str, Any]) -> Any:
    """The value, with the facts in the places of all words inside it; a slip may name a fact as its value."""
    if isinstance(value, Words):
        return value.filled(facts)
    if isinstance(value, tuple):
        return tuple(_filled(one, facts) for one in value)
    if isinstance(value, Slip) and isinstance(value.value, str):
        value = replace(value, value=facts[value.value])
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _filled(getattr(value, field.name), facts) for field in fields(value)})
    return value


@functools.cache
def quizzes() -> dict[str, Entry]:
    """Every quiz by name, as it is written, in the order of the files."""
    return bank.read("quizzes", Entry)


def names() -> tuple[str, ...]:
    """The names of all quizzes, in the order of the files."""
    return tuple(quizzes())


def find(name: str) -> Entry:
    """The quiz of that name, as it is written. UnknownEntry names the close ones."""
    return bank.find(quizzes(), name, "quiz")


@functools.cache
def load(name: str) -> Quiz:
    """The quiz `name`; its truth is found at the first call. UnknownEntry, QuizError, or the truth's own error."""
    entry = find(name)
    return entry.asked(built(entry.find))
