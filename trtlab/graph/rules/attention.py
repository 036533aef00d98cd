"""graph/rules/attention: the rule that makes one kernel of the heart of a transformer.

In: nodes of an onnx_ir graph. Out: a fused one (graph/fused). Checked by graph/oracle.
"""

import itertools

import onnx_ir as ir

from trtlab.graph.fused import fuse
from trtlab.graph.rule import Nodes, Rule, constant, is_op, one_reader, opset, same_shape


class AttentionFusion(Rule):
    """Attention fusion: scores, their softmax and the mean of the values become one kernel.

        q, k -> MatMul -> Mul(scale) -> Softmax; v -> MatMul -> y   ->   q, k, v -> [MatMul Mul Softmax MatMul] -> y
        q, k -> MatMul -> Add(mask) -> Softmax; v -> MatMul -> y    ->   q, k, v, mask -> [MatMul Add ...] -> y

    Algebra: a softmax can go on from block to block. With the largest score m and the sum l so far, a block with the
    largest score n makes  l' = l e^(m - m') + sum of e^(s - m'),  m' = max(m, n),  and the mean of the values likewise.
    A kernel holds some rows of scores at a time, and the tokens x tokens matrix is never written to memory.
    """

    name = "attention_fusion"

    def pattern(self, node: ir.Node) -> Nodes:
        """A MatMul, behind it a scale and a mask perhaps, a Softmax, and the MatMul of what it makes."""
        nodes = [node] if is_op(node, "MatMul") else []
        while nodes and not is_op(nodes[-1], "Softmax"):
            reader = next((use.node for use in nodes[-1].outputs[0].uses()), None)
            if len(nodes) > 3 or not is_op(reader, "Add", "Div", "Mul", "Softmax"):
                return []
            nodes.append(reader)
        uses = nodes[-1].outputs[0].uses() if nodes else ()
        mix = next((use.node for use in uses if use.idx == 0 and is_op(use.node, "MatMul")), None)
        return [] if mix is None else [*nodes, mix]

    def check(self, nodes: Nodes) -> str:
        """One reader each; a scale of one number, then a mask; a softmax over the last axis."""
        *work, softmax, _ = nodes
        scores = work[0].outputs[0]
        for value in (node.outputs[0] for node in (*work, softmax)):
            if shared := one_reader(value) or ("" if len(value.uses()) == 1 else f"{value.name} is read twice"):
                return shared
            if not same_shape(value, scores):
                return f"{value.name} is not of the shape of {scores.name}, or a size is unknown"
        if strange := next((node for node, part in zip(work[1:], named(work), strict=True) if not part), None):
            return f"{strange.name} is neither a scale of one number nor, behind it, one mask"
        axis, last = softmax.attributes.get_int("axis", 1 if opset(softmax) < 13 else -1), len(scores.shape or ()) - 1
        return "" if axis in (-1, last) else f"{softmax.name} goes along axis {axis}, not the last one"

    def rewrite(self, nodes: Nodes) -> str:
        """All as one node."""
        scores = nodes[0].outputs[0].name
        return f"{scores} stays in the cache: {fuse(nodes).name}"


def named(work: Nodes) -> list[str]:
    """Of each node behind the first of `work`: "scale", "mask", or nothing where it is neither, or comes too late."""
    found = list[str]()
    for before, node in itertools.pairwise(work):
        other = node.inputs[1] if node.inputs[0] is before.outputs[0] else node.inputs[0]
        number = constant(other)
        is_scale = number is not None and number.size == 1 and (node.op_type == "Mul" or other is node.inputs[1])
        part = "mask" if node.op_type == "Add" else "scale" if is_scale else ""
        found.append("" if part in found or "mask" in found else part)
    return found
