"""engine/codegen/rows: Softmax and LayerNormalization against float64, whatever the width, layout and numbers."""

import math

import pytest
import torch

from trtlab.engine.codegen import rows

WIDTHS = [1, 3, 16, 77, 128, 1000]


@pytest.mark.parametrize("n", WIDTHS)
def test_softmax_equals_float64(n):
    torch.manual_seed(0)
    x, out = 30 * torch.randn(3, 5, n), torch.full((3, 5, n), 7.0)
    assert rows.softmax(x, out) is out
    torch.testing.assert_close(out.double(), torch.softmax(x.double(), -1), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("n", WIDTHS)
def test_layer_normalization_equals_float64(n):
    torch.manual_seed(0)
    x, out, scale, shift = 3 + 2 * torch.randn(4, n), torch.full((4, n), 7.0), torch.randn(n), torch.randn(n)
    rows.layer_norm(x, scale.numpy(), shift.numpy(), 1e-5, out)
    want = torch.layer_norm(x.double(), (n,), scale.double(), shift.double(), 1e-5)
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5)


def test_masked_overflowing_and_missing_numbers_are_as_in_torch():
    inf, nan = math.inf, math.nan
    x = torch.tensor([[0.0, -inf, 1], [-inf, -inf, -inf], [1, nan, 2], [3e38, -3e38, 0], [inf, 0, 0], [-5, -7, -6]])
    out = torch.empty_like(x)
    rows.softmax(x, out)
    torch.testing.assert_close(out, torch.softmax(x, -1), equal_nan=True)


def test_rows_that_do_not_lie_in_order_are_copied():
    x, wide = torch.randn(6, 4).t(), torch.full((4, 8), 7.0)
    rows.softmax(x, wide[:, 1:7])
    torch.testing.assert_close(wide[:, 1:7], torch.softmax(x, -1))
    assert (wide[:, [0, 7]] == 7).all()


# --- attention

SIZES = [(1, 1, 1, 1, 1, 1), (2, 3, 5, 7, 9, 11), (1, 2, 3, 200, 64, 128), (2, 2, 130, 70, 33, 50)]


def heads(b, h, rows, columns, *, device="cpu", dtype=torch.float32):
    """[B, H, rows, columns] as a network makes it: heads side by side in a row of a token."""
    return torch.randn(b, rows, h, columns, device=device, dtype=dtype).transpose(1, 2)


def exactly(q, k, v, scale):
    return torch.softmax(q.double() @ k.double() * scale, -1) @ v.double()


@pytest.mark.parametrize(("b", "h", "m", "n", "d", "e"), SIZES)
def test_attention_equals_float64(b, h, m, n, d, e):
    torch.manual_seed(0)
    q, k, v, y = heads(b, h, m, d), heads(b, h, n, d).mT, heads(b, h, n, e), heads(b, h, m, e)
    assert rows.attention(n, e, 0.3)(q, k, v, y) is y
    torch.testing.assert_close(y.double(), exactly(q, k, v, 0.3), rtol=1e-5, atol=1e-5)
    room = torch.full((4 * rows.panels_size(d, n, e),), 255, dtype=torch.uint8)
    again = rows.attention(n, e, 0.3)(q, k.contiguous(), v, torch.zeros_like(y), room)
    torch.testing.assert_close(again, y)


def test_large_scores_stay_finite_and_missing_ones_spread():
    q, k, v = heads(1, 1, 4, 8), heads(1, 1, 16, 8).mT, heads(1, 1, 16, 8)
    q[0, 0, 0], q[0, 0, 1, 2] = 1e3, math.nan
    y = rows.attention(16, 8, 5.0)(q, k, v, torch.zeros_like(q))
    torch.testing.assert_close(y.double(), exactly(q, k, v, 5.0), rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("b", "h", "m", "n", "d", "e"), SIZES)
def test_triton_equals_float64(b, h, m, n, d, e, dtype):
    torch.manual_seed(0)
    there = {"device": "cuda", "dtype": dtype}
    q, k, v = heads(b, h, m, d, **there), heads(b, h, n, d, **there).mT, heads(b, h, n, e, **there)
    y = rows.attention_by_triton(0.3)(q, k, v, heads(b, h, m, e, **there))
    bound = 1e-5 if dtype == torch.float32 else 2e-3 if dtype == torch.float16 else 2e-2
    torch.testing.assert_close(y.double(), exactly(q, k, v, 0.3), rtol=bound, atol=bound)
