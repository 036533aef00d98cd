"""Models in words, and ONNX Runtime, with every rewriting of its own switched off, as the referee of our engines."""

from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnxruntime

from trtlab.engine.glassbox.builder import build
from trtlab.engine.glassbox.runtime import Engine

RTOL = 1e-5
"""Of the largest number of an output: float32 sums in another order."""


def model(text, opset=20, **weights):
    """The model; weights that it declares and that are not given are drawn, so that no layer blows its input up."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> m {text}')
    rng = np.random.default_rng(0)
    for value in proto.graph.value_info:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        drawn = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        weights.setdefault(
            value.name, drawn.astype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        )
    del proto.graph.value_info[:]
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items())
    return proto


def feeds_for(engine, seed=0):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.normal(size=spec.shape) * 3, spec.dtype) for name, spec in engine.inputs.items()}


def referee(proto, feeds):
    """ONNX Runtime's answers by name."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def assert_same(ours, theirs, rtol=RTOL):
    """Types, shapes, NaN and infinity are the same, other numbers but for rounding."""
    assert list(ours) == list(theirs)
    for name, want in theirs.items():
        got = ours[name]
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        size = np.abs(want[np.isfinite(want)]).max(initial=0)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * size if size < 1e30 else 0, err_msg=name)


def check_engine(engine, proto, feeds=None, rtol=RTOL):
    """Two runs of one context whose answers are the referee's: the second finds the arena as the first left it."""
    feeds, context = feeds or feeds_for(engine), engine.create_execution_context()
    theirs = referee(proto, feeds)
    for _ in range(2):
        assert_same(context.run(feeds), theirs, rtol)


def check(proto, feeds=None, rtol=RTOL, **how):
    """The engine of the model, checked."""
    engine = build(proto, **how)
    check_engine(engine, proto, feeds, rtol)
    return engine


def wrapped(engine, wrap):
    """The engine with `wrap(number, function)` in place of each kernel's function."""
    again = Engine(engine.plan)
    again._steps = tuple(replace(step, run=wrap(number, step.run)) for number, step in enumerate(again._steps))
    return again
