"""engine/nvidia/inspector: engine steps from inspector JSON, hand-made after the documents of TensorRT 10 and 11."""

import json

import pytest

from trtlab.engine.nvidia.inspector import steps_from_inspector

COMMON = {
    "Name": "conv1 + relu1",
    "LayerType": "CaskConvolution",
    "StreamId": 1,
    "Metadata": "[ONNX Layer: conv1]\x1f[ONNX Layer: relu1]",
}
TENSOR_10 = {
    "Name": "x",
    "Location": "Device",
    "Dimensions": [1, 3, 8, 8],
    "Format/Datatype": "Channel major FP16 format where C % 8 == 0 Half",
}
TENSOR_11 = {
    "Name": "x",
    "Dimensions": [1, 3, 8, 8],
    "Strides": [192, 64, 8, 1],
    "Format": "Row major linear",
    "Datatype": "Half",
}


def text_of(layer):
    return json.dumps({"Layers": [layer], "Bindings": ["x", "y"]})


def test_tensorrt_10_joins_format_and_type():
    layer = COMMON | {
        "Inputs": [TENSOR_10],
        "Outputs": [TENSOR_10],
        "TacticName": "sm80_xmma",
        "TacticValue": "0x1",
    }
    (step,) = steps_from_inspector(text_of(layer))
    assert (step.name, step.type, step.tactic, step.stream) == (
        "conv1 + relu1",
        "CaskConvolution",
        "sm80_xmma",
        1,
    )
    assert step.onnx_nodes == ("conv1", "relu1")
    assert step.inputs[0].dtype == step.dtype == "Half"
    assert step.inputs[0].format == TENSOR_10["Format/Datatype"]
    assert step.inputs[0].strides is None


def test_tensorrt_11_splits_them():
    layer = COMMON | {
        "Inputs": [TENSOR_11],
        "Outputs": [TENSOR_11],
        "Constants": ["w", TENSOR_11],
        "TacticValue": "0x7",
        "EventId": 3,
    }
    (step,) = steps_from_inspector(text_of(layer))
    assert (step.tactic, step.event) == ("0x7", 3)
    assert (step.inputs[0].dtype, step.inputs[0].format) == ("Half", "Row major linear")
    assert step.inputs[0].strides == (192, 64, 8, 1)
    assert len(step.constants) == 1


def test_a_bare_layer_and_no_layers():
    (step,) = steps_from_inspector(text_of({"Name": "n"}))
    assert (step.type, step.tactic, step.stream, step.onnx_nodes, step.inputs) == ("", "", 0, (), ())
    assert steps_from_inspector("{}") == ()


def test_names_only_say_which_verbosity_is_missing():
    with pytest.raises(ValueError, match=r"expected an engine built with ProfilingVerbosity\.DETAILED"):
        steps_from_inspector('{"Layers": ["conv1 + relu1"]}')
