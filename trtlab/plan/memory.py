"""plan/memory: where tensors lie in one arena, so that those which never live at once share bytes.

In: `Buffer`s, each with a size and a lifetime. Out: a `Placement`. Checked by `find_overlap`, which shares none of the
code, and by `lower_bound`, under which no placement gets. A better planner can take the place of `place`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ALIGN = 64
"""Bytes: a cache line, and the widest vector register."""


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Memory that a tensor needs from step `start` up to, not including, step `stop`."""

    name: str
    size_bytes: int
    start: int
    stop: int

    def meets(self, other: "Buffer") -> bool:
        """Whether both live at one time."""
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where each buffer starts in the arena, in bytes, and how large the arena is."""

    offsets: Mapping[str, int]
    peak_bytes: int


Placer = Callable[[Sequence[Buffer]], Placement]


def place(buffers: Sequence[Buffer]) -> Placement:
    """Largest first, each at the lowest offset that is free while it lives."""
    placed: list[tuple[int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda b: -b.size_bytes):
        offset = 0
        for other_offset, other in sorted(placed, key=lambda pair: pair[0]):
            if buffer.meets(other) and offset + buffer.size_bytes > other_offset:
                offset = max(offset, -(-(other_offset + other.size_bytes) // ALIGN) * ALIGN)
        placed.append((offset, buffer))
    peak = max((offset + buffer.size_bytes for offset, buffer in placed), default=0)
    return Placement(offsets={buffer.name: offset for offset, buffer in placed}, peak_bytes=peak)


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Bytes that live at the busiest moment: no arena is smaller. Something begins at every such moment."""
    return max((sum(b.size_bytes for b in buffers if b.start <= a.start < b.stop) for a in buffers), default=0)


def find_overlap(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> tuple[str, str] | None:
    """Two buffers that share bytes while both live, or None: every pair is compared."""
    for i, a in enumerate(buffers):
        for b in buffers[i + 1 :]:
            apart_in_time = a.stop <= b.start or b.stop <= a.start
            start_a, start_b = offsets[a.name], offsets[b.name]
            if not apart_in_time and start_a < start_b + b.size_bytes and start_b < start_a + a.size_bytes:
                return a.name, b.name
    return None
