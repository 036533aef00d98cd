"""numeric/quantize: groups, scales, zero points against fractions and ONNX; published SQNR; packing; every refusal."""

import math
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import helper
from onnx.reference import ReferenceEvaluator

from trtlab.numeric import FORMATS, exact
from trtlab.numeric.exact import Special
from trtlab.numeric.formats import ELEMENTS
from trtlab.numeric.quantize import pack, sqnr_db, unpack

from .peers import float32

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2.0**100, min_value=-(2.0**100))
SIGNED = [fmt for fmt in ELEMENTS if fmt.min < 0 and fmt.name not in ("FP64", "FP32")]
NAMES = ("INT8", "FP8_E4M3", "INT4", "FP4_E2M1", "NF4")


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).standard_normal((4096, 4096)).astype(np.float32)


@st.composite
def cuts(draw):
    """An array with an axis and a block, whose last one may be shorter; or neither, or no block."""
    shape = draw(array_shapes(min_dims=1, max_dims=3, max_side=6))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    block = draw(st.none() | st.integers(1, shape[axis] + 2)) if axis is not None else None
    return draw(arrays(np.float32, shape, elements=NUMBERS)), axis, block


def groups(shape, axis, block):
    """For each element the index of its scale, by counting."""
    places = np.indices(shape)
    if axis is None:
        return np.zeros(shape, int), ()
    axis %= len(shape)
    if block is None:
        return places[axis], (shape[axis],)
    scales = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
    places[axis] //= block
    return np.ravel_multi_index(tuple(places), scales), scales


# --- groups ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(cut=cuts(), fmt=st.sampled_from(SIGNED))
def test_every_group_is_quantised_as_if_it_were_alone(cut, fmt):
    values, axis, block = cut
    index, shape = groups(values.shape, axis, block)
    got = fmt.quantize(values, axis, block, partial=True)
    assert (got.codes.shape, got.scales.shape, got.zero_points, got.tensor_scale) == (values.shape, shape, None, None)
    assert fmt.name != "INT8" or 0x80 not in got.codes
    for group in range(math.prod(shape)):
        alone = fmt.quantize(values[index == group])
        assert alone.scales == got.scales.reshape(-1)[group]
        assert alone.codes.tolist() == got.codes[index == group].tolist()
        assert alone.values.tolist() == got.values[index == group].tolist()


@settings(max_examples=40, deadline=None)
@given(values=arrays(np.float32, array_shapes(max_dims=2, max_side=5), elements=NUMBERS), fmt=st.sampled_from(SIGNED))
def test_one_group_is_as_specified(values, fmt):
    """scale = amax / max; value = (x / scale in the format) * scale: each operation rounded to float32 once."""
    got = fmt.quantize(values)
    scale = float32(max(Fraction(float(abs(x))) for x in values.flat) / Fraction(fmt.max)) or Fraction(1)
    assert Fraction(float(got.scales)) == scale
    for x, code, value in zip(values.flat, got.codes.flat, got.values.flat, strict=True):
        near = exact.decode(fmt, exact.encode(fmt, float32(Fraction(float(x)) / scale))).value
        assert exact.decode(fmt, int(code)).value in (near, Special.NEGATIVE_ZERO if near == 0 else near)
        assert Fraction(float(value)) == float32(Fraction(float(fmt.decode(code))) * scale)


@pytest.mark.parametrize("name", NAMES)
def test_numba_and_numpy_give_the_same_bits(name, both_ways):
    values = np.random.default_rng(1).standard_normal((100, 3200)).astype(np.float32)
    for cut in ((None, None), (0, None), (1, 64), (0, 50)):
        one, other = both_ways(lambda cut=cut: FORMATS[name].quantize(values, *cut))
        assert one.codes.tobytes() == other.codes.tobytes()
        assert one.scales.tobytes() == other.scales.tobytes()


@settings(deadline=None)
@given(arrays(np.float32, (2, 40), elements=NUMBERS))
def test_a_shorter_last_block_of_a_block_format(values):
    got, filled = FORMATS["MXFP4"].quantize(values, partial=True), np.pad(values, [(0, 0), (0, 24)])
    assert got.values.tolist() == FORMATS["MXFP4"].quantize(filled).values[:, :40].tolist()
    assert got.size_bits == 2 * (40 * 4 + 2 * 8)


def test_block_formats_run_along_any_axis():
    values = np.random.default_rng(2).standard_normal((32, 3, 64)).astype(np.float32)
    first, last = FORMATS["MXFP8_E4M3"].quantize(values, 0), FORMATS["MXFP8_E4M3"].quantize(values.transpose(2, 1, 0))
    assert (first.scales.shape, last.scales.shape) == ((1, 3, 64), (64, 3, 1))
    assert np.array_equal(first.values, last.values.T)
    assert first.codes.flags.c_contiguous
    assert repr(last) == "<MXFP8_E4M3: codes (64, 3, 32), scales (64, 3, 1), 8.25 bits per value>"


# --- scales ----------------------------------------------------------------------------------------------------------


DYNAMIC = """<ir_version: 10, opset_import: ["": 20]> g (float[30] x) => (uint8[30] y, float scale, uint8 zero)
{ y, scale, zero = DynamicQuantizeLinear (x) }"""


@settings(deadline=None)
@given(values=arrays(np.float32, (30,), elements=NUMBERS))
def test_uint8_with_a_zero_point_is_onnx_dynamic_quantize_linear(values):
    reach = values.max(initial=0) - values.min(initial=0)
    assume(reach / np.float32(255) > 0)  # ONNX divides by scales that underflow, and gives zeros 1/255
    got = FORMATS["UINT8"].quantize(values, symmetric=False)
    codes, scale, zero = ReferenceEvaluator(onnx.parser.parse_model(DYNAMIC)).run(None, {"x": values})
    assert (got.scales, got.zero_points) == (scale, zero)
    assert got.codes.tolist() == codes.tolist()


def test_affine_by_hand():
    for name, zero, codes in (("UINT8", 100, [0, 100, 255]), ("INT8", -28, [0x80, 0xE4, 0x7F])):
        got = FORMATS[name].quantize([-1.0, 0.0, 1.55], symmetric=False)
        assert (float(got.scales), int(got.zero_points)) == (pytest.approx(0.01), zero)
        assert got.codes.tolist() == codes
        assert got.values.tolist() == pytest.approx([-1, 0, 1.55], abs=1e-6)
    ties = FORMATS["UINT8"].quantize([-1, 0.5, 1.5, 2.5], symmetric=False, scale=1)  # before the zero point is added
    assert (int(ties.zero_points), ties.values.tolist()) == (1, [-1, 0, 2, 2])


@settings(deadline=None)
@given(cut=cuts(), fmt=st.sampled_from([FORMATS[name] for name in ("UINT8", "INT8", "INT4", "UINT4")]))
def test_affine_keeps_zero_and_errs_by_at_most_one_step(cut, fmt):
    values, axis, block = cut
    got = fmt.quantize(values, axis, block, symmetric=False, partial=True)
    index, shape = groups(values.shape, axis, block)
    assert got.zero_points.shape == got.scales.shape == shape
    assert not got.values[values == 0].any()
    step = got.scales.reshape(-1)[index]
    is_normal = step >= 2.0**-126  # a subnormal scale is itself rounded coarsely
    assert (abs(got.values - values) <= 1.0001 * step)[is_normal].all()
    zero_bits = got.zero_points.size * fmt.bits
    assert got.size_bits == values.size * fmt.bits + got.scales.size * 32 + zero_bits


def test_given_scales():
    fmt, values = FORMATS["INT8"], np.array([[1.0, -2.0], [200.0, -200.0]], np.float32)
    assert fmt.quantize(values, scale=1).values.tolist() == [[1, -2], [127, -128]]
    assert fmt.quantize(values, axis=0, scale=[0.5, 2]).codes.tolist() == [[2, 0xFC], [100, 0x9C]]
    assert fmt.quantize(values, block=1, scale=[[1, 1], [4, 4]]).scales.shape == (2, 2)
    assert fmt.quantize(np.float32(3), scale=0.5).codes == 6


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_lies_beyond_float32_after_scaling_saturates(symmetric):
    q = FORMATS["INT8"].quantize([-1e30, 1e30], scale=1e-30, symmetric=symmetric)
    assert FORMATS["INT8"].decode(q.codes).tolist() == [-128, 127]


def test_all_zero_groups_have_scale_one():
    values = np.array([[0, 0], [0, 127]], np.float32)
    for symmetric in (True, False):
        got = FORMATS["INT8"].quantize(values, axis=0, symmetric=symmetric)
        assert got.scales[0] == 1
        assert got.values[0].tolist() == [0, 0]


def test_other_roundings():
    values = np.array([127, 1.5, -1.5, 0.25], np.float32)
    fmt = FORMATS["INT8"]
    assert fmt.quantize(values, rounding="toward_zero").values.tolist() == [127, 1, -1, 0]
    assert fmt.quantize(values, rounding="up").values.tolist() == [127, 2, -1, 1]
    assert fmt.quantize(values, scale=1, rounding="down").values.tolist() == [127, 1, -2, 0]
    drawn = fmt.quantize(np.tile(values, 2000), rounding="stochastic", generator=np.random.default_rng(0)).values
    assert abs(drawn.reshape(-1, 4).mean(axis=0) - values).max() < 0.05


# --- double quantisation ---------------------------------------------------------------------------------------------


def test_double_quantisation_saves_0_373_bit_per_value(normal):
    rows = normal[:256]
    plain, double = (FORMATS["NF4"].quantize(rows, block=64, double_quantize=flag) for flag in (False, True))
    assert plain.bits_per_value == 4.5
    assert double.bits_per_value == 4 + 8 / 64 + 32 / (64 * 256) + 32 / rows.size  # the last is the mean
    assert plain.bits_per_value - double.bits_per_value == pytest.approx(0.373, abs=1e-4)
    assert np.array_equal(plain.codes, double.codes)
    assert abs(sqnr_db(rows, plain.values) - sqnr_db(rows, double.values)) < 0.02


@given(arrays(np.float32, (5, 12), elements=NUMBERS))
@settings(deadline=None)
def test_double_quantised_scales_stay_near_theirs(values):
    plain, double = (FORMATS["NF4"].quantize(values, block=4, double_quantize=flag) for flag in (False, True))
    spread = float(abs(plain.scales.astype(np.float64) - plain.scales.mean(dtype=np.float64)).max())
    assert (
        abs(double.scales.astype(np.float64) - plain.scales) <= spread / 16 * 1.001 + 1e-6 * plain.scales.max()
    ).all()
    assert (double.scales >= 0).all()
    assert double.second.codes.size == plain.scales.size


# --- what the formats are worth --------------------------------------------------------------------------------------

# dB for N(0, 1), 4096 x 4096: one scale per tensor, row, and 128, 64, 32, 16 elements (two implementations agreed)
SQNR = {
    "INT8": (38.3, 41.2, 43.8, 44.5, 45.4, 46.6),
    "FP8_E4M3": (31.5, 31.6, 31.8, 32.0, 32.4, 33.0),
    "INT4": (13.1, 16.1, 18.6, 19.4, 20.3, 21.4),
    "FP4_E2M1": (17.0, 18.5, 19.3, 19.5, 19.9, 20.5),
    "NF4": (17.0, 19.2, 20.4, 20.7, 21.2, 21.9),
}
BLOCK_SQNR = {"MXFP4": (18.8, None), "NVFP4": (20.4, None), "MXFP8_E4M3": (30.6, 31.5), "MXINT8": (41.7, None)}


@pytest.mark.parametrize("name", SQNR)
def test_the_published_sqnr(name, normal):
    """The scale of the whole tensor comes from the largest of all 16 million values; a sixteenth of them is enough."""
    fmt, rows = FORMATS[name], normal[:256]
    cuts = [(0, None), *[(-1, block) for block in (128, 64, 32, 16)]]
    quantized = [scaled(fmt, rows, np.abs(normal).max()), *(fmt.quantize(rows, *cut) for cut in cuts)]
    assert [sqnr_db(rows, q.values) for q in quantized] == pytest.approx(SQNR[name], abs=0.08)


def scaled(fmt, values, amax):
    return fmt.quantize(values, scale=amax / np.float32(fmt.max))


@pytest.mark.parametrize("name", BLOCK_SQNR)
def test_the_published_sqnr_of_block_formats(name, normal):
    for rounding, expected in zip(("floor", "ceil"), BLOCK_SQNR[name], strict=True):
        if expected is not None:
            got = FORMATS[name].quantize(normal[:256], scale_rounding=rounding)
            assert sqnr_db(normal[:256], got.values) == pytest.approx(expected, abs=0.06)


def test_outliers_ruin_int8_and_leave_fp8_alone(normal):
    """0.1 % of the channels 100 times as large; the error of the others. INT8's hangs on the single largest value."""
    large = np.arange(4096) % 1000 == 0
    others, amax = normal[:256, ~large], 100 * np.abs(normal[:, large]).max()
    found = [sqnr_db(others, scaled(FORMATS[name], others, amax).values) for name in ("INT8", "FP8_E4M3")]
    assert found == [pytest.approx(2.3, abs=0.8), pytest.approx(31.5, abs=0.08)]


def test_sqnr_by_hand():
    assert sqnr_db([3.0, 4.0], [3.0, 3.5]) == pytest.approx(20)
    assert sqnr_db([1.0], [1.0]) == math.inf
    assert sqnr_db([], []) == math.inf
    assert sqnr_db([0.0], [1.0]) == sqnr_db([1.0], [math.inf]) == -math.inf
    assert math.isnan(sqnr_db([1.0], [math.nan]))
    with pytest.raises(ValueError, match=r"one shape: got \(2,\) and \(1,\)"):
        sqnr_db([1.0, 2.0], [1.0])


# --- packing ---------------------------------------------------------------------------------------------------------


def test_the_first_code_is_in_the_low_nibble():
    assert pack([1, 2, 3]).tolist() == [0x21, 0x03]
    assert unpack(pack([1, 2, 3])).tolist() == [1, 2, 3, 0]
    assert unpack(pack([1, 2, 3]), 3).tolist() == [1, 2, 3]


@settings(deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, min_side=0), elements=st.integers(0, 15)))
def test_unpack_is_the_inverse_of_pack(codes):
    packed = pack(codes)
    assert (packed.dtype, packed.shape) == (np.uint8, (-(-codes.size // 2),))
    assert np.array_equal(unpack(packed, codes.shape), codes)


@settings(max_examples=20, deadline=None)
@given(arrays(np.int8, (3, 5), elements=st.integers(-8, 7)))
def test_packed_int4_is_onnx(values):
    tensor = helper.make_tensor("w", onnx.TensorProto.INT4, (3, 5), values.reshape(-1).tolist())
    stored = tensor.raw_data or bytes(x & 0xFF for x in tensor.int32_data)
    assert pack(FORMATS["INT4"].encode(values.astype(np.float32))).tobytes() == stored


def test_what_cannot_be_packed_is_refused():
    for codes in ([16], [-1], [0.5]):
        with pytest.raises(ValueError, match="pack takes codes 0 to 15: got"):
            pack(codes)
    with pytest.raises(TypeError, match=r"bytes \(uint8\): got int64"):
        unpack([1, 2])
    for shape in (2, 5, (3, 3)):
        with pytest.raises(ValueError, match="2 bytes hold 4 codes: got shape"):
            unpack(np.zeros(2, np.uint8), shape)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0,), (0, 32), (3, 0), (2, 0, 64)])
@pytest.mark.parametrize("name", ["INT8", "NF4", "MXFP4", "NVFP4"])
def test_empty_arrays_have_empty_codes(name, shape):
    is_element = name in ("INT8", "NF4")
    for cut in ({}, {"axis": 0}, {"axis": -1}, {"block": 32}) if is_element else ({},):
        got = FORMATS[name].quantize(np.empty(shape, np.float32), **cut)
        assert got.values.shape == got.codes.shape == shape
        assert math.isnan(got.bits_per_value)
        assert (got.scales == 1).all()
    assert FORMATS["UINT8"].quantize(np.empty(shape), symmetric=False).values.shape == shape
    assert FORMATS["NF4"].quantize(np.empty((0, 64)), block=64, double_quantize=True).values.shape == (0, 64)


@pytest.mark.parametrize("name", ["INT8", "UINT8", "MXFP4", "NVFP4", "NF4"])
@given(bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]), place=st.integers(0, 63))
@settings(max_examples=12, deadline=None)
def test_what_is_no_finite_float32_is_refused(name, bad, place):
    values = np.zeros(64)
    values[place] = bad
    for options in ({}, {"symmetric": False}, {"scale": 1}) if name in ("INT8", "UINT8") else ({},):
        with pytest.raises(ValueError, match=r"finite float32 values|UINT8 has no values below 0"):
            FORMATS[name].quantize(values, **options)


MOST = np.finfo(np.float32).max


@pytest.mark.parametrize(
    "options",
    [{}, {"block": 16}, {"scale": 1.9e38}, {"symmetric": False}, {"double_quantize": True}, {"scale_rounding": "ceil"}],
    ids=str,
)
@pytest.mark.parametrize("most", [MOST, np.nextafter(MOST, np.float32(0)), np.float32(3.3e38), np.float32(2.0**127)])
def test_the_largest_numbers_stay_finite_and_near(options, most):
    """Code times scale, both right, may round to infinity: the code is then the next one towards 0."""
    values = np.linspace(0 if "symmetric" in options else -1, 1, 64, dtype=np.float32) * most
    values = np.full(64, most) if "scale" in options else values
    for fmt in (fmt for fmt in FORMATS.values() if fmt.name not in ("FP64", "E8M0")):
        is_block = hasattr(fmt, "block_size")
        if (not is_block and "scale_rounding" in options) or (is_block and {*options} - {"scale_rounding"}):
            continue
        if "symmetric" in options and fmt.name not in ("INT8", "UINT8", "INT4", "UINT4"):
            continue
        positive = abs(values) if fmt.name.startswith("UINT") else values
        got = fmt.quantize(positive, **options)
        assert np.isfinite(got.values).all(), fmt.name
        assert sqnr_db(positive.astype(float), got.values) > (2 if "scale" in options else 10), fmt.name


@pytest.mark.parametrize(
    ("name", "values", "options", "message"),
    [
        ("INT8", np.ones(8), {"axis": 1}, r"axis is one of the 1 axes of shape \(8,\): got 1"),
        ("INT8", np.ones(8), {"axis": -2}, r"axis is one of the 1 axes of shape \(8,\): got -2"),
        ("INT8", np.ones(8), {"axis": 0.0}, r"axis is one of .*got 0\.0"),
        ("MXFP4", np.ones((32, 32)), {"axis": 2}, r"axis is one of the 2 axes"),
        ("MXFP4", np.float32(1), {}, r"axis is one of the 0 axes of shape \(\): got -1"),
        ("INT8", np.ones(8), {"block": 0}, r"block is a number of elements, 1 or more: got 0"),
        ("INT8", np.ones(8), {"block": True}, r"block is a number of elements, 1 or more: got True"),
        ("INT8", np.ones(8), {"block": 2.0}, r"block is a number of elements, 1 or more: got 2\.0"),
        ("INT8", np.ones((2, 9)), {"block": 4}, r"blocks of 4 do not divide axis 1 of length 9; partial=True"),
        ("INT8", np.ones(8), {"block": 16}, r"blocks of 16 do not divide axis 0 of length 8; partial=True"),
        ("NVFP4", np.ones((2, 24)), {}, r"blocks of 16 do not divide axis 1 of length 24; partial=True"),
        ("UINT8", -np.ones(8), {}, r"UINT8 has no values below 0: got -1\.0; use symmetric=False for a zero point"),
        ("FP8_E4M3", np.ones(8), {"symmetric": False}, r"symmetric=False is for integers.*got FP8_E4M3"),
        ("UINT8", np.ones(8), {"symmetric": False, "rounding": "up"}, r"rounded to nearest even: got UINT8, up"),
        (
            "UINT8",
            [-3e38, 3e38],
            {"symmetric": False},
            r"a range beyond float32 has no scale: got -3\.0.*e\+38 to 3\.0",
        ),
        ("INT8", np.ones((2, 3)), {"scale": [1, 2]}, r"one number or has shape \(\), one per group: got shape \(2,\)"),
        ("INT8", np.ones((2, 3)), {"scale": [1], "axis": 1}, r"has shape \(3,\), one per group: got shape \(1,\)"),
        ("INT8", np.ones(3), {"scale": 0}, r"scales are finite and above 0: got 0"),
        ("INT8", np.ones(3), {"scale": np.nan}, r"scales are finite and above 0: got nan"),
        ("INT8", np.ones(3), {"rounding": "nearest"}, r"rounding is one of"),
        ("FP64", np.ones(3), {}, r"scaling is float32 arithmetic, which must hold all elements.*got FP64"),
    ],
)
def test_a_wrong_request_is_refused(name, values, options, message):
    with pytest.raises(ValueError, match=message):
        FORMATS[name].quantize(values, **options)


def test_lists_integers_and_float16_are_welcome():
    for values in ([1, -2, 3, 127], np.array([1, -2, 3, 127], np.int16), np.array([1, -2, 3, 127], np.float16)):
        assert FORMATS["INT8"].quantize(values).values.tolist() == [1, -2, 3, 127]
    whole = FORMATS["INT8"].quantize(np.ones((4, 8)), axis=np.int64(1), block=np.uint8(4))
    assert whole.scales.shape == (4, 2)
    view = np.arange(128, dtype=np.float64)[::-2]
    assert FORMATS["INT8"].quantize(view).values.tolist() == view.tolist()
