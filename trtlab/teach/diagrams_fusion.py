"""teach/diagrams_fusion: layer fusion on an inception-like block, in four panels, from as written to no concat.

In: the teaching model. Out: SVG. Kernels and bytes are counted on the model that `trtlab.graph.optimize` made with the
rules so far; a test counts them again.
"""

from dataclasses import dataclass

from trtlab.graph import optimize
from trtlab.graph.cost import model_cost
from trtlab.graph.models import TEACHING_MODELS
from trtlab.teach.diagramparts import (
    BLUE,
    DIM,
    GREEN,
    HEADLINE,
    INK,
    LINE,
    MONO,
    ORANGE,
    PAPER,
    SOFT,
    arrow,
    rect,
    svg,
    text,
)

MODEL = "inception"
STEPS = (
    ("as written", "", "a box is a kernel, an arrow goes through memory"),
    ("vertical fusion", "vertical_fusion", "conv and ReLU: the number stays in a register"),
    ("horizontal fusion", "horizontal_fusion", "same input, weights side by side: x is read once"),
    ("concat eliminated", "concat_elimination", "the kernel writes into the slices of y"),
)
WIDTH, GAP, MARGIN, TOP = 318, 18, 24, 58
COLUMNS = (62, 159, 256)
CELL, CONV, RELU, JOIN = 84, ("#ddf4ff", BLUE), ("#fff1e5", ORANGE), ("#eef1f4", "#57606a")
OUT = "#eef7db"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One panel: its words, and what the model so far launches and moves."""

    title: str
    words: str
    kernels: int
    bytes_moved: int


def stages() -> tuple[Stage, ...]:
    """The four panels, counted: each applies one rule more than the one before."""
    model, found = TEACHING_MODELS[MODEL](), []
    for number, (title, _, words) in enumerate(STEPS):
        cost = model_cost(optimize(model, rules=[rule for _, rule, _ in STEPS[1 : number + 1]])[0])
        found.append(Stage(title=title, words=words, kernels=cost.kernels, bytes_moved=cost.bytes_moved))
    return tuple(found)


def fusion_svg() -> str:
    """The four panels side by side."""
    found = stages()
    parts = [text(MARGIN, 32, "Layer fusion: the same block, fewer kernels", 19, HEADLINE, 700, anchor="start")]
    for number, stage in enumerate(found):
        x = MARGIN + number * (WIDTH + GAP)
        parts += [_panel(x, number, stage, found[0]), *_block(x, number)]
        if number:
            parts.append(arrow(f"M{x - GAP + 2} {TOP + 190} h{GAP - 5}"))
    foot = "counted on what trtlab.graph.optimize made: three 1×1 convolutions of x, 8 channels each"
    parts.append(text(MARGIN, TOP + 478, foot, 12.5, SOFT, anchor="start"))
    aside = "NVIDIA's builder leaves step 3 out here: trtlab.teach.draw_agreement shows its kernels beside ours"
    parts.append(text(4 * WIDTH + 3 * GAP + MARGIN, TOP + 478, aside, 12.5, SOFT, anchor="end"))
    return svg(4 * WIDTH + 3 * GAP + 2 * MARGIN, TOP + 496, "Layer fusion in four steps", parts)


def _panel(x: float, number: int, stage: Stage, first: Stage) -> str:
    """The card, its heading, and the two counts at its foot."""
    left, y, full = x + 20, TOP + 388, WIDTH - 40
    moved = f"{stage.bytes_moved / 1024:.1f} KiB moved"
    squares = "".join(rect(left + 24 * i, y, 18, 16, GREEN, rx=3) for i in range(stage.kernels))
    ghosts = "".join(rect(left + 24 * i, y, 18, 16, "none", LINE, rx=3) for i in range(stage.kernels, first.kernels))
    kernels = f"{stage.kernels} kernel" + "s" * (stage.kernels > 1)
    return "".join(
        (
            rect(x, TOP, WIDTH, 452, PAPER, LINE, rx=12),
            text(left, TOP + 30, f"{number + 1}  {stage.title}", 16, INK, 700, anchor="start"),
            text(left, TOP + 50, stage.words, 11.5, DIM, anchor="start"),
            rect(x + 20, TOP + 368, full, 0.6, LINE, rx=0),
            squares + ghosts,
            text(x + WIDTH - 20, y + 14, kernels, 15, GREEN, 700, anchor="end"),
            rect(left, y + 32, 150, 10, "#eef1f4", rx=3),
            rect(left, y + 32, round(150 * stage.bytes_moved / first.bytes_moved, 1), 10, BLUE, rx=3),
            text(x + WIDTH - 20, y + 42, moved, 12, BLUE, 650, anchor="end"),
        )
    )


def _block(x: float, number: int) -> list[str]:
    """x above, the branches, what joins them, y below."""
    top, is_wide = TOP + 130, number >= 2
    parts = [rect(x + 129, TOP + 68, 60, 26, OUT, GREEN, rx=13), text(x + 159, TOP + 86, "x", 14, INK, 600, MONO)]
    if is_wide:
        parts += [arrow(f"M{x + 159} {TOP + 95} V{top - 6}"), _wide(x, top)]
    for name, column in enumerate(COLUMNS, 1):
        middle = x + column
        if not is_wide:
            end = f"{middle} {top - (6 if number else 3)}"
            parts.append(arrow(f"M{x + 159} {TOP + 95} C{x + 159} {top - 14} {middle} {TOP + 98} {end}"))
            parts += _branch(middle, top, name, fused=number == 1)
        parts.append(arrow(f"M{middle} {top + 82 + 22 * (number == 0)} V{TOP + (306 if number == 3 else 256)}"))
    parts += [*_concat(x)] if number < 3 else _nothing(x)
    return parts + _result(x)


def _op(x: float, y: float, width: float, height: float, words: str, paint: tuple[str, str]) -> str:
    fill, ink = paint
    return rect(x, y, width, height, fill, ink, rx=6) + text(x + width / 2, y + height / 2 + 5, words, 13, INK, 600)


def _branch(middle: float, top: float, number: int, *, fused: bool) -> list[str]:
    """A convolution and its ReLU: two kernels, or one of two parts."""
    left, gap = middle - CELL / 2, 0 if fused else 22
    parts = [_op(left, top, CELL, 42, f"conv{number}", CONV), _op(left, top + 42 + gap, CELL, 36, "ReLU", RELU)]
    if fused:
        return [*parts, rect(left - 4, top - 3, CELL + 8, 85, "none", INK, rx=9)]
    return [*parts, arrow(f"M{middle} {top + 43} v17")]


def _wide(x: float, top: float) -> str:
    """The one kernel for all branches: weights side by side, one ReLU for all channels."""
    parts = [_op(x + 20 + 278 / 3 * i, top, 278 / 3, 42, f"conv{i + 1}", CONV) for i in range(3)]
    parts += [_op(x + 20, top + 42, 278, 36, "ReLU", RELU), rect(x + 16, top - 3, 286, 85, "none", INK, rx=9)]
    return "".join(parts)


def _concat(x: float) -> list[str]:
    return [_op(x + 20, TOP + 260, 278, 30, "concat: copies", JOIN), arrow(f"M{x + 159} {TOP + 291} V{TOP + 307}")]


def _nothing(x: float) -> list[str]:
    return [rect(x + 99, TOP + 252, 120, 24, PAPER), text(x + 159, TOP + 269, "no concat kernel", 12.5, DIM)]


def _result(x: float) -> list[str]:
    """y in memory: three slices, one for each branch."""
    y = TOP + 312
    cuts = [rect(x + 20 + 278 / 3 * i, y, 0.8, 32, GREEN, rx=0) for i in (1, 2)]
    words = [text(x + column + (column - 159) * -0.04, y + 21, f"y[{8 * i}:{8 * i + 8}]", 12.5, INK, 500, MONO)
             for i, column in enumerate(COLUMNS)]  # fmt: skip
    return [rect(x + 20, y, 278, 32, OUT, GREEN, rx=6), *cuts, *words]
