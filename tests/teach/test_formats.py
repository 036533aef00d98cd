"""Formats as tables: derived, complete, the same in both forms."""

import numpy as np
import pytest

from trtlab import teach
from trtlab.numeric import FORMATS, FloatFormat
from trtlab.numeric.quantize import sqnr_db
from trtlab.teach.formats import GRANULARITIES

from .markup import alike


def lines(drawing):
    return {line.split()[0]: line for line in drawing.text.splitlines()}


def test_the_table_has_the_published_numbers():
    drawing = teach.draw_formats(["FP32", "TF32", "FP16", "FP8_E4M3", "E8M0", "INT8", "NF4"])
    alike(drawing, "From the highest bit down: sign, exponent, mantissa", "epsilon: the step at 1")
    said = {"FP16": ["1 / 5 / 10", "65,504", "2⁻²⁴", "2,046 NaN"], "FP8_E4M3": ["8 7 448", "no ∞, 2 NaN"],
            "INT8": ["127"], "FP32": ["2²⁴ − 2 NaN"], "TF32": ["19 of 32"], "E8M0": ["127", "no zero"],
            "NF4": ["16 values"]}  # fmt: skip
    rows = {name: " ".join(line.split()) for name, line in lines(drawing).items()}
    missing = [(name, word) for name, words in said.items() for word in words if word not in rows[name]]
    assert missing == []


def test_one_number_in_several_formats():
    drawing = teach.draw_value("70000", ["FP16", "BF16", "FP8_E4M3", "FP4_E2M1", "INT8"])
    kinds = [attributes["class"] for tag, attributes in alike(drawing, "0|11111|0000000000").tags if tag == "i"]
    assert kinds == ["sign plain", "exponent plain", "mantissa plain"] * 3
    said = {"FP16": "∞", "BF16": "70144", "FP8_E4M3": "NaN", "FP4_E2M1": "no code for it", "INT8": "no code for it"}
    assert [name for name, word in said.items() if word not in lines(drawing)[name]] == []
    alike(teach.draw_value("0.5", ["FP4_E2M1"]), "exact")
    with pytest.raises(ValueError, match="no number"):
        teach.draw_value("<b>", ["FP16"])


def test_all_codes_of_a_format_of_ones_own():
    mine = FloatFormat(name="mine", exponent_bits=2, mantissa_bits=1)
    drawing = teach.draw_codes(mine)
    alike(drawing, "mine")
    codes = "0 0 1 0.5 2 1 3 1.5 4 2 5 3 6 ∞ 7 NaN 8 −0 9 −0.5 A −1 B −1.5 C −2 D −3 E −∞ F NaN".split()
    assert "\n".join(drawing.text.splitlines()[1:]).replace("=", "").split() == codes
    with pytest.raises(ValueError, match="65,536 codes"):
        teach.draw_codes("FP16")


def test_every_table_takes_a_format_of_ones_own_also_a_padded_one():
    mine = FloatFormat(exponent_bits=2, mantissa_bits=1, padding_bits=4)
    alike(teach.draw_formats([mine]), "E2M1", "1 / 2 / 1 / 4", "4 of 8")
    assert teach.draw_value("1.4", [mine]).text.split()[-4:] == ["E2M1", "0|01|1", "1.5", "7.14e-02"]


@pytest.mark.parametrize("draw", [lambda name: teach.draw_formats([name]), lambda name: teach.draw_value("1", [name]),
                                  teach.draw_codes])  # fmt: skip
def test_what_has_no_codes_of_its_own_is_refused(draw):
    with pytest.raises(KeyError, match="no format 'FP7'; there are FP64, FP32"):
        draw("FP7")
    with pytest.raises(KeyError, match="no format 5; there are FP64"):
        draw(5)
    with pytest.raises(TypeError, match="NVFP4 has no codes of its own; take its element format"):
        draw("NVFP4")


NOISE = np.random.default_rng(7).standard_normal((4, 128)).astype(np.float32)


@pytest.mark.parametrize(("name", "count", "rows"), [("FP4_E2M1", 4, 5), ("MXFP4", 32, 17)])
def test_a_block_taken_apart_says_its_scales_and_its_size_many_values_in_two_columns(name, count, rows):
    values = NOISE.ravel()[:count]
    quantized = FORMATS[name].quantize(values)
    page = alike(teach.draw_block(values, quantized), name, f"{quantized.size_bits} bits for {count} values", "scale ")
    assert page.count("tr") == rows


def test_a_block_code_by_code():
    values = np.array([0.3, -1.0, 6.0, 2.5], np.float32)
    drawing = teach.draw_block(values, FORMATS["FP4_E2M1"].quantize(values))
    alike(drawing, "scale 1 = code 3F800000")
    affine = FORMATS["UINT4"].quantize(values, symmetric=False)
    alike(teach.draw_block(values, affine), f"zero point {affine.zero_points.ravel().tolist()}")
    assert [line.split()[1:5] for line in drawing.text.splitlines()[2:6]] == [
        ["1", "0001", "0.5", "0.5"], ["A", "1010", "-1", "-1"], ["7", "0111", "6", "6"], ["4", "0100", "2", "2"],
    ]  # fmt: skip
    eight = teach.draw_block([1.0, 127.0], FORMATS["INT8"].quantize([1.0, 127.0]))
    assert eight.text.splitlines()[2].split() == ["1", "01", "00000001", "1", "1", "0"]


def test_sqnr_is_what_quantize_gives_in_the_column_of_its_granularity():
    drawing = teach.draw_sqnr(NOISE, ["INT4", "NVFP4"])
    alike(drawing, "512 values", "LIVE on")
    expected = {g: FORMATS["INT4"].quantize(NOISE, **how) for g, how in GRANULARITIES.items()}
    four, nv = (line.split()[1:] for line in drawing.text.splitlines()[1:3])
    assert four[::3] == [f"{sqnr_db(NOISE, found.values):.1f}" for found in expected.values()]
    assert nv == [f"{sqnr_db(NOISE, FORMATS['NVFP4'].quantize(NOISE).values):.1f}", "·", "4.56"]


def test_sqnr_of_values_without_error_of_formats_of_ones_own_and_of_none():
    own = FloatFormat(exponent_bits=3, mantissa_bits=2, has_infinity=False)
    drawing = teach.draw_sqnr(np.zeros((2, 32)), ["INT8", own])
    alike(drawing, "E3M2", "inf")
    assert "nan" not in drawing.html
    assert teach.draw_tradeoff(NOISE, [own]).data[0].name == "E3M2"
    for draw in (teach.draw_sqnr, teach.draw_tradeoff):
        with pytest.raises(KeyError, match="no format 'INT9'; there are FP64, FP32"):
            draw(NOISE, ["INT9"])
