"""engine/glassbox: views cost nothing, parts of a concatenation are made in it, and nothing alive is overwritten."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
from trtlab.engine.glassbox import epilogues
from trtlab.engine.glassbox.runtime import Engine
from trtlab.plan.memory import Buffer, find_overlap
from trtlab.plan.tactics import prefer

HEAD = '<ir_version: 10, opset_import: ["": 20]> net (float[2,8,9,9] image) => '
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
VIEWS = """<ir_version: 10, opset_import: ["": 20]> net (float[2,6,8] x) => (float[2,4,6] y, float[2,2,3,8] z)
    <float[8,8] w, int64[4] to, int64[2] parts> {
    m = MatMul (x, w)  a, b = Split <axis = 2> (m, parts)  t = Transpose <perm = [0,2,1]> (a)  y = Identity (t)
    k = Neg (m)  z = Reshape (k, to) }"""


UNREAD = f"""{HEAD}(float[2,8,9,9] m) {FIRST}
    p = Conv {ONE} (x, a)  n = Neg (x)  c = Concat <axis = 1> (p, x)  m = Neg (n) }}"""
INTEGERS = """<ir_version: 10, opset_import: ["": 20]> net (int64[2,5,3,8] x, float[2,3,8,6] k) => (float[2,3,5,6] y) {
    f = Cast <to = 1> (x)  t = Transpose <perm = [0,2,1,3]> (f)  y = MatMul (t, k) }"""


def model(text):
    proto, rng = onnx.parser.parse_model(text), np.random.default_rng(0)
    fixed = {"to": np.array([2, 2, 3, 8]), "parts": np.array([4, 4])}
    shapes = {"a": (8, 8, 1, 1), "b": (8, 8, 3, 3), "w": (8, 8)}
    for value in proto.graph.value_info:
        made = fixed[value.name] if value.name in fixed else rng.normal(size=shapes[value.name]).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(made, value.name))
    del proto.graph.value_info[:]
    return proto


writer = prefer("joined", "generated", "winograd", "product", "batched", "torch")
"""A picker that takes the tactics that write where they are told."""


def assert_equal(engine, proto):
    feeds = {
        n: np.random.default_rng(1).normal(size=s.shape, scale=9).astype(s.dtype) for n, s in engine.inputs.items()
    }
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    want = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
    context = engine.create_execution_context()
    for got in (context.run(feeds), context.run(feeds)):  # the second finds the arena as the first left it
        for name, value in got.items():
            np.testing.assert_allclose(value, want[name], rtol=0, atol=2e-5 * np.abs(want[name]).max())


@pytest.mark.parametrize(
    "text", [FIRE, READ_TWICE, OUTPUT, NESTED, VIEWS, INTEGERS], ids="fire twice output nested views integers".split()
)
@pytest.mark.parametrize("pick", [None, writer], ids=["fastest", "in place"])
def test_results_are_those_of_onnx_runtime_with_and_without_numba(text, pick, monkeypatch):
    proto = model(text)
    engine = glassbox.build(proto, pick=pick) if pick else glassbox.build(proto)
    assert_equal(engine, proto)
    monkeypatch.setattr(epilogues, "has_numba", lambda: False)  # other tactics, which bring their own memory
    assert_equal(Engine(engine.plan), proto)


def test_parts_of_a_concatenation_lie_in_it():
    pytest.importorskip("numba")
    tensors = glassbox.build(model(FIRE), pick=writer).plan.tensors
    p, q, c = (tensors[name] for name in "pqc")
    assert (p.offset, q.offset) == (c.offset, c.offset + 8 * 4)
    assert p.strides == q.strides == c.strides == (16 * 81, 1, 16 * 9, 16)


def test_a_concatenation_that_nobody_reads_writes_over_nothing():
    """Its memory lives from its first part to its own making, though no reader comes after."""
    proto = model(UNREAD)
    assert_equal(glassbox.build(proto, rules=[], pick=writer), proto)


def test_what_is_read_twice_or_handed_out_is_made_elsewhere():
    for text in (READ_TWICE, OUTPUT):
        tensors = glassbox.build(model(text), pick=writer).plan.tensors
        assert tensors["p"].strides[-1] == 8, text


def test_views_are_no_kernels_and_keep_what_they_show_alive():
    plan = glassbox.build(model(VIEWS), pick=writer).plan
    tactics = {step.attributes.get("operator"): step.tactic for step in plan.steps}
    assert {tactics[name] for name in ("Split", "Transpose", "Reshape")} == {"view"}
    assert plan.tensors["z"].offset == plan.tensors["k"].offset


@pytest.mark.parametrize("name", ["transformer", "digits"])
def test_no_step_writes_over_what_is_read_later(name):
    """By what the plan says alone: the bytes between a tensor's first and last, from its making to its last reading,
    meet those of another only where one is a part of the other."""
    plan = glassbox.build(export_onnx(name), pick=writer).plan
    placed = {n: t for n, t in plan.tensors.items() if t.offset is not None}
    made = {n: number for number, step in enumerate(plan.steps) for n in step.outputs}
    read = {n: number for number, step in enumerate(plan.steps) for n in step.inputs}
    read |= dict.fromkeys(plan.outputs, len(plan.steps))
    alias = {n for step in plan.steps if step.tactic == "view" for n in step.outputs}
    sizes = {n: t.span_bytes for n, t in placed.items()}
    offsets = {n: t.offset for n, t in placed.items()}
    buffers = [Buffer(name=n, size_bytes=sizes[n], start=made[n], stop=read.get(n, made[n]) + 1)
               for n in placed if n not in alias]  # fmt: skip
    assert find_overlap(buffers, offsets) is None
    for view in alias:  # what a view shows is not made anew before the view is read
        for later in (b.name for b in buffers if made[view] < b.start <= read.get(view, 0)):
            both = [Buffer(name=n, size_bytes=sizes[n], start=0, stop=1) for n in (view, later)]
            assert find_overlap(both, offsets) is None
