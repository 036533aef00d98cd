"""Attention as one kernel: before and after on the reference evaluator, and what is left as it is."""

import pytest

from .written import ops, proved, reasons, written

TOKENS = "(float[2,3,4,5] q, float[2,3,5,4] k, float[2,3,4,6] v, float[2,1,1,4] m) => (float[2,3,4,6] y)"
SCALED = (
    "<float c = {0.5}, float z = {-1}> { s = MatMul(q, k) t = Mul(c, s) u = Add(m, t) p = Softmax(u) y = MatMul(p, v) }"
)
FUSED = [
    SCALED,
    SCALED.replace("Mul(c, s)", "Div(s, c)").replace("Add(m, t)", "Mul(t, z)"),
    "{ s = MatMul(q, k) t = Add(s, m) p = Softmax<axis = 3>(t) y = MatMul(p, v) }",
    "{ s = MatMul(q, k) p = Softmax(s) y = MatMul(p, v) }",
]


@pytest.mark.parametrize("work", FUSED[::2] + FUSED[3:])
@pytest.mark.parametrize("opset", [13, 20])
def test_scores_softmax_and_mean_are_one_node(work, opset):
    result, report = proved(written(f"{TOKENS} {work}", opset=opset), "attention_fusion")
    assert len(ops(result)) == 1
    assert [step.rule for step in report.steps] == ["attention_fusion"]


LEFT = {
    "neither a scale of one number": [
        FUSED[1],
        SCALED.replace("Mul(c, s)", "Div(c, s)"),
        SCALED.replace("Mul(c, s)", "Mul(m, s)"),
        SCALED.replace("Mul(c, s)", "Add(m, s)"),
        SCALED.replace("Mul(c, s)", "Add(m, s)").replace("Add(m, t)", "Mul(c, t)"),
    ],
    "s is read twice": [SCALED.replace("Mul(c, s)", "Mul(s, s)")],
    "2 nodes read p": ["{ s = MatMul(q, k) p = Softmax(s) a = MatMul(p, v) b = MatMul(p, v) y = Add(a, b) }"],
    "goes along axis 2": ["{ s = MatMul(q, k) p = Softmax<axis = 2>(s) y = MatMul(p, v) }"],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "work"), [(reason, work) for reason, works in LEFT.items() for work in works])
def test_anything_else_stays_and_says_why(reason, work):
    _, report = proved(written(f"{TOKENS} {work}"), "attention_fusion")
    assert not report.steps
    assert any(reason in said for said in reasons(report, "attention_fusion")), report


def test_weights_on_the_right_are_no_mean_of_values():
    text = f"{TOKENS} {{ s = MatMul(q, k) p = Softmax(s) y = MatMul(k, p) }}".replace("4,6] y", "5,4] y")
    assert not proved(written(text), "attention_fusion")[1].steps


def test_before_opset_13_a_softmax_flattens():
    text = f"{TOKENS} {FUSED[3]}"
    _, report = proved(written(text, opset=11), "attention_fusion")
    assert "goes along axis 1" in reasons(report, "attention_fusion")[0]
    assert proved(written(text.replace("Softmax", "Softmax<axis = 3>"), opset=11), "attention_fusion")[1].steps


def test_a_mask_of_more_images_than_scores_is_no_part_of_it():
    sizes = "(float[1,4,5] q, float[1,5,4] k, float[2,4,6] v, float[2,4,4] m) => (float[2,4,6] y)"
    work = "{ s = MatMul(q, k) t = Add(s, m) p = Softmax(t) y = MatMul(p, v) }"
    _, report = proved(written(f"{sizes} {work}"), "attention_fusion")
    assert "t is not of the shape of s" in reasons(report, "attention_fusion")[0]
