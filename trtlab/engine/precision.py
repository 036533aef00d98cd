"""engine/precision: a model in fewer bits: thresholds for its activations, 16 bits, torch by hand.

In: an ONNX model; batches of its inputs, which ONNX Runtime runs. Out: a `Histogram` or `Threshold` for each tensor
that `graph.precision.insert_qdq` quantises; standard ONNX of the same function in FP16 or BF16, strongly typed, as
TensorRT 11 wants it; its output, node by node in torch, with other weights and rounded activations. Checked by
tests/engine/test_precision.py and tests/lab/test_precision.py against ONNX Runtime and NVIDIA's builder.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt
import onnx
import onnx_ir as ir

from trtlab.engine.ort import OptimizationLevel, OrtSession
from trtlab.graph.load import export, read
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.order import numbered
from trtlab.graph.precision import STORED, narrowed, new_node, quantizable, ready
from trtlab.graph.rule import constant, drop_if_unused, is_op, new_weight, opset
from trtlab.numeric.calibrate import CALIBRATORS, CalibrationError, Histogram, Threshold

if TYPE_CHECKING:
    from torch import Tensor

FP32 = ir.DataType.FLOAT
Batch = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]


def collect(model: OnnxModel, batches: Iterable[Batch]) -> dict[str, Histogram]:
    """A histogram for each tensor to quantise, batch by batch: what was collected is the same in any order.

    A batch is an array by input, or, for a model of one input, the array. CalibrationError names the batch and the
    tensor that holds NaN or infinity; OrtError says which shapes the model takes.
    """
    proto, names = onnx.ModelProto(), {name: None for read_by in quantizable(model).values() for name in read_by}
    proto.CopyFrom(read(model))
    shown = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in shown)
    session, found = OrtSession(proto, level=OptimizationLevel.BASIC), dict.fromkeys(names, Histogram())
    for number, batch in enumerate(batches):
        feeds = dict(batch) if isinstance(batch, Mapping) else {proto.graph.input[0].name: batch}
        arrays = session.run(feeds) | feeds
        for name in names:
            try:
                found[name] = found[name].collect(arrays[name])
            except CalibrationError as error:
                raise CalibrationError(f"batch {number}, tensor {name!r}: {error}") from error
    return found


def calibrate(model: OnnxModel, batches: Iterable[Batch], calibrator: str = "entropy") -> dict[str, Threshold]:
    """A threshold for each tensor to quantise; `calibrator` is one of numeric.calibrate.CALIBRATORS."""
    if calibrator not in CALIBRATORS:
        raise ValueError(f"calibrators are {', '.join(CALIBRATORS)}: got {calibrator!r}")
    return {name: CALIBRATORS[calibrator](histogram) for name, histogram in collect(model, batches).items()}


# --- 16 bits ----------------------------------------------------------------------------------------------------------


def convert(model: OnnxModel, precision: Literal["FP16", "BF16"], *, keep_ends: bool = True) -> onnx.ModelProto:
    """The model in 16 bits, strongly typed: weights, casts, and all values between. Inputs and outputs stay FP32 behind
    casts, or become 16 bits too. Weights beyond FP16's largest value become it, and its smallest is the least that is
    not 0, as in ONNX Runtime's converter. What ONNX knows in FP32 alone (the scales of a Resize) stays, between casts.
    ValueError for branches and loops."""
    loaded, kind = ready(model, precision), STORED[precision][0]
    graph, nodes = loaded.graph, list(numbered(loaded.graph))
    if any(True for _ in graph.subgraphs()):
        raise ValueError("the model has branches or loops, whose types `convert` does not follow: export it in 16 bits")
    held = [*graph.initializers.values(), *(node.outputs[0] for node in nodes if is_op(node, "Constant"))]
    held = [x for x in held if x.dtype == FP32]
    small = {x: new_weight(graph, f"{x.name}_{precision}", narrowed(constant(x), kind)) for x in held}
    for x in [x for x in graph.inputs if x.dtype == FP32]:
        small[x] = new_node(graph, "Cast", [x], x, kind, {"to": kind}) if keep_ends else x
        x.type = ir.TensorType(FP32 if keep_ends else kind)
    for node in (node for node in nodes if not is_op(node, "Constant")):
        _narrow(graph, node, kind, small)
    for number, x in [(n, x) for n, x in enumerate(graph.outputs) if x.dtype == kind and keep_ends]:
        graph.outputs[number] = new_node(graph, "Cast", [x], x, FP32, {"to": FP32})
        graph.outputs[number].name, x.name = x.name, graph.outputs[number].name
    for x in small:
        drop_if_unused(x, graph)
    return export(loaded)


def _narrow(graph: ir.Graph, node: ir.Node, kind: ir.DataType, small: Mapping[ir.Value, ir.Value]) -> None:
    """The node reads and writes `kind` in place of FP32 where the standard allows it; else it stands between casts."""
    is_small, inputs = is_op(node, "Cast"), [(n, x) for n, x in enumerate(node.inputs) if x is not None]
    for number, x in [(n, x) for n, x in inputs if x in small or x.dtype == kind]:
        if _takes(node, number, kind, "inputs"):
            node.replace_input_with(number, small.get(x, x))
            is_small = True
        elif x not in small:
            node.replace_input_with(number, new_node(graph, "Cast", [x], x, FP32, {"to": FP32}))
    if is_op(node, "Cast") and node.attributes["to"].as_int() == FP32:
        node.attributes["to"] = ir.AttrInt64("to", kind)
    for number, x in [(number, x) for number, x in enumerate(node.outputs) if x.dtype == FP32]:
        if is_small and _takes(node, number, kind, "outputs"):
            x.type = ir.TensorType(kind)
        else:
            uses, cast = tuple(x.uses()), new_node(graph, "Cast", [x], x, kind, {"to": kind})
            for use in uses:
                use.node.replace_input_with(use.idx, cast)


def _takes(node: ir.Node, number: int, kind: ir.DataType, side: str) -> bool:
    """Whether the standard allows `kind` for that input or output."""
    if not is_op(node, node.op_type):
        return False
    ends = getattr(onnx.defs.get_schema(node.op_type, opset(node), ""), side)
    return f"tensor({kind.name.lower()})" in ends[min(number, len(ends) - 1)].types


# --- node by node in torch --------------------------------------------------------------------------------------------


def run_eagerly(
    model: onnx.ModelProto, x: "Tensor", weights: "Mapping[str, Tensor]", rounded: "Callable[[str, Tensor], Tensor]"
) -> "Tensor":
    """The output for `x` of a small model of float32 tensors, through which gradients flow. `weights` has every
    initializer; `rounded(name, tensor)` is what a product with weights reads in place of its input. KeyError names an
    operator that is not there."""
    from trtlab.engine.codegen.pointwise import POINTWISE
    from trtlab.engine.glassbox.operators import OPERATORS, takes

    values: dict[str, Any] = {"": None, model.graph.input[0].name: x, **weights}
    for node in model.graph.node:
        operands, kind = [values[name] for name in node.input], node.op_type
        if kind in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            operands[0] = rounded(node.input[0], operands[0])
        found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        known = {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}
        if kind in OPERATORS:
            values[node.output[0]] = OPERATORS[kind](*operands, **{k: v for k, v in known.items() if takes(kind, k)})
        else:
            values[node.output[0]] = POINTWISE[kind].torch(*operands, **known)
    return values[model.graph.output[0].name]
