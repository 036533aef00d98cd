"""Conv + BatchNormalization folding: an affine map after a linear one is one linear map with other weights.

    x -> Conv(w, b) -> BatchNormalization(scale, bias, mean, var) -> y   ->   x -> Conv(w', b') -> y

Algebra: with  g = scale / sqrt(var + epsilon), one number for each output channel,
    y = g * (w*x + b - mean) + bias = (g*w) * x + (g * (b - mean) + bias)
so  w' = g * w  and  b' = g * (b - mean) + bias.  Computed in float64 and rounded once.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from trtlab.graph.fused import standing_for
from trtlab.graph.rule import (
    Array,
    Rule,
    constant,
    graph_of,
    is_op,
    new_weight,
    one_reader,
    opset,
    replace,
    source,
    weight,
)

EPSILON = 1e-5
"""What the standard says for a missing `epsilon`."""


def fold(kernel: Array, conv_bias: Array, batch_norm: Sequence[Array], epsilon: float) -> tuple[Array, Array]:
    """(w', b') for weights (channels, ...) and the four vectors scale, bias, mean, var, each (channels,)."""
    scale, bias, mean, var = (vector.astype(np.float64) for vector in batch_norm)
    gain = scale / np.sqrt(var + epsilon)
    new_kernel = kernel * gain.reshape(-1, *[1] * (kernel.ndim - 1))
    return new_kernel.astype(kernel.dtype), (gain * (conv_bias - mean) + bias).astype(kernel.dtype)


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """A BatchNormalization right behind a Conv."""
    if not is_op(node, "BatchNormalization"):
        return []
    conv = source(node).producer()
    return [conv, node] if is_op(conv, "Conv") and conv.graph is node.graph else []


def is_training(batch_norm: ir.Node) -> bool:
    """Whether it normalises by the batch at hand: an attribute since opset 14, before it more than one output."""
    named = [value for value in batch_norm.outputs if value.name]
    return batch_norm.attributes.get_int("training_mode", 0) != 0 or (opset(batch_norm) < 14 and len(named) > 1)


def check(nodes: Sequence[ir.Node]) -> str:
    """Inference mode, nobody else reads the convolution, constant weights, and weights that stay finite."""
    conv, batch_norm = nodes
    if is_training(batch_norm):
        return "BatchNormalization is in training mode: mean and variance come from the batch"
    if batch_norm.attributes.get_int("spatial", 1) == 0:
        return "spatial=0: every position has a mean and variance of its own"
    if shared := one_reader(conv.outputs[0]):
        return shared
    unknown = [str(v.name) for v in (*conv.inputs[1:], *batch_norm.inputs[1:]) if v is not None and constant(v) is None]
    if unknown:
        return f"not constant: {', '.join(unknown)}"
    for exact in folded(conv, batch_norm, np.longdouble):
        with np.errstate(all="ignore"):
            array, limit = exact.astype(weight(conv, 1).dtype), np.finfo(weight(conv, 1).dtype).eps * np.abs(exact)
            lost = np.abs(array - exact) > limit
        if not np.isfinite(array).all():
            return "the new weights overflow"
        if lost.any():
            return f"the new weights underflow: {exact[lost].flat[0]:.3g} would be {array[lost].flat[0]:.3g}"
    return ""


def folded(conv: ir.Node, batch_norm: ir.Node, dtype: type | None = None) -> tuple[Array, Array]:
    """The new weights and bias of the convolution, in its own type or another."""
    has_bias = len(conv.inputs) > 2 and conv.inputs[2] is not None
    bias = weight(conv, 2) if has_bias else np.zeros(1)
    with np.errstate(all="ignore"):
        epsilon, kernel = batch_norm.attributes.get_float("epsilon", EPSILON), weight(conv, 1)
        four = [weight(batch_norm, number) for number in (1, 2, 3, 4)]
        return fold(kernel.astype(dtype or kernel.dtype), bias, four, epsilon)


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """A Conv with the new weights writes what BatchNormalization wrote."""
    conv, batch_norm = nodes
    arrays = zip(("weight", "bias"), folded(conv, batch_norm), strict=True)
    weights = [new_weight(graph_of(conv), f"{conv.name}_folded_{what}", array) for what, array in arrays]
    new = ir.Node("", "Conv", [conv.inputs[0], *weights], conv.attributes.values(), name=conv.name)
    new.metadata_props.update(standing_for(nodes))
    replace(nodes, [new], {batch_norm.outputs[0]: new.outputs[0]})
    return f"{batch_norm.name} is now in the weights of {conv.name}"


RULE = Rule(name="conv_bn_folding", pattern=pattern, check=check, rewrite=rewrite)
