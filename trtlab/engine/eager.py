"""engine/eager: an ONNX model run node by node by torch, open to the hand: other weights, rounded activations.

In: a model of float32 tensors with one input. Out: its first output, through which gradients flow. For small networks
of a lesson. Checked by tests/lab/test_precision.py against ONNX Runtime.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    from torch import Tensor


def run(
    model: onnx.ModelProto, x: "Tensor", weights: "Mapping[str, Tensor]", rounded: "Callable[[str, Tensor], Tensor]"
) -> "Tensor":
    """The output for `x`. `weights` has every initializer; `rounded(name, tensor)` is what a product with weights reads
    in place of its input. KeyError names an operator that is not there."""
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
