"""engine/glassbox: the same numbers as ONNX Runtime, through build, save, load and contexts; every refusal."""

import dataclasses
import threading

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch

from tests.graph.written import check_not_degenerate
from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
from trtlab.engine.glassbox import Engine
from trtlab.engine.glassbox.builder import build
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import DeviceError, InputError, RunError, UnsupportedError
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS, randomized
from trtlab.graph.oracle import check_same, sample_inputs
from trtlab.plan.tactics import prefer

RTOL = 1e-5
"""Of the largest number of an output: float32 sums in another order."""
DEEP_RTOL = 1e-4
"""Many layers and a softmax: an error of 1e-7 of a logit of 60 is one of 6e-6 of its probability."""
LIGHT = sorted(path.stem for path in LIGHT_FOLDER.glob("*.onnx"))
PLAIN = {"light_vgg19", "light_zfnet512"}  # chains of large products: seconds of arithmetic, nothing new to lower


def feeds_for(engine, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in engine.inputs.items()}


def with_onnxruntime(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def assert_same(ours, theirs, rtol=RTOL):
    assert list(ours) == list(theirs)
    for name, want in theirs.items():
        got = ours[name]
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert np.abs(got - want).max(initial=0) <= rtol * np.abs(want).max(initial=0), name


def model(text, **weights):
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> m {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return proto


@pytest.fixture(scope="module")
def digits():
    return glassbox.build(export_onnx("digits"))


@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_teaching_models_equal_the_reference_evaluator_on_all_kinds_of_inputs(name):
    proto = TEACHING_MODELS[name]()
    context = build(proto).create_execution_context()
    for feeds in sample_inputs(proto):
        check_same(proto, proto, feeds, run=lambda _, f: dict(context.run(f)), rtol=0)  # the same twice
        with np.errstate(all="ignore"):
            theirs = dict(
                zip(
                    [o.name for o in proto.graph.output],
                    onnx.reference.ReferenceEvaluator(proto).run(None, feeds),
                    strict=True,
                )
            )
        for output, want in theirs.items():
            size = np.abs(want[np.isfinite(want)]).max(initial=0)
            np.testing.assert_allclose(context.run(feeds)[output], want, rtol=1e-5, atol=2e-5 * size)


@pytest.mark.parametrize("rules", [None, []], ids=["all rules", "no rule"])
@pytest.mark.parametrize("name", ["digits", "transformer"])
def test_networks_equal_onnxruntime_rewritten_or_not(name, rules):
    proto = export_onnx(name)
    engine = build(proto, rules=rules)
    feeds = feeds_for(engine)
    assert_same(engine.create_execution_context().run(feeds), with_onnxruntime(proto, feeds))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.sweep] * (n in PLAIN)) for n in (*LIGHT, "resnet18")]
)
def test_architectures_equal_onnxruntime_before_and_after_the_plan_file(name, tmp_path):
    proto = export_onnx(name) if name == "resnet18" else randomized(onnx.load(LIGHT_FOLDER / f"{name}.onnx"))
    engine = build(proto)
    feeds = feeds_for(engine)
    ours = engine.create_execution_context().run(feeds)
    theirs = with_onnxruntime(proto, feeds)
    check_not_degenerate(next(iter(theirs.values())))
    assert_same(ours, theirs, rtol=DEEP_RTOL)
    engine.save(tmp_path / "plan")
    again = glassbox.load(tmp_path / "plan").create_execution_context().run(feeds)
    assert all(np.array_equal(ours[key], again[key]) for key in ours)


def test_a_fused_node_is_one_kernel_that_names_its_onnx_nodes(digits):
    kernels = digits.inspect()
    fused = next(k for k in kernels if k.name == "conv Add Relu")
    assert len(fused.onnx_nodes) >= 3
    assert fused.inputs[0] == "float32[1, 32, 8, 8]"
    assert all(k.time_us > 0 or k.tactic == "view" for k in kernels)
    assert len(kernels) < len(build(export_onnx("digits"), rules=[]).inspect())


@pytest.mark.parametrize("precision", ["FP16", "BF16"])
def test_a_lower_precision_rounds_but_keeps_types_outside(precision):
    proto = export_onnx("digits")
    engine, exact = build(proto, precision=precision), build(proto)
    feeds = feeds_for(engine)
    (low,), (full,) = (
        engine.create_execution_context().run(feeds).values(),
        exact.create_execution_context().run(feeds).values(),
    )
    error = np.abs(low - full).max() / np.abs(full).max()
    assert low.dtype == np.float32
    assert 0 < error < (2e-3 if precision == "FP16" else 3e-2)


def test_symbolic_sizes_are_one_unless_told():
    proto = onnx.load(DIGITS_ONNX)
    assert build(proto).inputs["image"].shape == (1, 1, 8, 8)
    engine = build(proto, shapes={"image": (5, 1, 8, 8)})
    feeds = feeds_for(engine)
    assert_same(engine.create_execution_context().run(feeds), with_onnxruntime(proto, feeds))
    with pytest.raises(ValueError, match=r"shapes\['image'\] is \[5, 2, 8, 8\]: the model says"):
        build(proto, shapes={"image": (5, 2, 8, 8)})
    with pytest.raises(ValueError, match="shapes has 'pixels': the model's inputs are image"):
        build(proto, shapes={"pixels": (1,)})


# contexts and streams


def test_contexts_share_an_engine_and_run_at_once(digits):
    contexts = [digits.create_execution_context() for _ in range(3)]
    feeds = [feeds_for(digits, seed) for seed in range(3)]
    want = [contexts[0].run(f)["logits"] for f in feeds]
    found = [[] for _ in contexts]

    def work(number):
        found[number] = [contexts[number].run(feeds[number])["logits"] for _ in range(50)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(rows) == 50 and all(np.array_equal(row, want[n]) for row in rows) for n, rows in enumerate(found))


def test_results_are_the_callers_own(digits):
    context = digits.create_execution_context()
    first = context.run(feeds_for(digits, 1))["logits"]
    kept = first.copy()
    context.run(feeds_for(digits, 2))
    assert np.array_equal(first, kept)


def test_enqueue_runs_in_order_and_tells_errors_when_synchronised(digits):
    stream, context, outputs = digits.device.new_stream(), digits.create_execution_context(), [{}, {}]
    feeds = [feeds_for(digits, seed) for seed in range(2)]
    for f, out in zip(feeds, outputs, strict=True):
        context.enqueue(f, out, stream)
    stream.synchronize()
    assert all(np.array_equal(context.run(f)["logits"], out["logits"]) for f, out in zip(feeds, outputs, strict=True))
    stream.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stream.synchronize()
    stream.synchronize()
    stream.close()


def test_a_closed_stream_ends_its_work_and_takes_no_more(digits):
    stream, context, outputs = digits.device.new_stream(), digits.create_execution_context(), {}
    context.enqueue(feeds_for(digits), outputs, stream)
    stream.close()
    stream.synchronize()
    assert "logits" in outputs
    with pytest.raises(RunError, match="The stream is closed"):
        context.enqueue(feeds_for(digits), outputs, stream)


# what comes in


def test_arrays_that_are_not_dense_are_fine(digits):
    feeds = feeds_for(digits)
    want = digits.create_execution_context().run(feeds)["logits"]
    wide = np.zeros((1, 1, 8, 16), np.float32)
    wide[..., ::2] = feeds["image"]
    frozen = feeds["image"].copy()
    frozen.flags.writeable = False
    for image in (wide[..., ::2], frozen, np.asfortranarray(feeds["image"]), feeds["image"].astype(">f4")):
        assert np.array_equal(digits.create_execution_context().run({"image": image})["logits"], want)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Input 'image' is missing: the engine takes image float32\\[1, 1, 8, 8\\]"),
        ({"image": np.zeros((1, 1, 8, 8), np.float32), "x": np.zeros(1)}, "Input 'x' is unknown"),
        ({"image": np.zeros((2, 1, 8, 8), np.float32)}, "has shape \\(2, 1, 8, 8\\): expected float32\\[1, 1, 8, 8\\]"),
        ({"image": np.zeros((1, 1, 8, 8))}, "is float64: expected float32.*astype\\('float32'\\)"),
        ({"image": [[0.0]]}, "is of type list: expected a numpy array"),
        ([np.zeros(1)], "run takes a dict of arrays by name: got list"),
    ],
)
def test_what_does_not_fit_is_told_and_the_engine_goes_on(digits, inputs, message):
    context = digits.create_execution_context()
    with pytest.raises(InputError, match=message):
        context.run(inputs)
    context.run(feeds_for(digits))


def test_a_kernel_that_fails_leaves_the_engine_usable():
    proto = model("(float[4] x, int64[2] i) => (float[2] y) { y = Gather (x, i) }")
    context = build(proto).create_execution_context()
    x = np.arange(4, dtype=np.float32)
    with pytest.raises(RunError, match=r"A kernel failed: .*the engine can go on"):
        context.run({"x": x, "i": np.array([0, 9])})
    assert context.run({"x": x, "i": np.array([1, -1])})["y"].tolist() == [1, 3]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_too_little_memory_is_told_and_the_engine_goes_on(device):
    proto = model("(int64[1] n) => (float[?] y) { y = ConstantOfShape (n) }")
    engine = build(proto, device=device)
    context = engine.create_execution_context()
    with pytest.raises(RunError, match=r"A kernel failed: .*the engine can go on"):
        context.run({"n": np.array([2**46])})
    assert context.run({"n": np.array([2])})["y"].tolist() == [0, 0]
    with pytest.raises(RunError, match=r"No context, with an arena of 1,152,921,504,606,846,976 bytes: .* Close one"):
        Engine(dataclasses.replace(engine.plan, arena_bytes=2**60)).create_execution_context()
    assert context.run({"n": np.array([1])})["y"].tolist() == [0]


@pytest.mark.parametrize("tactic", ["torch", "generated"])
def test_nan_and_infinity_pass_through_pointwise_kernels(tactic):
    proto = model("(float[4] x, float[4] z) => (float[4] y) { a = Add (x, z) y = Relu (a) }")
    context = build(proto, pick=prefer(tactic)).create_execution_context()
    x = np.array([np.nan, np.inf, -np.inf, -1], np.float32)
    np.testing.assert_array_equal(context.run({"x": x, "z": np.zeros(4, np.float32)})["y"], [np.nan, np.inf, 0, 0])


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize(("tactic", "nans"), [("torch", 4), ("onednn", 0)])
@pytest.mark.parametrize("last", ["Relu (a)", "Clip (a, low)"])
def test_only_what_onednn_fuses_drops_nan(tactic, nans, last):
    weights = {"w": np.ones((3, 4), np.float32), "low": np.array(0, np.float32)}
    proto = model(f"(float[2,3] x) => (float[2,4] y) {{ a = MatMul (x, w) y = {last} }}", **weights)
    context = build(proto, pick=prefer(tactic)).create_execution_context()
    x = np.array([[1, np.nan, 2], [3, np.inf, 4]], np.float32)
    y = context.run({"x": x})["y"]
    assert (np.isnan(y).sum(), (y >= 3e38).sum()) == (nans, 4)  # a Clip ends at the largest number


# what cannot be built


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(float[4] x) => (float[4] y) { y = Det (x) }", "Operator Det is not one of the glass box's: Abs, Add"),
        ("(float[4] x) => (float[4] y) { y = com.me.Magic (x) }", "Operator com.me.Magic is not one"),
        ("(uint16[4] x) => (uint16[4] y) { y = Add (x, x) }", "Tensor 'x' is UINT16: the glass box takes float32"),
        ("(string[4] x) => (string[4] y) { y = Identity (x) }", "Tensor 'x' is STRING"),
        ("(bfloat16[4] x) => (bfloat16[4] y) { y = Relu (x) }", "is BFLOAT16: .* uint8, bool; pass float32 and build"),
        ("(float[4] x, float r, bool t) => (float[4] y) { y = Dropout (x, r, t) }", "Dropout may be in training mode"),
    ],
)  # fmt: skip
def test_what_the_library_lacks_is_refused_by_name(text, message):
    with pytest.raises(UnsupportedError, match=message):
        build(model(text))


def test_a_device_that_is_not_here_is_told():
    proto = TEACHING_MODELS["residual"]()
    with pytest.raises(DeviceError, match="There is no device 'tpu': expected one of cpu, cuda"):
        build(proto, device="tpu")
    with pytest.raises(UnsupportedError, match="no precision 'FP7': expected one of FP32"):
        build(proto, precision="FP7")


def test_what_is_no_model_is_a_value_error(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="no ONNX model"):
        build(tmp_path / "no.onnx")


@pytest.mark.parametrize("size", [-1, 1.5, "a", True, 2**70])
def test_a_shape_that_is_none_is_told(size):
    proto = model("(float[N] x) => (float[N] y) { y = Relu (x) }")
    with pytest.raises(ValueError, match="sizes are whole numbers"):
        build(proto, shapes={"x": [size]})
    assert build(proto, shapes={"x": np.array([3])}).inputs["x"].shape == (3,)


def test_an_input_that_no_memory_holds_is_told():
    with pytest.raises(RunError, match="No memory for an input float32"):
        build(model("(float[N] x) => (float[N] y) { y = Relu (x) }"), shapes={"x": [2**47]})


@pytest.mark.parametrize("rules", [None, []])
@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("(float[4,5] x) => (float[3,5] y) { y = MatMul (w, x) }", (3, 4)),
        ("(float[2,3,4] x) => (float[2,3,5] y) { y = MatMul (x, w) }", (2, 4, 5)),
        ("(float[2,4,3] x) => (float[2,5,3] y) { a = MatMul (w, x) s = Constant <value_float=2.0> () y = Mul (a, s) }",
         (2, 5, 4)),
        ("(float[4] x) => (float[5] y) { y = MatMul (x, w) }", (4, 5)),
        ("(float[3,4] x) => (float[3] y) { y = MatMul (x, w) }", (4,)),
        ("(double[3,4] x) => (double[3,5] y) { y = MatMul (x, w) }", (4, 5)),
        ("(float[0,4] x) => (float[0,5] y) { y = MatMul (x, w) }", (4, 5)),
        ("(float[4,4] x) => (float[4,4] y) { a = MatMul (w, w) y = Add (a, x) }", (4, 4)),
        ("(float[2,2,1,1] x) => (float[2,2,1,1] y) { a = Conv (w, w) y = Add (x, a) }", (2, 2, 1, 1)),
        ("(float[2,2,1,1] x) => (float[2,2,1,1] y) { a = MaxPool <kernel_shape = [1,1]> (w) y = Add (x, a) }",
         (2, 2, 1, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tactic", ["", "batched", "generated"])
def test_any_operand_may_be_constant(text, shape, rules, tactic):
    rng = np.random.default_rng(0)
    proto = model(text, w=rng.normal(size=shape).astype(np.float64 if "double" in text else np.float32))
    pick = {"pick": prefer(tactic, "torch")} if tactic else {}
    engine = build(proto, rules=rules, **pick)
    feeds = feeds_for(engine)
    assert_same(engine.create_execution_context().run(feeds), with_onnxruntime(proto, feeds))


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_a_product_behind_what_made_up_numbers_cannot_show(precision):
    """The trial divides by zero, so it never sees the product; it brings its own memory then."""
    proto = model(
        "(int64[3,4] x, int64[3,4] d) => (float[3,2] y) { q = Div (x, d) f = Cast <to = 1> (q) y = MatMul (f, w) }",
        w=np.ones((4, 2), np.float32),
    )
    context = build(proto, precision=precision).create_execution_context()
    x, d = np.arange(12).reshape(3, 4), np.ones((3, 4), np.int64)
    for _ in range(2):
        assert context.run({"x": x, "d": d})["y"].tolist() == [[6, 6], [22, 22], [38, 38]]


def test_a_product_runs_where_onednn_is_missing(monkeypatch):
    proto = model("(float[2,3] x) => (float[2,4] y) { y = MatMul (x, w) }", w=np.ones((3, 4), np.float32))
    plan = build(proto, pick=prefer("onednn")).plan
    monkeypatch.setattr(Device, "has_onednn", False)
    y = Engine(plan).create_execution_context().run({"x": np.ones((2, 3), np.float32)})["y"]
    assert y.tolist() == [[3] * 4] * 2


def test_two_residual_blocks_of_one_input():
    """Each adds the input that both convolve: they cannot become one wide convolution."""
    proto = model(
        "(float[1,4,6,5] x) => (float[1,4,6,5] r, float[1,4,6,5] s) "
        "{ a = Conv (x, w) b = Add (a, x) r = Relu (b) c = Conv (x, v) d = Add (c, x) s = Relu (d) }",
        w=np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1),
        v=-np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1),
    )
    engine = build(proto)
    feeds = feeds_for(engine)
    assert_same(engine.create_execution_context().run(feeds), with_onnxruntime(proto, feeds))


def test_one_tensor_may_be_two_outputs():
    proto = model("(float[2] x) => (float[2] y) { y = Relu (x) }")
    proto.graph.output.append(proto.graph.output[0])
    assert build(proto).create_execution_context().run({"x": np.ones(2, np.float32)})["y"].tolist() == [1, 1]


def test_outputs_may_be_inputs_weights_and_views():
    proto = model(
        "(float[2,3] x) => (float[3,2] t, float[2] w2, float[6] f, float[2,3] x2) "
        "{ t = Transpose (x)  w2 = Identity (w)  s = Constant <value_ints = [6]> ()  f = Reshape (t, s) "
        "x2 = Identity (x) }",
        w=np.array([1, 2], np.float32),
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    ours = build(proto).create_execution_context().run({"x": x})
    assert_same(ours, {"t": x.T, "w2": np.array([1, 2], np.float32), "f": x.T.reshape(6), "x2": x})
    ours["x2"][:] = 7
    assert x[0, 1] == 1
