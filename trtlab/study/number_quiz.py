"""study/number_quiz: a quiz whose answer is a number, and what a learner typed, as a number in the unit asked for.

In: text such as `1,5`, `−3`, `75 KiB` or `75,328 bytes`. Out: every sensible reading of it, because `75,328` is a whole
number to some readers and a fraction to others; and a `Result`, which knows typical wrong values.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from trtlab.study.bank import Words, said
from trtlab.study.quiz import Mark, NotAnAnswer, Quiz, Result, Slip, Verdict

NO_UNIT = Words(en="", zh="")

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
    """Every sensible reading of `reply` in `unit`, the likeliest first; `"75,328 B"` in KiB gives (73.56, 0.0736).

    Numbers pass as they are. Raises NotAnAnswer for nothing, NaN, infinity, words, and units of another kind.
    """
    if isinstance(reply, bool) or reply is None:
        raise _unread(reply)
    if not isinstance(reply, str):
        return (_finite(reply, reply),)
    match = NUMBER.fullmatch(SPACES.sub("", reply.translate(MINUS)).lstrip("~≈="))
    if match is None:
        raise _unread(reply)
    factor = _factor(match[2], unit)
    return tuple(_finite(number, reply) * factor for number in _decimal_texts(match[1]))


def _decimal_texts(text: str) -> tuple[str, ...]:
    """`1,5` -> 1.5; `1.234,5` and `1,234.5` -> 1234.5; `75,328` -> 75328 or 75.328."""
    comma, dot = text.rfind(","), text.rfind(".")
    if comma >= 0 and dot >= 0:
        group = "," if dot > comma else "."
        return (text.replace(group, "").replace(",", "."),)
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
    raise NotAnAnswer("other_unit", written=written, unit=unit)


def _plain(unit: str) -> str:
    return SAME.get(unit.casefold(), unit).casefold()


def _finite(number: Any, reply: Any) -> float:
    try:
        value = float(number)
    except (TypeError, ValueError, OverflowError):
        raise _unread(reply) from None
    if not math.isfinite(value):
        raise _unread(reply)
    return value


def _unread(reply: Any) -> NotAnAnswer:
    empty = reply is None or not str(reply).strip()
    return NotAnAnswer("nothing_typed" if empty else "no_number", reply=str(reply)[:60])


def number_words(value: float, unit: Words) -> Words:
    """`73.6 KiB`, `24 kernels`: three digits at most below a thousand, thousands marked above."""
    whole = abs(value) >= 1000 or float(value).is_integer()
    text = f"{value:,.0f}" if whole else f"{value:.3g}"
    return Words(en=f"{text} {unit.en}".strip(), zh=f"{text} {unit.zh}".strip())


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
