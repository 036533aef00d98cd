"""plan/exact: branch and bound for the placement of buffers, after the ideas of MiniMalloc (Moffitt, ASPLOS 2023).

In: buffers as arrays. Out: offsets. Any solution can be pushed down until each buffer rests on another or on the floor;
such ones are built from below. Time is cut into sections at every start and stop. Without numba it gets less far.
"""

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import kernelfile

Ints = npt.NDArray[np.int64]
NEVER = 1 << 62


def fullest(group: Any, peak: int, problem: Any, at: Any, asleep: Any, placed: Any, space: Any) -> int:
    """How high the fullest section gets at least, if each buffer of the group lies at its least offset or above: `at`,
    or if asleep on a neighbour to come; those of a section one on the other. Above `peak` is the end."""
    size, begin, end, _, starts, neighbours, _ = problem
    _, bound, top = space
    for j in group:
        least = NEVER if asleep[j] else at[j]
        for q in neighbours[starts[j] : starts[j + 1] if asleep[j] else starts[j]]:
            least = least if placed[q] else min(least, at[q] + size[q])
        bound[j] = max(least, at[j])
    most = 0
    top[:] = 0
    for j in group[np.argsort(bound[group])]:
        for s in range(begin[j], end[j]):
            top[s] = max(top[s], bound[j]) + size[j]
            most = max(most, top[s])
        if most > peak:
            break
    return most


def hardest(low: int, high: int, peak: int, problem: Any, at: Any, asleep: Any, placed: Any, space: Any) -> Any:
    """(its height, first section, behind the last) of the worst among the groups of buffers that begin in [low, high)
    and that no other connects: they can be solved one after the other. The first one above `peak` is the end."""
    _, begin, end, by_begin, _, _, _ = problem
    count, first, last, worst = 0, low, low, (-1, low, high)
    for k in range(len(by_begin) + 1):
        j = by_begin[k] if k < len(by_begin) else -1
        if j >= 0 and (placed[j] or begin[j] < low or begin[j] >= high):
            continue
        if count and (j < 0 or begin[j] >= last):
            height = fullest(space[0][:count], peak, problem, at, asleep, placed, space)
            worst = (height, first, last) if height > worst[0] else worst
            count = 0
            if height > peak:
                break
        if j >= 0:
            first, last = (first, max(last, end[j])) if count else (begin[j], end[j])
            space[0][count] = j
            count += 1
    return worst


def kernel(nodes: int, peak: int, problem: Any, rows: Any, placed: Any, space: Any, state: Any) -> int:
    """So many nodes more, depth first. 1: all are placed, at the last row; -1: none has that peak; 0: not known yet. A
    node places the lowest buffer where it rests; if that fails, it sleeps until a neighbour is below it. If it fits
    below the lowest meanwhile, it was not pushed down: a failure. One goes back to the last buffer in its sections."""
    size, begin, end, _, starts, neighbours, align = problem
    at, asleep, ranges, chosen = rows
    depth = state[0]
    for _ in range(nodes):
        worst = hardest(ranges[depth, 0], ranges[depth, 1], peak, problem, at[depth], asleep[depth], placed, space)
        if worst[0] < 0:
            worst = hardest(0, NEVER, peak, problem, at[depth], asleep[depth], placed, space)
        i, least, free, ranges[depth] = -1, NEVER, NEVER, worst[1:]
        for j in range(len(size) if worst[0] <= peak else 0):
            if not placed[j] and worst[1] <= begin[j] < worst[2]:
                free = min(free, at[depth, j] + size[j])
                i, least = (j, at[depth, j]) if not asleep[depth, j] and at[depth, j] < least else (i, least)
        if least < free:
            chosen[depth], placed[i], floor, depth = i, True, least + size[i], depth + 1
            at[depth], asleep[depth], ranges[depth] = at[depth - 1], asleep[depth - 1], ranges[depth - 1]
            for j in neighbours[starts[i] : starts[i + 1]]:
                if not placed[j] and at[depth, j] < floor:
                    at[depth, j], asleep[depth, j] = -(-floor // align[j]) * align[j], False
            if depth == len(size):
                return 1
            continue
        i = -1
        while i < 0 or begin[i] >= worst[2] or end[i] <= worst[1]:
            if depth == 0:
                return -1
            depth -= 1
            i = chosen[depth]
            placed[i] = False
        asleep[depth, i] = True
    state[0] = depth
    return 0


@functools.cache
def compiled() -> tuple[Callable[..., int], int]:
    """`kernel` in numba, or as it is where numba is missing; and how many nodes it does between looks at a clock."""
    head = f"from typing import Any\nimport numpy as np\nfrom numba import njit\nNEVER = {NEVER}\n"
    parts = "".join(f"@njit(cache=True, nogil=True)\n{inspect.getsource(f)}\n" for f in (fullest, hardest, kernel))
    try:
        return kernelfile.load(head + parts), 2000
    except ImportError:
        return kernel, 10


def attempt(peak: int, order: Ints, columns: Ints) -> Iterator[tuple[int, Ints]]:
    """What the kernel says of buffers in this order, and their offsets, again and again; times are sections."""
    size, begin, end, align, _ = np.ascontiguousarray(columns[:, order])
    meets = (begin[:, None] < end) & (begin < end[:, None]) & ~np.eye(len(order), dtype=bool)
    starts = np.append(0, np.cumsum(meets.sum(1)))
    problem = size, begin, end, np.argsort(begin, kind="stable"), starts, np.nonzero(meets)[1], align
    at = np.zeros((len(starts), len(order)), np.int64)
    rows = at, at > 0, np.array([(0, NEVER)] * len(starts)), np.zeros_like(starts)
    space = np.zeros_like(size), np.zeros_like(size), np.zeros(end.max(), np.int64)
    placed, depth, (run, nodes) = np.zeros(len(order), np.bool_), np.zeros(1, np.int64), compiled()
    while True:
        verdict = run(nodes, peak, problem, rows, placed, space, depth)
        yield verdict, at[-1][np.argsort(order)]


def improve(columns: Ints, peak: int, low: int, enough: int, budget_s: float) -> Iterator[tuple[list[int], int, int]]:
    """Smaller and smaller arenas, (offsets, peak, low), without offsets where `low` rises, under which none is. Rows of
    `columns`: sizes above 0, starts, stops, alignments, most bytes that live then. Orders take turns."""
    long, times, turn = columns[2] - columns[1], np.unique(columns[1:3]), 0
    columns[1:3] = np.searchsorted(times, columns[1:3])
    size, begin, end, _, crowd = columns
    keys = [key for n in (end - begin, long) for key in ((-size, -n, -crowd), (-n * size,), (-size, -n))]
    runs: dict[int, list[Iterator[tuple[int, Ints]]]] = {}
    next(attempt(low, np.lexsort(keys[0]), columns))  # compiles, which is not counted
    deadline = time.monotonic() + budget_s
    while max(low, enough) < peak and time.monotonic() < deadline:
        turn += 1
        target = ((low + peak) // 2, max(low, enough), low, max(low, enough))[turn % 4]
        runs = {goal: run for goal, run in runs.items() if goal in (low, enough, target)}
        for run in runs.setdefault(target, [attempt(target, np.lexsort(key), columns) for key in keys]):
            verdict, found = next(run)
            if verdict or time.monotonic() >= deadline:
                break
        if verdict:
            peak, low = (int((found + size).max()), low) if verdict > 0 else (peak, target + 1)
            turn = 3 if turn % 4 == 0 else 0
            yield found.tolist() if verdict > 0 else [], peak, low
