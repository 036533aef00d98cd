"""graph/load: an ONNX model on its way into the rewriter and out of it.

In: a path, bytes or a ModelProto. Out: an onnx_ir model with shapes and a name for every node; and back, a checked
ModelProto. What is wrong with a model is a ValueError. Checked by tests/graph/test_load.py, one test per error.
"""

from collections.abc import Callable
from typing import TypeVar

import onnx
import onnx_ir as ir
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from trtlab.graph.fused import body, with_shapes
from trtlab.graph.onnxfile import OnnxModel, source_from_model
from trtlab.graph.order import topological_order
from trtlab.graph.rule import FUSED, STANDARD

T = TypeVar("T")
IR_VERSION = 10
"""The first with metadata of nodes, where fused nodes keep the names of what they stand for."""
LARGE_BYTES = 4096
"""Weights above it are left out of what onnx looks at."""
LIMIT_BYTES = 2**31 - 1
"""What one protobuf message can hold."""


def load(model: OnnxModel) -> ir.Model:
    """The model for rewriting: checked, shapes inferred, nodes named uniquely. The original is not changed."""
    proto = read(model)
    _check_readable(proto)
    loaded = _checked(ir.from_proto, proto)
    topological_order(loaded.graph)  # names a cycle, which the checker does not
    for tensor in proto.graph.initializer:
        _checked(onnx.checker.check_tensor, tensor)
    check(proto)
    infer_shapes(loaded, proto)
    _name_nodes(loaded.graph)
    everywhere = ir.traversal.RecursiveGraphIterator(loaded.graph)
    names = {value.name for node in everywhere for value in (*node.inputs, *node.outputs) if value is not None}
    names |= {*loaded.graph.initializers, *(function.name for function in loaded.functions.values())}
    loaded.graph.meta["names"] = names
    if proto.ir_version < 4:  # each initializer had to be listed as an input too; since then that makes it a default
        loaded.graph.inputs[:] = [value for value in loaded.graph.inputs if not value.is_initializer()]
    for node in loaded.graph:
        function = loaded.functions.get(node.op_identifier())
        if node.domain == FUSED and function is not None and not function.attributes:
            node.meta["body"] = with_shapes(function, node)
    return loaded


def export(model: ir.Model) -> onnx.ModelProto:
    """A checked ONNX model: nodes sorted, a function for every kind of fused node, and those that others wrote."""
    graph = model.graph
    order = topological_order(graph)
    graph.remove(order)
    graph.extend(order)
    homes: list[ir.Graph | ir.Function] = [graph, *model.functions.values()]
    inner = (node for home in homes for node in ir.traversal.RecursiveGraphIterator(home))
    foreign = {node.op_identifier() for node in inner if body(node) is None}
    for key in [key for key in model.functions if key[0] == FUSED and key not in foreign]:
        del model.functions[key]
    for node in order:
        if (function := body(node)) is not None:
            model.functions.setdefault(function.identifier(), function)
            graph.opset_imports[FUSED] = 1
    model.ir_version = max(model.ir_version, IR_VERSION)
    proto = ir.to_proto(model)
    check(proto)
    return proto


def check(proto: onnx.ModelProto) -> None:
    """ValueError if onnx's checker, shape inference included, finds a fault. Large weights are not looked at."""
    _checked(lambda: onnx.checker.check_model(_skeleton(proto), full_check=True))


def _checked(check_it: Callable[..., T], *arguments: object) -> T:
    try:
        return check_it(*arguments)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        why = str(error.__cause__ or error).strip().rstrip(".")
        raise ValueError(f"not a valid ONNX model: {why}. Export it again, or mend the node.") from error


def _skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with inputs in place of large weights: onnx copies a model to look at it, half a gigabyte of VGG too."""
    graph, listed = proto.graph, {value.name for value in proto.graph.input}
    large = {tensor.name: tensor for tensor in graph.initializer if tensor.ByteSize() > LARGE_BYTES}
    stand_ins = [onnx.helper.make_tensor_value_info(name, t.data_type, t.dims) for name, t in large.items()]
    bones = onnx.GraphProto(
        name=graph.name,
        node=graph.node,
        input=[*graph.input, *(value for value in stand_ins if value.name not in listed)],
        output=graph.output,
        value_info=graph.value_info,
        initializer=[tensor for tensor in graph.initializer if tensor.name not in large],
        sparse_initializer=graph.sparse_initializer,
    )
    imports, functions = proto.opset_import, proto.functions
    return onnx.ModelProto(ir_version=proto.ir_version, opset_import=imports, functions=functions, graph=bones)


def read(model: OnnxModel) -> onnx.ModelProto:
    """The model with all its weights in memory."""
    if isinstance(model, onnx.ModelProto):
        proto, path = model, None
    else:
        source = source_from_model(model)
        proto, path = source.proto(), source.path
    outside = [tensor for tensor in proto.graph.initializer if uses_external_data(tensor)]
    if outside and path is None:
        raise ValueError(f"{outside[0].name!r} and perhaps other weights stand in another file: pass the model's path.")
    size = proto.ByteSize() + sum(int(e.value) for t in outside for e in t.external_data if e.key == "length")
    if size > LIMIT_BYTES:
        raise ValueError(f"the model has {size:,} bytes with its weights; one ONNX message holds {LIMIT_BYTES:,}")
    if path is not None:
        load_external_data_for_model(proto, str(path.parent))
    return proto


def _check_readable(proto: onnx.ModelProto) -> None:
    """ValueError for opsets this onnx does not know, and for an input that nothing makes."""
    newest, graph = onnx.defs.onnx_opset_version(), proto.graph
    version = max((o.version for o in proto.opset_import if o.domain in STANDARD), default=1)
    if version > newest:
        raise ValueError(
            f"the model asks for opset {version}; onnx {onnx.__version__} knows up to {newest}: update onnx"
        )
    made = {"", *(name for node in graph.node for name in node.output)}
    made |= {value.name for value in (*graph.input, *graph.initializer, *(s.values for s in graph.sparse_initializer))}
    for node in graph.node:
        if missing := [name for name in node.input if name not in made]:
            name = node.name or node.op_type
            raise ValueError(f"node {name!r} reads {missing[0]!r}: no input, weight or node of the graph has that name")


def infer_shapes(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Shapes and types of all values of the main graph that onnx can infer. `model` was made from `proto`."""
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(_skeleton(proto), data_prop=True))
    for node, same in zip(model.graph, inferred.graph, strict=True):
        for value, known in zip(node.outputs, same.outputs, strict=True):
            value.shape, value.type = known.shape, known.type


def _name_nodes(graph: ir.Graph) -> None:
    """ONNX allows nodes without a name, or with one name. A report needs to tell them apart."""
    names: set[str] = set()
    for number, node in enumerate(graph):
        name = wish = node.name or f"{node.op_type}_{number}"
        while name in names:
            name = f"{wish}_{number}" if name == wish else f"{name}_"
        node.name = name
        names.add(name)
