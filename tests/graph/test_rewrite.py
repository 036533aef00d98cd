"""optimize, its report and its steps; the film for a stepper; valid models from random graphs."""

import cProfile
import itertools
import pstats

import numpy as np
import pytest
from onnx import helper, numpy_helper

from trtlab.graph import optimize
from trtlab.graph.cost import model_cost
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.oracle import check_same
from trtlab.graph.rule import Rule
from trtlab.graph.rules import RULES

from . import random_models
from .written import onnxruntime_runs, ops, proved, written


@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_every_step_is_a_valid_model_that_does_the_same(name):
    model = TEACHING_MODELS[name]()
    result, report = optimize(model)
    rng = np.random.default_rng(3)
    feeds = {
        v.name: rng.normal(size=[d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
        for v in model.graph.input
    }
    assert [step.number for step in report.steps] == [*range(len(report.steps))] != []
    assert all(one.after == two.before for one, two in itertools.pairwise(report.steps))
    for step in (*report.steps, *reversed(report.steps)):
        for film, kernels, moved in (
            (report.model_at(step.number), step.before.kernels, step.before.bytes_moved),
            (report.model_at(step.number + 1), step.after.kernels, step.after.bytes_moved),
        ):
            check_same(model, film, feeds)
            cost = model_cost(film)  # worked out again from the file alone
            assert (cost.kernels, cost.bytes_moved, cost.unknown) == (kernels, moved, ())
    assert (report.model_at(len(report.steps)), report.steps[-1].after) == (result, report.counts)
    check_same(model, result, feeds, run=onnxruntime_runs)
    assert model == TEACHING_MODELS[name](), "the original is not changed"
    twice, report = optimize(result)
    assert (ops(twice), report.steps) == (ops(result), ())


def test_fused_nodes_say_what_they_stand_for():
    result, _ = optimize(TEACHING_MODELS["conv_bn_relu"]())
    (node,) = result.graph.node
    assert (node.domain, node.op_type, node.name) == ("trtlab.fused", "Conv_Relu", "conv + bn + relu")
    assert {p.key: p.value for p in node.metadata_props} == {"trtlab.nodes": "conv\nbn\nrelu"}
    (function,) = result.functions
    assert [n.op_type for n in function.node] == ["Conv", "Relu"]


def test_equal_bodies_share_a_function_and_others_get_a_number():
    text = """(float[3] x) => (float[3] y, float[3] z, float[3] w) {
        a = Exp(x) y = Neg(a) s = Softmax(y) b = Exp(s) z = Neg(b) t = Softmax(z)
        c = LeakyRelu<alpha = 0.1>(t) d = Exp(c) q = Softmax(d) e = LeakyRelu<alpha = 0.2>(q) w = Exp(e) }"""
    result, _ = proved(written(text))
    assert [op for op in ops(result) if op != "Softmax"] == ["Exp_Neg", "Exp_Neg", "LeakyRelu_Exp", "LeakyRelu_Exp_2"]
    assert len(result.functions) == 3


def test_rules_by_name_by_object_or_wrong():
    model = TEACHING_MODELS["dropout"]()
    assert {s.rule for s in optimize(model, ["dead_layers"])[1].steps} == {"dead_layers"}
    assert {s.rule for s in optimize(model, "dead_layers")[1].steps} == {"dead_layers"}
    film = optimize(model, iter(["dead_layers"]))[1].model_at
    assert len(film(1).graph.node) < len(film(0).graph.node) == len(model.graph.node)

    class Never(Rule):
        name = "never"

        def pattern(self, node):
            return [node]

        def check(self, _nodes):
            return "not today"

    _, report = optimize(model, [Never(), RULES["dead_layers"]])
    assert {refusal.reason for refusal in report.refusals} == {"not today"}
    assert ops(optimize(model, [])[0]) == ops(model)
    assert optimize(model, Never())[1].steps == ()
    for wrong, named in ((["fusion"], "'fusion'"), (3, "3"), ([[]], r"\[\]")):
        with pytest.raises(ValueError, match=f"no rule is called {named}; there are dead_layers, constant_folding"):
            optimize(model, wrong)


LATER = [
    "(float[3] x) => (float[3] y) <float r = {0.5}, bool c = {1}> { t = Not(c) a = Dropout(x, r, t) y = Relu(a) }",
    "(float[2,3] x) => (float[2,3] y) <int64[2] h = {-2,-3}> { s = Abs(h) r = Reshape(x, s) y = Exp(r) }",
]


@pytest.mark.parametrize("text", LATER)
def test_a_refusal_that_holds_no_more_is_forgotten_and_bytes_that_were_unknown_are_counted(text):
    result, report = proved(written(text))
    assert (report.refusals, report.counts) == ((), optimize(result, [])[1].counts)


def test_new_names_meet_no_old_ones():
    text = """(float[2,3] x) => (float[2,4] y, float[2,4] z, float[2,3] w_wide) { y = MatMul(x, w) z = MatMul(x, u)
        w_wide = Relu(x) }"""
    arrays = {name: np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) for name in ("w", "u")}
    result, _ = proved(written(text, **arrays))
    assert {tensor.name for tensor in result.graph.initializer} == {"w_wide_2"}


# --- graphs nobody thought of -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first", [0, 20, 40, 60, *(pytest.param(n, marks=pytest.mark.sweep) for n in range(80, 300, 20))]
)
def test_random_models_of_every_shape_stay_the_same(first):
    """Twenty at a time, under all rules, and under some in any order. ONNX Runtime is the referee."""
    for number in range(first, first + 20):
        model, feeds = random_models.random_model(number)
        try:
            want = random_models.run(model, feeds)
        except Exception:  # noqa: BLE001 (ONNX Runtime's errors have no base of their own)
            continue
        referee = lambda m, f: want if m is model else random_models.run(m, f)  # noqa: B023, E731
        some = np.random.default_rng(number).permutation(list(RULES))[: number % 9 + 1]
        for rules in (None, [str(name) for name in some]):
            result, report = optimize(model, rules)
            check_same(model, result, feeds, run=referee, rtol=1e-4)
            assert model_cost(result).kernels == report.counts.kernels
            assert optimize(result, rules)[1].steps == (), number


def test_names_are_made_unique_and_stay_so():
    """Two nodes would be called `a + b`: one has the name already, one joins its own from a name with a line break."""
    model = written("(float[3] x) => (float[3] y) { [n] a = Identity(x) [n] b = Identity(a) y = Relu(b) }")
    assert [step.where for step in optimize(model)[1].steps] == [("n",), ("n_2",)]
    model = written(
        "(float[3] x) => (float[3] y, float[3] z) { a = Exp(x) y = Neg(a) s = Softmax(x) b = Exp(s) z = Neg(b) }"
    )
    for node, name in zip(model.graph.node, ("a", "b", "a + b", "a\nb", "c"), strict=True):
        node.name = name
    result, _ = proved(model, run=onnxruntime_runs)
    assert len({node.name for node in result.graph.node}) == len(result.graph.node) == 3


@pytest.mark.parametrize("form", ["products", "Concat", "outputs", "readers", "equal"])
def test_work_grows_with_the_nodes(form):
    """Calls of functions, counted: twice the nodes take about twice as many, where nodes are wide too."""

    def calls(size):
        heads = [helper.make_node(*head(i), [f"t{i}"]) for i in range(size)]
        tails = [helper.make_node("Concat", [f"t{i}" for i in range(size)], ["y"], axis=0)] * (form != "outputs")
        tails += [helper.make_node("Concat", [f"t{i}" for i in range(size)], ["z"], axis=1)] * (form == "readers")
        ends = ["y", "z"][: len(tails)] if tails else [f"t{i}" for i in range(size)]
        weights = [
            numpy_helper.from_array(np.full((4, 4), i * (form != "equal"), np.float32), f"w{i}") for i in range(size)
        ]
        values = [helper.make_tensor_value_info(name, 1, None if name != "x" else [4, 4]) for name in ("x", *ends)]
        graph = helper.make_graph(heads + tails, form, values[:1], values[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        with cProfile.Profile() as counted:
            _, report = optimize(model)
        assert report.steps
        return pstats.Stats(counted).total_calls

    def head(number):
        return ("Add" if form == "Concat" else "MatMul"), ["x", f"w{number}"]

    calls(10)  # what is done once
    assert calls(160) < 2.3 * calls(80)


def test_a_shape_that_a_step_uncovers_is_used_in_the_same_run():
    """onnx knows no shape behind such a Transpose; once it is gone, what stands behind it is one loop."""
    text = "{ c = Constant <value=float {1.5}> () t = Transpose (c) y = Sub (t, t) z = Sub (c, y) }"
    result, report = optimize(written(f"(float[3] x) => (float z, float y) {text}", opset=10, ir=8))
    assert (ops(result), [step.rule for step in report.steps][1:]) == (["Constant", "Sub_Sub"], ["pointwise_fusion"])
    assert optimize(result)[1].steps == ()
