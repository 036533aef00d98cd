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
