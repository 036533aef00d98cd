"""lab/workflow: the whole workflow on digits; the NVIDIA stages are real wherever tensorrt_rtx is installed."""

import importlib.util
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from trtlab.engine import planfile
from trtlab.engine.machine import cuda_driver
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import BuildCancelled, PlanFileError
from trtlab.lab.workflow import STAGES, TOLERANCES, StageOrderError, Status, Workflow

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed; see test_recordings"
)
no_driver = pytest.mark.skipif(cuda_driver().why_not is None, reason="this machine has a CUDA driver")
BUILT = ("export", "check", "parse", "configure", "build", "serialise")


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """A function: the finished workflow of a variant, run once for all tests."""
    done = {}

    def flow(precision, dynamic_batch):
        key = precision, dynamic_batch
        if key not in done:
            directory = tmp_path_factory.mktemp("plans")
            made = Workflow(
                "digits", precision=precision, dynamic_batch=dynamic_batch, directory=directory, compiler="tensorrt_rtx"
            )
            assert [record.name for record in made.run()] == list(STAGES)
            done[key] = made
        return done[key]

    return flow


@pytest.fixture(
    params=[("FP32", False), ("FP32", True), ("FP16", False), ("FP16", True)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def flow(request, flows):
    return flows(*request.param)


@pytest.fixture(scope="module")
def plain(flows):
    return flows("FP32", False)


# --- a whole run -----------------------------------------------------------------------------------------------------


def test_every_stage_has_one_record_that_says_who_and_where(flow):
    assert tuple(flow.records) == STAGES
    for record in flow.records.values():
        assert record.executor
        assert record.went_in
        assert record.came_out
        assert record.provenance.origin is Origin.LIVE
        assert record.seconds is None or record.seconds >= 0
        assert (record.status is Status.DONE) == (record.why_not is None)


def test_the_build_stages_are_done_by_the_real_compiler(flow):
    for name in BUILT:
        assert flow.records[name].status is Status.DONE
    for name in ("parse", "configure", "build"):
        assert flow.records[name].executor == f"tensorrt_rtx {flow.report.compiler_version}"
        assert flow.records[name].seconds > 0
        assert "tensorrt-rtx" in dict(flow.records[name].provenance.versions)


def test_batchnorm_is_seen_merging(flow):
    merged = [kernel.onnx_nodes for kernel in flow.report.kernels]
    assert any({"conv1/Conv", "bn1/BatchNormalization", "relu/Relu"} <= set(nodes) for nodes in merged)
    assert len(flow.report.kernels) < flow.report.onnx_nodes


def test_precision_and_profiles_reach_the_report(flow):
    assert flow.report.inputs[0].dtype == {"FP32": "FLOAT", "FP16": "HALF"}[flow.precision]
    assert bool(flow.report.profiles) is flow.dynamic_batch
    if flow.dynamic_batch:
        (shapes,) = flow.report.profiles[0].shapes
        assert shapes == ("image", (1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))
        assert "1 optimisation profile" in flow.records["configure"].went_in
    else:
        assert "static shapes" in flow.records["configure"].went_in


def test_the_plan_on_disk_is_the_plan_of_the_report(flow):
    plan, manifest = planfile.load_plan(flow.artefact("serialise"), compiler="tensorrt_rtx")
    assert plan == flow.report.plan
    assert manifest.model_name == "digits"


def test_the_answer_agrees_and_reads_the_scans(flow):
    result = flow.artefact("compare")
    assert result.agrees
    assert 0 <= result.relative_error <= TOLERANCES[flow.precision]
    assert (result.predictions == result.labels).sum() >= 15
    assert result.outputs.shape == result.reference.shape == (16, 10)
    assert "agrees" in flow.records["compare"].came_out
    assert "of 16 labels right" in flow.records["compare"].came_out


@no_driver
def test_without_a_gpu_onnx_runtime_stands_in_and_says_why(flow):
    for name in ("deserialise", "enqueue"):
        record = flow.records[name]
        assert (record.status, record.executor) == (Status.STOOD_IN, "ONNX Runtime")
        assert "NVIDIA's runtime refuses the plan here: cudaError 35" in record.why_not
        assert "onnxruntime" in dict(record.provenance.versions)
    for name in ("context", "host_to_device", "device_to_host"):
        assert flow.records[name].status is Status.IMPOSSIBLE
        assert flow.records[name].came_out == "nothing"


def test_a_record_is_frozen(plain):
    with pytest.raises(FrozenInstanceError):
        plain.records["build"].seconds = 0


def test_each_target_has_its_own_plan(plain, tmp_path):
    other = Workflow("digits", target="SM120", directory=tmp_path, compiler="tensorrt_rtx")
    list(other.run(BUILT))
    assert other.report.targets == ("SM120",)
    assert other.report.plan_sha256 != plain.report.plan_sha256
    assert "SM120" in other.artefact("serialise").name


# --- the referee rejects ---------------------------------------------------------------------------------------------


def with_outputs(plain, change):
    """The comparison of a good run, with its outputs changed."""
    result = plain.artefact("compare")
    outputs = result.outputs.copy()
    change(outputs)
    return replace(result, outputs=outputs)


def test_a_wrong_output_is_detected(plain):
    def one_logit(outputs):
        outputs[3, 2] += 0.01 * np.abs(outputs).max()

    spoiled = with_outputs(plain, one_logit)
    assert not spoiled.agrees
    assert spoiled.relative_error == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_output_that_is_no_number_is_detected(plain, value):
    def one_value(outputs):
        outputs[15, 9] = value

    spoiled = with_outputs(plain, one_value)
    assert spoiled.relative_error == float("inf")
    assert not spoiled.agrees


def test_swapped_samples_are_detected(plain):
    def swap(outputs):
        outputs[:] = outputs[::-1]

    assert not with_outputs(plain, swap).agrees


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "needs"),
    [
        ("check", "export"), ("parse", "check"), ("configure", "parse"), ("build", "parse"), ("serialise", "build"),
        ("deserialise", "serialise"), ("context", "deserialise"), ("host_to_device", "deserialise"),
        ("enqueue", "deserialise"), ("device_to_host", "deserialise"), ("compare", "enqueue"),
    ],
)  # fmt: skip
def test_a_stage_asked_for_too_early_names_what_it_needs(stage, needs):
    with pytest.raises(StageOrderError, match=rf"this stage needs '{needs}' first: call {needs}\(\) or run\(\)"):
        getattr(Workflow("digits"), stage)()


def test_unknown_words_name_the_known():
    with pytest.raises(ValueError, match="precision is 'INT3'; expected one of FP32, FP16"):
        Workflow("digits", precision="INT3")
    with pytest.raises(ValueError, match="there is no teaching model 'vgg'"):
        Workflow("vgg")
    with pytest.raises(ValueError, match="no stage 'fly'; the stages are export, check"):
        list(Workflow("digits").run(("fly",)))


def test_a_damaged_plan_file_reaches_no_runtime(plain, tmp_path):
    copy = Workflow("digits", directory=tmp_path, compiler="tensorrt_rtx")
    copy.records.update(plain.records)
    copy.serialise()
    path = copy.artefact("serialise")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlanFileError, match="its manifest says"):
        copy.deserialise()


def test_progress_and_cancel_are_passed_on(plain):
    import threading

    events, cancel = [], threading.Event()
    flow = Workflow("digits", compiler="tensorrt_rtx", on_progress=events.append, cancel=cancel)
    flow.records.update({name: plain.records[name] for name in ("export", "check")})
    flow.parse()
    assert {event.name for event in events} == {"check", "parse", "configure"}
    cancel.set()
    with pytest.raises(BuildCancelled, match="was cancelled"):
        flow.build()
