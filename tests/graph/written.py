"""Small models written as ONNX text, for the tests of the rewriter, and what proves a rewrite."""

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from trtlab.graph.oracle import check_same, reference, sample_inputs
from trtlab.graph.rewrite import optimize

from .random_models import run


def written(text, *, opset=20, domains="", ir=10, **weights):
    """The model of `text` (inputs => outputs <...> { nodes }); further weights by name."""
    model = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["": {opset}{domains}]> test {text}')
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def onnxruntime_runs(model, inputs):
    """Every tensor of the main graph, computed by ONNX Runtime without optimisations of its own."""
    model = onnx.shape_inference.infer_shapes(model)
    outputs = {value.name for value in model.graph.output}
    known = {value.name: value for value in model.graph.value_info}
    inner = [name for node in model.graph.node for name in node.output if name in known and name not in outputs]
    model.graph.output.extend(known[name] for name in inner)
    return run(model, inputs)


def proved(model, *rules, inputs=None, run=reference):
    """Optimised by these rules (all, if none is named) and proved on inputs of every kind: (model, report)."""
    result, report = optimize(model, rules or None)
    for feeds in inputs or sample_inputs(model):
        check_same(model, result, feeds, run=run)
    return result, report


def check_not_degenerate(array):
    """ValueError if an output says too little to prove anything: equal numbers, NaN, or hardly any different ones."""
    distinct = len(np.unique(array))
    if not np.isfinite(array).all() or array.std() == 0 or distinct < min(array.size, 100) / 2:
        raise ValueError(f"{array.size} numbers, {distinct} different, std {array.std():.3g}: this proves nothing")


def ops(model):
    return [node.op_type for node in model.graph.node]


def reasons(report, rule):
    return [refusal.reason for refusal in report.refusals if refusal.rule == rule]


def nested(depth):
    """Bytes of graphs inside attributes of nodes of graphs, which is all that they hold."""

    def field(number, data):
        size, digits = len(data), bytearray()
        while size >= 128:
            digits.append(size % 128 + 128)
            size //= 128
        return bytes([number * 8 + 2, *digits, size]) + data

    data = b""
    for _ in range(depth):
        data = field(1, field(5, field(6, data)))
    return field(7, data)
