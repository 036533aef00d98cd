"""engine/glassbox/trial: a plan built where its device is not is tuned where it is loaded."""

import math
import random

import numpy as np
import pytest
import torch

from tests.engine.glassbox.test_planfile import changed, mutate
from tests.engine.glassbox.test_referee import check, parsed
from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
from trtlab.engine.glassbox import builder, trial
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import DeviceError, GlassboxError
from trtlab.engine.glassbox.plan import bytes_from_plan
from trtlab.plan.tactics import prefer


@pytest.fixture
def ahead(monkeypatch):
    """A build function for machines without the device."""
    monkeypatch.setattr(builder, "is_here", lambda _: False)
    return glassbox.build


def test_ahead_of_time_then_just_in_time(ahead, tmp_path):
    built = ahead(export_onnx("digits"))
    assert {k.tactic for k in built.inspect()} == {""}
    assert built.plan.arena_bytes == 0
    with pytest.raises(DeviceError, match="was built ahead of time for 'cpu', which is not here: save it, and load it"):
        built.create_execution_context()
    built.save(tmp_path / "untuned")
    loaded = glassbox.load(tmp_path / "untuned")
    assert all(k.time_us > 0 or k.tactic == "view" for k in loaded.inspect())
    assert [k.onnx_nodes for k in loaded.inspect()] == [k.onnx_nodes for k in built.inspect()]
    loaded.save(tmp_path / "tuned")
    again = glassbox.load(tmp_path / "tuned")
    assert again.inspect() == loaded.inspect()
    feeds = {"image": np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)}
    first, second = (engine.create_execution_context().run(feeds)["logits"] for engine in (loaded, again))
    assert np.array_equal(first, second)


def test_a_plan_that_was_tuned_on_another_gpu_is_tuned_again(tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("tuned again")

    engine = glassbox.build(export_onnx("digits"), pick=prefer("torch"))
    engine.save(tmp_path / "plan")
    monkeypatch.setattr(trial, "tune", never)
    assert glassbox.load(tmp_path / "plan").inspect() == engine.inspect()
    monkeypatch.undo()
    monkeypatch.setattr(Device, "description", lambda _: {"gpu": "a newer one"})
    again = glassbox.load(tmp_path / "plan")
    assert again.plan.made_with["gpu"] == "a newer one"
    assert all(k.time_us > 0 or k.tactic == "view" for k in again.inspect())


def test_a_plan_for_a_gpu_is_built_anywhere(tmp_path):
    engine = glassbox.build(export_onnx("digits"), device="cuda", precision="FP16")
    assert engine.plan.device == "cuda"
    assert torch.float32 not in {w.dtype for w in engine.plan.weights.values()}
    if not torch.cuda.is_available():
        engine.save(tmp_path / "plan")
        with pytest.raises(DeviceError, match="needs an NVIDIA GPU, and torch sees none here: load it where there is"):
            glassbox.load(tmp_path / "plan")


def test_false_plans_are_refused_while_tuned(ahead, tmp_path):
    data = bytes_from_plan(ahead(export_onnx("digits")).plan)
    rng, feeds = random.Random(2), {"image": np.zeros((1, 1, 8, 8), np.float32)}
    ends = {"answer": 0, "refusal": 0}
    for _ in range(100):
        (tmp_path / "plan").write_bytes(changed(data, lambda values: mutate(values, rng)))
        try:
            glassbox.load(tmp_path / "plan").create_execution_context().run(feeds)
            ends["answer"] += 1
        except GlassboxError:
            ends["refusal"] += 1
    assert min(ends.values()) > 0


def test_a_tactic_that_raises_disagrees_or_leaves_its_bound_is_discarded(ahead, monkeypatch):
    from trtlab.engine.glassbox import kernels, library

    torch_s = library.KERNELS["matmul"]["torch"].bind
    rough = lambda call: lambda *tensors: torch_s(call)(*tensors) * (1 + 5e-5)  # noqa: E731
    tried = {
        "wrong": kernels.Tactic(bind=lambda _: lambda *__: torch.zeros(1, 10)),
        "broken": kernels.Tactic(bind=lambda _: math.sqrt(-1)),
        "rough": kernels.Tactic(bind=rough),
        "says so": kernels.Tactic(bind=rough, bounds={"float32": 1e-4}),
    }
    for name, tactic in tried.items():
        monkeypatch.setitem(library.KERNELS["matmul"], name, tactic)
    tuned = trial.tune(ahead(export_onnx("digits")).plan, pick=prefer(*tried))
    races = [race for race in tuned.races if race and "wrong" in {c.name for c in race.candidates}]
    assert {(race.winner, *(race[name].state for name in ("wrong", "broken", "rough"))) for race in races} == {
        ("says so", "wrong: error 1 > bound 2e-05", "raised: ValueError: math domain error",
         "wrong: error 5e-05 > bound 2e-05")
    }  # fmt: skip


W = {"w": np.ones((8, 8, 1, 1), np.float32), "v": np.ones((8, 8, 3, 3), np.float32), "m": np.ones((8, 4), np.float32)}
TWO = "(float[2,8,8,8] x, float[2,8,8,8] z) => (float[2,8,8,8] y)"
AXES = {
    "1x1 into planes": "(float[1,8,8,8] x) => (float[1,16,8,8] y) {"
                       " c = Conv (x, w) d = Conv (x, w) y = Concat <axis=1> (c, d) }",
    "two images": "(float[2,8,8,8] x) => (float[2,16,8,8] y) {"
                  " c = Conv (x, w) d = Relu (x) y = Concat <axis=1> (d, c) }",
    "windows": "(float[1,8,9,9] x) => (float[1,16,9,9] y) {"
               " d = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x) e = Relu (x) y = Concat <axis=1> (e, d) }",
    "planes beside 1x1": f"{TWO} {{ c = Conv (x, w) y = Add (c, z) }}",
    "planes beside 3x3": f"{TWO} {{ c = Conv <pads=[1,1,1,1]> (x, v) y = Add (c, z) }}",
    "columns": "(float[3,8,5] x) => (float[3,5,4] y) {"
               " r = Relu (x) t = Transpose <perm=[0,2,1]> (r) y = MatMul (t, m) }",
    "apart": "(float[3,5,4,8] x) => (float[4,3,5,4] y) {"
             " r = Relu (x) t = Transpose <perm=[2,0,1,3]> (r) y = MatMul (t, m) }",
}  # fmt: skip
"""What lies otherwise than some tactic walks."""


@pytest.mark.parametrize("text", AXES.values(), ids=AXES)
def test_a_tactic_that_cannot_walk_through_the_numbers_is_out(text):
    engine = check(parsed(text, **{name: w for name, w in W.items() if f", {name})" in text}))
    lost = [c.state for one in engine.inspect(tactics=True) if one.race for c in one.race.candidates]
    assert all("Error: " in state for state in lost if state.startswith(("raised", "wrong")))


def test_calls_that_are_alike_are_timed_once():
    """Four convolutions: the first reads its image another way than those that read one of their own kind."""
    pytest.importorskip("numba")
    eye, asked = np.zeros((8, 8, 3, 3), np.float32), []
    eye[range(8), range(8), 1, 1] = 1
    weights = {"a": eye, "b": eye, "c": eye, "d": eye * 0.5}
    nodes = "p = Conv <pads=[1,1,1,1]> (x, a) q = Conv <pads=[1,1,1,1]> (p, b) r = Conv <pads=[1,1,1,1]> (q, c) "
    proto = parsed(
        f"(float[1,8,9,9] x) => (float[1,8,9,9] y) {{ {nodes} y = Conv <pads=[1,1,1,1]> (r, d) }}", **weights
    )

    def pick(works, *rest):
        asked.append(list(works))
        return prefer("winograd")(works, *rest)

    engine = check(proto, {"x": np.random.default_rng(0).normal(size=(1, 8, 9, 9)).astype(np.float32)}, pick=pick)
    assert len(asked) == 2
    assert [k.tactic for k in engine.inspect()] == ["winograd"] * 4
