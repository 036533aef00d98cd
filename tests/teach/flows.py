"""What several tests draw: `finished()`, the digits network through all stages, run once; `relus()`, a small model."""

import functools

from onnx import TensorProto, helper

from trtlab.lab.workflow import STAGES, Workflow


def finished(precision="FP16", *, dynamic_batch=True):
    """A Workflow whose stages have all run; by recordings where no compiler is installed."""
    return _finished(precision, dynamic_batch)


@functools.cache
def _finished(precision, dynamic_batch):
    flow = Workflow("digits", precision=precision, dynamic_batch=dynamic_batch)
    assert [record.name for record in flow.run()] == list(STAGES)
    return flow


def relus(*names, title="own"):
    """A model of as many Relu nodes in a row, and tensors named after them."""
    tensors = ["x", *(f"after {number} {name}" for number, name in enumerate(names))]
    nodes = [helper.make_node("Relu", [a], [b], name=n) for a, b, n in zip(tensors, tensors[1:], names, strict=False)]
    ends = [helper.make_tensor_value_info(t, TensorProto.FLOAT, [2, 8]) for t in (tensors[0], tensors[-1])]
    graph = helper.make_graph(nodes, title, ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
