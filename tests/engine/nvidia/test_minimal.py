"""engine/nvidia/minimal: the code on the whiteboard builds what `explain` builds."""

import subprocess
import sys

import pytest

from . import onnx_models as models
from .rtx import build, needs_rtx


def run_minimal(model, folder):
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    code = "import sys, pathlib, tensorrt_rtx; from trtlab.engine.nvidia.minimal import build; source, plan = map("
    code += "pathlib.Path, sys.argv[1:]); plan.write_bytes(build(tensorrt_rtx, source.read_bytes()))"
    command = [sys.executable, "-c", code, folder / "model.onnx", folder / "model.plan"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_rtx
def test_the_whiteboard_builds_the_same_plan(tmp_path):
    done = run_minimal(models.conv_bn_relu(), tmp_path)
    assert done.returncode == 0, done.stderr
    plan = (tmp_path / "model.plan").read_bytes()
    assert plan[:4] == build(models.conv_bn_relu()).plan[:4]
    assert len(plan) == pytest.approx(build(models.conv_bn_relu()).plan_size_bytes, rel=0.01)


@needs_rtx
@pytest.mark.parametrize("model", [models.unknown_op(), models.dynamic_conv()], ids=["parser", "builder"])
def test_what_cannot_be_built_raises(model, tmp_path):
    done = run_minimal(model, tmp_path)
    assert done.returncode == 1
    assert "ValueError: " in done.stderr
