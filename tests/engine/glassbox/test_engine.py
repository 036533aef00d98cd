"""engine/glassbox: the same numbers as others compute, through build, save, load and contexts; every refusal."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from tests.engine.glassbox.referee import assert_same, check, check_engine, feeds_for, model, referee
from tests.graph.written import check_not_degenerate
from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
from trtlab.engine.glassbox.builder import build
from trtlab.engine.glassbox.errors import DeviceError, InputError, RunError, UnsupportedError
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS, randomized
from trtlab.graph.oracle import sample_inputs
from trtlab.plan.tactics import prefer

DEEP_RTOL = 1e-4
"""Many layers and a softmax: an error of 1e-7 of a logit of 60 is one of 6e-6 of its probability."""
LIGHT = sorted(path.stem for path in LIGHT_FOLDER.glob("*.onnx"))
PLAIN = {"light_bvlc_alexnet", "light_vgg19", "light_zfnet512", "light_resnet50"}
"""Chains of large products, and what ResNet-18 has as well: nothing new to lower."""


@pytest.fixture(scope="module")
def digits():
    return glassbox.build(export_onnx("digits"))


@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_teaching_models_equal_the_reference_evaluator_on_all_kinds_of_inputs(name):
    proto = TEACHING_MODELS[name]()
    context, names = build(proto).create_execution_context(), [o.name for o in proto.graph.output]
    for feeds in sample_inputs(proto):
        with np.errstate(all="ignore"):
            theirs = dict(zip(names, onnx.reference.ReferenceEvaluator(proto).run(None, feeds), strict=True))
        assert_same(context.run(feeds), theirs, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.sweep] * (n in PLAIN)) for n in (*LIGHT, "resnet18")]
)
def test_architectures_equal_onnxruntime_before_and_after_the_plan_file(name, tmp_path):
    proto = export_onnx(name) if name == "resnet18" else randomized(onnx.load(LIGHT_FOLDER / f"{name}.onnx"))
    engine = build(proto)
    feeds = feeds_for(engine)
    ours, theirs = engine.create_execution_context().run(feeds), referee(proto, feeds)
    check_not_degenerate(next(iter(theirs.values())))
    assert_same(ours, theirs, rtol=DEEP_RTOL)
    engine.save(tmp_path / "plan")
    again = glassbox.load(tmp_path / "plan").create_execution_context().run(feeds)
    assert all(np.array_equal(ours[key], again[key]) for key in ours)


def test_a_network_is_as_onnxruntime_has_it_and_a_fused_node_one_kernel_that_names_its_onnx_nodes(digits):
    check_engine(digits, export_onnx("digits"))
    check(export_onnx("transformer"))
    kernels = digits.inspect()
    fused = next(k for k in kernels if k.name == "conv Add Relu")
    assert len(fused.onnx_nodes) >= 3
    assert fused.inputs[0] == "float32[1, 32, 8, 8]"
    assert all(k.time_us > 0 or k.tactic == "view" for k in kernels)


@pytest.mark.parametrize("precision", ["FP16", "BF16"])
def test_a_lower_precision_rounds_but_keeps_types_outside(precision):
    proto = TEACHING_MODELS["inception"]()
    feeds = feeds_for(engine := build(proto, precision=precision))
    (low,), (full,) = engine.create_execution_context().run(feeds).values(), referee(proto, feeds).values()
    assert low.dtype == np.float32
    assert 0 < np.abs(low - full).max() / np.abs(full).max() < (2e-3 if precision == "FP16" else 3e-2)


def test_symbolic_sizes_are_one_unless_told(digits):
    assert digits.inputs["image"].shape == build(DIGITS_ONNX).inputs["image"].shape == (1, 1, 8, 8)
    check(onnx.load(DIGITS_ONNX), shapes={"image": np.array([5, 1, 8, 8])}, rules=[])  # its normalisations are kernels


# contexts and streams


def test_contexts_share_an_engine_run_at_once_and_results_are_the_callers_own(digits):
    contexts, feeds = [digits.create_execution_context() for _ in range(3)], [feeds_for(digits, n) for n in range(3)]
    first = [contexts[0].run(f)["logits"] for f in feeds]
    want = [result.copy() for result in first]
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(lambda n=n: [contexts[n].run(feeds[n])["logits"] for _ in range(50)]) for n in range(3)]
    assert all(np.array_equal(row, want[n]) for n in range(3) for row in found[n].result())
    assert all(map(np.array_equal, first, want))


def test_a_stream_runs_in_order_and_tells_errors_when_synchronised(digits):
    stream, context, outputs = digits.device.new_stream(), digits.create_execution_context(), [{}, {}]
    feeds = [feeds_for(digits, seed) for seed in range(2)]
    for f, out in zip(feeds, outputs, strict=True):
        context.enqueue(f, out, stream)
    stream.synchronize()
    assert all(np.array_equal(context.run(f)["logits"], out["logits"]) for f, out in zip(feeds, outputs, strict=True))
    stream.submit(lambda: 1 / 0)
    stream.submit(lambda: lambda: time.sleep(0.1))
    context.enqueue(feeds[0], last := {}, stream)
    with pytest.raises(ZeroDivisionError):
        stream.synchronize()
    assert np.array_equal(last["logits"], outputs[0]["logits"])


# what comes in


def test_arrays_that_are_not_dense_are_fine(digits):
    feeds, context = feeds_for(digits), digits.create_execution_context()
    want, wide = context.run(feeds)["logits"], np.zeros((1, 1, 8, 16), np.float32)
    wide[..., ::2] = feeds["image"]
    frozen = feeds["image"].copy()
    frozen.flags.writeable = False
    for image in (wide[..., ::2], frozen, np.asfortranarray(feeds["image"]), feeds["image"].astype(">f4")):
        assert np.array_equal(context.run({"image": image})["logits"], want)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"Inputs are none: expected a dict of arrays by name, image float32\[1, 1, 8, 8\]"),
        ({"image": np.zeros((1, 1, 8, 8), np.float32), "x": np.zeros(1)}, "Inputs are image, x: expected"),
        ([np.zeros(1)], "Inputs are list: expected a dict of arrays"),
        ({"image": np.zeros((2, 1, 8, 8), np.float32)}, r"is float32\[2, 1, 8, 8\]: expected .* float32\[1, 1, 8, 8\]"),
        ({"image": np.zeros((1, 1, 8, 8))}, r"is float64\[1, 1, 8, 8\]: expected .*asarray\(x, 'float32'\)"),
        ({"image": [[0.0]]}, "is list: expected an array"),
    ],
)
def test_what_does_not_fit_is_told_and_the_engine_goes_on(digits, inputs, message):
    context = digits.create_execution_context()
    with pytest.raises(InputError, match=message):
        context.run(inputs)
    context.run(feeds_for(digits))


GATHER = "(int64[2] i) => (int64[2] y) { y = Gather (x, i) }", [0, 9], [1, -1]  # a GPU would halt for good
TOO_LARGE = "(int64[1] i) => (float[?] y) { y = ConstantOfShape (i) }", [2**46], [2]
ON_GPU = pytest.param("cuda", *TOO_LARGE, marks=pytest.mark.gpu)


@pytest.mark.parametrize(("device", "text", "bad", "good"), [("cpu", *GATHER), ("cpu", *TOO_LARGE), ON_GPU])
def test_a_kernel_that_fails_and_too_little_memory_are_told_and_the_engine_goes_on(device, text, bad, good):
    proto = model(text, **{"x": np.arange(4)} if "x" in text else {})
    context = (engine := build(proto, device=device)).create_execution_context()
    with pytest.raises(RunError, match=r"A kernel failed: .*the engine can go on"):
        context.run({"i": np.array(bad)})
    with pytest.raises(RunError, match=r"No context, with an arena of 1,152,921,504,606,846,976 bytes: .* Close one"):
        glassbox.Engine(dataclasses.replace(engine.plan, arena_bytes=2**60)).create_execution_context()
    assert_same(context.run({"i": np.array(good)}), referee(proto, {"i": np.array(good)}))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize(("tactic", "nans"), [("torch", 4), ("onednn", 0)])
def test_only_what_onednn_fuses_drops_nan(tactic, nans):
    text = "(float[1,3,1,2] x) => (float[1,4,1,2] y) { a = Conv (x, w) y = Relu (a) }"
    context = build(model(text, w=np.ones((4, 3, 1, 1), np.float32)), pick=prefer(tactic)).create_execution_context()
    x = np.array([[1, 3], [np.nan, np.inf], [2, 4]], np.float32).reshape(1, 3, 1, 2)
    y = context.run({"x": x})["y"]
    assert (np.isnan(y).sum(), (y >= 3e38).sum()) == (nans, 4)


# what cannot be built

RELU = "(float[N,2] x) => (float[N,2] y) { y = Relu (x) }"


@pytest.mark.parametrize(
    ("text", "how", "error", "message"),
    [
        ("(float[4,4] x) => (float y) { y = Det (x) }", {}, UnsupportedError, "Operator Det is not one of .*: Abs"),
        ("(float[4] x) => (float[4] y) { y = com.me.Magic (x) }", {}, UnsupportedError, "com.me.Magic is not one"),
        ("(uint16[4] x) => (uint16[4] y) { y = Identity (x) }", {}, UnsupportedError, "Input 'x' is uint16: expected"),
        ("(string[4] x) => (string[4] y) { y = Identity (x) }", {}, UnsupportedError, "Input 'x' is string"),
        ("(bfloat16[4] x) => (bfloat16[4] y) { y = Relu (x) }", {}, UnsupportedError, "bool; .*pass float32 and build"),
        ("(float[4] x) => (bfloat16[4] y) { y = Cast <to=16> (x) }", {}, UnsupportedError, "Output 'y' is bfloat16"),
        ("(float[4] x, float r, bool t) => (float[4] y) { y = Dropout (x, r, t) }", {}, UnsupportedError, "training"),
        (RELU, {"opset": 6}, UnsupportedError, "opset 6: the glass box .* from 7 on"),
        (RELU, {"precision": "FP7"}, UnsupportedError, "no precision 'FP7': expected one of FP32"),
        (RELU, {"device": "tpu"}, DeviceError, "There is no device 'tpu': expected one of cpu, cuda"),
        (RELU, {"shapes": {"x": [2, 3]}}, ValueError, r"shapes\['x'\] is \[2, 3\]: the model says \['N', 2\]"),
        (RELU, {"shapes": {"z": (1,)}}, ValueError, "shapes has 'z': the model's inputs are x"),
        (RELU, {"shapes": 5}, ValueError, "shapes has 5: the model's inputs are x; give sizes by name"),
        (RELU, {"shapes": {"x": [2**47, 2]}}, RunError, "No memory for an input float32"),
        *[(RELU, {"shapes": {"x": [size, 2]}}, ValueError, "sizes are whole numbers") for size in (-1, 1.5, "a", True)],
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told(text, how, error, message):
    proto = model(text, how.get("opset", 20))
    proto.opset_import.add(domain="com.me", version=1)
    with pytest.raises(error, match=message):
        build(proto, **{name: value for name, value in how.items() if name != "opset"})


# what operands and outputs may be


@pytest.mark.parametrize(
    "text",
    [
        "(float[4,5] x) => (float[3,5] y) <float[3,4] w> { y = MatMul (w, x) }",
        "(float[2,3,4] x) => (float[2,3,5] y) <float[2,4,5] w> { y = MatMul (x, w) }",
        ("(float[2,4,3] x) => (float[2,5,3] y) <float[2,5,4] w> { a = MatMul (w, x)"
        " s = Constant <value_float=2.0> () y = Mul (a, s) }"),
        "(float[4] x) => (float[5] y) <float[4,5] w> { y = MatMul (x, w) }",
        "(float[3,4] x) => (float[3] y) <float[4] w> { y = MatMul (x, w) }",
        "(double[3,4] x) => (double[3,5] y) <double[4,5] w> { y = MatMul (x, w) }",
        "(float[0,4] x) => (float[0,5] y) <float[4,5] w> { y = MatMul (x, w) }",
        "(float[4,4] x) => (float[4,4] y) <float[4,4] w> { a = MatMul (w, w) y = Add (a, x) }",
        "(float[2,2,1,1] x) => (float[2,2,1,1] y) <float[2,2,1,1] w> { a = Conv (w, w) y = Add (x, a) }",
        ("(float[2,2,1,1] x) => (float[2,2,1,1] y) <float[2,2,1,1] w> "
        "{ a = MaxPool <kernel_shape = [1,1]> (w) y = Add (x, a) }"),
    ],
)  # fmt: skip
def test_any_operand_may_be_constant(text):
    for how in {}, {"rules": []}, *({"pick": prefer(tactic, "torch")} for tactic in ("batched", "generated")):
        check(model(text), **how)


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_outputs_may_be_inputs_weights_views_and_the_same_twice(precision):
    proto = model(
        "(float[2,3] x) => (float[3,2] t, float[2] w2, float[6] f, float[2,3] x2) "
        "{ t = Transpose (x)  w2 = Identity (w)  s = Constant <value_ints = [6]> ()  f = Reshape (t, s) "
        "x2 = Identity (x) }",
        w=np.array([1, 2], np.float32),
    )
    proto.graph.output.append(proto.graph.output[0])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    ours = build(proto, precision=precision).create_execution_context().run({"x": x})
    assert_same(ours, {"t": x.T, "w2": np.array([1, 2], np.float32), "f": x.T.reshape(6), "x2": x})
    ours["x2"][:] = 7
    assert x[0, 1] == 1
