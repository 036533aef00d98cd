"""graph/groups: which nodes of a picture belong together, and what is left to draw when some groups are folded.

In: a `Picture`, and the keys of the folded groups. Out: `Group`s, nested like modules, and a `Scene` of boxes and the
edges between them. tests/graph/test_groups.py checks that every edge of the picture survives or lies inside a box.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trtlab.graph.picture import Edge, Kind, Picture, module_path

FEW = 12
STRETCH = 40
"""Nodes to a box where a large graph has no names to group by."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes drawn in one frame, or as one box when folded. `members` include those of the groups inside it."""

    key: str
    label: str
    members: frozenset[int]
    parent: str | None = None
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """What goes from one box to another: one line, however many tensors."""

    source: str
    target: str
    edges: tuple[Edge, ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn: the boxes (keys of nodes and of folded groups) with the open group around each, and the lines.
    `box_of` gives for each node the box that shows it."""

    boxes: tuple[str, ...]
    frame_of: Mapping[str, str | None]
    open_groups: tuple[Group, ...]
    lines: tuple[Line, ...]
    box_of: Mapping[int, str]


def module_groups(picture: Picture, limit: int) -> tuple[Group, ...]:
    """Groups by the modules in the nodes' names. Where folding them brings the picture not under `limit` boxes, or to
    fewer than FEW: by the parts between underscores as well, and at last by stretches of the graph."""
    for separators in ("./", "./_"):
        groups = _groups_by_path(picture, [module_path(node.home, separators) for node in picture.nodes])
        boxes = _boxes(picture, groups, fold_to_fit(picture, groups, limit))
        if min(FEW, len(picture.nodes)) <= boxes <= limit:
            return groups
    return stretch_groups(picture)


def label_groups(label_of: Iterable[tuple[int, str]]) -> tuple[Group, ...]:
    """One group for each label, in the order of the labels; here a kernel and the nodes merged into it."""
    members: dict[str, set[int]] = defaultdict(set)
    for number, label in label_of:
        members[label].add(number)
    return tuple(
        Group(key=f"g{number}", label=label, members=frozenset(nodes))
        for number, (label, nodes) in enumerate(members.items())
    )


def stretch_groups(picture: Picture) -> tuple[Group, ...]:
    """Groups of STRETCH nodes that follow one another in the file."""
    numbers = [number for number, node in enumerate(picture.nodes) if node.kind is Kind.OPERATOR]
    parts = [numbers[start : start + STRETCH] for start in range(0, len(numbers), STRETCH)]
    first = numbers[0] if numbers else 0
    return tuple(
        Group(key=f"g{i}", label=f"{picture.word}s {p[0] - first}–{p[-1] - first}", members=frozenset(p))
        for i, p in enumerate(parts)
    )


def fold_to_fit(picture: Picture, groups: Sequence[Group], limit: int) -> frozenset[str]:
    """Keys to fold so that at most `limit` boxes remain: the innermost groups first, then those around them."""
    folded: frozenset[str] = frozenset()
    for depth in range(max((group.depth for group in groups), default=-1), -1, -1):
        if _boxes(picture, groups, folded) <= limit:
            break
        folded = frozenset(group.key for group in groups if group.depth >= depth)
    return folded


def scene(picture: Picture, groups: Sequence[Group], folded: Iterable[str]) -> Scene:
    """The boxes and lines that remain when the groups in `folded` are closed."""
    by_key, folded = {group.key: group for group in groups}, set(folded)
    outer_first = sorted(groups, key=lambda group: group.depth)
    closed = [g for g in outer_first if g.key in folded and not any(k in folded for k in _around(g, by_key))]
    box_of = {number: node.key for number, node in enumerate(picture.nodes)}
    box_of.update({number: group.key for group in closed for number in group.members})
    hidden = {group.key for group in groups if any(k in folded for k in [group.key, *_around(group, by_key)])}
    opened = tuple(group for group in outer_first if group.key not in hidden)
    frame_of: dict[str, str | None] = dict.fromkeys(box_of.values())
    for group in opened:
        frame_of.update({box_of[number]: group.key for number in group.members})
    return Scene(
        boxes=tuple(frame_of), frame_of=frame_of, open_groups=opened, lines=_lines(picture, box_of), box_of=box_of
    )


def _around(group: Group, by_key: Mapping[str, Group]) -> Iterator[str]:
    while group.parent is not None:
        yield group.parent
        group = by_key[group.parent]


def _lines(picture: Picture, box_of: Mapping[int, str]) -> tuple[Line, ...]:
    found: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in picture.edges:
        ends = box_of[edge.source], box_of[edge.target]
        if ends[0] != ends[1]:
            found[ends].append(edge)
    return tuple(Line(source=a, target=b, edges=tuple(edges)) for (a, b), edges in found.items())


def _boxes(picture: Picture, groups: Sequence[Group], folded: Iterable[str]) -> int:
    return len(scene(picture, groups, folded).boxes)


# --- modules --------------------------------------------------------------------------------------------------------


def _groups_by_path(picture: Picture, paths: Sequence[tuple[str, ...]]) -> tuple[Group, ...]:
    """Nested groups. A module that is called twice (one ReLU object, used in two places) makes a group for each
    connected part; one whose path leaves it and comes back, or that holds everything, makes none."""
    numbers = frozenset(n for n, node in enumerate(picture.nodes) if node.kind is Kind.OPERATOR)
    neighbours, is_convex = _neighbours(picture), _convexity(picture)
    groups: list[Group] = []

    def split(members: frozenset[int], level: int, parent: Group | None) -> None:
        parts: dict[str, set[int]] = defaultdict(set)
        for number in sorted(members):
            if len(paths[number]) > level:
                parts[paths[number][level]].add(number)
        for label, part in parts.items():
            for piece in _pieces(part, neighbours):
                group = parent
                if 1 < len(piece) < len(members) and is_convex(piece):
                    depth, above = (parent.depth + 1, parent.key) if parent else (0, None)
                    group = Group(key=f"g{len(groups)}", label=label, members=piece, parent=above, depth=depth)
                    groups.append(group)
                split(piece, level + 1, group)

    split(numbers, 0, None)
    return tuple(groups)


def _neighbours(picture: Picture) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for edge in picture.edges:
        found[edge.source].add(edge.target)
        found[edge.target].add(edge.source)
    return found


def _pieces(part: set[int], neighbours: Mapping[int, set[int]]) -> Iterator[frozenset[int]]:
    """The connected parts of `part`, in the order of their first members."""
    left = set(part)
    for start in sorted(part):
        if start not in left:
            continue
        piece, waiting = {start}, [start]
        while waiting:
            new = (neighbours.get(waiting.pop(), set()) & left) - piece
            piece |= new
            waiting.extend(new)
        left -= piece
        yield frozenset(piece)


def _convexity(picture: Picture) -> Callable[[frozenset[int]], bool]:
    """A test of whether no path leaves a set of nodes and comes back: as one box, it would make the graph a cycle."""
    after = _reach(len(picture.nodes), [(edge.source, edge.target) for edge in picture.edges])
    before = _reach(len(picture.nodes), [(edge.target, edge.source) for edge in picture.edges])

    def is_convex(members: frozenset[int]) -> bool:
        own = sum(1 << number for number in members)
        later = earlier = 0
        for number in members:
            later |= after[number]
            earlier |= before[number]
        return not later & earlier & ~own

    return is_convex


def _reach(size: int, arcs: Sequence[tuple[int, int]]) -> list[int]:
    """For each node the set of those it reaches, as the bits of an integer; a few sweeps suffice for sorted graphs."""
    reach = [0] * size
    forward = sorted(arcs, reverse=arcs[:1] == [] or arcs[0][0] < arcs[0][1])
    changed = True
    while changed:
        changed = False
        for source, target in forward:
            wider = reach[source] | reach[target] | 1 << target
            changed |= wider != reach[source]
            reach[source] = wider
    return reach
