"""study/truths/formats: what the codes of the formats mean, by outside referees, what NVIDIA's builder takes, and what
a GPU read: C01 to C23.

In: names of formats, the referees' own codes and limits. Out: `Found`s. What is computed for a claim holds only where
trtlab.numeric agrees with a referee; tests/study computes some answers of quizzes by other means.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from trtlab.engine import recordings
from trtlab.numeric import FORMATS, arithmetic, quantize
from trtlab.numeric.quantize import sqnr_db
from trtlab.numeric.units import number_text, power_text, powers
from trtlab.study import witnesses
from trtlab.study.found import Found, computed, read_back, seen
from trtlab.study.witnesses import listed, told_bytes

BOTH = ("numpy", "ml_dtypes")
fmt: Any = FORMATS.__getitem__
"""The number format of a name."""


# --- quizzes ----------------------------------------------------------------------------------------------------------


def largest(name: str) -> Found:
    """The largest finite number of a format."""
    return computed(fmt(name).max, code=f"{fmt(name).max_code:#06x}")


def stored(number: float, names: Sequence[str]) -> Found:
    """What formats without saturation give back of a number."""
    kept = [float(fmt(name).decode(fmt(name).encode(number, overflow="ieee"))) for name in names]
    shown = [number_text(value).replace("inf", "∞") for value in kept]
    return computed(" ".join(f"{value:g}" for value in kept), kept=shown)


def ordered_by(what: str, names: Sequence[str]) -> Found:
    """Formats from the least to the largest of a property: `max`, or `steps`, the numbers from 1 up to 2."""
    return ascending({name: 1 / fmt(name).epsilon if what == "steps" else fmt(name).max for name in names})


def four_bits(names: Sequence[str]) -> Found:
    """Four-bit formats by SQNR in dB: N(0, 1), blocks of 16 with exact scales."""
    values = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    return ascending({name: sqnr_db(values, fmt(name).quantize(values, block=16).values) for name in names})


def ascending(sizes: Mapping[str, float]) -> Found:
    """An order from the least to the largest; equals may come in either order."""
    keys = sorted(sizes, key=sizes.__getitem__)
    needs = {key: tuple(other for other in keys if sizes[other] < sizes[key]) for key in keys}
    return computed(needs, sizes=", ".join(f"{key} {number_text(sizes[key])}" for key in keys))


def first_gap(name: str) -> Found:
    """The first positive integer that a format cannot hold."""
    return computed(arithmetic.first_gap(fmt(name)))


def bytes_stored(name: str) -> Found:
    """Bytes for each number of a tensor in that format."""
    codes = fmt(name).encode(np.ones(1000, np.float32))
    return computed(codes.nbytes / 1000, size_bytes=codes.nbytes, type=codes.dtype)


def sum_of_ones(name: str, count: int) -> Found:
    """A running sum of ones, each result rounded to the format."""
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
    cells = [witnesses.support(name, target).cell(name, target) for name in names]
    said = "; ".join(f"{cell.format}: {cell.said}" for cell in cells)
    accepted = tuple(cell.format for cell in cells if cell.is_accepted)
    return seen(witnesses.support(names[0], target), accepted, said=said)


def bits_per_value(name: str) -> Found:
    """Bits of a quantised matrix, scales included, for each value."""
    quantized = fmt(name).quantize(np.random.default_rng(0).normal(size=(512, 512)))
    return computed(quantized.bits_per_value, size_bits=quantized.size_bits)


def nibbles() -> Found:
    """The byte that holds the INT4 values 1 and 2."""
    (byte,) = quantize.pack([1, 2])
    return computed(f"{byte:#04x}")


def outlier(name: str, losses: Mapping[str, float]) -> Found:
    """What 4095 values of N(0, 1) lose, in dB of SQNR, when 100 joins them under one scale: the nearest of `losses`."""
    values = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    alone = sqnr_db(values[1:], fmt(name).quantize(values[1:]).values)
    values[0] = 100
    beside = sqnr_db(values[1:], fmt(name).quantize(values).values[1:])
    nearest = min(losses, key=lambda key: abs(alone - beside - losses[key]))
    return computed(nearest, alone=alone, beside=beside)


# --- claims: codes ----------------------------------------------------------------------------------------------------


def referee(name: str) -> Any:
    """The dtype in which NumPy, or ml_dtypes, has that format. KeyError when neither does."""
    import ml_dtypes

    native = {"FP64": np.float64, "FP32": np.float32, "FP16": np.float16, "BF16": ml_dtypes.bfloat16, "INT8": np.int8}
    small = {"FP8_E4M3": "float8_e4m3fn", "FP8_E4M3_IEEE": "float8_e4m3", "FP8_E5M2": "float8_e5m2"}
    return native.get(name) or (small | {"FP4_E2M1": "float4_e2m1fn", "INT4": "int4"})[name]


def _limits(dtype: Any) -> Any:
    from ml_dtypes import finfo

    return finfo(dtype)  # type: ignore[no-untyped-call]


def all_codes(name: str) -> Any:
    """The values of all codes, as the referee reads them; NaN where our codec reads something else."""
    codes = np.arange(1 << fmt(name).bits, dtype=np.uint8)
    theirs = codes.view(referee(name)).astype(np.float64)
    return theirs if np.array_equal(theirs, fmt(name).decode(codes), equal_nan=True) else theirs * np.nan


def means(name: str, codes: Sequence[int], values: Sequence[float]) -> Found:
    """What these codes mean, to NumPy or ml_dtypes and to us."""
    found = all_codes(name)[codes].tolist()
    return computed(found == values, referees=BOTH, values=", ".join(f"{value:g}" for value in found))


def fields(name: str, sign: int, exponent: int, mantissa: int) -> Found:
    """The codes have so many (sign, exponent, mantissa) bits in NumPy or ml_dtypes, whose codes of 1, of -1 and of the
    number after 1 are ours, too."""
    info, kind = _limits(referee(name)), np.dtype(referee(name))
    values = np.array([1, -1, 1 + float(info.eps)], kind)
    one, minus, after = (int(code) for code in values.view(f"u{kind.itemsize}"))
    ours = [int(fmt(name).encode(float(value))) for value in values]
    found = ((one ^ minus).bit_count(), int(info.nexp), int(info.nmant), int(info.bits))
    holds = found == (sign, exponent, mantissa, sign + exponent + mantissa) and ours == [one, minus, after]
    bits = f"{one:0{info.bits}b}"
    return computed(holds, referees=BOTH, one=f"{bits[:1]} {bits[1 : 1 + info.nexp]} {bits[1 + info.nexp :]}")


def fp16_ends_at_65504() -> Found:
    numbers = (1.0, 65504.0, 70000.0)
    with np.errstate(over="ignore"):
        halves = np.array(numbers).astype(np.float16)
    codes = [int(code) for code in halves.view(np.uint16)]
    same = codes == [int(fmt("FP16").encode(number, overflow="ieee")) for number in numbers]
    rows = [(f"{n:,g}", f"{code:016b}", f"{half:,g}") for n, code, half in zip(numbers, codes, halves, strict=True)]
    return computed(same and halves.tolist() == [1.0, 65504.0, math.inf], rows)


def counts(expected: Mapping[str, Sequence[float]]) -> Found:
    """{format: [finite, infinite, NaN, largest]} of all 256 codes."""
    rows = list[tuple[str, int, int, int, float]]()
    for name in expected:
        values = all_codes(name)
        finite, infinite, nan = (int(of(values).sum()) for of in (np.isfinite, np.isinf, np.isnan))
        rows.append((name, finite, infinite, nan, float(np.max(values, initial=0, where=np.isfinite(values)))))
    shown = [(name, *kinds, number_text(largest)) for name, *kinds, largest in rows]
    return computed(rows == [(name, *numbers) for name, numbers in expected.items()], shown, referees=BOTH)


def int4_packed() -> Found:
    import onnx

    packed = onnx.numpy_helper.from_array(np.array([1, 2], referee("INT4"))).raw_data
    return computed(packed == b"\x21" == quantize.pack([1, 2]).tobytes(), referees=(*BOTH, "onnx"))


def int4_bytes() -> Found:
    cells = [witnesses.support(name, "SM89") for name in ("INT4", "FP16")]
    narrow, wide = (told_bytes(found.cells[0], "weights") for found in cells)
    return seen(cells[0], wide > 3.5 * narrow > 0, narrow=narrow, wide=wide)


# --- claims: BF16 -----------------------------------------------------------------------------------------------------


def bf16_is_the_upper_half() -> Found:
    values = np.random.default_rng(0).integers(0, 1 << 32, 30_000, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    below, above = (abs(codes.view(referee("BF16")).astype(float)) for codes in (upper, upper + np.uint16(1)))
    same = (below <= abs(values)) & (abs(values) < above)
    ours = bool((fmt("BF16").encode(values, rounding="toward_zero") == upper).all())
    return computed(ours and bool(same.all()), referees=BOTH, count=len(values), same=int(same.sum()))


def bf16_range() -> Found:
    names = ("FP32", "BF16", "FP16")
    infos = [_limits(referee(name)) for name in names]
    ends = [(float(info.max), float(info.smallest_normal)) for info in infos]
    (wide, least), (brain, same), (half, _) = ends
    holds = 0.996 < brain / wide < 1 and same == least and half < 1e-30 * wide
    agrees = ends == [(fmt(name).max, fmt(name).min_normal) for name in names]
    rows = [(name, *map(number_text, pair)) for name, pair in zip(names, ends, strict=True)]
    return computed(holds and agrees, rows, referees=BOTH, share=brain / wide)


def bf16_errors() -> Found:
    values = np.random.default_rng(0).normal(size=20_000)
    single = values.astype(np.float32)
    theirs = {name: single.astype(referee(name)).astype(float) for name in ("FP16", "BF16")}
    agrees = all((arithmetic.rounded(fmt(name), single) == made).all() for name, made in theirs.items())
    errors = {name: float(np.median(np.abs(made / values - 1))) for name, made in theirs.items()}
    median = errors["BF16"] / errors["FP16"]
    rows = [(name, power_text(fmt(name).epsilon), f"{error:.1e}") for name, error in errors.items()]
    return computed(agrees and 7 < median < 9, rows, referees=BOTH, median=median)


# --- claims: TF32; no library has a type of it, so a GPU was asked ----------------------------------------------------


def tf32() -> Found:
    """What TF32 products of a GPU read and keep, as it was measured."""
    return read_back(recordings.load(dict, "tf32-h100"))


def tf32_reads(mantissa: int, exponents: int) -> Found:
    """A TF32 product leaves so many mantissa bits and powers of two as they were, rounds the rest to the nearest, ties
    to even, and makes a tensor of FP32."""
    found, known = tf32(), fmt("TF32")
    measured, numbers, step = found.facts, found.facts["numbers"], 2.0**-10
    rounded = [1 + step, 1, 1 + step, 1 + 2 * step, -(1 + step)]
    holds = (measured["mantissa"], measured["exponents"], measured["minus"]) == (mantissa, exponents, -1.0)
    holds = holds and [tf32 for _, tf32, _ in numbers.values()][:5] == rounded
    holds = holds and (measured["dtype"], measured["bytes"]) == ("float32", 4) and numbers["1e38"][2] == "inf"
    agrees = (known.mantissa_bits, (1 << known.exponent_bits) - 2) == (mantissa, exponents)
    rows = [(powers(name), *(f"{float(value):.11g}" for value in made)) for name, made in numbers.items()]
    return seen(found, holds and agrees, rows, **measured)


def tf32_errors() -> Found:
    found = tf32()
    errors = found.facts["errors"]
    holds = errors["TF32"] > 20 * errors["FP32"] and errors["TF32"] < 2**-10 and found.facts["sum"] == 2.0**-20
    return seen(found, holds, [(name, f"{error:.1e}") for name, error in errors.items()])


def default_flags(expected: Sequence[str]) -> Found:
    """The builder's flags of an FP32 build for which none was asked."""
    report = witnesses.flow().report
    return seen(report, report.flags == (*expected,), flags=listed(report.flags))


# --- claims: NF4; its table from Python's own quantiles ---------------------------------------------------------------


def nf4_table() -> Any:
    """QLoRA's construction: eight quantiles of N(0, 1) on one side, nine on the other, scaled to [-1, 1]."""
    offset = ((1 - 1 / 30) + (1 - 1 / 32)) / 2
    sides = [[NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, count)[:-1]] for count in (8, 9)]
    return np.sort([*np.negative(sides[0]), 0, *sides[1]]) / max(sides[1])


def nf4_has_no_sign_bit() -> Found:
    table, places = nf4_table(), np.arange(16)
    found = {
        name: [bool((values[places ^ bit] == -values).all()) for bit in (8, 4, 2, 1)]
        for name, values in {"NF4": table, "FP4_E2M1": all_codes("FP4_E2M1")}.items()
    }
    same = np.allclose(table, fmt("NF4").decode(np.arange(16)), atol=1e-6)
    holds = found == {"NF4": [False] * 4, "FP4_E2M1": [True, False, False, False]} and same
    rows = [(name, *("✓" if each else "✗" for each in flips)) for name, flips in found.items()]
    return computed(holds, rows, referees=BOTH, values=", ".join(f"{value:.3f}" for value in table))


def nf4_quantiles() -> Found:
    quantiles, entries = nf4_table(), np.array(fmt("NF4").entries)
    values = np.random.default_rng(0).normal(size=64 * 512).astype(np.float32)
    nf4, int4 = (sqnr_db(values, fmt(name).quantize(values, block=64).values) for name in ("NF4", "INT4"))
    holds = np.abs(quantiles - entries).max() < 1e-6 and (entries < 0).sum() == 7 and (entries > 0).sum() == 8
    rows = zip(range(16), (f"{q:.7f}" for q in quantiles), (f"{e:.7f}" for e in entries), strict=True)
    facts = {"mean": entries.mean(), "deviation": entries.std(), "nf4": nf4, "int4": int4}
    return computed(bool(holds) and abs(entries.mean()) > 0.01 and nf4 > int4 + 1, rows, **facts)
