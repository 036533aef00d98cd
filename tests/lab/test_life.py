"""lab/life: a life is whole, and its numbers belong together."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trtlab.engine import glassbox
from trtlab.engine.measure import Origin
from trtlab.lab import life as lives
from trtlab.lab.life import ANSWERED, FED, Phase, fresh, largest_error, load, read_arrays, serve, write_arrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan of the digits network, with inputs and answers."""
    made = tmp_path_factory.mktemp("plans")
    lives.build("digits", str(made))
    return made


# --- processes of their own -------------------------------------------------------------------------------------------


def test_a_build_leaves_a_plan_inputs_and_answers(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["digits.npz", "digits.plan"]
    engine = glassbox.load(folder / "digits.plan")
    fed, answered = (read_arrays(folder / "digits.npz", prefix) for prefix in (FED, ANSWERED))
    assert {name: array.shape for name, array in fed.items()} == {"image": (1, 1, 8, 8)}
    assert largest_error(engine.create_execution_context().run(fed), answered) < 1e-5
    kernels, made = lives.profile(engine.create_execution_context(), fed, 3)
    assert [replace(k, time_us=0) for k in kernels] == [replace(k, time_us=0) for k in engine.inspect()]
    assert (all(kernel.time_us > 0 for kernel in kernels), made.samples) == (True, 3)
    for repeats in (0, "3"):
        with pytest.raises(ValueError, match=f"repeats is {repeats!r}: expected a whole number, 1 or more"):
            lives.profile(engine.create_execution_context(), fed, repeats)


def test_a_fresh_process_has_one_thread_and_what_it_is_given(monkeypatch):
    def run(command, env, **_):
        seen.update(env, command=command)
        return type("Done", (), {"returncode": 0, "stdout": 'words\n{"load": 2.0}\n'})

    seen = {}
    monkeypatch.setattr(lives.subprocess, "run", run)
    assert fresh("serve", Path("a"), "b", TRTLAB_CACHE="there") == {Phase.LOAD: 2.0}
    assert (seen["OMP_NUM_THREADS"], seen["TRTLAB_CACHE"]) == ("1", "there")
    assert seen["command"][-3:] == ["serve", "a", "b"]


def test_a_process_that_fails_says_why(folder, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"(?s)dance\(.*failed in its process.*no attribute 'dance'"):
        fresh("dance", tmp_path)
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


@pytest.mark.slow
def test_a_life_is_whole_and_its_times_contain_each_other(tmp_path):
    life = lives.measure_life("digits", tmp_path, samples=5)
    assert set(life.times) == set(Phase) - {Phase.TUNE, Phase.EAGER, Phase.CHANNELS_LAST}
    assert all(taken.median_s > 0 and taken.name == phase.value for phase, taken in life.times.items())
    assert life.plan_bytes == (tmp_path / "digits.plan").stat().st_size
    assert life.error < 1e-5  # of what the other process answered
    assert (life.provenance.origin, life.provenance.samples) == (Origin.LIVE, len(life.times[Phase.RUN].samples_s))
    assert life.seconds(Phase.RUN) < life.seconds(Phase.FIRST)  # the first one compiles
    called, done = (life.times[phase].samples_s for phase in (Phase.CALL, Phase.DONE))
    assert all(late > early for early, late in zip(called, done, strict=True))
    with pytest.raises(KeyError, match=r"no name='torch eager'; there are name='build'"):
        life.seconds(Phase.EAGER)


def test_requests_are_all_answered_and_dealt_out_in_turns(folder, monkeypatch):
    engine, seen = glassbox.load(folder / "digits.plan"), []
    enqueue = glassbox.ExecutionContext.enqueue
    monkeypatch.setattr(
        glassbox.ExecutionContext, "enqueue", lambda self, *rest: (seen.append(id(self)), enqueue(self, *rest))
    )
    lives._requests(engine, read_arrays(folder / "digits.npz", FED), 2)()
    assert (len(seen), len(set(seen))) == (lives.REQUESTS, 2)
    assert all(a != b for a, b in itertools.pairwise(seen))


def test_the_error_is_that_of_the_worst_output():
    right = {"a": np.array([1.0, -2.0]), "b": np.array([10.0])}
    assert largest_error(right, right) == 0
    assert largest_error({"a": np.array([1.0, -1.0]), "b": np.array([11.0])}, right) == 0.5
    assert np.isnan(largest_error({"a": np.array([np.nan, 0]), "b": np.array([10.0])}, right))


@pytest.mark.parametrize(("name", "peer"), [("cpu", Phase.ORT), ("h100", Phase.EAGER)])
def test_the_shipped_recordings(name, peer):
    found = load(name)
    assert peer in found["resnet18"].times
    for one in found.values():
        assert one.error < {"FP32": 1e-4, "FP16": 5e-2}[one.precision]
        assert one.seconds(Phase.LOAD) < one.rebuild_s
        assert one.seconds(Phase.CALL) < one.seconds(Phase.RUN)
