"""plan/exact: a search for the placement of buffers, after the ideas of MiniMalloc (Moffitt, ASPLOS 2023).

In: buffers as arrays. Out: offsets. Time is cut into sections at every start and stop. Any solution can be pushed down
until each buffer rests on another or on the floor, so it is built from below, on a skyline: the height of each section.
Where the skyline has a valley, what lies on its floor next lies between its walls: the leftmost such buffer is chosen,
and what stays free left of it is lost. The valley with the fewest choices comes first; none is a dead end, and one goes
back to the last choice that it depends on. Without numba it gets less far.
"""

import functools
import inspect
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import kernelfile

Ints = npt.NDArray[np.int64]
NEVER, PATIENCE = 1 << 62, 3_000


def choices(low: int, high: int, walls: Any, peak: int, problem: Any, skyline: Any, out: Any) -> int:
    """Which buffers can lie leftmost on the floor of the valley of sections [low, high), each into `out`, and how many;
    -1 is nobody, and the floor comes up to the lower wall. Of some that are alike one is enough."""
    size, _, end, align, by_begin, starts, least = problem
    height, left, placed, _, _ = skyline
    floor, lower, count, spare = height[low], min(walls[0], walls[1]), 0, NEVER
    for p in range(low, high):
        may_lose = p == low or spare >= min(walls[0] - floor, least)
        for k in range(starts[p], starts[p + 1] if may_lose else starts[p]):
            j = by_begin[k]
            at = -(-floor // align[j]) * align[j]
            fits = not placed[j] and end[j] <= high and (p == low or min(walls[0], at + size[j]) - floor <= spare)
            for s in range(p, end[j] if fits and at > floor else p):
                fits = fits and at + left[s] <= peak
            for q in range(starts[p], k if fits else starts[p]):
                i = by_begin[q]
                alike = size[i] == size[j] and end[i] == end[j] and align[i] == align[j]
                fits = fits and (placed[i] or not alike)
            if fits:
                out[count] = j
                count += 1
        spare = min(spare, peak - floor - left[p])
    if lower < NEVER and lower - floor <= spare:
        out[count] = -1
        count += 1
    return count


def narrowest(peak: int, problem: Any, skyline: Any, spaces: Any) -> int:
    """The number of choices in the valley that has fewest, the last row of `spaces`, and its sections in the skyline;
    -1 without a valley. Where nothing is left to place is a wall."""
    height, left, _, best, _ = skyline
    least, s, before, sections = -1, 0, NEVER, len(height)
    while s < sections and least != 0 and least != 1:
        stop = s + 1
        if left[s]:
            while stop < sections and left[stop] and height[stop] == height[s]:
                stop += 1
            behind = height[stop] if stop < sections and left[stop] else NEVER
            if before > height[s] and behind > height[s]:
                count = choices(s, stop, (before, behind), peak, problem, skyline, spaces[0])
                if least < 0 or count < least:
                    least, best[0], best[1] = count, s, stop
                    spaces[1, :count] = spaces[0, :count]
        before = height[s] if left[s] else NEVER
        s = stop
    return least


def kernel(nodes: int, peak: int, problem: Any, skyline: Any, trail: Any, options: Any, spaces: Any, at: Any) -> int:
    """So many nodes more, depth first. 1: all are placed; -1: none has that peak; 0: not known yet. A row of the trail
    is a node: its valley and floor, behind what it changed, the sections that its failures depend on, which choice is
    next, of how many."""
    size, begin, end, align, _, _, _ = problem
    height, left, placed, best, state = skyline
    depth = state[0]
    for _ in range(nodes):
        count = narrowest(peak, problem, skyline, spaces)
        if count < 0:
            return 1
        first, last = best[0] - 1, best[1] + 1
        if count:
            options[depth, :count] = spaces[1, :count]
            node = trail[depth]
            node[0], node[1], node[2], node[4], node[5], node[6], node[7] = (
                best[0], best[1], height[best[0]], first, last, 0, count,
            )  # fmt: skip
        while not count:
            depth -= 1
            if depth < 0:
                return -1
            node = trail[depth]
            j = options[depth, node[6] - 1]
            height[node[0] : node[1]] = node[2]
            if j >= 0:
                placed[j] = False
                left[begin[j] : end[j]] += size[j]
            if node[0] < last and first < node[3]:
                first, last = min(first, node[4]), max(last, node[5])
                node[4], node[5], count = first, last, node[7] - node[6]
        node = trail[depth]
        j, low, floor = options[depth, node[6]], node[0], node[2]
        wall = height[low - 1] if low and left[low - 1] else NEVER
        if j < 0:
            high = node[1]
            height[low:high] = min(wall, height[high] if high < len(height) and left[high] else NEVER)
        else:
            at[j] = -(-floor // align[j]) * align[j]
            high = end[j]
            height[low : begin[j]] = min(wall, at[j] + size[j])
            height[begin[j] : high] = at[j] + size[j]
            left[begin[j] : high] -= size[j]
            placed[j] = True
        node[3] = high
        node[6] += 1
        depth += 1
        state[0] = depth
    return 0


@functools.cache
def compiled() -> tuple[Callable[..., int], int]:
    """`kernel` in numba, or as it is where numba is missing; and how many nodes it does between looks at a clock."""
    head = f"from typing import Any\nimport numpy as np\nfrom numba import njit\nNEVER = {NEVER}\n"
    parts = "".join(f"@njit(cache=True, nogil=True)\n{inspect.getsource(f)}\n" for f in (choices, narrowest, kernel))
    try:
        return kernelfile.load(head + parts), 2000
    except ImportError:
        return kernel, 10


def attempt(peak: int, order: Ints, columns: Ints, nodes: int, deadline: float) -> tuple[int, Ints]:
    """What the kernel says after so many nodes, of buffers preferred in this order, and their offsets."""
    size, begin, end, align, _ = np.ascontiguousarray(columns[:, order])
    by_begin, sections = np.argsort(begin, kind="stable"), int(end.max())
    problem = size, begin, end, align, by_begin, np.searchsorted(begin[by_begin], np.arange(sections + 1)), size.min()
    left, depths = np.zeros(sections + 1, np.int64), 3 * len(size) + 2 * sections + 9
    np.add.at(left, begin, size)
    np.subtract.at(left, end, size)
    skyline = (
        np.zeros(sections, np.int64), np.cumsum(left)[:-1], np.zeros(len(size), np.bool_),
        np.zeros(2, np.int64), np.zeros(1, np.int64),
    )  # fmt: skip
    trail, options = np.zeros((depths, 8), np.int64), np.empty((depths, len(size) + 1), np.int32)
    spaces, at, (run, at_once), verdict = np.zeros((2, len(size) + 1), np.int32), np.zeros_like(size), compiled(), 0
    while not verdict and nodes > 0 and time.monotonic() < deadline:
        verdict = run(min(nodes, at_once), peak, problem, skyline, trail, options, spaces, at)
        nodes -= at_once
    return verdict, at[np.argsort(order)]


def improve(columns: Ints, peak: int, low: int, enough: int, budget_s: float) -> Iterator[tuple[list[int], int, int]]:
    """Smaller and smaller arenas, (offsets, peak, low), without offsets where `low` rises, under which none is. Rows of
    `columns`: sizes above 0, starts, stops, alignments, most bytes that live then. What is not found soon is tried in
    another order, and from the other end of time; now and then for longer."""
    columns[1:3] = np.unique(columns[1:3], return_inverse=True)[1].reshape(2, -1)
    size, begin, end, align, crowd = columns
    ways, wide = (columns, np.array([size, end.max() - end, end.max() - begin, align, crowd])), end - begin
    attempt(low, np.arange(len(size)), columns, 1, NEVER)  # compiles, which is not counted
    deadline, rng = time.monotonic() + budget_s, np.random.default_rng(0)
    for trial in itertools.count():
        if peak <= max(low, enough) or time.monotonic() >= deadline:
            return
        noise, (way, key) = rng.uniform(0.5, 1.5, len(size)), (rng.integers(2), rng.integers(3))
        order = np.argsort(-(size, size * wide, wide)[key] * (noise if trial % 8 else 1.0), kind="stable")
        goal, gap = max(low, enough), peak - low
        target = (low, goal, peak - (gap + 1) // 2, low, peak - gap // 4 - 1, peak - gap // 16 - 1)[trial % 6]
        nodes = PATIENCE * ((trial + 1) & -(trial + 1))
        verdict, found = attempt(target, order, ways[way], nodes, deadline)
        if verdict:
            peak, low = (int((found + size).max()), low) if verdict > 0 else (peak, target + 1)
            yield found.tolist() if verdict > 0 else [], peak, low
