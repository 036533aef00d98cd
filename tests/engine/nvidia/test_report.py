"""engine/nvidia/report: what a report derives from its facts, and the way through JSON and back."""

import json
from dataclasses import replace

import pytest

from trtlab.engine.nvidia.report import NOT_KERNELS, BuildReport
from trtlab.lab import builds


@pytest.fixture(scope="module")
def recorded():
    return builds.recorded("digits-FP16-SM89-dynamic")


@pytest.fixture(scope="module")
def text(recorded):
    return recorded.to_json()


def test_a_report_round_trips_and_without_its_plan_keeps_size_and_hash(recorded, text):
    assert BuildReport.from_json(text) == BuildReport.from_json(recorded.to_json(indent=2)) == recorded
    assert [step for step in recorded.steps if step.type not in NOT_KERNELS] == list(recorded.kernels)
    whole = replace(recorded, plan=bytes(range(256)), plan_size_bytes=256, recorded_plan_sha256=None)
    again = BuildReport.from_json(whole.to_json())
    assert (again, again.plan, hash(again.steps)) == (whole, whole.plan, hash(whole.steps))
    bare = whole.without_plan()
    assert (bare.plan, bare.plan_size_bytes, bare.plan_sha256) == (b"", 256, whole.plan_sha256)
    assert BuildReport.from_json(bare.to_json()).plan_sha256 == whole.plan_sha256
    assert "sentinel" not in repr(replace(recorded, plan=b"sentinel"))


DAMAGE = {
    "nothing": (lambda _text: "", "JSONDecodeError"),
    "a list": (lambda _text: "[1, 2]", ""),
    "an empty object": (lambda _text: "{}", "model_name"),
    "a plan that is not base85": (lambda text: json.dumps(json.loads(text) | {"plan": "a plan"}), "plan"),
    "a wrong type": (lambda text: json.dumps(json.loads(text) | {"steps": [{"name": "k"}]}), "steps"),
    "a field too many": (lambda text: json.dumps(json.loads(text) | {"surprise": 1}), "surprise"),
    "nested too deep": (lambda _text: "[" * 100_000, "RecursionError"),
    "an unknown origin": (lambda text: text.replace('"RECORDED"', '"DREAMT"'), "provenance"),
}


@pytest.mark.parametrize(("spoil", "said"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_json_says_what_is_wrong(text, spoil, said):
    with pytest.raises(ValueError, match=f"not a BuildReport.*{said}.*Expected what was saved"):
        BuildReport.from_json(spoil(text))
