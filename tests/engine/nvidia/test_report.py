"""engine/nvidia/report: what a report derives from its facts, and the way through JSON and back."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from trtlab.engine.nvidia.report import NOT_KERNELS, BuildReport
from trtlab.lab import builds

from . import onnx_models as models
from .rtx import build, needs_rtx


@pytest.fixture(scope="module")
def recorded():
    return builds.recorded("digits-FP16-SM89-dynamic")


@pytest.fixture(scope="module")
def text(recorded):
    return recorded.to_json()


@needs_rtx
def test_a_live_report_round_trips_with_its_plan():
    report = build(models.parallel_convs())
    again = BuildReport.from_json(report.to_json())
    assert again == report
    assert again.plan == report.plan != b""
    assert again.kernels == report.kernels
    assert hash(again.steps) == hash(report.steps)


def test_a_recorded_report_round_trips(recorded, text):
    assert BuildReport.from_json(text) == recorded
    assert BuildReport.from_json(recorded.to_json(indent=2)) == recorded
    assert [step for step in recorded.steps if step.type not in NOT_KERNELS] == list(recorded.kernels)


def test_without_plan_keeps_size_and_hash(recorded):
    whole = replace(recorded, plan=b"plan", plan_size_bytes=4, recorded_plan_sha256=None)
    bare = whole.without_plan()
    assert (bare.plan, bare.plan_size_bytes, bare.plan_sha256) == (b"", 4, whole.plan_sha256)
    assert BuildReport.from_json(bare.to_json()).plan_sha256 == whole.plan_sha256
    assert bare.without_plan() == bare


def test_a_report_is_frozen_and_does_not_print_its_plan(recorded):
    with pytest.raises(FrozenInstanceError):
        recorded.plan = b""
    assert "sentinel" not in repr(replace(recorded, plan=b"sentinel"))


def changed(text, **values):
    return json.dumps(json.loads(text) | values)


DAMAGE = {
    "nothing": (lambda _text: "", "JSONDecodeError"),
    "a list": (lambda _text: "[1, 2]", "this is not a BuildReport"),
    "an empty object": (lambda _text: "{}", "model_name"),
    "a field too many": (lambda text: changed(text, surprise=1), "surprise"),
    "a wrong type": (lambda text: changed(text, onnx_nodes="many"), "onnx_nodes"),
    "wrong steps": (lambda text: changed(text, steps=[{"name": "k"}]), "steps"),
    "a plan that is not base85": (lambda text: changed(text, plan="a plan"), "plan"),
    "nested too deep": (lambda _text: "[" * 100_000, "RecursionError"),
    "an unknown origin": (lambda text: text.replace('"RECORDED"', '"DREAMT"'), "provenance"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_json_says_what_is_wrong(text, damage):
    spoil, said = DAMAGE[damage]
    with pytest.raises(ValueError, match=f"this is not a BuildReport in JSON.*{said}|{said}.*Expected what was saved"):
        BuildReport.from_json(spoil(text))
