"""study/claims/formats: the sheet's first question, C01 to C23: which precisions there are and how they differ.

In: trtlab.numeric, NVIDIA's headers release by release, and products of matrices that NVIDIA's builder took or refused.
Out: a proof per item of the sheet; the sentences are in formats.yaml. Each must be able to fail: it compares.
"""

import functools
import math
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study.claims import Evidence, observed, only_history, proves
from trtlab.study.claims.observed import computed as _computed
from trtlab.study.claims.observed import from_history

if TYPE_CHECKING:
    from trtlab.lab.support import Cell, Support

_TWELVE = "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4 FP4 E8M0".split()


# --- what proofs share -----------------------------------------------------------------------------------------------


@functools.cache
def _support(fmt: str, target: str) -> "Support":
    from trtlab.lab.support import matrix

    return matrix([fmt], target)


def _cell(fmt: str, target: str) -> "Cell":
    return _support(fmt, target).cell(fmt, target)


def _fmt(name: str) -> Any:
    from trtlab.numeric import FORMATS

    return FORMATS[name]


def _built(expected: dict[str, dict[str, str]], holds: bool, shown: str) -> Evidence:
    """Holds when, besides, NVIDIA's parser and builder say what is `expected`: {format: {target: part of it}}."""
    asked = [(fmt, target, part) for fmt, targets in expected.items() for target, part in targets.items()]
    rows = tuple((fmt, target, _cell(fmt, target).said) for fmt, target, _ in asked)
    fits = all(part[0] == said[0] and part[2:] in said for (*_, part), (*_, said) in zip(asked, rows, strict=True))
    return Evidence(
        holds=holds and fits,
        shown=shown,
        provenance=_support(*asked[0][:2]).provenance,
        header=("one product in", "built for", "what it reads, or why not"),
        rows=rows,
    )


def _split(fmt: Any, code: int) -> str:
    """`0 01111 0000000000`: the bits of a code, field by field."""
    bits = f"{code >> fmt.padding_bits:0{fmt.bits}b}"
    return f"{bits[0]} {bits[1 : 1 + fmt.exponent_bits]} {bits[1 + fmt.exponent_bits :]}"


def _has_fields(name: str, *said: int) -> tuple[bool, str]:
    """Whether the codes have (sign, exponent, mantissa) bits: measured at 1, -1 and the next number after 1."""
    fmt = _fmt(name)
    one, minus = int(fmt.encode(1.0)), int(fmt.encode(-1.0))
    sign, mantissa = (one ^ minus).bit_count(), -math.log2(float(fmt.decode(one + (1 << fmt.padding_bits))) - 1)
    found = [sign, fmt.bits - sign - mantissa, mantissa]
    native: Any = {"FP64": np.float64, "FP32": np.float32, "FP16": np.float16}.get(name)
    agrees = native is None or (np.finfo(native).nexp, np.finfo(native).nmant) == said[1:]
    return found == [*said] and agrees, f"1 is {_split(fmt, one)}."


def _finite_float32() -> Any:
    """Thirty thousand random bit patterns, the finite ones among them."""
    values = np.random.default_rng(0).integers(0, 1 << 32, 30_000, dtype=np.uint32).view(np.float32)
    return values[np.isfinite(values)]


# --- the list --------------------------------------------------------------------------------------------------------


@proves("C01")
def _list() -> Evidence:
    api = observed.api()
    found = from_history(
        {(f"DataType::k{name}", "v11.1"): "declared" for name in _TWELVE},
        "",
        ("8.5.1", "v8.6.1", "v9.3.0", "v10.0.0", "v10.8.0", "v10.12.0", "v11.1"),
    )
    double = _cell("FP64", "SM89")
    shown = (
        f"{api.compiler} {api.version} stores no other type; of DOUBLE its parser makes {double.stored or double.said}."
    )
    stray = set(api.names.get("DataType", ("none",))) - set(_TWELVE)
    return replace(found, holds=found.holds and not stray and double.stored == "Float", shown=shown)


@proves("C14")
def _missing() -> Evidence:
    came = {"UINT8": ("8.4.1", "8.5.1"), "INT64": ("v8.6.1", "v9.3.0"), "E8M0": ("v10.11", "v10.12.0")}
    expected = {(f"DataType::k{name}", before): "absent" for name, (before, _) in came.items()}
    expected |= {(f"DataType::k{name}", since): "declared" for name, (_, since) in came.items()}
    expected |= {(f"DataType::k{name}", "8.4.1"): "declared" for name in ("INT32", "BOOL")}
    found = from_history(expected, "", ("8.4.1", "8.5.1", "v8.6.1", "v9.3.0", "v10.11", "v10.12.0", "v11.1"))
    blocks = [_cell(name, "SM120") for name in ("NVFP4", "MXFP8_E4M3")]
    said = "; ".join(f"{cell.format}: {cell.said}" for cell in blocks)
    taken = all(cell.is_accepted for cell in blocks)
    return replace(found, holds=found.holds and taken, shown=f"Built for SM120, what the product reads: {said}.")


# --- bits ------------------------------------------------------------------------------------------------------------


@proves("C03")
def _fp64() -> Evidence:
    return _built({"FP64": {"SM89": "✓ Float × Float"}}, *_has_fields("FP64", 1, 11, 52))


@proves("C04")
def _fp32() -> Evidence:
    found = _built({"FP32": {"SM89": "✓ Float × Float"}}, *_has_fields("FP32", 1, 8, 23))
    return replace(found, holds=found.holds and observed.api().has("DataType", "FLOAT"))


@proves("C05")
def _fp16() -> Evidence:
    holds, shown = _has_fields("FP16", 1, 5, 10)
    fmt = _fmt("FP16")
    codes = [int(fmt.encode(value, overflow="ieee")) for value in (1.0, 65504.0, 70000.0)]
    values = [float(fmt.decode(code)) for code in codes]
    with np.errstate(over="ignore"):
        same = values == [float(np.float16(value)) for value in (1.0, 65504.0, 70000.0)] == [1.0, fmt.max, math.inf]
    rows = zip(("1", "65504", "70000"), (_split(fmt, code) for code in codes), values, strict=True)
    holds = holds and same and observed.api().has("DataType", "HALF")
    return _computed(holds, f"{shown} NumPy's float16 agrees.", ("number", "code", "value"), rows)


@proves("C06")
def _bf16() -> Evidence:
    expected = {"BF16": {"SM75": "✗ HW-specific datatypes: b16", "SM80": "✓ BFloat16 × BFloat16"}}
    return _built(expected, *_has_fields("BF16", 1, 8, 7))


def _counts(name: str) -> tuple[int, int, int]:
    """(finite, infinite, NaN) among the values of all codes."""
    values = _fmt(name).decode(np.arange(256))
    return int(np.isfinite(values).sum()), int(np.isinf(values).sum()), int(np.isnan(values).sum())


@proves("C07")
def _e4m3() -> Evidence:
    holds, shown = _has_fields("FP8_E4M3", 1, 4, 3)
    names = ("FP8_E4M3", "FP8_E4M3_IEEE")
    rows = [(name, *_counts(name), f"{_fmt(name).max:g}") for name in names]
    holds = holds and rows == [(names[0], 254, 0, 2, "448"), (names[1], 240, 2, 14, "240")]
    return _computed(holds, f"{shown} All 256 codes:", ("", "finite", "infinite", "NaN", "largest"), rows)


@proves("C08")
def _e5m2() -> Evidence:
    holds, _ = _has_fields("FP8_E5M2", 1, 5, 2)
    finite, infinite, nan = _counts("FP8_E5M2")
    largest = _fmt("FP8_E5M2").max
    shown = f"Of 256 codes {finite} are finite, {infinite} infinite, {nan} NaN; the largest value is {largest:g}."
    expected = {name: {"SM120": part} for name, part in (("FP8_E5M2", "✗ cannot be imported"), ("FP8_E4M3", "✓ FP8"))}
    return _built(expected, holds and (finite, infinite, nan, largest) == (248, 2, 6, 57344), shown)


@proves("C09")
def _int8() -> Evidence:
    weights = _fmt("INT8").decode(1 << np.arange(8)).astype(int).tolist()
    expected = {
        "INT8": {"SM89": "✓ Int8 × Int8"},
        "INT8 with a zero point": {"SM89": "✗ Non-zero zero point is not supported"},
        "UINT8": {"SM89": "✗ unsupported input type of UINT8"},
        "UINT8 input": {"SM89": "✓ Half × Half"},
    }
    return _built(expected, weights == [1, 2, 4, 8, 16, 32, 64, -128], f"What its bits weigh: {weights}.")


@proves("C10")
def _int4() -> Evidence:
    from trtlab.numeric.quantize import pack

    values = _fmt("INT4").decode(np.arange(16)).astype(int).tolist()
    narrow, wide = (_cell(name, "SM89").weights_bytes or 0 for name in ("INT4", "FP16"))
    expected = {"INT4": {"SM75": "✗ datatypes: int4", "SM80": "✓ Half × Int4", "SM89": "✓ Half × Int4"}}
    expected["UINT4"] = {"SM89": "✗ cannot be imported"}
    holds = sorted(values) == [*range(-8, 8)] and pack([1, 2]).tolist() == [0x21] and wide > 3.5 * narrow > 0
    return _built(expected, holds, f"256 × 256 weights: {narrow:,} bytes with their scales; in FP16 {wide:,}.")


@proves("C11")
def _fp4() -> Evidence:
    values = _fmt("FP4_E2M1").decode(np.arange(16))
    expected = {"FP4_E2M1": {"SM89": "✗ datatypes: fp4_e2m1", "SM120": "✓ stored as FP4E2M1"}}
    expected["NVFP4"] = {"SM89": "✗ datatypes: fp4_e2m1", "SM120": "✓ FP4E2M1 × FP4E2M1"}
    holds = len(set(values.tolist())) == 15 and values[:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    both = (values[8:] == -values[:8]).all() and _has_fields("FP4_E2M1", 1, 2, 1)[0]
    return _built(expected, holds and bool(both), f"{', '.join(f'{value:g}' for value in values[:8])}; with scales:")


@proves("C12")
def _nf4_fields() -> Evidence:
    values = _fmt("NF4").decode(np.arange(16))
    negates = {
        name: [bool((fmt.decode(np.arange(16) ^ bit) == -fmt.decode(np.arange(16))).all()) for bit in (8, 4, 2, 1)]
        for name, fmt in (("NF4", _fmt("NF4")), ("FP4_E2M1", _fmt("FP4_E2M1")))
    }
    holds = negates == {"NF4": [False] * 4, "FP4_E2M1": [True, False, False, False]} and bool(
        (np.diff(values) > 0).all()
    )
    header = ("flipping a bit negates every value", "bit 3", "bit 2", "bit 1", "bit 0")
    rows = [(name, *("yes" if each else "no" for each in found)) for name, found in negates.items()]
    return _computed(holds, f"Codes 0 to 15: {', '.join(f'{value:.3f}' for value in values)}.", header, rows)


# --- BF16 ------------------------------------------------------------------------------------------------------------


@proves("C15")
def _upper_half() -> Evidence:
    values = _finite_float32()
    upper = values.view(np.uint32) >> 16
    codes = _fmt("BF16").encode(values, rounding="toward_zero")
    shown = f"{len(values):,} random numbers, cut off after 16 bits: {int((codes == upper).sum()):,} are the BF16 code."
    return _computed(bool((codes == upper).all()) and _fmt("BF16").bits == _fmt("FP16").bits == 16, shown)


@proves("C16")
def _bf16_range() -> Evidence:
    names = ("FP32", "BF16", "FP16")
    wide, brain, half = map(_fmt, names)
    share = brain.max / wide.max
    holds = 0.996 < share < 1 and brain.min_normal == wide.min_normal and half.max < 1e-30 * wide.max
    rows = [(name, f"{_fmt(name).max:.4g}", f"{_fmt(name).min_normal:.4g}") for name in names]
    return _computed(holds, f"BF16 ends at {share:.2%} of FP32's largest value.", ("", "largest", "least normal"), rows)


@proves("C17")
def _bf16_precision() -> Evidence:
    from trtlab.numeric.arithmetic import rounded

    values = np.random.default_rng(0).normal(size=20_000)
    errors = {name: np.abs(rounded(_fmt(name), values) / values - 1) for name in ("FP16", "BF16")}
    steps = _fmt("BF16").epsilon / _fmt("FP16").epsilon
    median = float(np.median(errors["BF16"]) / np.median(errors["FP16"]))
    rows = [(name, f"2^{math.log2(_fmt(name).epsilon):g}", f"{np.median(found):.1e}") for name, found in errors.items()]
    shown = f"The median error is {median:.1f} times as large."
    return _computed(steps == 8 and 7 < median < 9, shown, ("", "step at 1", "median relative error"), rows)


# --- TF32 ------------------------------------------------------------------------------------------------------------


@proves("C02")
def _tf32_memory() -> Evidence:
    values = np.ones(1000, np.float32)
    rows = [(name, _fmt(name).bits, _fmt(name).encode(values).nbytes) for name in ("FP32", "TF32", "FP16")]
    holds = [row[1:] for row in rows] == [(32, 4000), (19, 4000), (16, 2000)]
    return _computed(holds, "A thousand numbers:", ("", "bits of a value", "bytes in memory"), rows)


@proves("C13")
def _tf32_fields() -> Evidence:
    from trtlab.numeric.arithmetic import rounded

    holds, shown = _has_fields("TF32", 1, 8, 10)
    numbers = {"1 + 2^-11": 1 + 2**-11, "1 + 2^-10": 1 + 2**-10, "1e38": 1e38}
    found = {text: [float(rounded(_fmt(name), x)) for name in ("TF32", "FP16")] for text, x in numbers.items()}
    survives = [abs(tf32 / numbers[text] - 1) < 2**-12 for text, (tf32, _) in found.items()]
    rows = [(text, *(f"{value:.10g}" for value in pair)) for text, pair in found.items()]
    holds = holds and survives == [False, True, True] and found["1e38"][1] == math.inf
    return _computed(holds, shown, ("number", "TF32", "FP16"), rows)


@proves("C19")
def _nineteen() -> Evidence:
    codes = _fmt("TF32").encode(_finite_float32())
    ever_one, always_one = int(np.bitwise_or.reduce(codes)), int(np.bitwise_and.reduce(codes))
    shown = f"Of {len(codes):,} codes: ever 1 in {ever_one:032b}, always 1 in {always_one:032b}."
    return _computed((ever_one, always_one) == (((1 << 19) - 1) << 13, 0), shown)


@proves("C20")
def _tf32_flag() -> Evidence:
    tf32, flags = _fmt("TF32"), _default_flags()
    between = tf32.max_exponent == _fmt("FP32").max_exponent and tf32.epsilon == _fmt("FP16").epsilon
    same = _cell("TF32", "SM89").kernels == _cell("FP32", "SM89").kernels
    expected = {name: {"SM89": "✓ Float × Float"} for name in ("TF32", "FP32")}
    shown = f"On by default: {', '.join(flags) or 'nothing'}. With and without the flag every tensor is Float."
    return _built(expected, between and same and flags == ("TF32",), shown)


def _default_flags() -> tuple[str, ...]:
    from trtlab.engine import recordings
    from trtlab.engine.nvidia import CompilerMissing, explain
    from trtlab.lab.support import network

    try:
        return explain(network("FP32"), "SM89", compiler="tensorrt_rtx").flags
    except CompilerMissing:
        return recordings.load("digits-FP32-SM89-static").flags


# --- NF4 -------------------------------------------------------------------------------------------------------------


@proves("C22")
def _nf4() -> Evidence:
    from trtlab.numeric.quantize import sqnr_db

    offset = ((1 - 1 / 30) + (1 - 1 / 32)) / 2
    sides = [[NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, count)[:-1]] for count in (8, 9)]
    quantiles = np.sort([*np.negative(sides[0]), 0, *sides[1]]) / max(sides[1])
    entries = np.array(_fmt("NF4").entries)
    values = np.random.default_rng(0).normal(size=64 * 512).astype(np.float32)
    nf4, int4 = (sqnr_db(values, _fmt(name).quantize(values, block=64).values) for name in ("NF4", "INT4"))
    shown = (
        f"The table has mean {entries.mean():.3f} and standard deviation {entries.std():.3f}, a number. "
        f"On N(0, 1), in blocks of 64, it keeps {nf4:.1f} dB; INT4 {int4:.1f} dB."
    )
    holds = np.abs(quantiles - entries).max() < 1e-6 and (entries < 0).sum() == 7 and (entries > 0).sum() == 8
    rows = zip(range(16), (f"{q:.7f}" for q in quantiles), (f"{e:.7f}" for e in entries), strict=True)
    header = ("code", "quantile of N(0, 1), scaled", "NF4")
    return _computed(bool(holds) and abs(entries.mean()) > 0.01 and nf4 > int4 + 1, shown, header, rows)


@proves("C23")
def _nf4_deployed() -> Evidence:
    api = observed.api()
    lacks = "DataType" in api.names and not api.has("DataType", "NF4")
    expected = {"INT4": {"SM89": "✓ Int4"}, "NVFP4": {"SM120": "✓ FP4E2M1"}, "NF4": {"SM120": "✗ no tensor type NF4"}}
    return _built(expected, lacks, f"{api.compiler} {api.version}: {', '.join(api.names.get('DataType', ()))}.")


only_history("C18", "C21")
