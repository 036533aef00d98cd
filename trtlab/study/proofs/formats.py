"""study/proofs/formats: C01 to C23: what the codes of the formats are, by outside referees, and what a GPU read.

In: the referees' own codes and limits, what NVIDIA's builder said, a GPU's record. Out: `Found`s, which hold only
where trtlab.numeric agrees with the referee; the words are in words/claims.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from trtlab.study import witnesses
from trtlab.study.found import Found, computed
from trtlab.study.witnesses import fmt, referee

TYPES = set("FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4 FP4 E8M0".split())
BOTH = ("numpy", "ml_dtypes")


def no_other_type() -> Found:
    api = witnesses.api()
    types = api.names.get("DataType", ())
    facts = {"compiler": api.compiler, "version": api.version, "types": witnesses.listed(types)}
    return Found(value=bool(types) and set(types) <= TYPES, provenance=api.provenance, facts=facts)


def all_codes(name: str, bits: int) -> Any:
    """The values of all codes, as the referee reads them; NaN where our codec reads something else."""
    theirs = np.arange(1 << bits, dtype=np.uint8).view(referee(name)).astype(np.float64)
    return theirs if np.array_equal(theirs, fmt(name).decode(np.arange(1 << bits)), equal_nan=True) else theirs * np.nan


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


def _limits(dtype: Any) -> Any:
    from ml_dtypes import finfo

    return finfo(dtype)  # type: ignore[no-untyped-call]


def fp16_ends_at_65504() -> Found:
    numbers = (1.0, 65504.0, 70000.0)
    with np.errstate(over="ignore"):
        halves = np.array(numbers).astype(np.float16)
    codes = [int(code) for code in halves.view(np.uint16)]
    same = codes == [int(fmt("FP16").encode(number, overflow="ieee")) for number in numbers]
    rows = [(f"{n:g}", f"{code:016b}", float(half)) for n, code, half in zip(numbers, codes, halves, strict=True)]
    return computed(same and halves.tolist() == [1.0, 65504.0, math.inf], rows)


def counts(expected: Mapping[str, Sequence[float]]) -> Found:
    """{format: [finite, infinite, NaN, largest]} of all 256 codes."""
    rows = []
    for name in expected:
        values = all_codes(name, 8)
        kinds = [int(of(values).sum()) for of in (np.isfinite, np.isinf, np.isnan)]
        rows.append((name, *kinds, float(np.max(values, initial=0, where=np.isfinite(values)))))
    shown = [(name, *kinds, f"{largest:g}") for name, *kinds, largest in rows]
    return computed(rows == [(name, *numbers) for name, numbers in expected.items()], shown, referees=BOTH)


def int8_weights() -> Found:
    codes = (1 << np.arange(8)).astype(np.uint8)
    weights = codes.view(np.int8).tolist()
    same = weights == fmt("INT8").decode(codes).astype(int).tolist()
    return computed(same and weights == [1, 2, 4, 8, 16, 32, 64, -128], weights=weights)


def int4_packed() -> Found:
    import ml_dtypes
    import onnx

    from trtlab.numeric.quantize import pack

    info: Any = ml_dtypes.iinfo("int4")  # type: ignore[no-untyped-call]
    ours = fmt("INT4").decode(np.arange(16))
    packed = onnx.numpy_helper.from_array(np.array([1, 2], "int4")).raw_data
    holds = packed == b"\x21" == pack([1, 2]).tobytes() and sorted(ours) == [*range(info.min, info.max + 1)]
    return computed(holds and (info.min, info.max) == (-8, 7), referees=(*BOTH, "onnx"))


def int4_bytes() -> Found:
    cells = [witnesses.support(name, "SM89") for name in ("INT4", "FP16")]
    narrow, wide = (found.cells[0].weights_bytes or 0 for found in cells)
    facts = {"narrow": narrow, "wide": wide}
    return Found(value=wide > 3.5 * narrow > 0, facts=facts, provenance=cells[0].provenance)


def fp4_values() -> Found:
    values = all_codes("FP4_E2M1", 4)
    holds = len({*values.tolist()}) == 15 and values[:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    shown = ", ".join(f"{value:g}" for value in values[:8])
    return computed(holds and bool((values[8:] == -values[:8]).all()), referees=BOTH, values=shown)


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
    rows = [(name, *(f"{end:.4g}" for end in pair)) for name, pair in zip(names, ends, strict=True)]
    return computed(holds and agrees, rows, referees=BOTH, share=brain / wide)


def bf16_errors() -> Found:
    from trtlab.numeric.arithmetic import rounded

    values = np.random.default_rng(0).normal(size=20_000)
    theirs = {name: values.astype(np.float32).astype(referee(name)).astype(float) for name in ("FP16", "BF16")}
    agrees = all((rounded(fmt(name), values.astype(np.float32)) == made).all() for name, made in theirs.items())
    errors = {name: float(np.median(np.abs(made / values - 1))) for name, made in theirs.items()}
    median = errors["BF16"] / errors["FP16"]
    rows = [(name, f"2^{math.log2(fmt(name).epsilon):g}", f"{error:.1e}") for name, error in errors.items()]
    return computed(agrees and 7 < median < 9, rows, referees=BOTH, median=median)


# --- TF32: no library has a type of it, so a GPU was asked ------------------------------------------------------------


def tf32_reads(mantissa: int, exponents: int) -> Found:
    """A TF32 product leaves so many mantissa bits and powers of two as they were, rounds the rest to the nearest, ties
    to even, and makes a tensor of FP32."""
    found = witnesses.tf32()
    seen, known = found.facts, fmt("TF32")
    one, step = 1.0, 2.0**-10
    rounded = [one + step, one, one + step, one + 2 * step, -(one + step)]
    numbers = seen["numbers"]
    holds = (seen["mantissa"], seen["exponents"], seen["minus"]) == (mantissa, exponents, -1.0)
    holds = holds and [tf32 for _, tf32, _ in numbers.values()][:5] == rounded
    holds = holds and (seen["dtype"], seen["bytes"]) == ("float32", 4) and numbers["1e38"][2] == "inf"
    agrees = (known.mantissa_bits, (1 << known.exponent_bits) - 2) == (mantissa, exponents)
    rows = [(name, *(f"{float(value):.11g}" for value in made)) for name, made in numbers.items()]
    return Found(value=holds and agrees, rows=rows, facts=seen, provenance=found.provenance)


def tf32_errors() -> Found:
    found = witnesses.tf32()
    errors = found.facts["errors"]
    holds = errors["TF32"] > 20 * errors["FP32"] and errors["TF32"] < 2**-10 and found.facts["sum"] == 2.0**-20
    rows = [(name, f"{error:.1e}") for name, error in errors.items()]
    return Found(value=holds, rows=rows, provenance=found.provenance)


def default_flags(expected: Sequence[str]) -> Found:
    """The builder's flags of an FP32 build for which none was asked."""
    report = witnesses.flow().report
    holds, facts = report.flags == (*expected,), {"flags": witnesses.listed(report.flags)}
    return Found(value=holds, facts=facts, provenance=report.provenance)


# --- NF4: its table from Python's own quantiles -----------------------------------------------------------------------


def nf4_table() -> Any:
    """QLoRA's construction: eight quantiles of N(0, 1) on one side, nine on the other, scaled to [-1, 1]."""
    offset = ((1 - 1 / 30) + (1 - 1 / 32)) / 2
    sides = [[NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, count)[:-1]] for count in (8, 9)]
    return np.sort([*np.negative(sides[0]), 0, *sides[1]]) / max(sides[1])


def nf4_has_no_sign_bit() -> Found:
    def negates(values: Any) -> list[bool]:
        return [bool((values[np.arange(16) ^ bit] == -values).all()) for bit in (8, 4, 2, 1)]

    table, ours = nf4_table(), fmt("NF4").decode(np.arange(16))
    found = {"NF4": negates(table), "FP4_E2M1": negates(all_codes("FP4_E2M1", 4))}
    holds = found == {"NF4": [False] * 4, "FP4_E2M1": [True, False, False, False]} and np.allclose(
        table, ours, atol=1e-6
    )
    rows = [(name, *("✓" if each else "✗" for each in flips)) for name, flips in found.items()]
    same = np.allclose(table, ours, atol=1e-6)
    return computed(holds and same, rows, referees=BOTH, values=", ".join(f"{value:.3f}" for value in table))


def nf4_quantiles() -> Found:
    from trtlab.numeric.quantize import sqnr_db

    quantiles, entries = nf4_table(), np.array(fmt("NF4").entries)
    values = np.random.default_rng(0).normal(size=64 * 512).astype(np.float32)
    nf4, int4 = (sqnr_db(values, fmt(name).quantize(values, block=64).values) for name in ("NF4", "INT4"))
    holds = np.abs(quantiles - entries).max() < 1e-6 and (entries < 0).sum() == 7 and (entries > 0).sum() == 8
    rows = zip(range(16), (f"{q:.7f}" for q in quantiles), (f"{e:.7f}" for e in entries), strict=True)
    facts = {"mean": entries.mean(), "deviation": entries.std(), "nf4": nf4, "int4": int4}
    return computed(bool(holds) and abs(entries.mean()) > 0.01 and nf4 > int4 + 1, rows, **facts)
