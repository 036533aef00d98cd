"""numeric/arithmetic: sums in a narrow format, every intermediate result rounded, as hardware of that format has it.

In: a format and float64 values. Out: float64 values that the format holds. An operation is done in float64 and rounded
once more; with up to 25 significant bits that equals rounding the exact result to nearest (Figueroa 1995).
"""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric.describe import Overflow, Rounding
from trtlab.numeric.formats import FloatFormat, Format

Array = npt.NDArray[Any]


def rounded(
    fmt: Format,
    values: npt.ArrayLike,
    rounding: Rounding = "nearest_even",
    overflow: Overflow = "ieee",
    generator: np.random.Generator | None = None,
) -> Array:
    """`values` as the format stores them: encode, then decode. float64; infinities where the format overflows to them.

    >>> float(rounded(FORMATS["FP16"], 0.1))
    0.0999755859375
    """
    return np.asarray(fmt.decode(fmt.encode(values, rounding, overflow, generator)), np.float64)


def running_sum(
    fmt: Format,
    values: npt.ArrayLike,
    rounding: Rounding = "nearest_even",
    generator: np.random.Generator | None = None,
) -> Array:
    """The sum after each of `values`, added one by one along the first axis in `fmt`."""
    sums = [np.zeros(np.shape(values)[1:])]
    for value in rounded(fmt, values):
        sums.append(rounded(fmt, sums[-1] + value, rounding, "ieee", generator))
    return np.array(sums[1:])


def kahan_sum(fmt: Format, values: npt.ArrayLike) -> Array:
    """The sum after each of `values`, with what every addition lost carried over to the next one (Kahan 1965)."""
    sums = [lost := np.zeros(np.shape(values)[1:])]
    for value in rounded(fmt, values):
        corrected = rounded(fmt, value - lost)
        sums.append(rounded(fmt, sums[-1] + corrected))
        lost = rounded(fmt, rounded(fmt, sums[-1] - sums[-2]) - corrected)
    return np.array(sums[1:])


def flushed(fmt: FloatFormat, values: npt.ArrayLike) -> Array:
    """`values` rounded to `fmt`, and then every subnormal result replaced by zero: flush-to-zero (FTZ)."""
    kept = rounded(fmt, values)
    return np.where(np.abs(kept) < fmt.min_normal, np.copysign(0.0, kept), kept)


def first_gap(fmt: FloatFormat) -> int:
    """The first positive integer that `fmt` cannot hold: found by encoding 1, 2, 3, ... until one comes back changed.

    2^(mantissa_bits + 1) + 1, or what lies beyond the largest value. ValueError beyond 24 mantissa bits: too many.
    """
    if fmt.mantissa_bits > 24:
        raise ValueError(f"{fmt} holds the first 2^{fmt.mantissa_bits + 1} integers: too many; use FP32 or less")
    chunks = (np.arange(start, start + 4096) for start in itertools.count(1, 4096))
    changed = (whole[rounded(fmt, whole, overflow="saturate") != whole] for whole in chunks)
    return int(next(filter(len, changed))[0])
