"""graph/precision: where pairs stand, with which scales, what is stored; and that the model still says the same."""

# ruff: noqa: E501 (a graph reads better on one line)

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS, randomized
from trtlab.graph.oracle import reference, sample_inputs
from trtlab.graph.precision import insert_qdq, quantizable, weight_only
from trtlab.numeric import FORMATS
from trtlab.numeric.calibrate import CalibrationError, Histogram, maximum

from .written import written

RNG = np.random.default_rng(5)
CHAIN = "(float[1,3,6,6] x) => (float[1,2,6,6] y) {{ {} }}"


def kernel(out, into, size=1):
    return RNG.normal(size=(out, into, size, size)).astype(np.float32)


def calibrated(model, feeds):
    """The largest magnitude of every tensor that gets a pair."""
    found = reference(model, feeds) | feeds
    return {name: maximum(Histogram.of(found[name])) for names in quantizable(model).values() for name in names}


def pairs(model):
    """Tensor -> its scale, for all Q/DQ of activations; all else that holds of a pair is checked on the way."""
    held = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer}
    nodes = model.graph.node
    readers = {name: [n for n in nodes if name in n.input] for node in nodes for name in node.output}
    found = {}
    for node in (node for node in model.graph.node if node.op_type == "QuantizeLinear"):
        (dequantize,) = readers[node.output[0]]
        assert (dequantize.op_type, dequantize.input[1:]) == ("DequantizeLinear", node.input[1:])
        assert not held[node.input[2]].any()
        assert held[node.input[1]].shape == ()
        assert node.input[0] not in found
        found[node.input[0]] = float(held[node.input[1]])
    return found


def makers(model):
    return {name: node.op_type for node in model.graph.node for name in node.output}


WITH_PRODUCTS = ["conv_bn_relu", "inception", "qkv", "dropout", "residual", "attention", "dead_branch"]


@pytest.mark.parametrize("fmt", ["INT8", "FP8_E4M3"])
@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_a_quantised_model_says_nearly_the_same(name, fmt):
    model = TEACHING_MODELS[name]()
    feeds = next(sample_inputs(model))
    made = insert_qdq(model, calibrated(model, feeds), activations=fmt)
    before, after = reference(model, feeds), reference(made, feeds)
    for output in model.graph.output:
        error = np.abs(before[output.name] - after[output.name]).max() / np.abs(before[output.name]).max()
        assert error < {"INT8": 0.03, "FP8_E4M3": 0.2}[fmt]
    made_by = makers(made)
    assert pairs(made).keys() == {name for names in quantizable(model).values() for name in names}
    for node in made.graph.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            assert [made_by[read] for read in node.input[:2]] == ["DequantizeLinear"] * 2
        if node.op_type == "Relu":
            assert made_by.get(node.input[0]) != "DequantizeLinear"
    assert "BatchNormalization" not in made_by.values()


def test_a_real_architecture_of_an_old_opset():
    model = randomized(onnx.load(LIGHT_FOLDER / "light_squeezenet.onnx"))
    found = quantizable(model)
    wanted = {tensor: 2.0 for names in found.values() for tensor in names}
    assert pairs(insert_qdq(model, wanted)).keys() == wanted.keys()
    assert sum(node.op_type in {"Conv", "Gemm"} for node in model.graph.node) <= len(found)


def test_weights_are_codes_with_a_scale_per_output_channel_or_per_tensor():
    w, m, g = kernel(4, 3), RNG.normal(size=(4, 5)).astype(np.float32), RNG.normal(size=(2, 5)).astype(np.float32)
    w[1], w[2] = 0, w[2] * 100
    text = """(float[1,3,6,6] x, float[3,4] z) => (float[1,4,6,6] a, float[3,5] b, float[3,2] c) {
        a = Conv(x, w)  b = MatMul(z, m)  c = Gemm <transB = 1> (b, g) }"""
    model = written(text, w=w, m=m, g=g)
    thresholds = dict.fromkeys("xzb", 4.0)
    for per_channel, axes in ((True, {"w": 0, "m": 1, "g": 0}), (False, dict.fromkeys("wmg"))):
        made = insert_qdq(model, thresholds, per_channel=per_channel)
        held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
        for name, array in (("w", w), ("m", m), ("g", g)):
            expected = FORMATS["INT8"].quantize(array, axes[name])
            assert held[f"{name}_codes"].dtype == np.int8
            np.testing.assert_array_equal(held[f"{name}_codes"], expected.codes.view(np.int8))
            np.testing.assert_array_equal(held[f"{name}_scale"], expected.scales)
            assert name not in held
    assert pairs(insert_qdq(model, thresholds)) == dict.fromkeys("xzb", float(np.float32(4) / np.float32(127)))


# Nodes, thresholds, and the thresholds (a scale times 127) of the tensors that get a pair: the same, or others.
PLACED = {
    "conv, relu, conv": ("a = Conv(x, w) r = Relu(a) y = Conv(r, v)", {"x": 3, "r": 2}, {}),
    "two readers": ("a = Conv(x, w) b = Conv(x, w) c = Mul(a, b) y = Conv(c, v)", {"x": 3, "c": 9}, {}),
    "residual": ("a = Conv(x, u) s = Add(a, x) r = Relu(s) y = Conv(r, t)", {"x": 3, "r": 2}, {}),
    "residual, other side": ("a = Conv(x, u) r = Exp(x) s = Add(r, a) y = Conv(s, t)", {"x": 3, "r": 5, "s": 2}, {}),
    "both are products": ("a = Conv(x, u) b = Conv(x, u) s = Add(b, a) y = Conv(s, t)", {"x": 3, "s": 2, "a": 5}, {}),
    "no product": ("a = Relu(x) s = Add(a, x) y = Conv(s, t)", {"s": 2}, {}),
    "a bias": ("a = Conv(x, w) s = Add(a, k) y = Conv(s, v)", {"x": 3, "s": 2}, {}),
    "read twice": ("a = Conv(x, u) s = Add(a, x) m = Mul(a, s) y = Conv(m, t)", {"x": 3, "m": 2}, {}),
    "concat": ("a = Conv(x, u) r = Relu(a) c = Concat <axis = 1> (r, x) b = Conv(r, u) d = Conv(c, q) y = Conv(d, v)",
               {"x": 3, "r": 2, "c": 3.5, "d": 1}, {"x": 3.5, "r": 3.5}),
    "concats that share": ("c = Concat <axis = 1> (x, x) d = Concat <axis = 1> (c, c) e = Conv(d, o) f = Conv(c, q) y = Conv(f, v)",
                           {"c": 3, "d": 8, "f": 1}, {"c": 8}),
    "a concat that nobody quantises": ("a = Conv(x, u) c = Concat <axis = 1> (a, x) s = Softmax(c) y = Conv(s, six)",
                                       {"x": 3, "s": 1}, {}),
    "a pool": ("b = Conv(x, u) p = MaxPool <kernel_shape = [1, 1]> (x) y = Conv(p, t)", {"x": 3, "p": 2}, {"p": 3}),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "thresholds", "others"), PLACED.values(), ids=PLACED)
def test_where_pairs_stand(nodes, thresholds, others):
    shapes = {"w": (4, 3), "v": (2, 4), "u": (3, 3), "t": (2, 3), "q": (4, 6), "six": (2, 6), "o": (4, 12)}
    weights = {name: kernel(*shape) for name, shape in shapes.items()} | {"k": np.ones((4, 1, 1), np.float32)}
    model = written(CHAIN.format(nodes), **weights)
    assert {name for names in quantizable(model).values() for name in names} == thresholds.keys()
    made = insert_qdq(model, thresholds)
    assert {name: round(scale * 127, 4) for name, scale in pairs(made).items()} == thresholds | others
    for node in (node for node in made.graph.node if node.op_type == "Add"):  # the sum stays in its product's kernel
        assert [makers(made).get(name) for name in node.input].count("DequantizeLinear") <= 1


def test_nodes_that_are_left_and_products_of_two_activations():
    model = TEACHING_MODELS["attention"]()
    found = quantizable(model)
    left = {"scores", "mix"}
    thresholds = {t: 4.0 for node, names in found.items() if node not in left for t in names}
    made = insert_qdq(model, thresholds, leave=left)
    assert not [n for n in made.graph.node if n.name in left and any("DequantizeLinear" in name for name in n.input)]
    assert len(found["scores"]) == 2
    zeros = insert_qdq(model, thresholds | dict.fromkeys(["q", "kt", "p", "v"], 0.0))
    assert pairs(zeros)["q"] == 1.0


def test_half_precision_keeps_its_type_and_scales_above_zero():
    w = np.full((2, 3, 1, 1), 6e-8, np.float16)
    model = written("(float16[1,3,4,4] x) => (float16[1,2,4,4] y) { y = Conv(x, w) }", opset=17, w=w)
    made = insert_qdq(model, {"x": 1.0})
    held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    assert held["x_scale"].dtype == held["w_scale"].dtype == np.float16
    assert (held["w_scale"] > 0).all()
    assert made.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


@pytest.mark.parametrize(("fmt", "block"), [("INT4", 32), ("INT4", None), ("NVFP4", None)])
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Gemm <transB = 1>"])
def test_four_bit_weights_in_blocks_along_the_sum(fmt, block, op):
    axis = 1 if "transB" in op else 0
    w = RNG.normal(size=(256, 48) if axis == 0 else (48, 256)).astype(np.float32)
    odd = RNG.normal(size=(48, 7)).astype(np.float32)
    model = written(
        f"(float[3,256] x) => (float[3,7] y) {{ a = {op} (x, w) b = Relu(a) y = MatMul(b, odd) }}", w=w, odd=odd
    )
    made = weight_only(model, fmt, **({"block": block} if block else {}))
    stored = {t.name: t for t in made.graph.initializer}
    found = numpy_helper.to_array(stored["w_codes"]).astype(np.float32)
    expected = FORMATS[fmt].quantize(w, axis, *((block or 128,) if fmt == "INT4" else ()))
    scales = numpy_helper.to_array(stored["w_scale"]).astype(np.float32)
    if fmt == "NVFP4":
        scales = scales * numpy_helper.to_array(stored["w_scales"]).astype(np.float32)
    np.testing.assert_allclose(found * expected.groups.spread(scales), expected.values, rtol=1e-6)
    assert len(stored["w_codes"].raw_data) == w.size // 2
    assert ("odd_codes" in stored) == (fmt == "NVFP4")  # 48 is three blocks of 16, and no whole block of 32


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda m: insert_qdq(m, {"x": 1.0}), CalibrationError, "1 tensors have no threshold, 'r1' for one"),
        (lambda m: insert_qdq(m, {"x": 1.0, "r1": 1.0, "elsewhere": 2.0}), CalibrationError, "no tensor 'elsewhere'"),
        (lambda m: insert_qdq(m, {"x": 1.0, "r1": float("nan")}), CalibrationError, "got nan for 'r1'"),
        (lambda m: insert_qdq(m, {"x": -1.0, "r1": 1.0}), CalibrationError, "got -1.0 for 'x'"),
        (lambda m: insert_qdq(m, {}, leave=["conv9"]), ValueError, "no node 'conv9' to leave"),
        (lambda m: weight_only(m, "INT4"), ValueError, "multiple of 128"),
        (lambda m: weight_only(m, "NVFP4", block=32), ValueError, "blocks of NVFP4 have 16"),
    ],
)
def test_what_cannot_be_done_says_why(make, kind, said):
    with pytest.raises(kind, match=said):
        make(TEACHING_MODELS["residual"]())
