"""engine/glassbox/lanes: on several streams the same bits as on one, whatever waits; GPU tests too."""

import time
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from tests.engine.glassbox.referee import feeds_for, model, wrapped
from tests.engine.glassbox.test_inplace import DENSE, FIRE, HEAD, NESTED, ONE, THREE, VIEWS
from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
from trtlab.engine.glassbox import device, lanes
from trtlab.engine.glassbox.errors import RunError
from trtlab.engine.glassbox.plan import TensorSpec
from trtlab.graph.models import LIGHT_FOLDER, randomized
from trtlab.plan.memory import Placement, steps
from trtlab.plan.streams import ScheduleError

BRANCHES = f"""{HEAD}(float[2,8,9,9] y) <float[8,8,1,1] a, float[8,8,3,3] b> {{
    p = Conv {ONE} (image, a)  q = Conv {THREE} (image, b)  r = Neg (image)
    p1 = Conv {THREE} (p, b)  q1 = Softmax <axis = 1> (q)  r1 = Conv {ONE} (r, a)
    p2 = Exp (p1)  q2 = Conv {THREE} (q1, b)  r2 = Conv {THREE} (r1, b)
    s = Add (p2, q2)  y = Add (s, r2) }}"""
CASES = {"branches": BRANCHES, "fire": FIRE, "nested": NESTED, "dense": DENSE, "views": VIEWS}


def apart(buffers):
    """A placement in which no byte is used twice: nothing but the graph orders the steps."""
    offsets = dict(steps("no reuse", buffers))
    return Placement(offsets, max((offsets[b.name] + b.size_bytes for b in buffers), default=0))


PLACES = pytest.mark.parametrize("how", [{}, {"place": apart}], ids=["bytes used again", "no reuse"])


def test_lanes_of_a_cpu_leave_flags_of_the_process_alone():
    flags = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    with device.Device("cpu").mode():
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == flags


def assert_equal_bits(engine, streams, runs):
    feeds = [feeds_for(engine, seed) for seed in range(3)]
    want = [engine.create_execution_context().run(f) for f in feeds]
    context = engine.create_execution_context(streams=streams)
    for number in range(runs):
        for name, value in context.run(feeds[number % 3]).items():
            assert np.array_equal(value, want[number % 3][name]), (number, name)
    return context


@PLACES
@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_hundreds_of_runs_on_three_threads_are_those_on_one(text, how):
    engine = glassbox.build(model(text), rules=[], **how)
    context = assert_equal_bits(engine, 3, 200 if text is BRANCHES else 30)
    if text is BRANCHES:
        waits = sum(map(len, lanes.dependencies(lanes.uses(engine.plan))))
        freely = sum(map(len, lanes.dependencies(lanes.uses(glassbox.build(model(text), rules=[], place=apart).plan))))
        assert (waits > freely) == (not how)  # memory that is used again forbids what could run at once
        assert freely >= 10
        assert not how or len({lane for lane, _ in context._run.turns}) == 3


@pytest.mark.parametrize("strides", [(6, 3, 1), (12, 6, 1), (12, 5, 1), (1, 2, 4), (7, 1, 1), (9, 2, 1), (3, 3, 6)])
def test_rows_of_an_extent_hold_every_byte_of_a_tensor(strides):
    spec = TensorSpec(dtype="float32", shape=(2, 2, 3), strides=strides, offset=64)
    extent = lanes.extent(spec)
    places = {4 * sum(i * s for i, s in zip(index, strides, strict=True)) for index in np.ndindex(spec.shape)}
    used = {place + byte for place in places for byte in range(4)}
    rows = {at for at in range(extent.span) if not extent.step or at % extent.step < extent.run}
    assert (extent.offset, extent.span) == (64, max(used) + 1)
    assert used <= rows
    assert rows == used or strides not in {(6, 3, 1), (12, 6, 1), (1, 2, 4)}  # as slices of a concatenation lie


def test_who_reads_what_torch_brings_reads_what_that_may_show():
    plan = glassbox.build(model(VIEWS), rules=[]).plan
    (number,) = [n for n, step in enumerate(plan.steps) if step.attributes.get("operator") == "Transpose"]
    (source,), (name,) = plan.steps[number].inputs, plan.steps[number].outputs
    tensors = {**plan.tensors, name: replace(plan.tensors[name], offset=None)}
    by_torch = [replace(step, tactic="torch") for step in plan.steps]
    reads, _ = lanes.uses(replace(plan, tensors=tensors, steps=tuple(by_torch)))[number + 1]
    assert plan.steps[number + 1].inputs == (name,)
    assert lanes.extent(plan.tensors[source]) in reads


def test_who_needs_scratch_writes_it():
    plan = glassbox.build(model(BRANCHES), rules=[]).plan
    room = TensorSpec(dtype="uint8", shape=(64,), strides=(1,), offset=plan.arena_bytes)
    first, *others = plan.steps
    steps_with_room = (replace(first, scratch="room"), *others)
    _, writes = lanes.uses(replace(plan, tensors={**plan.tensors, "room": room}, steps=steps_with_room))[0]
    assert lanes.extent(room) in writes


def test_without_events_results_are_wrong(monkeypatch):
    def late(number, run):  # so that who does not wait is early
        return lambda *tensors, **room: (time.sleep(0.01 * (number % 3)), run(*tensors, **room))[1]

    engine = wrapped(glassbox.build(model(BRANCHES), rules=[], place=apart), late)
    assert_equal_bits(engine, 3, 3)
    monkeypatch.setattr(lanes, "dependencies", lambda uses: [set() for _ in uses])
    with pytest.raises(AssertionError):
        assert_equal_bits(engine, 3, 3)


def test_a_kernel_that_fails_on_one_stream_stops_nobody_and_the_context_goes_on():
    engine, calls = glassbox.build(model(BRANCHES), rules=[], place=apart), []

    def fails_once(number, run):
        def work(*tensors, **room):
            calls.append(number)
            if calls.count(1) == number == 1:
                raise RuntimeError("no luck")
            return run(*tensors, **room)

        return work

    context, feeds = wrapped(engine, fails_once).create_execution_context(streams=3), feeds_for(engine)
    with pytest.raises(RunError, match="no luck"):
        context.run(feeds)
    assert np.array_equal(context.run(feeds)["y"], engine.create_execution_context().run(feeds)["y"])
    for count in (0, "2", 2.0):
        with pytest.raises(ScheduleError, match=f"{count!r} streams: expected a whole number, 1 or more"):
            engine.create_execution_context(streams=count)


@pytest.mark.gpu
@PLACES
@pytest.mark.parametrize("name", ["branches", "digits", "light_squeezenet", "light_inception_v1"])
def test_a_thousand_runs_on_streams_of_cuda_are_those_on_one(name, how):
    if name.startswith("light"):
        proto = randomized(onnx.load(LIGHT_FOLDER / f"{name}.onnx"))
    else:
        proto = model(BRANCHES) if name == "branches" else export_onnx(name)
    assert assert_equal_bits(glassbox.build(proto, device="cuda", **how), 3, 1000).is_graph


@pytest.mark.gpu
@PLACES
def test_streams_of_cuda_without_a_graph_are_those_on_one(how, monkeypatch):
    monkeypatch.setattr(device, "_captured", lambda _: (None, None))
    engine = glassbox.build(model(BRANCHES), device="cuda", rules=[], **how)
    assert not assert_equal_bits(engine, 4, 1000).is_graph


@pytest.mark.gpu
def test_runs_enqueued_one_behind_the_other_have_their_own_inputs():
    """The host is many runs ahead of the GPU, and changes each input as soon as it is enqueued."""
    engine = glassbox.build(model(BRANCHES), device="cuda")
    context, stream = engine.create_execution_context(), engine.device.new_stream()
    rows = [feeds_for(engine, seed) for seed in range(200)]
    want = [context.run(row) for row in rows]
    found = [{} for _ in rows]
    for row, out in zip(rows, found, strict=True):
        context.enqueue(row, out, stream)
        for array in row.values():
            array[:] = np.nan
    stream.synchronize()
    for out, expected in zip(found, want, strict=True):
        assert all(np.array_equal(out[name], value) for name, value in expected.items())
