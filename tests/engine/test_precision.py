"""engine/precision: what ONNX Runtime collects and runs, and for whom NVIDIA's builder builds."""

import numpy as np
import onnx
import pytest

from tests.engine.nvidia.onnx_models import if_else
from tests.engine.nvidia.rtx import build, needs_rtx
from tests.graph.written import written
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.engine.nvidia.errors import UnsupportedTarget
from trtlab.engine.ort import OptimizationLevel, OrtError, OrtSession
from trtlab.engine.precision import calibrate, collect, convert
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.precision import insert_qdq, quantizable, weight_only
from trtlab.numeric.calibrate import CALIBRATORS, CalibrationError, Histogram, maximum

RNG = np.random.default_rng(2)


@pytest.fixture(scope="module")
def images():
    return RNG.random((40, 1, 8, 8)).astype(np.float32)


def ran(model, feeds, level=OptimizationLevel.BASIC):
    """ONNX Runtime 1.32 fuses an FP8 pair above BASIC as if it were INT8."""
    return OrtSession(model, level=level, threads=1).run(feeds)


def error(model, other, feeds):
    old, new = ran(model, feeds), ran(other, feeds)
    return max(np.abs(old[name] - new[name]).max() / np.abs(old[name]).max() for name in old)


# --- collecting -------------------------------------------------------------------------------------------------------


def test_batches_in_any_order_give_one_histogram_a_tensor(images):
    whole = collect(DIGITS_ONNX, [images])
    parts = collect(DIGITS_ONNX, [{"image": images[30:]}, images[:1], images[1:30]])
    wanted = {name for names in quantizable(DIGITS_ONNX).values() for name in names}
    assert whole.keys() == parts.keys() == wanted
    assert all(np.array_equal(whole["image"].counts, parts["image"].counts) for name in wanted)
    assert whole["image"].count == images.size
    assert calibrate(DIGITS_ONNX, [images], "max")["image"].value == images.max()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_calibrated_network_answers_nearly_the_same(name, images):
    made = insert_qdq(DIGITS_ONNX, calibrate(DIGITS_ONNX, [images], name))
    assert error(DIGITS_ONNX, made, {"image": images}) < 0.06
    assert error(DIGITS_ONNX, convert(made, "FP16"), {"image": images}) < 0.06


IMAGE = np.ones((2, 1, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("batches", "kind", "said"),
    [
        ([IMAGE, IMAGE * np.nan], CalibrationError, "batch 1, .*NaN"),
        ([IMAGE * np.inf], CalibrationError, "infinite"),
        ([IMAGE[0]], OrtError, "feed numpy arrays image"),
        ([{"picture": IMAGE}], OrtError, "feed numpy arrays image"),
        ([], CalibrationError, "no values"),
        ([IMAGE[:0]], CalibrationError, "no values"),
    ],
)
def test_bad_batches_say_why_and_a_black_image_is_enough(batches, kind, said):
    with pytest.raises(kind, match=said):
        calibrate(DIGITS_ONNX, batches)
    with pytest.raises(ValueError, match="max, percentile"):
        calibrate(DIGITS_ONNX, batches, "kl")
    black = IMAGE * 0
    assert np.isfinite(ran(insert_qdq(DIGITS_ONNX, calibrate(DIGITS_ONNX, [black])), {"image": black})["logits"]).all()


# --- 16 bits ----------------------------------------------------------------------------------------------------------

TEXTS = {
    "constants": "(float[2,3] x) => (float[2,3] y) { a = Constant <value_float = 2.0> () b = Mul(x, a) y = Add(b, x) }",
    "filled": "(float[2,3] x) => (float[2,3] y) { s = Shape(x) a = ConstantOfShape(s) y = Add(a, x) }",
    "casts": "(float[2,3] x, int64[2,3] i) => (float[2,3] y) { f = Cast <to = 1> (i) y = Mul(f, x) }",
    "a weight that an FP32 input reads too": "(float[1,1,2,2] x) => (float[1,1,2,2] y) <float[4] k = {1, 1, 1, 1}> "
    "{ r = Resize(x,, k) s = ReduceSum(k) y = Mul(r, s) }",
    "two outputs, one read on": "(float[3] x) => (float[3] y, float[3] z) { y = Relu(x) z = Neg(y) }",
    "an input that is an output's only source": "(float[3] x) => (float[3] y) { y = Identity(x) }",
    "large and tiny": "(float[2] x) => (float[2] y) <float[2] a = {1e5, 1e-12}> { y = Mul(x, a) }",
}


@pytest.mark.parametrize("keep_ends", [True, False])
@pytest.mark.parametrize("name", [*TEXTS, "residual", "layernorm"])
def test_half_precision_says_nearly_the_same_on_onnx_runtime(name, keep_ends):
    model = written(TEXTS[name]) if name in TEXTS else TEACHING_MODELS[name]()
    made = convert(model, "FP16", keep_ends=keep_ends)
    feeds, small = {}, {}
    for value, new in zip(model.graph.input, made.graph.input, strict=True):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        is_float = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        feeds[value.name] = RNG.uniform(0.5, 1, shape).astype(np.float32) if is_float else RNG.integers(1, 9, shape)
        kind = onnx.helper.tensor_dtype_to_np_dtype(new.type.tensor_type.elem_type)
        assert (kind == np.float16) == (is_float and not keep_ends)
        small[value.name] = feeds[value.name].astype(kind)
    before, after = (ran(m, x, OptimizationLevel.DISABLE_ALL) for m, x in ((model, feeds), (made, small)))
    for output in before:
        assert after[output].dtype == (
            np.float16 if before[output].dtype == np.float32 and not keep_ends else before[output].dtype
        )
        if name != "large and tiny":
            np.testing.assert_allclose(after[output], before[output], rtol=5e-3, atol=5e-3)
        else:
            assert (np.isfinite(after[output]) & (after[output] > 0)).all()
    typed = [t.name for t in made.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert typed == (["k"] if "k = {" in TEXTS.get(name, "") else [])


def test_what_follows_no_type_is_refused():
    with pytest.raises(ValueError, match="branches or loops"):
        convert(if_else(), "FP16")


# --- the builder ------------------------------------------------------------------------------------------------------


def quantised(fmt):
    """The residual model, or of four bits a matrix: FP32 with Q/DQ, or 16 bits."""
    if fmt in {"INT4", "NVFP4"}:
        w = RNG.normal(size=(256, 256)).astype(np.float32)
        model = written("(float[16,256] x) => (float[16,256] y) { [product] y = MatMul(x, w) }", w=w)
        return weight_only(convert(model, "FP16"), fmt)
    model = TEACHING_MODELS["residual"]()
    if fmt in {"FP16", "BF16"}:
        return convert(model, fmt)
    return insert_qdq(model, {"x": 4.0, "r1": 4.0}, activations=fmt)


# The first generation whose kernels have the format, by what the builder accepts and refuses.
FIRST = [("INT8", 75, "Int8"), ("FP16", 75, "Half"), ("BF16", 80, "BFloat16"), ("INT4", 80, "Int4")]
FIRST += [("FP8_E4M3", 89, "FP8"), ("NVFP4", 120, "FP4E2M1")]


@needs_rtx
@pytest.mark.parametrize(("fmt", "first", "said"), FIRST)
def test_the_builder_takes_it_from_that_generation_on(fmt, first, said):
    model = quantised(fmt)
    for target in ("SM86", "SM89", "SM120"):
        if int(target[2:]) >= first:
            stored = {c.dtype for kernel in build(model, target).kernels for c in (*kernel.inputs, *kernel.constants)}
            assert said in stored
        else:
            with pytest.raises(UnsupportedTarget, match="HW-specific datatypes"):
                build(model, target)


@needs_rtx
def test_half_precision_around_int8_is_taken_in_any_order():
    model = TEACHING_MODELS["residual"]()
    thresholds = {"x": 4.0, "r1": 4.0}
    half = convert(model, "FP16", keep_ends=False)
    for made in (convert(insert_qdq(model, thresholds), "FP16"), insert_qdq(half, thresholds)):
        assert any("Int8" in {t.dtype for t in kernel.inputs} for kernel in build(made, "SM86").kernels)


def test_onnx_runtime_says_which_formats_it_cannot_run():
    w = RNG.normal(size=(256, 256)).astype(np.float32)
    model = written("(float[16,256] x) => (float[16,256] y) { [product] y = MatMul(x, w) }", w=w)
    feeds = {"x": RNG.normal(size=(16, 256)).astype(np.float32)}
    assert error(model, weight_only(model, "INT4"), feeds) < 0.2
    with pytest.raises(OrtError):
        ran(convert(model, "BF16"), feeds)
    found = maximum(Histogram.of(feeds["x"]))
    assert error(model, insert_qdq(model, {"x": found}, activations="FP8_E4M3"), feeds) < 0.1
