"""engine/glassbox: Q/DQ models as ONNX Runtime runs them, unoptimised, and products that are exact."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.glassbox.referee import check, referee
from tests.engine.glassbox.referee import model as parsed
from trtlab.engine import glassbox
from trtlab.engine.glassbox.builder import build
from trtlab.engine.glassbox.errors import PlanError
from trtlab.engine.glassbox.runtime import Engine
from trtlab.engine.networks import TRAINED, load_digits_split
from trtlab.engine.precision import calibrate, convert
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.precision import insert_qdq, quantizable

RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("where", ["tensor", "channel", "block"])
def test_pairs_round_and_saturate_as_onnx_runtime_does(dtype, where):
    shape = {"tensor": (), "channel": (6,), "block": (4, 3)}[where]
    attributes = {"tensor": "", "channel": "<axis = 1>", "block": "<axis = 1, block_size = 2>"}[where]
    scale = RNG.uniform(0.01, 0.5, shape).astype(np.float32)
    zero = RNG.integers(0, 100, shape).astype(dtype)
    x = normal(4, 6) * 20
    x[0] = scale.flat[0] * np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e9], np.float32)
    x[1, :4] = np.inf, -np.inf, 0, np.nan
    for zeros in (", z", ""):
        text = f"(float[4,6] x) => ({'uint8' if not zeros else dtype.__name__}[4,6] q, float[4,6] y) {{ "
        text += f"q = QuantizeLinear {attributes} (x, s{zeros}) y = DequantizeLinear {attributes} (q, s{zeros}) }}"
        check(parsed(text, 21, s=scale, **({"z": zero} if zeros else {})), {"x": x}, rtol=1e-6)


# The product, the shape of x, of w, the axis of w's output channels.
CONVS = {
    "3x3": ("Conv <pads = [1,1,1,1]> (X, W)", (2, 5, 7, 6), (4, 5, 3, 3)),
    "strides, odd pads": ("Conv <pads = [0,1,2,0], strides = [2,3]> (X, W)", (1, 3, 9, 10), (4, 3, 3, 2)),
    "dilated": ("Conv <dilations = [2,1], pads = [2,1,2,1]> (X, W)", (1, 3, 9, 9), (4, 3, 3, 3)),
    "same": ('Conv <auto_pad = "SAME_LOWER", strides = [2,2]> (X, W)', (1, 3, 9, 8), (4, 3, 3, 3)),
    "depthwise": ("Conv <group = 6, pads = [1,1,1,1]> (X, W)", (1, 6, 5, 5), (6, 1, 3, 3)),
    "one axis": ("Conv <pads = [1,1]> (X, W)", (2, 3, 9), (4, 3, 3)),
    "three axes": ("Conv (X, W)", (1, 2, 4, 4, 4), (3, 2, 2, 2, 2)),
}
PRODUCTS = CONVS | {
    "matrices": ("MatMul (X, W)", (5, 24), (24, 7)),
    "rows of rows": ("MatMul (X, W)", (2, 3, 24), (24, 7)),
    "Gemm, turned": ("Gemm <transB = 1> (X, W)", (5, 24), (7, 24)),
}


def quantised(op, x, w, dtype=np.int8, axis=None, zero=0):
    """y = op(DQ(Q(x)), DQ(w)) + a constant, Relu; x by tensor, w by `axis`."""
    scales = RNG.uniform(0.005, 0.02, () if axis is None else (w[axis],)).astype(np.float32)
    weights = {
        "w": RNG.integers(-127, 128, w).astype(np.int8), "t": scales, "s": np.float32(0.03), "z": dtype(zero),
    }  # fmt: skip
    along = "" if axis is None else f"<axis = {axis}>"
    ends = f"(float{[*x]} x) => (float[{', '.join('abcde'[: len(x)])}] y)"
    text = f"{ends} {{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) v = DequantizeLinear {along} (w, t) "
    text += f"p = {op.replace('(X, W)', '(d, v)')} y = Relu (p) }}"
    return parsed(text, 20, **weights), {"x": normal(*x) * 2}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_between_pairs_are_products_of_codes(name, per_channel):
    op, x, w = PRODUCTS[name]
    axis = 0 if "Conv" in op or "transB" in op else 1
    model, feeds = quantised(op, x, w, axis=axis if per_channel else None)
    names = [kernel.name for kernel in check(model, feeds, rtol=2e-6).inspect()]
    assert names == ["QuantizeLinear", f"int8 {'conv' if 'Conv' in op else 'matmul'} Relu"]


@pytest.mark.parametrize(
    ("op", "x", "w", "how"),
    [
        ("Conv (X, W)", (1, 3, 5, 5), (4, 3, 3, 3), {"zero": 3}),
        ("Conv (X, W)", (1, 3, 5, 5), (4, 3, 3, 3), {"dtype": np.uint8, "zero": 128}),
        ("Conv (X, W)", (1, 3, 5, 5), (4, 3, 3, 3), {"axis": 1}),
        ("MatMul (X, W)", (5, 24), (24, 7), {"axis": 0}),
        ("Gemm <alpha = 0.5> (X, W)", (5, 24), (24, 7), {}),
        ("Mul (X, W)", (5, 24), (5, 24), {}),
    ],
)
def test_what_has_no_integer_kernel_is_computed_in_floats(op, x, w, how):
    model, feeds = quantised(op, x, w, **how)
    assert not any("int8" in kernel.name for kernel in check(model, feeds, rtol=2e-6).inspect())


@pytest.mark.parametrize("terms", [64, 20_000])
def test_sums_are_exact(terms):
    """All codes near their ends, odd ones too, so many that float32 does not hold the sums."""
    x, w = (RNG.choice(np.array([125, 126, 127], np.int8), shape) for shape in ((3, terms), (terms, 40)))
    x[0], w[:, 0] = -128, -128
    text = f"(int8[3,{terms}] x) => (float[3,40] y) "
    text += "{ a = DequantizeLinear (x, one) b = DequantizeLinear (w, one) y = MatMul (a, b) }"
    engine = build(parsed(text, 20, w=w, one=np.float32(1)))
    assert [kernel.name for kernel in engine.inspect()] == ["int8 matmul"]
    got = engine.create_execution_context().run({"x": x})["y"]
    np.testing.assert_array_equal(got, (x.astype(np.int64) @ w.astype(np.int64)).astype(np.float32))


@pytest.mark.parametrize("name", ["residual", "inception", "qkv", "conv_bn_relu"])
def test_teaching_models_with_pairs(name):
    model = TEACHING_MODELS[name]()
    made = insert_qdq(model, {tensor: 4.0 for names in quantizable(model).values() for tensor in names})
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in made.graph.input}
    engine = check(made, {name: normal(*shape) for name, shape in shapes.items()}, rtol=2e-6)
    assert len([k for k in engine.inspect() if k.name.startswith("int8")]) == sum(
        node.op_type in {"Conv", "MatMul", "Gemm"} for node in made.graph.node
    )


@pytest.mark.parametrize(
    "network", [pytest.param(n, id=name, marks=[pytest.mark.slow] * (name != "digits")) for name, n in TRAINED.items()]
)
def test_trained_networks_answer_as_onnx_runtime_has_it(network, tmp_path):
    split = load_digits_split()
    batch, shapes = {"image": split.test_images}, {"image": split.test_images.shape}
    made = insert_qdq(network.path, calibrate(network.path, [split.train_images[:100]], "max"))
    engine = build(made, shapes=shapes)
    engine.save(tmp_path / "int8.plan")
    again = glassbox.load(tmp_path / "int8.plan").create_execution_context().run(batch)["logits"]
    want = referee(made, batch)["logits"]
    assert any(kernel.name.startswith("int8") for kernel in engine.inspect())
    assert (again.argmax(1) == want.argmax(1)).mean() > 0.99
    size = np.abs(want).max()
    assert np.quantile(np.abs(again - want), 0.9) < 1e-4 * size  # but where a code fell to the other side of a half
    half = build(convert(made, "FP16"), shapes=shapes).create_execution_context().run(batch)["logits"]
    assert (half.argmax(1) == want.argmax(1)).mean() > 0.94


def test_a_plan_whose_scales_are_gone_is_refused():
    model, _ = quantised("MatMul (X, W)", (5, 24), (24, 7))
    plan = build(model).plan
    (step,) = [step for step in plan.steps if step.kernel == "int8 matmul"]
    broken = replace(step, inputs=(*step.inputs[:2], step.inputs[0]))
    with pytest.raises(PlanError, match="scales of this kernel"):
        Engine(replace(plan, steps=tuple(broken if s is step else s for s in plan.steps)))
