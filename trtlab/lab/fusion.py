"""lab/fusion: ReLU(A*B + C) as three kernels and as one: timed over sizes and lengths, and what the times teach.

In: sizes and lengths. Out: a frozen `Sweep` of `Row`s (way, size, kernels, bytes by the traffic model, time), live on a
CPU or recorded, and its `Finding`s. Every result is compared with float64 before it is timed.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtlab.engine import recordings
from trtlab.engine.measure import Measurement, Provenance, measure_in_turns, one_thread
from trtlab.lab import find
from trtlab.lab.ways import FUSED, ITEM_BYTES, Arrays, Way, chain, check, traffic_bytes, works
from trtlab.numeric.units import raised

LENGTHS = (2, 3, 4, 8, 16, 32)
LIVE_SIZES = tuple(2**k for k in range(10, 25, 2))
PACKAGES = ("numpy", "numba", "torch")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way at one size. `kernels` run for it; `bytes_moved` is what they read and write by the traffic model."""

    way: Way
    operations: int
    elements: int
    kernels: int
    bytes_moved: int
    time: Measurement

    @property
    def seconds(self) -> float:
        return self.time.median_s

    @property
    def bytes_per_s(self) -> float:
        return self.bytes_moved / self.seconds


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Rows of one run on one device, "cpu" or "cuda". A long graph's time is that of one pass."""

    device: str
    rows: tuple[Row, ...]
    provenance: Provenance

    def find(self, way: Way, elements: int, operations: int = 3) -> Row:
        """One row; KeyError says what there is."""
        return find(self.rows, way=way, elements=elements, operations=operations)

    def ways(self) -> tuple[Way, ...]:
        """The ways that were timed."""
        return tuple(dict.fromkeys(row.way for row in self.rows))

    def of(self, way: Way) -> tuple[Row, ...]:
        """The rows of one way for ReLU(A*B + C), by size."""
        found = (row for row in self.rows if (row.way, row.operations) == (way, 3))
        return tuple(sorted(found, key=lambda row: row.elements))

    def sizes(self) -> tuple[int, ...]:
        """Numbers of elements at which ReLU(A*B + C) was timed."""
        return tuple(sorted({row.elements for row in self.rows if row.operations == 3}))

    def chains(self, way: Way) -> tuple[Row, ...]:
        """The rows of one way at the size at which the length was varied, by length."""
        (size,) = {row.elements for row in self.rows if row.operations != 3} or {0}
        found = (row for row in self.rows if (row.way, row.elements) == (way, size))
        return tuple(sorted(found, key=lambda row: row.operations))

    def ratio(self, slow: Way, fast: Way, elements: int, operations: int = 3) -> float:
        """How many times as long the first takes."""
        return self.find(slow, elements, operations).seconds / self.find(fast, elements, operations).seconds

    def of_copy(self, way: Way, elements: int) -> float:
        """Bandwidth of a way as a share of what the copy reached at this size, in the same run."""
        return self.find(way, elements).bytes_per_s / self.find(Way.COPY, elements).bytes_per_s


def sweep(*, sizes: Sequence[int] = LIVE_SIZES, lengths: Sequence[int] = LENGTHS, **how: Any) -> Sweep:
    """ReLU(A*B + C) at all sizes, and chains of all lengths at one, on one thread of this CPU: about 10 s as it stands.
    The other options are those of measure_in_turns. ValueError for no sizes."""
    if not sizes or min(sizes) < 1:
        raise ValueError(f"cannot time arrays of sizes={sizes!r}: expected numbers of elements, from 1")
    size = min(2**20, max(sizes))
    cases = [(3, n) for n in sizes] + [(k, size) for k in lengths if k != 3 or size not in sizes]
    how = {"budget_s": 0.04, "packages": PACKAGES} | how
    with one_thread():
        np.ones(2**23 - 2**16, np.float32)  # once freed, glibc keeps smaller arrays for reuse, as in any long process
        _rows(3, min(sizes), how)  # for nothing: clocks rise, libraries load
        rows = [row for length, n in cases for row in _rows(length, n, how)]
    made = min((row.time.provenance for row in rows), key=lambda p: p.samples)
    return Sweep(device="cpu", rows=tuple(rows), provenance=made)


def _rows(operations: int, elements: int, how: Mapping[str, Any]) -> list[Row]:
    arrays, program = Arrays(elements), chain(operations)
    ways = works(program, arrays)
    for way, work in ways.items():
        check(way, work(), program, arrays)
    times = measure_in_turns({way.value: work for way, work in ways.items()}, **how)
    is_one = {way: way in FUSED or way is Way.COPY for way in ways}
    return [
        Row(
            way=way, operations=operations, elements=elements, kernels=1 if is_one[way] else operations,
            bytes_moved=traffic_bytes(program, elements, fused=is_one[way]), time=times[way.value],
        )
        for way in ways
    ]  # fmt: skip


def load(name: str = "h100") -> Sweep:
    """A recorded sweep, of the "h100" or of a "cpu", with all ways. RecordingMissing for another name."""
    return recordings.load(Sweep, f"sweep-{name}")


# --- what the times teach --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a sweep shows, in the words of study/words/said/findings with these `facts`; `lesson` names the one that
    follows if it `holds`: a busy machine may not show it."""

    name: str
    facts: Mapping[str, Any]
    holds: bool
    lesson: str = "lesson"


def findings(found: Sweep) -> tuple[Finding, ...]:
    """The lessons of a sweep. ValueError if it has not enough sizes or lengths for a lesson."""
    if len(found.sizes()) < 3 or len(found.chains(Way.GENERATED)) < 2:
        raise ValueError(
            f"a sweep over sizes {found.sizes()} and {len(found.chains(Way.GENERATED))} lengths teaches nothing:"
            " expected three sizes and two lengths at least"
        )
    lessons = [_two_not_three(found), _launches(found), _cache(found), _length(found)]
    if Way.LONG_GRAPH_FUSED in found.ways():
        lessons.insert(2, _graph(found))
    return tuple(lessons)


def _pair(found: Sweep) -> tuple[Way, Way]:
    """One kernel per operator, and ours: as the device alone takes them where it is known, without the host."""
    if Way.LONG_GRAPH_FUSED in found.ways():
        return Way.LONG_GRAPH_UNFUSED, Way.LONG_GRAPH_FUSED
    return Way.TORCH_OUT, Way.GENERATED


def power(elements: int) -> str:
    return f"2{raised(elements.bit_length() - 1)}"


def _us(row: Row) -> str:
    us = row.seconds * 1e6
    return f"{us:,.0f} µs" if us >= 100 else f"{us:.3g} µs"


def _ps(value: float) -> str:
    return (f"{value:,.0f} ps" if abs(value) >= 100 else f"{value:.3g} ps").replace("-", "−")


def _two_not_three(found: Sweep) -> Finding:
    size = found.sizes()[-1]
    three, one = (found.find(way, size) for way in _pair(found))
    gain, fewer, array = found.ratio(three.way, one.way, size), three.bytes_moved / one.bytes_moved, size * ITEM_BYTES
    facts = {
        "size": power(size), "arrays": three.bytes_moved // array, "arrays_of_one": one.bytes_moved // array,
        "launches": three.kernels, "fewer": fewer, "gain": gain, "one": _us(one), "three": _us(three),
    }  # fmt: skip
    return Finding(name="two_not_three", facts=facts, holds=abs(gain - fewer) < abs(gain - three.kernels))


def _launches(found: Sweep) -> Finding:
    rows = found.of(Way.TORCH_OUT)
    least = min(row.seconds for row in rows)
    flat = [row for row in rows if row.seconds < 1.5 * least]
    facts = {
        "flat": power(flat[-1].elements), "call_us": statistics.median(row.seconds for row in flat) / 3 * 1e6,
        "least": _us(min(flat, key=lambda row: row.seconds)), "most": _us(max(flat, key=lambda row: row.seconds)),
        "more": rows[-1].elements // flat[-1].elements, "longer": rows[-1].seconds / flat[-1].seconds,
    }  # fmt: skip
    return Finding(name="launches", facts=facts, holds=flat == list(rows[: len(flat)]) and 1 < len(flat) < len(rows))


def _graph(found: Sweep) -> Finding:
    small, large = found.sizes()[0], found.sizes()[-1]
    called, graph, long = (found.find(w, small) for w in (Way.TORCH_OUT, Way.GRAPH_UNFUSED, Way.LONG_GRAPH_UNFUSED))
    gain, same = found.ratio(*_pair(found), small), found.ratio(Way.TORCH_OUT, Way.LONG_GRAPH_UNFUSED, large) - 1
    facts = {
        "small": power(small), "large": power(large), "called": _us(called), "graph": _us(graph), "long": _us(long),
        "fused": _us(found.find(Way.GRAPH_FUSED, small)), "gain": gain, "same": same,
    }  # fmt: skip
    helps = called.seconds > 1.5 * graph.seconds > 1.5 * long.seconds
    return Finding(name="graph", facts=facts, holds=helps and gain > 2.5 and abs(same) < 0.05)


def _cache(found: Sweep) -> Finding:
    (unfused, fused), sizes = _pair(found), found.sizes()
    saved = {n: (found.find(unfused, n).seconds - found.find(fused, n).seconds) / n * 1e12 for n in sizes}
    size = min(saved, key=lambda n: saved[n])
    here, memory = found.find(unfused, size).bytes_per_s, found.find(unfused, sizes[-1]).bytes_per_s
    facts = {
        "size": power(size), "mib": size * ITEM_BYTES / 2**20, "saved": _ps(saved[size]), "large": power(sizes[-1]),
        "saved_large": _ps(saved[sizes[-1]]), "here": here / 1e9, "memory": memory / 1e9,
        "gain": found.ratio(unfused, fused, size),
    }  # fmt: skip
    return Finding(name="cache", facts=facts, holds=sizes[0] < size < sizes[-1] and here > memory)


def _length(found: Sweep) -> Finding:
    (first, *_, last), (first_one, *_, last_one) = (found.chains(way) for way in _pair(found))
    grew, grew_one = last.seconds / first.seconds, last_one.seconds / first_one.seconds
    facts = {
        "first": first.operations, "last": last.operations, "size": power(last.elements), "grew": grew,
        "grew_one": grew_one, "long": _us(last_one), "short": _us(first_one),
    }  # fmt: skip
    lesson = "lesson" if grew_one < 1.1 else "busy"
    return Finding(name="length", facts=facts, holds=grew_one < grew / 3, lesson=lesson)
