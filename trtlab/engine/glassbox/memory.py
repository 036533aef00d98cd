"""engine/glassbox/memory: where results lie. The simplest placing that reuses memory; a planner can take its place.

In: name -> (size in bytes, first step, step after the last). Out: offsets in one arena, and its size. Checked by
`find_overlap`, which shares none of the code.
"""

from collections.abc import Callable, Mapping

Lifetimes = Mapping[str, tuple[int, int, int]]
"""Name -> (size in bytes, start, stop): half-open, in steps."""
Placer = Callable[[Lifetimes], tuple[dict[str, int], int]]
ALIGN = 64
"""Bytes: a cache line, and the widest vector register."""


def place(buffers: Lifetimes) -> tuple[dict[str, int], int]:
    """Largest first, each at the lowest offset that is free while it lives."""
    offsets: dict[str, int] = {}
    for name, (size, start, stop) in sorted(buffers.items(), key=lambda item: -item[1][0]):
        living = [(offsets[o], buffers[o][0]) for o in offsets if buffers[o][1] < stop and start < buffers[o][2]]
        offset = 0
        for other, length in sorted(living):
            if other >= offset + size:
                break
            offset = max(offset, -(-(other + length) // ALIGN) * ALIGN)
        offsets[name] = offset
    return offsets, max((offsets[n] + buffers[n][0] for n in offsets), default=0)


def find_overlap(buffers: Lifetimes, offsets: Mapping[str, int]) -> tuple[str, str] | None:
    """Two buffers that share bytes while both live, or None: every pair is compared."""
    names = list(buffers)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            (size_a, start_a, stop_a), (size_b, start_b, stop_b) = buffers[a], buffers[b]
            in_time = start_a < stop_b and start_b < stop_a
            if in_time and offsets[a] < offsets[b] + size_b and offsets[b] < offsets[a] + size_a:
                return a, b
    return None
