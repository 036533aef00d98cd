"""engine/networks, modules, export: the same weights each time, outputs worth comparing, an export that agrees, and
trained files that score what they say."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.graph.written import check_not_degenerate
from trtlab.engine.export import ExportError, export_onnx
from trtlab.engine.networks import DIGITS_ONNX, MODELS, TRAINED, TeachingModel, load_digits_split
from trtlab.engine.ort import OrtSession

NAMES = ("digits", "resnet18", "transformer")


@pytest.fixture(params=NAMES)
def model(request) -> TeachingModel:
    return MODELS[request.param]


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


def test_make_gives_the_same_weights_and_keeps_the_callers_random_state(model):
    assert model.trained == (model.name == "digits")
    state, first = torch.random.get_rng_state(), model.make()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    second = model.make()
    assert not first.training
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_resnet18_is_torchvisions():
    made = MODELS["resnet18"].make()
    assert sum(parameter.numel() for parameter in made.parameters()) == 11_689_512
    usual = {"conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"}
    assert usual <= set(made.state_dict())


def test_inputs_are_fixed_and_a_prefix_of_a_larger_batch_and_outputs_are_worth_comparing(model):
    one, two = model.example_input(), model.example_input(batch=2)
    assert two.shape == (2, *model.sample_shape)
    assert torch.equal(one, two[:1])
    with pytest.raises(ValueError, match="got batch=0"):
        model.example_input(batch=0)
    answers = answers_of_torch(model.make(), two)
    check_not_degenerate(answers)
    assert not np.allclose(answers[0], answers[1])


# --- the trained files ----------------------------------------------------------------------------------------------


def test_split_is_the_whole_data_set_in_two_disjoint_parts_and_scans_start_again_after_the_last():
    split = load_digits_split()
    assert (split.train_images.shape, split.test_images.shape) == ((1347, 1, 8, 8), (450, 1, 8, 8))
    assert (split.train_images.dtype, split.train_images.min(), split.train_images.max()) == (np.float32, 0.0, 1.0)
    train_scans = {image.tobytes() for image in split.train_images}
    assert not any(image.tobytes() in train_scans for image in split.test_images)
    assert np.bincount(split.test_labels).min() >= 40  # stratified: every digit is there about equally often
    with pytest.raises(ValueError, match="read-only"):
        split.test_images[0] = 0
    scans, labels = MODELS["digits"].example_input(batch=451), MODELS["digits"].labels(batch=451)
    assert torch.equal(scans[450], scans[0])
    np.testing.assert_array_equal(labels[:450], split.test_labels)
    assert MODELS["resnet18"].labels() is None


@pytest.mark.parametrize("network", TRAINED.values(), ids=TRAINED)
def test_a_trained_file_is_valid_and_scores_what_its_metadata_says(network):
    proto = onnx.load(network.path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    split = load_digits_split()
    logits = OrtSession(proto).run({"image": split.test_images})["logits"]
    score = (logits.argmax(axis=1) == split.test_labels).mean()
    assert score >= 0.97
    assert float(facts["test_accuracy"]) == pytest.approx(score, abs=0.0023)  # one scan of 450


def test_the_digits_twin_in_torch_agrees():
    images = load_digits_split().test_images
    logits = OrtSession(DIGITS_ONNX).run({"image": images})["logits"]
    twin = answers_of_torch(MODELS["digits"].make(), torch.tensor(images))
    np.testing.assert_allclose(twin, logits, rtol=1e-4, atol=1e-4)


# --- export ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "batch"), [("digits", 3), ("transformer", 1)])
def test_export_agrees_with_torch_and_names_its_nodes(name, batch):
    model, proto = MODELS[name], export_onnx(name, dynamic_batch=batch > 1)
    onnx.checker.check_model(proto, full_check=True)
    inputs = model.example_input(batch)
    got = OrtSession(proto).run({model.input_name: inputs.numpy()})[model.output_name]
    np.testing.assert_allclose(got, answers_of_torch(model.make(), inputs), rtol=1e-3, atol=1e-3)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert all("/" in name or name.split("_")[0] in {"Add", "Reshape"} for name in names)
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    batch_axis = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert (batch_axis.dim_param, batch_axis.dim_value) == (("batch", 0) if batch > 1 else ("", 1))


def test_export_in_fp16_is_fp16_throughout_and_leaves_the_module_alone_and_in_its_own_mode():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 4), nn.Dropout(0.5))
    x = torch.randn(1, 1, 4, 4)
    proto = export_onnx(module.train(), x, precision="FP16")
    assert (module.training, module[0].weight.dtype) == (True, torch.float32)
    floats = {tensor.data_type for tensor in proto.graph.initializer} - {onnx.TensorProto.INT64}
    floats |= {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
    assert floats == {onnx.TensorProto.FLOAT16}
    assert not {"Cast", "Dropout"} & {node.op_type for node in proto.graph.node}
    (got,) = OrtSession(proto).run({proto.graph.input[0].name: x.half().numpy()}).values()
    np.testing.assert_allclose(got, answers_of_torch(module.eval(), x), atol=5e-3)


def test_export_with_two_inputs_is_quiet_repeatable_and_carries_no_paths(capfd, recwarn):
    protos = [export_onnx(TwoInputs(), (torch.ones(1, 3), torch.ones(1, 3)), dynamic_batch=True) for _ in range(2)]
    text, again = (proto.SerializeToString(deterministic=True) for proto in protos)
    assert text == again
    assert b".py" not in text
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    a = np.arange(15, dtype=np.float32).reshape(5, 3)
    left, right = (value.name for value in protos[0].graph.input)
    total, difference = OrtSession(protos[0]).run({left: a, right: a + 1}).values()
    np.testing.assert_array_equal(total, 3 * a + 1)
    np.testing.assert_array_equal(difference, -np.ones((5, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "digits", "precision": "INT4"}, ValueError, "FP32 or FP16 or INT8.*'INT4'"),
        ({"model": "lenet"}, ValueError, "'lenet'.*digits, resnet18, transformer"),
        ({"model": nn.ReLU()}, TypeError, "ReLU.*tuple of tensors.*none"),
        ({"model": nn.ReLU(), "example_inputs": np.ones((2, 3))}, TypeError, "tuple of tensors.*ndarray"),
        ({"model": 5}, TypeError, "got int"),
        ({"model": Stubborn(), "example_inputs": (torch.ones(3),)}, ExportError, "Stubborn.*eager mode"),
    ],
)
def test_errors_say_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        export_onnx(**arguments)
