"""Dead-layer elimination: what nobody reads need not run, and what changes nothing need not be there.

    x -> Relu -> (nobody)              ->   (nothing)
    x -> Identity -> y                 ->   x
    x -> Dropout (inference) -> y      ->   x
    x -> Cast (to its own type) -> y   ->   x

Algebra: in inference Dropout is the identity: y = x. It scales during training, so that the mean already fits.
"""

from collections.abc import Sequence

import onnx_ir as ir

from trtlab.graph.rule import Rule, constant, is_data, is_op, replace, source, why_not_alias

IDENTICAL = "Identity", "Dropout", "Cast"


def is_dead(node: ir.Node) -> bool:
    """Whether nobody reads any output of the node."""
    return not any(value.uses() or value.is_graph_output() for value in node.outputs)


def dead_branch(last: ir.Node) -> list[ir.Node]:
    """A dead node and every node that works only for it, last node first."""
    branch, members = [last], {last}
    for node in branch:  # grows while we walk
        for value in node.inputs:
            maker = value.producer() if value is not None else None
            if maker is None or maker in members or maker.graph is not last.graph or is_data(maker):
                continue
            results = maker.outputs
            if not any(v.is_graph_output() or any(use.node not in members for use in v.uses()) for v in results):
                branch.append(maker)
                members.add(maker)
    return branch


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """A dead branch at its last node, or a node that may change nothing."""
    if is_dead(node) and not is_data(node):
        return dead_branch(node)
    casts = is_op(node, "Cast") and node.attributes.get_int("to", 0) != source(node).dtype
    return [node] if is_op(node, *IDENTICAL) and not casts else []


def check(nodes: Sequence[ir.Node]) -> str:
    """Dropout must be in inference mode and its mask unread; outputs of the graph must keep a node that writes them."""
    (node, *_) = nodes
    if is_dead(node):
        return ""
    if is_op(node, "Dropout"):
        training = node.inputs[2] if len(node.inputs) > 2 else None
        mode = constant(training)
        if training is not None and mode is None:
            return f"training_mode is {training.name}, which is only known at run time"
        if mode is not None and mode.any():
            return "training_mode is on: it drops values at random"
        if any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
            return "its mask is read"
    return why_not_alias(node.inputs[0], node.outputs[0])


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """Remove the branch, or let the readers of the output read the input."""
    (node, *_) = nodes
    if is_dead(node):
        replace(nodes, [], {})
        return f"nobody reads {node.outputs[0].name}: {len(nodes)} dead"
    replace(nodes, [], {node.outputs[0]: source(node)})
    return f"{node.op_type} changes nothing"


RULE = Rule(name="dead_layers", pattern=pattern, check=check, rewrite=rewrite)
