"""study/typed: what a learner typed, as a number in the unit that was asked for.

In: text such as `1,5`, `−3`, `75 KiB` or `75,328 bytes`. Out: every sensible reading of it, because `75,328` is a whole
number to some readers and a fraction to others. `NotAnAnswer` says what was expected instead, in both languages.
"""

import math
import re
from typing import Any

from trtlab.study.bank import Words, said

SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
TIMES = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
SAME = {
    "byte": "B", "bytes": "B", "字节": "B", "sec": "s", "seconds": "s", "second": "s", "秒": "s",
    "x": "×", "times": "×", "fold": "×", "倍": "×",
}  # fmt: skip
MINUS = dict.fromkeys(map(ord, "−–—‒﹣－"), "-")
SPACES = re.compile(r"[\s\u00a0\u2007\u2009\u202f_']")
NUMBER = re.compile(r"([+-]?(?:\d[\d.,]*|[.,]\d[\d.,]*)(?:e[+-]?\d+)?)(.*)", re.IGNORECASE)


class NotAnAnswer(ValueError):
    """A reply that cannot be graded. It says what was expected, in `words`, and counts as no attempt."""

    def __init__(self, phrase: str, **facts: Any) -> None:
        self.words = said(phrase, **facts)
        super().__init__(self.words.en)


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
