"""teach/graph/svg: a scene as SVG: the static picture, and what the widget makes clickable.

In: a `Picture`, its groups, and the `Scene` to show. Out: SVG text that needs no style sheet; graphview.css only
replaces its colours. All text from models passes through `_title`, `_text` and `_tag`, which escape it.
"""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from trtlab.teach.graph.groups import Group, Scene
from trtlab.teach.graph.layout import Layout, Point, Rectangle, lay_out
from trtlab.teach.graph.picture import ENDS, FAMILIES, OTHER, Edge, Node, Picture, family_of

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
INK, DIM, LINE, PAPER, FRAME = "#1f2328", "#59636e", "#8c959f", "#ffffff", "#f6f8fa"
COLOURS = ("#0072b2", "#c2571a", "#a8478c", "#00805c", "#6e7781", "#8a6d00", "#5b4fc4", "#9a3d3d", "#57606a")
"""Told apart by colour-blind readers (after Okabe and Ito, darkened); graphview.css has the same for dark paper."""
_COLOUR_OF = {family: number for number, family in enumerate([*FAMILIES, OTHER, ENDS])}
NAME_LIMIT = 24
MARKS = {"gone": ("#a34d00", "5 3"), "new": ("#1a7f37", ""), "kept": ("#57606a", "2 3")}
"""Colour and dashes of a marked box; the word above it says the same."""
STRIP, CHIP, MEMBERS, ABREAST = 17.0, 22.0, 9, 3


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is special about a box: a `word` above it in the look of `kind` (of MARKS), the operators inside it."""

    kind: str = ""
    word: str = ""
    members: tuple[str, ...] = ()


PLAIN = Mark()


def draw_graph(
    picture: Picture, scene: Scene, groups: Sequence[Group], marks: Mapping[str, Mark] = MappingProxyType({})
) -> str:
    """The whole SVG; `marks` are for boxes by key."""
    nodes = {node.key: node for node in picture.nodes} | {g.key: _folded(g, picture) for g in groups}
    label_of = {group.key: group.label for group in groups}
    words = {key: _words(nodes[key], label_of.get(frame or "", "")) for key, frame in scene.frame_of.items()}
    labels = {g.key: f"– {shortened(g.label, NAME_LIMIT + 10)} ({len(g.members)})" for g in scene.open_groups}
    widths = {key: text_width(label, 12.8) for key, label in labels.items()}
    layout = lay_out(scene, {key: _size(*lines, marks.get(key, PLAIN)) for key, lines in words.items()}, widths)
    frames = [_draw_frame(g, labels[g.key], picture, layout.places[g.key]) for g in scene.open_groups]
    lines = zip(scene.lines.items(), layout.curves, strict=True)
    shapes = _shapes(scene, layout)
    width = round(max([layout.width, *(x + text_width(text, 10) + 4 for text, (x, _) in shapes)]))
    height = round(layout.height)
    parts = [
        *(frame for frame, _ in frames),
        *(_draw_line(*ends, edges, curve) for (ends, edges), curve in lines),
        *(_draw_box(nodes[key], words[key], layout.places[key], marks.get(key, PLAIN)) for key in words),
        *(label for _, label in frames),
        *(_text("gv-size", *shape, 10, DIM, halo=PAPER) for shape in shapes),
    ]
    about = f"{picture.title}: graph of {len(picture.operators)} {picture.word}s"
    whole = {"width": width, "height": height}
    paper = _tag("rect", class_="gv-paper", fill=PAPER, **whole)
    named = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}", "aria_label": about}
    return _tag("svg", paper, _tag("g", *parts, class_="gv-world"), role="img", font_family=FONT, **named, **whole)


def side_by_side(drawings: Mapping[str, str]) -> str:
    """Several SVGs in one, each under its heading."""
    parts, left, bottom = [], 0.0, 0.0
    for heading, svg in drawings.items():
        width, height = map(float, re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0])
        column = max(width, text_width(heading, 13.9) + 20)
        parts.append(_text("gv-head", heading, (left + 10, 20), 13, INK, 700))
        parts.append(svg.replace("<svg ", f'<svg x="{left + (column - width) / 2:g}" y="28" ', 1))
        left, bottom = left + column + 30, max(bottom, height + 28)
    whole = {"width": round(left - 30), "height": round(bottom)}
    paper, box = _tag("rect", class_="gv-paper", fill=PAPER, **whole), f"0 0 {whole['width']} {whole['height']}"
    named = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": box, "aria_label": ", ".join(drawings)}
    return _tag("svg", paper, *parts, role="img", font_family=FONT, **named, **whole)


def colour_number(family: str) -> int:
    """Which of COLOURS: one for each family of operators, or that of the stream's number."""
    return _COLOUR_OF[family] if family in _COLOUR_OF else int(family.removeprefix("stream ")) % 8


def legend(picture: Picture) -> list[list[str]]:
    """[class, words] for every colour and every kind of outline in the picture."""
    rows = [[f"c{colour_number(family)}", family] for family in dict.fromkeys(node.family for node in picture.nodes)]
    rows += [["gv-framed", "frame: one kernel"]] * bool(picture.kernels)
    return rows + [["gv-dashed", f"dashed: {why}"] for why in dict.fromkeys(n.apart for n in picture.nodes) if why]


# --- boxes ----------------------------------------------------------------------------------------------------------


def _folded(group: Group, picture: Picture) -> Node:
    """A folded group as a node, in the family that costs most of those inside."""
    family = min((picture.nodes[number].family for number in group.members), key=colour_number)
    line = counted(len(group.members), picture.word)
    return Node(key=group.key, op=f"+ {group.label}", name=f"folded group {group.label}", family=family, line=line)


def _words(node: Node, around: str) -> tuple[str, str]:
    """The two lines in a node's box."""
    line = " · ".join(filter(None, [node.line or short_name(node, around), node.apart]))
    return shortened(node.name if node.is_end else node.op, NAME_LIMIT + 6), shortened(line, NAME_LIMIT + 10)


def _size(head: str, line: str, mark: Mark) -> Point:
    rows = _rows(mark.members)
    widths = text_width(head, 13.9), text_width(line, 11), text_width(mark.word, 11.6), *map(_row_width, rows)
    height = (40.0 if line else 28.0) + CHIP * len(rows) + 5 * bool(rows) + (STRIP if mark.word else 0)
    return round(max(max(widths) + 24, 64.0)), height


def _draw_box(node: Node, words: tuple[str, str], place: Rectangle, mark: Mark) -> str:
    number, middle, dashes = colour_number(node.family), place.x + place.width / 2, "4 3" if node.apart else ""
    colour, strip = COLOURS[number], STRIP if mark.word else 0
    shape = {"class_": "gv-shape", "fill": _tint(colour), "stroke": colour, "stroke_dasharray": dashes}
    parts = [_title(", ".join(filter(None, [node.op, node.name, node.family, node.apart, *mark.members, mark.word])))]
    if node.key.startswith("g"):
        parts.append(_tag("rect", rx=6, **shape | place._asdict() | {"x": place.x + 4, "y": place.y + 4}))
    parts.append(_tag("rect", rx=place.height / 2 if node.is_end else 6, **shape | place._asdict()))
    at = place._replace(y=place.y + strip, height=place.height - strip)
    if not node.is_end:  # a bar at the left edge: the family's colour where it is easiest to compare
        bar = f"M{at.x + 6:g},{at.y:g}h-1a5,5 0 0 0 -5,5v{at.height - 10:g}a5,5 0 0 0 5,5h1z"
        parts.append(_tag("path", class_="gv-stripe", d=bar, fill=colour))
    parts.append(_text("gv-head", words[0], (middle, at.y + (17 if words[1] else 18.5)), 13, INK, 700))
    parts += _draw_members(mark.members, middle, at.y + 26)
    if words[1]:
        parts.append(_text("gv-line", words[1], (middle, at.y + at.height - 8), 11, DIM))
    parts += _draw_mark(mark, place)
    return _tag("g", *parts, class_=f"gv-box c{number}", data_key=node.key, text_anchor="middle")


def _draw_mark(mark: Mark, at: Rectangle) -> list[str]:
    """A frame around the box, and a strip at its top with the word."""
    if not mark.word:
        return []
    colour, dashes = MARKS[mark.kind]
    paint = {"fill": "none", "stroke": colour, "stroke_width": "2.4", "stroke_dasharray": dashes}
    strip = f"M{at.x:g},{at.y + STRIP:g}v-11a6,6 0 0 1 6,-6h{at.width - 12:g}a6,6 0 0 1 6,6v11z"
    parts = (
        _tag("path", class_="gv-flag", d=strip, fill=colour),
        _tag("rect", class_="gv-ring", rx=6, **at._asdict(), **paint),
        _text("gv-word", mark.word, (at.x + at.width / 2, at.y + 12.5), 11, PAPER, 600),
    )
    return [_tag("g", *parts, class_=f"gv-marked {mark.kind}")]


def _rows(members: Sequence[str]) -> list[Sequence[str]]:
    """The operators inside a box, a few abreast; many are counted."""
    more = len(members) - MEMBERS
    shown = [*members[: MEMBERS - 1], f"… {more + 1} more"] if more > 0 else members
    return [shown[n : n + ABREAST] for n in range(0, len(shown), ABREAST)]


def _chip_width(word: str) -> float:
    return text_width(word, 11.6) + 12


def _row_width(row: Sequence[str]) -> float:
    return sum(map(_chip_width, row)) + 4 * (len(row) - 1)


def _draw_members(members: Sequence[str], middle: float, top: float) -> list[str]:
    """Each operator inside as a small box in the colour of its own family."""
    parts = []
    for number, row in enumerate(_rows(members)):
        x, y = middle - _row_width(row) / 2, top + CHIP * number
        for word in row:
            width, colour = _chip_width(word), colour_number(family_of(word))
            place = {"x": round(x, 1), "y": y, "width": round(width, 1), "height": CHIP - 4}
            paint = {"fill": PAPER, "stroke": COLOURS[colour]}
            words = _text("gv-op", shortened(word), (x + width / 2, y + 13), 11, INK)
            parts.append(_tag("g", _tag("rect", class_="gv-inner", rx=4, **place, **paint), words, class_=f"c{colour}"))
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
    shape = _tag("rect", class_="gv-shape", rx=9, fill=FRAME, fill_opacity=0.6, **at._asdict(), **paint)
    words = _text("", label, (at.x + 9, at.y + 15), 12, ink, 600, FRAME)
    title = _title(f"open group {group.label}: {len(group.members)} inside")
    frame = _tag("g", shape, class_=f"gv-frame{css}", data_frame=group.key)
    return frame, _tag("g", title, words, class_=f"gv-label{css}", data_key=group.key)


def _draw_line(source: str, target: str, edges: Sequence[Edge], curve: Sequence[Point]) -> str:
    (tx, ty), start, *rest = curve
    x, y = rest[-1]
    length = max(((tx - x) ** 2 + (ty - y) ** 2) ** 0.5, 0.1)
    ux, uy = 3 * (tx - x) / length, 3 * (ty - y) / length
    arrow = f"M{tx:.1f},{ty:.1f}L{x - uy:.1f},{y + ux:.1f}L{x + uy:.1f},{y - ux:.1f}z"
    path = f"M{start[0]:g},{start[1]:g}C{' '.join(f'{x:g},{y:g}' for x, y in rest)}"
    dashes = "5 4" if all(edge.is_event for edge in edges) else ""
    parts = (
        _title("; ".join(f"{edge.tensor.name} {edge.tensor.type_text}" for edge in edges)),
        _tag("path", d=path, fill="none", stroke=LINE, stroke_width=1.3, stroke_dasharray=dashes),
        _tag("path", class_="gv-tip", d=arrow, fill=LINE),
    )
    return _tag("g", *parts, class_="gv-edge", data_from=source, data_to=target)


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


# --- text and tags --------------------------------------------------------------------------------------------------


def counted(number: int, word: str) -> str:
    """`1 node`, `17 nodes`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def short_name(node: Node, around: str = "") -> str:
    """A node's name without its operator and without the group around it: `attention/Reshape_2` -> `attention_2`."""
    name = re.sub(rf"[/.]?{re.escape(node.op)}(_\d+)?$", r"\1", node.name)
    return name.lstrip("/").removeprefix(around).strip("./_")


def shortened(text: str, limit: int = NAME_LIMIT) -> str:
    """One line of at most `limit` characters; the middle is left out, because names differ at their ends."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}…{text[-(limit - limit // 2) :]}"


def text_width(text: str, size: float) -> float:
    """About how wide `text` is in pixels, in a sans-serif font of `size`; slightly too wide rather than too narrow."""
    return size * sum(_EMS.get(c, 1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6) for c in text)


_EMS = dict.fromkeys("iljtf.,:;'|!()[] I/", 0.35) | dict.fromkeys("ABCDEGHKNOPQRUVXY×", 0.74)
_EMS |= dict.fromkeys("mwMW@%…", 0.95)


def _escaped(text: str) -> str:
    """Characters that XML forbids even when escaped become spaces."""
    return html.escape(re.sub("[\x00-\x1f\ud800-\udfff\ufffe\uffff]", " ", text))


def _tag(name: str, *inside: str, **attributes: str | float) -> str:
    """An element. `inside` is markup, `attributes` are text or numbers; empty ones are left out."""
    shown = {key.rstrip("_"): f"{v:g}" if isinstance(v, float) else str(v) for key, v in attributes.items()}
    words = (f' {key.replace("_", "-")}="{_escaped(value)}"' for key, value in shown.items() if value)
    return f"<{name}{''.join(words)}>{''.join(inside)}</{name}>"


def _title(words: str) -> str:
    return _tag("title", _escaped(words))


def _text(css: str, words: str, at: Point, size: int, fill: str, weight: int = 400, halo: str = "") -> str:
    """Text; a `halo` in the colour of the paper keeps it readable on lines."""
    paint = {"stroke": halo, "stroke_width": "3.5", "paint_order": "stroke"} if halo else {}
    place = {"x": at[0], "y": at[1], "font_size": size, "font_weight": weight}
    return _tag("text", _escaped(words), class_=css, fill=fill, **place, **paint)


def _tint(colour: str, share: float = 0.11) -> str:
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)
