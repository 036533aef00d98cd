"""engine/trtexec: the command for each TensorRT major; precision is where they differ."""

import shlex

import pytest

from trtlab.engine.trtexec import MAJORS, trtexec_command

PROFILE = {"image": ((1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))}
TWO_INPUTS = {"a": ((1, 2), (4, 2), (8, 2)), "b": ((1,), (4,), (8,))}


@pytest.mark.parametrize(
    ("precision", "major", "expected"),
    [
        ("FP32", "8", "--onnx=digits.onnx --saveEngine=digits-fp32.plan"),
        ("FP16", "8", "--onnx=digits.onnx --saveEngine=digits-fp16.plan --fp16"),
        ("FP32", "10", "--onnx=digits-fp32.onnx --saveEngine=digits-fp32.plan --stronglyTyped"),
        ("FP16", "10", "--onnx=digits-fp16.onnx --saveEngine=digits-fp16.plan --stronglyTyped"),
        ("FP32", "11", "--onnx=digits-fp32.onnx --saveEngine=digits-fp32.plan"),
        ("FP16", "11", "--onnx=digits-fp16.onnx --saveEngine=digits-fp16.plan"),
    ],
)
def test_each_major_says_precision_in_its_own_way(precision, major, expected):
    command = trtexec_command("digits", precision=precision, major=major)
    build_only = "--buildOnly" if major == "8" else "--skipInference"
    assert command == f"trtexec {expected} --profilingVerbosity=detailed {build_only}"


@pytest.mark.parametrize("major", MAJORS)
def test_a_static_model_names_no_shapes_and_a_dynamic_one_all_three(major):
    assert "Shapes" not in trtexec_command("digits", precision="FP32", major=major)
    assert "Shapes" not in trtexec_command("digits", precision="FP32", major=major, profile={})
    words = shlex.split(trtexec_command("digits", precision="FP32", major=major, profile=PROFILE))
    assert [word for word in words if "Shapes" in word] == [
        "--minShapes=image:1x1x8x8", "--optShapes=image:16x1x8x8", "--maxShapes=image:64x1x8x8",
    ]  # fmt: skip


def test_several_inputs_are_divided_by_commas():
    command = trtexec_command("two", precision="FP32", major="11", profile=TWO_INPUTS)
    assert "--minShapes=a:1x2,b:1 --optShapes=a:4x2,b:4 --maxShapes=a:8x2,b:8" in command


@pytest.mark.parametrize("major", ["7", "9", "", "11.1", 11])
def test_another_major_names_the_known(major):
    with pytest.raises(ValueError, match=rf"TensorRT major is {major!r}; expected one of 8, 10, 11"):
        trtexec_command("digits", precision="FP32", major=major)
