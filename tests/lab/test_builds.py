"""lab/builds: small models that invite a fusion, the builder's reports on them, and those of the workflow's models."""

import importlib.util
import subprocess
import sys
import textwrap

import onnx
import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.engine.networks import MODELS
from trtlab.engine.nvidia import CompilerMissing
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.oracle import reference, sample_inputs
from trtlab.lab import builds, record
from trtlab.lab.workflow import Workflow

NAMES = builds.recorded_names()
FLOWS = [name for name in recordings.names() if name.startswith(tuple(MODELS))]
LIGHT = recordings.names("light-")
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builds.PROBES)
def test_a_probe_is_valid_runs_and_is_the_same_every_time(name):
    model = builds.model(name)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.name == name
    tensors = reference(model, next(sample_inputs(model)))
    assert all(tensors[value.name].std() > 0 for value in model.graph.output)
    assert builds.model(name).SerializeToString() == model.SerializeToString()
    assert not model.graph.initializer or builds.model(name, seed=1) != model


def test_chains_and_light_networks_are_what_their_names_say():
    assert [len(builds.model(f"chain_{length}").graph.node) for length in (16, 128)] == [16, 128]
    light = builds.network("light_squeezenet")
    assert len(light.graph.initializer) > 20
    assert light == builds.light_model("squeezenet", seed=0)
    assert light != builds.light_model("squeezenet", seed=1)
    with pytest.raises(KeyError, match=r"conv'; there are conv_bn_relu, .*, dropout_training"):
        builds.model("conv")


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
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_what_the_compiler_still_says(name):
    recorded, found = builds.recorded(f"fusion-{name}-SM89"), builds.report(name)
    alike(recorded, found)
    assert found.model_sha256 == recorded.model_sha256


@needs_rtx
@pytest.mark.slow
def test_a_recorded_workflow_is_what_the_compiler_still_says():
    flow = Workflow("digits", compiler="tensorrt_rtx")
    list(flow.run(("export", "check", "parse", "configure", "build")))
    alike(builds.recorded("digits-FP32-SM89-static"), flow.report)


BLOCKED = """
    import sys

    class Blind:
        # A finder that does not see NVIDIA's compilers: as if they were not installed.
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx"):
                return None
            return self.finder.find_spec(name, path, target)

        def __getattr__(self, name):
            return getattr(self.finder, name)

    sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
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
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BLOCKED)], capture_output=True, text=True, check=False, timeout=120
    )
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
