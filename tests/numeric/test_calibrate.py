"""numeric/calibrate against naive loops, numpy.histogram, and the thresholds that nvidia-modelopt gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trtlab.numeric import FORMATS, calibrate
from trtlab.numeric.calibrate import CALIBRATORS, CalibrationError, Histogram, candidate, entropy, mse, percentile


def random():
    return np.random.default_rng(7)


# An activation of each kind, and how many of 2,048 bins nvidia-modelopt 0.47.0 keeps of the same histogram. Of a
# constant all large enough candidates are equal: there rounding decides for it.
SHAPES = {
    "normal": (lambda: random().standard_normal(50_000).astype(np.float32), 1157),
    "relu": (lambda: np.maximum(random().standard_normal(50_000).astype(np.float32), 0), 960),
    "laplace": (lambda: random().laplace(size=50_000), 1307),
    "heavy tail": (lambda: random().standard_t(3, 50_000), 690),
    "uniform": (lambda: random().uniform(-1, 1, 50_000), 2048),
    "outlier": (lambda: np.append(random().standard_normal(50_000).astype(np.float32), 60.0), 130),
    "spiky": (lambda: np.concatenate([np.zeros(999), np.full(500, 3.0), random().exponential(size=3000), [90]]), 1552),
    "whole numbers": (lambda: random().integers(0, 17, 5000), 2048),
    "few": (lambda: random().standard_normal(40), 2048), "constant": (lambda: np.full(1000, 5.0), None),
}  # fmt: skip


def same(a, b):
    return (a.limit, a.low, a.high, a.counts.tolist()) == (b.limit, b.low, b.high, b.counts.tolist())


# --- histograms -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_histogram_is_that_of_numpy(shape):
    x = SHAPES[shape][0]().astype(np.float32)
    h = Histogram.of(x.reshape(2, -1) if x.size % 2 == 0 else x)
    assert h.counts.tolist() == np.histogram(np.abs(x), h.counts.size, (0, h.limit))[0].tolist()
    assert (h.count, h.low, h.high) == (x.size, x.min(), x.max())
    assert h.amax < h.limit <= 2 * h.amax


FLOATS = arrays(np.float32, st.integers(0, 30), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


@settings(max_examples=80, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_batches_in_any_order_are_all_values_at_once(batches, random):
    at_once = Histogram.of(np.concatenate(batches))
    random.shuffle(batches)
    added = Histogram()
    for batch in batches:
        added = added.collect(batch)
    assert same(added, at_once)
    assert same(Histogram.of(batches[0]).merge(Histogram().collect(np.concatenate([[], *batches[1:]]))), at_once)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Histogram.of([1.0, math.nan, math.inf]), "2 of 3 values are NaN, infinite"),
        (lambda: Histogram.of(np.float64([1e300])), "1 of 1 values"),
        (lambda: percentile(Histogram.of([1.0]), 0.9999e4), "percent"),
        (lambda: candidate(Histogram.of([1.0]), 0), "1 to 2048 bins: got 0"),
        *[(lambda f=f: f(Histogram.of(np.empty((0, 3)))), "no values") for f in CALIBRATORS.values()],
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_says_why(make, said):
    with pytest.raises(CalibrationError, match=said):
        make()


# --- calibrators ------------------------------------------------------------------------------------------------------


def naive_entropy(counts, levels):
    """NVIDIA's slides (GTC 2017, S7310), one candidate after the other, one bin after the other."""
    counts = [float(count) for count in counts]
    counts[0] = counts[1]
    curve = []
    for kept in range(levels, len(counts) + 1):
        p = counts[:kept]
        p[-1] += sum(counts[kept:])
        q = [0.0] * kept
        for level in range(levels):
            bins = [k for k in range(kept) if k * levels // kept == level and counts[k]]
            for k in bins:
                q[k] = math.fsum(counts[i] for i in bins) / len(bins)
        p, q = ([x / (math.fsum(each) or 1) for x in each] for each in (p, q))
        lost = any(a and not b for a, b in zip(p, q, strict=True))
        kl = math.inf if lost else math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
        curve.append(kl)
    return max(k for k, kl in enumerate(curve) if kl <= min(curve) + 1e-12) + levels, curve


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([(8, 2), (64, 8), (30, 7)]), st.data())
def test_entropy_is_the_naive_search(sizes, data):
    bins, levels = sizes
    counts = data.draw(arrays(np.int64, bins, elements=st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 10**9))))
    counts[data.draw(st.integers(2, bins - 1))] += 1
    h = Histogram(counts=counts, limit=1.0, low=0.0, high=1.0)
    found, (best, curve) = entropy(h, levels=levels), naive_entropy(counts, levels)
    np.testing.assert_allclose(found.losses, np.maximum(curve, 0), atol=1e-9)
    assert found.bin == best
    for kept, loss in zip(found.candidates, found.losses, strict=True):
        assert candidate(h, kept, levels=levels).divergence == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_of_2048_bins_is_that_of_modelopt_and_of_each_candidate(shape):
    make, bins = SHAPES[shape]
    h = Histogram.of(make())
    found = entropy(h)
    assert found.bin == bins or bins is None
    curve = np.array([candidate(h, kept).divergence for kept in found.candidates])
    np.testing.assert_allclose(found.losses, curve, atol=1e-9)
    assert found.bin == np.flatnonzero(curve <= curve.min() + 1e-12)[-1] + 128
    assert calibrate.amax_entropy(h) == found.value == min(found.bin * h.width, h.amax)
    assert found.scale == np.float32(found.value) / np.float32(127)


def test_a_candidate_by_hand_on_eight_bins():
    """Five of eight bins in two levels: bins 0 to 2 and 3 to 4; the zeros' bin counts as its neighbour."""
    c = candidate(Histogram(counts=np.array([99, 6, 0, 2, 4, 1, 0, 3]), limit=8.0, low=0.0, high=8.0), 5, levels=2)
    assert (c.p * 22).tolist() == pytest.approx([6, 6, 0, 2, 8])
    assert (c.q * 18).tolist() == pytest.approx([6, 6, 0, 3, 3])
    p, q = (6 / 22, 6 / 22, 2 / 22, 8 / 22), (6 / 18, 6 / 18, 3 / 18, 3 / 18)
    assert c.divergence == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_others_against_all_values(shape):
    x = np.abs(SHAPES[shape][0]().astype(np.float32))
    h = Histogram.of(x)
    assert (calibrate.amax_max(h), CALIBRATORS["max"](h).bin) == (x.max(), np.flatnonzero(h.counts)[-1] + 1)
    assert (calibrate.amax_percentile(h, 99), calibrate.amax_mse(h)) == (percentile(h, 99).value, mse(h).value)
    for percent in (50, 99, 99.99, 100):
        exact, found = np.quantile(x, percent / 100, method="inverted_cdf"), percentile(h, percent)
        assert exact <= found.value <= exact + h.width
        assert found.losses[found.bin - 1] <= 1 - percent / 100 + 1e-12
    if len(set(x)) > 20:  # a bin is taken at its centre
        errors, found = {}, mse(h)
        for kept in found.candidates[::40]:
            made = FORMATS["INT8"].quantize(x, scale=kept * h.width / 127).values
            errors[kept] = float(np.mean((made - x) ** 2))
        curve = dict(zip(found.candidates, found.losses, strict=True))
        least = min(errors, key=errors.get)
        assert errors[least] <= curve[found.bin] * 1.3 + h.width**2
        assert curve[found.bin] == min(curve.values()) <= curve[least]


@pytest.mark.parametrize("name", CALIBRATORS)
def test_zeros_a_constant_and_one_value(name):
    zeros = CALIBRATORS[name](Histogram.of(np.zeros((2, 3))))
    assert (zeros.value, zeros.scale, zeros.bin, len(zeros.losses)) == (0.0, 1.0, 0, 0)
    for x in ([5.0] * 9, [-5.0], [0.0, 5.0]):
        assert CALIBRATORS[name](Histogram.of(x)).value == 5.0
    tiny = CALIBRATORS[name](Histogram.of([1e-44, -1e-45]))
    assert 0 < tiny.value <= 1e-44 < tiny.scale


def test_the_kernel_and_numpy_count_alike(both_ways):
    x = np.concatenate([SHAPES["heavy tail"][0](), np.ldexp(1.0, np.arange(-149, 128))]).astype(np.float32)
    for size in (x.size, 1027, 1):
        numpy, numba = both_ways(lambda size=size: Histogram.of(x[-size:]))
        assert same(numpy, numba)
    assert numpy.counts.size == calibrate.BINS
