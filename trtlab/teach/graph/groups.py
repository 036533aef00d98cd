"""teach/graph/groups: which nodes of a picture belong together, and what is left to draw when some groups are folded.

In: a `Picture`, a BuildReport where there is one, and the keys of the folded groups. Out: `Group`s, nested like
modules, or one for each kernel, and a `Scene` of boxes and the edges between them. tests/teach/test_graph_picture.py:
every edge of the picture survives or lies inside a box.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trtlab.engine.nvidia.report import BuildReport, Kernel
from trtlab.teach.graph.picture import Edge, Node, Picture, module_path

FEW = 12
STRETCH = 40
"""Nodes to a box where a large graph has no names to group by."""
WHY_NO_KERNEL = "No kernel names this node: it became a view of a buffer, was computed at build time, or was removed."


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes drawn in one frame, or as one box when folded. `members` include those of the groups inside it; `depth`
    is the length of its module's path."""

    key: str
    label: str
    members: frozenset[int]
    parent: str | None = None
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn: boxes (keys of nodes and of folded groups) with the open group around each, and what goes from
    one box to another. `box_of` gives for each node the box that shows it."""

    frame_of: Mapping[str, str | None]
    open_groups: tuple[Group, ...]
    lines: Mapping[tuple[str, str], list[Edge]]
    box_of: Mapping[int, str]


def module_groups(picture: Picture, limit: int) -> tuple[Group, ...]:
    """Groups by the modules in the nodes' names. Where folding them leaves more than `limit` boxes, or fewer than FEW:
    by the parts between underscores as well, and at last by stretches of the graph."""
    stretches = [(f"nodes from {n // STRETCH * STRETCH}",) for n in range(len(picture.nodes))]
    for paths in (_paths(picture, "./"), _paths(picture, "./_"), stretches):
        groups = _nested_groups(picture, paths)
        if min(FEW, len(picture.nodes)) <= _boxes(picture, groups, fold_to_fit(picture, groups, limit)) <= limit:
            break
    return groups


def _paths(picture: Picture, separators: str) -> list[tuple[str, ...]]:
    found, home = [], ""
    for node in picture.nodes:
        home = node.home or home
        found.append(module_path(home, separators))
    return found


def _nested_groups(picture: Picture, paths: Sequence[tuple[str, ...]]) -> tuple[Group, ...]:
    """A group for each run of nodes in one module. Files are sorted, so that no path leaves a run and comes back:
    folded, it makes no cycle. A module that is called twice is two runs; one that holds everything is no group."""
    groups: list[Group] = []

    def split(members: Sequence[int], level: int, parent: Group | None) -> None:
        for path, run in itertools.groupby(members, key=lambda number: paths[number][: level + 1]):
            inside, group = tuple(run), parent
            if len(path) <= level:
                continue
            if 1 < len(inside) < len(members):
                key, above = f"g{len(groups)}", parent.key if parent else None
                group = Group(key=key, label=path[-1], members=frozenset(inside), parent=above, depth=level)
                groups.append(group)
            split(inside, level + 1, group)

    split([number for number, node in enumerate(picture.nodes) if not node.is_end], 0, None)
    return tuple(groups)


def kernel_groups(picture: Picture) -> tuple[Group, ...]:
    """One group for each kernel, of the nodes merged into it."""
    members: dict[str, set[int]] = defaultdict(set)
    for number, node in enumerate(picture.nodes):
        if node.kernel:
            members[node.kernel].add(number)
    return tuple(Group(key=f"g{i}", label=k, members=frozenset(n)) for i, (k, n) in enumerate(members.items()))


def with_kernels(picture: Picture, report: Any) -> Picture:
    """The model's picture, each node with the kernel that it was merged into. TypeError for what is no report,
    ValueError when it names no node of this model."""
    if not isinstance(report, BuildReport):
        raise TypeError(f"expected the BuildReport that trtlab.explain returns: got {type(report).__name__}.")
    homes: dict[str, list[tuple[int, Kernel]]] = defaultdict(list)
    for number, kernel in enumerate(report.kernels):
        for name in kernel.onnx_nodes:
            homes[name].append((number, kernel))
    if not any(node.name in homes for node in picture.operators):
        raise ValueError(
            f"the report of {report.model_name!r} names no node of the model {picture.title!r}: "
            "expected the report that trtlab.explain made from this model"
        )
    nodes = tuple(node if node.is_end else _merged(node, homes.get(node.name, [])) for node in picture.nodes)
    return replace(picture, nodes=nodes, foot=report.provenance.line(), kernels=len(report.kernels))


def _merged(node: Node, kernels: list[tuple[int, Kernel]]) -> Node:
    if not kernels:
        return replace(node, facts=(*node.facts, ("kernel", WHY_NO_KERNEL)), apart="in no kernel")
    number, first = kernels[0]
    facts = (("kernel", f"{number}: {kernel.name}") for number, kernel in kernels)
    return replace(node, facts=(*node.facts, *facts), kernel=f"kernel {number} · {_short_name(first)}")


def _short_name(kernel: Kernel) -> str:
    """`__myl_CorrMulAddRelu_myl0_2` -> `CorrMulAddRelu`; a kernel named after one ONNX node -> its type."""
    name = kernel.name.rsplit("_myl", 1)[0]
    return name.removeprefix("__myl_") if name.startswith("__myl_") else kernel.type


def fold_to_fit(picture: Picture, groups: Sequence[Group], limit: int) -> frozenset[str]:
    """Keys to fold so that at most `limit` boxes remain: the innermost groups first, then those around them."""
    folded: frozenset[str] = frozenset()
    for depth in range(max((group.depth for group in groups), default=-1), -1, -1):
        if _boxes(picture, groups, folded) <= limit:
            break
        folded = frozenset(group.key for group in groups if group.depth >= depth)
    return folded


def _boxes(picture: Picture, groups: Sequence[Group], folded: Iterable[str]) -> int:
    return len(scene(picture, groups, folded).frame_of)


def scene(picture: Picture, groups: Sequence[Group], folded: Iterable[str]) -> Scene:
    """The boxes and lines that remain when the groups in `folded` are closed. Outer groups stand before inner ones."""
    closed = set(folded)
    box_of = {number: node.key for number, node in enumerate(picture.nodes)}
    opened = []
    for group in groups:
        if group.parent in closed:
            closed.add(group.key)
        elif group.key in closed:
            box_of.update(dict.fromkeys(group.members, group.key))
        else:
            opened.append(group)
    frame_of: dict[str, str | None] = dict.fromkeys(box_of.values())
    for group in opened:
        frame_of.update({box_of[number]: group.key for number in group.members})
    lines: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in picture.edges:
        ends = box_of[edge.source], box_of[edge.target]
        if ends[0] != ends[1]:
            lines[ends].append(edge)
    return Scene(frame_of=frame_of, open_groups=tuple(opened), lines=lines, box_of=box_of)
