"""engine/recordings/fusions: small models that invite a fusion, and the builder's reports on them."""

import importlib.util

import onnx
import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.recordings import fusions
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.oracle import reference, sample_inputs

NAMES = fusions.recorded_names()


@pytest.mark.parametrize("name", fusions.PROBES)
def test_a_probe_is_valid_runs_and_is_the_same_every_time(name):
    model = fusions.model(name)
    onnx.checker.check_model(model, full_check=True)
    inputs = next(sample_inputs(model))
    tensors = reference(model, inputs)
    assert all(tensors[value.name].std() > 0 for value in model.graph.output)
    assert fusions.model(name).SerializeToString() == model.SerializeToString()
    assert not model.graph.initializer or fusions.model(name, seed=1) != model


def test_a_chain_is_as_long_as_its_name_says():
    for length in (16, 128):
        assert len(fusions.model(f"chain_{length}").graph.node) == length


def test_an_unknown_model_names_those_there_are():
    with pytest.raises(KeyError, match=r"no model .conv.; there are conv_bn_relu, .*, dropout_training"):
        fusions.model("conv")


def test_every_model_is_recorded_and_no_other():
    assert set(NAMES) == {*TEACHING_MODELS, *fusions.PROBES, *fusions.REWRITTEN}
    recorded = {name for name in recordings.names() if name.startswith("fusion-")}
    assert recorded == {f"fusion-{name}-SM89" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_without_a_compiler_the_recording_answers(name, monkeypatch):
    def missing(*_values, **_options):
        raise CompilerMissing("none here")

    monkeypatch.setattr("trtlab.engine.nvidia.explain", missing)
    report = fusions.report(name)
    assert (report.provenance.origin, report.provenance.command) == (Origin.RECORDED, recordings.COMMAND)
    assert (report.model_name, report.targets, report.unread_lines) == (f"fusion-{name}", ("SM89",), ())
    assert (len(report.kernels) > 0, report.plan) == (True, b"")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_what_the_compiler_still_says(name):
    """Kernels, what was merged into each, and memory; numbers in the names of temporary tensors may differ."""
    recorded, found = recordings.load(f"fusion-{name}-SM89"), fusions.report(name)
    if found.compiler_version != recorded.compiler_version:
        pytest.skip(f"recorded with {recorded.compiler_version}, here is {found.compiler_version}")
    assert found.model_sha256 == recorded.model_sha256
    assert [(k.name, k.stream, set(k.onnx_nodes)) for k in found.kernels] == [
        (k.name, k.stream, set(k.onnx_nodes)) for k in recorded.kernels
    ]
    assert found.memory == recorded.memory
