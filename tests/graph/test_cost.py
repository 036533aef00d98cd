"""Costs against sums by hand."""

# ruff: noqa: E501 (a graph reads better on one line)

import numpy as np
import pytest

from trtlab.graph import optimize
from trtlab.graph.cost import Cost, Device, model_cost, node_costs
from trtlab.graph.models import TEACHING_MODELS

from .written import written


def cost(text, **weights):
    (found,) = node_costs(written(text, **weights)).values()
    return found


@pytest.mark.parametrize(
    ("text", "weights", "flops", "numbers"),
    [
        ("(float[2,3] x) => (float[2,4] y) { y = MatMul(x, w) }", {"w": (3, 4)}, 2 * 2 * 4 * 3, 6 + 12 + 8),
        ("(float[2,3] x) => (float[2,4] y) { y = Gemm<transB = 1>(x, w, b) }", {"w": (4, 3), "b": (4,)}, 2 * 8 * 3 + 8, 6 + 12 + 4 + 8),
        ("(float[3,2] x) => (float[2,4] y) { y = Gemm<transA = 1>(x, w) }", {"w": (3, 4)}, 2 * 8 * 3, 6 + 12 + 8),
        ("(float[1,4,5,5] x) => (float[1,6,3,3] y) { y = Conv<group = 2>(x, w, b) }", {"w": (6, 2, 3, 3), "b": (6,)}, 54 * (2 * 2 * 9) + 54, 100 + 108 + 6 + 54),
        ("(float[1,1,4,4] x) => (float[1,1,2,2] y) { y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) }", {}, 16, 16 + 4),
        ("(float[4,5] x) => (float[4,1] y) <int64[1] axes = {1}> { y = ReduceMax(x, axes) }", {}, 20, 20 + 4 + 2),
        ("(float[6] x) => (float[6] y) { y = Exp(x) }", {}, 6, 12),
        ("(float16[8] x) => (float16[8] y) { y = Abs(x) }", {}, 8, 4 + 4),
        ("(float[8] x) => (double[8] y) { y = Cast<to = 11>(x) }", {}, 8, 8 + 16),
        ("(float[6] x) => (float[6] y) { y = Mul(x, x) }", {}, 6, 12),
        ("(float[6] x) => (float[6] y) { y = Softmax(x) }", {}, 30, 12),
        ("(float[2,3] x) => (float[3,2] y) { y = Transpose(x) }", {}, 0, 12),
        ("(float[N,3] x) => (float[N,3] y) { y = Exp(x) }", {}, 3, 6),
        ("(float[100,3] x) => (float[2,3] y) <int64[2] i = {5, 6}> { y = Gather(x, i) }", {}, 0, 6 + 4 + 6),
    ],
)  # fmt: skip
def test_one_node(text, weights, flops, numbers):
    found = cost(text, **{name: np.zeros(shape, np.float32) for name, shape in weights.items()})
    assert found == Cost(flops=flops, bytes_moved=numbers * 4, kernels=1)


@pytest.mark.parametrize("op", ["Reshape(x, s)", "Shape(x)", "Constant<value_float = 1.0>()"])
def test_what_needs_no_kernel(op):
    kind = {"R": "float[3,2]", "S": "int64[2]", "C": "float"}[op[0]]
    model = written(f"(float[2,3] x) => ({kind} y) <int64[2] s = {{3, 2}}> {{ y = {op} }}")
    assert model_cost(model) == Cost()


def test_what_is_not_known_is_named():
    found = cost("(float[?,3] x) => (float[?,3] y) { [n] y = Exp(x) }")
    assert (found.kernels, found.bytes_moved, found.unknown) == (1, 0, ("x", "y", "n"))
    found = cost("(float[1,2,3,3] x) => (float[1,2,3,3] y) { [n] y = LRN<size = 1>(x) }")
    assert found.unknown == ("n",)
    found = cost("(string[3] x) => (bool[3] y) { [n] y = Equal(x, x) }")  # strings have no one size
    assert (found.bytes_moved, found.unknown) == (3, ("x",))


def test_a_fused_node_is_one_kernel_that_moves_its_ends():
    model = TEACHING_MODELS["multiply_add_relu"]()
    assert model_cost(model) == Cost(flops=3 * 256, bytes_moved=8 * 256 * 4, kernels=3)
    assert model_cost(optimize(model)[0]) == Cost(flops=3 * 256, bytes_moved=4 * 256 * 4, kernels=1)


def test_fusing_changes_no_arithmetic():
    for name, make in TEACHING_MODELS.items():
        rules = ["vertical_fusion", "horizontal_fusion", "pointwise_fusion", "concat_elimination"]
        assert model_cost(optimize(make(), rules)[0]).flops == model_cost(make()).flops, name


def test_the_roofline():
    device = Device(name="napkin", flops=100.0, bandwidth=10.0)
    busy, waiting = Cost(flops=1000, bytes_moved=10, kernels=1), Cost(flops=10, bytes_moved=50, kernels=1)
    assert (busy.time_s(device), waiting.time_s(device)) == (10.0, 5.0)
    assert (busy + waiting).intensity == pytest.approx(1010 / 60)
    assert Cost().intensity == 0
