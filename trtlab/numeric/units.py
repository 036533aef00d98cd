"""numeric/units: numbers as a reader meets them: sizes, times, counts, powers of two.

In: numbers. Out: text. An unknown number is said to be unknown; it never becomes zero.
"""

import math
import re

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN = {high: low for low, high in _SUPERSCRIPT.items()}


def bytes_text(size_bytes: int | None) -> str:
    """`8.19 MiB`, `444 KiB`, `80 B`; `unknown` for None."""
    if size_bytes is None:
        return "unknown"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= size:
            return f"{size_bytes / size:,.2f} {unit}"
    return f"{size_bytes:,} B"


def seconds_text(seconds: float | None) -> str:
    """`1.23 s`, `4.5 ms`, `12 µs`; a dash for None."""
    if seconds is None:
        return "–"
    unit, scale = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    value = seconds * scale
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def counted(number: int, word: str) -> str:
    """`1 kernel`, `1,234 kernels`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def raised(exponent: int) -> str:
    """An exponent as it stands beside its base: `⁻¹⁴`."""
    return str(exponent).translate(_SUPERSCRIPT)


def powers(text: str) -> str:
    """Words in which `2^-10` stands as `2⁻¹⁰`."""
    return re.sub(r"\^(-?\d+)", lambda found: raised(int(found[1])), text)


def lowered(text: str) -> str:
    """Words in which `2⁻¹⁰` stands as `2^-10`."""
    return re.sub("[⁻⁰¹²³⁴-⁹]+", lambda found: "^" + found[0].translate(_PLAIN), text)


def number_text(value: float) -> str:
    """`65,504`, `8,388,608`, `0.5`, `3.39e+38`: whole where that is short, else four digits."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e7 else f"{value:.4g}"


def power_text(value: float) -> str:
    """`2⁻¹⁴` for powers of two from 2^14 up and 2^-4 down, else a number of at most five digits."""
    mantissa, exponent = math.frexp(value)
    if mantissa == 0.5 and not -4 < exponent - 1 < 14:
        return f"2{raised(exponent - 1)}"
    return f"{float(value):,.0f}" if abs(value) >= 1000 and abs(value) < 1e6 else f"{float(value):.5g}"
