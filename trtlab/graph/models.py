"""graph/models: small models in which every rewrite finds something to do, and the light_* files of onnx with weights.

In: teaching/*.onnxtxt and a seed. Out: checked ModelProtos; tensors that a file names without values get seeded random
weights. Exporters already fold much, so these are written by hand. tests/graph/test_models.py: each rule finds its own.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
from onnx import numpy_helper

LIGHT_FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
"""Nine real architectures without real weights: every weight is a ConstantOfShape. See `randomized`."""
OPSET = 20
"""Of the teaching models."""
_FOLDER = Path(__file__).parent / "teaching"
_NAMES = (
    "conv_bn_relu inception qkv dead_branch constant_subgraph dropout common transposes multiply_add_relu residual "
    "layernorm gelu attention"
).split()


def _teaching_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """The model of that name; weights follow from the seed."""
    model = onnx.parser.parse_model((_FOLDER / f"{name}.onnxtxt").read_text("utf-8"))
    rng = np.random.default_rng(seed)
    made = {output for node in model.graph.node for output in node.output}
    for value in [value for value in model.graph.value_info if value.name not in made]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(_weight(rng, shape, value.name), value.name))
        model.graph.value_info.remove(value)
    return model


TEACHING_MODELS: dict[str, Callable[..., onnx.ModelProto]] = {
    name: functools.partial(_teaching_model, name) for name in _NAMES
}
"""Name -> function(seed=0) that makes the model."""


def randomized(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A copy with seeded random initializers in place of every ConstantOfShape, and of the constants that normalise
    the numbers of other weights. Sizes follow He: no layer blows its input up or lets it fade."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, rng = result.graph, np.random.default_rng(seed)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {n.output[0]: numpy_helper.to_array(stored[n.input[0]]) for n in _fillers(graph)}
    roles = {name: _ROLES.get((node.op_type, at)) for node in graph.node for at, name in enumerate(node.input)}
    added = {name for node in graph.node if node.op_type == "Sum" for name in node.input}
    roles |= {n.input[1]: "small" for n in graph.node if n.op_type == "BatchNormalization" and n.output[0] in added}
    for name, role in roles.items():
        if role and name in stored:
            shapes[name] = np.array(stored[name].dims)
    weights = [
        numpy_helper.from_array(_weight(rng, s.tolist(), roles.get(name) or name), name) for name, s in shapes.items()
    ]
    kept = [tensor for tensor in graph.initializer if tensor.name not in shapes]
    nodes = [node for node in graph.node if node.output[0] not in shapes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *weights])
    result.ir_version = max(result.ir_version, 4)  # from here on a weight need not be listed as an input
    for value in [value for value in graph.input if value.name in stored or value.name in shapes]:
        graph.input.remove(value)
    return result


_ROLES = {("BatchNormalization", at): role for at, role in enumerate(["", "scale", "shift", "mean", "var"])}
"""What a tensor is, by the input it goes into."""


def _fillers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "ConstantOfShape"]


def _weight(rng: np.random.Generator, shape: list[int], role: str) -> npt.NDArray[np.float32]:
    """Random float32: positive scales and variances, small vectors, and matrices after He (Kaiming He et al., 2015):
    standard deviation sqrt(2 / inputs), so that a ReLU network keeps the size of its numbers."""
    if role == "small":  # what residual branches add, so that the sum does not double at every block
        return rng.uniform(0.1, 0.3, shape).astype(np.float32)
    if role in {"scale", "var"}:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) < 2:
        return rng.normal(0, 0.1, shape).astype(np.float32)
    inputs = shape[0] if len(shape) == 2 else math.prod(shape[1:])
    return rng.normal(0, math.sqrt(2 / inputs), shape).astype(np.float32)
