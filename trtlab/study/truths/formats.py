"""study/truths/formats: what trtlab.numeric computes about number formats, and what NVIDIA's builder takes.

In: names of formats. Out: a `Found` whose facts fill the words of a quiz. tests/study recomputes some by other means.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from trtlab.study.found import Found, computed
from trtlab.study.witnesses import fmt


def largest(name: str) -> Found:
    """The largest finite number of a format."""
    return computed(fmt(name).max, code=f"{fmt(name).max_code:#06x}")


def stored(number: float, names: Sequence[str]) -> Found:
    """What formats without saturation give back of a number."""
    kept = [f"{float(fmt(name).decode(fmt(name).encode(number, overflow='ieee'))):g}" for name in names]
    return computed(" ".join(kept), kept=kept)


def ordered_by(what: str, names: Sequence[str]) -> Found:
    """Formats from the least to the largest of a property: `max`, or `steps`, the numbers from 1 up to 2."""
    return ascending({name: 1 / fmt(name).epsilon if what == "steps" else fmt(name).max for name in names})


def ascending(sizes: Mapping[str, float]) -> Found:
    """An order from the least to the largest; equals may come in either order."""
    keys = sorted(sizes, key=lambda key: sizes[key])
    needs = {key: tuple(other for other in keys if sizes[other] < sizes[key]) for key in keys}
    return computed(needs, sizes=", ".join(f"{key} {sizes[key]:.4g}" for key in keys))


def first_gap(name: str) -> Found:
    """The first positive integer that a format cannot hold."""
    from trtlab.numeric import arithmetic

    return computed(arithmetic.first_gap(fmt(name)))


def bytes_stored(name: str) -> Found:
    """Bytes for each number of a tensor in that format."""
    codes = fmt(name).encode(np.ones(1000, np.float32))
    return computed(codes.nbytes / 1000, size_bytes=codes.nbytes, type=codes.dtype)


def sum_of_ones(name: str, count: int) -> Found:
    """A running sum of ones, each result rounded to the format."""
    from trtlab.numeric import arithmetic

    return computed(float(arithmetic.running_sum(fmt(name), np.ones(count))[-1]), count=count)


def codes_that_are(what: str, name: str) -> Found:
    """How many codes of a format are `nan` or `negative`."""
    values = fmt(name).decode(np.arange(2 ** fmt(name).bits))
    found = np.isnan(values) if what == "nan" else values < 0
    return computed(int(found.sum()), table=", ".join(f"{value:.2f}" for value in values[:16]))


def decoded(code: int, name: str, other: str) -> Found:
    """The number that a code means in a format, and in another one."""
    value, elsewhere = (float(fmt(which).decode(code)) for which in (name, other))
    return computed(f"{value:g}", elsewhere=f"{elsewhere:g}")


def taken(target: str, names: Sequence[str]) -> Found:
    """The formats in which NVIDIA's builder takes a product for that target."""
    from trtlab.lab.support import matrix

    found = matrix([*names], target)
    said = "; ".join(f"{cell.format}: {cell.said}" for cell in found.cells)
    accepted = tuple(cell.format for cell in found.cells if cell.is_accepted)
    return Found(value=accepted, facts={"said": said}, provenance=found.provenance)


def bits_per_value(name: str) -> Found:
    """Bits of a quantised matrix, scales included, for each value."""
    quantized = fmt(name).quantize(np.random.default_rng(0).normal(size=(512, 512)))
    return computed(quantized.bits_per_value, size_bits=quantized.size_bits)


def nibbles() -> Found:
    """The byte that holds the INT4 values 1 and 2."""
    from trtlab.numeric.quantize import pack

    (byte,) = pack([1, 2])
    return computed(f"{byte:#04x}")


def outlier(name: str, losses: Mapping[str, float]) -> Found:
    """What 4095 values of N(0, 1) lose, in dB of SQNR, when 100 joins them under one scale: the nearest of `losses`."""
    from trtlab.numeric.quantize import sqnr_db

    values = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    alone = sqnr_db(values[1:], fmt(name).quantize(values[1:]).values)
    values[0] = 100
    beside = sqnr_db(values[1:], fmt(name).quantize(values).values[1:])
    nearest = min(losses, key=lambda key: abs(alone - beside - losses[key]))
    return computed(nearest, alone=alone, beside=beside)


def four_bits(names: Sequence[str]) -> Found:
    """Four-bit formats by SQNR in dB: N(0, 1), blocks of 16 with exact scales."""
    from trtlab.numeric.quantize import sqnr_db

    values = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    return ascending({name: sqnr_db(values, fmt(name).quantize(values, block=16).values) for name in names})
