"""numeric/quantize against fractions, ONNX and torchao: groups, scales, zero points, blocks; published SQNR; packing.

The specification below takes one block at a time, one rounding per operation, through `exact`.
"""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import helper
from onnx.reference import ReferenceEvaluator

from trtlab.numeric import FORMATS, BlockFormat, CodeBook, FloatFormat, IntegerFormat, exact
from trtlab.numeric.formats import BLOCKS, ELEMENTS
from trtlab.numeric.quantize import pack, sqnr_db, unpack

from .peers import float32

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2.0**100, min_value=-(2.0**100))
SIGNED = [fmt for fmt in ELEMENTS if fmt.min < 0 and fmt.name not in ("FP64", "FP32")]
E5M0 = FloatFormat(name="E5M0", exponent_bits=5, mantissa_bits=0, has_infinity=False)
FP32, E8M0, FP4, MXFP4, INT8 = (FORMATS[name] for name in ("FP32", "E8M0", "FP4_E2M1", "MXFP4", "INT8"))
OWN = [
    BlockFormat(name="INT4_FP16", element=FORMATS["INT4"], block_size=128, scale=FORMATS["FP16"]),
    BlockFormat(name="NF4_E5M0", element=FORMATS["NF4"], block_size=8, scale=E5M0),
    BlockFormat(name="INT3", element=IntegerFormat(bits=3), block_size=3, scale=FORMATS["FP8_E5M2"], tensor_scale=True),
    BlockFormat(name="BF16_FP32", element=FORMATS["BF16"], block_size=4, scale=FP32, element_exponent=-3),
    BlockFormat(name="LOW", element=INT8, block_size=2, scale=E8M0, element_exponent=-9),
    *(BlockFormat(name=f"{name}_FP32", element=FORMATS[name], block_size=6, scale=FP32) for name in ("INT8", "NF4")),
]  # fmt: skip
ALL = [*BLOCKS, *OWN]


# --- the specification, in fractions ---------------------------------------------------------------------------------


def in_format(fmt, number):
    return exact.decode(fmt, exact.encode(fmt, number)).fraction


def power_of_two(fmt, amax, rounding):
    """OCP MX 1.0, section 6.3, by counting; amax above zero."""
    most = exact.real(fmt.element.max) * Fraction(2) ** fmt.element_exponent
    power = Fraction(2) ** 200
    if rounding == "ceil":  # while half of it still does
        while amax / (power / 2) <= most:
            power /= 2
        return power
    largest_power = Fraction(2) ** 200
    while largest_power > most:
        largest_power /= 2
    while power > amax:
        power /= 2
    return power / largest_power


def scale_of_block(fmt, amax, tensor, rounding):
    least = exact.real(fmt.scale.min_subnormal or fmt.scale.min_normal)
    if fmt.scale.mantissa_bits == 0:
        power = power_of_two(fmt, amax, rounding) if amax else least
        return min(max(power, least), exact.real(fmt.scale.max))
    divisor = float32(Fraction(fmt.element_max) * tensor)
    return in_format(fmt.scale, max(float32(amax / divisor) or Fraction(1), least))


def check(fmt, rows, rounding="floor"):
    got = fmt.quantize(rows, scale_rounding=rounding)
    tensor = Fraction(1) if got.tensor_scale is None else Fraction(float(got.tensor_scale))
    if fmt.tensor_scale:
        largest = Fraction(float(np.abs(rows).max()))
        assert tensor == (float32(largest / (Fraction(fmt.element_max) * Fraction(fmt.scale.max))) or 1)
    cut, limit = rows.reshape(-1, fmt.block_size), exact.real(fmt.element.max)
    codes, values = (x.reshape(cut.shape).tolist() for x in (fmt.element.decode(got.codes), got.values))
    for row, scale, elements, restored in zip(cut, got.scales.ravel().tolist(), codes, values, strict=True):
        numbers = [Fraction(float(x)) for x in row]
        assert Fraction(scale) == scale_of_block(fmt, max(map(abs, numbers)), tensor, rounding)
        step = float32(float32(Fraction(scale) * tensor) * Fraction(2) ** fmt.element_exponent)
        near = [float32(x / (step or 1)) for x in numbers]
        wanted = [in_format(fmt.element, min(max(x, -limit), limit)) for x in near]
        assert [*map(Fraction, elements)] == wanted
        assert [*map(Fraction, restored)] == [float32(element * step) for element in wanted]


def magnitudes(fmt):
    """Blocks from the smallest to the largest numbers, each around a power of two, where scales change."""
    generator = np.random.default_rng(7)
    exponents = np.array([-149, -140, -127, -126, -60, -9, -1, 0, 1, 2, 30, 100])
    rows = generator.uniform(-1, 1, (exponents.size, fmt.block_size)).astype(np.float32)
    rows[:, 0] = generator.choice([1, 1.25, 1.5, 1.75, 1.9375, 127 / 64, np.nextafter(1.75, 2)], exponents.size)
    with np.errstate(under="ignore"):
        return np.ldexp(rows, exponents[:, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("fmt", "rounding"),
    [(fmt, mode) for fmt in ALL for mode in ("floor", "ceil")[: 1 + (fmt.scale.mantissa_bits == 0)]],
    ids=str,
)
def test_blocks_of_every_magnitude_are_as_specified(fmt, rounding):
    short = replace(fmt, block_size=min(fmt.block_size, 6))
    for rows in magnitudes(short) if fmt.tensor_scale else [magnitudes(short)]:
        check(short, rows, rounding)


@settings(max_examples=60, deadline=None)
@given(fmt=st.sampled_from(ALL), rows=arrays(np.float32, (2, 6), elements=NUMBERS), rounding=st.booleans())
def test_any_numbers_are_as_specified(fmt, rows, rounding):
    check(replace(fmt, block_size=3), rows, "ceil" if rounding and fmt.scale.mantissa_bits == 0 else "floor")


@pytest.mark.parametrize("fmt", [*ALL, *(FORMATS[name] for name in ("INT8", "FP8_E4M3", "NF4"))], ids=str)
def test_numba_and_numpy_give_the_same_bits(fmt, both_ways):
    generator = np.random.default_rng(8)
    values = generator.standard_normal((60, 384)) * np.exp(generator.normal(0, 12, (60, 1)))
    cuts = [{}] if isinstance(fmt, BlockFormat) else [{"axis": 0}, {"axis": 1, "block": 64}]
    for how in cuts:
        one, other = both_ways(lambda how=how: fmt.quantize(values.astype(np.float32), **how))
        for what in ("codes", "scales", "values"):
            assert getattr(one, what).tobytes() == getattr(other, what).tobytes()


# --- groups ----------------------------------------------------------------------------------------------------------


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


@settings(max_examples=40, deadline=None)
@given(cut=cuts(), fmt=st.sampled_from(SIGNED))
def test_every_group_is_quantised_as_if_it_were_alone(cut, fmt):
    values, axis, block = cut
    index, shape = groups(values.shape, axis, block)
    got = fmt.quantize(values, axis, block, partial=True)
    assert (got.codes.shape, got.scales.shape, got.zero_points, got.tensor_scale) == (values.shape, shape, None, None)
    affine = INT8.quantize(values, axis, block, partial=True, symmetric=False)
    assert affine.zero_points.shape == shape
    for group in range(math.prod(shape)):
        here = index == group
        alone = BlockFormat(element=fmt, block_size=int(here.sum()), scale=FP32).quantize(values[here])
        assert alone.scales == got.scales.reshape(-1)[group]
        assert (alone.codes.tolist(), alone.values.tolist()) == (got.codes[here].tolist(), got.values[here].tolist())
        assert INT8.quantize(values[here], symmetric=False).values.tolist() == affine.values[here].tolist()


def test_block_formats_run_along_any_axis():
    values = np.random.default_rng(2).standard_normal((32, 3, 64)).astype(np.float32)
    first, last = FORMATS["MXFP8_E4M3"].quantize(values, 0), FORMATS["MXFP8_E4M3"].quantize(values.transpose(2, 1, 0))
    assert (first.scales.shape, last.scales.shape) == ((1, 3, 64), (64, 3, 1))
    assert np.array_equal(first.values, last.values.T)
    assert first.codes.flags.c_contiguous
    assert repr(last) == "<MXFP8_E4M3: codes (64, 3, 32), scales (64, 3, 1), 8.25 bits per value>"


# --- zero points, given scales, scales of scales ---------------------------------------------------------------------


DYNAMIC = """<ir_version: 10, opset_import: ["": 20]> g (float[30] x) => (uint8[30] y, float scale, uint8 zero)
{ y, scale, zero = DynamicQuantizeLinear (x) }"""


@settings(max_examples=50, deadline=None)
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


def test_given_scales():
    values = np.array([[1.0, -2.0], [200.0, -200.0]], np.float32)
    assert INT8.quantize(values, scale=1).values.tolist() == [[1, -2], [127, -128]]
    assert INT8.quantize(values, axis=0, scale=[0.5, 2]).codes.tolist() == [[2, 0xFC], [100, 0x9C]]
    assert INT8.quantize(values, block=1, scale=[[1, 1], [4, 4]]).scales.shape == (2, 2)
    assert INT8.quantize(np.float32(3), scale=0.5).codes == 6
    for symmetric in (True, False):  # what lies beyond float32 after scaling saturates
        q = INT8.quantize([-1e30, 1e30], scale=1e-30, symmetric=symmetric)
        assert INT8.decode(q.codes).tolist() == [-128, 127]


# --- blocks by hand --------------------------------------------------------------------------------------------------


def test_nvfp4_by_hand():
    """amax 2688 = 6 * 448 makes the tensor's scale 1; the second block's scale is 6/6."""
    values = np.array([[2688, 1] + [0] * 14, [6, -0.5] + [0] * 14], np.float32)
    got = FORMATS["NVFP4"].quantize(values)
    assert (got.tensor_scale, got.scales.tolist()) == (1, [[448], [1]])
    assert got.scale_codes.tolist() == [[0x7E], [0x38]]
    assert got.codes[:, :2].tolist() == [[7, 0], [7, 9]]
    assert got.values[:, :2].tolist() == [[2688, 0], [6, -0.5]]


def test_groups_of_zeros_alone():
    for name, scale in (("MXFP4", 2.0**-127), ("MXINT8", 2.0**-127), ("NVFP4", 1.0), ("INT8", 1.0), ("UINT8", 1.0)):
        got = FORMATS[name].quantize(np.zeros((2, 32), np.float32))
        assert set(np.ravel(got.scales).tolist()) == {scale}
        assert not got.values.any()
    assert INT8.quantize(np.zeros(3), symmetric=False).scales == 1


@pytest.mark.parametrize("fmt", BLOCKS, ids=str)
def test_bits_per_value(fmt):
    bits = {"MXFP8": 8.25, "MXFP6": 6.25, "MXFP4": 4.25, "MXINT8": 8.25, "NVFP4": 4.5}[str(fmt).split("_")[0]]
    assert fmt.bits_per_value == bits
    got = fmt.quantize(np.ones((4, 96), np.float32))
    assert got.size_bits == 4 * 96 * bits + 32 * fmt.tensor_scale
    assert got.size_bytes == got.size_bits / 8


# --- torchao ---------------------------------------------------------------------------------------------------------

VALUES = np.random.default_rng(9).standard_normal((64, 320)).astype(np.float32) * np.float32(1e-3)
MX_PEERS = {"MXFP8_E4M3": "float8_e4m3fn", "MXFP8_E5M2": "float8_e5m2", "MXFP4": "float4_e2m1fn_x2"}


@pytest.fixture(scope="module")
def torchao():
    pytest.importorskip("torchao", reason="torchao is not installed")
    from torchao.prototype.mx_formats import mx_tensor, nvfp4_tensor

    return mx_tensor, nvfp4_tensor


@pytest.mark.slow  # torchao is
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("name", MX_PEERS)
def test_mx_as_torchao(torchao, name, rounding):
    import torch

    mode = torchao[0].ScaleCalculationMode({"floor": "floor", "ceil": "rceil"}[rounding])
    scales, codes = torchao[0].to_mx(torch.from_numpy(VALUES), getattr(torch, MX_PEERS[name]), 32, mode)
    got = FORMATS[name].quantize(VALUES, scale_rounding=rounding)
    assert got.scale_codes.tolist() == scales.view(torch.uint8).numpy().tolist()
    ours = pack(got.codes) if name == "MXFP4" else got.codes.reshape(-1)
    assert ours.tolist() == codes.view(torch.uint8).reshape(-1).tolist()


@pytest.mark.slow
def test_nvfp4_as_torchao_but_for_its_scale_floor_and_its_reciprocals(torchao):
    """torchao multiplies by a rounded reciprocal, so a value beside a midpoint may fall to the other side."""
    import torch

    got = FORMATS["NVFP4"].quantize(VALUES)
    scales, packed = torchao[1].nvfp4_quantize(torch.from_numpy(VALUES), 16, torch.tensor(got.tensor_scale))
    assert got.scale_codes.tolist() == scales.view(torch.uint8).numpy().tolist()
    codes = unpack(packed.numpy().reshape(-1), VALUES.shape)
    assert np.count_nonzero(codes != got.codes) <= VALUES.size // 1000
    tiny = np.zeros((1, 32), np.float32)
    tiny[0, 0], tiny[0, 16] = 2688, 2.0**-8 * 6
    theirs = torchao[1].nvfp4_quantize(torch.from_numpy(tiny), 16, torch.tensor(1.0))[0].float().tolist()
    assert FORMATS["NVFP4"].quantize(tiny).scales.tolist() == [[448, 2.0**-8]]
    assert theirs == [[448, 2.0**-6]]


# --- what the formats are worth --------------------------------------------------------------------------------------

NORMAL = np.random.default_rng(0).standard_normal((128, 4096)).astype(np.float32)
LARGEST = np.float32(5.3501062)  # of 4096 rows
# dB for N(0, 1), 4096 x 4096: one scale per tensor, row, and 128, 64, 32, 16 elements (two implementations agreed)
SQNR = {
    "INT8": (38.3, 41.2, 43.8, 44.5, 45.4, 46.6),
    "FP8_E4M3": (31.5, 31.6, 31.8, 32.0, 32.4, 33.0),
    "INT4": (13.1, 16.1, 18.6, 19.4, 20.3, 21.4),
    "FP4_E2M1": (17.0, 18.5, 19.3, 19.5, 19.9, 20.5),
    "NF4": (17.0, 19.2, 20.4, 20.7, 21.2, 21.9),
}
BLOCK_SQNR = {"MXFP4": (18.8,), "NVFP4": (20.4,), "MXFP8_E4M3": (30.6, 31.5), "MXINT8": (41.7,)}  # floor, ceil


@pytest.mark.parametrize("name", SQNR)
def test_the_published_sqnr(name):
    cuts = [{"scale": LARGEST / np.float32(FORMATS[name].max)}, {"axis": 0}, *({"block": b} for b in (128, 64, 32, 16))]
    found = [sqnr_db(NORMAL, FORMATS[name].quantize(NORMAL, **how).values) for how in cuts]
    assert found == pytest.approx(SQNR[name], abs=0.08)


@pytest.mark.parametrize("name", BLOCK_SQNR)
def test_the_published_sqnr_of_block_formats(name):
    for rounding, expected in zip(("floor", "ceil"), BLOCK_SQNR[name], strict=False):
        got = FORMATS[name].quantize(NORMAL, scale_rounding=rounding)
        assert sqnr_db(NORMAL, got.values) == pytest.approx(expected, abs=0.06)


def test_double_quantisation_saves_0_373_bit_per_value():
    plain, double = (FORMATS["NF4"].quantize(NORMAL, block=64, double_quantize=flag) for flag in (False, True))
    assert plain.bits_per_value == 4.5
    assert double.bits_per_value == 4 + 8 / 64 + 32 / (64 * 256) + 32 / NORMAL.size  # the last is the mean
    assert plain.bits_per_value - double.bits_per_value == pytest.approx(0.373, abs=1e-4)
    assert abs(sqnr_db(NORMAL, plain.values) - sqnr_db(NORMAL, double.values)) < 0.02


def test_sqnr_by_hand():
    assert sqnr_db([3.0, 4.0], [3.0, 3.5]) == pytest.approx(20)
    assert sqnr_db([1.0], [1.0]) == sqnr_db([], []) == math.inf
    assert sqnr_db([0.0], [1.0]) == sqnr_db([1.0], [math.inf]) == -math.inf
    assert math.isnan(sqnr_db([1.0], [math.nan]))
    with pytest.raises(ValueError, match=r"one shape: got \(2,\) and \(1,\)"):
        sqnr_db([1.0, 2.0], [1.0])


# --- packing ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, min_side=0), elements=st.integers(0, 15)))
def test_unpack_is_the_inverse_of_pack(codes):
    packed = pack(codes)
    assert (packed.dtype, packed.shape) == (np.uint8, (-(-codes.size // 2),))
    assert np.array_equal(unpack(packed, codes.shape), codes)


def test_the_first_code_is_in_the_low_nibble_as_in_onnx():
    assert pack([1, 2, 3]).tolist() == [0x21, 0x03]
    assert unpack(pack([1, 2, 3])).tolist() == [1, 2, 3, 0]
    assert unpack(pack([1, 2, 3]), 3).tolist() == [1, 2, 3]
    values = np.arange(-8, 7)
    tensor = helper.make_tensor("w", onnx.TensorProto.INT4, (3, 5), values.tolist())
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


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 0, 64)])
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
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_finite_float32_is_refused(name, bad, both_ways):
    values = np.zeros(64)
    values[40] = bad
    for options in ({}, {"symmetric": False}, {"scale": 1}) if name in ("INT8", "UINT8") else ({},):

        def refused(options=options):
            with pytest.raises(ValueError, match=r"needs finite float32 .*nan_to_num|UINT8 has no values below 0"):
                FORMATS[name].quantize(values, **options)

        both_ways(refused) if bad is np.inf else refused()


MOST = np.finfo(np.float32).max
HOWS = {"": {}, "block": {"block": 16}, "scale": {"scale": 1.9e38}, "double": {"double_quantize": True}}


@pytest.mark.parametrize("most", [MOST, np.float32(3.3e38), np.float32(2.0**127)])
@pytest.mark.parametrize("how", [*HOWS, "symmetric", "ceil"])
def test_the_largest_numbers_stay_finite_and_near(how, most):
    """Code times scale, both right, may round to infinity: the value is then the largest float32."""
    values = np.full(64, most) if how == "scale" else np.linspace(-1, 1, 64, dtype=np.float32) * most
    for fmt in (fmt for fmt in FORMATS.values() if fmt.name not in ("FP64", "E8M0")):
        if how and hasattr(fmt, "block_size") != (how == "ceil"):
            continue
        if how == "symmetric" and not isinstance(fmt, IntegerFormat):
            continue
        positive = abs(values) if fmt.min >= 0 or how == "symmetric" else values
        extra = {"symmetric": {"symmetric": False}, "ceil": {"scale_rounding": "ceil"}}.get(how, HOWS.get(how, {}))
        got = fmt.quantize(positive, **extra)
        assert np.isfinite(got.values).all(), fmt.name
        assert sqnr_db(positive.astype(float), got.values) > (2 if how == "scale" else 10), fmt.name


def mine(element, block_size=4, scale=E8M0, **facts):
    return BlockFormat(element=element, block_size=block_size, scale=scale, **facts)


REFUSED = {
    r"axis is one of the 1 axes of shape \(8,\): got 1": lambda: INT8.quantize(np.ones(8), axis=1),
    r"axis is one of .*: got True": lambda: INT8.quantize(np.ones((2, 8)), axis=True),
    r"axis is one of the 0 axes of shape \(\): got -1": lambda: MXFP4.quantize(np.float32(1)),
    r"block is a number of elements, 1 or more: got 0": lambda: INT8.quantize(np.ones(8), block=0),
    r"block is a number .* got True": lambda: INT8.quantize(np.ones(8), block=True),
    r"block is a number .* got 2\.0": lambda: INT8.quantize(np.ones(8), block=2.0),
    r"blocks of 4 do not divide axis 1 of length 9; partial": lambda: INT8.quantize(np.ones((2, 9)), block=4),
    r"no values below 0: got -1; use symmetric=False": lambda: FORMATS["UINT8"].quantize(-np.ones(8)),
    r"symmetric=False is for integers: got FP4": lambda: FP4.quantize(np.ones(8), symmetric=False),
    r"a range beyond float32 has no scale: got -3\.0.*e\+38": lambda: INT8.quantize([-3e38, 3e38], symmetric=False),
    r"shape \(\), one per group: got shape \(2,\)": lambda: INT8.quantize(np.ones((2, 3)), scale=[1, 2]),
    r"has shape \(3,\), one per .* \(1,\)": lambda: INT8.quantize(np.ones((2, 3)), axis=1, scale=[1]),
    r"scales are finite and above 0: got 0": lambda: INT8.quantize(np.ones(3), scale=0),
    r"scaling is float32 arithmetic, which must hold.*got FP64": lambda: FORMATS["FP64"].quantize(np.ones(3)),
    r"must hold all elements and scales: got BF16 and E8M0": lambda: mine(FORMATS["BF16"], element_exponent=1).quantize(
        np.ones(4)
    ),
    r"element is a FloatFormat, IntegerFormat or CodeBook: got .*MXFP4": lambda: mine(MXFP4),
    r"scale is a FloatFormat: got .*INT8": lambda: mine(FP4, scale=INT8),
    r"the largest element, so it is above 0: got -1\.0": lambda: CodeBook(entries=(-2.0, -1.0)).quantize(np.ones(3)),
    r"block_size is an integer from 1 on: got 0": lambda: mine(FP4, 0),
    r"scale_rounding is one of floor, ceil: got 'even'": lambda: MXFP4.quantize(np.ones(32), scale_rounding="even"),
    r"BlockFormat; .*quantize": lambda: MXFP4.encode(np.array([1], np.uint8)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_wrong_request_or_description_is_refused(message):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSED[message]()


def test_lists_integers_and_float16_are_welcome():
    for values in ([1, -2, 3, 127], np.array([1, -2, 3, 127], np.int16), np.array([1, -2, 3, 127], np.float16)):
        assert INT8.quantize(values).values.tolist() == [1, -2, 3, 127]
    assert INT8.quantize(np.ones((4, 8)), axis=np.int64(1), block=np.uint8(4)).scales.shape == (4, 2)
    view = np.arange(128, dtype=np.float64)[::-2]
    assert INT8.quantize(view).values.tolist() == view.tolist()
