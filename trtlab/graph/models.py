"""graph/models: small models in which every rewrite finds something to do, and the light_* files of onnx with weights.

In: a seed. Out: checked ModelProtos; tensors that the text names without values get seeded random weights. Exporters
already fold much, so these are written by hand. tests/graph/test_models.py checks that each rule finds its model.
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

_TEXTS = {
    "conv_bn_relu": """(float[1,3,8,8] x) => (float[1,8,8,8] y)
        <float[8,3,3,3] w, float[8] scale, float[8] shift, float[8] mean, float[8] var> {
        [conv] c = Conv <pads = [1,1,1,1]> (x, w)
        [bn] b = BatchNormalization (c, scale, shift, mean, var)
        [relu] y = Relu (b) }""",
    "inception": """(float[1,8,8,8] x) => (float[1,24,8,8] y)
        <float[8,8,1,1] w1, float[8] b1, float[8,8,1,1] w2, float[8] b2, float[8,8,1,1] w3, float[8] b3> {
        [conv1] c1 = Conv (x, w1, b1)
        [relu1] r1 = Relu (c1)
        [conv2] c2 = Conv (x, w2, b2)
        [relu2] r2 = Relu (c2)
        [conv3] c3 = Conv (x, w3, b3)
        [relu3] r3 = Relu (c3)
        [concat] y = Concat <axis = 1> (r1, r2, r3) }""",
    "qkv": """(float[4,16] x) => (float[4,16] q, float[4,16] k, float[4,16] v)
        <float[16,16] wq, float[16] bq, float[16,16] wk, float[16] bk, float[16,16] wv, float[16] bv> {
        [query] q0 = MatMul (x, wq)
        [query_bias] q = Add (q0, bq)
        [key] k0 = MatMul (x, wk)
        [key_bias] k = Add (k0, bk)
        [value] v0 = MatMul (x, wv)
        [value_bias] v = Add (v0, bv) }""",
    "dead_branch": """(float[2,8] x) => (float[2,8] y) <float[8,8] w> {
        [live] y = Relu (x)
        [dead_matmul] a = MatMul (x, w)
        [dead_softmax] b = Softmax (a) }""",
    "constant_subgraph": """(float[2,4] x) => (float[2,4] y)
        <int64[2] shape = {2, 4}, float two = {2}, float three = {3}, int64[1] start = {0}> {
        [six] six = Mul (two, three)
        [root] scale = Sqrt (six)
        [expand] grid = Expand (scale, shape)
        [scaled] y = Mul (x, grid) }""",
    "dropout": """(float[2,8] x) => (float[2,8] y) <float[8,8] w, float ratio = {0.5}> {
        [linear] a = MatMul (x, w)
        [dropout] b = Dropout (a, ratio)
        [identity] c = Identity (b)
        [relu] y = Relu (c) }""",
    "common": """(float[2,8] x) => (float[2,8] y) {
        [exp1] a = Exp (x)
        [exp2] b = Exp (x)
        [softmax] s = Softmax (a)
        [product] y = Mul (s, b) }""",
    "transposes": """(float[1,4,6,8] x) => (float[1,8,4,6] y) {
        [to_nhwc] a = Transpose <perm = [0,2,3,1]> (x)
        [to_nchw] b = Transpose <perm = [0,3,1,2]> (a)
        [softmax] c = Softmax (b)
        [first] d = Transpose <perm = [0,1,3,2]> (c)
        [second] y = Transpose <perm = [0,2,1,3]> (d) }""",
    "multiply_add_relu": """(float[16,16] a, float[16,16] b, float[16,16] c) => (float[16,16] y) {
        [multiply] ab = Mul (a, b)
        [add] sum = Add (ab, c)
        [relu] y = Relu (sum) }""",
    "residual": """(float[1,8,8,8] x) => (float[1,8,8,8] y)
        <float[8,8,3,3] w1, float[8] b1, float[8,8,3,3] w2, float[8] b2> {
        [conv1] c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
        [relu1] r1 = Relu (c1)
        [conv2] c2 = Conv <pads = [1,1,1,1]> (r1, w2, b2)
        [add] sum = Add (c2, x)
        [relu2] y = Relu (sum) }""",
    "layernorm": """(float[4,16] x) => (float[4,16] y)
        <float[16] scale, float[16] shift, float eps = {1e-5}, float two = {2}, int64[1] axes = {-1}> {
        [mean] mu = ReduceMean (x, axes)
        [centre] d = Sub (x, mu)
        [square] d2 = Pow (d, two)
        [variance] v = ReduceMean (d2, axes)
        [epsilon] ve = Add (v, eps)
        [root] s = Sqrt (ve)
        [divide] n = Div (d, s)
        [scaled] g = Mul (n, scale)
        [shifted] y = Add (g, shift) }""",
    "gelu": """(float[4,16] x) => (float[4,16] y)
        <float root2 = {1.4142135}, float one = {1}, float half = {0.5}> {
        [divide] a = Div (x, root2)
        [erf] e = Erf (a)
        [plus] p = Add (e, one)
        [times] t = Mul (x, p)
        [halve] y = Mul (t, half) }""",
    "attention": """(float[1,8,16] x) => (float[1,8,16] y)
        <float[16,16] wq, float[16,16] wk, float[16,16] wv, float[16,16] wo, float scale = {0.25}> {
        [query] q = MatMul (x, wq)
        [key] k = MatMul (x, wk)
        [value] v = MatMul (x, wv)
        [key_t] kt = Transpose <perm = [0,2,1]> (k)
        [scores] s = MatMul (q, kt)
        [scaled] t = Mul (s, scale)
        [softmax] p = Softmax <axis = -1> (t)
        [mix] m = MatMul (p, v)
        [out] o = MatMul (m, wo)
        [residual] y = Add (o, x) }""",
}


def _teaching_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """The model of that name; weights follow from the seed."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {OPSET}]> {name} {_TEXTS[name]}')
    rng = np.random.default_rng(seed)
    made = {output for node in model.graph.node for output in node.output}
    for value in [value for value in model.graph.value_info if value.name not in made]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(_weight(rng, shape, value.name), value.name))
        model.graph.value_info.remove(value)
    return model


TEACHING_MODELS: dict[str, Callable[..., onnx.ModelProto]] = {
    name: functools.partial(_teaching_model, name) for name in _TEXTS
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
