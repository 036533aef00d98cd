"""engine/convert: an ONNX model in 16 bits, strongly typed, as TensorRT 11 wants it: no builder flag chooses types.

In: an FP32 model. Out: standard ONNX of the same function in FP16 or BF16. tests/engine/test_calibration.py checks it:
ONNX Runtime runs FP16, the builder takes both.
"""

from collections.abc import Mapping
from typing import Literal

import onnx
import onnx_ir as ir

from trtlab.graph.load import export
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.order import numbered
from trtlab.graph.precision import STORED, narrowed, new_node, ready
from trtlab.graph.rule import constant, drop_if_unused, is_op, new_weight, opset

FP32 = ir.DataType.FLOAT


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
