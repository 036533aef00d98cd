"""graph/precision: a model's precision, written into the model, which is where TensorRT 11 reads it: casts and Q/DQ.

In: an ONNX model, and for activations a threshold each (numeric.calibrate). Out: standard ONNX that strongly typed
builders take. tests/graph/test_precision.py checks what is placed, tests/engine/test_precision.py runs and builds it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir

from trtlab.graph.load import export, read
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.order import numbered
from trtlab.graph.rewrite import rewrite
from trtlab.graph.rule import Array, constant, drop_if_unused, fresh_name, is_op, new_weight, source, weight
from trtlab.numeric import FORMATS
from trtlab.numeric.calibrate import CalibrationError, Threshold
from trtlab.numeric.quantize import Quantized

# Type in ONNX, and the first opset that has it in Q/DQ or, of 16 bits, in convolutions and Q/DQ.
STORED: dict[str, tuple[ir.DataType, int]] = {
    "INT8": (ir.DataType.INT8, 13),
    "FP8_E4M3": (ir.DataType.FLOAT8E4M3FN, 19),
    "INT4": (ir.DataType.INT4, 21),
    "NVFP4": (ir.DataType.FLOAT4E2M1, 23),
    "FP16": (ir.DataType.FLOAT16, 19),
    "BF16": (ir.DataType.BFLOAT16, 22),
}
PRODUCTS = "Conv", "Gemm", "MatMul"
# Of 16 bits the least magnitude and the largest.
_RANGES = {ir.DataType.FLOAT16: (2.0**-24, 65504.0), ir.DataType.BFLOAT16: (2.0**-133, 3.3895314e38)}


def quantizable(model: OnnxModel) -> dict[str, tuple[str, ...]]:
    """Node -> the tensors whose thresholds `insert_qdq` needs for it, in the order in which nodes run."""
    places = _places(ready(model, "INT8").graph)
    return {str(node.name): tuple(str(source(node, n).name) for n in numbers) for node, numbers in places}


def insert_qdq(
    model: OnnxModel,
    thresholds: Mapping[str, Threshold | float],
    *,
    activations: Literal["INT8", "FP8_E4M3"] = "INT8",
    weights: Literal["INT8", "FP8_E4M3"] | None = None,
    per_channel: bool = True,
    leave: Collection[str] = (),
) -> onnx.ModelProto:
    """The model with Q/DQ before every Conv, MatMul and Gemm; symmetric, all zero points 0.

    Activations get a pair each, with one scale (threshold / largest code) for all their readers. Weights are stored as
    codes behind a DequantizeLinear, with a scale per output channel, else per tensor. Biases stay as they are. Nothing
    comes between a convolution and its ReLU: BatchNormalization is folded first, and of a residual Add only the input
    that is not the convolution's gets a pair, so that the sum stays in its kernel. What a Concat joins, or a view or
    MaxPool hands on, has one scale, the largest, so that codes are moved as they are.

    weights: another format than that of the activations. leave: names of nodes that stay as they are (`quantizable`
    lists them). CalibrationError for tensors without a threshold, and for thresholds of tensors that the model lacks.
    """
    loaded = ready(model, activations)
    graph, places = loaded.graph, list(_places(loaded.graph, leave))
    values, made = _one_scale(graph, _thresholds(graph, places, thresholds)), dict[object, ir.Value]()
    for node, numbers in places:
        for n in numbers:
            if (x := source(node, n)) not in made:
                scale = np.float32(values[x]) / np.float32(FORMATS[activations].max) or np.float32(1)
                ends = [new_weight(graph, f"{x.name}_scale", narrowed(np.asarray(scale), x.dtype))]
                ends += [new_weight(graph, f"{x.name}_zero", _codes(np.zeros((), np.uint8), activations))]
                codes = new_node(graph, "QuantizeLinear", [x, *ends], x, STORED[activations][0])
                made[x] = new_node(graph, "DequantizeLinear", [codes, *ends], x, x.dtype)
            node.replace_input_with(n, made[x])
        if (channels := _channels(node)) is not None:
            axes = {"axis": channels} if per_channel else {}
            codes_of = FORMATS[weights or activations].quantize(weight(node, 1).astype(np.float32), axes.get("axis"))
            _replace_weight(graph, node, codes_of, made, axes)
    return export(loaded)


def weight_only(model: OnnxModel, fmt: Literal["INT4", "NVFP4"], *, block: int | None = None) -> onnx.ModelProto:
    """The model with the constant matrices of MatMul and Gemm in four bits, in blocks along the axis that is summed:
    INT4 with a scale per `block` (128) elements, NVFP4 with an FP8_E4M3 scale per 16 and one for the matrix.

    Activations stay as they are. Matrices whose axis the block does not divide stay too; ValueError if all do.
    """
    size = block or (16 if fmt == "NVFP4" else 128)
    if fmt == "NVFP4" and size != 16:
        raise ValueError(f"blocks of NVFP4 have 16 elements: got block={block}; leave it out")
    loaded, done = ready(model, fmt), dict[object, ir.Value]()
    for node in [node for node in loaded.graph if is_op(node, "MatMul", "Gemm") and _channels(node) in (0, 1)]:
        array, axis = weight(node, 1), 1 - (_channels(node) or 0)
        if array.ndim == 2 and array.shape[axis] % size == 0:
            made = FORMATS[fmt].quantize(array.astype(np.float32), axis, *(() if fmt == "NVFP4" else (size,)))
            _replace_weight(loaded.graph, node, made, done, {"axis": axis, "block_size": size})
    if not done:
        raise ValueError(f"no constant matrix of a MatMul or Gemm is summed over a multiple of {size}: choose `block`")
    return export(loaded)


# --- places -----------------------------------------------------------------------------------------------------------


def ready(model: OnnxModel, fmt: str) -> ir.Model:
    """The model in an opset that has `fmt`, BatchNormalization folded into the convolutions before it."""
    proto, needed = read(model), STORED[fmt][1]
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer):
        needed = max(needed, STORED["FP16"][1])
    if max((o.version for o in proto.opset_import if o.domain in {"", "ai.onnx"}), default=1) < needed:
        try:
            proto = onnx.version_converter.convert_version(proto, needed)
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise ValueError(f"{fmt} needs opset {needed}, and onnx cannot convert: {error}; export anew") from error
    loaded, _ = rewrite(proto, "conv_bn_folding")
    loaded.ir_version = max(loaded.ir_version, 11)  # the first with 4-bit floats
    return loaded


def _channels(node: ir.Node) -> int | None:
    """The axis of output channels of a product's constant weights, its second input; None where it has none."""
    held = constant(node.inputs[1]) if is_op(node, *PRODUCTS) else None
    if held is None or held.ndim < 2:
        return None
    return 0 if node.op_type == "Conv" or node.attributes.get_int("transB", 0) != 0 else held.ndim - 1


def _places(graph: ir.Graph, leave: Collection[str] = ()) -> Iterator[tuple[ir.Node, list[int]]]:
    """Nodes that read quantised activations, and which of their inputs those are."""
    order, products = numbered(graph), set[ir.Node | None]()
    if unknown := set(leave) - {node.name for node in order}:
        raise ValueError(f"the model has no node {min(map(str, unknown))!r} to leave: `quantizable` lists them")
    for node in (node for node in order if node.name not in leave and is_op(node, *PRODUCTS, "Add")):
        numbers = [n for n in (0, 1) if constant(node.inputs[n]) is None]
        if is_op(node, "Add"):  # all but what the latest product wrote for it alone
            own = [n for n in numbers if source(node, n).producer() in products and len(source(node, n).uses()) == 1]
            last = max(own, key=lambda n: order[source(node, n).producer()], default=None)  # type: ignore[index]
            numbers = [n for n in numbers if n != last] if last is not None else []
        elif _channels(node) is None and (is_op(node, "Conv") or numbers != [0, 1]):
            continue
        if numbers and all(source(node, n).dtype in {ir.DataType.FLOAT, *_RANGES} for n in numbers):
            products |= set() if is_op(node, "Add") else {node}
            yield node, numbers


def _thresholds(graph: ir.Graph, places: Any, given: Mapping[str, Threshold | float]) -> dict[ir.Value, float]:
    """The threshold of each tensor that gets a pair."""
    wanted = {source(node, n): str(source(node, n).name) for node, numbers in places for n in numbers}
    if missing := [name for name in wanted.values() if name not in given]:
        some = f"{len(missing)} tensors have no threshold, {missing[0]!r} for one"
        raise CalibrationError(f"{some}: calibrate all that `quantizable` lists, or `leave` the nodes that read them")
    known = {x.name for x in (*graph.inputs, *(x for node in graph for x in node.outputs))}
    if foreign := sorted(given.keys() - known):
        raise CalibrationError(f"the model has no tensor {foreign[0]!r}: these thresholds are of another model")
    numbers = {name: float(t.value if isinstance(t, Threshold) else t) for name, t in given.items()}
    if wrong := [name for name in wanted.values() if not 0 <= numbers[name] < np.inf]:
        raise CalibrationError(f"a threshold is finite and not below 0: got {numbers[wrong[0]]} for {wrong[0]!r}")
    return {x: numbers[name] for x, name in wanted.items()}


def _one_scale(graph: ir.Graph, found: dict[ir.Value, float]) -> dict[ir.Value, float]:
    """The largest threshold of those whose codes move from one to another: a Concat's, a view's, a pool's."""
    names, before = "Concat Flatten MaxPool Reshape Squeeze Transpose Unsqueeze".split(), dict[ir.Value, float]()
    movers = [node for node in graph if is_op(node, *names)]
    while before != found:
        before = dict(found)
        for node in (node for node in reversed(movers) if node.outputs[0] in found):
            group = [node.outputs[0], *(node.inputs if is_op(node, "Concat") else [source(node)])]
            found |= dict.fromkeys(filter(None, group), max(found.get(x, 0.0) for x in filter(None, group)))
    return found


# --- new nodes and weights --------------------------------------------------------------------------------------------


def new_node(
    graph: ir.Graph, op: str, inputs: Sequence[ir.Value], of: ir.Value, kind: Any, attributes: Any = ()
) -> ir.Value:
    """What a new node writes, named after the value it stands for. `export` sorts, so it may stand last."""
    node = ir.node(op, inputs, dict(attributes), name=fresh_name(graph, f"{of.name}_{op}", "nodes"))
    graph.append(node)
    (made,) = node.outputs
    made.name, made.type, made.shape = fresh_name(graph, f"{of.name}_{op}"), ir.TensorType(kind), of.shape
    return made


def _codes(codes: Array, fmt: str) -> Array:
    """Codes as the array that ONNX's type holds."""
    kind = STORED[fmt][0].numpy()
    return ((codes.astype(np.int8) ^ 8) - 8).astype(kind) if fmt == "INT4" else codes.astype(np.uint8).view(kind)


def narrowed(array: Array | None, kind: ir.DataType | None) -> Array:
    """In that float type; what is finite stays so, and what is not 0 (a scale, an epsilon), too."""
    assert array is not None
    assert kind is not None
    least, most = _RANGES.get(kind, (0.0, np.inf))
    small = np.copysign(np.clip(np.abs(array), least, most), array)
    return np.where(np.isfinite(array) & (array != 0), small, array).astype(kind.numpy())


def _replace_weight(graph: ir.Graph, node: ir.Node, made: Quantized, done: dict[object, ir.Value], axes: Any) -> None:
    """The weights become codes behind a DequantizeLinear; of NVFP4 the scales are codes behind another one."""
    w = source(node, 1)
    if (key := (w, *axes.values())) not in done:
        values = made.scales if made.tensor_scale is None else np.asarray(made.tensor_scale)
        scales = new_weight(graph, f"{w.name}_scale", narrowed(values, w.dtype))
        if made.tensor_scale is not None:
            small = new_weight(graph, f"{w.name}_scales", _codes(made.scale_codes, "FP8_E4M3"))
            scales = new_node(graph, "DequantizeLinear", [small, scales], small, w.dtype)
        codes = new_weight(graph, f"{w.name}_codes", _codes(made.codes, str(made.format)))
        done[key] = new_node(graph, "DequantizeLinear", [codes, scales], w, w.dtype, axes)
    node.replace_input_with(1, done[key])
    drop_if_unused(w, graph)
