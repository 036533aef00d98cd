"""graph/fused: several nodes as one node that every runtime can still execute.

A fused node calls a function of the model (domain `trtlab.fused`) whose body is the original operators: a runtime may
inline it, an engine may know its op_type and make one kernel. In and out: onnx_ir nodes. Checked by graph/oracle.
"""

import itertools
from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir

from trtlab.graph.ops import Kind
from trtlab.graph.rule import FUSED, Nodes, fresh_name, graph_of, is_data, is_kind, is_op, replace, source

ORIGINS = "trtlab.nodes"
"""Key of a rewritten node's metadata: the names of the original nodes, one a line."""
MAX_WORDS = 6


def body(node: ir.Node) -> ir.Function | None:
    """What a fused node does inside; None for any other node. Its values carry the shapes of this call."""
    return node.meta.get("body")


def origins(node: ir.Node) -> list[str]:
    """The names of the original nodes that a node stands for; its own if it was never rewritten."""
    return [name for name in node.metadata_props.get(ORIGINS, node.name or "").split("\n") if name]


def standing_for(nodes: Nodes) -> dict[str, str]:
    """Metadata for a node that stands for these."""
    return {ORIGINS: "\n".join(name for node in nodes for name in origins(node))}


def flat(nodes: Iterable[ir.Node]) -> Iterator[ir.Node]:
    """The standard operators in the nodes, fused nodes opened."""
    for node in nodes:
        inside = body(node)
        yield from flat(inside) if inside is not None else [node]


def parts(node: ir.Node) -> tuple[ir.Node | None, list[ir.Node], list[ir.Node]]:
    """What one kernel does, as the rules decided: a convolution or product, None in a pointwise region; its epilogue,
    which works, in this order, on each number while it is in a register; and the rest, which comes behind, as a Split
    does, or is all there is. Constants are data and left out."""
    every = [inner for inner in flat([node]) if not is_data(inner)]
    heavy = every[0] if every and is_kind(every[0], Kind.PRODUCT) else None
    behind = every[heavy is not None :]
    epilogue = itertools.takewhile(lambda n: is_kind(n, Kind.POINTWISE) or is_op(n, "BatchNormalization"), behind)
    run = list(epilogue)
    return heavy, run, behind[len(run) :]


def fuse(nodes: Nodes, title: str = "") -> ir.Node:
    """One node instead of `nodes`, which stand in topological order. What is read outside becomes its outputs."""
    members, inside = set(nodes), {value for node in nodes for value in node.outputs}
    inputs = dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v not in inside)
    outputs = [
        v for n in nodes for v in n.outputs if v.is_graph_output() or any(u.node not in members for u in v.uses())
    ]
    outputs = outputs or list(nodes[-1].outputs)  # nobody reads a dead region; it still is one
    call = _call(nodes, list(inputs), outputs, title)
    replace(nodes, [call], dict(zip(outputs, call.outputs, strict=True)))
    return call


def _call(nodes: Nodes, inputs: list[ir.Value], outputs: list[ir.Value], title: str) -> ir.Node:
    """A call of the function that does what `nodes` do. Equal bodies share one function."""
    graph = graph_of(nodes[-1])
    known = {value: _like(value, f"x{number}") for number, value in enumerate(inputs)}
    parameters = list(known.values())
    copies = list(copied(nodes, known))
    for number, value in enumerate(v for node in copies for v in node.outputs if v.name is None):
        value.name = f"t{number}"
    results = [known[value] for value in outputs]
    imports = {domain: version for domain, version in graph.opset_imports.items() if domain != FUSED}
    inner = ir.Graph(parameters, results, nodes=copies, opset_imports=imports)
    title = title or "_".join(_short([node.op_type for node in copies if not is_data(node)], "{}more"))
    function = ir.Function(FUSED, _function_name(graph, title, inner), graph=inner, attributes=[])
    call = ir.Node(FUSED, function.name, inputs, num_outputs=len(outputs), metadata_props=standing_for(nodes))
    graph.meta.setdefault("nodes", set()).difference_update(node.name for node in nodes)  # they go
    call.name = fresh_name(graph, " + ".join(_short(origins(call), "{} more")), "nodes")
    call.meta["body"] = function
    for new, old in zip(call.outputs, outputs, strict=True):
        new.name, new.shape, new.type = None, old.shape, old.type
    return call


def _like(value: ir.Value, name: str | None = None) -> ir.Value:
    return ir.Value(name="" if value.name == "" else name, shape=value.shape, type=value.type)


def with_shapes(function: ir.Function, call: ir.Node) -> ir.Function:
    """The function of a loaded model with the shapes that it has in this call."""
    known = {p: _like(source(call, number), p.name) for number, p in enumerate(function.inputs)}
    values, nodes = list(known.values()), list(copied(function, known))
    for old, new in known.items():
        new.name = old.name
    results, imports = [known[value] for value in function.outputs], function.opset_imports
    graph = ir.Graph(values, results, nodes=nodes, name="body", opset_imports=imports)
    model = onnx.shape_inference.infer_shapes(ir.to_proto(ir.Model(graph, ir_version=10)), data_prop=True)
    return ir.Function(function.domain, function.name, graph=ir.from_proto(model).graph, attributes=[])


def copied(nodes: Iterable[ir.Node], known: dict[ir.Value, ir.Value]) -> Iterator[ir.Node]:
    """Copies of the nodes, fused ones opened, that read and make the copies of values in `known`."""
    for node in nodes:
        inside = body(node)
        if inside is None:
            known.update({value: _like(value) for value in node.outputs})
            inputs = [None if value is None else known[value] for value in node.inputs]
            outputs = [known[value] for value in node.outputs]
            yield ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), outputs=outputs)
        else:
            within = {p: known[a] for p, a in zip(inside.inputs, node.inputs, strict=True) if a is not None}
            yield from copied(inside, within)
            known.update({value: within[r] for value, r in zip(node.outputs, inside.outputs, strict=True)})


def _short(words: list[str], more: str) -> list[str]:
    """`a b c`, or `a b 125more z` where there are more than MAX_WORDS."""
    return words if len(words) <= MAX_WORDS else [*words[:2], more.format(len(words) - 3), words[-1]]


def _function_name(graph: ir.Graph, title: str, inner: ir.Graph) -> str:
    """`Conv_Relu`, and `Conv_Relu_2` for another body of that title."""
    names: dict[tuple[str, bytes], str] = graph.meta.setdefault("functions", {})
    results = [onnx.ValueInfoProto(name=value.name) for value in inner.outputs]
    code = onnx.GraphProto(node=ir.to_proto(inner).node, output=results)  # without shapes, which differ by call
    key = title, code.SerializeToString(deterministic=True)
    if key not in names:
        names[key] = fresh_name(graph, title)
    return names[key]
