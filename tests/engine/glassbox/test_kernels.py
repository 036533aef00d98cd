"""engine/glassbox: generated kernels against torch, placements against the overlap check, the picker on a clock."""

import itertools
import random
import time

import numpy as np
import pytest
import torch

from trtlab.engine.glassbox import memory, pointwise, pooling
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.tactics import fastest

NAMES = [n for n, o in pointwise.POINTWISE.items() if o.text]
TWO = {"Add", "Div", "Mul", "PRelu", "Sub"}


@pytest.mark.parametrize("name", NAMES)
def test_every_expression_equals_torch(name):
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 1.0, 7.5, float("nan"), float("inf"), -float("inf")])
    inputs = [x, x.flip(0)][: 2 if name in TWO else 1]
    program = [[name, list(range(len(inputs))), {}]]
    (want,) = pointwise.run_with_torch(program, [len(inputs)], inputs)
    out = torch.empty_like(x)
    pointwise.generated(program, [len(inputs)])(*inputs, out)
    torch.testing.assert_close(out, want, rtol=2e-6, atol=1e-6, equal_nan=True)


LAYOUTS = [
    [(4, 5, 6, 7)] * 3,
    [(4, 5, 6, 7), (5, 1, 1), (1,)],
    [(4, 5, 6, 7), (7,), (6, 1)],
    [(4, 5, 6, 7), (1, 5, 1, 7), ()],
    [(1, 1), (1, 1), (1,)],
    [(3, 1, 8), (1, 5, 8), (3, 5, 1)],
]


@pytest.mark.parametrize("shapes", LAYOUTS, ids=str)
@pytest.mark.parametrize("nhwc", [False, True])
def test_any_broadcast_and_layout_is_one_pass(shapes, nhwc):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(s, generator=generator) for s in shapes]
    if nhwc:
        inputs = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
    program = [["Mul", [0, 1], {}], ["Add", [3, 2], {}], ["LeakyRelu", [4], {"alpha": 0.5}], ["Sub", [5, 3], {}]]
    want = pointwise.run_with_torch(program, [6, 4], inputs)
    outs = [torch.empty_like(w) for w in want]
    pointwise.generated(program, [6, 4])(*inputs, *outs)
    for out, expected in zip(outs, want, strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


def test_the_source_has_one_load_for_each_input_and_one_store():
    text = pointwise.source([["Mul", [0, 1], {}], ["Add", [3, 2], {}], ["Relu", [4], {}]], [5], [[1], [1], [1]])
    body = text.split("for i in range(n0):")[1]
    assert [body.count(f"a{i}[i]") for i in range(3)] == [1, 1, 1]
    assert body.count("[i] =") == 1
    assert "r3 = r0 * r1" in body


def test_where_no_dense_pass_fits_torch_computes():
    x, out = torch.arange(24.0).reshape(4, 6)[:, ::2] - 9, torch.empty(4, 3)
    pointwise.generated([["Relu", [0], {}]], [1])(x, out)
    assert torch.equal(out, torch.relu(x))
    with pytest.raises(ValueError, match=r"shape \(4, 3\) does not go into \(4, 1\)"):
        pointwise.generated([["Relu", [0], {}]], [1])(x, torch.empty(4, 1))


@pytest.mark.parametrize(("window", "stride", "pad"), [*itertools.product([2, 3, (3, 2)], [1, 2], [0, 1])])
def test_generated_max_pooling_equals_torch(window, stride, pad):
    window = window if isinstance(window, tuple) else (window, window)
    x = torch.randn(2, 5, 9, 8).contiguous(memory_format=torch.channels_last)
    x[0, 0, 3, 3] = float("nan")
    want = torch.nn.functional.max_pool2d(x, window, stride, pad)
    out = torch.empty_like(want)
    pooling.generated(window, (stride, stride), (pad, pad))(x, out)
    torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)


def test_no_placement_overlaps_and_memory_is_used_again():
    rng = random.Random(0)
    for _ in range(50):
        buffers = {}
        for number in range(rng.randrange(1, 40)):
            start = rng.randrange(30)
            buffers[str(number)] = (rng.randrange(1, 5000), start, start + rng.randrange(1, 10))
        offsets, peak = memory.place(buffers)
        assert memory.find_overlap(buffers, offsets) is None
        assert max(offsets[n] + buffers[n][0] for n in buffers) == peak
    assert memory.place({"a": (64, 0, 1), "b": (64, 1, 2)})[1] == 64
    assert memory.find_overlap({"a": (64, 0, 2), "b": (64, 1, 2)}, {"a": 0, "b": 63}) == ("a", "b")


def test_the_picker_takes_the_smallest_time():
    name, time_us = fastest({"slow": lambda: time.sleep(0.003), "fast": lambda: None}, Device("cpu").timer)
    assert name == "fast"
    assert time_us < 3000
    assert np.isfinite(time_us)
