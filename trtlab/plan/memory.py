"""plan/memory: where tensors lie in one arena, so that those which never live at once share bytes.

In: `Buffer`s, each with a size and a lifetime. Out: a `Placement`, from all planners together (`place`), or the
decisions of one of them in turn (`steps`). Checked by `check_placement`, which shares none of the code.
"""

import bisect
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Any

import numpy as np

ALIGN = 64
"""Bytes: a cache line, and the widest vector register. What the engine asks for."""


class PlacementError(ValueError):
    """Buffers that make no sense, alone or together."""


class CapacityError(PlacementError):
    """No placement is as small as asked for: that is proved."""


@dataclass(frozen=True)
class Buffer:
    """Memory that a tensor needs from step `start` up to, not including, step `stop`, at a multiple of `alignment`.

    With `alias` it is a part of the buffer of that name, from byte `at_bytes` there on: a view, a result in place of an
    argument, a slice of a concatenation. PlacementError for what makes no sense; sizes end at 2**48.
    """

    name: str
    size_bytes: int
    start: int
    stop: int
    alignment: int = 1
    alias: str | None = None
    at_bytes: int = 0

    def __post_init__(self) -> None:
        for field in ("size_bytes", "start", "stop", "alignment", "at_bytes"):
            value, least = getattr(self, field), {"alignment": 1, "start": -(2**48), "stop": self.start}.get(field, 0)
            if not isinstance(value, int | np.integer) or value is True or not least <= value < 2**48:
                raise PlacementError(
                    f"Buffer {self.name!r}: {field} is {value!r}; use an integer, {least} to 2**48 - 1."
                )
            object.__setattr__(self, field, int(value))
        if self.start == self.stop:
            raise PlacementError(
                f"Buffer {self.name!r} lives from {self.start} to {self.stop}, never: stop is no part."
            )
        if self.alignment & (self.alignment - 1):
            raise PlacementError(f"Buffer {self.name!r} has alignment {self.alignment}: use a power of two.")
        if self.alias is None and self.at_bytes:
            raise PlacementError(f"Buffer {self.name!r} starts at byte {self.at_bytes} of no other: give its alias.")

    def meets(self, other: "Buffer") -> bool:
        """Whether both live at one time."""
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where each buffer starts in the arena, in bytes, and how large the arena is; whether none can be smaller."""

    offsets: Mapping[str, int]
    peak_bytes: int
    proved_optimal: bool = False


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a placement: "missing", "alignment", "capacity" or "overlap", of which buffers, in words."""

    kind: str
    names: tuple[str, ...]
    text: str


Placer = Callable[[Sequence[Buffer]], Placement]
Steps = Iterator[tuple[str, int]]
"""A planner's decisions one by one: a buffer's name and its offset in bytes."""


# --- the problem, and what checks an answer ---------------------------------------------------------------------------


def whole(buffers: Sequence[Buffer]) -> tuple[list[Buffer], dict[str, tuple[str, int]]]:
    """Each buffer with all its aliases as one, as large and as long as they need together; and for every name, in which
    one and at which byte it lies. PlacementError for names given twice, aliases of nothing or in a circle."""
    named, homes = {b.name: b for b in buffers}, dict[str, tuple[str, int]]()
    if len(named) < len(buffers):
        twice = Counter(b.name for b in buffers).most_common(1)[0][0]
        raise PlacementError(f"Two buffers are called {twice!r}: give each a name of its own.")
    for buffer in buffers:
        chain = [buffer]
        while (alias := chain[-1].alias) is not None and alias not in homes:
            if alias not in named or len(chain) > len(named):
                fault = "a circle" if alias in named else "no buffer"
                raise PlacementError(
                    f"Buffer {chain[-1].name!r} is a part of {alias!r}, {fault}: name one with memory."
                )
            chain.append(named[alias])
        for part in reversed(chain):
            root, at = homes[part.alias] if part.alias is not None else (part.name, 0)
            homes[part.name] = root, at + part.at_bytes
    return _merged(buffers, homes), homes


def _merged(buffers: Sequence[Buffer], homes: Mapping[str, tuple[str, int]]) -> list[Buffer]:
    merged = {b.name: b for b in buffers if b.alias is None}
    for part in (b for b in buffers if b.alias is not None):
        (root, at), home = homes[part.name], merged[homes[part.name][0]]
        if at % part.alignment:
            raise PlacementError(f"Buffer {part.name!r} at byte {at} of {root!r} is not aligned to {part.alignment}.")
        size, start, stop = (
            max(home.size_bytes, at + part.size_bytes),
            min(home.start, part.start),
            max(home.stop, part.stop),
        )
        merged[root] = Buffer(root, size, start, stop, max(home.alignment, part.alignment))
    if sum(b.size_bytes + b.alignment for b in merged.values()) >= 2**62:
        raise PlacementError("The buffers have 2**62 bytes or more together: no machine holds them.")
    return [*merged.values()]


def _live_bytes(buffers: Sequence[Buffer]) -> dict[int, int]:
    """Moment -> bytes that live from it on, at every moment at which something starts or stops."""
    changes = Counter[int]()
    for b in buffers:
        changes[b.start] += b.size_bytes
        changes[b.stop] -= b.size_bytes
    moments = sorted(changes)
    return dict(zip(moments, accumulate(changes[m] for m in moments), strict=True))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Bytes that live at the busiest moment, aliases counted once: no arena is smaller."""
    return max(_live_bytes(whole(buffers)[0]).values(), default=0)


def check_placement(
    buffers: Sequence[Buffer], placed: Placement | Mapping[str, int], capacity_bytes: int | None = None
) -> list[Fault]:
    """Every fault, none if the placement is valid. Each pair is compared; only those of one root may share bytes."""
    offsets, limit = (placed.offsets, placed.peak_bytes) if isinstance(placed, Placement) else (placed, math.inf)
    limit, faults = limit if capacity_bytes is None else min(limit, capacity_bytes), list[Fault]()
    roots = {b.name: b.alias or b.name for b in buffers}
    for _ in range(len(roots).bit_length()):
        roots = {name: roots.get(root, root) for name, root in roots.items()}

    def fault(kind: str, text: str, *names: str) -> None:
        faults.append(Fault(kind=kind, names=names, text=text))

    for b in buffers:
        if (at := offsets.get(b.name)) is None:
            fault("missing", f"{b.name} has no place", b.name)
            continue
        if at % b.alignment:
            fault("alignment", f"{b.name} starts at {at}, no multiple of {b.alignment}", b.name)
        if at < 0 or at + b.size_bytes > limit:
            fault("capacity", f"{b.name} is at {at} to {at + b.size_bytes}, the arena is 0 to {limit}", b.name)
        if b.alias is not None and at != offsets.get(b.alias, at) + b.at_bytes:
            fault("overlap", f"{b.name} starts at {at}, not at byte {b.at_bytes} of {b.alias}", b.name, b.alias)
    for a, b in combinations([b for b in buffers if b.name in offsets], 2):
        low, high = offsets[a.name] - b.size_bytes, offsets[a.name] + a.size_bytes
        if (
            a.meets(b)
            and low < offsets[b.name] < high
            and roots[a.name] != roots[b.name]
            and a.size_bytes
            and b.size_bytes
        ):
            fault("overlap", f"{a.name} and {b.name} share bytes while both live", a.name, b.name)
    return faults


def find_overlap(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> tuple[str, ...] | None:
    """The first two buffers that share bytes while both live, or None."""
    return next((fault.names for fault in check_placement(buffers, offsets) if fault.kind == "overlap"), None)


# --- planners ---------------------------------------------------------------------------------------------------------


def place(buffers: Sequence[Buffer], capacity_bytes: int | None = None, budget_s: float = 5.0) -> Placement:
    """The smallest arena found: at the lower bound (or in the capacity, if one is given) at once, else the best within
    the budget, which may be more than the capacity. What 0.1 s and the budget did not suffice for lies on top of the
    rest. CapacityError where nothing fits, and that is proved; PlacementError for what makes no sense."""
    if not budget_s >= 0:
        raise PlacementError(f"budget_s is {budget_s!r}: use seconds, 0 or more.")
    deadline = time.monotonic() + budget_s
    roots, homes = whole(buffers)
    bound = lower_bound(roots)
    if capacity_bytes is not None and not capacity_bytes >= bound:
        raise CapacityError(f"No arena of {capacity_bytes:,} bytes holds {bound:,} that live at once: give it those.")
    goal, peak, best = bound if capacity_bytes is None else capacity_bytes, math.inf, dict[str, int]()
    for name in ("best fit", "greedy by size", "greedy by breadth", "portfolio"):
        if best and (peak <= goal or time.monotonic() >= deadline or len(roots) > 5000):
            break
        offsets = dict(PLANNERS[name](roots, deadline if best else max(deadline, time.monotonic() + 0.1)))
        if _peak(roots, offsets) < peak:
            best, peak = offsets, _peak(roots, offsets)
    offsets = {name: best[root] + at for name, (root, at) in homes.items()}
    return Placement(offsets=offsets, peak_bytes=_peak(roots, best), proved_optimal=peak == bound)


def steps(planner: str, buffers: Sequence[Buffer], budget_s: float = 1.0) -> Steps:
    """The decisions of one of PLANNERS in turn, aliases behind the buffer that they lie in. PlacementError for a name
    that is none of them."""
    if planner not in PLANNERS:
        raise PlacementError(f"There is no planner {planner!r}: use one of {', '.join(PLANNERS)}.")
    roots, homes = whole(buffers)
    for root, offset in PLANNERS[planner](roots, time.monotonic() + budget_s):
        yield root, offset
        yield from ((b.name, offset + homes[b.name][1]) for b in buffers if b.alias and homes[b.name][0] == root)


def _peak(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> int:
    return max((offsets[b.name] + b.size_bytes for b in buffers), default=0)


def _fit(order: Sequence[Buffer], deadline: float, choose: Callable[[list[tuple[float, int]]], Any] = min) -> Steps:
    """In this order, each in the hole chosen from those free while it lives: (bytes to spare, offset), the last of them
    without end; after the deadline on top of all."""
    placed, top = list[tuple[int, Buffer]](), 0
    for buffer in order:
        holes, low, size = list[tuple[float, int]](), 0, buffer.size_bytes
        late = time.monotonic() >= deadline
        for offset, other in () if late else placed:
            if buffer.meets(other):
                if low + size <= offset:
                    holes.append((offset - low - size, low))
                low = max(low, -(-(offset + other.size_bytes) // buffer.alignment) * buffer.alignment)
        holes.append((math.inf, -(-top // buffer.alignment) * buffer.alignment if late else low))
        at = choose(holes)[1]
        yield buffer.name, at
        bisect.insort(placed, (at, buffer), key=lambda pair: pair[0])
        top = max(top, at + size)


def _no_reuse(buffers: Sequence[Buffer], _: float) -> Steps:
    return _fit(buffers, -math.inf)


def _best_fit(buffers: Sequence[Buffer], deadline: float) -> Steps:
    """As an allocator at run time: in order of their start, each in the smallest hole."""
    return _fit(sorted(buffers, key=lambda b: (b.start, -b.size_bytes)), deadline)


def _by_size(buffers: Sequence[Buffer], deadline: float) -> Steps:
    """The largest first, each in the smallest hole."""
    return _fit(sorted(buffers, key=lambda b: (-b.size_bytes, b.start - b.stop)), deadline)


def _by_breadth(buffers: Sequence[Buffer], deadline: float) -> Steps:
    """What lives at the busiest step first, then at the next busiest; among those the largest first."""
    live = _live_bytes(buffers)
    busiest = {b.name: max(live[t] for t in live if b.start <= t < b.stop) for b in buffers}
    return _fit(sorted(buffers, key=lambda b: (-busiest[b.name], -b.size_bytes)), deadline)


def _portfolio(buffers: Sequence[Buffer], deadline: float, rounds: int = 300) -> Steps:
    """The best of many orders, each buffer at its lowest offset: by length, by area, then local search: of the best
    order so far one buffer comes earlier, every other time one that ends at the top."""
    rng, order = random.Random(0), sorted(buffers, key=lambda b: -b.size_bytes * (b.stop - b.start))
    trial, best, least = sorted(buffers, key=lambda b: b.start - b.stop), dict[str, int](), math.inf
    for _ in range(rounds if buffers else 0):
        offsets = dict(_fit(trial, deadline, lambda holes: holes[0]))
        if best and time.monotonic() >= deadline:
            break
        if (peak := _peak(buffers, offsets)) <= least:
            best, order, least = offsets, trial, peak
        high = [n for n, b in enumerate(order) if best[b.name] + b.size_bytes == least]
        old = rng.choice(high) if rng.random() < 0.5 else rng.randrange(len(order))
        new = rng.randrange(old + 1)
        trial = [*order[:new], order[old], *order[new:old], *order[old + 1 :]]
    yield from sorted(best.items(), key=lambda pair: pair[1])


PLANNERS: Mapping[str, Callable[[Sequence[Buffer], float], Steps]] = {
    "no reuse": _no_reuse,
    "greedy by size": _by_size,
    "greedy by breadth": _by_breadth,
    "best fit": _best_fit,
    "portfolio": _portfolio,
}
