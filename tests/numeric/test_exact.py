"""numeric/exact against definitions: IEEE 754 by hand, NumPy, ml_dtypes, and the laws that any rounding obeys."""

import contextlib
import math
from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtlab.numeric import FORMATS, CodeBook, exact
from trtlab.numeric.exact import Special
from trtlab.numeric.formats import ELEMENTS

from .peers import NAMES_OF_PEERS, peer_dtype

SMALL = [fmt for fmt in ELEMENTS if fmt.bits <= 8]
DIRECTED = ("toward_zero", "up", "down")
DETERMINISTIC = ("nearest_even", "nearest_away", *DIRECTED)


def order(value):
    return {Special.INFINITY: math.inf, Special.NEGATIVE_INFINITY: -math.inf, Special.NEGATIVE_ZERO: 0}.get(
        value, value
    )


# --- reading numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1.8p3", 12), ("-0x.8", Fraction(-1, 2)), ("0x1p-1074", Fraction(1, 2**1074)), ("0X1F", 31),
        ("65,504", 65504), ("-1,000.5", Fraction(-2001, 2)), ("2^-24", Fraction(1, 2**24)),
        ("10⁻⁸", Fraction(1, 10**8)), ("−2⁻¹⁴", Fraction(-1, 2**14)),
        ("1/3", Fraction(1, 3)), (" -22/7 ", Fraction(-22, 7)), ("0.1", Fraction(1, 10)),
        ("−1.5e-3", Fraction(-3, 2000)), (".5", Fraction(1, 2)), ("7.", 7), ("inf", Special.INFINITY),
        ("+Infinity", Special.INFINITY), ("-∞", Special.NEGATIVE_INFINITY), ("NaN", Special.NAN),
        ("-nan", Special.NAN), ("-0.0", Special.NEGATIVE_ZERO), ("-0x0p0", Special.NEGATIVE_ZERO),
        (0.1, Fraction(3602879701896397, 2**55)), (np.float32(0.1), Fraction(13421773, 2**27)),
        (np.float16(-0.0), Special.NEGATIVE_ZERO), (np.int8(-3), -3), (2**80, 2**80),
        (-math.inf, Special.NEGATIVE_INFINITY), (math.nan, Special.NAN), (Fraction(2, 3), Fraction(2, 3)),
    ],
)  # fmt: skip
def test_a_number_is_read_exactly(text, value):
    assert exact.real(text) == value


NO_NUMBERS = "- abc 0x 0xp3 1/0 1_0 --1 +-inf 1e 1e20001 1e-999999999 0x1p99999999 1,5 ٣ 1.2.3".split()


@pytest.mark.parametrize("text", ["", *NO_NUMBERS, "9" * 5000])
def test_text_that_is_no_number_is_refused_at_once(text):
    with pytest.raises(ValueError, match=r"no number: .*expected decimal \(1\.5e-3\), a fraction \(1/3\)"):
        exact.real(text)


@pytest.mark.parametrize("value", [None, True, np.True_, 1j, [1.0]])
def test_things_that_are_no_number_are_refused(value):
    with pytest.raises(TypeError, match=r"a real number is an int, float, Fraction or text: got"):
        exact.real(value)


@settings(max_examples=60)
@given(st.text(alphabet="0123456789.-+/abcdefinptx ∞−", max_size=12))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        assert isinstance(exact.real(text), Special | Fraction)


# --- what codes mean -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "value"),
    [
        ("FP4_E2M1", 0b0101, 3),  # OCP MX 1.0, table 5
        ("FP8_E4M3", 0b0_1111_110, 448),  # OFP8, table 2: S.1111.110
        ("FP8_E4M3", 0b1_1111_111, Special.NAN),
        ("FP8_E5M2", 0b0_11111_00, Special.INFINITY),
        ("FP8_E5M2", 0b1_11111_00, Special.NEGATIVE_INFINITY),
        ("FP8_E5M2", 0b0_11111_01, Special.NAN),
        ("FP8_E4M3_FNUZ", 0x80, Special.NAN),
        ("FP8_E4M3", 0x80, Special.NEGATIVE_ZERO),
        ("E8M0", 0, Fraction(1, 2**127)),
        ("E8M0", 127, 1),
        ("E8M0", 255, Special.NAN),
        ("FP16", 0x3555, Fraction(1365, 4096)),
        ("TF32", 0x3F802000, Fraction(1025, 1024)),
        ("FP64", 1, Fraction(1, 2**1074)),
        ("INT8", 0x80, -128),
        ("INT4", 0xF, -1),
        ("UINT4", 0xF, 15),
        ("NF4", 7, 0),
    ],
)
def test_a_code_means_what_its_specification_says(name, code, value):
    assert exact.decode(FORMATS[name], code).value == value


@pytest.mark.parametrize("name", NAMES_OF_PEERS)
def test_all_codes_mean_what_ml_dtypes_and_numpy_say(name):
    fmt = FORMATS[name]
    with np.errstate(invalid="ignore"):  # signalling NaNs
        theirs = np.arange(2**fmt.bits).astype(fmt.code_dtype).view(peer_dtype(name)).astype(np.float64)
    for code in range(0, 2**fmt.bits, 1 if fmt.bits <= 8 else 23):
        assert exact.decode(fmt, code).value == exact.real(theirs[code]), hex(code)


# --- which code a number becomes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_every_midpoint_goes_each_modes_way(fmt):
    codes = [c for c in range(2**fmt.bits) if isinstance(exact.decode(fmt, c).value, Fraction)]
    codes.sort(key=lambda c: exact.decode(fmt, c).value)
    for low, high in pairwise(codes):
        ends = exact.decode(fmt, low).value, exact.decode(fmt, high).value
        middle = sum(ends) / 2
        codes_of = {mode: exact.encode(fmt, middle, mode) for mode in DETERMINISTIC}
        got = {mode: order(exact.decode(fmt, code).value) for mode, code in codes_of.items()}
        inner, outer = sorted(ends, key=abs)
        assert (got["down"], got["up"]) == ends
        assert middle == 0 or (got["toward_zero"], got["nearest_away"]) == (inner, outer)
        assert codes_of["nearest_even"] % 2 == 0
        for nudge, end in ((Fraction(-1, 10**60), ends[0]), (Fraction(1, 10**60), ends[1])):
            assert order(exact.decode(fmt, exact.encode(fmt, middle + nudge)).value) == end


NEITHER = [  # infinity nor NaN
    ("FP4_E2M1", 1e9, 7),
    ("FP4_E2M1", -7, 15),
    ("INT8", 200, 127),
    ("INT8", "-inf", 0x80),
    ("UINT8", -3, 0),
    ("NF4", 2, 15),
    ("NF4", "-inf", 0),
    ("INT4", -9, 8),
    ("FP6_E3M2", "inf", 31),
    ("INT8", Fraction(10**400), 127),
]
BEYOND = [  # format, value, rounding, saturate, ieee
    ("FP8_E4M3", 464, "nearest_even", 0x7E, 0x7E),  # the tie of 448 and the 480 that is not there goes to the even one
    ("FP8_E4M3", Fraction(4641, 10), "nearest_even", 0x7E, 0x7F),
    ("FP8_E4M3", 464, "nearest_away", 0x7E, 0x7F),
    ("FP8_E4M3", -1000, "nearest_even", 0xFE, 0xFF),
    ("FP8_E4M3", 1000, "toward_zero", 0x7E, 0x7E),
    ("FP8_E4M3", "inf", "toward_zero", 0x7E, 0x7F),
    ("FP8_E5M2", "inf", "nearest_even", 0x7B, 0x7C),  # OFP8, table 3: infinity saturates too
    ("FP8_E5M2", "-1e9", "up", 0xFB, 0xFB),
    ("FP8_E5M2", "-1e9", "down", 0xFB, 0xFC),
    ("FP8_E5M2", 61440, "nearest_even", 0x7B, 0x7C),
    ("FP8_E4M3_FNUZ", 1000, "nearest_even", 0x7F, 0x80),
    ("FP16", 65519, "nearest_even", 0x7BFF, 0x7BFF),
    ("FP16", 65520, "nearest_even", 0x7BFF, 0x7C00),
    ("FP16", "1e999", "down", 0x7BFF, 0x7BFF),
    ("E8M0", 0, "nearest_even", 0, 255),
    ("E8M0", "-0", "nearest_even", 0, 255),
    ("E8M0", -1, "up", 0, 255),
    ("E8M0", "0x1p-140", "down", 0, 0),
    ("E8M0", "0x1.7p127", "nearest_even", 254, 254),
    ("E8M0", "0x1.8p127", "nearest_even", 254, 254),
    ("E8M0", "0x1.9p127", "nearest_even", 254, 255),
    ("FP8_E4M3_FNUZ", "-0", "nearest_even", 0, 0),
    ("FP8_E4M3_FNUZ", "-1e-9", "nearest_even", 0, 0),
    ("FP8_E4M3", "-1e-9", "nearest_even", 0x80, 0x80),
    ("FP8_E4M3", "-1e-9", "down", 0x81, 0x81),
    *((name, value, "nearest_even", code, None) for name, value, code in NEITHER),
]


@pytest.mark.parametrize(("name", "value", "rounding", "saturated", "ieee"), BEYOND)
def test_at_the_ends_of_the_range(name, value, rounding, saturated, ieee):
    assert exact.encode(FORMATS[name], value, rounding) == saturated
    if ieee is None:
        with pytest.raises(ValueError, match=rf"{name} has neither infinity nor NaN .* use overflow='saturate'"):
            exact.encode(FORMATS[name], value, rounding, "ieee")
    else:
        assert exact.encode(FORMATS[name], value, rounding, "ieee") == ieee


@pytest.mark.parametrize("name", ["FP16", "BF16", "FP32"])
@given(number=st.floats())
def test_nearest_even_is_ieee_754(name, number):
    fmt = FORMATS[name]
    with np.errstate(over="ignore"):
        if name == "BF16":  # ml_dtypes rounds float64 twice, so give it a float32
            number = float(np.float32(number))
        theirs = np.array(number).astype({"FP16": "f2", "FP32": "f4"}.get(name, ml_dtypes.bfloat16))
    code = exact.encode(fmt, number, overflow="ieee")
    assert exact.decode(fmt, code).value == exact.real(theirs.astype(np.float64)[()])


@given(st.fractions(-500, 500), st.sampled_from(SMALL))
def test_directed_modes_enclose_and_nearest_is_the_nearer(number, fmt):
    number = max(Fraction(fmt.min), min(Fraction(fmt.max), number))
    values = {mode: order(exact.decode(fmt, exact.encode(fmt, number, mode)).value) for mode in DETERMINISTIC}
    assert values["down"] <= number <= values["up"]
    assert abs(values["toward_zero"]) <= abs(number)
    nearest = min(abs(values["down"] - number), abs(values["up"] - number))
    assert abs(values["nearest_even"] - number) == abs(values["nearest_away"] - number) == nearest


def test_a_code_book_without_zero():
    book = CodeBook(entries=(-1.0, -0.5, 0.5, 2.0))
    assert [exact.encode(book, x) for x in (-0.75, 0, "1e-9", 1.25, 1.26)] == [0, 2, 2, 2, 3]
    assert [exact.encode(book, 0, mode) for mode in DIRECTED] == [1, 2, 1]


def test_what_is_no_format_is_refused():
    with pytest.raises(TypeError, match="no rule for Format; expected FloatFormat, IntegerFormat or CodeBook"):
        exact.encode(__import__("trtlab.numeric").numeric.Format(), 1)
