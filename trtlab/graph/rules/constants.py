"""graph/rules/constants: rules that compute with constants once, now: constant folding, Conv + BatchNormalization.

In: nodes of an onnx_ir graph. Out: initializers instead. Each class is a rule; its docstring is what a page says of it.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from trtlab.graph.cost import size_bytes
from trtlab.graph.fused import standing_for
from trtlab.graph.ops import RANDOM
from trtlab.graph.order import subgraphs
from trtlab.graph.rule import (
    STANDARD,
    Array,
    Nodes,
    Rule,
    constant,
    graph_of,
    has_place,
    is_data,
    is_op,
    new_weight,
    one_reader,
    opset,
    replace,
    source,
    weight,
)

LIMIT_BYTES = 64 * 1024
FAILURES = ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError
FOLDS = frozenset(
    "Abs Add And Cast Ceil Concat ConstantOfShape Cos Div Equal Exp Expand Flatten Floor Gather Greater GreaterOrEqual "
    "Identity Less LessOrEqual Log Max Min Mul Neg Not Or Range Reciprocal ReduceMax ReduceMin ReduceProd ReduceSum "
    "Reshape Shape Sin Size Slice Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where Xor".split()
)
WHOLE_ONLY = frozenset("Range ReduceMax ReduceMin ReduceProd ReduceSum".split())
"""Of floats they round in an order of their own."""
TYPES = frozenset("BOOL INT32 INT64 FLOAT DOUBLE".split())
EPSILON = 1e-5
"""What the standard says for a missing `epsilon` of a BatchNormalization."""


class ConstantFolding(Rule):
    """Constant folding: what depends on no input is computed once, now.

        a (constant), b (constant) -> Add -> c   ->   c (constant)

    Algebra: f(constants) is a constant, if f is deterministic. The value comes from onnx's reference evaluator, which
    knows one opset and has mistakes: FOLDS are the operators for which it does what ONNX Runtime does
    (tests/graph/test_folding.py). Results larger than LIMIT_BYTES and than what they are made of stay computed: a
    ConstantOfShape would explode.
    """

    name = "constant_folding"

    def pattern(self, node: ir.Node) -> Nodes:
        """A standard node that computes, from constants alone."""
        if is_data(node) or node.domain not in STANDARD:
            return []
        return [node] if all(value is None or known(node, value) is not None for value in node.inputs) else []

    def check(self, nodes: Nodes) -> str:
        """It must give the same every time, be no output of the graph, and not make the file much larger."""
        (node,) = nodes
        if not is_deterministic(node):
            return f"{node.op_type} is random or holds a graph"
        if shown := [value.name for value in node.outputs if value.is_graph_output()]:
            return f"{shown[0]} is an output of the graph, so a node must write it"
        if place := next(filter(None, map(has_place, node.outputs)), ""):
            return place
        made = [value for value in node.outputs if value.name]
        sizes = [size_bytes(v) if v.shape is not None and v.shape.is_static() else None for v in made]
        if None in sizes:
            return "the size of the result is not known"
        size, read = (sum(filter(None, part)) for part in (sizes, map(size_bytes, filter(None, node.inputs))))
        if size > max(LIMIT_BYTES, read):
            return f"the result has {size:,} bytes: more than {LIMIT_BYTES:,}, and more than its inputs"
        left = f"{node.op_type} of these numbers is left to the runtime: it may round another way"
        return "" if evaluate(node) else left

    def rewrite(self, nodes: Nodes) -> str:
        """Initializers instead of the node, under the names of its outputs."""
        (node,) = nodes
        for value, array in zip([value for value in node.outputs if value.name], evaluate(node), strict=True):
            value.replace_all_uses_with(new_weight(graph_of(node), f"{value.name}_value", array))
        replace(nodes, [], {})
        return f"{node.op_type} of constants is a constant"


def is_deterministic(node: ir.Node) -> bool:
    """Whether it is a standard operator that gives the same outputs for the same inputs and holds no graphs."""
    return node.domain in STANDARD and node.op_type not in RANDOM and not subgraphs(node)


def known(node: ir.Node, value: ir.Value | None) -> Array | None:
    """The value if it is constant. Of what Shape reads, the shape is enough: a view of one zero stands for it."""
    if is_op(node, "Shape") and value is not None and value.shape is not None and value.shape.is_static():
        return np.broadcast_to(np.float32(0), value.shape.numpy())
    return constant(value)


def is_sure(node: ir.Node, given: Sequence[Array]) -> bool:
    """Whether every runtime does the same: plain types, no division of whole numbers by zero or past their end, and no
    cast of a float to whole numbers that cannot hold it."""
    types = [value.dtype.name if value.dtype is not None else "" for value in (*node.inputs, *node.outputs) if value]
    if node.op_type not in FOLDS or not TYPES.issuperset(types) or not given:
        return False
    (first, *others), is_float = given, given[0].dtype.kind == "f"
    if is_op(node, *WHOLE_ONLY):
        return not is_float and first.size > 0 and np.prod(np.maximum(np.abs(first.astype(float)), 1)) < 2**31
    if is_op(node, "Div") and not is_float:
        return bool(others[0].all() and (first > np.iinfo(first.dtype).min).all())
    whole = str(node.outputs[0].dtype).startswith("INT")
    return not (is_op(node, "Cast") and is_float and whole) or bool((np.abs(first) < 2.0**31).all())


def evaluate(node: ir.Node) -> list[Array]:
    """What the node computes; empty where the reference evaluator fails, or disagrees with the inferred types."""
    feeds = {str(value.name): known(node, value) for value in node.inputs if value is not None}
    if not is_sure(node, [array for array in feeds.values() if array is not None]):
        return []
    outputs = [value for value in node.outputs if value.name]
    inputs, results = (
        [onnx.ValueInfoProto(name=str(v.name)) for v in vs] for vs in (filter(None, node.inputs), outputs)
    )
    graph = onnx.helper.make_graph([ir.to_proto(node)], "folded", inputs, results)
    try:
        with np.errstate(all="ignore"):
            found = list(ReferenceEvaluator(graph, opsets={"": opset(node)}).run(None, feeds))
        agree = all(r.shape == v.shape and ir.tensor(r).dtype == v.dtype for r, v in zip(found, outputs, strict=True))
    except FAILURES:  # a list, which is a sequence of tensors, has no shape
        return []
    return found if agree else []


class ConvBnFolding(Rule):
    """Conv + BatchNormalization folding: an affine map after a linear one is one linear map with other weights.

        x -> Conv(w, b) -> BatchNormalization(scale, bias, mean, var) -> y   ->   x -> Conv(w', b') -> y

    Algebra: with  g = scale / sqrt(var + epsilon), one number for each output channel,
        y = g * (w*x + b - mean) + bias = (g*w) * x + (g * (b - mean) + bias)
    so  w' = g * w  and  b' = g * (b - mean) + bias.  Computed in float64 and rounded once.
    """

    name = "conv_bn_folding"

    def pattern(self, node: ir.Node) -> Nodes:
        """A BatchNormalization right behind a Conv."""
        if not is_op(node, "BatchNormalization"):
            return []
        conv = source(node).producer()
        return [conv, node] if is_op(conv, "Conv") and conv.graph is node.graph else []

    def check(self, nodes: Nodes) -> str:
        """Inference mode, nobody else reads the convolution, constant weights, and weights that stay finite."""
        conv, batch_norm = nodes
        if is_training(batch_norm):
            return "BatchNormalization is in training mode: mean and variance come from the batch"
        if batch_norm.attributes.get_int("spatial", 1) == 0:
            return "spatial=0: every position has a mean and variance of its own"
        if shared := one_reader(conv.outputs[0]):
            return shared
        given = filter(None, (*conv.inputs[1:], *batch_norm.inputs[1:]))
        if unknown := [str(value.name) for value in given if constant(value) is None]:
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

    def rewrite(self, nodes: Nodes) -> str:
        """A Conv with the new weights writes what BatchNormalization wrote."""
        conv, batch_norm = nodes
        arrays = zip(("weight", "bias"), folded(conv, batch_norm), strict=True)
        weights = [new_weight(graph_of(conv), f"{conv.name}_folded_{what}", array) for what, array in arrays]
        new = ir.Node("", "Conv", [conv.inputs[0], *weights], conv.attributes.values(), name=conv.name)
        new.metadata_props.update(standing_for(nodes))
        replace(nodes, [new], {batch_norm.outputs[0]: new.outputs[0]})
        return f"{batch_norm.name} is now in the weights of {conv.name}"


def fold(kernel: Array, conv_bias: Array, batch_norm: Sequence[Array], epsilon: float) -> tuple[Array, Array]:
    """(w', b') for weights (channels, ...) and the four vectors scale, bias, mean, var, each (channels,)."""
    scale, bias, mean, var = (vector.astype(np.float64) for vector in batch_norm)
    gain = scale / np.sqrt(var + epsilon)
    new_kernel = kernel * gain.reshape(-1, *[1] * (kernel.ndim - 1))
    return new_kernel.astype(kernel.dtype), (gain * (conv_bias - mean) + bias).astype(kernel.dtype)


def folded(conv: ir.Node, batch_norm: ir.Node, dtype: type | None = None) -> tuple[Array, Array]:
    """The new weights and bias of the convolution, in its own type or another."""
    bias = weight(conv, 2) if any(conv.inputs[2:]) else np.zeros(1)
    with np.errstate(all="ignore"):
        epsilon, kernel = batch_norm.attributes.get_float("epsilon", EPSILON), weight(conv, 1)
        four = [weight(batch_norm, number) for number in (1, 2, 3, 4)]
        return fold(kernel.astype(dtype or kernel.dtype), bias, four, epsilon)


def is_training(batch_norm: ir.Node) -> bool:
    """Whether it normalises by the batch at hand: an attribute since opset 14, before it more than one output."""
    named = [value for value in batch_norm.outputs if value.name]
    return batch_norm.attributes.get_int("training_mode", 0) != 0 or (opset(batch_norm) < 14 and len(named) > 1)
