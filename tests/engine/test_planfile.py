"""engine/planfile: a plan comes back as it was, or does not come back at all."""

import dataclasses
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from trtlab.engine import planfile, recordings
from trtlab.engine.nvidia import PlanFileError

PLAN = np.random.default_rng(0).bytes(10_000)


@pytest.fixture(scope="module")
def report():
    """A report with a plan: only its bytes, size and hash matter here."""
    recorded = recordings.load("digits-FP32-SM89-static")
    return replace(recorded, plan=PLAN, plan_size_bytes=len(PLAN), recorded_plan_sha256=None)


@pytest.fixture
def saved(report, tmp_path):
    path = tmp_path / "digits.plan"
    planfile.save_plan(report, path)
    return path


def change_manifest(path, **values):
    manifest = planfile.manifest_path(path)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | values))


def test_round_trip(report, saved):
    plan, manifest = planfile.load_plan(saved)
    assert plan == saved.read_bytes() == PLAN
    assert manifest.model_name == report.model_name
    assert manifest.model_sha256 == report.model_sha256
    assert manifest.targets == report.targets == ("SM89",)
    assert (manifest.compiler, manifest.compiler_version) == (report.compiler, report.compiler_version)
    assert manifest.created == report.provenance.when
    assert planfile.load_plan(str(saved), compiler=report.compiler, compiler_version=report.compiler_version)[0] == PLAN


def test_the_manifest_lies_beside_and_is_readable_json(saved):
    beside = planfile.manifest_path(saved)
    assert beside.name == "digits.plan.json"
    assert json.loads(beside.read_text())["format"] == planfile.FORMAT
    assert sorted(path.name for path in saved.parent.iterdir()) == ["digits.plan", "digits.plan.json"]


def test_a_recording_has_no_plan_to_save(tmp_path):
    with pytest.raises(PlanFileError, match=r"carries no plan .*Build the model to get one"):
        planfile.save_plan(recordings.load("digits-FP32-SM89-static"), tmp_path / "x.plan")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 5000, len(PLAN) - 1])
def test_a_truncated_plan(saved, size):
    saved.write_bytes(PLAN[:size])
    with pytest.raises(PlanFileError, match=f"has {size} bytes, its manifest says {len(PLAN)}"):
        planfile.load_plan(saved)


def test_a_plan_with_something_after_it(saved):
    saved.write_bytes(PLAN + b"x")
    with pytest.raises(PlanFileError, match=f"has {len(PLAN) + 1} bytes"):
        planfile.load_plan(saved)


@pytest.mark.parametrize("position", [0, 7, 63, 5000, len(PLAN) - 1])
@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit(saved, position, bit):
    damaged = bytearray(PLAN)
    damaged[position] ^= 1 << bit
    saved.write_bytes(damaged)
    with pytest.raises(PlanFileError, match="was altered: its SHA-256 is not the manifest's"):
        planfile.load_plan(saved)


def test_a_missing_plan(saved):
    saved.unlink()
    with pytest.raises(PlanFileError, match="cannot be read: No such file"):
        planfile.load_plan(saved)


def test_a_missing_manifest(saved):
    planfile.manifest_path(saved).unlink()
    with pytest.raises(PlanFileError, match=r"There is no manifest .*digits\.plan\.json"):
        planfile.load_plan(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"3", b"{}", b"\xff\xfe", b'{"targets": 3}'])
def test_a_manifest_of_garbage(saved, content):
    planfile.manifest_path(saved).write_bytes(content)
    with pytest.raises(PlanFileError, match=r"The manifest .* cannot be read: .*Build and save the plan again"):
        planfile.load_plan(saved)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(planfile.Manifest)])
def test_a_manifest_field_of_another_type(saved, field):
    change_manifest(saved, **{field: None if field == "targets" else ["wrong"]})
    with pytest.raises(PlanFileError, match=rf"The manifest .*({field}|cannot be read)"):
        planfile.load_plan(saved)


@pytest.mark.parametrize("size", [True, -1, 1.5, "10000"])
def test_a_size_that_is_none(saved, size):
    change_manifest(saved, size_bytes=size)
    with pytest.raises(PlanFileError, match="manifest"):
        planfile.load_plan(saved)


def test_a_manifest_of_another_format(saved):
    change_manifest(saved, format="trtlab-plan-2")
    with pytest.raises(PlanFileError, match=r"is not of format trtlab-plan-1 \('trtlab-plan-2'\)"):
        planfile.load_plan(saved)


def test_a_manifest_with_a_field_too_many_or_too_few(saved):
    change_manifest(saved, surprise=1)
    with pytest.raises(PlanFileError, match=r"cannot be read: .*surprise"):
        planfile.load_plan(saved)


@pytest.mark.parametrize(
    "wanted",
    [{"compiler_version": "9.9"}, {"compiler": "tensorrt"}, {"compiler": "tensorrt_rtx", "compiler_version": "1.0"}],
)
def test_a_plan_of_another_compiler(report, saved, wanted):
    with pytest.raises(PlanFileError, match=f"was built by {report.compiler} {report.compiler_version}, this is .*"):
        planfile.load_plan(saved, **wanted)


def test_the_pair_of_another_plan(report, saved, tmp_path):
    other = tmp_path / "other.plan"
    planfile.save_plan(replace(report, plan=PLAN[::-1]), other)
    other.replace(saved)
    with pytest.raises(PlanFileError, match="was altered"):
        planfile.load_plan(saved)


def test_an_interrupted_write_leaves_the_old_pair(report, saved, monkeypatch):
    def fail(*_args, **_options):
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            planfile.save_plan(replace(report, plan=b"new", plan_size_bytes=3), saved)
    assert planfile.load_plan(saved)[0] == PLAN
    assert sorted(path.name for path in saved.parent.iterdir()) == ["digits.plan", "digits.plan.json"]


def test_an_interrupt_between_the_two_files_is_noticed(report, saved, monkeypatch):
    real, calls = planfile.write_atomically, []

    def only_once(path, data):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(planfile, "write_atomically", only_once)
    with pytest.raises(KeyboardInterrupt):
        planfile.save_plan(replace(report, plan=PLAN[::-1]), saved)
    with pytest.raises(PlanFileError, match="was altered"):
        planfile.load_plan(saved)


def test_a_folder_that_is_not_there(report, tmp_path):
    with pytest.raises(FileNotFoundError):
        planfile.save_plan(report, tmp_path / "none" / "x.plan")
