"""engine/planfile: a plan comes back as it was, or does not come back at all."""

import dataclasses
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from trtlab.engine import planfile
from trtlab.engine.nvidia.errors import PlanFileError
from trtlab.lab import builds

PLAN = np.random.default_rng(0).bytes(10_000)
RECORDED = builds.recorded("digits-FP32-SM89-static")
REPORT = replace(RECORDED, plan=PLAN, plan_size_bytes=len(PLAN), recorded_plan_sha256=None)
AGAIN = "Build and save the plan again"
UNREADABLE = f"manifest 'digits.plan.json' cannot be read: .*{AGAIN}"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "digits.plan"
    planfile.save_plan(REPORT, path)
    return path


def test_round_trip(saved):
    plan, manifest = planfile.load_plan(saved)
    assert plan == saved.read_bytes() == PLAN
    for name in ("model_name", "model_sha256", "targets", "compiler", "compiler_version"):
        assert getattr(manifest, name) == getattr(REPORT, name)
    assert manifest.created == REPORT.provenance.when
    assert planfile.load_plan(str(saved), (REPORT.compiler, REPORT.compiler_version))[0] == PLAN
    assert sorted(path.name for path in saved.parent.iterdir()) == ["digits.plan", "digits.plan.json"]
    for other in (("tensorrt", REPORT.compiler_version), (REPORT.compiler, "9.9")):
        with pytest.raises(PlanFileError, match=f"{REPORT.compiler} {REPORT.compiler_version}, .*{' '.join(other)}"):
            planfile.load_plan(saved, other)


def test_a_recording_has_no_plan_to_save(tmp_path):
    with pytest.raises(PlanFileError, match=r"no plan .*Build the model"):
        planfile.save_plan(RECORDED, tmp_path / "x.plan")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(OSError, match=r"no regular file: .*pipe"):
        planfile.save_plan(REPORT, pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def flipped(position, bit):
    damaged = bytearray(PLAN)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


@pytest.mark.parametrize("content", [b"", PLAN[:-1], PLAN + b"x", flipped(0, 7), flipped(len(PLAN) - 1, 0), PLAN[::-1]])
def test_a_damaged_plan(saved, content):
    saved.write_bytes(content)
    with pytest.raises(PlanFileError, match=f"has {len(content):,} bytes and.* its manifest says .*{AGAIN}"):
        planfile.load_plan(saved)


GARBAGE = [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 50_000]
CHANGES = [{field.name: ["wrong"]} for field in dataclasses.fields(planfile.Manifest) if field.name != "targets"]
CHANGES += [{"targets": None}, {"size_bytes": True}, {"size_bytes": -1}, {"surprise": 1}, {"format": "trtlab-plan-2"}]


@pytest.mark.parametrize("content", [*GARBAGE, *CHANGES], ids=lambda content: repr(content)[:20])
def test_a_manifest_of_garbage_or_changed(saved, content):
    manifest = planfile.manifest_path(saved)
    is_whole = isinstance(content, bytes)
    manifest.write_bytes(content if is_whole else json.dumps(json.loads(manifest.read_text()) | content).encode())
    with pytest.raises(PlanFileError, match=f"{UNREADABLE}|altered or cut.*{AGAIN}"):
        planfile.load_plan(saved)


@pytest.mark.parametrize("part", ["digits.plan", "digits.plan.json"])
def test_what_is_missing_or_may_have_no_end_is_not_read(saved, part):
    path = saved.parent / part
    makes = {lambda _: None: "No such file", os.mkfifo: "it is no regular file"}
    for make, said in (makes | {lambda path: path.symlink_to("/dev/zero"): "it is no regular file"}).items():
        path.unlink(missing_ok=True)
        make(path)
        with pytest.raises(PlanFileError, match=said):
            planfile.load_plan(saved)


def test_an_interrupted_write_leaves_the_old_pair_or_is_noticed(saved, monkeypatch):
    real = planfile.write_atomically

    def only_the_plan(path, data):
        if path != saved:
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match=f"disk full: '{saved}'"):  # named, and not by the name beside it
            planfile.save_plan(replace(REPORT, plan=b"new", plan_size_bytes=3), saved)
    assert planfile.load_plan(saved)[0] == PLAN
    monkeypatch.setattr(planfile, "write_atomically", only_the_plan)
    with pytest.raises(KeyboardInterrupt):
        planfile.save_plan(replace(REPORT, plan=PLAN[::-1]), saved)
    with pytest.raises(PlanFileError, match="altered"):
        planfile.load_plan(saved)
