"""teach/graphtext: what a graph view says in words: its summary, the details of a selection, its form without a kernel.

In: pictures, nodes and groups. Out: plain text, rows for the details panel, and the static `Drawing`. The panel's rows
are data; the page writes them as text.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trtlab.graph.groups import Group, Scene
from trtlab.graph.picture import Kind, Node, Picture, Tensor
from trtlab.teach.drawing import Drawing, card, escape, text_table

TEXT_ROWS = 60


@dataclass(frozen=True, kw_only=True)
class GraphDrawing(Drawing):
    """A drawing that is also an image, for pages that remove SVG from HTML."""

    svg: str

    def _repr_mimebundle_(self, **what_ipython_asks: Any) -> dict[str, str]:
        return super()._repr_mimebundle_(**what_ipython_asks) | {"image/svg+xml": self.svg}


def counted(number: int, word: str) -> str:
    """`1 node`, `17 nodes`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def summary(picture: Picture) -> str:
    """`digits: 17 nodes, 24 constants`; with kernels, also how many nodes ended in none."""
    words = [counted(len(picture.operators), picture.word), counted(picture.constants, "constant")]
    if picture.merged:
        words.append(f"in {counted(len({label for _, label in picture.merged}), 'kernel')}")
        words.append(f"{sum(bool(node.unused) for node in picture.nodes)} in no kernel")
    if added := sum(node.kind is Kind.ADDED for node in picture.nodes):
        words.append(f"{counted(added, 'kernel')} added by the compiler")
    return f"{picture.title}: {', '.join(words)}"


def notice(picture: Picture, shown: Scene, groups: Sequence[Group], folded: frozenset[str]) -> str:
    """What is hidden and how to see it; nothing where everything is shown."""
    closed = [group for group in groups if group.key in folded and group.key in shown.boxes]
    if not closed:
        return ""
    inside = sum(len(group.members) for group in closed)
    what = "1 group is" if len(closed) == 1 else f"{len(closed)} groups are"
    return f"{what} folded ({inside} of {counted(len(picture.nodes), 'node')} inside): double-click one to open it."


# --- the details panel ----------------------------------------------------------------------------------------------


def describe_picture(picture: Picture) -> dict[str, Any]:
    """Shown while nothing is selected: how often each operator occurs."""
    ops = Counter(node.op for node in picture.operators)
    rows = [[op, str(number)] for op, number in ops.most_common(14)]
    if len(ops) > len(rows):
        rows.append([f"{len(ops) - len(rows)} more", str(ops.total() - sum(int(number) for _, number in rows))])
    return {
        "title": picture.title,
        "kind": f"{counted(len(picture.operators), picture.word)}, {counted(picture.constants, 'constant')}",
        "sections": [{"head": f"{picture.word}s by type", "rows": rows}],
    }


def describe_node(node: Node, kernels: Sequence[Group] = ()) -> dict[str, Any]:
    """Operator, name, attributes, tensors, and for a node inside a kernel what else is in it."""
    mates = next((g for g in kernels if node.key.startswith("n") and int(node.key[1:]) in g.members), None)
    facts = [list(fact) for fact in node.facts]
    if mates and len(mates.members) > 1:
        facts.append(["merged with", counted(len(mates.members) - 1, "other node")])
    sections = [
        ("", [["name", node.name or "(none)"], ["family", node.family], *facts]),
        ("attributes", [list(pair) for pair in node.attributes]),
        ("inputs", _rows(node.inputs)),
        ("weights and constants", _rows(node.weights)),
        ("outputs", _rows(node.outputs)),
    ]
    return {"title": node.op, "kind": node.kind.value, "sections": _sections(sections)}


def describe_group(group: Group, picture: Picture, is_folded: bool) -> dict[str, Any]:
    """What a group holds: its operators, its weights, and what it is called."""
    nodes = [picture.nodes[number] for number in sorted(group.members)]
    ops = [[op, str(number)] for op, number in Counter(node.op for node in nodes).most_common()]
    members = [[node.op, node.name] for node in nodes[:40]]
    if len(nodes) > 40:
        members.append(["…", f"{len(nodes) - 40} more"])
    return {
        "title": group.label,
        "kind": f"group of {counted(len(nodes), picture.word)}",
        "fold": group.key,
        "folded": is_folded,
        "sections": _sections([("operators", ops), ("members", members)]),
    }


def _rows(tensors: Iterable[Tensor]) -> list[list[str]]:
    return [[tensor.name, tensor.type_text] for tensor in tensors]


def _sections(parts: Iterable[tuple[str, list[list[str]]]]) -> list[dict[str, Any]]:
    return [{"head": head, "rows": rows} for head, rows in parts if rows]


def searchable(node: Node) -> str:
    """The text that a search looks into."""
    kernels = (text for label, text in node.facts if label in {"kernel", "ONNX node"})
    return "\n".join([node.op, node.name, *kernels]).casefold()


# --- without a kernel -----------------------------------------------------------------------------------------------


def static_drawing(picture: Picture, svg: str, legend: Sequence[Sequence[str]], said: str, css: str) -> GraphDrawing:
    """The picture at rest: the SVG, a legend in words, and the nodes as a table of text."""
    chips = "".join(f'<span class="gv-chip {escape(c)}"><i></i>{escape(family)}</span>' for c, family in legend)
    body = f'<div class="gv gv-static"><div class="gv-canvas">{svg}</div><div class="gv-legend">{chips}</div></div>'
    told = f'<div class="dim">{escape(said)}</div>' if said else ""
    head = f"<b>{escape(summary(picture))}</b>"
    markup = f"<style>{css}</style>{card(head, body + told, foot=escape(picture.foot))}"
    return GraphDrawing(markup=markup, text=as_text(picture), svg=svg)


def as_text(picture: Picture) -> str:
    """The summary and the first TEXT_ROWS nodes, for terminals and screen readers."""
    rows = [(n.op, n.name, _types(n.inputs), _types(n.outputs)) for n in picture.operators[:TEXT_ROWS]]
    more = len(picture.operators) - len(rows)
    table = text_table((picture.word, "name", "reads", "writes"), rows)
    return f"{summary(picture)}\n{table}" + (f"\n... and {more} more" if more else "")


def _types(tensors: Iterable[Tensor]) -> str:
    return ", ".join(tensor.type_text for tensor in tensors)
