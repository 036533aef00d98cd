"""engine/glassbox: the numbers of ONNX Runtime for special numbers, at the edges of operators, of random models."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.engine.glassbox.referee import check
from tests.engine.glassbox.referee import model as parsed
from trtlab.engine.glassbox.builder import build
from trtlab.plan.tactics import prefer

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 3e38, -3e38, 1e-40, 6, -3, 0.5], np.float32)
UNARY = "Abs Erf Exp HardSwish LeakyRelu Log Neg Reciprocal Relu Sigmoid Sign Sqrt Tanh".split()
BINARY = "Add Div Max Min Mul Pow Sub Sum".split()


@pytest.mark.parametrize("tactic", ["torch", "generated"])
def test_special_numbers_of_every_elementwise_operator(tactic):
    """Each a kernel of its own; a Clip without a bound ends at the last finite number, and NaN is no bound."""
    pairs = {"x": np.repeat(SPECIAL, SPECIAL.size), "z": np.tile(SPECIAL, SPECIAL.size)}
    bounds = {f"c{n}": number for n, number in enumerate(SPECIAL[:6])}
    calls = [*(f"{op} (x)" for op in UNARY), *(f"{op} (x, z)" for op in BINARY)]
    calls += [f"Clip (x, {low}, {high})" for low, high in itertools.product(["", *bounds], bounds)]
    calls = [call.replace("x, ,", 'x, "",') for call in [*calls, "Clip (x)", *(f"Clip (x, {low})" for low in bounds)]]
    ends = ", ".join(f"float[{SPECIAL.size**2}] {name}" for name in ("x", "z", *(f"y{n}" for n in range(len(calls)))))
    inputs, outputs = ", ".join(ends.split(", ")[:2]), ", ".join(ends.split(", ")[2:])
    body = " ".join(f"y{n} = {call}" for n, call in enumerate(calls))
    engine = check(parsed(f"({inputs}) => ({outputs}) {{ {body} }}", **bounds), pairs, rules=[], pick=prefer(tactic))
    assert len(engine.inspect()) == len(calls)


EDGES = [
    "(float[2,3] x) => (float y) { i = Constant <value_int=1> () a = Flatten (x) b = Squeeze (v) y = Gather (b, i) }",
    "(float[2,3] x) => (int64 y) { i = Constant <value_int=-1> () a = Shape (x) y = Gather (a, i) }",
    "(float[2,3] x, int64 i) => (float[2] y) { y = Gather <axis=1> (x, i) }",
    "(float x) => (float y) { a = Transpose (x) y = Relu (a) }",
    "(float[3] x, float[3,3] z) => (float[3] y) { a = MatMul (x, z) y = Transpose <perm=[0]> (a) }",
    "(float[2,3] x, float[3,3] z) => (float[3,2] y) { a = MatMul (x, z) y = Transpose <perm=[1,0]> (a) }",
    "(float[2,3] x) => (float[2,3] y) { a = MatMul (x, w) y = Sum (a) }",
    ("(float[2,3] x, float[3,2] z) => (float[2,3] y) { nothing = Constant <value_float=0.0> () "
     "a = MatMul (x, z) b = Div (a, nothing) c = Softmax (b) y = MatMul (c, x) }"),
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
    ("(float[3] x) => (float[?,?] y) { s = ConstantOfShape <value=int64[1] {3}> (two) b = ConstantOfShape (s) "
     "a = Add (x, b) y = BatchNormalization (a, v, v, v, square) }"),
    '(float[1,3,4] x) => (float[1,3,4] a, float[1,3,4] b) { a = Conv (x, u, "") b = Conv (x, u, "") }',
    # each adds the input that both convolve: they cannot become one wide convolution
    ("(float[1,3,6] x) => (float[1,3,6] r, float[1,3,6] s) "
     "{ a = Conv (x, u) b = Add (a, x) r = Relu (b) c = Conv (x, u) d = Add (c, x) s = Relu (d) }"),
]  # fmt: skip
NUMBERS = {"start": -9, "end": -99, "zero": 0, "back": -1, "three": 3, "two": 2}
WEIGHTS = {name: np.array([n]) for name, n in NUMBERS.items()} | {
    "w": np.arange(9, dtype=np.float32).reshape(3, 3),
    "v": np.array([1, -2, 3], np.float32),
    "square": np.array([1, 4, 9], np.float32),
    "u": np.arange(9, dtype=np.float32).reshape(3, 3, 1),
}


@pytest.mark.parametrize("rules", [None, []], ids=["all rules", "no rule"])
@pytest.mark.parametrize("text", EDGES)
def test_edges_of_operators(text, rules):
    """A scalar index, a scalar turned, one operand, a start before the beginning, one element, an input handed out."""
    proto = parsed(text, **{n: w for n, w in WEIGHTS.items() if re.search(rf"\b{n}\b", text)})
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    feeds = {n: np.asarray(np.random.default_rng(0).normal(size=s), np.float32) for n, s in sizes.items()}
    check(proto, feeds | ({"i": np.asarray(1)} if "i" in feeds else {}), rules=rules)


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_a_product_behind_what_made_up_numbers_cannot_show(precision):
    """The trial divides by zero, so it never sees the product; it brings its own memory then."""
    text = "(int64[3,4] x, int64[3,4] d) => (float[3,2] y) { q = Div (x, d) f = Cast <to = 1> (q) y = MatMul (f, w) }"
    feeds = {"x": np.arange(12).reshape(3, 4), "d": np.ones((3, 4), np.int64)}
    check(parsed(text, w=np.ones((4, 2), np.float32)), feeds, precision=precision)


@pytest.mark.parametrize("opset", [12, 18, 22])
def test_pools_in_ceil_mode_end_where_onnx_runtime_ends(opset):
    """Before opset 22, ONNX's inference lets the last window start behind the image; no runtime does."""
    kinds = ["MaxPool <", "AveragePool <", "AveragePool <count_include_pad=1, "]
    cases = [*itertools.product(kinds, [(1, 3, 0), (2, 3, 1), (3, 2, 1), (3, 2, 2)])]
    body = " ".join(
        f"a{n} = {kind}pads={[pad] * 4}, strides={[stride] * 2}, kernel_shape={[kernel] * 2}, ceil_mode=1> (x)"
        f" b{n} = Relu (a{n}) y{n} = Add (a{n}, b{n})"
        for n, (kind, (kernel, stride, pad)) in enumerate(cases)
    )
    outputs = ", ".join(f"float[?,?,?,?] y{n}" for n in range(len(cases)))
    check(parsed(f"(float[1,2,4,5] x) => ({outputs}) {{ {body} }}", opset))


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


@pytest.mark.slow
def test_no_convolution_kills_the_process():
    """oneDNN reads far outside of an image where a window sees nothing but its pads. Other shapes are left to it."""
    count, _, padded, onednn = scanned("convolutions", 0, 70)
    assert count == 70
    assert min(padded, onednn) > 7


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 40), pytest.param(40, 90, marks=pytest.mark.slow), pytest.param(90, 140, marks=pytest.mark.sweep)],
)
def test_random_models_are_what_onnx_runtime_says(first, last):
    count, faults, refused = scanned("graphs", first, last)
    assert (count, faults) == (last - first, 0)
    assert refused < count / 5
