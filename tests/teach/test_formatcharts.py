"""Formats as pictures: the numbers behind the lines are those of the formats."""

import numpy as np
import pytest

from trtlab import teach
from trtlab.numeric import FORMATS, FloatFormat

FLOATS = ["FP32", "TF32", "FP16", "BF16", "FP8_E4M3", "FP4_E2M1", "E8M0"]


def curve(figure, name):
    (found,) = [trace for trace in figure.data if trace.name == name][:1]
    return dict(zip(found.x, found.y, strict=True))


@pytest.mark.parametrize("name", FLOATS)
def test_significant_bits_are_those_that_survive(name):
    fmt = FORMATS[name]
    bits = curve(teach.draw_precision([name]), name)
    for octave in [octave for octave in bits if bits[octave]][:: max(1, len(bits) // 12)]:
        step = 2.0 ** (octave + 1 - bits[octave])
        for value, survives in ((2.0 ** (octave + 1) - step, True), (2.0**octave + step / 2, False)):
            if value <= fmt.max:
                assert (float(fmt.decode(fmt.encode(value))) == value) is survives
    assert bits[fmt.max_exponent] > 0
    assert bits[fmt.max_exponent + 1] == 0


def test_an_integer_gains_a_bit_per_octave():
    assert curve(teach.draw_precision(["INT8"]), "INT8") == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 0}


def test_number_line_shows_every_value_once():
    (trace,) = teach.draw_number_line(["FP4_E2M1"]).data
    assert list(trace.x) == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    (trace,) = teach.draw_number_line(["FP4_E2M1"], scale="log").data
    assert list(trace.x) == [0.5, 1, 1.5, 2, 3, 4, 6]
    with pytest.raises(ValueError, match="at most 16 bits"):
        teach.draw_number_line(["FP32"])


def test_a_padded_format_of_ones_own_has_values_and_a_name():
    mine = FloatFormat(exponent_bits=2, mantissa_bits=0, has_infinity=False, padding_bits=5)
    (trace,) = teach.draw_number_line([mine]).data
    assert (list(trace.x), set(trace.y)) == ([-4, -2, -1, 0, 1, 2, 4], {"E2M0 "})


def test_density_counts_all_values():
    linear, octaves = teach.draw_density(["FP8_E4M3"], most=448).data
    assert np.nansum(linear.y) == 253
    assert np.nansum(octaves.y) == 126
    assert dict(zip(octaves.x, octaves.y, strict=True))[0] == 8


def test_staircase_sums_and_spread_draw_what_they_are_given():
    stairs = teach.draw_staircase("FP4_E2M1", ["nearest_even", "stochastic"], low=-1, high=1)
    assert set(np.unique(stairs.data[0].y)) == {-1, -0.5, 0, 0.5, 1}
    sums = teach.draw_sums({"a": np.arange(1000)}, title="t")
    assert (sums.data[0].x[-1], sums.data[0].y[-1]) == (1000, 999)
    spread = teach.draw_spread([1.0, 2.0, 1.0], 1.5, title="t", label="l")
    assert (list(spread.data[0].x), list(spread.data[0].y)) == ([-0.5, 0.5], [2, 1])
    for figure in (stairs, sums, spread):
        assert any("LIVE on" in note.text for note in figure.layout.annotations)
