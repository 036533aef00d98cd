"""teach/graph/draw: a scene as SVG: the static picture, and what the widget makes clickable.

In: a `Picture`, its groups, and the `Scene` to show. Out: SVG text that needs no style sheet; graphview.css only
replaces its colours. Elements come from teach/svg, which escapes all text from models.
"""

import re
from collections.abc import Iterable, Sequence

from trtlab.numeric.units import counted
from trtlab.teach import svg
from trtlab.teach.card import Cell, apart, block, join, styled, tag
from trtlab.teach.graph.arrange import Group, Layout, Rectangle, Scene, lay_out
from trtlab.teach.graph.picture import ENDS, FAMILIES, OTHER, Edge, Node, Picture, family_of
from trtlab.teach.svg import DIM, INK, LINE, PAPER, Point, text_width

FRAME = "#f6f8fa"
COLOURS = ("#0072b2", "#c2571a", "#a8478c", "#00805c", "#6e7781", "#8a6d00", "#5b4fc4", "#9a3d3d", "#57606a")
"""Told apart by colour-blind readers (after Okabe and Ito, darkened); graphview.css has the same for dark paper."""
COLOUR_OF = {family: number for number, family in enumerate([*FAMILIES, OTHER, ENDS])}
NAME_LIMIT = 24
_GONE = "gone", "#a34d00", "5 3"
MARKS = {"replaced": _GONE, "removed": _GONE, "new": ("new", "#1a7f37", ""), "kept": ("kept", "#57606a", "2 3")}
"""Class, colour and dashes of a box by the word on its flag."""
STRIP, CHIP, MEMBERS, ABREAST = 17.0, 22.0, 9, 3


def draw_graph(picture: Picture, scene: Scene, groups: Sequence[Group]) -> str:
    """The whole SVG."""
    nodes = {node.key: node for node in picture.nodes} | {g.key: _folded(g, picture) for g in groups}
    label_of = {group.key: group.label for group in groups}
    words = {key: _words(nodes[key], label_of.get(frame or "", "")) for key, frame in scene.frame_of.items()}
    labels = {g.key: f"– {shortened(g.label, NAME_LIMIT + 10)} ({len(g.members)})" for g in scene.open_groups}
    widths = {key: text_width(label, 12.8) for key, label in labels.items()}
    layout = lay_out(scene, {key: _size(*lines, nodes[key]) for key, lines in words.items()}, widths)
    frames = [_draw_frame(g, labels[g.key], picture, layout.places[g.key]) for g in scene.open_groups]
    lines = zip(scene.lines.items(), layout.curves, strict=True)
    shapes = _shapes(scene, layout)
    parts = [
        *(frame for frame, _ in frames),
        *(_draw_line(*ends, edges, curve) for (ends, edges), curve in lines),
        *(_draw_box(nodes[key], words[key], layout.places[key]) for key in words),
        *(svg.text("gv-size", *shape, 10, DIM, halo=PAPER) for shape in shapes),
        *(label for _, label in frames),
    ]
    width = max([layout.width, *(x + text_width(text, 10) + 4 for text, (x, _) in shapes)])
    about = f"{picture.title}: graph of {counted(len(picture.operators), 'node')}"
    return svg.whole(about, round(width), round(layout.height), svg.tag("g", *parts, class_="gv-world"))


def still(drawn: str, legend: Iterable[Sequence[str]]) -> Cell:
    """The drawing and its legend for a page without a kernel; as text, the legend alone."""
    words = [(css, Cell(html=f"<i></i>{svg.escaped(said)}", text=said)) for css, said in legend]
    said = block(join([tag("span", each, f"gv-chip {css}") for css, each in words], apart(", ")), "gv-legend")
    shown = block(Cell(html=f'<div class="gv-canvas">{drawn}</div>{said.html}', text=said.text), "gv gv-static")
    return styled("graphview", shown)


def legend(picture: Picture) -> list[list[str]]:
    """[class, words] for every colour and every kind of outline in the picture."""
    rows = [[f"c{COLOUR_OF[family]}", family] for family in dict.fromkeys(node.family for node in picture.nodes)]
    rows += [["gv-framed", "frame: one kernel"]] * bool(picture.kernels)
    return rows + [["gv-dashed", f"dashed: {why}"] for why in dict.fromkeys(n.apart for n in picture.nodes) if why]


# --- boxes ----------------------------------------------------------------------------------------------------------


def _folded(group: Group, picture: Picture) -> Node:
    """A folded group as a node, in the family that costs most of those inside."""
    family = min((picture.nodes[number].family for number in group.members), key=COLOUR_OF.__getitem__)
    line = counted(len(group.members), "node")
    return Node(key=group.key, op=f"+ {group.label}", name=f"folded group {group.label}", family=family, line=line)


def _words(node: Node, around: str) -> tuple[str, str]:
    """The two lines in a node's box."""
    line = " · ".join(filter(None, [node.line or short_name(node, around), node.apart]))
    return shortened(node.name if node.is_end else node.op, NAME_LIMIT + 6), shortened(line, NAME_LIMIT + 10)


def _size(head: str, line: str, node: Node) -> Point:
    rows = _rows(node.members)
    widths = text_width(head, 13.9), text_width(line, 11), text_width(node.mark, 11.6), *map(_row_width, rows)
    height = (40.0 if line else 28.0) + CHIP * len(rows) + 5 * bool(rows) + (STRIP if node.mark else 0)
    return round(max(max(widths) + 24, 64.0)), height


def _draw_box(node: Node, words: tuple[str, str], place: Rectangle) -> str:
    number, middle, dashes = COLOUR_OF[node.family], place.x + place.width / 2, "4 3" if node.apart else ""
    colour, strip = COLOURS[number], STRIP if node.mark else 0
    shape = {"class_": "gv-shape", "fill": _tint(colour), "stroke": colour, "stroke_dasharray": dashes}
    about = [node.op, node.name, node.family, node.apart, *node.members, node.mark]
    parts = [svg.title(", ".join(filter(None, about)))]
    if node.key.startswith("g"):
        parts.append(svg.tag("rect", rx=6, **shape | place._asdict() | {"x": place.x + 4, "y": place.y + 4}))
    parts.append(svg.tag("rect", rx=place.height / 2 if node.is_end else 6, **shape | place._asdict()))
    at = place._replace(y=place.y + strip, height=place.height - strip)
    if not node.is_end:  # a bar at the left edge: the family's colour where it is easiest to compare
        bar = f"M{at.x + 6:g},{at.y:g}h-1a5,5 0 0 0 -5,5v{at.height - 10:g}a5,5 0 0 0 5,5h1z"
        parts.append(svg.tag("path", class_="gv-stripe", d=bar, fill=colour))
    parts.append(svg.text("gv-head", words[0], (middle, at.y + (17 if words[1] else 18.5)), 13, INK, 700))
    parts += _draw_members(node.members, middle, at.y + 26)
    if words[1]:
        parts.append(svg.text("gv-line", words[1], (middle, at.y + at.height - 8), 11, DIM))
    if node.mark:
        parts.append(_draw_mark(node.mark, place))
    return svg.tag("g", *parts, class_=f"gv-box c{number}", data_key=node.key, text_anchor="middle")


def _draw_mark(word: str, at: Rectangle) -> str:
    """A frame around the box, and a strip at its top with the word."""
    kind, colour, dashes = MARKS[word]
    paint = {"fill": "none", "stroke": colour, "stroke_width": "2.4", "stroke_dasharray": dashes}
    strip = f"M{at.x:g},{at.y + STRIP:g}v-11a6,6 0 0 1 6,-6h{at.width - 12:g}a6,6 0 0 1 6,6v11z"
    parts = (
        svg.tag("path", class_="gv-flag", d=strip, fill=colour),
        svg.tag("rect", class_="gv-ring", rx=6, **at._asdict(), **paint),
        svg.text("gv-word", word, (at.x + at.width / 2, at.y + 12.5), 11, PAPER, 600),
    )
    return svg.tag("g", *parts, class_=f"gv-marked {kind}")


def _rows(members: Sequence[str]) -> list[list[tuple[str, float]]]:
    """The operators inside a box, a few abreast, each with the width of its chip; many are counted."""
    more = len(members) - MEMBERS
    shown = [*members[: MEMBERS - 1], f"… {more + 1} more"] if more > 0 else members
    chips = [(shortened(word), text_width(shortened(word), 11.6) + 12) for word in shown]
    return [chips[n : n + ABREAST] for n in range(0, len(chips), ABREAST)]


def _row_width(row: Sequence[tuple[str, float]]) -> float:
    return sum(width for _, width in row) + 4 * (len(row) - 1)


def _draw_members(members: Sequence[str], middle: float, top: float) -> list[str]:
    """Each operator inside as a small box in the colour of its own family."""
    parts = []
    for number, row in enumerate(_rows(members)):
        x, y = middle - _row_width(row) / 2, top + CHIP * number
        for word, width in row:
            colour, place = COLOUR_OF[family_of(word)], {"x": round(x, 1), "y": y, "width": round(width, 1)}
            paint = {"fill": PAPER, "stroke": COLOURS[colour]}
            chip = svg.tag("rect", class_="gv-inner", rx=4, height=CHIP - 4, **place, **paint)
            words = svg.text("gv-op", word, (x + width / 2, y + 13), 11, INK)
            parts.append(svg.tag("g", chip, words, class_=f"c{colour}"))
            x += width + 4
    return parts


# --- frames and lines -----------------------------------------------------------------------------------------------


def _draw_frame(group: Group, label: str, picture: Picture, at: Rectangle) -> tuple[str, str]:
    """The frame, and its label, which stands above the lines: it is what a reader clicks to fold the group. Kernels
    have colours of their own."""
    css, ink, paint = "", DIM, {"stroke": LINE, "stroke_dasharray": "2 3"}
    if picture.nodes[min(group.members)].kernel == group.label:
        number = int(group.key[1:]) % len(COLOURS)
        css, ink = f" gv-kernel c{number}", COLOURS[number]
        paint = {"stroke": ink, "stroke_width": "1.6"}
    shape = svg.tag("rect", class_="gv-shape", rx=9, fill=FRAME, fill_opacity=0.6, **at._asdict(), **paint)
    words = svg.text("", label, (at.x + 9, at.y + 15), 12, ink, 600, FRAME)
    room = {"x": at.x + 5, "y": at.y + 2, "width": round(text_width(label, 12.8)) + 8, "height": 17}
    ground = svg.tag("rect", class_="gv-ground", rx=3, fill=FRAME, **room)  # lines pass behind a title
    title = svg.title(f"open group {group.label}: {len(group.members)} inside")
    frame = svg.tag("g", shape, class_=f"gv-frame{css}", data_frame=group.key)
    return frame, svg.tag("g", title, ground, words, class_=f"gv-label{css}", data_key=group.key)


def _draw_line(source: str, target: str, edges: Sequence[Edge], curve: Sequence[Point]) -> str:
    (tx, ty), start, *rest = curve
    x, y = rest[-1]
    length = max(((tx - x) ** 2 + (ty - y) ** 2) ** 0.5, 0.1)
    ux, uy = 3 * (tx - x) / length, 3 * (ty - y) / length
    arrow = f"M{tx:.1f},{ty:.1f}L{x - uy:.1f},{y + ux:.1f}L{x + uy:.1f},{y - ux:.1f}z"
    path = f"M{start[0]:g},{start[1]:g}C{' '.join(f'{x:g},{y:g}' for x, y in rest)}"
    parts = (
        svg.title("; ".join(f"{edge.tensor.name} {edge.tensor.type_text}" for edge in edges)),
        svg.tag("path", d=path, fill="none", stroke=LINE, stroke_width=1.3),
        svg.tag("path", class_="gv-tip", d=arrow, fill=LINE),
    )
    return svg.tag("g", *parts, class_="gv-edge", data_from=source, data_to=target)


def _shapes(scene: Scene, layout: Layout) -> list[tuple[str, Point]]:
    """(text, place) of each tensor's shape, once: below the box that writes it, or on the line where a box writes
    several tensors."""
    found: dict[str, dict[str, tuple[str, Sequence[Point]]]] = {}
    for ((source, _), edges), curve in zip(scene.lines.items(), layout.curves, strict=True):
        for tensor in (edge.tensor for edge in edges if edge.tensor.shape_text):
            found.setdefault(source, {}).setdefault(tensor.name, (shortened(tensor.shape_text, 32), curve[1:]))
    placed = []
    for tensors in found.values():
        for text, points in tensors.values():
            x, y = points[0 if len(tensors) == 1 else len(points) // 2]
            placed.append((text, (x + 6, y + 12)))
    return placed


# --- words ----------------------------------------------------------------------------------------------------------


def short_name(node: Node, around: str = "") -> str:
    """A node's name without its operator and without the group around it: `attention/Reshape_2` -> `attention_2`."""
    name = re.sub(rf"[/.]?{re.escape(node.op)}(_\d+)?$", r"\1", node.name)
    return name.lstrip("/").removeprefix(around).strip("./_")


def shortened(text: str, limit: int = NAME_LIMIT) -> str:
    """One line of at most `limit` characters; the middle is left out, because names differ at their ends."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}…{text[-(limit - limit // 2) :]}"


def _tint(colour: str, share: float = 0.11) -> str:
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)
