"""plan/memory: when tensors live, and where in one arena, so that those which never live at once share bytes.

In: `Buffer`s. Out: a `Placement`. Checked by `check_placement`, which shares none of the code, and by `lower_bound`.
"""

import bisect
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trtlab.plan import exact

ALIGN = 64  # bytes: a cache line, and the widest vector register
Placer = Callable[[Sequence["Buffer"]], "Placement"]
Names = Sequence[str]


class PlacementError(ValueError):
    """Buffers that make no sense, alone or together, or a capacity that is proved too small."""


@dataclass(frozen=True)
class Buffer:
    """Memory that a tensor needs from step `start` up to, not including, step `stop`, at a multiple of `alignment`.
    With `alias` it is a part of the buffer of that name, from byte `at_bytes` on: a view, or a slice."""

    name: str
    size_bytes: int
    start: int
    stop: int
    alignment: int = 1
    alias: str | None = None
    at_bytes: int = 0

    def __post_init__(self) -> None:
        for field in ("size_bytes", "start", "stop", "alignment", "at_bytes"):
            value, least = getattr(self, field), {"start": -(2**48), "stop": self.start}.get(field, 0)
            least += field == "stop"  # a step behind start
            if not isinstance(value, int | np.integer) or value is True or not least <= value < 2**48:
                raise PlacementError(f"Buffer {self.name!r}: {field} is {value!r}; use {least:,} to 2⁴⁸ - 1, whole.")
            object.__setattr__(self, field, int(value))
        if self.alignment.bit_count() != 1:
            raise PlacementError(f"Buffer {self.name!r}: alignment is {self.alignment:,}; use a power of two.")
        if self.alias is None and self.at_bytes:
            use = "0, or say with alias of what it is a part"
            raise PlacementError(f"Buffer {self.name!r}: at_bytes is {self.at_bytes:,}; use {use}.")


@dataclass(frozen=True)
class Placement:
    """Where each buffer starts in the arena, in bytes, and how large the arena is; whether none can be smaller."""

    offsets: Mapping[str, int]
    peak_bytes: int
    proved_optimal: bool = False


@dataclass(frozen=True)
class Fault:
    """What is wrong with a placement: "missing", "alignment", "capacity" or "overlap", of which buffers, in words."""

    kind: str
    names: tuple[str, ...]
    text: str


def lifetimes(tasks: Sequence[tuple[Names, Names, bool]], outputs: Names) -> dict[str, tuple[int, int]]:
    """When each written tensor lives, by what steps read and write, and whether a result may be a part of an input's
    memory, which lives as long then: from its step to behind the last that reads it, outputs to the end."""
    stop = {name: number + 1 for number, (reads, _, _) in enumerate(tasks) for name in reads}
    stop |= dict.fromkeys(outputs, len(tasks))
    for number, (reads, writes, may_share) in reversed([*enumerate(tasks)]):
        until = max((stop.get(name, number + 1) for name in writes), default=0)
        stop |= {name: max(stop[name], until) for name in reads if may_share}
    start = {name: number for number, (_, writes, _) in enumerate(tasks) for name in writes}
    return {name: (number, stop.get(name, number + 1)) for name, number in start.items()}


def whole(buffers: Sequence[Buffer]) -> list[Buffer]:
    """Each buffer with its parts as one, as large and as long as they need together. PlacementError for names given
    twice, parts of nothing or of parts, and more bytes than any machine has."""
    named, roots = {b.name: b for b in buffers}, {b.name: b for b in buffers if b.alias is None}
    if twice := [b.name for b in buffers if named[b.name] is not b]:
        raise PlacementError(f"Two buffers are called {twice[0]!r}: give each a name of its own.")
    if (total := sum(b.size_bytes + b.alignment for b in buffers)) >= 2**62:
        raise PlacementError(f"The buffers have {total:,} bytes together: stay below 2**62.")
    for part in (b for b in buffers if b.alias is not None):
        if (root := roots.get(str(part.alias))) is None:
            there = f"there are {', '.join([*roots][:9])}" if roots else "there is none"
            raise PlacementError(f"Buffer {part.name!r}: alias is {part.alias!r}; use a buffer that is whole: {there}.")
        if part.at_bytes % part.alignment:
            wants = f"a multiple of its alignment, {part.alignment:,}"
            raise PlacementError(f"Buffer {part.name!r}: at_bytes is {part.at_bytes:,}; use {wants}.")
        size, alignment = max(root.size_bytes, part.at_bytes + part.size_bytes), max(root.alignment, part.alignment)
        start, stop = min(root.start, part.start), max(root.stop, part.stop)
        roots[root.name] = Buffer(root.name, size, start, stop, alignment)
    return [*roots.values()]


def crowds(buffers: Sequence[Buffer]) -> list[int]:
    """For each buffer the most bytes that live at one time while it does."""
    rows = np.array([(b.start, b.stop, b.size_bytes) for b in buffers], np.int64).reshape(-1, 3)
    moments, at = np.unique(rows[:, :2], return_inverse=True)
    changes = np.zeros(len(moments), np.int64)
    np.add.at(changes, at.ravel(), (rows[:, 2:] * (1, -1)).ravel())
    live = np.cumsum(changes)
    return [int(live[first:last].max()) for first, last in at.reshape(-1, 2)]


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Bytes that live at the busiest moment, aliases counted once: no arena is smaller."""
    return max(crowds(whole(buffers)), default=0)


def check_placement(
    buffers: Sequence[Buffer], placed: Placement | Mapping[str, int], capacity_bytes: int | None = None
) -> list[Fault]:
    """Every fault, none if the placement is valid. Each pair is compared; only parts of one may share bytes."""
    offsets, peak = (placed.offsets, placed.peak_bytes) if isinstance(placed, Placement) else (placed, math.inf)
    limit, faults = peak if capacity_bytes is None else min(peak, capacity_bytes), list[Fault]()
    for b in buffers:
        if (at := offsets.get(b.name)) is None:
            faults.append(Fault("missing", (b.name,), f"{b.name} has no place"))
            continue
        if at % b.alignment:
            faults.append(Fault("alignment", (b.name,), f"{b.name} starts at {at}, no multiple of {b.alignment}"))
        if at < 0 or at + b.size_bytes > limit:
            faults.append(Fault("capacity", (b.name,), f"{b.name} ends at {at + b.size_bytes}, outside 0 to {limit}"))
        if b.alias is not None and at != offsets.get(b.alias, at) + b.at_bytes:
            faults.append(Fault("overlap", (b.name, b.alias), f"{b.name} is not at byte {b.at_bytes} of {b.alias}"))
    for a, b in itertools.combinations([b for b in buffers if b.name in offsets and b.size_bytes], 2):
        low, high = offsets[a.name] - b.size_bytes, offsets[a.name] + a.size_bytes
        meet = a.start < b.stop and b.start < a.stop and (a.alias or a.name) != (b.alias or b.name)
        if meet and low < offsets[b.name] < high:
            faults.append(Fault("overlap", (a.name, b.name), f"{a.name} and {b.name} share bytes while both live"))
    return faults


def find_overlap(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> tuple[str, ...] | None:
    """The first two buffers that share bytes while both live, or None."""
    return next((fault.names for fault in check_placement(buffers, offsets) if fault.kind == "overlap"), None)


def place(buffers: Sequence[Buffer], capacity_bytes: int | None = None, budget_s: float = 5.0) -> Placement:
    """The smallest arena found: at the lower bound, or in the capacity, at once, else the best within the budget, which
    may be more than the capacity; compiling is not counted. What 0.1 s and the budget are too short for lies on top of
    the rest. PlacementError where it is proved that nothing fits the capacity, and for what makes no sense."""
    if not budget_s >= 0:
        raise PlacementError(f"budget_s is {budget_s!r}: use seconds, 0 or more.")
    roots, deadline = whole(buffers), time.monotonic() + budget_s
    bound = low = lower_bound(roots)
    if (enough := bound if capacity_bytes is None else capacity_bytes) < bound:
        raise PlacementError(f"No arena of {enough:,} bytes holds these buffers: {bound:,} live at once.")
    found = (dict(steps(n, roots, max(budget_s, 0.1))) for n in PLANNERS[1 if len(roots) < 5000 else 3 : 4])
    peaks = ((max((at[b.name] + b.size_bytes for b in roots), default=0), at) for at in found)
    peak, best = min(peaks, key=lambda pair: pair[0])
    there, left = [b for b in roots if b.size_bytes], deadline - time.monotonic()
    if enough < peak and left > 0 and len(there) <= 1500:
        table = [(b.size_bytes, b.start, b.stop, b.alignment, c) for b, c in zip(there, crowds(there), strict=True)]
        for offsets, top, least in exact.improve(np.array(table).T, peak, low, enough, left):
            best, peak, low = best | dict(zip((b.name for b in there), offsets, strict=False)), top, least
    if capacity_bytes is not None and low > capacity_bytes:
        raise PlacementError(f"No arena of {capacity_bytes:,} bytes holds these buffers: the least is {low:,} or more.")
    placed = {b.name: best[b.alias or b.name] + b.at_bytes for b in buffers}
    return Placement(placed, peak, peak <= low)


PLANNERS = ("no reuse", "greedy by size", "greedy by breadth", "best fit", "exact")


def steps(planner: str, buffers: Sequence[Buffer], budget_s: float = 1.0) -> Iterator[tuple[str, int]]:
    """The decisions of one of PLANNERS in turn, (name, offset in bytes), parts with the buffer that they lie in.
    `best fit` is what an allocator does at run time: in order of start, each in the smallest hole that is free."""
    if planner not in PLANNERS:
        raise PlacementError(f"There is no planner {planner!r}: use one of {', '.join(PLANNERS)}.")
    roots, deadline, parts = whole(buffers), time.monotonic() + budget_s, defaultdict[str, list[Buffer]](list)
    for b in buffers:
        parts[b.alias or b.name].append(b)
    size, start, stop = np.array([(-b.size_bytes, b.start, b.stop) for b in roots], np.int64).reshape(-1, 3).T
    keys = {"best fit": (size, start), "greedy by size": (start - stop, size)}
    keys |= {"greedy by breadth": (size, -np.array(crowds(roots)))} if planner == "greedy by breadth" else {}
    order = [roots[n] for n in np.lexsort(keys[planner])] if planner in keys and roots else roots
    found = _fit(order, -math.inf if planner == "no reuse" else deadline)
    if planner == "exact":
        found = iter(sorted(place(roots, budget_s=budget_s).offsets.items(), key=lambda pair: pair[1]))
    for root, offset in found:
        yield from ((b.name, offset + b.at_bytes) for b in parts[root])


def _fit(order: Sequence[Buffer], deadline: float) -> Iterator[tuple[str, int]]:
    """In this order, each in the smallest hole that is free while it lives; after the deadline on top of all."""
    placed, top, in_time = list[tuple[int, Buffer]](), 0, all(a.start <= b.start for a, b in itertools.pairwise(order))
    for buffer in order:
        late, low, size, align = time.monotonic() >= deadline, 0, buffer.size_bytes, buffer.alignment
        holes = list[tuple[float, int]]()  # bytes to spare, offset
        placed = [pair for pair in placed if pair[1].stop > buffer.start] if in_time and not late else placed
        for offset, other in () if late else placed:
            if buffer.start < other.stop and other.start < buffer.stop:
                if low + size <= offset:
                    holes.append((offset - low - size, low))
                low = max(low, -(-(offset + other.size_bytes) // align) * align)
        at = min([*holes, (math.inf, -(-top // align) * align if late else low)])[1]
        yield buffer.name, at
        bisect.insort(placed, (at, buffer), key=lambda pair: pair[0])
        top = max(top, at + size)
