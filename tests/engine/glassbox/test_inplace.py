"""engine/glassbox: views cost nothing, parts of a concatenation are made in it, nothing alive is overwritten, and all
memory is that of the plan."""

import itertools
import resource
import tracemalloc
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from tests.engine.glassbox.referee import check, check_engine, feeds_for, model, wrapped
from trtlab.engine import glassbox
from trtlab.engine.glassbox import kernels
from trtlab.engine.glassbox.plan import bytes_from_plan, plan_from_bytes
from trtlab.engine.glassbox.runtime import Engine
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS, randomized
from trtlab.plan.memory import Buffer, find_overlap
from trtlab.plan.tactics import prefer

HEAD = "(float[2,8,9,9] image) => "
ONE, THREE = "<kernel_shape = [1,1]>", "<pads = [1,1,1,1]>"
FIRST = f"<float[8,8,1,1] a, float[8,8,3,3] b> {{ x = Conv {THREE} (image, b) "  # channels side by side
FIRE = f"""{HEAD}(float[2,16,9,9] y) {FIRST}
    p = Conv {ONE} (x, a)  q = Conv {THREE} (x, b)  c = Concat <axis = 1> (p, q)  y = Relu (c) }}"""
READ_TWICE = f"""{HEAD}(float[2,24,9,9] y) {FIRST}
    p = Conv {ONE} (x, a)  q = Conv {THREE} (p, b)  y = Concat <axis = 1> (p, q, q) }}"""
OUTPUT = f"""{HEAD}(float[2,8,9,9] p, float[2,24,9,9] y) {FIRST}
    p = Conv {ONE} (x, a)  q = Conv {THREE} (x, b)  y = Concat <axis = 1> (p, x, q) }}"""
NESTED = f"""{HEAD}(float[2,32,9,9] y) {FIRST}
    p = Conv {ONE} (x, a)  q = Conv {THREE} (x, b)  r = Conv {THREE} (q, b)  s = Conv {ONE} (r, a)
    c = Concat <axis = 1> (p, s)  d = Conv {ONE} (x, a)  n = Neg (d)  y = Concat <axis = 1> (c, n, x) }}"""
VIEWS = """(float[2,6,8] x) => (float[2,4,6] y, float[2,2,3,8] z) <float[8,8] w> {
    parts = Constant <value_ints = [4, 4]> ()  to = Constant <value_ints = [2, 2, 3, 8]> ()
    m = MatMul (x, w)  a, b = Split <axis = 2> (m, parts)  t = Transpose <perm = [0,2,1]> (a)  y = Identity (t)
    k = Neg (m)  z = Reshape (k, to) }"""
UNREAD = f"""{HEAD}(float[2,8,9,9] m) {FIRST}
    p = Conv {ONE} (x, a)  n = Neg (x)  c = Concat <axis = 1> (p, x)  m = Neg (n) }}"""
INTEGERS = """(int64[2,5,3,8] x, float[2,3,8,6] k) => (float[2,3,5,6] y) {
    f = Cast <to = 1> (x)  t = Transpose <perm = [0,2,1,3]> (f)  y = MatMul (t, k) }"""
DENSE = f"""{HEAD}(float[2,32,9,9] y) {FIRST}
    p = Conv {ONE} (x, a)  q = Conv {THREE} (p, b)  c = Concat <axis = 1> (p, q)
    n = Neg (q)  d = Concat <axis = 1> (c, n)  r = Conv {THREE} (n, b)  e = Concat <axis = 1> (d, r)  y = Relu (e) }}"""
ACROSS = f"""{HEAD}(float[2,16,18,9] y) {FIRST}
    p = Conv {ONE} (x, a)  q = Conv {THREE} (x, b)  r = Neg (p)  s = Neg (q)
    c = Concat <axis = 1> (p, q)  d = Concat <axis = 1> (r, s)  e = Concat <axis = 2> (c, d)  y = Relu (e) }}"""
writer = prefer("joined", "generated", "winograd", "product", "batched", "onednn", "torch")
"""A picker that takes the tactics that write where they are told."""


OURS = {"generated", "winograd", "joined", "view", "product"}


def allocations(engine, feeds):
    """For every kernel, the most bytes that torch allocates at once while it runs, beside the arena."""
    inside, found = torch._C, []  # the public profiler loses the order of what is allocated and freed
    state, more = inside._profiler.ProfilerState.CPU, inside._profiler._ExperimentalConfig()
    config = inside._profiler.ProfilerConfig(state, False, True, False, False, False, more)

    def weighed(_, run):
        def work(*tensors, **room):
            inside._autograd._enable_profiler_legacy(config)
            try:
                return run(*tensors, **room)
            finally:
                threads = inside._autograd._disable_profiler_legacy()
                sizes = [e.cpu_memory_usage() for events in threads for e in events if e.kind() == "memory_alloc"]
                found.append(max(itertools.accumulate(sizes, initial=0)))

        return work

    wrapped(engine, weighed).create_execution_context().run(feeds)
    return found


@pytest.mark.parametrize("text", [FIRE, READ_TWICE, OUTPUT, NESTED, VIEWS, INTEGERS, UNREAD])
@pytest.mark.parametrize("how", [{}, {"pick": writer}], ids=["fastest", "in place"])
def test_results_are_those_of_onnx_runtime_with_and_without_numba(text, how, monkeypatch):
    """Without rules, what nobody reads is made, too; its memory lives from its first part to its own making."""
    proto = model(text)
    engine = check(proto, rtol=2e-5, rules=[] if text is UNREAD else None, **how)
    monkeypatch.setattr(kernels, "has_numba", lambda: False)  # other tactics, which bring their own memory
    check_engine(Engine(engine.plan), proto, rtol=2e-5)


def test_parts_of_a_concatenation_lie_in_it():
    pytest.importorskip("numba")
    tensors = glassbox.build(model(FIRE), pick=writer).plan.tensors
    p, q, c = (tensors[name] for name in "pqc")
    assert (p.offset, q.offset) == (c.offset, c.offset + 8 * 4)
    assert p.strides == q.strides == c.strides == (16 * 81, 1, 16 * 9, 16)


def test_the_rule_alone_decides_what_is_made_in_a_concatenation():
    for text in (READ_TWICE, OUTPUT):
        tensors = glassbox.build(model(text), pick=writer).plan.tensors
        assert tensors["p"].strides[-1] == 8, text
    for rules in (["vertical_fusion"], ["concat_elimination"]):
        tensors = glassbox.build(model(FIRE), rules=rules, pick=writer).plan.tensors
        assert (tensors["p"].strides[-1] == 16) == (rules == ["concat_elimination"])


@pytest.mark.parametrize(("text", "whole"), [(DENSE, {"c", "d"}), (ACROSS, set())], ids=["one axis", "across"])
def test_parts_of_parts_lie_in_the_outer_one_along_one_axis(text, whole):
    tensors = check(model(text), rtol=2e-5).plan.tensors
    assert {n for n in "cd" if tensors[n].strides == tensors["e"].strides} == whole
    assert tensors["p"].offset == tensors["c"].offset


def test_views_are_no_kernels_and_keep_what_they_show_alive():
    plan = glassbox.build(model(VIEWS), pick=writer).plan
    tactics = {step.attributes.get("operator"): step.tactic for step in plan.steps}
    assert {tactics[name] for name in ("Split", "Transpose", "Reshape")} == {"view"}
    assert plan.tensors["z"].offset == plan.tensors["k"].offset


@pytest.mark.parametrize("proto", [model(VIEWS), TEACHING_MODELS["attention"]()], ids=["views", "attention"])
def test_no_step_writes_over_what_is_read_later(proto):
    """By what the plan says alone: the bytes between a tensor's first and last, from its making to its last reading,
    meet those of another only where one is a part of the other."""
    plan = glassbox.build(proto, pick=writer).plan
    placed = {n: t for n, t in plan.tensors.items() if t.offset is not None}
    made = {n: number for number, step in enumerate(plan.steps) for n in (*step.outputs, step.scratch)}
    read = {n: number for number, step in enumerate(plan.steps) for n in step.inputs}
    read |= dict.fromkeys(plan.outputs, len(plan.steps))
    alias = {n for step in plan.steps if step.tactic == "view" for n in step.outputs}
    sizes, offsets = {n: t.span_bytes for n, t in placed.items()}, {n: t.offset for n, t in placed.items()}
    buffers = [Buffer(n, sizes[n], made[n], read.get(n, made[n]) + 1) for n in placed.keys() - alias]
    assert find_overlap(buffers, offsets) is None
    for view in alias:  # what a view shows is not made anew before the view is read
        for later in (b.name for b in buffers if made[view] < b.start <= read.get(view, 0)):
            assert find_overlap([Buffer(n, sizes[n], 0, 1) for n in (view, later)], offsets) is None


@pytest.fixture(scope="module")
def squeezenet():
    return glassbox.build(randomized(onnx.load(LIGHT_FOLDER / "light_squeezenet.onnx")), pick=writer)


IMAGE = {"data_0": np.ones((1, 3, 224, 224), np.float32)}


def test_memory_is_that_of_the_plan_and_each_context_has_its_own(squeezenet):
    plan, memory = squeezenet.plan, squeezenet.memory
    assert memory.weights_bytes == sum(w.numel() * w.element_size() for w in plan.weights.values())
    assert memory.apart == {}  # every result has its place, those of PyTorch's operators too
    contexts = [squeezenet.create_execution_context() for _ in range(3)]
    ranges = sorted((c._arena.data_ptr(), c._arena.data_ptr() + memory.arena_bytes) for c in contexts)
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ranges))
    assert memory.total_bytes(3) == memory.weights_bytes + 3 * memory.arena_bytes
    ends = [t.offset + t.span_bytes for t in plan.tensors.values() if t.offset is not None]
    assert max(ends) == memory.arena_bytes == contexts[0]._arena.nbytes
    assert Engine(plan_from_bytes(bytes_from_plan(plan))).memory == memory


def test_our_kernels_allocate_nothing_and_others_no_more_than_scratch_and_a_result(squeezenet):
    pytest.importorskip("numba")
    tactics, allocated = [kernel.tactic for kernel in squeezenet.inspect()], allocations(squeezenet, IMAGE)
    assert {*tactics} >= {"generated", "winograd", "joined"}
    assert not {t for t, size in zip(tactics, allocated, strict=True) if size} & OURS
    largest = max(t.span_bytes for t in squeezenet.plan.tensors.values())
    assert max(allocated) <= IMAGE["data_0"].nbytes + largest + 2**15  # channels side by side
    assert squeezenet.memory.scratch_bytes > 0


def test_kernels_bring_their_own_memory_where_the_plan_has_too_little():
    """Scratch, as on a machine with other vectors, whose panels are larger; and a result without a place."""
    pytest.importorskip("numba")
    engine = glassbox.build(model(FIRE), pick=writer)
    tensors = engine.plan.tensors
    small = {n: replace(t, shape=(8,)) for n, t in tensors.items() if n.startswith("scratch of")}
    homeless = {"y": replace(tensors["y"], offset=None)}
    other = Engine(replace(engine.plan, tensors={**tensors, **small, **homeless}))
    assert [*other.memory.apart] == ["y"]
    check_engine(other, model(FIRE), feeds := feeds_for(engine), rtol=2e-5)
    assert max(allocations(other, feeds)) > max(allocations(engine, feeds))


def test_a_run_again_touches_no_new_memory():
    """Neither Python's nor the system's: no page is touched for the first time, where one new arena would be 900."""
    squeezenet = glassbox.build(randomized(onnx.load(LIGHT_FOLDER / "light_squeezenet.onnx")))
    context = squeezenet.create_execution_context()
    for _ in range(8):
        context.run(IMAGE)
    tracemalloc.start()
    context.run(IMAGE)
    traced, faults = tracemalloc.get_traced_memory()[0], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        context.run(IMAGE)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert faults < squeezenet.memory.arena_bytes / 4096 / 4
    assert max((now - traced) * 5, most - traced) < 100_000
