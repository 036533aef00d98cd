"""engine/codegen/product: the generated product against float64, whatever the sizes, strides and endings."""

import numpy as np
import pytest
import torch

from trtlab.engine.codegen import product

RELU = "v = f(0) if f(0) > v else v"  # as in pointwise: NaN stays NaN
SIZES = [
    (1, 1, 1, 1), (2, 5, 3, 7), (3, 6, 4, 16), (1, 7, 5, 17), (2, 13, 9, 33), (1, 25, 70, 48), (2, 3, 8, 65),
    (1, 24, 16, 129), (1, 1, 300, 100),
]  # fmt: skip


def columns_of(layout, batch, depth, n):
    if layout == "transposed":
        return torch.randn(batch, n, depth).transpose(1, 2)
    return torch.randn(batch, depth, 2 * n)[:, :, ::2] if layout == "every second" else torch.randn(batch, depth, n)


@pytest.mark.parametrize("layout", ["dense", "transposed", "every second"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("adds", [False, True])
def test_product_bias_branch_and_activation_equal_float64(size, layout, adds):
    batch, m, depth, n = size
    torch.manual_seed(0)
    x, columns, bias = torch.randn(batch, m, depth), columns_of(layout, batch, depth, n), torch.randn(n)
    z, around = torch.randn(batch, m, n), torch.full((batch, m, n + 5), 7.0)
    out = around[:, :, 2 : 2 + n]  # a part of something wider
    run = product.generated(["v = v + u"] * adds + [RELU], lambda t: t, bias.numpy(), adds=adds)
    run(product.packed(columns), x, *[z] * adds, out)
    want = torch.relu(x.double() @ columns.double() + bias + (z if adds else 0))
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5 * depth**0.5)
    assert (around[:, :, :2] == 7).all()
    assert (around[:, :, 2 + n :] == 7).all()


@pytest.mark.parametrize("size", [*SIZES, (1, 3, 8, 64), (2, 25, 5, 129)], ids=str)
def test_with_nothing_to_finish_a_tile_goes_into_the_result_and_not_behind_it(size):
    batch, m, depth, n = size
    torch.manual_seed(0)
    x, columns, bias = torch.randn(batch, m, depth), torch.randn(batch, depth, n), torch.randn(n)
    around = torch.full((batch, m + 24, n + 5), 7.0)
    out = around[:, :m, 2 : 2 + n]
    product.generated([], lambda t: t, bias.numpy())(product.packed(columns), x, out)
    want = x.double() @ columns.double() + bias
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5 * depth**0.5)
    out.fill_(7)
    assert (around == 7).all()


def test_nan_and_infinity_stay_in_their_row():
    x, columns = torch.ones(8, 3), torch.ones(3, 5)
    x[2, 1], x[7, 0] = float("nan"), float("inf")
    out = torch.empty(1, 8, 5)
    product.generated([RELU], lambda t: t, np.zeros(5, np.float32))(product.packed(columns[None]), x[None], out)
    torch.testing.assert_close(out[0], x @ columns, equal_nan=True)


@pytest.mark.parametrize(
    ("x", "columns", "out"),
    [
        ((1, 4, 3), (1, 2, 5), torch.ones(1, 4, 5)),
        ((1, 4, 3), (1, 3, 5), torch.ones(1, 3, 5)),
        ((1, 4, 3), (1, 3, 5), torch.ones(1, 4, 6)),
        ((2, 4, 3), (1, 3, 5), torch.ones(2, 4, 5)),
        ((1, 4, 3), (1, 3, 5), torch.ones(1, 4, 5, dtype=torch.float64)),
        ((1, 4, 3), (1, 3, 5), torch.ones(1, 5, 4).transpose(1, 2)),
    ],
)
def test_what_does_not_fit_is_refused_before_memory_is_touched(x, columns, out):
    run = product.generated([], lambda t: t, np.zeros(5, np.float32))
    with pytest.raises(ValueError, match=r"do not go into|not side by side"):
        run(product.packed(torch.ones(columns)), torch.ones(x), out)


def test_rows_that_would_be_a_copy_are_refused():
    x, columns, out = torch.ones(2, 5, 3, 4).transpose(1, 2), torch.ones(6, 4, 7), torch.ones(2, 3, 5, 7)
    with pytest.raises(ValueError, match="do not go into rows"):
        product.generated([], lambda t: t.flatten(0, -3), np.zeros(7, np.float32))(product.packed(columns), x, out)


@pytest.mark.parametrize("registers", [(8, 12), (16, 24)])
def test_vectors_of_another_machine_make_the_same(registers, monkeypatch):
    monkeypatch.setattr(product, "_registers", lambda: registers)
    product.panel_width.cache_clear()
    try:
        x, columns = torch.randn(1, 11, 6), torch.randn(1, 6, 37)
        tile = product.tile_of.__wrapped__
        monkeypatch.setattr(product, "tile_of", tile)
        out = torch.empty(1, 11, 37)
        product.generated([], lambda t: t, np.zeros(37, np.float32))(product.packed(columns), x, out)
        torch.testing.assert_close(out, x @ columns, rtol=1e-5, atol=1e-5)
    finally:
        product.panel_width.cache_clear()


@pytest.mark.parametrize(
    ("lanes", "widths"),
    [(8, {1000: 24, 768: 24, 64: 16, 56: 16, 40: 24, 8: 8}), (16, {1000: 48, 208: 32, 80: 48, 64: 64, 16: 16})],
)
def test_a_panel_is_no_narrower_than_is_fast(lanes, widths, monkeypatch):
    """1000 columns are a whole number of panels of 8, at half the speed."""
    monkeypatch.setattr(product, "_registers", lambda: (lanes, 0))
    assert {n: product.panel_width.__wrapped__(n) for n in widths} == widths
