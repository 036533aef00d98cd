"""lab/precision and lab/repairs: ONNX Runtime is the referee; a repair keeps the function and brings accuracy
back; what is said of the three networks is so; one tensor rounded inside a network."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from tests.graph.written import written
from trtlab.engine.networks import TRAINED, load_digits_split
from trtlab.engine.ort import OrtSession
from trtlab.engine.precision import collect
from trtlab.graph.precision import insert_qdq
from trtlab.lab.precision import (
    accuracy,
    accuracy_when_clipped,
    images_needed,
    layers,
    logits,
    mixed,
    network,
    rounded_weights,
    row,
    sensitivity,
    thresholds,
    weights_of,
    wilson,
    with_weights,
)
from trtlab.lab.repairs import equalised, retrained, smoothed
from trtlab.numeric.calibrate import CalibrationError

SPLIT = load_digits_split()


def of_ort(model, images):
    return OrtSession(model).run({"image": images})["logits"]


def int8(model, grain):
    at = thresholds(collect(model, [SPLIT.calibration_images]))
    return row(model, "INT8", "INT8", grain=grain, reads="INT8", at=at)


@pytest.mark.parametrize("name", TRAINED)
def test_torch_node_by_node_answers_as_onnx_runtime_also_with_rounded_weights(name):
    model, images = network(name), SPLIT.test_images
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization"}
    plan = {layer.name: "INT4" for layer in layers(model)}
    rounded = with_weights(model, rounded_weights(model, plan)[0])
    near = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(logits(model, images, plan), of_ort(rounded, images), **near)
    np.testing.assert_allclose(logits(model, images, {}), of_ort(onnx.load(TRAINED[name].path), images), **near)


def test_rounded_weights_are_those_of_numeric_by_hand_and_their_bytes_add_up():
    model = network("depthwise")
    for layer in layers(model):
        w = weights_of(model)[layer.weight]
        changed, size = rounded_weights(model, {layer.name: "INT8"})
        scale = np.abs(w).reshape(len(w), -1).max(axis=1).reshape(-1, *[1] * (w.ndim - 1)) / 127
        np.testing.assert_allclose(changed[layer.weight], np.rint(w / scale) * scale, rtol=1e-5, atol=1e-7)
        plain = sum(array.nbytes for array in weights_of(model).values() if array.dtype == np.float32)
        assert size == plain - 3 * w.size + 4 * len(w)


def test_one_layer_alone_in_int8_is_its_input_and_weights_rounded():
    model = network("digits")
    at = thresholds(collect(model, [SPLIT.calibration_images[:1]]))
    with pytest.raises(CalibrationError, match=r"'image'"):
        logits(model, SPLIT.test_images[:2], {layers(model)[0].name: "INT8"}, reads="INT8")
    first = layers(model)[0]
    scale = np.float32(at["image"].value) / np.float32(127)
    images = (np.clip(np.rint(SPLIT.test_images[:8] / scale), -128, 127) * scale).astype(np.float32)
    weights = with_weights(model, rounded_weights(model, {first.name: "INT8"})[0])
    got = logits(model, SPLIT.test_images[:8], {first.name: "INT8"}, reads="INT8", at=at)
    np.testing.assert_allclose(got, of_ort(weights, images), rtol=1e-3, atol=1e-3)


def test_fp8_answers_are_those_of_the_reference_evaluator():
    """ONNX Runtime's own fusions lose a ReLU there."""
    model, images = network("digits"), SPLIT.test_images[:4]
    at = thresholds(collect(model, [SPLIT.calibration_images]))
    plan = {layer.name: "FP8_E4M3" for layer in layers(model)}
    made = insert_qdq(model, at, activations="FP8_E4M3", per_channel=False)
    (want,) = ReferenceEvaluator(made).run(None, {"image": images})
    np.testing.assert_allclose(logits(model, images, plan, "tensor", "FP8_E4M3", at), want, rtol=1e-4, atol=1e-4)


def test_the_three_networks_teach_what_they_are_for():
    found = {name: {one.name: one for one in accuracy(name)} for name in TRAINED}
    channel, tensor = "INT8, max, weights per channel", "INT8, max, weights per tensor"
    assert min(one.accuracy for one in found["digits"].values()) > 0.96
    assert found["depthwise"][tensor].interval[1] < 0.5 < 0.95 < found["depthwise"][channel].interval[0]
    assert found["transformer"][channel].interval[1] < 0.9
    assert found["transformer"]["FP8_E4M3, max"].interval[0] > 0.93
    assert found["transformer"]["INT8, entropy, weights per channel"].interval[0] > 0.9
    for rows in found.values():
        ran = {name for name, one in rows.items() if one.how == "ONNX Runtime"}
        assert ran == {name for name in rows if name in ("FP32", "FP16") or name.startswith(("INT8", "FP8"))}
        assert rows["FP32"].same == rows["FP32"].total == 450
        assert rows[tensor].weights_bytes < 0.55 * rows["FP16"].weights_bytes


def test_repairs_bring_accuracy_back_and_keep_the_function():
    model = network("depthwise")
    repaired = equalised(model)
    assert (int8(model, "tensor").accuracy < 0.3, int8(repaired, "tensor").interval[0] > 0.95) == (True, True)
    transformer = network("transformer")
    smooth = smoothed(transformer, SPLIT.calibration_images)
    assert (int8(transformer, "channel").accuracy < 0.9, int8(smooth, "tensor").interval[0] > 0.93) == (True, True)
    fp4 = [row(one, "NVFP4", "NVFP4", reads="NVFP4").accuracy for one in (transformer, smooth)]
    assert fp4[0] < 0.5 < 0.9 < fp4[1]
    for before, after in ((model, repaired), (transformer, smooth), (transformer, equalised(transformer))):
        np.testing.assert_allclose(of_ort(after, SPLIT.test_images), of_ort(before, SPLIT.test_images), atol=1e-3)


def branching(op):
    """Two products behind a ReLU or a LayerNorm whose result is also added, or an output: not to be rescaled there."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((8, 8)) * 10.0 ** np.arange(8) for name in "wvu"} | {"b": rng.random(8)}
    return written(
        f"""(float[4,8] image) => (float[4,8] logits) {{
            [first] a = Gemm <transB = 1> (image, w, b)
            [middle] r = {op}
            [second] c = MatMul (r, v)
            [third] d = Relu (c)
            [last] e = MatMul (d, u)
            [sum] logits = Add (e, r)
        }}""",
        **{name: array.astype(np.float32) for name, array in weights.items()},
    )


@pytest.mark.parametrize("repair", [equalised, lambda model: smoothed(model, np.ones((4, 8), np.float32))])
@pytest.mark.parametrize("op", ["Relu (a)", "LayerNormalization (a, b, b)"])
def test_a_tensor_that_others_read_too_is_not_rescaled(repair, op):
    model = branching(op)
    x = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)
    before, after = of_ort(model, x), of_ort(repair(model), x)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
    changed = [n for n, w in weights_of(repair(model)).items() if not np.array_equal(w, weights_of(model)[n])]
    assert set(changed) == ({"v", "u"} if repair is equalised else set())


@pytest.mark.slow
def test_training_with_rounding_in_place_brings_the_depthwise_network_back():
    made, losses = retrained(network("depthwise"))
    assert losses[-1] < 0.2 * losses[0]
    assert int8(made, "tensor").interval[0] > 0.9


def test_sensitive_layers_come_first_and_keeping_them_costs_their_bytes():
    found = sensitivity("transformer", "INT8")
    assert list(found.values()) == sorted(found.values())
    behind_norms = {name for name in found if any(part in name for part in ("query", "key", "value", "mlp.0"))}
    assert set(list(found)[: len(behind_norms)]) == behind_norms
    rows = mixed("digits")
    assert [one.weights_bytes for one in rows] == sorted(one.weights_bytes for one in rows)
    alone = row(network("digits"), "", "INT8")
    assert (rows[-1].right, rows[-1].weights_bytes) == (alone.right, alone.weights_bytes)


def test_few_scans_are_enough_for_the_cnn():
    found = images_needed("digits", counts=(1, 16), draws=2)
    assert {count: len(accuracies) for count, accuracies in found.items()} == {1: 2, 16: 2}
    assert min(found[16]) > 0.97


def test_wilson_against_its_quadratic():
    """The ends solve (p - x)^2 = z^2 x (1 - x) / n."""
    for right, total in ((445, 450), (0, 10), (10, 10), (225, 450)):
        for end in wilson(right, total):
            p = right / total
            assert (p - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / total, abs=1e-9)
    with pytest.raises(ValueError, match="5 of 4"):
        wilson(5, 4)


def test_one_tensor_is_rounded_and_clipped_as_by_hand_and_where_outliers_are_both_ends_lose():
    images, labels = SPLIT.test_images, SPLIT.test_labels
    right = accuracy_when_clipped(network("digits"), "image", images, labels)
    for threshold in (0.1, 1.0):
        step = np.float32(threshold / 127)
        rounded = np.clip(np.rint(images / step), -128, 127).astype(np.float32) * step
        assert right(threshold) == ((of_ort(network("digits"), rounded).argmax(axis=1) == labels).sum(), 450)
    right = accuracy_when_clipped(network("transformer"), "layer_norm_2", images, labels)
    (tiny, _), (good, _), (wide, _) = right(0.01), right(190.0), right(1e6)
    assert max(tiny, wide) < good - 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network("resnet"), r"'resnet'.*digits, depthwise, transformer"),
        (lambda: row(network("digits"), "", {"conv9": "INT8"}), r"'conv9'.*conv1/Conv"),
        (lambda: row(network("digits"), "", "INT5"), r"'INT5'.*INT4"),
        (lambda: row(network("digits"), "", "INT8", grain="row"), r"'row'.*tensor, channel, block"),
        (lambda: accuracy_when_clipped(network("digits"), "q", SPLIT.test_images, []), r"reads 'q'.*image, max_pool2d"),
        (lambda: thresholds({}, "median"), r"'median'.*max, percentile, entropy, mse"),
    ],
)
def test_an_unknown_name_is_told_what_there_is(call, message):
    with pytest.raises(ValueError, match=message):
        call()
