"""lab/workflow: the whole workflow on digits; the NVIDIA stages are real wherever tensorrt_rtx is installed."""

import json
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from tests.engine.nvidia.rtx import needs_rtx
from tests.teach.flows import finished
from tools.leave_one_out import BUILD_HALF, COMMAND
from trtlab.engine import planfile
from trtlab.engine.machine import cuda_driver
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import installed_api
from trtlab.engine.nvidia.errors import BuildCancelled, PlanFileError
from trtlab.engine.nvidia.execute import Execution
from trtlab.lab import workflow
from trtlab.lab.workflow import (
    STAGES,
    TOLERANCES,
    WORKFLOW,
    StageOrderError,
    Status,
    Workflow,
    recorded_needs,
    trtexec_command,
)

BUILT = ("export", "check", "parse", "configure", "build", "serialise")
VARIANTS = [("FP32", False), ("FP16", True), ("INT8", False)]


@pytest.fixture(params=VARIANTS, ids=lambda p: f"{p[0]}-{p[1]}")
def flow(request):
    return finished(request.param[0], dynamic_batch=request.param[1])


@pytest.fixture
def plain():
    return finished("FP32", dynamic_batch=False)


# --- the description --------------------------------------------------------------------------------------------------


def test_every_stage_is_described_by_a_call_that_exists():
    api = installed_api()
    for name, stage in WORKFLOW.items():
        assert (stage.name, stage.does) == (name, " ".join(getattr(Workflow, name).__doc__.split()))
        assert stage.title
        assert stage.makes
    calls = [stage.call.split(".") for stage in WORKFLOW.values() if stage.call[0].isupper()]
    assert len(calls) == 6
    assert all(api.has(*call) for call in calls)


def test_the_recorded_needs_have_every_pair_of_stages():
    found = recorded_needs()
    assert {stage: tuple(tried) for stage, tried in found.refusals.items()} == {
        stage: BUILD_HALF[:place] for place, stage in enumerate(BUILD_HALF)
    }
    assert (found.provenance.origin, found.provenance.command) == (Origin.RECORDED, COMMAND)
    assert found.needs["configure"] == ()
    assert found.needs["build"] == ("parse", "configure")
    assert found.needs["deserialise"] == ("serialise",)


@needs_rtx
@pytest.mark.slow
def test_the_compiler_here_refuses_what_was_recorded():
    code = "import json; from tools.leave_one_out import find_out; print(json.dumps(find_out().needs))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert {stage: tuple(needed) for stage, needed in json.loads(done.stdout).items()} == recorded_needs().needs


# --- a whole run ------------------------------------------------------------------------------------------------------


@needs_rtx
def test_every_stage_has_one_record_that_says_who_and_where(flow):
    assert tuple(flow.records) == STAGES
    for record in flow.records.values():
        assert record.executor
        assert record.went_in
        assert record.came_out
        assert record.provenance.origin is Origin.LIVE
        assert record.seconds is None or record.seconds >= 0
        assert (record.status is Status.DONE) == (record.why_not is None)
    assert {flow.records[name].status for name in BUILT} == {Status.DONE}
    for name in ("parse", "configure", "build"):
        assert flow.records[name].executor == f"tensorrt_rtx {flow.report.compiler_version}"
        assert flow.records[name].seconds > 0
        assert "tensorrt-rtx" in dict(flow.records[name].provenance.versions)
    said = [line for record in flow.records.values() for line in set(record.log)]
    assert len(said) == len(set(said)) > 5, "the compiler's banner stands once"
    with pytest.raises(FrozenInstanceError):
        flow.records["build"].seconds = 0


@needs_rtx
def test_the_build_is_what_was_asked_for_and_its_plan_lies_on_disk(flow):
    merged = [set(kernel.onnx_nodes) for kernel in flow.report.kernels]
    if flow.precision != "INT8":  # whose weights could not be folded into any more
        assert any({"conv1/Conv", "bn1/BatchNormalization", "relu/Relu"} <= nodes for nodes in merged)
    assert len(flow.report.kernels) < flow.report.onnx_nodes
    assert flow.report.inputs[0].dtype == {"FP32": "FLOAT", "FP16": "HALF", "INT8": "FLOAT"}[flow.precision]
    shapes = [shape for profile in flow.report.profiles for shape in profile.shapes]
    assert shapes == [("image", (1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))] * flow.dynamic_batch
    said = "1 optimisation profile" if flow.dynamic_batch else "static shapes"
    assert said in flow.records["configure"].went_in
    plan, manifest = planfile.load_plan(flow.artefact("serialise"))
    assert manifest.compiler == "tensorrt_rtx"
    assert plan == flow.report.plan
    assert manifest.model_name == "digits"


@needs_rtx
def test_the_answer_agrees_and_reads_the_scans(flow):
    result = flow.artefact("compare")
    assert (result.agrees, result.relative_error <= TOLERANCES[flow.precision]) == (True, True)
    right = (result.predictions == result.labels).sum()
    assert right >= 15
    assert result.outputs.shape == result.reference.shape == (16, 10)
    assert f"{right} of 16 labels right" in flow.records["compare"].came_out


@needs_rtx
@pytest.mark.skipif(cuda_driver().why_not is None, reason="this machine has a CUDA driver")
def test_without_a_gpu_onnx_runtime_stands_in_and_says_why(flow):
    for name in ("deserialise", "enqueue"):
        record = flow.records[name]
        assert (record.status, record.executor) == (Status.STOOD_IN, "ONNX Runtime")
        assert "cudaError 35" in record.why_not
        assert "onnxruntime" in dict(record.provenance.versions)
    for name in ("context", "host_to_device", "device_to_host"):
        assert (flow.records[name].status, flow.records[name].came_out) == (Status.IMPOSSIBLE, "nothing")


@needs_rtx
def test_on_a_gpu_every_stage_of_the_run_is_nvidias(plain, monkeypatch):
    """A stand-in for `execute`, which gives what the reference would."""
    logits = plain.artefact("compare").reference
    took = dict.fromkeys((*STAGES[6:11], "enqueue_call", "execute_v2"), 1e-4)
    answers = {"outputs": {"logits": logits}, "calls_agree": False}
    ran = Execution(**answers, seconds=took, device="a GPU", repeats=20, inspector="{}")
    monkeypatch.setattr(workflow, "execute", lambda plan, *_args, **_options: ran if plan else None)
    flow = Workflow("digits", compiler="tensorrt_rtx")
    flow.records.update({name: plain.records[name] for name in BUILT})
    for record in flow.run(STAGES[6:11]):
        assert record.status is Status.DONE
        assert (record.provenance.device, record.seconds) == ("a GPU", 1e-4)
        assert record.provenance.samples == (20 if record.name == "enqueue" else 1)
    assert flow.records["enqueue"].came_out.endswith("ANOTHER ANSWER")
    assert flow.compare().artefact.relative_error == 0


@needs_rtx
def test_a_target_is_passed_on_and_a_damaged_plan_file_reaches_no_runtime(plain, tmp_path):
    other = Workflow("digits", target="SM120", directory=tmp_path, compiler="tensorrt_rtx")
    other.records.update({name: plain.records[name] for name in ("export", "check")})
    list(other.run(BUILT[2:]))
    assert other.report.targets == ("SM120",)
    path = other.artefact("serialise")
    assert "SM120" in path.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlanFileError, match="manifest"):
        other.deserialise()


# --- the referee rejects ----------------------------------------------------------------------------------------------


@needs_rtx
@pytest.mark.parametrize(
    ("where", "value", "error"),
    [
        ((3, 2), lambda outputs: outputs[3, 2] + 0.01 * np.abs(outputs).max(), 0.01),
        ((15, 9), lambda _outputs: np.nan, np.inf),
        ((15, 9), lambda _outputs: -np.inf, np.inf),
        (slice(None), lambda outputs: outputs[::-1].copy(), None),
    ],
    ids=["one logit", "nan", "inf", "swapped samples"],
)
def test_a_wrong_output_is_detected(plain, where, value, error):
    result = plain.artefact("compare")
    outputs = result.outputs.copy()
    outputs[where] = value(outputs)
    spoiled = replace(result, outputs=outputs)
    assert not spoiled.agrees
    assert spoiled.verdict.startswith("DISAGREES")
    assert error is None or spoiled.relative_error == pytest.approx(error, rel=0.05)


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Workflow("digits").check(), StageOrderError, r"'export' first: call export\(\) or run\(\)"),
        (lambda: Workflow("digits").enqueue(), StageOrderError, "'deserialise' first"),
        (lambda: Workflow("digits", precision="INT3"), ValueError, r"'INT3'.*FP32, FP16"),
        (lambda: Workflow("vgg"), ValueError, "'vgg'.*digits"),
        (lambda: list(Workflow("digits").run(("fly",))), ValueError, "'fly'.*export, check"),
        (lambda: trtexec_command("digits", precision="FP32", major="9"), ValueError, "'9'.* 8, 10, 11"),
    ],
)
def test_a_stage_asked_for_too_early_names_what_it_needs_and_unknown_words_the_known(call, error, said):
    with pytest.raises(error, match=said):
        call()


@needs_rtx
def test_progress_and_cancel_are_passed_on(plain):
    events, cancel = [], threading.Event()
    flow = Workflow("digits", compiler="tensorrt_rtx", on_progress=events.append, cancel=cancel)
    flow.records.update({name: plain.records[name] for name in ("export", "check")})
    flow.parse()
    assert {event.name for event in events} == {"check", "parse", "configure"}
    cancel.set()
    with pytest.raises(BuildCancelled, match="cancelled"):
        flow.build()


# --- trtexec ----------------------------------------------------------------------------------------------------------


TWO = {"a": ((1, 2), (4, 2), (8, 2)), "b": ((1,), (4,), (8,))}
TWO_WORDS = "--minShapes=a:1x2,b:1 --optShapes=a:4x2,b:4 --maxShapes=a:8x2,b:8"


@pytest.mark.parametrize(
    ("precision", "major", "profile", "expected"),
    [
        ("FP32", "8", None, "--onnx=digits.onnx --saveEngine=digits-fp32.plan"),
        ("FP16", "8", {}, "--onnx=digits.onnx --saveEngine=digits-fp16.plan --fp16"),
        ("INT8", "8", TWO, "--onnx=digits.onnx --saveEngine=digits-int8.plan --int8 --calib=digits.cache"),
        ("INT8", "10", TWO, "--onnx=digits-int8.onnx --saveEngine=digits-int8.plan --stronglyTyped"),
        ("FP16", "11", None, "--onnx=digits-fp16.onnx --saveEngine=digits-fp16.plan"),
    ],
)
def test_each_major_says_precision_and_shapes_in_its_own_way(precision, major, profile, expected):
    command = trtexec_command("digits", precision=precision, major=major, profile=profile)
    last = "--buildOnly" if major == "8" else "--skipInference"
    shapes = TWO_WORDS if profile else ""
    assert command.split() == f"trtexec {expected} {shapes} --profilingVerbosity=detailed {last}".split()
