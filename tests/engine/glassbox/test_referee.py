"""engine/glassbox: the numbers of ONNX Runtime, unoptimised, for special numbers and at the edges of operators."""

import re
import subprocess
import sys

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from trtlab.engine.glassbox.builder import build
from trtlab.plan.tactics import prefer

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 3e38, -3e38, 1e-40, 6, -3, 0.5], np.float32)
UNARY = "Abs Erf Exp HardSwish LeakyRelu Log Neg Reciprocal Relu Sigmoid Sign Sqrt Tanh".split()
BINARY = "Add Div Max Min Mul Pow Sub Sum".split()


def parsed(text, opset=20, **weights):
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> m {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return proto


def referee(proto, feeds):
    """ONNX Runtime's answers by name, every rewriting of its own switched off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def check(proto, feeds, rtol=1e-5, **how):
    """The glass box's engine, whose answers are ONNX Runtime's: bits of NaN and infinity, others but for rounding."""
    engine = build(proto, **how)
    ours, theirs = engine.create_execution_context().run(feeds), referee(proto, feeds)
    assert list(ours) == list(theirs)
    for name, want in theirs.items():
        got = ours[name]
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        size = np.abs(want[np.isfinite(want)]).max(initial=0)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * size if size < 1e30 else 0, err_msg=name)
    return engine


@pytest.mark.parametrize("tactic", ["torch", "generated"])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_special_numbers_of_every_elementwise_operator(name, tactic):
    pairs = {"x": np.repeat(SPECIAL, SPECIAL.size), "z": np.tile(SPECIAL, SPECIAL.size)}
    feeds = pairs if name in BINARY else {"x": SPECIAL}
    inputs, size = ", ".join(f"float[{v.size}] {n}" for n, v in feeds.items()), feeds["x"].size
    check(parsed(f"({inputs}) => (float[{size}] y) {{ y = {name} ({', '.join(feeds)}) }}"), feeds,
          pick=prefer(tactic))  # fmt: skip


@pytest.mark.parametrize("low", [None, *SPECIAL[:6]], ids=str)
@pytest.mark.parametrize("high", [None, *SPECIAL[:6]], ids=str)
def test_a_missing_bound_of_clip_is_the_last_finite_number_and_nan_is_none(low, high):
    bounds = {name: v for name, v in (("low", low), ("high", high)) if v is not None}
    text = (
        f"(float[13] x) => (float[13] y) {{ y = Clip (x, {'low' * ('low' in bounds)}, {'high' * ('high' in bounds)}) }}"
    )
    text = text.replace(", )", ")").replace(", )", ")").replace("x, , high", 'x, "", high')
    check(parsed(text, **bounds), {"x": SPECIAL})


EDGES = [
    "(float[2,3] x) => (float y) { i = Constant <value_int=1> () a = Flatten (x) b = Squeeze (v) y = Gather (b, i) }",
    "(float[2,3] x) => (int64 y) { i = Constant <value_int=-1> () a = Shape (x) y = Gather (a, i) }",
    "(float[2,3] x, int64 i) => (float[2] y) { y = Gather <axis=1> (x, i) }",
    "(float x) => (float y) { a = Transpose (x) y = Relu (a) }",
    "(float[3] x, float[3,3] z) => (float[3] y) { a = MatMul (x, z) y = Transpose <perm=[0]> (a) }",
    "(float[2,3] x, float[3,3] z) => (float[3,2] y) { a = MatMul (x, z) y = Transpose <perm=[1,0]> (a) }",
    "(float[2,3] x) => (float[2,3] y) { a = MatMul (x, w) y = Sum (a) }",
    "(float[2,3] x) => (float[2,3] y) { a = MatMul (x, w) b = Sum (a, a) c = Max (b) y = Min (c, a, x) }",
    "(float[4,2] x) => (float[1,2] y) { y = Slice (x, start, end, zero, back) }",
    "(float[2,3,1] x) => (float[2,3,1] y) { y = InstanceNormalization (x, v, v) }",
    "(float[2,3,4,5] x) => (float[2,3,4,5] y) { y = InstanceNormalization <epsilon=0.1> (x, v, v) }",
    "(float[2,3] x) => (float[2,3] x, float[2] s) { a = Shape (x) s = Cast <to=1> (a) }",
    "(float[2,3,0] x) => (float[2,3,2] y) { y = Conv <pads=[1,1]> (x, u) }",
    "(float[2,3,1] x) => (float[2,3,0] y) { y = MaxPool <kernel_shape=[2]> (x) }",
    "(float[2,3,1] x) => (float[2,3,?] y) { y = AveragePool <kernel_shape=[2], ceil_mode=1> (x) }",
    "(float[3,3] x) => (float[3,3] a, float[3,3] b) { a = Gemm <transB=1> (x, w, w) b = Gemm <transB=1> (x, w, w) }",
    "(float[2,0] x) => (float[2] y) { y = ReduceMean <keepdims=0> (x, back) }",
    "(float[1,2] x) => (float[2] y) { a = ConstantOfShape <value=int64[1] {0}> (three) y = Squeeze (x, a) }",
    (
        "(float[3] x) => (float[?,?] y) { s = ConstantOfShape <value=int64[1] {3}> (two) b = ConstantOfShape (s) "
        "a = Add (x, b) y = BatchNormalization (a, v, v, v, square) }"
    ),
    '(float[1,3,4] x) => (float[1,3,4] a, float[1,3,4] b) { a = Conv (x, u, "") b = Conv (x, u, "") }',
]
WEIGHTS = {
    name: np.array([n])
    for name, n in (("start", -9), ("end", -99), ("zero", 0), ("back", -1), ("three", 3), ("two", 2))
} | {
    "w": np.arange(9, dtype=np.float32).reshape(3, 3),
    "v": np.array([1, -2, 3], np.float32),
    "square": np.array([1, 4, 9], np.float32),
    "u": np.ones((3, 3, 1), np.float32),
}


@pytest.mark.parametrize("rules", [None, []], ids=["all rules", "no rule"])
@pytest.mark.parametrize("text", EDGES)
def test_edges_of_operators(text, rules):
    """A scalar index, a scalar turned, one operand, a start before the beginning, one element, an input handed out."""
    proto = parsed(text, **{n: w for n, w in WEIGHTS.items() if re.search(rf"\b{n}\b", text)})
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    feeds = {n: np.asarray(np.random.default_rng(0).normal(size=s), np.float32) for n, s in sizes.items()}
    check(proto, feeds | ({"i": np.asarray(1)} if "i" in feeds else {}), rules=rules)


@pytest.mark.parametrize("opset", [12, 18, 22])
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool", "AveragePool <count_include_pad=1>"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(1, 3, 0), (2, 3, 1), (3, 2, 1), (3, 2, 2)])
def test_pools_in_ceil_mode_end_where_onnx_runtime_ends(pool, kernel, stride, pad, opset):
    """Before opset 22, ONNX's inference lets the last window start behind the image; no runtime does."""
    name, _, more = pool.partition(" <")
    pads = f"pads={[pad] * 4}, strides={[stride] * 2}, kernel_shape={[kernel] * 2}, ceil_mode=1"
    proto = parsed(f"(float[1,2,4,5] x) => (float[?,?,?,?] y) {{ a = {name} <{pads}{', ' * bool(more)}{more[:-1]}> (x)"
                   " b = Relu (a) y = Add (a, b) }", opset)  # fmt: skip
    check(proto, {"x": np.random.default_rng(0).normal(size=(1, 2, 4, 5)).astype(np.float32)})


def test_a_size_decides_for_its_symbol_everywhere():
    proto = parsed("(float[N,K] x, float[K,M] z, float[N,M] c) => (float[N,M] y, int64[2] s) "
                   "{ m = MatMul (x, z) y = Add (m, c) s = Shape (y) }")  # fmt: skip
    feeds = {"x": np.ones((2, 3), np.float32), "z": np.ones((3, 4), np.float32), "c": np.ones((2, 4), np.float32)}
    for given in ("x", "z"), ("z", "c"), ("x", "c"), tuple("xzc"):
        engine = check(proto, feeds, shapes={name: feeds[name].shape for name in given})
        assert engine.outputs["y"].shape == (2, 4)
    declared = parsed("(float[N,3] x) => (float[7,3] y, int64[2] s) { y = Relu (x) s = Shape (y) }")
    assert build(declared, shapes={"x": (2, 3)}).outputs["y"].shape == (2, 3)


def scanned(what, first, last):
    """The numbers in the last line of a scan in a process of its own."""
    command = [sys.executable, "-m", "tests.engine.glassbox.scan", what, str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if not line.startswith("at")]
    assert done.returncode == 0, found or f"{done.stdout.splitlines()[-1]}\n{done.stderr[-2000:]}"
    return [int(number) for number in found[-1].split()[1:]]


def test_no_convolution_kills_the_process():
    """oneDNN reads far outside of an image where a window sees nothing but its pads. Other shapes are left to it."""
    count, _, padded, onednn = scanned("convolutions", 0, 120)
    assert count == 120
    assert min(padded, onednn) > 12


@pytest.mark.parametrize(("first", "last"), [(0, 60), pytest.param(60, 300, marks=pytest.mark.slow)])
def test_random_models_are_what_onnx_runtime_says(first, last):
    count, faults, refused = scanned("graphs", first, last)
    assert (count, faults) == (last - first, 0)
    assert refused < count / 5
