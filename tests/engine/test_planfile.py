"""engine/planfile: a plan comes back as it was, or does not come back at all."""

import dataclasses
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from trtlab.engine import planfile
from trtlab.engine.nvidia import PlanFileError
from trtlab.lab import builds

PLAN = np.random.default_rng(0).bytes(10_000)
AGAIN = "Build and save the plan again"


@pytest.fixture(scope="module")
def report():
    """A report with a plan: only its bytes, size and hash matter here."""
    recorded = builds.recorded("digits-FP32-SM89-static")
    return replace(recorded, plan=PLAN, plan_size_bytes=len(PLAN), recorded_plan_sha256=None)


@pytest.fixture
def saved(report, tmp_path):
    path = tmp_path / "digits.plan"
    planfile.save_plan(report, path)
    return path


def flipped(position, bit):
    damaged = bytearray(PLAN)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


def test_round_trip(report, saved):
    plan, manifest = planfile.load_plan(saved)
    assert plan == saved.read_bytes() == PLAN
    assert (manifest.model_name, manifest.model_sha256) == (report.model_name, report.model_sha256)
    assert manifest.targets == report.targets == ("SM89",)
    assert (manifest.compiler, manifest.compiler_version) == (report.compiler, report.compiler_version)
    assert manifest.created == report.provenance.when
    assert planfile.load_plan(str(saved), compiler=report.compiler, compiler_version=report.compiler_version)[0] == PLAN
    beside = planfile.manifest_path(saved)
    assert (beside.name, json.loads(beside.read_text())["format"]) == ("digits.plan.json", planfile.FORMAT)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["digits.plan", "digits.plan.json"]


def test_a_recording_has_no_plan_to_save_and_a_folder_must_be_there(report, tmp_path):
    with pytest.raises(PlanFileError, match=r"no plan .*Build the model"):
        planfile.save_plan(builds.recorded("digits-FP32-SM89-static"), tmp_path / "x.plan")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        planfile.save_plan(report, tmp_path / "none" / "x.plan")


PLANS = {
    **{f"cut at {size}": (PLAN[:size], f"has {size} bytes, .*{len(PLAN)}") for size in (0, len(PLAN) - 1)},
    "something after it": (PLAN + b"x", f"has {len(PLAN) + 1} bytes"),
    **{f"bit {bit} of {at}": (flipped(at, bit), "altered") for at in (0, len(PLAN) - 1) for bit in (0, 7)},
    "another plan": (PLAN[::-1], "altered"),
    "none": (None, "cannot be read: No such file"),
}


@pytest.mark.parametrize("damage", PLANS)
def test_a_damaged_plan(saved, damage):
    content, said = PLANS[damage]
    if content is None:
        saved.unlink()
    else:
        saved.write_bytes(content)
    with pytest.raises(PlanFileError, match=f"{said}.*{AGAIN}"):
        planfile.load_plan(saved)


GARBAGE = [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"targets": 3}', b"[" * 50_000, b" " * 10**6]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:12]))
def test_a_manifest_of_garbage(saved, content):
    planfile.manifest_path(saved).write_bytes(content)
    with pytest.raises(PlanFileError, match=f"manifest 'digits.plan.json' cannot be read: .*{AGAIN}"):
        planfile.load_plan(saved)


@pytest.mark.parametrize("part", ["digits.plan", "digits.plan.json"])
def test_what_may_have_no_end_is_not_read(saved, part):
    path = saved.parent / part
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path.unlink()
        make(path)
        with pytest.raises(PlanFileError, match="it is no regular file"):
            planfile.load_plan(saved)


FIELDS = [field.name for field in dataclasses.fields(planfile.Manifest)]
CHANGES = [
    *(({name: None if name == "targets" else ["wrong"]}, f"{name}|{AGAIN}") for name in FIELDS),
    *(({"size_bytes": size}, "manifest") for size in (True, -1, 1.5, "10000")),
    ({"format": "trtlab-plan-2"}, r"not of format trtlab-plan-1 \('trtlab-plan-2'\)"),
    ({"surprise": 1}, f"surprise.*{AGAIN}"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=map(str, CHANGES))
def test_a_changed_manifest(saved, change, said):
    manifest = planfile.manifest_path(saved)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(PlanFileError, match=said):
        planfile.load_plan(saved)
    manifest.unlink()
    with pytest.raises(PlanFileError, match=r"manifest 'digits\.plan\.json' cannot be read: No such file"):
        planfile.load_plan(saved)


@pytest.mark.parametrize(
    "wanted",
    [{"compiler_version": "9.9"}, {"compiler": "tensorrt"}, {"compiler": "tensorrt_rtx", "compiler_version": "1.0"}],
)
def test_a_plan_of_another_compiler(report, saved, wanted):
    with pytest.raises(PlanFileError, match=f"{report.compiler} {report.compiler_version}, .*{[*wanted.values()][-1]}"):
        planfile.load_plan(saved, **wanted)


def test_an_interrupted_write_leaves_the_old_pair_or_is_noticed(report, saved, monkeypatch):
    real = planfile.write_atomically

    def fail(*_args, **_options):
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            planfile.save_plan(replace(report, plan=b"new", plan_size_bytes=3), saved)
    assert planfile.load_plan(saved)[0] == PLAN
    assert sorted(path.name for path in saved.parent.iterdir()) == ["digits.plan", "digits.plan.json"]

    def only_the_plan(path, data):
        if path != saved:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(planfile, "write_atomically", only_the_plan)
    with pytest.raises(KeyboardInterrupt):
        planfile.save_plan(replace(report, plan=PLAN[::-1]), saved)
    with pytest.raises(PlanFileError, match="altered"):
        planfile.load_plan(saved)
