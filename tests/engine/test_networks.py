"""engine/networks, modules, export: the same weights each time, outputs worth comparing, an export that agrees, and
trained files that score what they say."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from trtlab.engine.export import ExportError, export_onnx
from trtlab.engine.networks import DIGITS_ONNX, MODELS, TRAINED, TeachingModel, load_digits_split
from trtlab.engine.ort import OrtSession

NAMES = ("digits", "resnet18", "transformer")


@pytest.fixture(params=NAMES)
def model(request) -> TeachingModel:
    return MODELS[request.param]


@pytest.fixture(scope="module")
def digits():
    """Exported once, for the tests that only read."""
    return export_onnx("digits", dynamic_batch=True)


def answers_of_torch(module, *inputs):
    with torch.no_grad():
        return module(*inputs).numpy()


class TwoInputs(nn.Module):
    def forward(self, a, b):
        return a * 2 + b, a - b


class Stubborn(nn.Module):
    """Branches on a value: torch.export cannot trace that."""

    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


# --- the models -----------------------------------------------------------------------------------------------------


def test_what_is_said_of_a_model_is_so(model):
    assert tuple(MODELS) == NAMES
    assert model.trained == (model.name == "digits") == ("Random weights" not in model.what)
    count = sum(parameter.numel() for parameter in model.make().parameters())
    assert count == {"digits": 38_122, "resnet18": 11_689_512, "transformer": count}[model.name]  # torchvision's figure
    assert f"{count:,}" in model.what or model.name == "transformer"
    usual = {"conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"}
    assert model.name != "resnet18" or usual <= set(model.make().state_dict())


def test_make_gives_the_same_weights_and_keeps_the_callers_random_state(model):
    torch.manual_seed(7)
    state, first = torch.random.get_rng_state(), model.make()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    second = model.make()
    assert not first.training
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_inputs_are_fixed_and_a_prefix_of_a_larger_batch_and_outputs_are_worth_comparing(model):
    one, two = model.example_input(), model.example_input(batch=2)
    assert two.shape == (2, *model.sample_shape)
    assert torch.equal(one, two[:1])
    assert torch.equal(two, model.example_input(batch=2))
    with pytest.raises(ValueError, match="got batch=0"):
        model.example_input(batch=0)
    answers = answers_of_torch(model.make(), two)
    assert np.isfinite(answers).all()
    assert answers.std() > 0.01
    assert len(np.unique(answers)) > 0.9 * answers.size
    assert not np.allclose(answers[0], answers[1])


def test_scans_start_again_after_the_last_and_carry_their_labels():
    scans, labels = MODELS["digits"].example_input(batch=451), MODELS["digits"].labels(batch=451)
    assert torch.equal(scans[450], scans[0])
    np.testing.assert_array_equal(labels[:450], load_digits_split().test_labels)
    assert MODELS["resnet18"].labels() is None


# --- the trained files ----------------------------------------------------------------------------------------------


def test_split_is_the_whole_data_set_in_two_disjoint_parts():
    split = load_digits_split()
    assert (split.train_images.shape, split.test_images.shape) == ((1347, 1, 8, 8), (450, 1, 8, 8))
    assert (split.train_images.dtype, split.train_images.min(), split.train_images.max()) == (np.float32, 0.0, 1.0)
    train_scans = {image.tobytes() for image in split.train_images}
    assert not any(image.tobytes() in train_scans for image in split.test_images)
    assert np.bincount(split.test_labels).min() >= 40  # stratified: every digit is there about equally often
    with pytest.raises(ValueError, match="read-only"):
        split.test_images[0] = 0


@pytest.mark.parametrize("network", TRAINED.values(), ids=TRAINED)
def test_a_trained_file_is_valid_small_and_scores_what_its_metadata_says(network):
    assert network.path.stat().st_size < 170_000
    proto = onnx.load(network.path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["image", "logits"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    assert {"dataset", "seed", "epochs", "torch_version"} < facts.keys()
    split = load_digits_split()
    logits = OrtSession(proto).run({"image": split.test_images})["logits"]
    score = (logits.argmax(axis=1) == split.test_labels).mean()
    assert score >= 0.97
    assert float(facts["test_accuracy"]) == pytest.approx(score, abs=0.0023)  # one scan of 450


def test_the_networks_are_as_hard_for_int8_as_is_said():
    """Largest over median magnitude: of the depthwise weights by channel, of LayerNorm scales."""
    weights = [
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(TRAINED[name].path).graph.initializer}
        for name in ("depthwise", "transformer")
    ]
    spread = [np.abs(w).max((1, 2, 3)) for name, w in weights[0].items() if name.endswith(".0.weight")][1:]
    spread += [np.abs(w) for name, w in weights[1].items() if "norm" in name and "blocks" in name and "weight" in name]
    assert len(spread) == 8
    assert all(each.max() / np.median(each) > 50 for each in spread)


def test_the_digits_twin_in_torch_agrees():
    images = load_digits_split().test_images
    logits = OrtSession(DIGITS_ONNX).run({"image": images})["logits"]
    twin = answers_of_torch(MODELS["digits"].make(), torch.tensor(images))
    np.testing.assert_allclose(twin, logits, rtol=1e-4, atol=1e-4)


# --- export ---------------------------------------------------------------------------------------------------------


def assert_agrees(proto, model, batch):
    onnx.checker.check_model(proto, full_check=True)
    inputs = model.example_input(batch)
    got = OrtSession(proto).run({model.input_name: inputs.numpy()})[model.output_name]
    np.testing.assert_allclose(got, answers_of_torch(model.make(), inputs), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["digits", "transformer"])
def test_export_agrees_with_torch_and_names_its_nodes(name, digits):
    proto, batch = (digits, 3) if name == "digits" else (export_onnx(name), 1)
    assert_agrees(proto, MODELS[name], batch)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert all("/" in name or name.split("_")[0] in {"Add", "Reshape"} for name in names)
    batch_axis = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert (batch_axis.dim_param, batch_axis.dim_value) == (("batch", 0) if batch == 3 else ("", 1))


def test_export_can_keep_batchnorm(digits):
    kept = export_onnx("digits", fold_batchnorm=False)
    kinds = [[node.op_type for node in proto.graph.node] for proto in (kept, digits)]
    assert [found.count("BatchNormalization") for found in kinds] == [4, 0]
    assert len(kinds[0]) == len(kinds[1]) + 4
    assert_agrees(kept, MODELS["digits"], 1)


def test_export_in_fp16_is_fp16_throughout():
    model, proto = MODELS["digits"], export_onnx("digits", precision="FP16", dynamic_batch=True)
    onnx.checker.check_model(proto, full_check=True)
    floats = {tensor.data_type for tensor in proto.graph.initializer} - {onnx.TensorProto.INT64}
    floats |= {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
    assert floats == {onnx.TensorProto.FLOAT16}
    assert "Cast" not in {node.op_type for node in proto.graph.node}
    inputs = model.example_input(batch=2)
    exact = answers_of_torch(model.make(), inputs)
    got = OrtSession(proto).run({model.input_name: inputs.half().numpy()})[model.output_name]
    assert np.abs(got - exact).max() < 0.02 * exact.std()


def test_export_of_a_module_of_ones_own_leaves_it_alone_and_in_its_own_mode():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    proto = export_onnx(module, torch.ones(1, 4), precision="FP16")
    assert (module.training, module[0].weight.dtype) == (True, torch.float32)
    assert "Dropout" not in {node.op_type for node in proto.graph.node}
    proto = export_onnx(TwoInputs(), (torch.ones(1, 3), torch.ones(1, 3)), dynamic_batch=True)
    a = np.arange(15, dtype=np.float32).reshape(5, 3)
    left, right = (value.name for value in proto.graph.input)
    total, difference = OrtSession(proto).run({left: a, right: a + 1}).values()
    np.testing.assert_array_equal(total, 3 * a + 1)
    np.testing.assert_array_equal(difference, -np.ones((5, 3)))


def test_export_is_quiet_repeatable_and_carries_no_paths(capfd, recwarn, digits):
    filters = list(warnings.filters)
    again = export_onnx("digits", dynamic_batch=True).SerializeToString(deterministic=True)
    assert again == digits.SerializeToString(deterministic=True)
    assert b".py" not in again
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert warnings.filters == filters


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "digits", "precision": "INT4"}, ValueError, "FP32 or FP16 or INT8: got precision='INT4'"),
        ({"model": "lenet"}, ValueError, "'lenet'.*digits, resnet18, transformer"),
        ({"model": nn.ReLU()}, TypeError, "ReLU.*tuple of tensors: got none at all"),
        ({"model": nn.ReLU(), "example_inputs": np.ones((2, 3))}, TypeError, "tuple of tensors: got ndarray"),
        ({"model": 5}, TypeError, "got int"),
        ({"model": Stubborn(), "example_inputs": (torch.ones(3),)}, ExportError, "Stubborn.*eager mode"),
    ],
)
def test_errors_say_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        export_onnx(**arguments)
