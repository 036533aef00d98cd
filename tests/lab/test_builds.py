"""lab/builds: small models that invite a fusion, the builder's reports on them, and those of the workflow's models; why
INT8 can be slower."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests.engine.nvidia.rtx import needs_rtx
from tools import record
from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.engine.networks import MODELS
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.ort import OptimizationLevel, OrtSession
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.oracle import reference, sample_inputs
from trtlab.lab import builds
from trtlab.lab.workflow import Workflow

NAMES = (*builds.names(), *builds.REWRITTEN)
FLOWS = [name for name in recordings.names() if name.startswith(tuple(MODELS))]
LIGHT = recordings.names("light-")


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builds.PROBES)
def test_a_probe_is_valid_runs_and_is_the_same_every_time(name):
    model = builds.model(name)
    onnx.checker.check_model(model, full_check=True)
    tensors = reference(model, next(sample_inputs(model)))
    assert all(tensors[value.name].std() > 0 for value in model.graph.output)
    assert builds.model(name).SerializeToString() == model.SerializeToString()
    assert not model.graph.initializer or builds.model(name, seed=1) != model


def test_an_unknown_name_is_told_what_there_is_and_a_light_network_has_weights_of_its_seed():
    with pytest.raises(KeyError, match=r"conv'; there are conv_bn_relu, .*, dropout_training"):
        builds.model("conv")
    assert builds.network("light_squeezenet") == builds.light_model("squeezenet", seed=0)
    assert builds.light_model("squeezenet", seed=0) != builds.light_model("squeezenet", seed=1)


# --- recorded reports -------------------------------------------------------------------------------------------------


def test_every_model_is_recorded_and_no_other():
    assert set(NAMES) == {*TEACHING_MODELS, *builds.PROBES, *builds.REWRITTEN}
    assert set(recordings.names("fusion-")) == {f"fusion-{name}-SM89" for name in NAMES}
    keys = {
        builds.key(model, precision, "SM89", dynamic_batch=dynamic)
        for model in MODELS for precision in ("FP32", "FP16", "INT8") for dynamic in (False, True)
    }  # fmt: skip
    assert keys <= set(FLOWS)


def whole(report, model, target="SM89"):
    """What every recorded report must hold."""
    assert (report.provenance.origin, report.provenance.command) == (Origin.RECORDED, record.COMMAND)
    assert (report.model_name, report.targets, report.unread_lines, report.plan) == (model, (target,), (), b"")
    assert (len(report.kernels) > 0, report.plan_size_bytes > 1000, len(report.plan_sha256)) == (True, True, 64)
    assert [phase.name for phase in report.phases if phase.parent is None] == ["check", "parse", "configure", "build"]


def test_without_a_compiler_the_recordings_answer(monkeypatch):
    def missing(*_values, **_options):
        raise CompilerMissing("none here")

    monkeypatch.setattr("trtlab.engine.nvidia.explain", missing)
    for name in NAMES:
        whole(builds.report(name), f"fusion-{name}")
    for name in (one.split("-")[1] for one in LIGHT):
        report = builds.recorded(f"light-{name}-SM89")
        whole(report, f"light-{name}")
        assert len(report.kernels) < report.onnx_nodes
    assert builds.why_slow() == recordings.load(builds.Builds, "why-slow")


@pytest.mark.parametrize("name", FLOWS)
def test_a_recorded_workflow_is_what_its_name_says(name):
    report, (model, precision, target, shapes) = builds.recorded(name), name.rsplit("-", 3)
    whole(report, model, target)
    assert bool(report.profiles) is (shapes == "dynamic")
    stored = {tensor.dtype for kernel in report.kernels for tensor in (*kernel.outputs, *kernel.constants)}
    assert {"FP32": "Float", "FP16": "Half", "INT8": "Int8"}[precision] in stored


def test_a_report_that_was_not_recorded_says_why_it_was_needed_and_what_there_is():
    with pytest.raises(CompilerMissing, match=r"none here.*'digits-FP8-SM89-static'.*digits-FP16-SM89-static") as found:
        builds.recorded("digits-FP8-SM89-static", CompilerMissing("none here."))
    assert record.COMMAND in found.value.hint


# --- beside the compiler ----------------------------------------------------------------------------------------------


def alike(recorded, found):
    """Kernels, what was merged into each, and memory; numbers in the names of temporary tensors may differ."""
    if found.compiler_version != recorded.compiler_version:
        pytest.skip(f"recorded with {recorded.compiler_version}, here is {found.compiler_version}")
    seen, known = ([(k.name, k.stream, set(k.onnx_nodes)) for k in report.kernels] for report in (found, recorded))
    assert seen == known
    assert found.memory == recorded.memory


@needs_rtx
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if number % 4 else []) for number, name in enumerate(NAMES)]
)
def test_a_recording_is_what_the_compiler_still_says(name):
    recorded, found = builds.recorded(f"fusion-{name}-SM89"), builds.report(name)
    alike(recorded, found)
    assert found.model_sha256 == recorded.model_sha256


BLOCKED = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
nvidia = ("tensorrt", "tensorrt_rtx")  # as if they were not installed
importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in nvidia else find(name, *rest)
)
from trtlab.lab.workflow import Workflow
flow = Workflow("digits")
for record in flow.run():
    print(record.name, record.status.name, record.provenance.origin.value, record.executor, sep="|")
result = flow.artefact("compare")
assert result.agrees and (result.predictions == result.labels).sum() >= 15
print(flow.records["serialise"].why_not)
"""


@pytest.mark.slow
def test_where_no_compiler_can_be_installed_the_workflow_uses_recordings():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    *lines, why_not = done.stdout.splitlines()
    stages = {name: tuple(rest) for name, *rest in (line.split("|") for line in lines)}
    for name in ("parse", "configure", "build"):
        assert stages[name][:2] == ("DONE", "RECORDED")
        assert stages[name][2].startswith("tensorrt_rtx ")
    assert stages["serialise"][0] == "IMPOSSIBLE"
    assert "recording" in why_not
    assert stages["deserialise"] == stages["enqueue"] == ("STOOD_IN", "LIVE", "ONNX Runtime")
    assert {stages[name][:2] for name in ("compare", "export", "check")} == {("DONE", "LIVE")}


# --- why INT8 can be slower -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases():
    return builds.why_slow()


@needs_rtx
def test_int8_takes_more_kernels_and_moves_more_bytes_than_fp16_and_misplaced_it_leaves_convolutions_as_they_were(
    cases,
):
    rows = {one.name: one for one in cases.rows}
    half, right, per_tensor, wrong, odd = (
        rows[name] for name in (
            "FP16", "INT8, Q/DQ where they belong", "the same, weights per tensor", "Q/DQ between Conv and ReLU alone",
            "FP16, 63 channels",
        )
    )  # fmt: skip
    assert (half.products, right.products, wrong.products) == (("Half → Half",), ("Int8 → Float",), half.products)
    assert right.weights_bytes < 0.6 * half.weights_bytes
    assert (right.kernels > half.kernels, right.moved_bytes > per_tensor.moved_bytes) == (True, True)
    assert min(wrong.generated, odd.generated) > half.generated
    assert min(right.moved_bytes, wrong.moved_bytes, odd.moved_bytes) > half.moved_bytes


@needs_rtx
@pytest.mark.slow
def test_the_recordings_say_what_the_builder_says(cases):
    assert recordings.load(builds.Builds, "why-slow").rows == cases.rows
    found = builds.engines("digits")
    assert recordings.load(builds.Builds, "engines-digits").rows == found.rows
    sizes = {one.name: one.weights_bytes for one in found.rows}
    assert sizes["INT8"] < sizes["FP16"] < sizes["FP32"]
    flow = Workflow("digits", compiler="tensorrt_rtx")
    list(flow.run(("export", "check", "parse", "configure", "build")))
    alike(builds.recorded("digits-FP32-SM89-static"), flow.report)


def test_pairs_behind_convolutions_are_all_that_reads_them_and_round_as_numpy_does():
    made = builds.behind_convolutions(builds.residual_blocks(8), threshold=0.5)
    convolutions = {node.output[0] for node in made.graph.node if node.op_type == "Conv"}
    assert len(convolutions) == 4
    assert {n.op_type for n in made.graph.node if convolutions & set(n.input)} == {"QuantizeLinear"}
    (relu,) = (node for node in made.graph.node if node.name == "block1_relu")
    made.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in ("c1", relu.input[0]))
    x = np.random.default_rng(0).standard_normal((1, 8, 56, 56)).astype(np.float32) / 50
    _, exact, rounded = OrtSession(made, level=OptimizationLevel.BASIC).run({"x": x}).values()
    step = np.float32(0.5 / 127)
    np.testing.assert_allclose(rounded, np.clip(np.rint(exact / step), -128, 127) * step, atol=1e-6)
    assert np.abs(exact).max() > 0.5
