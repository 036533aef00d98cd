"""numeric/calibrate: which clipping threshold an INT8 scale should have, from a histogram of magnitudes.

In: batches of activations. Out: a `Histogram`, and of it, by pure functions, frozen `Threshold`s with their whole loss
curve. Checked by naive loops and by nvidia-modelopt in tests/numeric/test_calibrate.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import codec, kernelfile

Array = npt.NDArray[Any]
BINS, START, LEVELS = 2048, 128, 128  # TensorRT's; 128 levels, because the sign takes the other half of 256 codes
_MOST = 127  # INT8's largest code
_NO_CURVE = np.zeros(0)


class CalibrationError(ValueError):
    """Nothing to calibrate with, values that have no place in a histogram, or a cache of another model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """How often each magnitude came: `counts[i]` values with i * width <= |x| < (i + 1) * width, and the lowest and
    highest value with their signs.

    `limit` is where the last bin ends: a power of two above the largest magnitude, so that the same numbers give the
    same histogram in any order and any batches: a value that reaches it doubles it, and neighbours become one bin.
    `Histogram()` is that of no values.
    """

    counts: Array = field(default_factory=lambda: np.zeros(BINS, np.int64), repr=False)
    limit: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, values: npt.ArrayLike) -> "Histogram":
        """The histogram of one batch of any shape, perhaps of no values; CalibrationError for NaN and infinity."""
        with np.errstate(over="ignore"):
            array = codec.float_array(values).astype(np.float32, copy=False).reshape(-1)
        low, high = float(array.min(initial=np.inf)), float(array.max(initial=-np.inf))
        amax, counts = max(high, -low, 0.0), np.zeros(BINS, np.int64)
        if array.size and not math.isfinite(low + high):
            bad = f"{np.sum(~np.isfinite(array))} of {array.size} values are NaN, infinite or beyond float32"
            raise CalibrationError(f"{bad}: find the layer that makes them, or leave the batch out")
        limit = 2.0 ** math.frexp(amax)[1] if amax else 0.0
        _count(array, BINS / (limit or 1.0), counts)
        return cls(counts=counts, limit=limit, low=low, high=high)

    def collect(self, values: npt.ArrayLike) -> "Histogram":
        """That with one batch more."""
        return self.merge(Histogram.of(values))

    def merge(self, other: "Histogram") -> "Histogram":
        """That of both together."""
        limit, low, high = max(self.limit, other.limit), min(self.low, other.low), max(self.high, other.high)
        counts = self._counts_up_to(limit) + other._counts_up_to(limit)
        return Histogram(counts=counts, limit=limit, low=low, high=high)

    @property
    def count(self) -> int:
        """Of values, zeros included."""
        return int(self.counts.sum())

    @property
    def amax(self) -> float:
        """The largest magnitude; 0 where there are no values."""
        return max(self.high, -self.low, 0.0)

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.limit / self.counts.size

    @property
    def edges(self) -> Array:
        """Where bins begin and, last, end: one more than bins."""
        return np.arange(self.counts.size + 1) * self.width

    def _counts_up_to(self, limit: float) -> Array:
        """The counts when the last bin ends at `limit`: neighbours become one as often as this limit doubles."""
        counts = self.counts.copy()
        for _ in range(math.frexp(limit)[1] - math.frexp(self.limit)[1] if self.limit else 0):
            counts = np.pad(counts.reshape(-1, 2).sum(axis=1), (0, counts.size // 2))
        return counts


# Places first, which is SIMD; then four tables in turn, since a count that was just stored is slow to load again.
_KERNEL = """
import numpy as np
from numba import njit
@njit(cache=True, nogil=True)
def kernel(x, factor, counts):
    bins, last = np.uint64(counts.size), np.float64(counts.size - 1)
    tables, where = np.zeros(4 * counts.size, np.uint32), np.empty(1024, np.int32)
    for start in range(0, x.size, 1024):
        part = x[start:start + 1024]
        for i in range(part.size):
            where[i] = np.int32(min(abs(part[i]) * factor, last))
        for j in range(part.size // 4):
            for k in range(4):
                tables[np.uint64(where[4 * j + k]) + bins * np.uint64(k)] += np.uint32(1)
        for i in range(part.size // 4 * 4, part.size):
            tables[np.uint64(where[i])] += np.uint32(1)
    for i in range(tables.size):
        counts[i % counts.size] += tables[i]
"""


def _count(x: Array, factor: float, counts: Array) -> None:
    """Add float32 values to `counts`, with `factor` bins a unit: numba for large arrays, one pass over memory."""
    if x.size >= codec.COMPILED_FROM:
        with contextlib.suppress(ImportError):
            kernelfile.load(_KERNEL)(x, factor, counts)
            return
    for start in range(0, x.size, 1 << 14):
        where = np.minimum(np.abs(x[start : start + (1 << 14)].astype(np.float64)) * factor, counts.size - 1)
        counts += np.bincount(where.astype(np.intp), minlength=counts.size)


# --- calibrators ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold:
    """Where a calibrator clips: magnitudes up to `value`, the first `bin` bins; `scale` is what one code is worth.
    `losses[i]` is what keeping `candidates[i]` bins costs; both are empty for `maximum` and zeros, which have scale 1.
    """

    name: str
    value: float
    scale: float
    bin: int = 0
    candidates: Array = field(default_factory=lambda: _NO_CURVE, repr=False)
    losses: Array = field(default_factory=lambda: _NO_CURVE, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """Distributions P (clipped) and Q (quantised), each of sum 1, and their divergence KL(P || Q) in nats."""

    p: Array
    q: Array
    divergence: float


def maximum(h: Histogram) -> Threshold:
    """The largest magnitude: nothing is clipped, and one outlier sets the step for all."""
    return _threshold("max", h, min(int(h.amax / h.width) + 1, h.counts.size) if h.limit else 0)


def percentile(h: Histogram, percent: float = 99.99) -> Threshold:
    """The end of the bin up to which at least `percent` % of all values lie. Loss: the share of values beyond."""
    if not 0 < percent <= 100:
        raise CalibrationError(f"percent is above 0 and at most 100: got {percent}; the usual one is 99.99")
    within = np.cumsum(h.counts)
    kept = int(np.searchsorted(within, percent / 100 * within[-1])) + 1
    return _threshold("percentile", h, kept, np.arange(1, within.size + 1), 1 - within / max(1, within[-1]))


def entropy(h: Histogram, *, levels: int = LEVELS) -> Threshold:
    """TensorRT's: as many bins as make the clipped distribution, quantised, diverge least; of equals the most.

    `candidate` says what is compared; here all at once, from running sums. With n_j filled bins of mass S_j in level j,
    KL(P || Q) = (sum P ln P - sum_j S_j ln(S_j / n_j) - tail ln q_last) / N - ln N + ln sum Q. The threshold is the
    last bin's end, as in ModelOpt; NVIDIA's slides add half a bin (GTC 2017, S7310).
    """
    counts = _without_zeros(h)
    kept = (cuts := _cuts(counts.size, levels))[:, -1]
    parts = (counts, counts > 0, counts * np.log(np.maximum(counts, 1)))
    sums, filled, information = (np.concatenate([[0.0], np.cumsum(part)]) for part in parts)
    inside, last, tail, spread = sums[kept], counts[kept - 1], sums[-1] - sums[kept], np.empty(kept.size)
    if not sums[-1]:  # all in the first bin
        return maximum(h)
    for part in (slice(first, first + 128) for first in range(0, kept.size, 128)):  # what fits into the cache
        mass, number = np.diff(sums[cuts[part]]), np.diff(filled[cuts[part]])
        logs = np.log(np.maximum(mass, 1) / np.maximum(number, 1))
        spread[part] = np.einsum("ij,ij->i", mass, logs) + tail[part] * logs[:, -1]
    clipped = (last + tail) * np.log(np.maximum(last + tail, 1))
    losses = (information[kept - 1] + clipped - spread) / sums[-1]
    losses = np.maximum(losses - math.log(sums[-1]) + np.log(np.maximum(inside, 1)), 0.0)
    losses[(inside == 0) | ((last == 0) & (tail > 0))] = math.inf
    best = int(np.flatnonzero(losses <= losses.min() + 1e-12)[-1])  # what rounding cannot tell apart is equal
    return _threshold("entropy", h, int(kept[best]), kept, losses)


def mse(h: Histogram) -> Threshold:
    """The threshold with the least mean square error of INT8: rounding error against clipping error, each bin taken at
    its centre. Loss: that error, in units of the values, squared."""
    kept, filled = np.arange(START, h.counts.size + 1), np.flatnonzero(h.counts)
    centres, weights, losses = filled + 0.5, h.counts[filled].astype(np.float64), np.empty(kept.size)
    for first in range(0, kept.size, 16):  # 256 KB at a time stay in the cache
        step = kept[first : first + 16, None] / _MOST
        error = np.minimum(np.rint(centres / step), _MOST) * step - centres
        losses[first : first + 16] = np.square(error) @ weights
    return _threshold("mse", h, int(kept[losses.argmin()]), kept, losses * h.width**2 / max(1, h.count))


def amax_max(h: Histogram) -> float:
    """Where `maximum` clips."""
    return maximum(h).value


def amax_percentile(h: Histogram, percent: float = 99.99) -> float:
    """Where `percentile` clips."""
    return percentile(h, percent).value


def amax_entropy(h: Histogram) -> float:
    """Where `entropy` clips."""
    return entropy(h).value


def amax_mse(h: Histogram) -> float:
    """Where `mse` clips."""
    return mse(h).value


def candidate(h: Histogram, bins: int, *, levels: int = LEVELS) -> Candidate:
    """P and Q when the first `bins` bins are kept: P gets what lies beyond in its last bin; Q is P before that, merged
    into `levels` levels and spread evenly over the filled bins of each. The zeros' bin counts as its neighbour."""
    if not 1 <= bins <= h.counts.size:
        raise CalibrationError(f"a candidate keeps 1 to {h.counts.size} bins: got {bins}")
    counts = _without_zeros(h)
    p, level = counts[:bins].copy(), np.arange(bins) * levels // bins
    mass, filled = np.bincount(level, p), np.bincount(level, p > 0)
    q = np.where(p > 0, mass[level] / np.maximum(filled[level], 1), 0.0)
    p[-1] += counts[bins:].sum()
    p, q = p / (p.sum() or 1), q / (q.sum() or 1)
    with np.errstate(divide="ignore"):
        terms = p[p > 0] * np.log(p[p > 0] / q[p > 0])
    return Candidate(p=p, q=q, divergence=float(max(0.0, terms.sum())))


CALIBRATORS: Mapping[str, Callable[[Histogram], Threshold]]
CALIBRATORS = {"max": maximum, "percentile": percentile, "entropy": entropy, "mse": mse}


def _threshold(
    name: str, h: Histogram, kept: int, candidates: Array = _NO_CURVE, losses: Array = _NO_CURVE
) -> Threshold:
    """Never beyond the largest magnitude, where nothing would use the codes."""
    if not h.count:
        raise CalibrationError("the histogram holds no values: add at least one batch")
    if not h.amax:
        return Threshold(name=name, value=0.0, scale=1.0)
    value = h.amax if name == "max" else min(kept * h.width, h.amax)
    scale = float(np.float32(value) / np.float32(_MOST)) or 1.0
    return Threshold(name=name, value=value, scale=scale, bin=kept, candidates=candidates, losses=losses)


def _without_zeros(h: Histogram) -> Array:
    """Counts as floats. Zeros, exact under every scale, would drown the rest: their bin counts as its neighbour."""
    return np.append(h.counts[1], h.counts[1:]).astype(np.float64)


@functools.lru_cache(maxsize=8)
def _cuts(bins: int, levels: int) -> Array:
    """Where the levels of a candidate begin, a row for each, and where it ends: bin k has level k * levels // kept."""
    return -(-np.arange(levels + 1) * np.arange(levels, bins + 1)[:, None] // levels)
