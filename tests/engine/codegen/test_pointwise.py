"""engine/codegen/pointwise and pooling: generated kernels against torch."""

import itertools

import pytest
import torch

from tests.engine.codegen.expressions import LAYOUTS, NAMES, PROGRAM, RESULTS, case, drawn
from trtlab.engine.codegen import pointwise, pooling
from trtlab.engine.glassbox.kernels import generated


@pytest.mark.parametrize("name", NAMES)
def test_every_expression_equals_torch(name):
    inputs, program, want = case(name)
    out = torch.empty_like(want)
    generated(program, [len(inputs)])(*inputs, out)
    torch.testing.assert_close(out, want, rtol=2e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("shapes", LAYOUTS, ids=str)
@pytest.mark.parametrize("nhwc", [False, True])
def test_any_broadcast_and_layout_is_one_pass(shapes, nhwc):
    inputs, want = drawn(shapes, nhwc)
    outs = [torch.empty_like(w) for w in want]
    generated(PROGRAM, RESULTS)(*inputs, *outs)
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
    generated([["Relu", [0], {}]], [1])(x, out)
    assert torch.equal(out, torch.relu(x))
    with pytest.raises(ValueError, match=r"shape \(4, 3\) does not go into \(4, 1\)"):
        generated([["Relu", [0], {}]], [1])(x, torch.empty(4, 1))


@pytest.mark.parametrize(("window", "stride", "pad"), [*itertools.product([2, 3, (3, 2)], [1, 2], [0, 1])])
def test_generated_max_pooling_equals_torch(window, stride, pad):
    window = window if isinstance(window, tuple) else (window, window)
    x = torch.randn(2, 5, 9, 8).contiguous(memory_format=torch.channels_last)
    x[0, 0, 3, 3] = float("nan")
    want = torch.nn.functional.max_pool2d(x, window, stride, pad)
    out = torch.empty_like(want)
    pooling.generated(window, (stride, stride), (pad, pad))(x, out)
    torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)
