"""engine/enginetimes and freshprocess: a life is whole, its numbers belong together, and a file gives it back."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trtlab.engine import enginetimes, freshprocess, glassbox
from trtlab.engine.enginetimes import build_all, largest_error, load, measure_life
from trtlab.engine.freshprocess import ANSWERED, FED, Phase, fresh, read_arrays, serve, write_arrays
from trtlab.engine.measure import Origin

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
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    measured = measure_life(folder / "digits.plan", samples=5)
    assert torch.get_num_threads() == 2  # as they were
    torch.set_num_threads(before)
    return measured


# --- processes of their own -------------------------------------------------------------------------------------------


def test_a_build_leaves_a_plan_inputs_answers_and_its_time(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["digits.json", "digits.npz", "digits.plan"]
    engine = glassbox.load(folder / "digits.plan")
    fed, answered = (read_arrays(folder / "digits.npz", prefix) for prefix in (FED, ANSWERED))
    assert {name: array.shape for name, array in fed.items()} == {"image": (1, 1, 8, 8)}
    assert largest_error(engine.create_execution_context().run(fed), answered) < 1e-5
    built = json.loads((folder / "digits.json").read_text("utf-8"))
    assert (built["network"], built["device"], built["precision"]) == ("digits", "cpu", "FP32")
    assert built["times"][0]["samples_s"][0] > 0


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
    monkeypatch.setattr(freshprocess.subprocess, "run", run)
    assert fresh("serve", Path("a"), "b", TRITON_CACHE_DIR="there") == {Phase.LOAD: 2.0}
    assert (seen["OMP_NUM_THREADS"], seen["TRITON_CACHE_DIR"]) == ("1", "there")
    assert seen["command"][-3:] == ["serve", "a", "b"]


def test_a_process_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)serve\(.*failed in its process.*cannot be read: No such file"):
        fresh("serve", tmp_path / "no.plan", tmp_path / "no.npz", tmp_path / "out.npz")


def test_a_server_that_loaded_onnx_is_noticed(folder, tmp_path, monkeypatch):
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
    enginetimes._requests(engine, read_arrays(folder / "digits.npz", FED), 2)()
    assert len(seen) == enginetimes.REQUESTS
    assert len(set(seen)) == 2
    assert all(a != b for a, b in itertools.pairwise(seen))


def test_the_error_is_that_of_the_worst_output():
    right = {"a": np.array([1.0, -2.0]), "b": np.array([10.0])}
    assert largest_error(right, right) == 0
    assert largest_error({"a": np.array([1.0, -1.0]), "b": np.array([11.0])}, right) == 0.5
    assert np.isnan(largest_error({"a": np.array([np.nan, 0]), "b": np.array([10.0])}, right))


def test_what_was_not_timed_is_named(life):
    with pytest.raises(KeyError, match=r"no 'torch eager' of digits; there are build, import torch, load"):
        life.seconds(Phase.EAGER)


def test_a_plan_without_what_belongs_to_it_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lonely\.json"):
        measure_life(tmp_path / "lonely.plan")


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_life_survives_its_file(life, tmp_path, monkeypatch):
    monkeypatch.setattr(enginetimes, "FOLDER", tmp_path)
    enginetimes.save([life], tmp_path / "enginetimes-here.json", "python it")
    (back,) = load.__wrapped__("here").values()
    assert (back.network, back.plan_bytes, back.error, back.kernels) == (
        "digits", life.plan_bytes, life.error, life.kernels
    )  # fmt: skip
    assert set(back.times) == set(life.times)
    for phase, taken in back.times.items():
        assert taken.samples_s == pytest.approx(life.times[phase].samples_s, rel=1e-4)
        assert taken.provenance == replace(life.times[phase].provenance, origin=Origin.RECORDED, command="python it")
    assert all(len(line) < 1000 for line in (tmp_path / "enginetimes-here.json").read_text("utf-8").splitlines())


def test_the_commands_build_and_record(tmp_path, capsys):
    enginetimes.main(["build", "digits", "--out", str(tmp_path / "plans"), "--processes", "1"])
    enginetimes.main(["run", str(tmp_path / "plans"), "--out", str(tmp_path / "found.json"), "--processes", "1"])
    (found,) = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert found["times"][0]["provenance"]["command"] == (
        "python -m trtlab.engine.enginetimes run plans --out found.json"
    )
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(found["times"])


def test_a_folder_without_plans_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        enginetimes.main(["run", str(tmp_path), "--out", str(tmp_path / "found.json")])
    assert "expected what this writes: python -m trtlab.engine.enginetimes build" in capsys.readouterr().err
    assert not (tmp_path / "found.json").exists()


@pytest.mark.parametrize("name", [n for n in RECORDED if (enginetimes.FOLDER / f"enginetimes-{n}.json").exists()])
def test_the_shipped_recordings(name):
    found = load(name)
    assert set(found) == NETWORKS
    for life in found.values():
        assert set(life.times) >= STARTS | STEADY
        assert all(taken.provenance.origin is Origin.RECORDED for taken in life.times.values())
        assert life.error < {"FP32": 1e-4, "FP16": 5e-2}[life.precision]
        assert life.seconds(Phase.LOAD) < life.rebuild_s
        assert (Phase.TUNE in life.times) == (life.device == "cuda")
        assert life.seconds(Phase.CALL) < life.seconds(Phase.RUN)
    assert RECORDED[name] in found["resnet18"].times
    assert load(name) is found


def test_no_recording_of_that_name():
    with pytest.raises(FileNotFoundError, match=r"enginetimes-abacus\.json"):
        load("abacus")


@pytest.mark.gpu
def test_a_gpu_tunes_a_plan_that_was_built_without_one(tmp_path):
    build_all(["transformer"], tmp_path, "cuda", "FP16")
    found = measure_life(tmp_path / "transformer.plan", samples=5)
    assert {Phase.EAGER, Phase.KERNELS} <= set(found.times)
    assert found.times[Phase.KERNELS].clock == "CUDA events"
    assert found.error < 2e-2
