"""numeric/formats: the published tables come out of the stored facts; bad descriptions are refused."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from trtlab.numeric import FORMATS, CodeBook, FloatFormat, IntegerFormat

# name: bits, bias, max, min normal, min subnormal, epsilon, NaN codes, infinity codes
TABLE = {
    # IEEE 754-2019, table 3.5
    "FP64": (64, 1023, (2 - 2.0**-52) * 2.0**1023, 2.0**-1022, 2.0**-1074, 2.0**-52, 2**53 - 2, 2),
    "FP32": (32, 127, (2 - 2.0**-23) * 2.0**127, 2.0**-126, 2.0**-149, 2.0**-23, 2**24 - 2, 2),
    "FP16": (16, 15, 65504, 2.0**-14, 2.0**-24, 2.0**-10, 2046, 2),
    # the range of FP32 with fewer mantissa bits
    "TF32": (19, 127, (2 - 2.0**-10) * 2.0**127, 2.0**-126, 2.0**-136, 2.0**-10, 2046, 2),
    "BF16": (16, 127, (2 - 2.0**-7) * 2.0**127, 2.0**-126, 2.0**-133, 2.0**-7, 254, 2),
    # OCP 8-bit floating point specification (OFP8) 1.0, table 1
    "FP8_E4M3": (8, 7, 448, 2.0**-6, 2.0**-9, 1 / 8, 2, 0),
    "FP8_E5M2": (8, 15, 57344, 2.0**-14, 2.0**-16, 1 / 4, 6, 2),
    # IEEE 754's scheme with other widths, as in LLVM's APFloat
    "FP8_E4M3_IEEE": (8, 7, 240, 2.0**-6, 2.0**-9, 1 / 8, 14, 2),
    "FP8_E3M4": (8, 3, 15.5, 2.0**-2, 2.0**-6, 1 / 16, 30, 2),
    # arXiv 2206.02915, table 1
    "FP8_E4M3_FNUZ": (8, 8, 240, 2.0**-7, 2.0**-10, 1 / 8, 1, 0),
    "FP8_E5M2_FNUZ": (8, 16, 57344, 2.0**-15, 2.0**-17, 1 / 4, 1, 0),
    # OCP Microscaling formats (MX) 1.0, sections 5.3 and 5.4
    "FP6_E3M2": (6, 3, 28, 1 / 4, 1 / 16, 1 / 4, 0, 0),
    "FP6_E2M3": (6, 1, 7.5, 1, 1 / 8, 1 / 8, 0, 0),
    "FP4_E2M1": (4, 1, 6, 1, 1 / 2, 1 / 2, 0, 0),
    "E8M0": (8, 127, 2.0**127, 2.0**-127, None, 1, 1, 0),
}

NAMES = """FP64 FP32 TF32 FP16 BF16 FP8_E4M3 FP8_E5M2 FP8_E4M3_IEEE FP8_E3M4 FP8_E4M3_FNUZ FP8_E5M2_FNUZ FP6_E3M2
FP6_E2M3 FP4_E2M1 E8M0 INT8 UINT8 INT4 UINT4 NF4 MXFP8_E4M3 MXFP8_E5M2 MXFP6_E3M2 MXFP6_E2M3 MXFP4 MXINT8
NVFP4""".split()


def test_every_name_is_there_and_knows_itself():
    assert set(NAMES) == set(FORMATS)
    assert all(str(FORMATS[name]) == FORMATS[name].name == name for name in NAMES)


@pytest.mark.parametrize("name", TABLE)
def test_the_published_figures_are_derived(name):
    fmt = FORMATS[name]
    figures = (fmt.bits, fmt.bias, fmt.max, fmt.min_normal, fmt.min_subnormal, fmt.epsilon)
    assert (*figures, fmt.nan_codes, fmt.has_infinity * (1 + fmt.is_signed)) == TABLE[name]
    assert fmt.max_exponent == math.frexp(fmt.max)[1] - 1
    values = fmt.decode(fmt.all_codes() if fmt.bits <= 16 else [0])
    assert fmt.bits > 16 or np.isnan(values).sum() == fmt.nan_codes
    assert fmt.min == (-fmt.max if fmt.is_signed else 2.0**-127)


def linspace(start, count):
    """From `start` to 0.5 as torch fills it, from both ends: only so do all bits agree with those of bitsandbytes."""
    first, last = np.float32(start), np.float32(0.5)
    step = np.float32((last - first) / np.float32(count - 1))
    places = [(first + step * np.float32(i), last - step * np.float32(count - 1 - i)) for i in range(count)]
    return [low if i < count // 2 else high for i, (low, high) in enumerate(places)]


def test_nf4_is_the_quantiles_of_the_normal_distribution():
    """QLoRA (arXiv 2305.14314), section 3: one more above zero than below, divided by the largest."""
    offset = 0.9677083  # the mean of 1 - 1/30 and 1 - 1/32
    assert offset == pytest.approx((2 - 1 / 30 - 1 / 32) / 2, abs=1e-7)
    high, low = ([statistics.NormalDist().inv_cdf(float(p)) for p in linspace(offset, n)[:-1]] for n in (9, 8))
    values = np.sort(np.array([*(-x for x in low), 0.0, *high], np.float32))
    assert FORMATS["NF4"].entries == tuple((values / values[-1]).tolist())


def test_a_format_of_ones_own():
    mine = FloatFormat(exponent_bits=3, mantissa_bits=2)
    assert (mine.bits, mine.bias, mine.max, mine.top_nans, str(mine)) == (6, 3, 14.0, 3, "FloatFormat")
    assert replace(mine, has_infinity=False, top_nans=0).max == 28.0
    assert replace(mine, is_signed=False).min == 0


def test_codes_above_padding():
    tf32, padded = FORMATS["TF32"], FloatFormat(exponent_bits=2, mantissa_bits=1, padding_bits=4)
    assert (tf32.bits, tf32.padding_bits, tf32.container_bits, tf32.code_dtype) == (19, 13, 32, np.uint32)
    assert (padded.all_codes().tolist(), padded.all_codes().dtype) == ([*range(0, 256, 16)], np.uint8)
    assert np.isfinite(padded.decode(padded.all_codes())).sum() == 16 - 4


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ((0, 3), r"exponent_bits is .* 1 to 11: got 0"), (("4", 3), r"exponent_bits is .* 1 to 11: got '4'"),
        ((True, 3), r"exponent_bits is .* 1 to 11: got True"), ((4, 53), r"mantissa_bits is .* 0 to 52: got 53"),
        ((4, 3, {"bias": 1.5}), r"bias is .* -2048 to 2048: got 1\.5"),
        ((4, 3, {"top_nans": -1}), r"top_nans is .* 0"),
        ((4, 3, {"padding_bits": 60}), r"padding_bits is .* 0 to 52"),
        ((4, 3, {"has_subnormals": False, "has_negative_zero": False}), r"leaves no zero; use top_nans for NaN"),
        ((1, 0), r"1 exponent and 0 mantissa bits leave no finite number but zero"),
        ((2, 1, {"top_nans": 7}), r"leave no finite number .* drop special codes"),
        ((11, 3, {"bias": 1000}), r"must be a float64.*exponents -1022 to 1023: got -9"),
        ((5, 3, {"bias": 1024}), r"must be a float64.*got -1023 to -994"),
        ((11, 52, {"padding_bits": 1}), r"at most 64 bits: got 64 and 1 of padding"),
    ],
)  # fmt: skip
def test_a_bad_float_description_is_refused(facts, message):
    exponent, mantissa, *more = facts
    with pytest.raises(ValueError, match=message):
        FloatFormat(exponent_bits=exponent, mantissa_bits=mantissa, **(more[0] if more else {}))


def test_integers_have_2_to_16_bits():
    ends = {"INT8": (-128, 127), "UINT8": (0, 255), "INT4": (-8, 7), "UINT4": (0, 15)}
    assert {name: (FORMATS[name].min, FORMATS[name].max) for name in ends} == ends
    for bits in (1, 17, 8.5, "8", True):
        with pytest.raises(ValueError, match=f"2 to 16 bits: got {bits!r}"):
            IntegerFormat(bits=bits)


@pytest.mark.parametrize(
    "entries", [(1, 0), (0, 0), (0,), (), (0, math.nan), (0, math.inf), (0, 1e39), (-1, 0, 1), (0, 0.1), range(512)]
)
def test_a_bad_code_book_is_refused(entries):
    with pytest.raises(ValueError, match=rf"finite float32 values, ascending: got {len(entries)}, .*round them"):
        CodeBook(entries=entries)
