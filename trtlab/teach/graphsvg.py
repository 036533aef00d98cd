"""teach/graphsvg: a scene and its layout as SVG: the static picture, and what the widget makes clickable.

In: a `Picture` and the `Scene` to show of it. Out: SVG text that needs no style sheet; graphview.css only replaces its
colours. All text from models is escaped here; keys and classes are our own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trtlab.graph.groups import Group, Line, Scene
from trtlab.graph.picture import Family, Kind, Node, Picture
from trtlab.teach.graphlabel import NAME_LIMIT, short_name, shortened, text_width, xml_text
from trtlab.teach.layout import Curve, Frame, Layout, Rectangle, lay_out

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
INK, DIM, LINE, PAPER, FRAME = "#1f2328", "#59636e", "#8c959f", "#ffffff", "#f6f8fa"
COLOURS = ("#0072b2", "#c2571a", "#a8478c", "#00805c", "#6e7781", "#8a6d00", "#5b4fc4", "#9a3d3d", "#57606a")
"""Told apart by colour-blind readers (after Okabe and Ito, darkened); graphview.css has the same for dark paper."""
_FIXED = {family.value: number for number, family in enumerate(Family)}
_FIXED |= {"input, output": 8, "added by the compiler": 7}


@dataclass(frozen=True, kw_only=True)
class _Face:
    """What a box shows: two lines of text, and where it comes from."""

    key: str
    head: str
    line: str
    title: str
    css: str
    colour: str
    family: str

    @property
    def size(self) -> tuple[float, float]:
        width = max(text_width(self.head, 13, bold=True), text_width(self.line, 11)) + 24
        return round(max(width, 64.0)), 40.0 if self.line else 28.0


def draw_graph(
    picture: Picture,
    scene: Scene,
    groups: Sequence[Group],
    *,
    kernels: bool = False,
    rightwards: bool = False,
) -> str:
    """The whole SVG. `kernels` gives every frame a colour of its own, for groups that are kernels."""
    colour_of = colour_numbers(picture)
    faces = _faces(picture, scene, groups, colour_of)
    frames = [
        Frame(key=g.key, parent=g.parent, label_width=text_width(_frame_text(g), 12, bold=True))
        for g in scene.open_groups
    ]
    layout = lay_out(
        {face.key: face.size for face in faces},
        [(line.source, line.target) for line in scene.lines],
        frames,
        scene.frame_of,
        rightwards=rightwards,
    )
    parts = [_draw_frame(g, layout.frames[g.key], kernels) for g in scene.open_groups if g.key in layout.frames]
    parts += [_draw_line(line, curve) for line, curve in zip(scene.lines, layout.curves, strict=True)]
    parts += [_draw_box(face, layout.boxes[face.key]) for face in faces]
    parts += [_draw_label(g, layout.frames[g.key], kernels) for g in scene.open_groups if g.key in layout.frames]
    shapes = _shapes(scene.lines, layout)
    right = max([layout.width, *(x + text_width(text, 10) + 4 for x, _, text in shapes)])
    return _document(picture, right, layout.height, [*parts, *map(_draw_shape, shapes)])


def colour_numbers(picture: Picture) -> dict[str, int]:
    """The colour of each family that occurs: fixed for operators, in order of appearance for streams."""
    present = dict.fromkeys(node.family for node in picture.nodes)
    others = iter(range(len(present)))
    return {family: _FIXED[family] if family in _FIXED else next(others) % 8 for family in present}


def legend(picture: Picture) -> list[list[str]]:
    """[class, words] for every colour and every kind of outline in the picture."""
    rows = [[f"c{number}", family] for family, number in colour_numbers(picture).items()]
    if picture.merged:
        rows.append(["gv-framed", "frame: one kernel"])
    if any(node.unused for node in picture.nodes):
        rows.append(["gv-dashed", "dashed: in no kernel"])
    return rows


def _document(picture: Picture, right: float, bottom: float, parts: Iterable[str]) -> str:
    width, height = round(right), round(bottom)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{FONT}" role="img" aria-label="{xml_text(picture.title)}: graph of '
        f'{len(picture.operators)} {picture.word}s">'
        f'<rect class="gv-paper" width="{width}" height="{height}" fill="{PAPER}"/>'
        f'<g class="gv-world">{"".join(parts)}</g></svg>'
    )


# --- boxes ----------------------------------------------------------------------------------------------------------


def _faces(picture: Picture, scene: Scene, groups: Sequence[Group], colour_of: Mapping[str, int]) -> list[_Face]:
    nodes = {node.key: node for node in picture.nodes}
    by_key = {group.key: group for group in groups}
    label_of = {group.key: group.label for group in groups}
    return [
        _node_face(nodes[box], colour_of, label_of.get(scene.frame_of[box] or "", ""))
        if box in nodes
        else _group_face(by_key[box], picture, colour_of)
        for box in scene.boxes
    ]


def _node_face(node: Node, colour_of: Mapping[str, int], around: str) -> _Face:
    number = colour_of[node.family]
    head, line = node.op, short_name(node, around)
    if node.kind in {Kind.INPUT, Kind.OUTPUT}:
        head, line = node.name, f"{node.op} {(node.outputs or node.inputs)[0].shape_text}"
    line = node.line or " · ".join(filter(None, [line, node.unused]))
    css = f"gv-box c{number} {node.kind.value}{' gv-unused' if node.unused else ''}"
    title = ", ".join([node.op, node.name, node.family, *(f"{a} {b}" for a, b in node.facts[:2])])
    return _Face(
        key=node.key,
        head=shortened(head),
        line=shortened(line, NAME_LIMIT + 10),
        title=title,
        css=css,
        colour=COLOURS[number],
        family=node.family,
    )


def _group_face(group: Group, picture: Picture, colour_of: Mapping[str, int]) -> _Face:
    ops: dict[str, int] = {}
    families: dict[str, int] = {}
    for number in group.members:
        node = picture.nodes[number]
        ops[node.op] = ops.get(node.op, 0) + 1
        families[node.family] = families.get(node.family, 0) + 1
    family = Family.COMPUTE.value if Family.COMPUTE.value in families else max(families, key=lambda f: families[f])
    count = f"{len(group.members)} {picture.word}s" if len(group.members) != 1 else f"1 {picture.word}"
    most = ", ".join(f"{n} {op}" for op, n in sorted(ops.items(), key=lambda pair: -pair[1])[:4])
    return _Face(
        key=group.key,
        head=f"+ {shortened(group.label, NAME_LIMIT + 6)}",
        line=count,
        title=f"folded group {group.label}: {count}: {most}",
        css=f"gv-box gv-folded c{colour_of[family]}",
        colour=COLOURS[colour_of[family]],
        family=family,
    )


def _draw_box(face: _Face, at: Rectangle) -> str:
    x, y, width, height = (f"{value:g}" for value in (at.x, at.y, at.width, at.height))
    is_end, is_folded = " input" in face.css or " output" in face.css, "gv-folded" in face.css
    round_ = f"{at.height / 2:g}" if is_end else "6"
    dashes = ' stroke-dasharray="4 3"' if "gv-unused" in face.css or " added" in face.css else ""
    fill = f'fill="{_tint(face.colour)}" stroke="{face.colour}"'
    behind = (
        f'<rect class="gv-shape" x="{at.x + 4:g}" y="{at.y + 4:g}" width="{width}" height="{height}" rx="6" {fill}/>'
        if is_folded
        else ""
    )
    stripe = "" if is_end else _stripe(at, face.colour)
    middle, head_y = f"{at.x + at.width / 2:g}", at.y + (17 if face.line else 18.5)
    lines = f'<text class="gv-head" x="{middle}" y="{head_y:g}" font-size="13" font-weight="700" fill="{INK}">'
    lines += f"{xml_text(face.head)}</text>"
    if face.line:
        lines += f'<text class="gv-line" x="{middle}" y="{at.y + 32:g}" font-size="11" fill="{DIM}">'
        lines += f"{xml_text(face.line)}</text>"
    return (
        f'<g class="{face.css}" data-key="{face.key}" text-anchor="middle">'
        f"<title>{xml_text(face.title)}</title>{behind}"
        f'<rect class="gv-shape" x="{x}" y="{y}" width="{width}" height="{height}" rx="{round_}" {fill}{dashes}/>'
        f"{stripe}{lines}</g>"
    )


def _stripe(at: Rectangle, colour: str) -> str:
    """A bar at the left edge: the family's colour where it is easiest to compare."""
    x, y, bottom = at.x, at.y, at.y + at.height
    path = f"M{x + 6:g},{y:g}h-1a5,5 0 0 0 -5,5V{bottom - 5:g}a5,5 0 0 0 5,5h1z"
    return f'<path class="gv-stripe" d="{path}" fill="{colour}"/>'


# --- frames and lines -----------------------------------------------------------------------------------------------


def _frame_text(group: Group) -> str:
    return f"– {shortened(group.label, NAME_LIMIT + 10)} ({len(group.members)})"


def _draw_frame(group: Group, at: Rectangle, kernels: bool) -> str:
    number = int(group.key[1:]) % len(COLOURS)
    css = f"gv-frame gv-kernel c{number}" if kernels else f"gv-frame d{group.depth % 3}"
    stroke = f'stroke="{COLOURS[number]}" stroke-width="1.6"' if kernels else f'stroke="{LINE}" stroke-dasharray="2 3"'
    return (
        f'<g class="{css}" data-frame="{group.key}"><title>{xml_text(group.label)}: {len(group.members)} inside</title>'
        f'<rect class="gv-shape" x="{at.x:g}" y="{at.y:g}" width="{at.width:g}" height="{at.height:g}" rx="9" '
        f'fill="{FRAME}" fill-opacity="0.6" {stroke}/></g>'
    )


def _draw_label(group: Group, at: Rectangle, kernels: bool) -> str:
    """The frame's label, above the lines: it is what a reader clicks to fold the group."""
    number = int(group.key[1:]) % len(COLOURS)
    css, ink = (f"gv-label gv-kernel c{number}", COLOURS[number]) if kernels else ("gv-label", DIM)
    return (
        f'<g class="{css}" data-key="{group.key}"><title>open group {xml_text(group.label)}: '
        f"{len(group.members)} inside</title>"
        f'<text x="{at.x + 9:g}" y="{at.y + 15:g}" font-size="12" font-weight="600" fill="{ink}" stroke="{FRAME}" '
        f'stroke-width="4" paint-order="stroke">{xml_text(_frame_text(group))}</text></g>'
    )


def _draw_line(line: Line, curve: Curve) -> str:
    start, *rest = curve.points
    pairs = [f"{x:g},{y:g}" for x, y in rest]
    dashes = ' stroke-dasharray="5 4"' if all(edge.note for edge in line.edges) else ""
    said = "; ".join(dict.fromkeys(_edge_text(edge.tensor, edge.note) for edge in line.edges))
    return (
        f'<g class="gv-edge" data-from="{line.source}" data-to="{line.target}"><title>{xml_text(said)}</title>'
        f'<path d="M{start[0]:g},{start[1]:g}C{" ".join(pairs)}" fill="none" stroke="{LINE}" stroke-width="1.3"'
        f"{dashes}/>"
        f'<path class="gv-tip" d="{_tip(curve)}" fill="{LINE}"/></g>'
    )


def _edge_text(tensor: object, note: str) -> str:
    name, kind = getattr(tensor, "name", ""), getattr(tensor, "type_text", "")
    return " ".join(filter(None, [note, name, kind]))


def _tip(curve: Curve) -> str:
    (x, y), (tx, ty) = curve.points[-1], curve.tip
    dx, dy = tx - x, ty - y
    length = max((dx * dx + dy * dy) ** 0.5, 0.1)
    ux, uy = dx / length, dy / length
    return f"M{tx:.1f},{ty:.1f}L{x - 3 * uy:.1f},{y + 3 * ux:.1f}L{x + 3 * uy:.1f},{y - 3 * ux:.1f}z"


def _shapes(lines: Sequence[Line], layout: Layout) -> list[tuple[float, float, str]]:
    """(x, y, text) of each tensor's shape, once: below the box that writes it, or on the line where a box writes
    several tensors."""
    found: dict[str, dict[str, tuple[str, Curve]]] = {}
    for line, curve in zip(lines, layout.curves, strict=True):
        for edge in line.edges:
            if edge.tensor and edge.tensor.shape_text:
                found.setdefault(line.source, {}).setdefault(edge.tensor.name, (edge.tensor.shape_text, curve))
    placed = []
    for tensors in found.values():
        for text, curve in tensors.values():
            x, y = curve.points[0] if len(tensors) == 1 else curve.points[len(curve.points) // 2]
            placed.append((x + 6, y + 12, shortened(text, 32)))
    return placed


def _draw_shape(shape: tuple[float, float, str]) -> str:
    x, y, text = shape
    return (
        f'<text class="gv-size" x="{x:g}" y="{y:g}" font-size="10" fill="{DIM}" stroke="{PAPER}" stroke-width="3" '
        f'paint-order="stroke">{xml_text(text)}</text>'
    )


def _tint(colour: str, share: float = 0.11) -> str:
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)
