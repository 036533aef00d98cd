"""teach/diagrams_acceleration: what makes an inference compiler fast, in one picture: five techniques, what each one
saves, what it was at first and what was added since. In: the words below. Out: SVG.

The number on a card is the notebook that runs what the card says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from trtlab.teach.diagramparts import (
    BLUE,
    DIM,
    GREEN,
    HEADLINE,
    INK,
    LINE,
    ORANGE,
    PAPER,
    SOFT,
    VIOLET,
    arrow,
    line,
    rect,
    svg,
    text,
)  # fmt: skip

CARD, GAP, MARGIN, TOP, HEIGHT = 250, 19, 24, 208, 324
PINK = "#bf3989"


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One card: `saves` is the cost it cuts; `first` and `since` are lines of words; `glyph` draws around a centre."""

    title: str
    saves: str
    first: tuple[str, ...]
    since: tuple[str, ...]
    notebook: str
    colour: str
    glyph: Callable[[float, float, str], str]


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return rect(x, y, width, height, colour, rx=2)


def _dot(x: float, y: float, colour: str, radius: float = 4.5) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"/>'


def _graph(x: float, y: float, colour: str) -> str:
    """Three nodes become one."""
    lines = [line(f"M{x - 20} {y + dy} L{x + 10} {y}", SOFT, 1.6) for dy in (-14, 0, 14)]
    return "".join([*lines, *(_dot(x - 20, y + dy, colour) for dy in (-14, 0, 14)), _dot(x + 13, y, colour, 10)])


def _bits(x: float, y: float, colour: str) -> str:
    """32, 16, 8, 4 bits."""
    return "".join(_bar(x - 22, y - 18 + 10 * i, 44 / 2**i, 6, colour) for i in range(4))


def _race(x: float, y: float, colour: str) -> str:
    """Times of several kernels; the shortest is kept."""
    bars = [(-20, 30), (-7, 20), (6, 11), (19, 24)]
    marks = [_bar(x + dx - 4.5, y + 16 - h, 9, h, colour if h == 11 else LINE) for dx, h in bars]
    return "".join([*marks, line(f"M{x + 2} {y - 5} l3 4 l6 -8", colour, 2.2)])


def _arena(x: float, y: float, colour: str) -> str:
    """Buffers that share addresses, one after the other."""
    spans = [(-24, -16, 20), (-24, 4, 30), (-1, -16, 25), (9, 4, 15), (-12, -6, 26)]
    return "".join(rect(x + dx, y + dy, width, 8, colour if dy != -6 else LINE, rx=2) for dx, dy, width in spans)


def _lanes(x: float, y: float, colour: str) -> str:
    """Work side by side."""
    lanes = [(-24, -15, 30), (-12, -3, 36), (-24, 9, 22), (2, 9, 20)]
    return "".join(_bar(x + dx, y + dy, width, 7, colour) for dx, dy, width in lanes)


TECHNIQUES = (
    Technique(
        title="Graph optimisation",
        saves="launches, memory traffic",
        first=("vertical, horizontal and", " pointwise fusion", "dead layers, constants", "concat without a copy"),
        since=("kernels generated for regions", "fused attention", "CUDA graphs: one launch"),
        notebook="03",
        colour=GREEN,
        glyph=_graph,
    ),
    Technique(
        title="Lower precision",
        saves="bytes moved, arithmetic",
        first=("FP16", "INT8 with calibration"),
        since=("TF32, BF16, FP8", "INT4 weights; FP4 in blocks", "Q/DQ and typed networks", " in place of calibrators"),
        notebook="04",
        colour=BLUE,
        glyph=_bits,
    ),
    Technique(
        title="Kernel auto-tuning",
        saves="time inside each kernel",
        first=("time several tactics on", " the target GPU,", " keep the fastest"),
        since=("timing cache", "optimisation levels", "2:4 sparse weights", "chosen at load time on RTX"),
        notebook="05",
        colour=ORANGE,
        glyph=_race,
    ),
    Technique(
        title="Tensor memory",
        saves="footprint, allocations",
        first=("lifetimes known when built", "tensors share one arena", "no allocation while running"),
        since=("the caller may own the arena", "weights streamed from host"),
        notebook="06",
        colour=VIOLET,
        glyph=_arena,
    ),
    Technique(
        title="Streams",
        saves="idle time of the GPU",
        first=("several requests at once,", " a context and a stream each"),
        since=("auxiliary streams: branches of", " one engine side by side"),
        notebook="07",
        colour=PINK,
        glyph=_lanes,
    ),
)


def acceleration_svg() -> str:
    """A model goes in on the left, an engine comes out on the right; five techniques hang on the way."""
    width = 5 * CARD + 4 * GAP + 2 * MARGIN
    way = 132
    parts = [
        text(MARGIN, 34, "What makes an inference compiler fast", 19, HEADLINE, 700, anchor="start"),
        text(MARGIN, 58, "Each technique pays one cost less.", 13, SOFT, anchor="start"),
        line(f"M{MARGIN + 20} {way} H{width - MARGIN - 20}", LINE, 10),
        *_end(MARGIN, way, "model"),
        *_end(width - MARGIN - 76, way, "engine"),
    ]
    for number, technique in enumerate(TECHNIQUES):
        x = MARGIN + number * (CARD + GAP)
        parts += _card(x, way, technique)
        parts += [line(f"M{x - GAP / 2 - 4} {way - 8} l8 8 l-8 8", SOFT, 2.4)] * (number > 0)
    foot = "A dot: told of TensorRT about 2017. A plus: added since. The number is the notebook that runs it."
    parts.append(text(MARGIN, TOP + HEIGHT + 30, foot, 12.5, SOFT, anchor="start"))
    return svg(width, TOP + HEIGHT + 46, "Five techniques of an inference compiler, and what each one saves", parts)


def _end(x: float, way: float, words: str) -> list[str]:
    return [rect(x, way - 17, 76, 34, PAPER, GREEN, rx=17), text(x + 38, way + 5, words, 13.5, INK, 650)]


def _card(x: float, way: float, technique: Technique) -> list[str]:
    """The glyph on the way, and the card below it."""
    middle, left, colour = x + CARD / 2, x + 18, technique.colour
    parts = [
        arrow(f"M{middle} {way + 39} V{TOP - 5}"),
        f'<circle cx="{middle}" cy="{way}" r="36" fill="{PAPER}" stroke="{colour}" stroke-width="2"/>',
        technique.glyph(middle, way, colour),
        rect(x, TOP, CARD, HEIGHT, PAPER, LINE, rx=12),
        rect(x + 16, TOP - 2.5, CARD - 32, 5, colour, rx=2.5),
        text(left, TOP + 36, technique.title, 17, INK, 700, anchor="start"),
        text(x + CARD - 18, TOP + 36, technique.notebook, 13, DIM, 600, anchor="end"),
        text(left, TOP + 60, f"saves {technique.saves}", 12, colour, 650, anchor="start"),
    ]
    parts += _words(left, TOP + 92, technique.first, _dot(left + 3, -4, colour, 2.6))
    y = TOP + 208
    since = text(left, y, "since then", 12, DIM, 650, anchor="start")
    plus = text(left, 0, "+", 14, colour, 700, anchor="start")
    return [
        *parts,
        line(f"M{left} {y - 22} H{x + CARD - 18}", LINE, 1),
        since,
        *_words(left, y + 23, technique.since, plus),
    ]


def _words(left: float, y: float, lines: tuple[str, ...], mark: str) -> list[str]:
    """Lines with a mark before each; one that begins with a space goes on with the line above it."""
    parts = []
    for number, words in enumerate(lines):
        at = y + 22 * number
        parts += [f'<g transform="translate(0 {at})">{mark}</g>'] * (not words.startswith(" "))
        parts.append(text(left + 16, at, words.strip(), 13, INK, anchor="start"))
    return parts
