"""The oracle catches wrong rewrites: mutants of right ones, one fault each."""

# ruff: noqa: E501 (a graph reads better on one line)

import numpy as np
import pytest
from onnx import numpy_helper

from trtlab.graph import optimize
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.oracle import Mismatch, check_same, reference, sample_inputs

from .written import written


def optimized(name, *rules):
    model = TEACHING_MODELS[name]()
    return model, optimize(model, rules or None)[0]


def caught(before, after):
    """The names of the tensors the oracle complains about, one for each kind of input that shows a fault."""
    found = []
    for feeds in sample_inputs(before):
        try:
            check_same(before, after, feeds)
        except Mismatch as mismatch:
            found.append(str(mismatch).split(":")[0])
    return found


def weight_of(model, part):
    (tensor,) = [tensor for tensor in model.graph.initializer if part in tensor.name]
    return tensor, numpy_helper.to_array(tensor).copy()


def change_weight(part, change):
    def mutate(model):
        tensor, array = weight_of(model, part)
        tensor.CopyFrom(numpy_helper.from_array(change(array), tensor.name))

    return mutate


def drop(op, part):
    """Nodes of that operator inside the function with `part` in its name hand on their first input."""

    def mutate(model):
        for node in (node for body in model.functions if part in body.name for node in body.node if node.op_type == op):
            node.op_type = "Identity"
            del node.input[1:]

    return mutate


def reorder_concat(order):
    return lambda model: model.graph.node[-1].input.__setitem__(slice(None), [f"r{at}" for at in order])


def transpose(perm):
    return lambda model: (
        next(n for n in model.graph.node if n.op_type == "Transpose").attribute[0].ints.__setitem__(slice(None), perm)
    )


@pytest.mark.parametrize(
    ("name", "mutate", "where", "times"),
    [
        pytest.param("conv_bn_relu", change_weight("weight", lambda w: w[[1, 0, *range(2, 8)]]), "y", 5, id="swapped channels"),
        pytest.param("residual", drop("Add", "Add"), "y", 1, id="a dropped residual"),
        pytest.param("inception", reorder_concat([2, 1, 3]), "y", 1, id="a wrong concat offset"),
        pytest.param("qkv", change_weight("wq_wide", lambda w: np.roll(w, 1, axis=1)), "q", 1, id="a wrong split"),
        pytest.param("transposes", transpose([0, 3, 2, 1]), "y", 1, id="a wrong transpose"),
        pytest.param("multiply_add_relu", drop("Relu", "Relu"), "y", 1, id="a lost activation"),
    ],
)  # fmt: skip
def test_a_wrong_rewrite_is_caught(name, mutate, where, times):
    before, after = optimized(name)
    assert caught(before, after) == []
    mutate(after)
    assert caught(before, after).count(where) >= times


FEEDS = {"x": np.array([-1, 0, 2], np.float32)}
ONE = "(float[3] x) => (float[3] y) { y = Relu(x) }"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("(float[3] x) => (float[3] z) { z = Relu(x) }", r"outputs were \['y'\] and are \['z'\]"),
        ("(float[3] x) => (double[3] y) { a = Relu(x) y = Cast<to = 11>(a) }", r"y: float32 \(3,\) became float64"),
        ("(float[3] x) => (float[3,1] y) { a = Relu(x) b = Constant<value_ints = [3,1]>() y = Reshape(a, b) }", r"became float32 \(3, 1\)"),
        ("(float[3] x) => (float[3] y) { y = Sqrt(x) }", "y: NaN or infinity in other places"),
        ("(float[3] x) => (float[3] y) { y = Reciprocal(x) }", "y: NaN or infinity in other places"),
        ("(float[3] x) => (float[3] y) { y = Abs(x) }", "y: differs by 1; largest number 2, tolerance 2e-05"),
    ],
)  # fmt: skip
def test_what_a_mismatch_says(other, said):
    with pytest.raises(Mismatch, match=said):
        check_same(written(ONE), written(other), FEEDS)


def test_all_tensors_are_compared_and_whole_numbers_must_be_equal():
    assert {comparison.name for comparison in check_same(written(ONE), written(ONE), FEEDS)} == {"x", "y"}
    assert reference(written(ONE), FEEDS)["y"].tolist() == [0, 0, 2]
    one, two = (written(f"(int64[2] x) => (int64[2] y) {{ y = {op}(x) }}") for op in ("Abs", "Identity"))
    with pytest.raises(Mismatch, match="y: 1 of 2 values differ"):
        check_same(one, two, {"x": np.array([-1, 2])})
