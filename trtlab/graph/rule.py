"""graph/rule: what a rewrite rule is, and the few questions and changes all rules share.

A rule has three methods: `pattern` (which nodes around this one?), `check` (why not?), `rewrite` (do it, say what).
In and out: nodes of an onnx_ir graph, changed in place. Checked by graph/oracle, which shares none of this code.
"""

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from trtlab.graph.ops import OPERATORS, Kind, Operator
from trtlab.graph.order import subgraphs

Nodes = Sequence[ir.Node]
Array = npt.NDArray[Any]
STANDARD = {"", "ai.onnx"}
FUSED = "trtlab.fused"
"""The domain of fused nodes (graph/fused)."""
IN_PLACE = "ConcatInPlace"
"""op_type (perhaps with a number behind it) of a Concat whose inputs were written side by side into its output."""


class Rule:
    """A rewrite rule. The docstring of each says what it does: title, one line, before -> after, and the algebra."""

    name: str

    def pattern(self, node: ir.Node) -> Nodes:
        """The group of nodes around this one to rewrite, or empty."""
        raise NotImplementedError

    def check(self, nodes: Nodes) -> str:
        """The reason for leaving the group alone, or empty."""
        raise NotImplementedError

    def rewrite(self, nodes: Nodes) -> str:
        """Rewrites the group and says in one line what changed."""
        raise NotImplementedError


def is_op(node: ir.Node | None, *op_types: str) -> TypeGuard[ir.Node]:
    """Whether it is one of these operators of the ONNX standard."""
    return node is not None and node.domain in STANDARD and node.op_type in op_types


def operator(node: ir.Node | None) -> Operator | None:
    """What the table says of the node; None for what is no operator of the standard, or not in the table."""
    return OPERATORS.get(node.op_type) if node is not None and node.domain in STANDARD else None


def is_kind(node: ir.Node | None, *kinds: Kind) -> TypeGuard[ir.Node]:
    """Whether it is a standard operator of one of these kinds."""
    known = operator(node)
    return known is not None and known.kind in kinds


def opset(node: ir.Node) -> int:
    """The version of the standard operators that the node's graph asks for."""
    imports = node.graph.opset_imports if node.graph is not None else {}
    return next((version for domain, version in imports.items() if domain in STANDARD), 1)


def is_data(node: ir.Node) -> bool:
    """Whether the node only holds data: a Constant computes nothing."""
    return is_kind(node, Kind.DATA)


def constant(value: ir.Value | None) -> Array | None:
    """The value as an array if nobody can change it: an initializer that is no input of the graph, or a Constant."""
    if value is None or value.is_graph_input():
        return None
    maker = value.producer()
    with contextlib.suppress(ValueError):  # a sparse constant
        held = maker.attributes.get("value") if is_op(maker, "Constant") else None
        # get_const_tensor would write a name into the tensor of a node, which is the caller's
        tensor = ir.convenience.get_const_tensor(value) if held is None else held.as_tensor()
        return None if tensor is None else tensor.numpy()
    return None


def source(node: ir.Node, number: int = 0) -> ir.Value:
    """Input `number` of an operator that cannot do without it."""
    return cast(ir.Value, node.inputs[number])


def weight(node: ir.Node, number: int) -> Array:
    """Input `number` of a node whose inputs have been found constant."""
    return cast(Array, constant(node.inputs[number]))


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that a node of a model stands in."""
    return cast(ir.Graph, node.graph)


def one_reader(value: ir.Value) -> str:
    """Why `value` cannot vanish into its reader; empty if exactly one node of this graph reads it."""
    uses = tuple(value.uses())
    readers = {use.node for use in uses[:100]}
    if value.is_graph_output():
        return f"{value.name} is an output of the graph, so it must be written"
    if len(readers) != 1:
        return f"{len(readers)}{' or more' * (len(uses) > 100)} nodes read {value.name}"
    producer = value.producer()
    if producer is not None and readers.pop().graph is not producer.graph:
        return f"{value.name} is read inside a branch or a loop"
    return ""


def same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether both shapes are known and equal: sizes as numbers, symbols by name. An unnamed unknown equals nothing."""
    return a.shape is not None and a.shape == b.shape and not a.shape.has_unknown_dim()


def is_in_place_concat(node: ir.Node) -> bool:
    """Whether the node copies nothing: its inputs are slices of its output (rules/fusion)."""
    return node.domain == FUSED and node.op_type.startswith(IN_PLACE)


def has_place(value: ir.Value) -> str:
    """Why nothing else can stand for `value`; empty if it is no slice of a concatenation's buffer."""
    concat = next((use.node for use in value.uses() if is_in_place_concat(use.node)), None)
    return f"{value.name} has its place in the buffer of {concat.name}" if concat is not None else ""


def fresh_name(graph: ir.Graph, wish: str, among: str = "names") -> str:
    """`wish`, or with a number where something in the graph or inside its nodes has that name; `among` "nodes", where
    another node has it. Numbers go on from the last one of this wish."""
    taken: set[str | None] = graph.meta.setdefault(among, set())
    numbers: dict[tuple[str, str], int] = graph.meta.setdefault("numbers", {})
    count = itertools.count(numbers.get((among, wish), 1))
    number, name = next((n, name) for n in count if (name := wish if n == 1 else f"{wish}_{n}") not in taken)
    taken.add(name)
    numbers[among, wish] = number
    return name


def new_weight(graph: ir.Graph, wish: str, array: Array) -> ir.Value:
    """A new initializer. Weights are never changed in place: another node may read the old one."""
    tensor = ir.tensor(np.array(array, order="C"), name=fresh_name(graph, wish))
    value = ir.Value(
        name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def replace(old: Nodes, new: Nodes, values: Mapping[ir.Value, ir.Value]) -> None:
    """Put `new` where `old` was. Each value of `values` leaves its readers to its successor, and its name too if
    that is new or the graph's outputs need the name. Constants that nobody reads any more go."""
    graph = graph_of(old[-1])
    graph.meta.setdefault("changes", []).append((old, new))
    for before, after in values.items():
        if after.producer() in new or before.is_graph_output():
            after.name, before.name = before.name, None
        if after.shape is None:
            after.shape, after.type = before.shape, before.type
    graph.insert_after(old[-1], new)
    if any(before.is_graph_output() for before in values):
        graph.outputs[:] = [values.get(value, value) for value in graph.outputs]
    uses = defaultdict[ir.Node, dict[int, ir.Value | None]](dict)
    for before, after in values.items():
        for use in before.uses():
            uses[use.node][use.idx] = after
    for reader, read in uses.items():
        _read(reader, read)
    inputs = {value: None for node in old for value in node.inputs if value is not None}
    for node in old:
        _read(node, dict.fromkeys(range(len(node.inputs))))
        node._inputs = ()
    graph.remove(old, safe=True)
    for inside in (inside for node in old for inside in subgraphs(node)):
        for inner in inside.all_nodes():
            inner.resize_inputs(0)  # it reads nothing from outside any more
    for value in inputs:
        drop_if_unused(value, graph)


def _read(node: ir.Node, values: Mapping[int, ir.Value | None]) -> None:
    """From now on the node reads these. onnx_ir copies all inputs for each that changes, one by one in Python: the
    square of their number, 8 s for 10,000."""
    inputs = list(node.inputs)
    for number, value in values.items():
        if (before := inputs[number]) is not None:
            before._remove_usage(node, number)
        if value is not None:
            value._add_usage(node, number)
        inputs[number] = value
    node._inputs = tuple(inputs)


def drop_if_unused(value: ir.Value, graph: ir.Graph) -> None:
    """Remove a constant that nobody reads: it is data, not a layer."""
    maker = value.producer()
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    if value.is_initializer():
        del graph.initializers[str(value.name)]
    elif maker is not None and is_data(maker) and maker.graph is graph:
        graph.remove(maker, safe=True)


def why_not_alias(start: ir.Value, result: ir.Value) -> str:
    """Why `result` cannot simply be `start`: an output of the graph keeps its name, and a node must write it."""
    if not result.is_graph_output():
        return has_place(result)
    maker = start.producer()
    if maker is None or maker.graph is not result.graph or start.is_graph_output():
        return f"{result.name} is an output of the graph, and no other node can write it"
    return has_place(start)
