"""Every rule before and after on the reference evaluator, and one test per refusal, matching its reason."""

# ruff: noqa: E501 (a graph reads better on one line)

import numpy as np
import onnx
import pytest

from trtlab.graph.oracle import reference, sample_inputs
from trtlab.graph.rewrite import optimize
from trtlab.graph.rules.constants import fold

from .written import onnxruntime_runs, ops, proved, reasons, written

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def vectors(channels=4):
    """scale, shift, mean, var of a batch normalisation."""
    return {"s": normal(channels), "b": normal(channels), "m": normal(channels), "v": np.abs(normal(channels))}


def referee(opset):
    """onnx's reference evaluator runs BatchNormalization in training mode before opset 14: it takes the default
    momentum for a wish to train. ONNX Runtime does what the standard says."""
    return reference if opset >= 14 else onnxruntime_runs


# Rule, the graph, what is left of it. Each is proved on seven kinds of inputs, from all zero to large.
REWRITTEN = [
    ("dead_layers", "(float[3] x) => (float[3] y) { y = Relu(x) d = Exp(x) e = Neg(d) }", ["Relu"]),
    ("dead_layers", "(float[3] x) => (float[3] y) { a = Identity(x) y = Relu(a) }", ["Relu"]),
    ("dead_layers", "(float[3] x) => (float[3] y) { a = Identity(x) b = Identity(a) y = Identity(b) }", ["Identity"]),
    ("dead_layers", "(float[3] x) => (float[3] y) { a, mask = Dropout(x) y = Relu(a) }", ["Relu"]),
    ("dead_layers", "(float[3] x) => (float[3] y) { a = Cast<to = 1>(x) y = Relu(a) }", ["Relu"]),
    ("dead_layers", "(float[3] x) => (float[3] y, float[3] z) { a = Relu(x) y = Identity(a) z = Exp(a) }", ["Relu", "Exp"]),
    ("constant_folding", "(float[2] x) => (float[2] y) <float a = {2}, float b = {3}> { c = Mul(a, b) y = Add(x, c) }", ["Add"]),
    ("constant_folding", "(float[2] x) => (float[2] y) { a = Constant<value_float = 2.0>() b = Neg(a) y = Add(x, b) }", ["Add"]),
    ("constant_folding", "(float[2,3] x) => (float[2,3] y) { s = Shape(x) y = Reshape(x, s) }", ["Reshape"]),
    ("constant_folding", "(float[2] x) => (float[2] y) <float a = {0}> { c = Reciprocal(a) y = Mul(x, c) }", ["Mul"]),
    ("constant_folding", "(int64[2] x) => (int64[2] y) <int64[2] a = {-7, 7}, int64 b = {2}> { c = Div(a, b) y = Add(x, c) }", ["Add"]),
    ("common_subexpressions", "(float[3] x) => (float[3] y) <float p = {2}, float q = {2}> { a = Pow(x, p) b = Pow(x, q) y = Add(a, b) }", ["Pow", "Add"]),
    ("common_subexpressions", "(float[3] x) => (float[3] y) <float p = {0}, float q = {-0.0}> { a = Div(x, p) b = Div(x, q) y = Add(a, b) }", ["Div", "Div", "Add"]),
    ("common_subexpressions", "(float[3] x) => (float[3] y) { a = LeakyRelu<alpha = 0.0>(x) b = LeakyRelu<alpha = -0.0>(x) c = Reciprocal(a) d = Reciprocal(b) y = Sub(c, d) }", ["LeakyRelu", "LeakyRelu", "Reciprocal", "Reciprocal", "Sub"]),
    ("common_subexpressions", "(float[3] x) => (float[3] y, float[3] b) { a = Exp(x) b = Exp(x) y = Neg(a) }", ["Exp", "Neg"]),
    ("common_subexpressions", "(float[4,4] x, float[4,4] z) => (float[4,4] y) { a = Sub(x, z) b = Sub(z, x) y = Mul(a, b) }", ["Sub", "Sub", "Mul"]),
    ("transposes", "(float[2,3] x) => (float[2,3] y) { a = Transpose(x) b = Transpose(a) y = Relu(b) }", ["Relu"]),
    ("transposes", "(float[2,3,4] x) => (float[3,2,4] y) { a = Transpose<perm = [1,2,0]>(x) y = Transpose<perm = [0,2,1]>(a) }", ["Transpose"]),
    ("transposes", "(float[2,3] x) => (float[2,3] y) { a = Transpose<perm = [0,1]>(x) y = Relu(a) }", ["Relu"]),
    ("transposes", "(float[2,3] x) => (float[2,3] y, float[3,2] z) { a = Transpose(x) z = Exp(a) b = Transpose(a) y = Relu(b) }", ["Transpose", "Exp", "Relu"]),
    ("pointwise_fusion", "(float[3] a, float[3] b, float[3] c) => (float[3] y) { d = Mul(a, b) e = Add(d, c) y = Relu(e) }", ["Mul_Add_Relu"]),
    ("pointwise_fusion", "(float[3] x) => (float[3] y, float[3] a) { a = Exp(x) b = Neg(a) y = Tanh(b) }", ["Exp_Neg_Tanh"]),
    ("pointwise_fusion", "(float[3] x) => (float[3] y) { a = Exp(x) b = Neg(a) c = Tanh(a) y = Add(b, c) }", ["Exp_Neg_Tanh_Add"]),
    ("pointwise_fusion", "(float[3] x) => (float[3] y) <float z = {0}> { c = Less(x, z) n = Neg(x) y = Where(c, n, x) }", ["Less_Neg_Where"]),
    ("pointwise_fusion", "(float[0,3] x) => (float[0,3] y) { a = Exp(x) y = Log(a) }", ["Exp_Log"]),
    ("concat_elimination", "(float[3] x) => (float[6] y) { a = Exp(x) b = Neg(x) y = Concat<axis = 0>(a, b) }", ["Exp", "Neg", "ConcatInPlace"]),
    ("concat_elimination", "(float[3] x) => (float[9] y) { a = Exp(x) b = Neg(x) c = Concat<axis = 0>(a, b) d = Abs(x) y = Concat<axis = 0>(c, d) }", ["Exp", "Neg", "ConcatInPlace", "Abs", "ConcatInPlace"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "left"), REWRITTEN)
def test_before_and_after(rule, text, left):
    assert sorted(ops(proved(written(text), rule)[0])) == sorted(left)


WEIGHTED = [
    ("conv_bn_folding", "(float[2,3,5,5] x) => (float[2,4,5,5] y) { c = Conv<pads = [1,1,1,1]>(x, w) y = BatchNormalization(c, s, b, m, v) }", (4, 3, 3, 3), ["Conv"]),
    ("conv_bn_folding", "(float[2,4,5] x) => (float[2,4,3] y) { c = Conv<group = 2>(x, w, k) y = BatchNormalization<epsilon = 0.1>(c, s, b, m, v) }", (4, 2, 3), ["Conv"]),
    ("vertical_fusion", "(float[2,3,5,5] x) => (float[2,4,3,3] y) { c = Conv(x, w, k) y = Relu(c) }", (4, 3, 3, 3), ["Conv_Relu"]),
    ("vertical_fusion", "(float[2,3,5,5] x, float[2,4,3,3] r) => (float[2,4,3,3] y) { c = Conv(x, w) d = Add(r, c) y = Relu(d) }", (4, 3, 3, 3), ["Conv_Add_Relu"]),
    ("vertical_fusion", "(float[N,3] x) => (float[N,4] y) { c = MatMul(x, w) d = Add(c, k) y = Gelu(d) }", (3, 4), ["MatMul_Add_Gelu"]),
    ("vertical_fusion", "(float[2,3] x) => (float[2,4] y) { c = Gemm<transB = 1>(x, w, k) y = LeakyRelu(c) }", (4, 3), ["Gemm_LeakyRelu"]),
    ("horizontal_fusion", "(float[5,2,3] x) => (float[5,2,4] y, float[5,2,4] z) { y = MatMul(x, w) z = MatMul(x, w) }", (3, 4), ["MatMul_Split"]),
    ("horizontal_fusion", "(float[2,3] x) => (float[2,4] y, float[2,4] z) { y = Gemm<transB = 1>(x, w, k) z = Gemm<transB = 1>(x, w, s) }", (4, 3), ["Gemm_Split"]),
    ("horizontal_fusion", "(float[N,3,5,5] x) => (float[N,4,3,3] y, float[N,4,3,3] z) { y = Conv(x, w, k) z = Conv(x, w, s) }", (4, 3, 3, 3), ["Conv_Split"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "shape", "left"), WEIGHTED)
@pytest.mark.parametrize("opset", [9, 20])
def test_before_and_after_with_weights(rule, text, shape, left, opset):
    if opset < 20:
        text, left = text.replace("Gelu", "Tanh"), [name.replace("Gelu", "Tanh") for name in left]
    model = written(text, opset=opset, w=normal(*shape), k=normal(4), **vectors())
    result, _ = proved(model, rule, run=referee(opset))
    assert ops(result) == left


SIDE_BY_SIDE = {
    "an empty bias": ('y = Conv(x, w, "") z = Conv(x, u, "")', (3, 4, 2), True),
    "an empty bias and none": ('y = Conv(x, w, "") z = Conv(x, u)', (3, 4, 2), None),
    "an empty bias and work behind": ('p = Conv(x, w, "") y = Add(p, d) q = Conv(x, u, "") z = Add(q, e)', (3, 4, 2), True),
    "the same tensor twice": ("t = Reshape(x, s) y = Gemm<transB = 1>(t, w, w) z = Gemm<transB = 1>(t, u, u)", (4, 4), False),
    "its own input": ("k = Identity(w) y = MatMul(w, w) z = MatMul(w, u)", (4, 4), False),
    "turned round": ("y = ConvTranspose<strides = [2]>(x, w) z = ConvTranspose<strides = [2]>(x, u)", (4, 3, 2), False),
    "two turned round before one": ("y = ConvTranspose(x, w) z = ConvTranspose(x, u) t = Conv(x, w)", (4, 4, 2), False),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "shape", "wide"), SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
@pytest.mark.parametrize("opset", [11, 20])
def test_side_by_side_or_apart(nodes, shape, wide, opset):
    """Whether horizontal fusion takes it (None: as it likes), the result is what ONNX Runtime makes of the original."""
    arrays = {k: normal(*shape) for k in "wu"} | {k: normal(1, 3, 1) for k in "de"}
    text = nodes.replace('""', "EMPTY")
    text = f"(float[1,4,4] x) => (float[?,?,?] y, float[?,?,?] z) <int64[2] s = {{4, 4}}> {{ {text} }}"
    model = written(text, opset=opset, ir=8, **arrays)
    for node in model.graph.node:
        node.input[:] = ["" if name == "EMPTY" else name for name in node.input]
    for value in model.graph.output if shape == (4, 4) else ():
        del value.type.tensor_type.shape.dim[2:]
    _, report = proved(model, "vertical_fusion", "horizontal_fusion", run=onnxruntime_runs)
    assert wide is None or wide == any(step.rule == "horizontal_fusion" for step in report.steps)


BN = "y = BatchNormalization(c, s, b, m, v)"
REFUSED = [
    ("dead_layers", "(float[3] x) => (float[3] y, float[3] z) { y = Relu(x) z = Identity(y) }", "z is an output of the graph"),
    ("dead_layers", "(float[3] x) => (float[3] y, bool[3] m) { a, m = Dropout(x) y = Relu(a) }", "its mask is read"),
    ("dead_layers", "(float[3] x) => (float[3] y, bool[3] n) { a, m = Dropout(x) n = Not(m) y = Relu(a) }", "its mask is read"),
    ("dead_layers", "(float[3] x) => (float[3] y) <float r = {0.5}, bool t = {1}> { a = Dropout(x, r, t) y = Relu(a) }", "training_mode is on"),
    ("dead_layers", "(float[3] x, bool t) => (float[3] y) <float r = {0.5}> { a = Dropout(x, r, t) y = Relu(a) }", "t, which is only known at run time"),
    ("constant_folding", "(float[2] x) => (float[2] y, float[2] c) <float[4] a = {1,2,3,4}> { b, c = Split<num_outputs = 2>(a) y = Add(x, b) }", "c is an output of the graph"),
    ("constant_folding", "(float[2] x) => (float[2] y) { a = RandomNormal<shape = [2]>() y = Add(x, a) }", "RandomNormal is random"),
    ("constant_folding", "(float[2] x) => (float[2] y, float z) <float a = {2}> { y = Relu(x) z = Neg(a) }", "z is an output of the graph"),
    ("constant_folding", "(float[2] x) => (float[300,300] y) <int64[2] s = {300, 300}> { a = ConstantOfShape(s) y = Expand(a, s) }", "360,000 bytes: more than 65,536"),
    ("constant_folding", "(float[2] x) => (float[2] y) <int8[2] q = {1, 2}, float s = {0.5}> { a = DequantizeLinear(q, s) y = Add(x, a) }", "DequantizeLinear of these numbers is left to the runtime"),
    ("common_subexpressions", "(float[3] x) => (float[3] y, float[3] z) { y = Exp(x) z = Exp(x) }", "y and z are both outputs"),
    ("transposes", "(float[2,2] x) => (float[2,2] y) { y = Transpose<perm = [0,1]>(x) }", "y is an output of the graph"),
    ("conv_bn_folding", f"(float[2,3,5] x) => (float[2,4,3] y) {{ c = Conv(x, w) {BN} z = Relu(c) }}", "2 nodes read c"),
    ("conv_bn_folding", f"(float[2,3,5] x, float[4,3,3] u) => (float[2,4,3] y) {{ c = Conv(x, u) {BN} }}", "not constant: u"),
    ("conv_bn_folding", "(float[2,3,5] x) => (float[2,4,3] y) { c = Conv(x, w) y, rm, rv = BatchNormalization<training_mode = 1>(c, s, b, m, v) }", "training mode"),
    ("vertical_fusion", "(float[2,3,5] x) => (float[2,4,3] y, float[2,4,3] c) { c = Conv(x, w) y = Relu(c) }", "c is an output of the graph, so it must be written"),
    ("vertical_fusion", "(float[2,3,5] x) => (float[2,4,3] y) { c = Conv(x, w) y = Mul(c, c) }", "Mul_1 reads c twice"),
    ("vertical_fusion", "(float[2,3,5] x, float[6,2,4,3] r) => (float[6,2,4,3] y) { c = Conv(x, w) y = Add(c, r) }", "broadcasts c"),
    ("horizontal_fusion", "(float[2,3,5] x) => (float[2,4,3] y, float[2,4,5] z) { y = Conv(x, w) z = Conv<pads = [1,1]>(x, w) }", "differ in operator or attributes"),
    ("horizontal_fusion", "(float[2,4,5] x) => (float[2,4,3] y, float[2,4,3] z) { y = Conv<group = 2>(x, g) z = Conv<group = 2>(x, g) }", "grouped channels"),
    ("horizontal_fusion", "(float[2,3,5] x) => (float[2,4,3] y, float[2,4,2] z) { y = Conv(x, w) z = Conv(x, f) }", "w and f do not lie side by side"),
    ("pointwise_fusion", "(float[3] x) => (float[2,3] y) <float[2,3] z = {1,2,3,4,5,6}> { a = Exp(x) y = Add(a, z) }", "do not fit one loop"),
    ("pointwise_fusion", "(float[3] x) => (float[3] y) { a = Exp(x) s = Softmax(a) y = Mul(a, s) }", "a path between a and y runs outside"),
    ("concat_elimination", "(float[3] x) => (float[6] y) { a = Exp(x) y = Concat<axis = 0>(x, a) }", "x is an input or a weight"),
    ("concat_elimination", "(float[3] x) => (float[6] y) { a = Exp(x) y = Concat<axis = 0>(a, a) }", "two places"),
    ("concat_elimination", "(float[3] x) => (float[6] y, float[3] a) { a = Exp(x) b = Neg(x) y = Concat<axis = 0>(b, a) }", "a is an output of the graph, with memory"),
    ("concat_elimination", "(float[3] x) => (float[2,3] y) <int64[2] s = {1, 3}> { a = Exp(x) r = Reshape(a, s) b = Reshape(x, s) c = Neg(b) y = Concat<axis = 0>(c, r) }", "Reshape needs r in one piece"),
    ("concat_elimination", "(float[3] x) => (float[6] y, float[6] z) { a = Exp(x) b = Neg(x) y = Concat<axis = 0>(a, b) z = Concat<axis = 0>(b, a) }", "has its place in the buffer of"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "reason"), REFUSED)
def test_a_refusal_says_why(rule, text, reason):
    shapes = {"w": (4, 3, 3), "g": (4, 2, 3), "f": (4, 3, 4)}
    arrays = {name: normal(*shape) for name, shape in shapes.items() if f"{name})" in text or f"{name}," in text}
    norm = vectors() if "BatchNormalization" in text else {}
    model = written(text, **arrays, **norm)
    result, report = optimize(model, [rule])
    assert any(reason in said for said in reasons(report, rule)), report
    if "Random" not in text and "training" not in reason and "only known" not in reason:
        proved(model, rule)
    if not report.steps:
        assert ops(result) == ops(model)


# --- what must be respected -------------------------------------------------------------------------------------------


def test_shared_weights_are_not_changed_in_place():
    text = f"(float[2,3,5] x) => (float[2,4,3] y, float[2,4,3] z) {{ c = Conv(x, w) {BN} z = Conv<dilations = [1]>(x, w) }}"
    model = written(text, w=normal(4, 3, 3), **vectors())
    result, report = proved(model, "conv_bn_folding")
    assert len(report.steps) == 1
    assert "w" in {tensor.name for tensor in result.graph.initializer}


def test_a_default_that_callers_may_override_is_no_constant():
    text = "(float[2] x, float[2] a) => (float[2] y) { b = Neg(a) y = Add(x, b) }"
    model = written(text, a=np.ones(2, np.float32))
    result, report = optimize(model, ["constant_folding"])
    assert (ops(result), report.steps) == (["Neg", "Add"], ())
    old = written(text, a=np.ones(2, np.float32), ir=3)
    assert ops(optimize(old, ["constant_folding"])[0]) == ["Add"]


ONE = {name: np.full(1, value, np.float16) for name, value in {"s": 1, "b": 0, "m": 0, "v": 0}.items()}
LEFT_ALONE = [
    ("conv_bn_folding", 20, f"(float16[1,1,3] x) => (float16[1,1,3] y) {{ c = Conv(x, w) {BN} }}", ONE | {"w": np.full((1, 1, 1), 3e4, np.float16)}, "the new weights overflow"),
    ("conv_bn_folding", 20, f"(float16[1,1,3] x) => (float16[1,1,3] y) {{ c = Conv(x, w) {BN} }}", ONE | {"w": np.full((1, 1, 1), 1e-4, np.float16), "s": np.full(1, 1e-4, np.float16)}, "the new weights underflow: 3.16e-06 would be 3.16e-06"),
    ("conv_bn_folding", 20, f"(float[1,1,3] x) => (float[1,1,3] y) {{ c = Conv(x, w) {BN} }}", {k: v.astype(np.float32) for k, v in ONE.items()} | {"w": np.full((1, 1, 1), 1.2345e-30, np.float32), "s": np.full(1, 1e-12, np.float32)}, "the new weights underflow"),
    ("conv_bn_folding", 9, "(float[2,3,5] x) => (float[2,4,3] z) { c = Conv(x, w) y, rm, rv, sm, sv = BatchNormalization(c, s, b, m, v) z = Relu(y) }", vectors() | {"w": normal(4, 3, 3)}, "training mode"),
    ("conv_bn_folding", 7, "(float[1,3,5] x) => (float[1,4,3] y) { c = Conv(x, w) y = BatchNormalization<spatial = 0>(c, s, b, m, v) }", {name: np.ones((4, 3), np.float32) for name in "sbmv"} | {"w": normal(4, 3, 3)}, "spatial=0"),
    ("constant_folding", 20, "(float[2] x) => (float[2] y) <float[2] k = {1, 2}, int64 i = {0}> { s = SequenceConstruct(k, k) e = SequenceAt(s, i) y = Add(x, e) }", {}, "SequenceConstruct of these numbers is left to the runtime"),
    ("constant_folding", 20, "(string[2] x) => (string[2] y) { a = StringConcat(k, k) y = StringConcat(x, a) }", {"k": np.array(["a", "b"], object)}, "the size of the result is not known"),
    ("dead_layers", 6, "(float[3] x) => (float[3] y) { a = Identity(x) y = Relu(a) }", {}, "opset 6: the rules know what operators mean from opset 7 on"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "opset", "text", "weights", "reason"), LEFT_ALONE, ids=[c[-1] for c in LEFT_ALONE])
def test_what_a_rule_does_not_understand_is_left_alone(rule, opset, text, weights, reason):
    model = written(text, opset=opset, ir=8 if opset < 20 else 10, **weights)
    result, report = optimize(model)
    assert any(reason in said for said in reasons(report, rule)), report
    assert not [step for step in report.steps if step.rule == rule]
    assert opset > 6 or ops(result) == ops(model)


def test_a_slice_of_a_buffer_is_no_output_of_its_own():
    text = (
        "(float[2] x) => (float[4] y, float[2] z) { a = Relu(x) b = Exp(x) y = Concat<axis = 0>(a, b) z = Identity(a) }"
    )
    _, report = proved(written(text), "concat_elimination", "dead_layers")
    assert "a has its place in the buffer of Concat_2" in reasons(report, "dead_layers")


def test_twins_that_write_other_outputs_are_two():
    text = """(float[1,1,4,4] x) => (float[1,1,3,3] a, int64[1,1,3,3] b) {
        p, i = MaxPool<kernel_shape = [2,2]>(x) a = Relu(p) q, j = MaxPool<kernel_shape = [2,2]>(x) b = Neg(j) }"""
    model = written(text)
    assert len(proved(model, "common_subexpressions")[1].steps) == 1
    model.graph.node[0].output[1] = ""
    assert proved(model, "common_subexpressions")[1].steps == ()


def test_fold_of_one_channel_by_hand():
    one = np.ones(1)
    kernel, bias = fold(np.full((1, 1), 3.0), 5 * one, [2 * one, 7 * one, 1 * one, 3 * one], 1.0)
    assert (kernel.item(), bias.item()) == (3.0, 11.0)  # gain = 2 / sqrt(3 + 1) = 1; bias = 1 * (5 - 1) + 7


def test_a_region_is_not_fused_around_a_branch_that_reads_it():
    text = """(float[3] x, bool c) => (float[3] y) { a = Exp(x)
        b = If(c) <then_branch = t () => (float[3] p) { p = Neg(a) }, else_branch = e () => (float[3] q) { q = Abs(a) }>
        y = Add(a, b) }"""
    result, report = proved(written(text), inputs=[{"x": np.ones(3, np.float32), "c": np.array(True)}])
    assert reasons(report, "pointwise_fusion") == ["a path between a and y runs outside"]
    assert ops(result) == ["Exp", "If", "Add"]


IF = """(float[3] x, bool c) => (float[3] y) { a = Exp(x) b = OP(a) y = If(c) <then_branch = t () => (float[3] p) {
    p = Neg(INNER) }, else_branch = e () => (float[3] q) { q = Abs(b) }> }"""
READ_INSIDE = [("Identity", "a"), ("Identity", "b"), ("Exp", "a"), ("Relu", "b")]
ODD = {f"a branch reads {inner} of {op}": IF.replace("OP", op).replace("INNER", inner) for op, inner in READ_INSIDE} | {
    "a loop reads from outside": """(float[3] x, int64 n, bool c) => (float[3] y) { k = Identity(x) e = Exp(k)
        y = Loop(n, c, k) <body = b (int64 i, bool ci, float[3] s) => (bool co, float[3] so) {
            co = Identity(ci) so = Add(s, e) }> z = Neg(e) }""",
    "a sequence": """(float[3] x) => (float[6] y) {
        a = Exp(x) b = Neg(a) s = SequenceConstruct(a, b) y = ConcatFromSequence<axis = 0>(s) }""",
    "an output that only dead nodes read": """(float[1,1,4] x) => (float[1,1,2] y) {
        a = Relu(x) y, i = MaxPool<kernel_shape = [3]>(a) j = Neg(i) }""",
    "an input that is an output": "(float[3] x) => (float[3] x) { }",
    "a name inside a branch that a fused body has too": """(float[3] x, bool c) => (float[3] y) {
        a = Exp(x) b = Neg(a) d = Relu(b)
        y = If(c) <then_branch = t () => (float[3] p) { t0 = Neg(d) p = Relu(t0) },
                   else_branch = e () => (float[3] q) { q = Abs(d) }> }""",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("flag", [True, False])
def test_odd_graphs_stay_right(text, flag):
    model = written(text)
    odd = {"c": np.array(flag), "n": np.array(2)}
    names = {value.name for value in model.graph.input}
    proved(model, inputs=[feeds | {k: v for k, v in odd.items() if k in names} for feeds in sample_inputs(model)])


def test_unknown_operators_are_left_alone_and_their_surroundings_are_not():
    text = "(float[3] x) => (float[3] y) { a = Identity(x) b = my.own.Magic(a) c = my.own.Magic(a) d = Add(b, c) y = Relu(d) }"
    result, _ = optimize(written(text, domains=', "my.own": 1'))
    assert [(node.op_type, node.input[0]) for node in result.graph.node[:2]] == [("Magic", "x")] * 2


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 14, 18, onnx.defs.onnx_opset_version()])
def test_every_opset(opset):
    text = """(float[1,3,5,5] x) => (float[1,8,5,5] y) {
        c = Conv<pads = [1,1,1,1]>(x, w) n = BatchNormalization(c, s, b, m, v) r = Relu(n)
        d = Conv<pads = [1,1,1,1]>(x, u) e = Dropout(d) f = Relu(e) y = Concat<axis = 1>(r, f) }"""
    result, report = proved(
        written(text, opset=opset, ir=8, w=normal(4, 3, 3, 3), u=normal(4, 3, 3, 3), **vectors()), run=referee(opset)
    )
    assert report.steps[-1].after.kernels == 2
    assert ops(result)[-1] == "ConcatInPlace"


def test_a_twin_with_a_place_in_a_concat_stays():
    text = "(float[3] x) => (float[6] y) { a = Exp(x) b = Exp(x) y = Concat<axis = 0>(a, b) }"
    result, report = proved(written(text), "concat_elimination", "common_subexpressions")
    assert ops(result) == ["Exp", "Exp", "ConcatInPlace"]
    assert "has its place" in reasons(report, "common_subexpressions")[0]
