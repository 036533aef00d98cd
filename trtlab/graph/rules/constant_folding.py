"""Constant folding: what depends on no input is computed once, now.

    a (constant), b (constant) -> Add -> c   ->   c (constant)

Algebra: f(constants) is a constant, if f is deterministic. The value comes from onnx's reference evaluator, which knows
one opset and has mistakes: FOLDS are the operators for which it does what ONNX Runtime does (tests/graph/test_folding).
Results larger than LIMIT_BYTES and than what they are made of stay computed: a ConstantOfShape would explode.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from trtlab.graph.ops import RANDOM
from trtlab.graph.order import subgraphs
from trtlab.graph.rule import (
    STANDARD,
    Array,
    Rule,
    constant,
    graph_of,
    has_place,
    is_data,
    is_op,
    item_bytes,
    new_weight,
    opset,
    replace,
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


def is_deterministic(node: ir.Node) -> bool:
    """Whether it is a standard operator that gives the same outputs for the same inputs and holds no graphs."""
    return node.domain in STANDARD and node.op_type not in RANDOM and not subgraphs(node)


def known(node: ir.Node, value: ir.Value | None) -> Array | None:
    """The value if it is constant. Of what Shape reads, the shape is enough: a view of one zero stands for it."""
    if is_op(node, "Shape") and value is not None and value.shape is not None and value.shape.is_static():
        return np.broadcast_to(np.float32(0), value.shape.numpy())
    return constant(value)


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """A standard node that computes, from constants alone."""
    if is_data(node) or node.domain not in STANDARD:
        return []
    return [node] if all(value is None or known(node, value) is not None for value in node.inputs) else []


def size_bytes(value: ir.Value) -> float:
    """The size of a tensor; infinite where the shape or type is not known, and for strings."""
    each = item_bytes(value)
    if value.shape is None or each is None or not value.shape.is_static():
        return math.inf
    return math.prod(value.shape.numpy()) * each


def check(nodes: Sequence[ir.Node]) -> str:
    """It must give the same every time, be no output of the graph, and not make the file much larger."""
    (node,) = nodes
    if not is_deterministic(node):
        return f"{node.op_type} is random or holds a graph"
    if any(value.is_graph_output() for value in node.outputs):
        return f"{node.outputs[0].name} is an output of the graph, so a node must write it"
    if place := next(filter(None, map(has_place, node.outputs)), ""):
        return place
    size = sum(size_bytes(value) for value in node.outputs if value.name)
    if math.isinf(size):
        return "the size of the result is not known"
    if size > max(LIMIT_BYTES, sum(size_bytes(value) for value in node.inputs if value is not None)):
        return f"the result has {size:,.0f} bytes: more than {LIMIT_BYTES:,}, and more than its inputs"
    return "" if evaluate(node) else f"{node.op_type} of these numbers is left to the runtime: it may round another way"


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
    ends = [
        [onnx.ValueInfoProto(name=name) for name in names if name] for names in (feeds, [v.name for v in node.outputs])
    ]
    graph = onnx.helper.make_graph([ir.to_proto(node)], "folded", ends[0], ends[1])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset(node))])
    outputs = [value for value in node.outputs if value.name]
    try:
        with np.errstate(all="ignore"):
            results = list(ReferenceEvaluator(model).run(None, feeds))
        agree = all(r.shape == v.shape and ir.tensor(r).dtype == v.dtype for r, v in zip(results, outputs, strict=True))
    except FAILURES:  # a list, which is a sequence of tensors, has no shape
        return []
    return results if agree else []


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """Initializers instead of the node, under the names of its outputs."""
    (node,) = nodes
    for value, array in zip([value for value in node.outputs if value.name], evaluate(node), strict=True):
        value.replace_all_uses_with(new_weight(graph_of(node), f"{value.name}_value", array))
    replace(nodes, [], {})
    return f"{node.op_type} of constants is a constant"


RULE = Rule(name="constant_folding", pattern=pattern, check=check, rewrite=rewrite)
