"""engine/recordings: reports that stand in where no compiler can be installed."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.engine.networks import MODELS
from trtlab.engine.nvidia import CompilerMissing

NAMES = recordings.names()


def test_every_model_is_recorded_in_both_precisions_and_shapes():
    for model in MODELS:
        for precision in ("FP32", "FP16"):
            for dynamic in (False, True):
                assert recordings.key(model, precision, "SM89", dynamic_batch=dynamic) in NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("light-")])
def test_a_light_network_is_recorded_whole(name):
    report = recordings.load(name)
    assert report.provenance.origin is Origin.RECORDED
    assert f"{report.model_name}-SM89" == name
    assert 0 < len(report.kernels) < recordings.light_nodes(report.model_name.removeprefix("light-"))
    assert report.unread_lines == ()


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("fusion-", "light-"))])
def test_a_recording_is_complete_and_says_what_it_is(name):
    report = recordings.load(name)
    model, precision, target, shapes = name.rsplit("-", 3)
    assert report.provenance.origin is Origin.RECORDED
    assert report.provenance.command == "python -m trtlab.engine.recordings"
    assert report.provenance.line().startswith("RECORDED on ")
    assert report.model_name == model
    assert report.targets == (target,)
    assert bool(report.profiles) is (shapes == "dynamic")
    assert len(report.kernels) > 0
    assert report.unread_lines == ()
    assert (report.plan, report.plan_size_bytes > 1000, len(report.plan_sha256)) == (b"", True, 64)
    assert [phase.name for phase in report.phases if phase.parent is None] == ["check", "parse", "configure", "build"]
    assert {"FP32": "Float", "FP16": "Half"}[precision] in {kernel.dtype for kernel in report.kernels}


def test_no_recording_tells_of_the_machine_it_was_made_on():
    for name in NAMES:
        text = recordings.load(name).to_json()
        assert "/tmp/" not in text
        assert "/home/" not in text
        assert "/work/" not in text


def test_an_unknown_key_names_the_choices():
    with pytest.raises(CompilerMissing, match=r"no recording 'digits-FP8-SM89-static'.*Recorded are digits-FP16-SM"):
        recordings.load("digits-FP8-SM89-static")


def test_the_reason_for_needing_a_recording_is_kept():
    missing = CompilerMissing("No TensorRT compiler can be used here.")
    with pytest.raises(CompilerMissing, match=r"No TensorRT compiler can be used here\. There is no recording 'x'"):
        recordings.load("x", missing)


def test_the_same_report_gives_the_same_file(tmp_path, monkeypatch):
    report = recordings.load(NAMES[0])
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    assert recordings.names() == ()
    first = recordings.save("again", report).read_bytes()
    assert recordings.save("again", report).read_bytes() == first
    assert recordings.names() == ("again",)
    assert recordings.load("again") == report


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
    stages = {name: rest for name, *rest in (line.split("|") for line in lines)}
    for name in ("parse", "configure", "build"):
        status, origin, executor = stages[name]
        assert (status, origin) == ("DONE", "RECORDED")
        assert executor.startswith("tensorrt_rtx ")
    assert stages["serialise"][0] == "IMPOSSIBLE"
    assert "recording" in why_not
    for name in ("deserialise", "enqueue"):
        assert stages[name] == ["STOOD_IN", "LIVE", "ONNX Runtime"]
    assert stages["compare"][:2] == ["DONE", "LIVE"]
    assert stages["export"][:2] == stages["check"][:2] == ["DONE", "LIVE"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_a_recording_is_what_the_compiler_still_says():
    """The recorded kernels of digits are those of a build today, with the version that recorded them."""
    from trtlab.lab.workflow import Workflow

    recorded = recordings.load("digits-FP32-SM89-static")
    flow = Workflow("digits", compiler="tensorrt_rtx")
    list(flow.run(("export", "check", "parse", "configure", "build")))
    if flow.report.compiler_version != recorded.compiler_version:
        pytest.skip(f"recorded with {recorded.compiler_version}, here is {flow.report.compiler_version}")
    assert [kernel.name for kernel in flow.report.kernels] == [kernel.name for kernel in recorded.kernels]
    assert flow.report.memory == recorded.memory
