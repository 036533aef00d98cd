"""engine/glassbox/plan: what is no plan, or damaged, or of another time or device, is refused; 1,000 mutations."""

import dataclasses
import hashlib
import json
import random

import numpy as np
import pytest
import torch

from tests.engine.glassbox.referee import model
from trtlab.engine import glassbox
from trtlab.engine.glassbox import runtime
from trtlab.engine.glassbox.errors import DeviceError, GlassboxError, PlanError
from trtlab.engine.glassbox.plan import HEAD, MAGIC, bytes_from_plan, plan_from_bytes
from trtlab.graph.models import TEACHING_MODELS
from trtlab.plan.tactics import prefer

POOLED = """(float[1,8,9,9] x) => (float[1,8,4,4] y) <float[8,8,3,3] w, float[8] b> {
    c = Conv <pads = [1,1,1,1]> (x, w, b)  a = Add (c, x)  r = Relu (a)  m = Mul (r, r)  s = Add (m, x)
    y = MaxPool <kernel_shape = [3,3], strides = [2,2]> (s) }"""
"""A convolution with a branch, a pointwise program, a pooling: what the teaching models lack."""


@pytest.fixture(scope="module")
def engine():
    return glassbox.build(TEACHING_MODELS["attention"]())


@pytest.fixture(scope="module")
def data(engine):
    return bytes_from_plan(engine.plan)


def opened(data):
    return runtime.Engine(plan_from_bytes(data))


def changed(data, change):
    """The file with another manifest, its checksum made right again."""
    _, size, _ = HEAD.unpack_from(data)
    values = json.loads(data[HEAD.size : HEAD.size + size])
    start = HEAD.size + size
    blob = data[start + -start % 64 :]
    values = change(values) or values
    text = json.dumps(values).encode()
    head = HEAD.pack(MAGIC, len(text), hashlib.sha256(text).digest())
    return head + text + bytes(-(len(head) + len(text)) % 64) + blob


def test_saving_again_gives_the_same_bytes_and_a_failed_save_leaves_the_old_file(engine, data, tmp_path, monkeypatch):
    path = tmp_path / "a"
    engine.save(path)
    assert path.read_bytes() == data
    assert bytes_from_plan(glassbox.load(path).plan) == data
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        engine.save(path)
    assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda _: b"", "This is no plan of the glass box: it does not start with"),
        (lambda _: b"ONNX" * 100, "This is no plan"),
        (lambda d: d[:-1], "its weights are not what was written"),
        (lambda d: d + b"\0", "its weights are not what was written"),
        (lambda d: d[:100], "its manifest is not what was written"),
        (lambda d: changed(d, lambda v: v | {"format": 1}), "The plan has format 1, this engine reads 3"),
        (lambda d: changed(d, lambda _: [1]), "The plan has format None"),
        (lambda d: changed(d, lambda v: v | {"steps": 3}), "3 is not a tuple"),
        (
            lambda d: changed(d, lambda v: next(iter(v["weights"].values())).update(dtype="int5")),
            "'int5' is not one of",
        ),
        (lambda d: changed(d, lambda v: v["tensors"].clear()), "does not describe"),
        (lambda d: changed(d, lambda v: v["steps"][0].update(kernel="magic")), "No kernel is called 'magic'"),
        (lambda d: changed(d, lambda v: v["steps"].reverse()), "which nothing makes"),
        (lambda d: changed(d, lambda v: v["steps"].pop() and None), "Nothing makes the output"),
    ],
)
def test_what_is_no_good_plan_is_refused(data, bad, message):
    with pytest.raises(PlanError, match=message):
        opened(bad(data))


def test_a_missing_file_another_device_and_an_old_torch_are_told(engine, tmp_path, monkeypatch):
    with pytest.raises(PlanError, match="The plan none cannot be read: No such file"):
        glassbox.load(tmp_path / "none")
    with pytest.raises(DeviceError, match="There is no device 'tpu'"):
        runtime.Engine(dataclasses.replace(engine.plan, device="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
            runtime.Engine(dataclasses.replace(engine.plan, device="cuda"))
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(DeviceError, match=r"needs torch >= 2\.11, this is 2\.9\.1"):
        runtime.Engine(engine.plan)


def test_a_thousand_damaged_files_are_all_refused(data):
    """Bits flipped, bytes cut out, put in, swapped: the checksums see each."""
    rng = random.Random(0)
    for number in range(1000):
        bad = bytearray(data)
        at, kind = rng.randrange(len(bad)), number % 5
        if kind == 0:
            bad[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del bad[at : at + rng.randrange(1, 64)]
        elif kind == 2:
            bad[at:at] = rng.randbytes(rng.randrange(1, 64))
        elif kind == 3:
            bad = bad[:at]
        else:
            bad[at : at + 16] = rng.randbytes(len(bad[at : at + 16]))
        if bytes(bad) != data:
            with pytest.raises(PlanError):
                plan_from_bytes(bytes(bad))


VALUES = [
    None, -1, 0, 1, 3, 2**31, 2**62, 1.5, float("nan"), "", "x", "y", "float16", [], {}, [0], [[]], True, [2**40],
    [-1, -1],
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape", "tactic"),
    [
        ("attention", (1, 8, 16), "torch"), ("attention", (1, 8, 16), "onednn"),
        ("pooled", (1, 8, 9, 9), "onednn"), ("pooled", (1, 8, 9, 9), "generated"),
    ],
)  # fmt: skip
def test_false_manifests_end_in_an_answer_or_a_typed_error(name, shape, tactic):
    """The checksum is right, the manifest is not: no crash, no other error."""
    proto = model(POOLED) if name == "pooled" else TEACHING_MODELS[name]()
    data = bytes_from_plan(glassbox.build(proto, pick=prefer(tactic, "torch")).plan)
    rng, feeds = random.Random(1), {"x": np.ones(shape, np.float32)}
    answers, rounds = 0, 300
    for _ in range(rounds):
        bad = changed(data, lambda values: mutate(values, rng))
        try:
            outputs = opened(bad).create_execution_context().run(feeds)
            answers += all(isinstance(a, np.ndarray) for a in outputs.values())
        except GlassboxError:
            continue
    assert 0 < answers < rounds / 2  # names and times may change, and little else


def mutate(values, rng):
    """One value somewhere in the manifest becomes another."""
    node = values
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.9:
            node = node[key]
        else:
            node[key] = rng.choice(VALUES)
            return
