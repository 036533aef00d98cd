"""graph/onnxpicture: an ONNX model as a `Picture`.

In: a path, bytes or a proto. Out: its nodes with attributes, weights and shapes; constants are counted, not drawn.
Shapes come from the file, and from onnx's shape inference where the file has gaps. Nothing is executed.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from trtlab.graph.onnxfile import source_from_model
from trtlab.graph.picture import Dimension, Kind, Node, Picture, Tensor, connected, family_of, keyed, module_path

LARGE_BYTES = 4096
TEXT_LIMIT = 160


def picture_from_onnx(model: "str | os.PathLike[str] | bytes | onnx.ModelProto") -> Picture:
    """The model's main graph. TypeError for another type, ValueError for bytes that are no model or an empty graph."""
    proto, name = load(model)
    graph = proto.graph
    if not graph.node:
        raise ValueError(
            f"the graph of {name!r} has no nodes, so there is nothing to draw: expected at least one operator"
        )
    known = _known_tensors(proto)
    constants = _constants(graph, known)
    inputs = [value.name for value in graph.input if value.name not in constants]
    ends = [Node(op="input", name=n, kind=Kind.INPUT, family="input, output", outputs=(known[n],)) for n in inputs]
    middle = [_node(node, known, constants) for node in graph.node if not _is_constant(node, constants)]
    ends_out = [
        Node(op="output", name=v.name, kind=Kind.OUTPUT, family="input, output", inputs=(known[v.name],))
        for v in graph.output
    ]
    nodes = keyed([*ends, *_at_home(middle), *ends_out])
    return Picture(title=name, nodes=nodes, edges=connected(nodes), constants=len(constants))


def load(model: Any) -> tuple[onnx.ModelProto, str]:
    """(model, name); weights kept in separate files are not read."""
    if hasattr(model, "graph") and hasattr(model, "SerializeToString"):
        return model, model.graph.name or "model"
    source = source_from_model(model)
    data = source.path.read_bytes() if source.path else source.data or b""
    try:
        proto = onnx.load_from_string(data)
    except DecodeError as error:
        raise ValueError(
            f"{source.name!r} ({len(data):,} bytes) is not an ONNX model: {error}. Expected what onnx.save writes."
        ) from error
    return proto, source.name if source.path else proto.graph.name or source.name


# --- tensors --------------------------------------------------------------------------------------------------------


class _Known(dict[str, Tensor]):
    """Tensors by name; one that nobody described has a name and nothing else."""

    def __missing__(self, name: str) -> Tensor:
        return Tensor(name=name)


def _known_tensors(model: onnx.ModelProto) -> _Known:
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    described = {value.name for value in values if _tensor(value).shape is not None}
    if any(name and name not in described for node in graph.node for name in node.output):
        values += _inferred(model)
    known = _Known({value.name: _tensor(value) for value in values})
    known.update({weight.name: _weight(weight) for weight in graph.initializer})
    return known


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What onnx's shape inference says; nothing where it fails, because a picture without shapes is still a picture."""
    try:
        graph = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        return []
    return [*graph.value_info, *graph.output]


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large weights are inputs: inference needs their shapes, not hundreds of megabytes of values."""
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    light.functions.extend(model.functions)
    graph = light.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.input.extend(model.graph.input)
    present = {value.name for value in graph.input}
    for weight in model.graph.initializer:
        if weight.ByteSize() <= LARGE_BYTES:
            graph.initializer.append(weight)
        elif weight.name not in present:
            graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    return light


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.WhichOneof("value")
    if kind not in {"tensor_type", "sparse_tensor_type"}:
        return Tensor(name=value.name, dtype=(kind or "").removesuffix("_type"))
    described = getattr(value.type, kind)
    shape = tuple(map(_dimension, described.shape.dim)) if described.HasField("shape") else None
    return Tensor(name=value.name, shape=shape, dtype=_dtype(described.elem_type))


def _dimension(dim: Any) -> Dimension:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def _weight(tensor: onnx.TensorProto) -> Tensor:
    return Tensor(name=tensor.name, shape=tuple(tensor.dims), dtype=_dtype(tensor.data_type))


def _dtype(number: int) -> str:
    """`float32` for 1; the number itself where this onnx does not know it."""
    names = onnx.TensorProto.DataType
    name = names.Name(number).lower() if number in names.values() else f"type {number}"
    return {"float": "float32", "double": "float64", "undefined": ""}.get(name, name)


# --- nodes ----------------------------------------------------------------------------------------------------------


def _constants(graph: onnx.GraphProto, known: _Known) -> dict[str, Tensor]:
    """Initializers and what constant nodes write, by name."""
    names = dict.fromkeys(weight.name for weight in graph.initializer)
    found = {name: known[name] for name in names}
    for sparse in graph.sparse_initializer:
        found[sparse.values.name] = Tensor(name=sparse.values.name, shape=tuple(sparse.dims))
    for node in graph.node:
        if _is_constant(node, found):
            found.update({name: known[name] for name in node.output})
    return found


def _is_constant(node: onnx.NodeProto, constants: dict[str, Tensor]) -> bool:
    """A Constant, or a ConstantOfShape whose shape is known: data in the file's own words."""
    return node.op_type == "Constant" or (
        node.op_type == "ConstantOfShape" and all(name in constants for name in node.input)
    )


def _node(node: onnx.NodeProto, known: _Known, constants: dict[str, Tensor]) -> Node:
    inputs = list(dict.fromkeys(name for name in [*node.input, *_captured(node)] if name))
    first = next(filter(None, node.output), "")
    facts = [("domain", node.domain)] if node.domain else []
    facts += [("overload", node.overload)] if getattr(node, "overload", "") else []
    return Node(
        op=node.op_type,
        name=node.name or first,
        family=family_of(node.op_type),
        attributes=tuple(sorted((a.name, attribute_text(a)) for a in node.attribute)),
        inputs=tuple(known[name] for name in inputs if name not in constants),
        weights=tuple(constants[name] for name in inputs if name in constants),
        outputs=tuple(known[name] for name in node.output if name),
        facts=tuple(facts),
    )


def _at_home(nodes: list[Node]) -> list[Node]:
    """The nodes with their `home`: their names, or what they write, or their weights, whichever has modules in it.

    By weights, a node that has none (a ReLU) lives where the node lives whose output it reads last.
    """
    for homes in ([node.name for node in nodes], [tensors[0].name if (tensors := n.outputs) else "" for n in nodes]):
        if 3 * sum(bool(module_path(home)) for home in homes) > len(homes):
            return [replace(node, home=home) for node, home in zip(nodes, homes, strict=True)]
    home_of: dict[str, str] = {}
    placed = []
    for node in nodes:
        near = [home_of[tensor.name] for tensor in node.inputs if tensor.name in home_of]
        home = node.weights[0].name if node.weights else near[-1] if near else ""
        home_of.update({tensor.name: home for tensor in node.outputs})
        placed.append(replace(node, home=home))
    return placed


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the graphs inside a node (If, Loop, Scan) read from outside."""
    for graph in _graphs(node):
        own = {value.name for value in [*graph.input, *graph.initializer]}
        own |= {name for inner in graph.node for name in inner.output}
        read = [name for inner in graph.node for name in [*inner.input, *_captured(inner)]]
        yield from (name for name in [*read, *(v.name for v in graph.output)] if name not in own)


def attribute_text(attribute: onnx.AttributeProto) -> str:
    """An attribute's value in one short line: `[3, 3]`, `same_upper`, `graph of 4 nodes`, `int64 3 [1, 64, -1]`."""
    value: Any = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.GraphProto):
        text = f"graph of {len(value.node)} nodes"
    elif isinstance(value, onnx.TensorProto):
        text = _weight(value).type_text
    elif isinstance(value, bytes):
        text = value.decode(errors="replace")
    elif isinstance(value, (list, tuple)) and value and isinstance(value[0], bytes):
        text = ", ".join(part.decode(errors="replace") for part in value)
    elif isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, (int, str)):
        text = str(value)
    elif hasattr(value, "__iter__") and all(isinstance(part, (int, float)) for part in value):
        text = "[" + ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value) + "]"
    else:
        text = f"{type(value).__name__}"
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
