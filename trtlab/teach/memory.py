"""teach/memory: an arena as a picture, and `ArenaView`, in which buffers are dragged to their places.

In: `Buffer`s and offsets. Out: drawings: time runs to the right, bytes upwards, and a buffer is a rectangle as long as
it lives and as high as it is large. plan/memory places and judges; static/arena.js only moves what was drawn.
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from trtlab.numeric.units import bytes_text, counted, seconds_text
from trtlab.plan.memory import PLANNERS, Buffer, check_placement, lower_bound, steps
from trtlab.teach import svg
from trtlab.teach.card import Drawing, SvgDrawing, bold, card, listed, table
from trtlab.teach.figure import PALETTE
from trtlab.teach.sliders import pictured
from trtlab.teach.widget import Widget, script, styles

WIDTH, HEIGHT, LEFT, TOP, BAD = 1000, 330, 140, 22, "#cf222e"
PALE = PALETTE[3:6]
NARROW = 19
"""Size of words where the page is narrow: static/cards.css."""
MOST = 60
"""Buffers that a hand can move; a drawing takes any number."""


def draw_arena(buffers: Sequence[Buffer], offsets: Mapping[str, int], title: str = "The arena") -> SvgDrawing:
    """Where each buffer lies and how long; what overlaps is red. Buffers without an offset are left out."""
    said = listed([fault.text for fault in faults(buffers, offsets)[:6]])
    return pictured(arena_svg(buffers, offsets, title), title, summary(buffers, offsets), below=said)


def draw_planners(buffers: Sequence[Buffer]) -> Drawing:
    """Every planner on the same buffers: how large its arena is, over the bound, and how long it thought."""
    bound, rows = lower_bound(buffers), []
    for name in PLANNERS:
        started = time.perf_counter()
        peak = _peak(buffers, dict(steps(name, buffers)))
        taken = time.perf_counter() - started
        rows.append((name, bytes_text(peak), f"{peak / bound:.2f}", seconds_text(taken)))
    said = f"{counted(len(buffers), 'buffer')}; nothing gets under {bytes_text(bound)}"
    return card(table(("planner", "arena", "over the bound", "thought for"), rows), head=[bold("Planners"), said])


def faults(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> list[Any]:
    """What `check_placement` finds, but for buffers that are not placed yet."""
    return check_placement([b for b in buffers if b.name in offsets], offsets)


def summary(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """Label, value and note: the arena, the bound under it, their ratio, what overlaps."""
    peak, bound, bad = _peak(buffers, offsets), lower_bound(buffers), faults(buffers, offsets)
    left = len(buffers) - len(offsets)
    return [
        ("arena", bytes_text(peak), f"{counted(left, 'buffer')} not placed" if left else "all are placed"),
        ("lower bound", bytes_text(bound), "what lives at the busiest step"),
        ("over the bound", f"{peak / bound:.2f}" if bound else "–", "1.00 is the best there is"),
        ("overlaps", str(len(bad)), "bytes of two at once" if bad else "none"),
    ]


def _peak(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> int:
    return max((offsets[b.name] + b.size_bytes for b in buffers if b.name in offsets), default=0)


def arena_svg(buffers: Sequence[Buffer], offsets: Mapping[str, int], about: str, height_bytes: int = 0) -> str:
    """The picture. Each rectangle knows its buffer, so that a page can move it."""
    first, last = min(b.start for b in buffers), max(b.stop for b in buffers)
    top = max(height_bytes, _peak(buffers, offsets), lower_bound(buffers), 1)
    wide, high = (WIDTH - LEFT - 20) / (last - first), HEIGHT / top
    bad = {name for fault in faults(buffers, offsets) for name in fault.names}
    parts = _lines(buffers, offsets, high)
    for number, buffer in enumerate(buffers):
        if buffer.name in offsets:
            x, width = LEFT + (buffer.start - first) * wide, (buffer.stop - buffer.start) * wide
            y = TOP + HEIGHT - (offsets[buffer.name] + buffer.size_bytes) * high
            colour = BAD if buffer.name in bad else PALETTE[number % 7]
            parts.append(_rectangle(buffer, offsets[buffer.name], (x, y), (width, buffer.size_bytes * high), colour))
    moments = range(first, last + 1, max(1, math.ceil((last - first) / 14)))
    parts += [svg.dim(str(t), (LEFT + (t - first) * wide, TOP + HEIGHT + 18), "middle") for t in moments]
    axes = svg.tag("tspan", "bytes ↑  ", class_="tl-on") + "step →"
    parts.append(svg.tag("text", axes, class_="tl-ink", fill=svg.INK, x=4, y=TOP + HEIGHT + 18, font_size=13))
    return svg.whole(about, WIDTH, TOP + HEIGHT + 28, *parts)


def _lines(buffers: Sequence[Buffer], offsets: Mapping[str, int], high: float) -> list[str]:
    """The floor, the bound with its name below, the top of what is placed with its name above."""
    found = [("bound", lower_bound(buffers), "#0072b2", "6 4", 16)]
    found += [("arena", _peak(buffers, offsets), svg.INK, "", -5)] if offsets else []
    parts = [svg.grid((LEFT, TOP + HEIGHT), (WIDTH - 20, TOP + HEIGHT))]
    for word, value, colour, dash, below in found:
        y = TOP + HEIGHT - value * high
        parts.append(svg.tag("line", x1=LEFT, x2=WIDTH - 20, y1=y, y2=y, stroke=colour, stroke_dasharray=dash))
        look: dict[str, str | float] = {"class_": "tl-dim", "fill": svg.DIM, "font_size": 13, "text_anchor": "end"}
        words = svg.tag("tspan", f"{word} ", class_="tl-on"), svg.tag("tspan", bytes_text(value))
        parts.append(svg.tag("text", *words, x=LEFT - 6, y=y + below, **look))
    return parts


def _rectangle(buffer: Buffer, at: int, place: svg.Point, size: svg.Point, colour: str) -> str:
    (x, y), (width, height), bytes_ = place, size, bytes_text(buffer.size_bytes)
    said = f"{buffer.name}: {bytes_}, steps {buffer.start} to {buffer.stop - 1}, from byte {at:,}"
    box = svg.tag("rect", svg.title(said), x=x + 1, y=y, width=max(width - 2, 1), height=max(height - 1, 1), rx=3,
                  fill=colour, fill_opacity="0.85", stroke=colour)  # fmt: skip
    ink, names = svg.INK if colour in PALE else "#ffffff", (f"{buffer.name} · {bytes_}", buffer.name, "")
    wide, narrow = (
        next(w for w in names if not w or (svg.text_width(w, 1.12 * font) < width - 8 and height >= 1.08 * font))
        for font in (13, NARROW)
    )
    at_once = {"tl-on": wide, "tl-small": narrow} if wide != narrow else {"": wide}
    name = "".join(
        svg.text(f"ar-on {kind}".strip(), words, (x + 6, y + height / 2), 13, ink, 600, dominant_baseline="central",
                 display="none" if kind == "tl-small" else "")
        for kind, words in at_once.items() if words
    )  # fmt: skip
    known = {"data_buffer": buffer.name, "data_at": str(at), "tabindex": "0", "role": "button", "aria_label": said}
    return svg.tag("g", box, name, class_="ar-buffer", **known)


class ArenaView(Widget):
    """Place buffers by hand: drag them, or move the focused one with the arrow keys; or watch a planner step by step.

    `offsets` has the places, `move` and `play` change them. ValueError for more buffers than a hand can move, KeyError
    for unknown names.
    """

    _esm = script("arena")
    _css = styles("cards", "arena")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        if not 1 <= len(buffers) <= MOST:
            raise ValueError(f"got {len(buffers)} buffers: expected 1 to {MOST}; draw_arena takes more")
        super().__init__()
        self.buffers = tuple(buffers)
        self.offsets = dict(steps("no reuse", self.buffers))
        self._height = _peak(self.buffers, self.offsets)
        self.face = {
            "planners": [*PLANNERS], "unit": math.gcd(*(b.size_bytes for b in self.buffers)) or 1,
            "scale": HEIGHT / self._height, "width": WIDTH, "names": [b.name for b in buffers],
        }  # fmt: skip
        self._show("by hand", len(buffers))

    def move(self, name: str, at: int) -> None:
        """Put a buffer at a byte, or as near as the arena's floor and top allow."""
        buffer = next((b for b in self.buffers if b.name == name), None)
        if buffer is None:
            raise KeyError(f"no buffer {name!r}; there are {', '.join(b.name for b in self.buffers)}")
        self.offsets = self.offsets | {name: min(max(0, at), self._height - buffer.size_bytes)}
        self._show("by hand", len(self.offsets))

    def play(self, planner: str, count: int) -> None:
        """The first `count` decisions of a planner. PlacementError for a planner that there is none of."""
        decided = [*steps(planner, self.buffers)]
        self.offsets = dict(decided[: max(0, count)])
        self._show(planner, len(self.offsets))

    def static(self) -> Drawing:
        return draw_arena(self.buffers, self.offsets)

    def _show(self, planner: str, count: int) -> None:
        self.shown = {
            "svg": arena_svg(self.buffers, self.offsets, "Arena", self._height), "planner": planner, "count": count,
            "facts": [list(fact) for fact in summary(self.buffers, self.offsets)],
            "faults": [fault.text for fault in faults(self.buffers, self.offsets)[:3]],
        }  # fmt: skip

    def hear(self, wish: dict[str, Any]) -> None:
        """{"move": name, "at": byte} or {"play": planner, "count": n}; others are left alone."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if "move" in wish:
                self.move(wish["move"], int(wish["at"]))
            else:
                self.play(wish["play"], int(wish["count"]))
