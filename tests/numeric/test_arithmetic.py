"""Sums in narrow formats against exact fractions, against NumPy's own float16, and against the known stalls."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtlab.numeric import FORMATS, arithmetic, exact

NARROW = [FORMATS[name] for name in ("TF32", "FP16", "BF16", "FP8_E4M3", "FP8_E5M2", "FP4_E2M1")]


@pytest.mark.parametrize("fmt", NARROW, ids=str)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_one_addition_rounds_the_exact_sum_once(fmt, data):
    values = st.floats(-fmt.max / 4, fmt.max / 4)
    pair = arithmetic.rounded(fmt, [data.draw(values), data.draw(values)])
    exactly = Fraction(pair[0]) + Fraction(pair[1])
    expected = exact.decode(fmt, exact.encode(fmt, exactly)).value
    total = arithmetic.running_sum(fmt, pair)[-1]
    assert (total == 0 and expected in (0, exact.Special.NEGATIVE_ZERO)) or Fraction(total) == expected


@pytest.mark.parametrize(("name", "dtype"), [("FP16", np.float16), ("BF16", ml_dtypes.bfloat16)])
def test_sums_are_those_of_numpy_and_ml_dtypes(name, dtype):
    values = np.random.default_rng(0).normal(size=500).astype(dtype)
    total, totals = dtype(0), []
    for value in values:
        total = dtype(total + value)
        totals.append(float(total))
    assert arithmetic.running_sum(FORMATS[name], values.astype(np.float32)).tolist() == totals


def test_ones_stall_and_kahan_does_not():
    ones, fmt = np.ones(600), FORMATS["BF16"]
    assert (arithmetic.running_sum(fmt, ones)[-1], arithmetic.kahan_sum(fmt, ones)[-1]) == (256, 600)


def test_stochastic_rounding_goes_on_growing_and_columns_are_independent():
    sums = arithmetic.running_sum(FORMATS["BF16"], np.ones((1024, 60)), "stochastic", np.random.default_rng(3))
    assert sums.shape == (1024, 60)
    assert len(set(sums[-1])) > 5
    assert abs(sums[-1].mean() / 1024 - 1) < 0.05


def test_flush_to_zero_keeps_the_sign_and_every_normal():
    fmt = FORMATS["FP16"]
    values = np.array([fmt.min_normal, -fmt.min_normal, fmt.min_normal / 2, -fmt.min_subnormal, np.inf, 1.0])
    flushed = arithmetic.flushed(fmt, values)
    assert flushed.tolist() == [fmt.min_normal, -fmt.min_normal, 0.0, 0.0, np.inf, 1.0]
    assert np.signbit(flushed).tolist() == [False, True, False, True, False, False]


@pytest.mark.parametrize("name", ["TF32", "FP16", "BF16", "FP8_E4M3", "FP8_E5M2", "FP4_E2M1", "FP8_E5M2_FNUZ"])
def test_first_gap_is_where_the_mantissa_ends(name):
    assert arithmetic.first_gap(FORMATS[name]) == 2 ** (FORMATS[name].mantissa_bits + 1) + 1


def test_first_gap_beyond_the_largest_value_and_beyond_patience():
    assert arithmetic.first_gap(FORMATS["FP6_E2M3"]) == 8
    with pytest.raises(ValueError, match="2\\^53 integers"):
        arithmetic.first_gap(FORMATS["FP64"])
