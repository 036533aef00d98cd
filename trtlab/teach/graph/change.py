"""teach/graph/change: a model before and after a rewrite as two drawings in which everything that changed is marked.

In: a model under rules (`Story`). Out: pictures at two moments with a mark on each node that a step took or made, of a
large graph with all groups folded that hold none; their drawings, and what the step saved.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import onnx

from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.ops import NO_KERNEL
from trtlab.graph.rewrite import Counts, Report
from trtlab.graph.rule import Rule
from trtlab.numeric.units import bytes_text, counted
from trtlab.teach.graph.arrange import fold_to_fit, module_groups, scene
from trtlab.teach.graph.draw import draw_graph, legend
from trtlab.teach.graph.picture import Node, Picture, picture_from_onnx

Model = OnnxModel | Callable[[], onnx.ModelProto]
Shown = dict[str, Any]
"""What a page gets."""
WHOLE = 40
"""Operators up to which a graph is drawn whole."""
MOST = 120
"""Boxes up to which groups are opened around a change in a larger graph."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """What became of a model under rules."""

    name: str
    offered: Model
    rules: tuple[Rule, ...]
    result: onnx.ModelProto
    report: Report

    def model(self, number: int) -> onnx.ModelProto:
        """The model after the first `number` steps."""
        return self.result if number == len(self.report.steps) else self.report.model_at(number)

    @property
    def counts(self) -> list[Counts]:
        """At the start, and after each step."""
        return [*(step.before for step in self.report.steps), self.report.counts]

    def ends(self, position: int) -> tuple[int, int]:
        """How many steps were done before and after step number `position`; 0 is the whole way."""
        return (position - 1, position) if position else (0, len(self.report.steps))

    def panels(self, position: int) -> list[Shown]:
        """The drawings of what step number `position` changed; for 0, of the first graph and the last."""
        first, last = self.ends(position)
        before = picture_of_step(self.model(first))
        if first == last:
            return [_panel("Nothing changes", before, self.counts[0])]
        after = picture_of_step(self.model(last))
        heads = f"Before step {position}", f"After step {position}"
        if position:
            drawn = one_step(before, after, self.report.steps[first].where)
        else:
            drawn, heads = whole_way(before, after), ("Start", f"End, after {counted(last, 'step')}")
        ends = zip(heads, drawn, (self.counts[first], self.counts[last]), strict=True)
        near = set[str]() if position else None
        return [_panel(*end, near) for end in ends]


def picture_of_step(model: onnx.ModelProto) -> Picture:
    """The picture of an exported model; what needs no kernel says so."""
    picture = picture_from_onnx(model)
    nodes = (replace(n, apart="no kernel") if n.op in NO_KERNEL and not n.facts else n for n in picture.nodes)
    return replace(picture, nodes=tuple(nodes))


def one_step(before: Picture, after: Picture, where: Collection[str]) -> tuple[Picture, Picture]:
    """Both graphs around one step: what it took is replaced, removed or kept; what it made is new."""
    new = _marked(after, before, where, "new")
    gone = "replaced" if any(node.mark == "new" for node in new.nodes) else "removed"
    return _marked(before, after, where, gone), new


def whole_way(before: Picture, after: Picture) -> tuple[Picture, Picture]:
    """The first graph and the last: what no node of the other stands for is removed, what was not there is new."""
    left = {name for node in after.operators for name in node.stands_for}
    lost = {name for node in before.operators if left.isdisjoint(node.stands_for) for name in node.stands_for}
    return _marked(before, after, lost, "removed"), _marked(after, before, left, "new", kept="")


def _marked(picture: Picture, other: Picture, where: Collection[str], word: str, kept: str = "kept") -> Picture:
    """A mark on each node that stands for one of `where`; what the other picture has too is kept."""
    twins = {replace(node, key="") for node in other.operators}

    def marked(node: Node) -> Node:
        if node.is_end or set(where).isdisjoint(node.stands_for):
            return node
        return replace(node, mark=kept if replace(node, key="") in twins else word)

    return replace(picture, nodes=tuple(map(marked, picture.nodes)))


# --- drawn and counted ------------------------------------------------------------------------------------------------


def _panel(head: str, picture: Picture, counts: Counts, near: set[str] | None = None) -> Shown:
    """One drawing: whole, or folded; and what it leaves out. The groups around what is marked are open, and their names
    join `near`; where nothing is marked, the groups of these names are."""
    hidden, total = counts.nodes - len(picture.operators), counted(counts.nodes, "node")
    notice = f"{counted(hidden, 'node')} of constants alone: not drawn" if hidden else ""
    groups = module_groups(picture, WHOLE) if len(picture.operators) > WHOLE else ()
    folded = fold_to_fit(picture, groups, WHOLE)
    if groups:
        notice = f"too large to draw every node: {counted(len(groups), 'group')}, some folded"
    marked = [group for group in groups if any(picture.nodes[n].mark for n in group.members)]
    opened = [] if near is None else marked or [group for group in groups if group.label in near]
    if near is not None:
        near.update(group.label for group in opened)
    shown = scene(picture, groups, folded - {group.key for group in opened})
    if len(shown.frame_of) > MOST:
        shown = scene(picture, groups, folded)
    caption = f"{total}, {counted(picture.constants - hidden, 'constant')}"
    svg = draw_graph(picture, shown, groups)
    return {"head": head, "caption": caption, "notice": notice, "svg": svg, "legend": legend(picture)}


UNITS: dict[str, Callable[[int], str]] = {
    "Nodes": "{:,}".format,
    "Kernels": "{:,}".format,
    "Memory traffic": bytes_text,
}
"""How each of `Counts` is called and written."""


def counts_of(story: Story, position: int) -> list[Shown]:
    """Nodes, kernels and bytes before and after the step, and how many are gone since the start."""
    rows, ends = [], [story.counts[number] for number in (0, *story.ends(position))]
    for (label, unit), first, before, after in zip(UNITS.items(), *ends, strict=True):
        left = f", {100 * after / first:.0f}% left" if first else ""
        row = {"label": label, "before": unit(before), "after": unit(after)}
        row["step"] = f"{_change(before, after, unit)} in this step" if position else ""
        row["total"] = f"{_change(first, after, unit)} since the start{left}"
        rows.append(row | {"shares": [100 * number / first if first else 100 for number in (before, after)]})
    return rows


def _change(since: int, now: int, unit: Callable[[int], str]) -> str:
    return "±0" if since == now else ("−" if now < since else "+") + unit(abs(now - since))
