"""teach/bitfacts: a code among its neighbours, against the number that was asked for, and beside the other formats.

In: a `Held` (format, code, target, modes). Out: plain dicts and lists of exact text, ready to be shown; `describe` is
all of it. numeric/exact computes; bits.py and bits.js show.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from trtlab.numeric.exact import Real, Special, decode, encode, magnitude
from trtlab.numeric.formats import CodeBook, FloatFormat, Format, IntegerFormat, Overflow, Rounding
from trtlab.teach.bitformula import formula, kind_of, readings
from trtlab.teach.bitwords import (
    decimal_parts,
    exact_forms,
    fields,
    hex_text,
    number_text,
    relative_text,
    signed_text,
    step_text,
)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What an editor holds: `code` in `fmt`, and `target`, the number that it stands for as well as it can."""

    fmt: Format
    code: int
    target: Real
    typed: str = ""
    rounding: Rounding = "nearest_even"
    overflow: Overflow = "saturate"


# --- neighbours ----------------------------------------------------------------------------------------------------


def _as_fraction(value: Real) -> Fraction | None:
    if isinstance(value, Fraction):
        return value
    return Fraction(0) if value is Special.NEGATIVE_ZERO else None


def ulp(fmt: Format, code: int) -> Fraction | None:
    """The step to the next value away from zero (in a table: to the next entry); None for infinity and NaN."""
    if _as_fraction(decode(fmt, code)) is None:
        return None
    match fmt:
        case FloatFormat():
            size = (code >> fmt.padding_bits) & ((1 << fmt.magnitude_bits) - 1)
            return magnitude(fmt, size + 1) - magnitude(fmt, size)
        case CodeBook(entries=entries):
            low = min(code, len(entries) - 2)
            return Fraction(entries[low + 1]) - Fraction(entries[low])
    return Fraction(1)


def find_neighbour(fmt: Format, code: int, step: int) -> int | None:
    """The code of the next value up (step 1) or down (-1); None at the ends and for NaN."""
    if decode(fmt, code) is Special.NAN:
        return None
    if isinstance(fmt, FloatFormat):
        return _float_neighbour(fmt, code >> fmt.padding_bits, step)
    place = code - (1 << fmt.bits) if isinstance(fmt, IntegerFormat) and code > fmt.max else code
    low, high = (fmt.min, fmt.max) if isinstance(fmt, IntegerFormat) else (0, (1 << fmt.bits) - 1)
    return (place + step) & ((1 << fmt.bits) - 1) if low <= place + step <= high else None


def _float_neighbour(fmt: FloatFormat, code: int, step: int) -> int | None:
    """Codes count sizes; places count along the number line, where both zeros stand at 0."""
    sign, size = divmod(code, 1 << fmt.magnitude_bits)
    shift = 0 if fmt.has_subnormals else 1
    place = (-size - shift if sign else size) + step
    last = fmt.max_code + fmt.has_infinity
    if not (-last - shift if fmt.is_signed else 0) <= place <= last:
        return None
    found = place if place >= 0 else 1 << fmt.magnitude_bits | -place - shift
    return found << fmt.padding_bits


def surroundings(held: Held) -> dict[str, Any]:
    """The values below and above, the ULP, and where here and the target stand between them (0 to 1)."""
    fmt, code = held.fmt, held.code
    step, here = ulp(fmt, code), _as_fraction(decode(fmt, code))
    around = [find_neighbour(fmt, code, -1), find_neighbour(fmt, code, 1)]
    ends = [None if c is None else _as_fraction(decode(fmt, c)) for c in around]
    shown = {
        name: None if c is None else {"code": hex_text(fmt, c), "value": number_text(decode(fmt, c))}
        for name, c in zip(("below", "above"), around, strict=True)
    }
    if here is None or step is None:
        return {**shown, "ulp": "", "here": None, "target": None}
    low = here - step if ends[0] is None else ends[0]
    high = here + step if ends[1] is None else ends[1]
    target = _as_fraction(held.target)
    place = (
        None
        if target is None or target == here
        else float(max(Fraction(-1), min(Fraction(2), (target - low) / (high - low))))
    )
    return {
        **shown,
        "ulp": step_text(step),
        "short": number_text(here),
        "here": float((here - low) / (high - low)),
        "target": place,
    }


# --- error ----------------------------------------------------------------------------------------------------------


def verdict(held: Held) -> tuple[str, str]:
    """(kind, words): how well `code` stands for `target`; the kinds are exact, rounded, small and lost."""
    fmt, target, got = held.fmt, held.target, decode(held.fmt, held.code)
    wanted, value = _as_fraction(target), _as_fraction(got)
    if target == got:
        return "exact", "exact"
    if wanted is None:
        return "lost", f"{number_text(target)} becomes NaN" if got is Special.NAN else "saturates"
    if value is None:
        beyond = wanted != 0 and (fmt.is_signed or wanted > 0) if isinstance(fmt, FloatFormat) else True
        return "lost", f"overflows to {number_text(got)}" if beyond else f"becomes {number_text(got)}"
    if value == wanted:
        return "rounded", "loses −0's sign"
    if wanted == 0:
        return "lost", "no zero"
    if wanted < 0 <= fmt.min:
        return "lost", "no negatives"
    if value == 0:
        return "lost", "underflows" if isinstance(fmt, FloatFormat) else "rounds to 0"
    if isinstance(fmt, FloatFormat) and not fmt.has_subnormals and abs(wanted) < fmt.min_normal:
        return "lost", "below the smallest"
    if _is_beyond(held, wanted, value):
        return "lost", "saturates"
    return ("small", "subnormal") if kind_of(fmt, held.code) == "subnormal" else ("rounded", "rounded")


def _is_beyond(held: Held, wanted: Fraction, value: Fraction) -> bool:
    """Whether `wanted` lies beyond the range, and not merely within the rounding of the largest value."""
    fmt, step = held.fmt, ulp(held.fmt, held.code)
    if Fraction(fmt.min) <= wanted <= Fraction(fmt.max) or step is None:
        return False
    if held.rounding == "stochastic" or abs(wanted - value) >= step:
        return abs(wanted - value) >= step
    try:
        return encode(fmt, wanted, held.rounding, "ieee") != held.code
    except ValueError:
        return True


def error(held: Held) -> dict[str, str]:
    """Code against target: absolute, relative, in steps of the format (ULP), and in words."""
    kind, words = verdict(held)
    found = {"target": held.typed or number_text(held.target, 12), "kind": kind, "words": words}
    wanted, value, step = _as_fraction(held.target), _as_fraction(decode(held.fmt, held.code)), ulp(held.fmt, held.code)
    if wanted is None or value is None or step is None:
        return found | {"absolute": "–", "relative": "–", "steps": "–"}
    gap = value - wanted
    steps = number_text(abs(gap) / step, 3, rounded=True)
    return found | {"absolute": signed_text(gap), "relative": relative_text(wanted, value), "steps": steps}


# --- everything -----------------------------------------------------------------------------------------------------


def code_for(held: Held, generator: np.random.Generator) -> int:
    """The code of the target in the format and modes of `held`; ValueError where there is none."""
    return encode(held.fmt, held.target, held.rounding, held.overflow, generator)


def row(held: Held, name: str, fmt: Format, generator: np.random.Generator) -> list[str]:
    """`target` in another format: name, code, value, relative error, kind, words. A refusal has no code."""
    other = replace(held, fmt=fmt)
    try:
        other = other if fmt == held.fmt else replace(other, code=code_for(other, generator))
    except ValueError:
        return [name, "", "–", "–", "lost", "no NaN" if held.target is Special.NAN else "no code for it"]
    got = decode(fmt, other.code)
    wanted, value = _as_fraction(held.target), _as_fraction(got)
    relative = "–" if wanted is None or value is None else relative_text(wanted, value)
    return [name, hex_text(fmt, other.code), number_text(got, 10), relative, *verdict(other)]


def _entry(value: Real) -> str:
    """Text to type that reads back as `value`."""
    if isinstance(value, Special):
        return value.value
    if abs(value) < 2**1024 and Fraction(float(value)) == value:
        return repr(float(value)).removesuffix(".0")
    is_short = max(abs(value.numerator), value.denominator) < 10**30
    return str(value) if is_short else number_text(value, 20, rounded=True).replace("−", "-")


def describe(held: Held, offered: Iterable[tuple[str, Format]], generator: np.random.Generator) -> dict[str, Any]:
    """All that depends on the code, as one dict of text."""
    fmt, code = held.fmt, held.code
    value = decode(fmt, code)
    digits = f"{code:0{fmt.bits + fmt.padding_bits}b}"
    places = [sum(n for _, n in fields(fmt)[:i]) for i in range(len(fields(fmt)) + 1)]
    return {
        "code": hex_text(fmt, code), "dec": str(code),
        "bin": " ".join(digits[a:b] for a, b in itertools.pairwise(places)),
        "entry": held.typed or _entry(held.target),
        "value": number_text(value), "kind": kind_of(fmt, code),
        "forms": exact_forms(value) if isinstance(value, Fraction) and not isinstance(fmt, IntegerFormat) else [],
        "decimal": decimal_parts(value) if isinstance(value, Fraction) else [number_text(value)],
        "formula": formula(fmt, code), "readings": readings(fmt, code),
        "around": surroundings(held), "error": error(held),
        "rows": [row(held, name, other, generator) for name, other in offered],
        "rounding": held.rounding, "overflow": held.overflow,
    }  # fmt: skip
