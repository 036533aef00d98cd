"""The quantisation view, its numbers and its figures, against counting done here with NumPy and plain loops."""

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from trtlab.engine.networks import DIGITS_ONNX
from trtlab.numeric import FORMATS, BlockFormat, CodeBook, FloatFormat, IntegerFormat
from trtlab.teach import QuantView
from trtlab.teach.quantview import AFFINE, GRANULARITIES, MOST, OFFERED, TENSORS, Reading

from .markup import alike

NORMAL = np.random.default_rng(7).standard_normal((4, 128)).astype(np.float32)
NORMAL[:, 3] = 0
ELEMENTS = [name for name in OFFERED if not isinstance(FORMATS[name], BlockFormat)]
BLOCKS = [name for name in OFFERED if isinstance(FORMATS[name], BlockFormat)]


def reading_of(values, name, granularity="tensor", **how):
    groups = {} if name in BLOCKS else GRANULARITIES[granularity]
    return Reading(values=values, quantized=FORMATS[name].quantize(values, **groups, **how))


def send(view, **message):
    """As the page sends it."""
    view._handle_custom_msg(message, [])
    return view.shown


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFERED)
def test_counts_are_those_of_a_loop(name):
    granularity = list(GRANULARITIES)[len(name) % len(GRANULARITIES)]
    reading = reading_of(NORMAL, name, granularity)
    restored = reading.quantized.values
    pairs = list(zip(NORMAL.ravel().tolist(), restored.ravel().tolist(), strict=True))
    assert reading.zeroed == sum(x != 0 and y == 0 for x, y in pairs)
    noise = sum((y - x) ** 2 for x, y in pairs)
    assert reading.sqnr_db == pytest.approx(10 * math.log10(sum(x * x for x, _ in pairs) / noise))
    assert reading.used.sum() == NORMAL.size
    element = getattr(FORMATS[name], "element", FORMATS[name])
    for value, count in zip(*np.unique(element.decode(reading.quantized.codes), return_counts=True), strict=True):
        assert reading.used[reading.elements == value] == count


@pytest.mark.parametrize("name", OFFERED)
def test_every_restored_value_is_a_level_of_its_group(name):
    row = NORMAL[:1, :16]
    reading = reading_of(row, name, "tensor", **({"partial": True} if name in BLOCKS else {}))
    found = {float(np.float32(level)) for level in reading.levels()}
    for value in reading.quantized.values.ravel():
        assert min(abs(value - level) for level in found) <= 1e-6 * np.abs(row).max()


def test_the_widest_and_the_median_group_are_told_apart_and_affine_levels_start_at_the_zero_point():
    reading = reading_of(np.array([[7.0], [14.0], [70.0]], np.float32), "INT4", "channel")
    assert (set(np.diff(reading.levels())), set(np.diff(reading.levels(0.5)))) == ({10.0}, {2.0})
    affine = reading_of(np.array([[0.0, 1.0, 15.0]], np.float32), "INT4", symmetric=False)
    assert (affine.levels().tolist(), affine.saturated) == (list(range(16)), 0)


def test_saturation_counts_what_lies_more_than_half_a_step_beyond():
    values = np.array([[6.9, 7.1, -6.9, -7.1, 3.0]], np.float32)  # the largest FP4 is 6, after a step of 2
    assert Reading(values=values, quantized=FORMATS["FP4_E2M1"].quantize(values, scale=1)).saturated == 2
    block = np.array([[7.5, -7.5, 7.5, 6.5] + [1.0] * 28], np.float32)  # floor: scale 1
    assert reading_of(block, "MXFP4").saturated == 3
    ceil = FORMATS["MXFP4"].quantize(block, scale_rounding="ceil")
    assert Reading(values=block, quantized=ceil).saturated == 0


def test_inliers_leave_the_columns_of_outliers_out():
    values = NORMAL.copy()
    values[:, 5] *= 100
    quantized = FORMATS["INT8"].quantize(values)
    reading = Reading(values=values, quantized=quantized)
    assert reading.outliers.tolist() == [5]
    kept = [x for x in range(128) if x != 5]
    noise = np.square(quantized.values[:, kept] - values[:, kept], dtype=np.float64).sum()
    assert reading.inlier_sqnr_db == pytest.approx(10 * math.log10(np.square(values[:, kept]).sum() / noise), abs=1e-4)
    assert reading.inlier_sqnr_db < reading.sqnr_db - 5
    assert [fact[0] for fact in reading.facts][:2] == ["SQNR", "inliers"]


def test_facts_name_the_size_with_scales():
    facts = {label: value for label, value, _ in reading_of(NORMAL, "NVFP4").facts}
    bits = 4 * 512 + 8 * 32 + 32
    assert (facts["bits per value"], facts["size"]) == (f"{bits / 512:.4g}", f"{bits // 8} B")


# --- tensors --------------------------------------------------------------------------------------------------------


def test_tensors_answer_at_once_and_say_what_they_are():
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(DIGITS_ONNX).graph.initializer}
    for name, make in TENSORS.items():
        values, _ = make()
        assert values.ndim == 2
        assert 0 < values.size <= MOST
        outliers = Reading(values=values, quantized=FORMATS["INT8"].quantize(values)).outliers.tolist()
        assert outliers == [700] * (name == "gaussian with outliers")
    for name, key in (("trained conv weights", "conv2.weight"), ("trained fc weights", "fc.weight")):
        values, about = TENSORS[name]()
        assert np.array_equal(values, stored[key].reshape(len(stored[key]), -1))
        assert key in about


# --- the widget -----------------------------------------------------------------------------------------------------


def test_every_choice_is_shown_and_can_be_sent():
    view = QuantView("gaussian with outliers")
    for name in view.face["formats"]:
        shown = send(view, format=name)
        assert (shown["refusal"], shown["format"], shown["fixed"]) == ("", name, name in BLOCKS)
        assert json.loads(json.dumps(shown)) == shown
        ElementTree.fromstring(shown["svg"])
    alike(view.static(), shown["title"], *(word for fact in view.reading.facts for word in fact))


def test_python_and_the_page_choose_alike():
    view = QuantView("gaussian", "INT8")
    assert send(view, granularity="16")["title"] == "gaussian in INT8, blocks of 16, FP32 scales"
    view.choose(format="NF4", granularity="64", tensor="after ReLU")
    assert view.shown["title"] == "after ReLU in NF4, blocks of 64, FP32 scales"
    expected = FORMATS["NF4"].quantize(TENSORS["after ReLU"]()[0], block=64)
    assert np.array_equal(view.reading.quantized.codes, expected.codes)


def test_a_zero_point_is_a_choice_of_integers():
    view = QuantView("after ReLU", "INT8")
    symmetric, zeros = view.reading.sqnr_db, int((view.reading.quantized.values == 0).sum())
    assert f"↑ {zeros:,}" in view.shown["svg"], "a bar that towers says how tall it is"
    send(view, format="INT8" + AFFINE)
    assert view.reading.quantized.zero_points == -128
    assert view.reading.sqnr_db > symmetric + 5
    assert not any(name.startswith("FP") and name.endswith(AFFINE) for name in view.face["formats"])
    wide, facts = view.shown["svg"], view.shown["facts"]
    assert send(view, zoom=True)["svg"] != wide
    assert view.shown["facts"] == facts, "zoom shows less of the axis and the same numbers"


def test_last_choices_are_listed_once_newest_first():
    view = QuantView("gaussian", "INT8")
    for name in ("INT4", "NF4", "INT4"):
        send(view, format=name)
    assert [row[1] for row in view.shown["trials"]] == ["INT4", "NF4", "INT8"]
    for name in OFFERED:
        send(view, format=name)
    assert len(view.shown["trials"]) == 5
    assert view.shown["trials"][0][3] == view.shown["facts"][0][1]


def test_what_cannot_be_is_said_and_nothing_changes():
    view = QuantView("after ReLU", "UINT8")
    view.choose(tensor="gaussian", format="INT8")
    before = dict(view.shown)
    assert "no values below 0" in send(view, format="UINT8")["refusal"]
    assert view.shown == before | {"refusal": view.shown["refusal"]}
    assert view.shown["format"] == "INT8"
    assert "no 'nothing' here" in send(view, tensor="nothing")["refusal"]
    assert send(view, granularity="32")["refusal"] == ""
    for nonsense in ({"strange": "x"}, {"tensor": ["gaussian"]}, {"zoom": "yes"}, {"granularity": 16}):
        assert send(view, **nonsense)["title"] == "gaussian in INT8, blocks of 32, FP32 scales"
    assert send(view, tensor="after ReLU", format="UINT8")["refusal"] == ""


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("nothing",), KeyError, "no 'nothing' here; there are gaussian"),
        (("gaussian", "FP5"), KeyError, "no format 'FP5'; there are FP64"),
        (("gaussian", 8), KeyError, "no format 8; there are FP64"),
        (("gaussian", "FP16"), ValueError, "at most 8 bits: got FP16, 16 bits"),
        (("gaussian", "NF4" + AFFINE), KeyError, "no 'NF4 . zero point' here"),
        (("gaussian", "INT8", 48), KeyError, "no '48' here; there are tensor, channel, 128"),
        ((np.zeros((0, 3)),), ValueError, r"1 to 32,767 values: got shape \(0, 3\); pass a slice"),
        ((np.zeros(MOST + 1),), ValueError, "pass a slice"),
        (([1.0, np.nan],), ValueError, "finite float32 values: got NaN or infinity"),
        ((np.asarray(["a"]),), TypeError, "float32 or float64: got"),
    ],
)  # fmt: skip
def test_errors_say_the_way_out(arguments, error, message):
    with pytest.raises(error, match=message):
        QuantView(*arguments)


@pytest.mark.parametrize("array", [np.zeros((2, 16)), [3.0], np.arange(48).reshape(2, 3, 8), [[1e-40, 1]]])
def test_own_arrays_of_any_shape(array):
    for name in ("INT8", "INT4" + AFFINE, "NF4", "MXFP4", "NVFP4"):
        view = QuantView(array, name, 16, zoom=True)
        ElementTree.fromstring(view.shown["svg"])
        assert "nan" not in view.shown["svg"]
        assert view.reading.values.size == np.size(array)


@pytest.mark.parametrize("largest", [1e-45, 9e-3, 4, 7.7, 7.8, 8, 9.7, 9.9, 2**24, 3.4e38])
def test_an_array_of_any_size_has_a_picture_with_round_numbers(largest):
    drawn = QuantView(np.float32([-largest, 0, largest]), "INT8", zoom=True).static().svg
    ElementTree.fromstring(drawn)
    assert 3 <= len(re.findall(r'y="342" [^>]* text-anchor="middle"', drawn)) - 1 <= 9


def test_a_refused_array_leaves_the_one_before():
    view = QuantView(np.ones(16), "INT8")
    for values in ([1e300], [np.inf]):
        with pytest.raises(ValueError, match="finite float32 values: got NaN or infinity"):
            view.choose(tensor=values)
    with pytest.raises(KeyError, match="no '9' here"):
        view.choose(tensor=np.zeros((2, 2)), granularity=9)
    with pytest.raises(TypeError, match="no choice of tensr: expected tensor, format"):
        view.choose(tensr="gaussian")
    assert send(view, format="INT4")["title"] == "your array in INT4, one scale for the tensor"
    assert view.reading.values.size == 16


def test_own_formats_join_the_list():
    own = FloatFormat(exponent_bits=3, mantissa_bits=2, has_infinity=False)
    view = QuantView("gaussian", own)
    assert view.shown["format"] == "E3M2"
    assert "E3M2" in view.face["formats"]
    view.choose(format=CodeBook(name="ternary and one", entries=(-1, 0, 0.5, 1)))
    assert view.reading.elements.tolist() == [-1, 0, 0.5, 1]
    view.choose(format=IntegerFormat(name="INT3", bits=3))
    assert "INT3" + AFFINE in view.face["formats"]
    view.choose(format=BlockFormat(name="mine", element=FORMATS["INT4"], block_size=64, scale=FORMATS["FP16"]))
    assert view.reading.quantized.bits_per_value == 4.25


def test_the_code_of_zero_is_grey_where_there_is_one():
    for name, is_grey in (("INT8", True), ("INT8" + AFFINE, False), ("E8M0", False)):
        assert ("qv-zero" in QuantView("after ReLU", name).shown["svg"]) is is_grey
