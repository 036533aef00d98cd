"""study/proofs/formats: C01 to C23: what the codes of the formats are, by outside referees where there are any.

In: trtlab.numeric, NumPy, what NVIDIA's builder said. Out: `Found`s; the words are in words/claims.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from trtlab.study import witnesses
from trtlab.study.found import Found, computed
from trtlab.study.witnesses import fmt

TYPES = set("FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4 FP4 E8M0".split())


def no_other_type() -> Found:
    api, double = witnesses.api(), witnesses.support("FP64", "SM89").cell("FP64", "SM89")
    stray = set(api.names.get("DataType", ("none",))) - TYPES
    return Found(
        value=not stray and double.stored == "Float", provenance=api.provenance,
        facts={"compiler": api.compiler, "version": api.version, "double": double.stored or double.said},
    )  # fmt: skip


def types_of_the_api() -> Found:
    api = witnesses.api()
    types = api.names.get("DataType", ())
    facts = {"compiler": api.compiler, "version": api.version, "types": witnesses.listed(types)}
    return Found(value=bool(types), facts=facts, provenance=api.provenance)


def bits_of(name: str, code: int) -> str:
    """`0 01111 0000000000`: the bits of a code, field by field."""
    known = fmt(name)
    bits = f"{code >> known.padding_bits:0{known.bits}b}"
    return f"{bits[0]} {bits[1 : 1 + known.exponent_bits]} {bits[1 + known.exponent_bits :]}"


def _finite_float32() -> Any:
    """Thirty thousand random bit patterns, the finite ones among them."""
    values = np.random.default_rng(0).integers(0, 1 << 32, 30_000, dtype=np.uint32).view(np.float32)
    return values[np.isfinite(values)]


def fp16_ends_at_65504() -> Found:
    known, numbers = fmt("FP16"), (1.0, 65504.0, 70000.0)
    codes = [int(known.encode(number, overflow="ieee")) for number in numbers]
    values = [float(known.decode(code)) for code in codes]
    with np.errstate(over="ignore"):
        same = values == [float(np.float16(number)) for number in numbers] == [1.0, known.max, math.inf]
    rows = zip((f"{number:g}" for number in numbers), (bits_of("FP16", code) for code in codes), values, strict=True)
    return computed(same, rows)


def _counts(name: str) -> tuple[int, int, int]:
    """(finite, infinite, NaN) among the values of all codes."""
    values = fmt(name).decode(np.arange(256))
    return int(np.isfinite(values).sum()), int(np.isinf(values).sum()), int(np.isnan(values).sum())


def e4m3_without_infinity() -> Found:
    names = ("FP8_E4M3", "FP8_E4M3_IEEE")
    rows = [(name, *_counts(name), f"{fmt(name).max:g}") for name in names]
    return computed(rows == [(names[0], 254, 0, 2, "448"), (names[1], 240, 2, 14, "240")], rows)


def e5m2_counts() -> Found:
    finite, infinite, nan = _counts("FP8_E5M2")
    largest = fmt("FP8_E5M2").max
    holds = (finite, infinite, nan, largest) == (248, 2, 6, 57344)
    return computed(holds, finite=finite, infinite=infinite, nan=nan, largest=largest)


def int8_weights() -> Found:
    weights = fmt("INT8").decode(1 << np.arange(8)).astype(int).tolist()
    return computed(weights == [1, 2, 4, 8, 16, 32, 64, -128], weights=weights)


def int4_packed() -> Found:
    from trtlab.numeric.quantize import pack

    values = fmt("INT4").decode(np.arange(16)).astype(int).tolist()
    narrow, wide = (witnesses.support(name, "SM89").cell(name, "SM89").weights_bytes or 0 for name in ("INT4", "FP16"))
    holds = sorted(values) == [*range(-8, 8)] and pack([1, 2]).tolist() == [0x21] and wide > 3.5 * narrow > 0
    return computed(holds, narrow=narrow, wide=wide)


def fp4_values() -> Found:
    values = fmt("FP4_E2M1").decode(np.arange(16))
    holds = len(set(values.tolist())) == 15 and values[:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    both = bool((values[8:] == -values[:8]).all())
    return computed(holds and both, values=", ".join(f"{value:g}" for value in values[:8]))


def nf4_has_no_sign_bit() -> Found:
    def negates(name: str) -> list[bool]:
        values = fmt(name).decode(np.arange(16))
        return [bool((fmt(name).decode(np.arange(16) ^ bit) == -values).all()) for bit in (8, 4, 2, 1)]

    found = {name: negates(name) for name in ("NF4", "FP4_E2M1")}
    values = fmt("NF4").decode(np.arange(16))
    rows = [(name, *("yes" if each else "no" for each in flips)) for name, flips in found.items()]
    holds = found == {"NF4": [False] * 4, "FP4_E2M1": [True, False, False, False]} and bool((np.diff(values) > 0).all())
    return computed(holds, rows, values=", ".join(f"{value:.3f}" for value in values))


def bf16_is_the_upper_half() -> Found:
    values = _finite_float32()
    same = fmt("BF16").encode(values, rounding="toward_zero") == values.view(np.uint32) >> 16
    holds = bool(same.all()) and fmt("BF16").bits == fmt("FP16").bits == 16
    return computed(holds, count=len(values), same=int(same.sum()))


def bf16_range() -> Found:
    names = ("FP32", "BF16", "FP16")
    wide, brain, half = map(fmt, names)
    share = brain.max / wide.max
    holds = 0.996 < share < 1 and brain.min_normal == wide.min_normal and half.max < 1e-30 * wide.max
    return computed(
        holds, [(name, f"{fmt(name).max:.4g}", f"{fmt(name).min_normal:.4g}") for name in names], share=share
    )


def bf16_errors() -> Found:
    from trtlab.numeric.arithmetic import rounded

    values = np.random.default_rng(0).normal(size=20_000)
    errors = {name: np.abs(rounded(fmt(name), values) / values - 1) for name in ("FP16", "BF16")}
    steps = fmt("BF16").epsilon / fmt("FP16").epsilon
    median = float(np.median(errors["BF16"]) / np.median(errors["FP16"]))
    rows = [(name, f"2^{math.log2(fmt(name).epsilon):g}", f"{np.median(found):.1e}") for name, found in errors.items()]
    return computed(steps == 8 and 7 < median < 9, rows, median=median)


def tf32_in_memory() -> Found:
    values = np.ones(1000, np.float32)
    rows = [(name, fmt(name).bits, fmt(name).encode(values).nbytes) for name in ("FP32", "TF32", "FP16")]
    return computed([row[1:] for row in rows] == [(32, 4000), (19, 4000), (16, 2000)], rows)


def tf32_range_and_step() -> Found:
    from trtlab.numeric.arithmetic import rounded

    numbers = {"1 + 2^-11": 1 + 2**-11, "1 + 2^-10": 1 + 2**-10, "1e38": 1e38}
    found = {text: [float(rounded(fmt(name), x)) for name in ("TF32", "FP16")] for text, x in numbers.items()}
    survives = [abs(tf32 / numbers[text] - 1) < 2**-12 for text, (tf32, _) in found.items()]
    rows = [(text, *(f"{value:.10g}" for value in pair)) for text, pair in found.items()]
    return computed(survives == [False, True, True] and found["1e38"][1] == math.inf, rows)


def tf32_has_19_bits() -> Found:
    codes = fmt("TF32").encode(_finite_float32())
    ever, always = int(np.bitwise_or.reduce(codes)), int(np.bitwise_and.reduce(codes))
    return computed((ever, always) == (((1 << 19) - 1) << 13, 0), count=len(codes), ever=ever, always=always)


def tf32_is_a_flag() -> Found:
    tf32, flags = fmt("TF32"), default_flags()
    between = tf32.max_exponent == fmt("FP32").max_exponent and tf32.epsilon == fmt("FP16").epsilon
    with_flag, without = (witnesses.support(name, "SM89").cell(name, "SM89").kernels for name in ("TF32", "FP32"))
    return computed(between and with_flag == without and flags == ("TF32",), flags=witnesses.listed(flags))


def default_flags() -> tuple[str, ...]:
    """The builder's flags of an FP32 build for which none was asked."""
    return witnesses.flow().report.flags


def nf4_quantiles() -> Found:
    from trtlab.numeric.quantize import sqnr_db

    offset = ((1 - 1 / 30) + (1 - 1 / 32)) / 2
    sides = [[NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, count)[:-1]] for count in (8, 9)]
    quantiles = np.sort([*np.negative(sides[0]), 0, *sides[1]]) / max(sides[1])
    entries = np.array(fmt("NF4").entries)
    values = np.random.default_rng(0).normal(size=64 * 512).astype(np.float32)
    nf4, int4 = (sqnr_db(values, fmt(name).quantize(values, block=64).values) for name in ("NF4", "INT4"))
    holds = np.abs(quantiles - entries).max() < 1e-6 and (entries < 0).sum() == 7 and (entries > 0).sum() == 8
    rows = zip(range(16), (f"{q:.7f}" for q in quantiles), (f"{e:.7f}" for e in entries), strict=True)
    facts = {"mean": entries.mean(), "deviation": entries.std(), "nf4": nf4, "int4": int4}
    return computed(bool(holds) and abs(entries.mean()) > 0.01 and nf4 > int4 + 1, rows, **facts)
