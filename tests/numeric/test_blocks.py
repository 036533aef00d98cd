"""numeric/blocks against fractions: every scale, code and value again, one rounding per operation, through `exact`.

Also against torchao where it is right; where it is not, a named test shows the difference.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trtlab.numeric import FORMATS, BlockFormat, CodeBook, FloatFormat, IntegerFormat, exact
from trtlab.numeric.formats import BLOCKS

from .peers import float32

E5M0 = FloatFormat(name="E5M0", exponent_bits=5, mantissa_bits=0, has_infinity=False)
OWN = [
    BlockFormat(name="INT4_FP16", element=FORMATS["INT4"], block_size=128, scale=FORMATS["FP16"]),
    BlockFormat(name="NF4_E5M0", element=FORMATS["NF4"], block_size=8, scale=E5M0),
    BlockFormat(name="INT3", element=IntegerFormat(bits=3), block_size=3, scale=FORMATS["FP8_E5M2"], tensor_scale=True),
    BlockFormat(name="BF16_FP32", element=FORMATS["BF16"], block_size=4, scale=FORMATS["FP32"], element_exponent=-3),
    BlockFormat(name="LOW", element=FORMATS["INT8"], block_size=2, scale=FORMATS["E8M0"], element_exponent=-9),
]  # fmt: skip
ALL = [*BLOCKS, *OWN]


# --- the specification, in fractions ---------------------------------------------------------------------------------


def in_format(fmt, number):
    return exact.decode(fmt, exact.encode(fmt, number)).fraction


def power_of_two(fmt, amax, rounding):
    """OCP MX 1.0, section 6.3, by counting; amax above zero."""
    most = exact.real(fmt.element.max) * Fraction(2) ** fmt.element_exponent
    power = Fraction(2) ** 400
    if rounding == "ceil":  # while half of it still does
        while amax / (power / 2) <= most:
            power /= 2
        return power
    largest_power = Fraction(2) ** 400
    while largest_power > most:
        largest_power /= 2
    while power > amax:
        power /= 2
    return power / largest_power


def scale_of_block(fmt, amax, tensor, rounding="floor"):
    least = exact.real(fmt.scale.min_subnormal or fmt.scale.min_normal)
    if fmt.scale.mantissa_bits == 0:
        power = power_of_two(fmt, amax, rounding) if amax else least
        return min(max(power, least), exact.real(fmt.scale.max))
    divisor = float32(Fraction(fmt.element_max) * tensor)
    scale = in_format(fmt.scale, max(float32(amax / divisor) or Fraction(1), least))
    if fmt.scale.bits == 32 and is_beyond(scale * divisor):
        return nearer_to_zero(fmt.scale, scale)
    return scale


def is_beyond(number):
    return abs(float32(number)) == 2**200


def nearer_to_zero(fmt, value):
    """The next value of the format, towards 0."""
    code = exact.decode(fmt, exact.encode(fmt, value)).neighbour(-1 if value > 0 else 1)
    return exact.decode(fmt, code).fraction


def specified(fmt, rows, tensor, rounding="floor"):
    """Scales, element values and restored values as fractions."""
    scales, elements, restored = [], [], []
    for row in rows:
        numbers = [Fraction(float(x)) for x in row]
        scale = scale_of_block(fmt, max(map(abs, numbers)), tensor, rounding)
        step = float32(float32(scale * tensor) * Fraction(2) ** fmt.element_exponent)
        limit = exact.real(fmt.element.max)
        near = [float32(x / (step or 1)) for x in numbers]
        codes = [in_format(fmt.element, min(max(x, -limit), limit)) for x in near]
        codes = [nearer_to_zero(fmt.element, code) if is_beyond(code * step) else code for code in codes]
        scales.append(scale)
        elements.append(codes)
        restored.append([float32(code * step) for code in codes])
    return scales, elements, restored


def check(fmt, rows, rounding="floor"):
    got = fmt.quantize(rows, scale_rounding=rounding)
    tensor = Fraction(1) if got.tensor_scale is None else Fraction(float(got.tensor_scale))
    if fmt.tensor_scale:
        largest = Fraction(float(np.abs(rows).max()))
        assert tensor == (float32(largest / (Fraction(fmt.element_max) * Fraction(fmt.scale.max))) or 1)
    cut = rows.reshape(-1, fmt.block_size)
    scales, elements, restored = specified(fmt, cut, tensor, rounding)
    assert [Fraction(x) for x in got.scales.reshape(-1).tolist()] == scales
    assert got.codes.shape == got.values.shape == rows.shape
    for found, wanted in ((fmt.element.decode(got.codes), elements), (got.values, restored)):
        assert [[Fraction(x) for x in row] for row in found.reshape(cut.shape).tolist()] == wanted


# --- against the specification ---------------------------------------------------------------------------------------


def magnitudes(fmt, blocks_each=2):
    """Blocks from the smallest to the largest numbers, each around a power of two, where scales change."""
    generator = np.random.default_rng(7)
    exponents = np.repeat([-149, -140, -127, -126, -60, -9, -1, 0, 1, 2, 30, 100, 127], blocks_each)
    rows = generator.uniform(-1, 1, (exponents.size, fmt.block_size)).astype(np.float32)
    rows[:, 0] = generator.choice([1, 1.25, 1.5, 1.75, 1.9375, 127 / 64, np.nextafter(1.75, 2)], exponents.size)
    with np.errstate(under="ignore"):
        return np.ldexp(rows, exponents[:, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("fmt", "rounding"),
    [(fmt, mode) for fmt in ALL for mode in ("floor", "ceil")[: 1 + (fmt.scale.mantissa_bits == 0)]],
    ids=str,
)
@pytest.mark.usefixtures("compiled")
def test_blocks_of_every_magnitude_are_as_specified(fmt, rounding):
    for rows in magnitudes(fmt) if fmt.tensor_scale else [magnitudes(fmt)]:
        check(fmt, rows, rounding)


NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("fmt", ALL, ids=str)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_numbers_are_as_specified(fmt, data):
    rows = data.draw(arrays(np.float32, (2, 6), elements=NUMBERS))
    rounding = data.draw(st.sampled_from(["floor", "ceil"])) if fmt.scale.mantissa_bits == 0 else "floor"
    check(replace(fmt, block_size=3), rows, rounding)


@pytest.mark.parametrize("fmt", ALL, ids=str)
def test_numba_and_numpy_give_the_same_bits(fmt, both_ways):
    generator = np.random.default_rng(8)
    values = generator.standard_normal((120, 3 * fmt.block_size)) * np.exp(generator.normal(0, 12, (120, 1)))
    one, other = both_ways(lambda: fmt.quantize(values.astype(np.float32)))
    for what in ("codes", "scales", "values"):
        assert getattr(one, what).tobytes() == getattr(other, what).tobytes()


@pytest.mark.usefixtures("compiled")
def test_every_element_boundary_in_one_block():
    """Codes of FP4 at each midpoint and the floats beside it, under a scale of 1: ties go to even."""
    middles = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], np.float32)
    values = np.concatenate([[4.0], np.nextafter(middles, 0), middles, np.nextafter(middles, 9, dtype=np.float32)])
    values = np.pad(np.concatenate([values, -values]), (0, 20)).astype(np.float32)
    got = FORMATS["MXFP4"].quantize(values)
    assert got.scales.tolist() == [1, 1]
    middle = got.values[8:15].tolist()
    assert middle == [0, 1, 1, 2, 2, 4, 4]
    assert got.values[1:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4]
    assert got.values[15:22].tolist() == [0.5, 1, 1.5, 2, 3, 4, 6]


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_floor_saturates_where_ceil_does_not():
    """amax 7 = 1.75 * 2^2 and FP4's largest value is 6 = 1.5 * 2^2: floor keeps the scale 1, ceil doubles it."""
    block = np.zeros(32, np.float32)
    block[:2] = 7, 1
    floor, ceil = (FORMATS["MXFP4"].quantize(block, scale_rounding=mode) for mode in ("floor", "ceil"))
    assert (floor.scales.tolist(), floor.values[:2].tolist()) == ([1], [6, 1])
    assert (ceil.scales.tolist(), ceil.values[:2].tolist()) == ([2], [8, 1])


def test_nvfp4_by_hand():
    """amax 2688 = 6 * 448 makes the tensor's scale 1; the second block's scale is 6/6."""
    values = np.array([[2688, 1] + [0] * 14, [6, -0.5] + [0] * 14], np.float32)
    got = FORMATS["NVFP4"].quantize(values)
    assert (got.tensor_scale, got.scales.tolist()) == (1, [[448], [1]])
    assert got.scale_codes.tolist() == [[0x7E], [0x38]]
    assert got.codes[:, :2].tolist() == [[7, 0], [7, 9]]
    assert got.values[:, :2].tolist() == [[2688, 0], [6, -0.5]]


def test_a_tensor_scale_from_calibration():
    """Half the scale for the range: the largest value saturates at 6 * 448 * scale."""
    values = np.array([2688, 100, *[0] * 14], np.float32)
    got = FORMATS["NVFP4"].quantize(values, tensor_scale=0.5)
    assert (got.tensor_scale, got.scales.tolist(), got.values[0]) == (0.5, [448], 1344)
    for name, bad in (("NVFP4", 0), ("NVFP4", -1), ("NVFP4", np.nan), ("NVFP4", np.inf), ("MXFP4", 1)):
        with pytest.raises(
            ValueError, match=f"tensor_scale is a float32 above 0, for formats .*: got {bad} for {name}"
        ):
            FORMATS[name].quantize(np.ones(32), tensor_scale=bad)


@pytest.mark.usefixtures("compiled")
def test_mxint8_is_a_multiple_of_one_sixty_fourth_and_never_minus_two():
    block = np.array([1.999, -1.999, 1 / 64, -1, *[0] * 28], np.float32)
    got = FORMATS["MXINT8"].quantize(block)
    assert got.scales.tolist() == [1]
    assert got.values[:4].tolist() == [127 / 64, -127 / 64, 1 / 64, -1]
    assert 0x80 not in got.codes


@pytest.mark.parametrize(("fmt", "scale"), [("MXFP4", 2.0**-127), ("MXINT8", 2.0**-127), ("NVFP4", 1.0)])
@pytest.mark.usefixtures("compiled")
def test_an_all_zero_block(fmt, scale):
    got = FORMATS[fmt].quantize(np.zeros((2, 32), np.float32))
    assert set(got.scales.reshape(-1).tolist()) == {scale}
    assert not got.values.any()
    assert got.tensor_scale == (1 if fmt == "NVFP4" else None)


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


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("name", MX_PEERS)
def test_mx_as_torchao(torchao, name, rounding):
    import torch

    from trtlab.numeric import quantize

    mode = torchao[0].ScaleCalculationMode({"floor": "floor", "ceil": "rceil"}[rounding])
    scales, codes = torchao[0].to_mx(torch.from_numpy(VALUES), getattr(torch, MX_PEERS[name]), 32, mode)
    got = FORMATS[name].quantize(VALUES, scale_rounding=rounding)
    assert got.scale_codes.tolist() == scales.view(torch.uint8).numpy().tolist()
    ours = quantize.pack(got.codes) if name == "MXFP4" else got.codes.reshape(-1)
    assert ours.tolist() == codes.view(torch.uint8).reshape(-1).tolist()


def test_nvfp4_as_torchao_but_for_its_scale_floor_and_its_reciprocals(torchao):
    """torchao multiplies by a rounded reciprocal, so a value beside a midpoint may fall to the other side."""
    import torch

    from trtlab.numeric import quantize

    got = FORMATS["NVFP4"].quantize(VALUES)
    scales, packed = torchao[1].nvfp4_quantize(torch.from_numpy(VALUES), 16, torch.tensor(got.tensor_scale))
    assert got.scale_codes.tolist() == scales.view(torch.uint8).numpy().tolist()
    codes = quantize.unpack(packed.numpy().reshape(-1), VALUES.shape)
    assert np.count_nonzero(codes != got.codes) <= VALUES.size // 1000
    tiny = np.zeros((1, 32), np.float32)
    tiny[0, 0], tiny[0, 16] = 2688, 2.0**-8 * 6
    theirs = torchao[1].nvfp4_quantize(torch.from_numpy(tiny), 16, torch.tensor(1.0))[0].float().tolist()
    assert FORMATS["NVFP4"].quantize(tiny).scales.tolist() == [[448, 2.0**-8]]
    assert theirs == [[448, 2.0**-6]]


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["MXFP8_E4M3", "MXINT8", "NVFP4"])
@pytest.mark.usefixtures("compiled")
def test_nan_and_infinity_are_refused(name, bad):
    values = np.ones((3, 64), np.float32)
    values[1, 40] = bad
    with pytest.raises(ValueError, match=r"needs finite float32 values: got NaN or infinity.*nan_to_num"):
        FORMATS[name].quantize(values)


E8M0, FP4, MXFP4 = (FORMATS[name] for name in ("E8M0", "FP4_E2M1", "MXFP4"))
REFUSED = {
    "element is a FloatFormat, IntegerFormat or CodeBook: got .*MXFP4": lambda: mine(MXFP4),
    "scale is a FloatFormat: got .*INT8": lambda: mine(FP4, scale=FORMATS["INT8"]),
    r"scales come from the largest element, so it is above 0: got -1\.0": lambda: CodeBook(
        entries=(-2.0, -1.0)
    ).quantize(np.ones(3)),
    "block_size is an integer from 1 on: got 0": lambda: mine(FP4, 0),
    "block_size is .*: got True": lambda: mine(FP4, True),
    r"block_size is .*: got 1\.5": lambda: mine(FP4, 1.5),
    "scale_rounding is one of floor, ceil: got 'even'": lambda: MXFP4.quantize(np.ones(32), scale_rounding="even"),
    "rounding is one of nearest_even": lambda: MXFP4.quantize(np.ones(32), rounding="nearest"),
    "needs generator": lambda: MXFP4.quantize(np.ones(32), rounding="stochastic"),
    r"scaling is float32 arithmetic.*got FP64 and E8M0": lambda: mine(FORMATS["FP64"]).quantize(np.ones(4)),
    "must hold all elements and scales: got BF16 and E8M0": lambda: mine(FORMATS["BF16"], element_exponent=1).quantize(
        np.ones(4)
    ),
    "BlockFormat; .*quantize": lambda: MXFP4.encode(np.array([1], np.uint8)),
    "for BlockFormat; .*quantize": lambda: MXFP4.decode(np.array([1], np.uint8)),
    "rule for BlockFormat; .*quantize": lambda: exact.encode(MXFP4, 1),
}


def mine(element, block_size=4, scale=E8M0, **facts):
    return BlockFormat(element=element, block_size=block_size, scale=scale, **facts)


@pytest.mark.parametrize("message", REFUSED)
def test_bad_descriptions_and_modes_are_refused(message):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSED[message]()


def test_other_roundings_go_through_the_codec():
    values, fmt = np.array([5.0, 3.5, -1.25, 4.0, *[0] * 28], np.float32), FORMATS["MXFP4"]
    assert fmt.quantize(values, rounding="toward_zero").values[:4].tolist() == [4, 3, -1, 4]
    drawn = fmt.quantize(np.tile(values, 500), rounding="stochastic", generator=np.random.default_rng(1)).values
    assert abs(drawn.reshape(-1, 32).mean(axis=0)[:3] - values[:3]).max() < 0.15
