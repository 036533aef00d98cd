"""lab/life: a life is whole, its numbers belong together, and a command records it."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools import life_meter
from trtlab.engine import glassbox, recordings
from trtlab.engine.measure import Origin
from trtlab.lab import life as lives
from trtlab.lab.life import (
    ANSWERED,
    FED,
    Phase,
    build_all,
    fresh,
    largest_error,
    load,
    measure_life,
    read_arrays,
    serve,
    write_arrays,
)

STARTS = {Phase.BUILD, Phase.START, Phase.LOAD, Phase.CONTEXT, Phase.FIRST}
STEADY = {Phase.RUN, Phase.KERNELS, Phase.CALL, Phase.DONE, Phase.ONE, Phase.TWO}
RECORDED = {"cpu": Phase.ORT, "h100": Phase.EAGER}
NETWORKS = {"digits", "light_resnet50", "resnet18", "transformer"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the command `build` leaves for the digits network."""
    made = tmp_path_factory.mktemp("plans")
    build_all(["digits"], made)
    return made


@pytest.fixture(scope="module")
def life(folder):
    return measure_life(folder / "digits.plan", samples=5)


# --- processes of their own -------------------------------------------------------------------------------------------


def test_a_build_leaves_a_plan_inputs_answers_and_its_time(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["digits.json", "digits.npz", "digits.plan"]
    engine = glassbox.load(folder / "digits.plan")
    fed, answered = (read_arrays(folder / "digits.npz", prefix) for prefix in (FED, ANSWERED))
    assert {name: array.shape for name, array in fed.items()} == {"image": (1, 1, 8, 8)}
    assert largest_error(engine.create_execution_context().run(fed), answered) < 1e-5


def test_a_fresh_process_serves_what_this_one_computes(folder, tmp_path):
    plan, answered = folder / "digits.plan", tmp_path / "answers.npz"
    times = fresh("serve", plan, folder / "digits.npz", answered)
    assert set(times) == STARTS - {Phase.BUILD}
    assert all(seconds > 0 for seconds in times.values())
    ours = glassbox.load(plan).create_execution_context().run(read_arrays(folder / "digits.npz", FED))
    np.testing.assert_allclose(read_arrays(answered, ANSWERED)["logits"], ours["logits"], rtol=1e-5, atol=1e-5)


def test_a_fresh_process_has_one_thread_and_what_it_is_given(monkeypatch):
    def run(command, env, **_):
        seen.update(env, command=command)
        return type("Done", (), {"returncode": 0, "stdout": 'words\n{"load": 2.0}\n'})

    seen = {}
    monkeypatch.setattr(lives.subprocess, "run", run)
    assert fresh("serve", Path("a"), "b", TRITON_CACHE_DIR="there") == {Phase.LOAD: 2.0}
    assert (seen["OMP_NUM_THREADS"], seen["TRITON_CACHE_DIR"]) == ("1", "there")
    assert seen["command"][-3:] == ["serve", "a", "b"]


def test_a_process_that_fails_says_why(folder, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"(?s)serve\(.*failed in its process.*cannot be read: No such file"):
        fresh("serve", tmp_path / "no.plan", tmp_path / "no.npz", tmp_path / "out.npz")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeError, match="onnx was loaded: expected numpy and torch alone"):
        serve(folder / "digits.plan", folder / "digits.npz", tmp_path / "out.npz")


def test_arrays_keep_any_name(tmp_path):
    groups = {FED: {"gpu_0/data_0": np.arange(3), "file": np.ones((2, 2), np.float16)}, ANSWERED: {"in/": np.zeros(1)}}
    write_arrays(tmp_path / "a.npz", groups)
    for prefix, group in groups.items():
        back = read_arrays(tmp_path / "a.npz", prefix)
        assert list(back) == list(group)
        assert all(np.array_equal(back[name], group[name]) and back[name].dtype == group[name].dtype for name in group)


# --- a life -----------------------------------------------------------------------------------------------------------


def test_a_life_is_whole(life, folder):
    assert set(life.times) == STARTS | STEADY | {Phase.ORT}
    assert all(taken.median_s > 0 and taken.name == phase.value for phase, taken in life.times.items())
    assert life.plan_bytes == (folder / "digits.plan").stat().st_size
    assert life.error < 1e-5
    assert (life.provenance.origin, life.provenance.samples) == (Origin.LIVE, len(life.times[Phase.RUN].samples_s))
    assert [name for name, _ in life.provenance.versions] == ["torch", "numba", "onnxruntime"]


def test_times_that_contain_each_other(life):
    assert life.seconds(Phase.CALL) < life.seconds(Phase.DONE)
    assert life.seconds(Phase.RUN) < life.seconds(Phase.FIRST)  # the first one compiles
    assert sum(kernel.time_us for kernel in life.kernels) / 1e6 < life.seconds(Phase.FIRST)
    assert all(done > called for called, done in zip(
        life.times[Phase.CALL].samples_s, life.times[Phase.DONE].samples_s, strict=True))  # fmt: skip


def test_kernels_are_those_of_the_plan(life, folder):
    inspected = glassbox.load(folder / "digits.plan").inspect()
    assert [replace(k, time_us=0) for k in life.kernels] == [replace(k, time_us=0) for k in inspected]
    assert all(kernel.time_us > 0 for kernel in life.kernels)


def test_requests_are_all_answered_and_dealt_out_in_turns(folder, monkeypatch):
    engine, seen = glassbox.load(folder / "digits.plan"), []
    enqueue = glassbox.ExecutionContext.enqueue
    monkeypatch.setattr(
        glassbox.ExecutionContext, "enqueue", lambda self, *rest: (seen.append(id(self)), enqueue(self, *rest))
    )
    lives._requests(engine, read_arrays(folder / "digits.npz", FED), 2)()
    assert len(seen) == lives.REQUESTS
    assert len(set(seen)) == 2
    assert all(a != b for a, b in itertools.pairwise(seen))


def test_the_error_is_that_of_the_worst_output():
    right = {"a": np.array([1.0, -2.0]), "b": np.array([10.0])}
    assert largest_error(right, right) == 0
    assert largest_error({"a": np.array([1.0, -1.0]), "b": np.array([11.0])}, right) == 0.5
    assert np.isnan(largest_error({"a": np.array([np.nan, 0]), "b": np.array([10.0])}, right))


def test_what_was_not_timed_or_built_is_named(life, tmp_path):
    with pytest.raises(KeyError, match=r"no 'torch eager' of digits; there are build, import torch, load"):
        life.seconds(Phase.EAGER)
    with pytest.raises(FileNotFoundError, match=r"lonely\.json"):
        measure_life(tmp_path / "lonely.plan")


# --- recordings -------------------------------------------------------------------------------------------------------


def test_the_command_records_what_it_built(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    life_meter.main(["run", str(folder), "--processes", "1"])
    found = load("cpu")["digits"]
    assert found.provenance.command == f"python -m tools.life_meter run {folder.name}"
    assert {taken.provenance.origin for taken in found.times.values()} == {Origin.RECORDED}
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(found.times)


def test_the_command_builds_or_says_how(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(life_meter, "build_all", lambda *words: asked.append(words))
    life_meter.main(["build", "a", "b", "--device", "cuda", "--precision", "FP16", "--out", str(tmp_path / "new")])
    assert asked == [(["a", "b"], tmp_path / "new", "cuda", "FP16", 3)]
    with pytest.raises(SystemExit):
        life_meter.main(["run", str(tmp_path / "new")])  # a folder without plans
    assert "python -m tools.life_meter build" in capsys.readouterr().err


@pytest.mark.parametrize("name", RECORDED)
def test_the_shipped_recordings(name):
    found = load(name)
    assert set(found) == NETWORKS
    for one in found.values():
        assert set(one.times) >= STARTS | STEADY
        assert one.error < {"FP32": 1e-4, "FP16": 5e-2}[one.precision]
        assert one.seconds(Phase.LOAD) < one.rebuild_s
        assert (Phase.TUNE in one.times) == (one.device == "cuda")
        assert one.seconds(Phase.CALL) < one.seconds(Phase.RUN)
    assert RECORDED[name] in found["resnet18"].times


@pytest.mark.gpu
def test_a_gpu_tunes_a_plan_that_was_built_without_one(tmp_path):
    build_all(["transformer"], tmp_path, "cuda", "FP16")
    found = measure_life(tmp_path / "transformer.plan", samples=5)
    assert {Phase.EAGER, Phase.KERNELS} <= set(found.times)
    assert found.times[Phase.KERNELS].clock == "CUDA events"
    assert found.error < 2e-2
