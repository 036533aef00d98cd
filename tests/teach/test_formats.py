"""Formats as tables: derived, complete, escaped."""

import pytest

from trtlab import teach
from trtlab.numeric import FORMATS, FloatFormat
from trtlab.teach.formats import fields, power_text

WITH_CODES = [name for name, fmt in FORMATS.items() if hasattr(fmt, "code_dtype")]


@pytest.mark.parametrize("name", WITH_CODES)
def test_fields_are_all_bits_of_a_code(name):
    fmt = FORMATS[name]
    assert sum(bits for _, bits in fields(fmt)) == fmt.bits + fmt.padding_bits


def test_the_table_has_the_published_numbers():
    text = teach.draw_formats(["FP32", "TF32", "FP16", "FP8_E4M3", "E8M0", "INT8", "NF4"]).text
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert "65,504" in rows["FP16"]
    assert "2⁻²⁴" in rows["FP16"]
    assert "2,046 NaN" in rows["FP16"]
    assert "448" in rows["FP8_E4M3"]
    assert "no ∞, 2 NaN" in rows["FP8_E4M3"]
    assert "2²⁴ − 2 NaN" in rows["FP32"]
    assert "19 of 32" in rows["TF32"]
    assert "no zero" in rows["E8M0"]
    assert "127" in rows["INT8"]
    assert "16 values" in rows["NF4"]


def test_powers_of_two_are_written_as_such():
    assert [power_text(value) for value in (2.0**-14, 0.125, 65504.0, 3.4e38)] == ["2⁻¹⁴", "0.125", "65,504", "3.4e+38"]


def test_one_number_in_several_formats():
    drawing = teach.draw_value("70000", ["FP16", "BF16", "FP8_E4M3", "FP4_E2M1", "INT8"])
    lines = {line.split()[0]: line for line in drawing.text.splitlines()}
    assert "inf" in lines["FP16"]
    assert "70144" in lines["BF16"]
    assert "nan" in lines["FP8_E4M3"]
    assert "no code for it" in lines["FP4_E2M1"]
    assert "no code for it" in lines["INT8"]
    assert '<i class="exponent plain">' in drawing.html
    assert "exact" in teach.draw_value("0.5", ["FP4_E2M1"]).text
    with pytest.raises(ValueError, match="no number"):
        teach.draw_value("<b>", ["FP16"])


def test_all_codes_of_a_format_of_ones_own():
    mine = FloatFormat(name="<mine>", exponent_bits=2, mantissa_bits=1)
    drawing = teach.draw_codes(mine)
    assert (
        drawing.text.split()[1:]
        == "0 0 1 0.5 2 1 3 1.5 4 2 5 3 6 inf 7 nan 8 -0 9 -0.5 A -1 B -1.5 C -2 D -3 E -inf F nan".split()
    )
    assert "<mine>" not in drawing.html
    with pytest.raises(ValueError, match="65,536 codes"):
        teach.draw_codes("FP16")


def test_every_table_takes_a_format_of_ones_own_also_a_padded_one():
    mine = FloatFormat(exponent_bits=2, mantissa_bits=1, padding_bits=4)
    codes = teach.draw_codes(mine).text.split()
    assert (codes[0], codes[3:5]) == ("E2M1", ["10", "0.5"])
    assert "E2M1" in teach.draw_formats([mine]).text
    assert teach.draw_value("1.4", [mine]).text.split()[-4:] == ["E2M1", "0011", "1.5", "7.14e-02"]


@pytest.mark.parametrize("draw", [lambda name: teach.draw_formats([name]), lambda name: teach.draw_value("1", [name]),
                                  teach.draw_codes])  # fmt: skip
def test_what_has_no_codes_of_its_own_is_refused(draw):
    with pytest.raises(KeyError, match="no format 'FP7'; there are FP64, FP32"):
        draw("FP7")
    with pytest.raises(TypeError, match="NVFP4 has no codes of its own; take its element format"):
        draw("NVFP4")
