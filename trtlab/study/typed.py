"""study/typed: what a learner typed, as a number in the unit that was asked for.

In: text such as `1,5`, `−3`, `75 KiB` or `75,328 bytes`. Out: every sensible reading of it, because `75,328` is a whole
number to some readers and a fraction to others. `NotAnAnswer` says what was expected instead.
"""

import math
import re
from typing import Any

SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
TIMES = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
SHARES = {"%": 1.0, "percent": 1.0}
WORDS = {"byte": "B", "bytes": "B", "sec": "s", "seconds": "s", "second": "s", "x": "×", "times": "×", "fold": "×"}
MINUS = dict.fromkeys(map(ord, "−–—‒﹣－"), "-")
SPACES = re.compile(r"[\s\u00a0\u2007\u2009\u202f_']")
NUMBER = re.compile(r"([+-]?(?:\d[\d.,]*|[.,]\d[\d.,]*)(?:e[+-]?\d+)?)(.*)", re.IGNORECASE)


class NotAnAnswer(ValueError):
    """A reply that cannot be graded. It says what was expected, and counts as no attempt."""


def readings(reply: Any, unit: str) -> tuple[float, ...]:
    """Every sensible reading of `reply` in `unit`, the likeliest first; `"75,328 B"` in KiB gives (73.56, 0.0736).

    Numbers pass as they are. Raises NotAnAnswer for nothing, NaN, infinity, words, and units of another kind.
    """
    if isinstance(reply, bool) or reply is None:
        raise _unread(reply, unit)
    if not isinstance(reply, str):
        return (_finite(reply, reply, unit),)
    text = SPACES.sub("", reply.translate(MINUS)).lstrip("~≈=")
    match = NUMBER.fullmatch(text)
    if match is None:
        raise _unread(reply, unit)
    factor = _factor(match[2], unit)
    return tuple(_finite(number, reply, unit) * factor for number in _decimal_texts(match[1]))


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


def _factor(written: str, unit: str) -> float:
    """What one of the unit written behind the number is in `unit`; nothing written means `unit` itself."""
    name, wanted = _plain(written), _plain(unit)
    if not name or name.rstrip("s") == wanted.rstrip("s"):
        return 1.0
    for family in (SIZES, TIMES, SHARES):
        known = {_plain(key): value for key, value in family.items()}
        if name in known and wanted in known:
            return known[name] / known[wanted]
    raise NotAnAnswer(f"“{written}” is no unit for this answer: type the number alone, or in {unit or 'no unit'}.")


def _plain(unit: str) -> str:
    return WORDS.get(unit.casefold(), unit).casefold()


def _finite(number: Any, reply: Any, unit: str) -> float:
    try:
        value = float(number)
    except (TypeError, ValueError, OverflowError):
        raise _unread(reply, unit) from None
    if not math.isfinite(value):
        raise _unread(reply, unit)
    return value


def _unread(reply: Any, unit: str) -> NotAnAnswer:
    got = "nothing was typed" if reply is None or not str(reply).strip() else f"“{str(reply)[:60]}” is no number"
    return NotAnAnswer(f"Type a number{f' in {unit}' if unit else ''}, such as 1.5 or 1,5: {got}.")


def number_text(value: float, unit: str = "") -> str:
    """`73.6 KiB`, `75,328 B`, `24 kernels`: four digits at most below ten thousand, thousands marked above."""
    whole = abs(value) >= 1000 or float(value).is_integer()
    return f"{value:,.0f} {unit}".strip() if whole else f"{value:.3g} {unit}".strip()
