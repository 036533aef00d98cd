"""lab/trtexec: the command for each TensorRT major; precision is where they differ."""

import pytest

from trtlab.lab.workflow import trtexec_command

IMAGES = {"image": ((1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))}
TWO = {"a": ((1, 2), (4, 2), (8, 2)), "b": ((1,), (4,), (8,))}
IMAGE_WORDS = "--minShapes=image:1x1x8x8 --optShapes=image:16x1x8x8 --maxShapes=image:64x1x8x8"
TWO_WORDS = "--minShapes=a:1x2,b:1 --optShapes=a:4x2,b:4 --maxShapes=a:8x2,b:8"


@pytest.mark.parametrize(
    ("precision", "major", "expected"),
    [
        ("FP32", "8", "--onnx=digits.onnx --saveEngine=digits-fp32.plan"),
        ("FP16", "8", "--onnx=digits.onnx --saveEngine=digits-fp16.plan --fp16"),
        ("INT8", "8", "--onnx=digits.onnx --saveEngine=digits-int8.plan --int8 --calib=digits.cache"),
        ("INT8", "10", "--onnx=digits-int8.onnx --saveEngine=digits-int8.plan --stronglyTyped"),
        ("INT8", "11", "--onnx=digits-int8.onnx --saveEngine=digits-int8.plan"),
        ("FP32", "10", "--onnx=digits-fp32.onnx --saveEngine=digits-fp32.plan --stronglyTyped"),
        ("FP16", "10", "--onnx=digits-fp16.onnx --saveEngine=digits-fp16.plan --stronglyTyped"),
        ("FP32", "11", "--onnx=digits-fp32.onnx --saveEngine=digits-fp32.plan"),
        ("FP16", "11", "--onnx=digits-fp16.onnx --saveEngine=digits-fp16.plan"),
    ],
)
@pytest.mark.parametrize(("profile", "shapes"), [(None, ""), ({}, ""), (IMAGES, IMAGE_WORDS), (TWO, TWO_WORDS)])
def test_each_major_says_precision_and_shapes_in_its_own_way(precision, major, expected, profile, shapes):
    command = trtexec_command("digits", precision=precision, major=major, profile=profile)
    last = "--buildOnly" if major == "8" else "--skipInference"
    assert command.split() == f"trtexec {expected} {shapes} --profilingVerbosity=detailed {last}".split()


@pytest.mark.parametrize("major", ["7", "9", "", "11.1", 11])
def test_another_major_names_the_known(major):
    with pytest.raises(ValueError, match=rf"{major!r}; expected one of 8, 10, 11"):
        trtexec_command("digits", precision="FP32", major=major)
