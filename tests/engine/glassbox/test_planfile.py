"""engine/glassbox/plan: what is no plan, or damaged, or of another time or device, is refused; 1,000 mutations."""

import contextlib
import dataclasses
import hashlib
import json
import random

import numpy as np
import pytest
import torch

from tests.engine.glassbox.referee import model
from trtlab.engine import glassbox
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
    return glassbox.Engine(plan_from_bytes(data))


def changed(data, change):
    """The file with another manifest, its checksum made right again."""
    _, size, _, weights = HEAD.unpack_from(data)
    values = json.loads(data[HEAD.size : HEAD.size + size])
    text = json.dumps(change(values) or values).encode()
    text += b" " * (-(HEAD.size + len(text)) % 64)
    return HEAD.pack(MAGIC, len(text), hashlib.sha256(text).digest(), weights) + text + data[HEAD.size + size :]


def test_saving_again_gives_the_same_bytes_and_a_failed_save_leaves_the_old_file(engine, data, tmp_path, monkeypatch):
    path = tmp_path / "a"
    engine.save(path)
    assert path.read_bytes() == data
    assert bytes_from_plan(glassbox.load(path).plan) == data
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        engine.save(path)
    assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def edited(change):
    return lambda data: changed(data, change)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda _: b"ONNX" * 100, "This is no plan of the glass box: it does not start with"),
        (lambda d: d[:-1], "its weights are not what was written. Build"),
        (lambda d: d[:200], "its manifest is not what was written. Build"),
        (edited(lambda v: v | {"format": 1}), "The plan has format 1, this engine reads 4"),
        (edited(lambda _: [1]), "manifest does not make sense: TypeError"),
        (edited(lambda v: v | {"steps": 3}), "3 is not a tuple"),
        (edited(lambda v: next(iter(v["weights"].values())).update(dtype="int5")), "'int5' is not one of"),
        (edited(lambda v: v["tensors"].clear()), "nothing makes or describes"),
        (edited(lambda v: v["steps"][0].update(kernel="magic")), "Kernel .* does not make sense: KeyError: 'magic'"),
        (edited(lambda v: v["steps"].reverse()), "which nothing makes"),
        (edited(lambda v: v["steps"].append(v["steps"][-1])), "which is there already"),
        (edited(lambda v: v["steps"].pop() and None), "nothing makes or describes"),
        (edited(lambda v: v | {"arena_bytes": 1}), "does not fit into the arena of 1 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_good_plan_is_refused(data, bad, message):
    with pytest.raises(PlanError, match=message):
        opened(bad(data))


def test_a_missing_file_and_another_device_are_told(engine, tmp_path):
    with pytest.raises(PlanError, match="The plan none cannot be read: No such file"):
        glassbox.load(tmp_path / "none")
    for name, said in {"tpu": "There is no device 'tpu'", "cuda": "needs an NVIDIA GPU"}.items():
        if name == "tpu" or not torch.cuda.is_available():
            with pytest.raises(DeviceError, match=said):
                glassbox.Engine(dataclasses.replace(engine.plan, device=name))


def test_a_thousand_damaged_files_are_all_refused(data):
    """Bits flipped, bytes cut out, put in, swapped: the checksums see each."""
    rng = random.Random(0)
    for number in range(1000):
        at, some = rng.randrange(len(data)), rng.randbytes(rng.randrange(1, 64))
        flipped = bytes([data[at] ^ 1 << rng.randrange(8)])
        middle, skipped = [(flipped, 1), (b"", len(some)), (some, 0), (b"", len(data)), (some, len(some))][number % 5]
        bad = data[:at] + middle + data[at + skipped :]
        if bad != data:
            with pytest.raises(PlanError):
                plan_from_bytes(bad)


VALUES = [
    None, -1, 0, 1, 3, 2**31, 2**62, 1.5, float("nan"), "", "x", "y", "float16", [], {}, [0], [[]], True, [2**40],
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tactic"),
    [("attention", "torch"), ("attention", "onednn"), ("pooled", "onednn"), ("pooled", "generated")],
)
def test_false_manifests_end_in_an_answer_or_a_typed_error(name, tactic):
    """The checksum is right, the manifest is not: no crash, no other error."""
    built = glassbox.build(model(POOLED) if name == "pooled" else TEACHING_MODELS[name](), pick=prefer(tactic, "torch"))
    data, feeds = bytes_from_plan(built.plan), {"x": np.ones(built.inputs["x"].shape, np.float32)}
    rng, answers, rounds = random.Random(1), 0, 300
    for _ in range(rounds):
        bad = changed(data, lambda values: mutate(values, rng))
        with contextlib.suppress(GlassboxError):
            outputs = opened(bad).create_execution_context().run(feeds)
            answers += all(isinstance(a, np.ndarray) for a in outputs.values())
    assert 0 < answers < rounds / 2  # names and times may change, and little else


def mutate(values, rng):
    """One value somewhere in the manifest becomes another."""
    key = rng.choice([*values] if isinstance(values, dict) else range(len(values)))
    if isinstance(values[key], dict | list) and values[key] and rng.random() < 0.9:
        mutate(values[key], rng)
    else:
        values[key] = rng.choice(VALUES)
