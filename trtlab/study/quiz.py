"""study/quiz: quizzes with options, to tick or to put in order, and with numbers; the bank of them; grading of replies.

In: words/quizzes, in two languages, around what a function of study/truths finds when a quiz is first needed: computed
on this machine, or recorded, and never typed in. Out: frozen quizzes whose shape was checked, and for each reply a
`Result`. tests/study/test_quiz.py grades replies to every quiz of the bank.
"""

import functools
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from trtlab.study import bank, witnesses
from trtlab.study.bank import Words, said
from trtlab.study.found import Found


class QuizError(ValueError):
    """A quiz that is not well formed: which one, what is wrong, and what was expected."""


class NotAnAnswer(ValueError):
    """A reply that cannot be graded. It says what was expected, in `words`, and counts as no attempt."""

    def __init__(self, phrase: str, **facts: Any) -> None:
        self.words = said(phrase, **facts)
        super().__init__(self.words.en)


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
class Mark(Option):
    """What is said of an option or value: `text` is what the learner reads, `why` explains."""

    is_right: bool


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
class Entry:
    """A quiz as it is written: `truth` names a function of study/truths, alone or with arguments by place or by name.
    `explanation` is said once the answer is right, `evidence` where it was seen.

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
    unit: Words = field(default_factory=Words)
    tolerance: float = 0.0

    @property
    def find(self) -> Callable[[], Found]:
        """What finds the truth, with its arguments; `func` is the function whose source is shown."""
        return bank.call(self.truth)

    def asked(self, found: Found) -> "Quiz":
        """The quiz around what was found."""
        if self.kind not in KINDS:
            raise QuizError(f"quiz {self.name!r} is of the kind {self.kind!r}; expected one of {', '.join(KINDS)}")
        if not isinstance(found, Found):
            raise QuizError(f"quiz {self.name!r}: its truth gave {found!r}; expected a Found: computed({found!r})")
        facts = {**found.facts, "value": found.value, "evidence": found.evidence}
        try:
            words = {one.name: _filled(self, one.name, facts) for one in fields(self)}
        except (KeyError, ValueError, IndexError) as error:
            known = ", ".join(f"{name}={fact!r}" for name, fact in facts.items())
            raise QuizError(f"quiz {self.name!r}: no fact fills a place, {error}; the facts are {known}") from error
        return KINDS[self.kind](**words | {"truth": found})


def _filled(owner: Any, name: str, facts: Mapping[str, Any]) -> Any:
    """A field with the facts in the places of all words inside it; a slip may name a fact as its value."""
    value = getattr(owner, name)
    if isinstance(value, Words):
        return value.filled(facts)
    if isinstance(value, tuple):
        return tuple(replace(one, **{f.name: _filled(one, f.name, facts) for f in fields(one)}) for one in value)
    return facts[value] if isinstance(owner, Slip) and isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class Quiz(Entry):
    """What the four kinds share. A malformed quiz raises QuizError when it is made, not when a learner meets it."""

    truth: Found

    def __post_init__(self) -> None:
        for part in ("question", "explanation", "evidence"):
            self._expect(getattr(self, part).en.strip(), f"{part} is empty; write one in both languages")
        self._check()

    def grade(self, reply: Any) -> Result:
        """The result of a reply. Raises NotAnAnswer when there is nothing to grade."""
        raise NotImplementedError

    @property
    def shown(self) -> tuple[Option, ...]:
        """The options in the order in which every form of this quiz shows them, shuffled the same way on every machine
        and in every year; none of a number."""
        return tuple(sorted(self.options, key=lambda o: hashlib.sha256(f"{self.name}/{o.key}".encode()).hexdigest()))

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        """Everything there is to say about the answer: each option or typical slip with its explanation."""
        raise NotImplementedError

    def _check(self) -> None:
        """QuizError if the options, or the slips, are none, or do not fit the truth."""
        self._expect(len(self.options) > 1, f"{len(self.options)} option(s); give at least two")
        for values in (self._keys, [option.text.en.casefold() for option in self.options]):
            twice = sorted({value for value in values if values.count(value) > 1})
            self._expect(not twice, f"duplicate option: {', '.join(map(repr, twice))} appears twice")

    @property
    def _keys(self) -> list[str]:
        return [option.key for option in self.options]

    def _pick(self, key: Any) -> Option:
        for option in self.options:
            if key in (option.key, option.text.en, option.text.zh):
                return option
        raise NotAnAnswer("no_option", key=key, keys=", ".join(self._keys))

    def _expect(self, holds: object, wrong: str) -> None:
        if not holds:
            raise QuizError(f"quiz {self.name!r}: {wrong}")

    def _result(self, reply: Any, headline: Words, marks: Sequence[Mark] = (), wrong: Words | None = None) -> Result:
        """The result of a reply that is right, unless it is explained why it is `wrong`."""
        explained = wrong or self.explanation
        return Result(
            quiz=self.name, reply=reply, correct=not wrong, headline=headline, explanation=explained, marks=tuple(marks)
        )


# --- options ----------------------------------------------------------------------------------------------------------


def _marked(option: Option, is_right: bool) -> Mark:
    return Mark(key=option.key, text=option.text, why=option.why, is_right=is_right)


@dataclass(frozen=True, kw_only=True)
class Several(Quiz):
    """One or more options are right; `truth.value` holds their keys. A reply is an iterable of keys."""

    kind: str = "several"

    @property
    def right_keys(self) -> frozenset[str]:
        """The keys of the right options."""
        value = self.truth.value
        return frozenset([value] if isinstance(value, str) else value or ())

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(_marked(option, option.key in self.right_keys) for option in self.shown)

    def _check(self) -> None:
        super()._check()
        self._expect(self.right_keys, f"no option is right: the truth is {self.truth.value!r}; options: {self._keys}")
        strays = self.right_keys - {*self._keys}
        self._expect(not strays, f"the answer {', '.join(map(repr, strays))} is not among its options {self._keys}")
        for option in self.options:
            self._expect(option.why, f"option {option.key!r} is unexplained; write its `why`")

    def grade(self, reply: Any) -> Result:
        picked = {self._pick(key).key for key in ([reply] if isinstance(reply, str) else reply or ())}
        if not picked:
            raise NotAnAnswer("tick_first")
        marks = [mark for mark in self.answer_marks if mark.key in picked]
        keys = tuple(mark.key for mark in marks)
        wrong = [mark.why for mark in marks if not mark.is_right and mark.why]
        missing = len(self.right_keys - picked)
        if not wrong and not missing:
            return self._result(keys, said("all_of_them"), marks)
        counted = "_and_".join(["wrong"] * bool(wrong) + ["missing"] * bool(missing))
        headline = said(counted, wrong=len(wrong), ticked=len(marks), missing=missing)
        return self._result(keys, headline, marks, functools.reduce(Words.then, wrong) if wrong else said("not_all"))


@dataclass(frozen=True, kw_only=True)
class Choice(Several):
    """One option is right; `truth.value` is its key. A reply is a key."""

    kind: str = "choice"

    def grade(self, reply: Any) -> Result:
        if not reply:
            raise NotAnAnswer("choose_first")
        picked = self._pick(reply)
        (mark,) = (mark for mark in self.answer_marks if mark.key == picked.key)
        headline = said("right" if mark.is_right else "not_this_one")
        return self._result(mark.key, headline, [mark], None if mark.is_right else mark.why)


@dataclass(frozen=True, kw_only=True)
class Ordering(Quiz):
    """Steps to put in order. A reply is a sequence of all keys, and right when every step comes after what it needs.

    `truth.value` maps each key to the keys it needs; its own order is one of those that work, and the one shown.
    """

    kind: str = "ordering"

    def _check(self) -> None:
        super()._check()
        needs, keys = self.truth.value, self._keys
        self._expect(sorted(needs) == sorted(keys), f"the answer {(*needs,)} does not order its options {keys}")
        for key, needed in needs.items():
            why = self._pick(key).why or not needed
            self._expect(why, f"step {key!r} is unexplained; write why it needs {', '.join(needed)}")
        if early := self._find_early((*needs,)):
            self._expect(False, f"its order does not work: {[*needs][early[0]]!r} is before {early[1]!r}")

    def _find_early(self, order: Sequence[str]) -> tuple[int, str] | None:
        """(place, needed key) of the first step that comes before one it needs, or None: the order works."""
        early = ((n, other) for n, key in enumerate(order) for other in self.truth.value[key] if other not in order[:n])
        return next(early, None)

    @property
    def shown(self) -> tuple[Option, ...]:
        """The steps as every form of this quiz starts: shuffled, and never in an order that works."""
        works = self._find_early([step.key for step in super().shown]) is None
        return tuple(map(self._pick, reversed([*self.truth.value]))) if works else super().shown

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        return tuple(_marked(self._pick(key), True) for key in self.truth.value)

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
        return self._result(order, said(placed, place=place), [_marked(step, False)], step.why)


# --- numbers ----------------------------------------------------------------------------------------------------------

SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
TIMES = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
SAME = {
    "byte": "B", "bytes": "B", "字节": "B", "sec": "s", "seconds": "s", "second": "s", "秒": "s",
    "x": "×", "times": "×", "fold": "×", "倍": "×",
}  # fmt: skip
MINUS = dict.fromkeys(map(ord, "−–—‒﹣－"), "-")
SPACES = re.compile(r"[\s\u00a0\u2007\u2009\u202f_']")
NUMBER = re.compile(r"([+-]?(?:\d[\d.,]*|[.,]\d[\d.,]*)(?:e[+-]?\d+)?)(.*)", re.IGNORECASE)


def readings(reply: Any, unit: Words) -> tuple[float, ...]:
    """Every sensible reading of `reply` in `unit`, the likeliest first, because `75,328` is a whole number to some and
    a fraction to others: `"75,328 B"` in KiB gives (73.56, 0.0736).

    Numbers pass as they are. Raises NotAnAnswer for nothing, NaN, infinity, words, and units of another kind.
    """
    text = "" if reply is None else SPACES.sub("", str(reply).translate(MINUS)).lstrip("~≈=")
    match = NUMBER.fullmatch(text)
    numbers = [float(each) for each in _decimal_texts(match[1])] if match else []
    if not match or not numbers or not all(map(math.isfinite, numbers)):
        raise NotAnAnswer("no_number" if text else "nothing_typed", reply=str(reply)[:60])
    return tuple(number * _factor(match[2], unit) for number in numbers)


def _decimal_texts(text: str) -> tuple[str, ...]:
    """`1,5` -> 1.5; `1.234,5` and `1,234.5` -> 1234.5; `75,328` -> 75328 or 75.328."""
    if "," in text and "." in text:
        group = min(",.", key=text.rfind)
        plain = text.replace(group, "").replace(",", ".")
        return (plain,) * (plain.count(".") == 1)  # 1,2.3,4 is nothing
    if text.count(",") > 1 or text.count(".") > 1:
        return (re.sub("[.,]", "", text),)
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        return text.replace(",", ""), text.replace(",", ".")
    return (text.replace(",", "."),)


def _factor(written: str, unit: Words) -> float:
    """What one of the unit written behind the number is in `unit`; nothing written means `unit` itself."""
    name, wanted = _plain(written), _plain(unit.en)
    if not name or written == unit.zh or name.rstrip("s") == wanted.rstrip("s"):
        return 1.0
    for family in (SIZES, TIMES):
        known = {_plain(key): value for key, value in family.items()}
        if name in known and wanted in known:
            return known[name] / known[wanted]
    raise NotAnAnswer("other_unit" if unit.en else "no_unit", written=written, unit=unit)


def _plain(unit: str) -> str:
    return SAME.get(unit.casefold(), unit).casefold()


def number_words(value: float, unit: Words) -> Words:
    """`73.6 KiB`, `24 kernels`, `1 kernel`, `75.6%`: three digits at most below a thousand, thousands marked above."""
    whole = abs(value) >= 1000 or float(value).is_integer()
    text = f"{value:,.0f}" if whole else f"{value:.3g}"
    name = unit.en.removesuffix("s") if value == 1 and len(unit.en) > 2 else unit.en
    gap = "" if name == "%" else " "
    return Words(en=f"{text}{gap}{name}".strip(), zh=f"{text}{gap}{unit.zh}".strip())


@dataclass(frozen=True, kw_only=True)
class Number(Quiz):
    """A number in `unit`; replies within `tolerance` (in that unit) are right. `slips` are typical wrong values."""

    kind: str = "number"

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
        """The number, and how far from it counts."""
        number = number_words(self.truth.value, self.unit)
        return said("counts", number=number, spread=f"{self.tolerance:.3g}") if self.tolerance else number

    @property
    def answer_marks(self) -> tuple[Mark, ...]:
        marks = ((str(slip.value), number_words(slip.value, self.unit), slip.why) for slip in self.slips)
        return tuple(Mark(key=key, text=text, why=why, is_right=False) for key, text, why in marks)

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
        how = "" if 0.1 <= value / (truth or math.nan) <= 10 else "far_"
        return f"{how}too_{'large' if value > truth else 'small'}"


# --- the bank ---------------------------------------------------------------------------------------------------------

KINDS: dict[str, type[Quiz]] = {kind.kind: kind for kind in (Choice, Several, Number, Ordering)}


@functools.cache
def quizzes() -> dict[str, Entry]:
    """Every quiz by name, as it is written, in the order of the files."""
    return bank.read("quizzes", Entry)


def find_quiz(name: str) -> Entry:
    """The quiz of that name, as it is written. UnknownEntry names the close ones."""
    return bank.find(quizzes(), name, "quiz")


@functools.cache
def load_quiz(name: str) -> Quiz:
    """The quiz `name`; its truth is found at the first call. UnknownEntry, QuizError, or the truth's own error."""
    entry = find_quiz(name)
    return entry.asked(witnesses.built(entry.find))
