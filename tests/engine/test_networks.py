"""engine/networks, engine/export: the same weights each time, outputs worth comparing, an export that agrees."""

import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from trtlab.engine.export import ExportError, export_onnx
from trtlab.engine.networks import MODELS, TeachingModel, teaching_model
from trtlab.engine.ort import OrtSession

NAMES = ("digits", "resnet18", "transformer")


@pytest.fixture(params=NAMES)
def model(request) -> TeachingModel:
    return MODELS[request.param]


def answers_of_torch(module, inputs):
    with torch.no_grad():
        return module(*inputs).numpy()


class TwoInputs(nn.Module):
    def forward(self, a, b):
        return a * 2 + b, a - b


class Stubborn(nn.Module):
    """Branches on a value: torch.export cannot trace that."""

    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


def test_import_is_light():
    heavy = "{'torch', 'onnx', 'onnxruntime', 'sklearn'}"
    code = f"import sys, trtlab.engine.networks, trtlab.engine.digits; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_registry_has_the_three_and_cannot_change():
    assert tuple(MODELS) == NAMES
    assert all(name == model.name for name, model in MODELS.items())
    with pytest.raises(TypeError):
        MODELS["mine"] = MODELS["digits"]


def test_random_weights_are_said_to_be_random(model):
    assert model.trained == (model.name == "digits")
    assert ("Random weights" in model.what) == (not model.trained)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'resnet50'.*digits, resnet18, transformer"):
        teaching_model("resnet50")


def test_resnet18_is_the_usual_one():
    module = MODELS["resnet18"].make()
    assert sum(parameter.numel() for parameter in module.parameters()) == 11_689_512  # torchvision's own figure
    assert {"conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"} <= set(
        module.state_dict()
    )


def test_digits_text_states_its_parameters():
    count = sum(parameter.numel() for parameter in MODELS["digits"].make().parameters())
    assert f"{count:,}" in MODELS["digits"].what


def test_make_gives_the_same_weights_and_keeps_the_callers_random_state(model):
    torch.manual_seed(7)
    first = model.make()
    state = torch.random.get_rng_state()
    torch.manual_seed(99)
    second = model.make()
    torch.manual_seed(7)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not first.training
    assert first is not second
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_outputs_are_worth_comparing(model):
    inputs = model.example_inputs(batch=2)
    answers = answers_of_torch(model.make(), inputs)
    assert np.isfinite(answers).all()
    assert answers.std() > 0.01
    assert len(np.unique(answers)) > 0.9 * answers.size
    assert not np.allclose(answers[0], answers[1])


def test_example_inputs_are_fixed_and_a_prefix_of_a_larger_batch(model):
    (one,), (three,) = model.example_inputs(), model.example_inputs(batch=3)
    assert three.shape == (3, *model.sample_shape) == model.input_shapes(3)[model.input_names[0]]
    assert torch.equal(one, three[:1])
    assert torch.equal(three, model.example_inputs(batch=3)[0])


def test_example_inputs_of_digits_start_again_after_the_last_scan():
    (scans,) = MODELS["digits"].example_inputs(batch=451)
    assert torch.equal(scans[450], scans[0])


def test_example_inputs_need_a_sample(model):
    with pytest.raises(ValueError, match="got batch=0"):
        model.example_inputs(batch=0)


@pytest.mark.parametrize("dynamic", [False, True])
def test_export_agrees_with_torch_and_names_its_nodes(model, dynamic):
    proto = export_onnx(model.name, dynamic_batch=dynamic)
    onnx.checker.check_model(proto, full_check=True)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert all("/" in name or name.split("_")[0] in {"Add", "Reshape"} for name in names)
    assert tuple(value.name for value in proto.graph.input) == model.input_names
    assert tuple(value.name for value in proto.graph.output) == model.output_names
    batch_axis = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert (batch_axis.dim_param, batch_axis.dim_value) == (("batch", 0) if dynamic else ("", 1))
    inputs = model.example_inputs(batch=3 if dynamic else 1)
    got = OrtSession(proto).run({model.input_names[0]: inputs[0].numpy()})[model.output_names[0]]
    np.testing.assert_allclose(got, answers_of_torch(model.make(), inputs), rtol=1e-3, atol=1e-3)


def test_export_in_fp16_is_fp16_throughout(model):
    proto = export_onnx(model.name, precision="FP16", dynamic_batch=True)
    onnx.checker.check_model(proto, full_check=True)
    floats = {tensor.data_type for tensor in proto.graph.initializer} - {onnx.TensorProto.INT64}
    assert floats == {onnx.TensorProto.FLOAT16}
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert "Cast" not in {node.op_type for node in proto.graph.node}
    inputs = model.example_inputs(batch=2)
    exact = answers_of_torch(model.make(), inputs)
    got = OrtSession(proto).run({model.input_names[0]: inputs[0].half().numpy()})[model.output_names[0]]
    assert np.abs(got - exact).max() < 0.02 * exact.std()


def test_export_can_keep_batchnorm():
    kept = export_onnx("resnet18", fold_batchnorm=False)
    folded = export_onnx("resnet18")
    kinds = [node.op_type for node in kept.graph.node]
    assert (len(kinds), len(folded.graph.node)) == (69, 49)
    assert kinds.count("BatchNormalization") == 20
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    feeds = {"image": MODELS["resnet18"].example_inputs()[0].numpy()}
    np.testing.assert_allclose(
        OrtSession(kept).run(feeds)["logits"], OrtSession(folded).run(feeds)["logits"], rtol=1e-3, atol=1e-4
    )


def test_export_leaves_the_module_alone_and_in_its_own_mode():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    proto = export_onnx(module, (torch.ones(1, 4),), precision="FP16")
    assert module.training
    assert module[0].weight.dtype == torch.float32
    assert "Dropout" not in {node.op_type for node in proto.graph.node}


def test_export_of_a_module_of_ones_own_with_two_inputs():
    proto = export_onnx(
        TwoInputs(), (torch.ones(1, 3), torch.ones(1, 3)), dynamic_batch=True,
        input_names=("left", "right"), output_names=("sum", "difference"),
    )  # fmt: skip
    a = np.arange(15, dtype=np.float32).reshape(5, 3)
    got = OrtSession(proto).run({"left": a, "right": a + 1})
    np.testing.assert_array_equal(got["sum"], 3 * a + 1)
    np.testing.assert_array_equal(got["difference"], -np.ones((5, 3)))


def test_export_is_quiet_and_carries_no_paths(capfd, recwarn):
    proto = export_onnx("digits")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert b".py" not in proto.SerializeToString()


def test_export_restores_the_callers_warning_filters():
    before = list(warnings.filters)
    export_onnx("digits")
    assert warnings.filters == before


def test_export_twice_gives_the_same_bytes():
    first, second = (export_onnx("digits").SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_opset_is_obeyed():
    assert export_onnx("digits", opset=18).opset_import[0].version == 18


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "digits", "precision": "INT8"}, ValueError, "FP32 or FP16: got precision='INT8'"),
        ({"model": "lenet"}, ValueError, "expected one of digits"),
        ({"model": "digits", "opset": 11}, ValueError, "got opset=11"),
        ({"model": "digits", "opset": 999}, ValueError, "got opset=999"),
        ({"model": nn.ReLU()}, ValueError, "ReLU needs example inputs"),
        ({"model": nn.ReLU(), "example_inputs": ()}, TypeError, "none at all"),
        ({"model": nn.ReLU(), "example_inputs": (np.ones(3),)}, TypeError, "got ndarray"),
        ({"model": 5}, TypeError, "got int"),
        ({"model": Stubborn(), "example_inputs": (torch.ones(3),)}, ExportError, "could not export Stubborn"),
        (
            {"model": nn.Linear(4, 2), "example_inputs": (torch.ones(1, 3),)},
            ExportError,
            "could not export Linear",
        ),
    ],
)
def test_errors_say_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        export_onnx(**arguments)
