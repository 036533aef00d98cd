"""numeric/codec against `exact` (all codes, boundaries and modes), and ml_dtypes and NumPy where they are right."""

import subprocess
import sys
from fractions import Fraction
from itertools import product
from typing import get_args

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from trtlab.numeric import FORMATS, CodeBook, FloatFormat, IntegerFormat, codec, exact, kernelfile
from trtlab.numeric.describe import Overflow, Rounding
from trtlab.numeric.formats import ELEMENTS

from .peers import NAMES_OF_PEERS, peer_codes

ROUNDINGS, OVERFLOWS = get_args(Rounding), get_args(Overflow)
DETERMINISTIC = [mode for mode in ROUNDINGS if mode != "stochastic"]
SMALL = [fmt for fmt in ELEMENTS if fmt.bits <= 8]
UP_TO_16 = [fmt for fmt in ELEMENTS if fmt.bits <= 16]
OWN = [
    FloatFormat(name="E3M2", exponent_bits=3, mantissa_bits=2),
    FloatFormat(name="E5M3U", exponent_bits=5, mantissa_bits=3, is_signed=False),
    FloatFormat(name="UE4M3", exponent_bits=4, mantissa_bits=3, is_signed=False, has_infinity=False, top_nans=1),
    FloatFormat(name="NOZERO", exponent_bits=4, mantissa_bits=3, has_subnormals=False),
    FloatFormat(name="NOZERO_NO_NAN", exponent_bits=3, mantissa_bits=1, has_subnormals=False, has_infinity=False),
    FloatFormat(name="TWO_KINDS_OF_NAN", exponent_bits=3, mantissa_bits=2, has_negative_zero=False),
    FloatFormat(name="WIDE", exponent_bits=9, mantissa_bits=4),
    FloatFormat(name="LOW", exponent_bits=4, mantissa_bits=2, bias=150),
    FloatFormat(name="HIGH", exponent_bits=6, mantissa_bits=3, bias=-60, has_infinity=False),
    FloatFormat(name="E8M23B100", exponent_bits=8, mantissa_bits=23, bias=100),
    FloatFormat(name="E10M52", exponent_bits=10, mantissa_bits=52),
    FloatFormat(name="E5M0", exponent_bits=5, mantissa_bits=0),
    FloatFormat(name="E1M2", exponent_bits=1, mantissa_bits=2),
    FloatFormat(name="PADDED", exponent_bits=4, mantissa_bits=3, padding_bits=8), IntegerFormat(name="INT3", bits=3),
    IntegerFormat(name="UINT16", bits=16, is_signed=False),
    CodeBook(name="NOT_EVEN", entries=(-3.0, -1.0, -0.25, 0.5, 0.625, 4.0, 1000.0, 2.0**127)),
]  # fmt: skip
ALL = [*ELEMENTS, *OWN]


class Draws:
    """A generator whose draws are known, for one value after the other and for all at once."""

    def __init__(self, draws):
        self.draws = list(draws)

    def integers(self, low, high, *, size, dtype):
        assert (low, high) == (0, 1 << 32)
        taken, self.draws = self.draws[:size], self.draws[size:]
        return np.array(taken, dtype)


def some_codes(fmt):
    codes = np.random.default_rng(5).integers(0, 1 << fmt.bits, 300, dtype=np.uint64) << np.uint64(fmt.padding_bits)
    return codes.astype(fmt.code_dtype)


def finite_values(fmt):
    """All finite values of a small format, some of a large one, ascending, as float64."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = fmt.decode(fmt.all_codes() if fmt.bits <= 16 else some_codes(fmt)).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


def boundaries(fmt, dtype, most=120):
    """Values, midpoints between neighbours, and the next floats on both sides of each; range ends; specials."""
    values = finite_values(fmt)
    if values.size > most:
        values = np.concatenate([values[:9], np.random.default_rng(6).choice(values, most - 18), values[-9:]])
        values.sort()
    middles = values[:-1] / 2 + values[1:] / 2
    ends = np.array([fmt.max * 1.01, fmt.max * (1 + 2.0**-9), fmt.max * 2.5] if fmt.max < 1e307 else [fmt.max])
    tiny = np.array([0.0, 5e-324, 2.0**-149, 2.0**-130, 2.0**-128, 2.0**-127 * 1.5, 1e-30])
    with np.errstate(over="ignore", under="ignore"):
        some = np.concatenate([values, middles, ends, tiny]).astype(dtype)
        some = np.concatenate([some, np.nextafter(some, dtype(np.inf)), np.nextafter(some, dtype(-np.inf)), [np.inf]])
    return np.concatenate([some, -some]).astype(dtype)


def specified(fmt, values, rounding, overflow, draws):
    """The codes of `exact`; None where it refuses."""

    def one(value, draw):
        try:
            return exact.encode(fmt, value, rounding, overflow, Draws([draw]))
        except ValueError:
            return None

    return [one(value, draw) for value, draw in zip(values, draws, strict=True)]


# --- all codes, all boundaries, all modes ----------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ALL, ids=str)
def test_codes_mean_what_exact_says(fmt):
    """All codes of small formats, some of large ones."""
    step = 1 if fmt.bits <= 8 else 5 << max(0, fmt.bits - 11)
    codes = fmt.all_codes()[::step] if fmt.bits <= 20 else some_codes(fmt)
    for code, value in zip(codes.tolist(), fmt.decode(codes), strict=True):
        assert exact.real(value) == exact.decode(fmt, code).value, hex(code)


IN_FLOAT64 = ("FP64", "FP32", "FP16", "FP8_E4M3", "E8M0", "INT8", "NF4", "E5M3U", "NOZERO", "WIDE", "LOW", "E8M23B100")


@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [(fmt, np.float32) for fmt in ALL] + [(fmt, np.float64) for fmt in ALL if fmt.name in IN_FLOAT64],
    ids=str,
)
def test_every_boundary_in_every_mode_is_as_specified(fmt, dtype):
    values = boundaries(fmt, dtype, most=22)
    draws = np.random.default_rng(4).integers(0, 1 << 32, values.size, dtype=np.uint32)
    inside = (values >= np.float64(fmt.min)) & (values <= np.float64(fmt.max)) & (values != 0)
    for rounding in ROUNDINGS:
        expected = dict.fromkeys(OVERFLOWS, specified(fmt, values, rounding, "ieee", draws))
        beyond = specified(fmt, values[~inside], rounding, "saturate", draws[~inside])
        expected["saturate"] = np.array(expected["ieee"], object)
        expected["saturate"][~inside] = beyond
        for overflow, codes in expected.items():
            has_code = np.array([code is not None for code in codes])
            made = fmt.encode(values[has_code], rounding, overflow, Draws(draws[has_code]))
            right = np.array([code for code in codes if code is not None], fmt.code_dtype)
            wrong = np.flatnonzero(made != right)[:3]
            assert wrong.size == 0, (rounding, overflow, values[has_code][wrong], made[wrong], right[wrong])
            for value in values[~has_code][:2]:
                with pytest.raises(ValueError, match="has neither infinity nor NaN"):
                    fmt.encode([value], rounding, overflow, Draws([0]))


@pytest.mark.parametrize("name", ["FP8_E4M3", "FP16", "BF16", "FP4_E2M1", "E8M0", "INT8", "NF4", "FP64"])
def test_numba_and_numpy_agree(name, both_ways):
    """In one more mode than to nearest even; all modes of all formats are for the sweep: each is to be compiled."""
    fmt, mode = FORMATS[name], DETERMINISTIC[1 + len(name) % 4]
    values = np.random.default_rng(7).integers(0, 1 << 32, 50_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([values[~np.isnan(values)], boundaries(fmt, np.float32)])
    results = both_ways(lambda: (codes := fmt.encode(values), fmt.decode(codes), fmt.encode(values, mode)))
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", DETERMINISTIC)
@pytest.mark.parametrize("fmt", UP_TO_16, ids=str)
def test_what_a_code_means_becomes_that_code_again(fmt, rounding):
    codes = fmt.all_codes()[:: 1 if fmt.bits <= 8 else 7]
    values = fmt.decode(codes)
    is_number = ~np.isnan(values)
    assert np.array_equal(fmt.encode(values[is_number], rounding, "ieee"), codes[is_number])
    finite = np.isfinite(values)
    assert np.array_equal(fmt.encode(values[finite], rounding, "saturate"), codes[finite])
    if not is_number.all():
        assert np.isnan(fmt.decode(fmt.encode(values[~is_number]))).all()


@settings(max_examples=50, deadline=None)
@given(arrays(st.sampled_from([np.float32, np.float64]), array_shapes(min_dims=0, min_side=0, max_dims=3)), st.data())
def test_any_array_keeps_its_shape_and_its_neighbours(values, data):
    fmt = data.draw(st.sampled_from(SMALL))
    values = np.nan_to_num(values)
    low, high = (fmt.decode(fmt.encode(values, mode)) for mode in ("down", "up"))
    near = fmt.decode(fmt.encode(values))
    inside = np.clip(values.astype(np.float64), fmt.min, fmt.max)
    assert np.shape(near) == values.shape
    assert ((low <= inside) & (inside <= high)).all()
    assert (np.abs(near - inside) <= np.minimum(inside - low, high - inside)).all()


def test_stochastic_rounding_is_unbiased_and_draws_alike_for_one_value_and_for_many():
    fmt, values = FORMATS["FP8_E5M2"], np.random.default_rng(0).standard_normal(101)
    one, many = np.random.default_rng(1), np.random.default_rng(1)
    expected = [exact.encode(fmt, value, "stochastic", generator=one) for value in values]
    assert fmt.encode(values, "stochastic", generator=many).tolist() == expected
    drawn = fmt.decode(fmt.encode(np.full(200_000, 0.3, np.float32), "stochastic", generator=one))
    assert abs(drawn.mean() - 0.3) < 0.001


# --- the peers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES_OF_PEERS)
def test_some_float32_and_every_boundary_against_ml_dtypes_and_numpy(name):
    """All 2^32 are for the sweep."""
    fmt = FORMATS[name]
    values = np.arange(0, 1 << 32, (1 << 18) + 1, dtype=np.uint32).view(np.float32)
    values = np.concatenate([values, boundaries(fmt, np.float32)])
    overflow = "ieee" if fmt.nan_code is not None else "saturate"
    values = values[~np.isnan(values)]
    rounding = "nearest_even"
    if name == "E8M0":  # zero, negatives, and the binade that ml_dtypes misrounds have tests of their own
        values, rounding = values[values >= 2.0**-126], "nearest_away"
    if name not in ("FP6_E3M2", "FP6_E2M3", "FP4_E2M1"):  # NaN keeps its sign
        values = np.append(values, np.array([0x7FC00000, 0xFFC00000], np.uint32).view(np.float32))
    ours, theirs = fmt.encode(values, rounding, overflow), peer_codes(name, values)
    differ = np.flatnonzero(ours != theirs)[:4]
    assert differ.size == 0, (values[differ], ours[differ], theirs[differ])


# --- arrays in and out -----------------------------------------------------------------------------------------------


def test_scalars_lists_empty_strided_swapped_and_whole_numbers():
    fmt = FORMATS["FP8_E4M3"]
    assert (fmt.encode(1.0), fmt.decode(0x38)) == (0x38, 1.0)
    assert fmt.encode([1.0], out=(out := np.zeros(1, np.uint8))) is out
    assert out.tolist() == [0x38]
    assert fmt.encode([1, 2]).tolist() == fmt.encode(np.array([1, 2], ">f4")).tolist() == [0x38, 0x40]
    assert fmt.encode(np.array([1.0, 9, 2, 9], np.float16)[::2]).tolist() == [0x38, 0x40]
    assert fmt.encode(np.ones((2, 3), order="F")).shape == (2, 3)
    assert (fmt.encode([]).dtype, fmt.decode([]).dtype) == (np.uint8, np.float32)
    assert fmt.encode(np.zeros((2, 0, 3))).shape == fmt.decode(np.zeros((2, 0, 3), np.uint8)).shape == (2, 0, 3)
    assert fmt.decode([[0x38], [0x40]]).tolist() == [[1.0], [2.0]]
    assert all(each.decode(each.encode([1.0])).dtype == f"f{4 + 4 * (each.name == 'FP64')}" for each in ELEMENTS)


@pytest.mark.parametrize(
    "values", ["1.0", None, [1j], [True], np.array([1], ml_dtypes.bfloat16), np.array([1], "M8[s]")]
)
def test_what_is_no_float_is_refused(values):
    for action in (FORMATS["FP16"].encode, FORMATS["INT8"].quantize, FORMATS["MXFP4"].quantize):
        with pytest.raises(TypeError, match=r"values are float32 or float64: got .*convert them first"):
            action(values)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"beyond 2\^53 may be no float64: got 9007199254740993; use numeric\.exact"):
        FORMATS["FP16"].encode([2**53 + 1])
    with pytest.raises(TypeError, match="codes are integers: got float64; did you mean encode"):
        FORMATS["FP8_E4M3"].decode([1.0])
    for out in (np.zeros(3, np.uint16), np.zeros(2, np.uint8), np.zeros(6, np.uint8)[::2]):
        with pytest.raises(ValueError, match=r"out is contiguous uint8 of shape \(3,\): got"):
            FORMATS["FP8_E4M3"].encode(np.ones(3), out=out)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("FP8_E4M3", 256, "FP8_E4M3 has codes 0 to 0xff: got 0x100"), ("FP8_E4M3", -1, "got -0x1; .* by `& 0xff`"),
        ("FP4_E2M1", 16, "0 to 0xf: got 0x10"), ("FP6_E3M2", 255, "0 to 0x3f: got 0xff"),
        ("INT4", 16, "0 to 0xf: got 0x10"), ("NF4", 16, "0 to 0xf: got 0x10"),
        ("TF32", 0x3F800001, "e000, multiples of 0x2000: got 0x3f8.*& 0xffffe000"), ("TF32", 1, "0x2000: got 0x1"),
    ],
)  # fmt: skip
def test_codes_beyond_the_format_are_refused(name, code, message):
    fmt = FORMATS[name]
    arrays = [[code]] if not 0 <= code <= 255 else [[code], np.array([0, code, 0], np.uint8)]
    for action in [lambda: exact.decode(fmt, code), *(lambda a=a: fmt.decode(a) for a in arrays)]:
        with pytest.raises(ValueError, match=message):
            action()


@pytest.mark.parametrize("name", ["FP4_E2M1", "INT8", "NF4"])
@pytest.mark.usefixtures("compiled")
def test_nan_and_ieee_overflow_are_refused_in_formats_with_neither(name):
    fmt = FORMATS[name]
    for action in (fmt.encode, lambda values: [exact.encode(fmt, value) for value in values]):
        with pytest.raises(ValueError, match=f"{name} has no NaN: got nan; replace it first"):
            action(np.array([0.0, 1.0, np.nan], np.float32))
    with pytest.raises(ValueError, match=f"{name} has neither infinity nor NaN .*got -inf .*use overflow='saturate'"):
        fmt.encode(np.array([0.0, -np.inf], np.float32), overflow="ieee")
    with pytest.raises(ValueError, match="got a number of 401 digits"):
        exact.encode(fmt, Fraction(10**400), overflow="ieee")


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (("nearest",), "rounding is one of nearest_even, .*stochastic: got 'nearest'"),
        (("up", "clip"), "overflow is one of saturate, ieee: got 'clip'"),
        (("stochastic",), r"needs generator=numpy\.random\.default_rng\(seed\): got None"),
        (("stochastic", "ieee", 7), "got 7"),
    ],
)
def test_unknown_modes_are_refused(modes, message):
    for action in (FORMATS["FP16"].encode, lambda *arguments: exact.encode(FORMATS["FP16"], *arguments)):
        with pytest.raises(ValueError, match=message):
            action(1.0, *modes)


# --- kernels ---------------------------------------------------------------------------------------------------------


def test_without_numba_numpy_gives_the_same_bits(monkeypatch, tmp_path):
    values = np.random.default_rng(0).standard_normal(codec.COMPILED_FROM + 5).astype(np.float32)
    expected = FORMATS["FP8_E5M2"].encode(values, "up")
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ImportError
    monkeypatch.setattr(kernelfile, "folder", lambda: tmp_path)
    for name in [name for name in sys.modules if name.startswith("trtlab_kernel_")]:
        monkeypatch.delitem(sys.modules, name)
    codec._kernel.cache_clear()
    assert np.array_equal(FORMATS["FP8_E5M2"].encode(values, "up"), expected)
    codec._kernel.cache_clear()


@pytest.mark.slow
def test_kernels_are_kept_on_disk_and_a_changed_file_is_rewritten(monkeypatch, tmp_path):
    monkeypatch.setenv("TRTLAB_CACHE", str(tmp_path))
    code = """
import numpy as np
from trtlab.numeric import FORMATS
print(FORMATS["FP8_E4M3"].encode(np.ones(40_000, np.float32))[0])
import sys
(module,) = [m for name, m in sys.modules.items() if name.startswith("trtlab_kernel_")]
print(sum(module.kernel.stats.cache_hits.values()))
"""
    outputs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        outputs.append(done.stdout.split())
        (source,) = (tmp_path / "kernels").glob("*.py")
        if len(outputs) == 2:
            source.write_text("kernel = None", "utf-8")
    assert outputs[:2] == [["56", "0"], ["56", "1"]]
    assert outputs[2][0] == "56"


def test_a_cache_folder_that_cannot_be_written_is_replaced(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRTLAB_CACHE", str(tmp_path / "file"))
    kernelfile.folder.cache_clear()
    assert kernelfile.folder().is_dir()
    kernelfile.folder.cache_clear()


@pytest.fixture
def past_caches(monkeypatch):
    """Every array through numba, every result stored past the caches."""
    monkeypatch.setattr(codec, "COMPILED_FROM", 0)
    monkeypatch.setattr(codec, "_PAST_CACHES_FROM", 0)


@pytest.mark.parametrize("name", ["FP8_E4M3", "INT8", "FP64"])
def test_stores_past_the_caches_reach_every_address_and_length(name, request):
    """Only whole chunks at addresses that 32 divides go that way; what lies before and after must come too."""
    fmt = FORMATS[name]
    codes = np.random.default_rng(6).integers(0, 1 << min(fmt.bits, 62), 7000, dtype=np.uint64).astype(fmt.code_dtype)
    expected = fmt.decode(codes)
    request.getfixturevalue("past_caches")
    for start, size in product(range(9), (0, 3, 511, 512, 524, 6999)):
        memory = np.full(8000, 7, expected.dtype)
        fmt.decode(codes[:size], out=memory[start : start + size])
        assert memory[start : start + size].tobytes() == expected[:size].tobytes()
        assert (memory[:start] == 7).all()
        assert (memory[start + size :] == 7).all()


@pytest.mark.usefixtures("past_caches")
def test_wrong_codes_past_the_caches():
    for place in (0, 3000, 6999):
        codes = np.zeros(7000, np.uint8)
        codes[place] = 16
        with pytest.raises(ValueError, match="FP4_E2M1 has codes 0 to 0xf: got 0x10"):
            FORMATS["FP4_E2M1"].decode(codes)
