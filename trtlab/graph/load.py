"""graph/load: an ONNX model on its way into the rewriter and out of it.

In: a path, bytes or a ModelProto. Out: an onnx_ir model with shapes and a name for every node; and back, a checked
ModelProto. What is wrong with a model is a ValueError. Checked by tests/graph/test_load.py, one test per error.
"""

from collections.abc import Callable
from typing import TypeVar

import onnx
import onnx_ir as ir

from trtlab.graph.fused import body, with_shapes
from trtlab.graph.onnxfile import OnnxModel, every_graph, load_outside, outside, source_from_model
from trtlab.graph.order import topological_order
from trtlab.graph.rule import FUSED, STANDARD, fresh_name

T = TypeVar("T")
IR_VERSION = 10
"""The first with metadata of nodes, where fused nodes keep the names of what they stand for."""
LARGE_BYTES = 4096
"""Weights above it are left out of what onnx looks at."""
LIMIT_BYTES = 2**31 - 1
"""What one protobuf message can hold."""
POOLS = "trtlab.pools"
"""The domain of pools that round up, while shapes are inferred."""
_NEWEST_POOL = onnx.helper.make_opsetid("", 22)


def load(model: OnnxModel) -> ir.Model:
    """The model for rewriting: checked, shapes inferred, nodes named uniquely. The original is not changed."""
    proto = read(model)
    _check_readable(proto)
    if _long_names(proto) or len(every_graph(proto)) > 1 + len(proto.functions):
        proto = onnx.ModelProto.FromString(proto.SerializeToString())  # onnx_ir writes names into tensors inside nodes
        for named in _long_names(proto):
            named.domain = ""
    loaded = _checked(ir.from_proto, proto)
    graph = loaded.graph
    topological_order(graph)  # names a cycle, which the checker does not
    for tensor in proto.graph.initializer:
        _checked(onnx.checker.check_tensor, tensor)
    if _rename_inner(loaded):
        proto = ir.to_proto(loaded)
    check(proto)
    graph.meta["declared"] = list(proto.graph.output)
    infer_shapes(loaded, proto)
    _name_nodes(graph)
    if proto.ir_version < 4:  # each initializer had to be listed as an input too; since then that makes it a default
        graph.inputs[:] = [value for value in graph.inputs if not value.is_initializer()]
    for node in graph:
        function = loaded.functions.get(node.op_identifier())
        if node.domain == FUSED and function is not None and not function.attributes:
            node.meta["body"] = with_shapes(function, node)
    return loaded


def _long_names(proto: onnx.ModelProto) -> list[onnx.NodeProto | onnx.OperatorSetIdProto]:
    """What calls the standard's domain `ai.onnx`: valid, but half of onnx knows the empty name alone."""
    imports = (each for holder in (proto, *proto.functions) for each in holder.opset_import)
    return [x for x in (*imports, *(n for g in every_graph(proto) for n in g.node)) if x.domain == "ai.onnx"]


def _rename_inner(model: ir.Model) -> bool:
    """One value a name, whether or not that changes anything: a rule may hand the name of an outer value to what the
    graph inside a node reads from outside, and the inner graph must not own it."""
    main, inner = model.graph, list(model.graph.subgraphs())
    seen, again = set[str | None](), list[ir.Value]()
    for graph in (main, *inner):
        owned = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
        again += [value for value in dict.fromkeys(owned) if value.name and value.name in seen]
        seen |= {value.name for value in owned}
    main.meta["names"] = seen | {function.name for function in model.functions.values()}
    for value in again:
        value.name = fresh_name(main, str(value.name))
    return bool(again)


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
    for function in filter(None, map(body, order)):
        model.functions.setdefault(function.identifier(), function)
        graph.opset_imports[FUSED] = 1
    model.ir_version = max(model.ir_version, IR_VERSION)
    proto = ir.to_proto(model)
    if _pools_that_round_up(proto.graph):  # a runtime may infer other sizes, and refuse to find ours
        del proto.graph.value_info[:]
    declared = {value.name: value for value in graph.meta.get("declared", ())}
    for value, end in zip(graph.outputs, proto.graph.output, strict=True):
        if value.shape is None and end.name in declared:  # nothing better is known
            end.CopyFrom(declared[end.name])
    check(proto)
    return proto


def check(proto: onnx.ModelProto) -> None:
    """ValueError if onnx's checker, or its inference of types and shapes from the inputs, finds a fault. Large weights
    are not looked at."""
    bones = _skeleton(proto)
    facts = _without_hints(bones)
    for value in (*bones.graph.input, *bones.graph.output):  # the checker wants a type and shape, ONNX Runtime does not
        if value.type.WhichOneof("value") in {None, "tensor_type"}:
            tensor = value.type.tensor_type
            tensor.elem_type = tensor.elem_type or onnx.TensorProto.FLOAT
            tensor.shape.SetInParent()
    _checked(onnx.checker.check_model, bones)
    _checked(lambda: onnx.shape_inference.infer_shapes(facts, check_type=True, strict_mode=True))


def _checked(check_it: Callable[..., T], *arguments: object) -> T:
    try:
        return check_it(*arguments)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        why = " ".join(str(cause).split()).rstrip(".")[:300]
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
    )
    for number, node in enumerate(bones.node):
        node.name = node.name or f"{node.op_type}_{number}"
    imports, functions = proto.opset_import, proto.functions
    return onnx.ModelProto(ir_version=proto.ir_version, opset_import=imports, functions=functions, graph=bones)


def _without_hints(bones: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for inference. Sizes that the file declares behind its inputs may be stale, so they are left out; pools
    that round up are those of opset 22: before it, onnx counts windows that nobody computes."""
    result = onnx.ModelProto()
    result.CopyFrom(bones)
    main = result.graph
    for graph in (graph for graph in every_graph(result) if isinstance(graph, onnx.GraphProto)):
        stored = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
        kept = [value for value in graph.value_info if value.name not in stored]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        for value in (*graph.value_info, *graph.output, *(() if graph is main else graph.input)):
            value.type.tensor_type.ClearField("shape") if value.type.HasField("tensor_type") else None
    pools = _pools_that_round_up(main)
    for number, node in enumerate(pools):
        inner, name = onnx.NodeProto(), f"p{number}"
        inner.CopyFrom(node)
        inputs, outputs = (["x"], [f"y{n}" for n in range(len(node.output))])
        inner.input[:], inner.output[:] = inputs, outputs
        result.functions.append(onnx.helper.make_function(POOLS, name, inputs, outputs, [inner], [_NEWEST_POOL]))
        node.CopyFrom(onnx.helper.make_node(name, node.input, node.output, node.name, domain=POOLS))
    result.opset_import.extend([onnx.helper.make_opsetid(POOLS, 1)] if pools else [])
    return result


def _pools_that_round_up(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [n for n in graph.node if n.domain in STANDARD and any(a.name == "ceil_mode" and a.i for a in n.attribute)]


def read(model: OnnxModel) -> onnx.ModelProto:
    """The model with all its weights in memory."""
    if isinstance(model, onnx.ModelProto):
        proto, path = model, None
    else:
        source = source_from_model(model)
        proto, path = source.proto(), source.path
    elsewhere = outside(proto)
    if elsewhere and path is None:
        raise ValueError(
            f"{elsewhere[0].name!r} and perhaps other weights stand in another file: pass the model's path, "
            "choose both files where a page loads them, or export into one with external_data=False."
        )
    size = proto.ByteSize() + sum(int(e.value) for t in elsewhere for e in t.external_data if e.key == "length")
    if size > LIMIT_BYTES:
        raise ValueError(f"the model has {size:,} bytes with its weights; one ONNX message holds {LIMIT_BYTES:,}")
    if path is not None:
        load_outside(proto, path)
    return proto


def _check_readable(proto: onnx.ModelProto) -> None:
    """ValueError for opsets this onnx does not know, and for sparse tensors."""
    newest, graph = onnx.defs.onnx_opset_version(), proto.graph
    version = max((o.version for o in proto.opset_import if o.domain in STANDARD), default=1)
    if version > newest:
        raise ValueError(
            f"the model asks for opset {version}; onnx {onnx.__version__} knows up to {newest}: update onnx"
        )
    attributes = ((n, a) for inside in every_graph(proto) for n in inside.node for a in n.attribute)
    sparse = [tensor.values.name for tensor in graph.sparse_initializer]
    sparse += [n.output[0] for n, a in attributes if a.type == onnx.AttributeProto.SPARSE_TENSOR]
    if sparse:
        raise ValueError(f"tensor {sparse[0]!r} is sparse: expected a dense one. Store it with its zeros.")


def infer_shapes(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Shapes and types of all values of the main graph that onnx can infer. `model` was made from `proto`."""
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(_without_hints(_skeleton(proto)), data_prop=True))
    for node, same in zip(model.graph, inferred.graph, strict=True):
        for value, known in zip(node.outputs, same.outputs, strict=True):
            value.shape, value.type = known.shape, known.type


def _name_nodes(graph: ir.Graph) -> None:
    """ONNX allows nodes without a name, or with one name. A report needs to tell them apart, one name a line."""
    for number, node in enumerate(graph):
        node.name = fresh_name(graph, " ".join((node.name or f"{node.op_type}_{number}").splitlines()), "nodes")
