"""engine/codegen/images: Winograd against a convolution in float64, maxima against torch: borders, NaN, refusals."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from tests.engine.codegen.triton_on_numpy import run_on_numpy
from trtlab.engine.codegen import images
from trtlab.engine.codegen.pointwise import flat

RELU = "v = f(0) if f(0) > v else v"
SIDE_BY_SIDE = {"memory_format": torch.channels_last}
CASES = [
    # images, channels, results, height, width, pads
    (1, 1, 1, 3, 3, [(0, 0), (0, 0)]),
    (1, 3, 5, 4, 4, [(1, 1), (1, 1)]),
    (2, 7, 3, 9, 6, [(1, 1), (1, 1)]),
    (1, 65, 17, 5, 11, [(0, 2), (1, 0)]),
    (3, 16, 70, 6, 6, [(2, 2), (2, 2)]),
    (1, 8, 8, 33, 29, [(1, 1), (1, 1)]),  # 72 tiles: more than one block
]


def exact(x, w, b, pads):
    (top, bottom), (left, right) = pads
    return F.conv2d(F.pad(x.double(), (left, right, top, bottom)), w.double(), b.double())


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("adds", [False, True])
def test_convolution_bias_branch_and_activation_equal_float64(case, adds):
    count, depth, n, h, w, pads = case
    torch.manual_seed(0)
    x, weights, b = torch.randn(count, depth, h, w), torch.randn(n, depth, 3, 3), torch.randn(n)
    want = exact(x, weights, b, pads)
    z = torch.randn(want.shape).contiguous(**SIDE_BY_SIDE)
    wider = torch.full((count, n + 3, *want.shape[2:]), 7.0).contiguous(**SIDE_BY_SIDE)
    out = wider[:, 1 : 1 + n]  # a part of a concatenation
    images.winograd(weights, b.numpy(), ["v = v + u"] * adds + [RELU], pads, adds=adds)(x, *[z] * adds, out)
    want = torch.relu(want + z if adds else want)
    torch.testing.assert_close(out.double(), want, rtol=0, atol=2e-5 * want.abs().max().item())
    assert (wider[:, 0] == 7).all()
    assert (wider[:, 1 + n :] == 7).all()


def test_the_three_matrices_convolve_exactly():
    """In one dimension: A ((G g) * (B d)) are the 4 sums of 3 products, in fractions."""
    d, g = [Fraction(v) for v in (3, -1, 4, 1, -5, 9)], [Fraction(v) for v in (2, 7, -1)]
    product = [
        sum(x * y for x, y in zip(row, g, strict=True)) * sum(x * y for x, y in zip(line, d, strict=True))
        for row, line in zip(images.G24, images.B, strict=True)
    ]
    got = [sum(x * y for x, y in zip(row, product, strict=True)) for row in images.A]
    assert got == [24 * sum(g[k] * d[i + k] for k in range(3)) for i in range(4)]


def test_nan_stays_within_its_tiles():
    x = torch.ones(1, 2, 12, 12)
    x[0, 1, 5, 5] = float("nan")  # in the tile of rows and columns 4 to 7, and in the border of no other
    out = torch.empty(1, 1, 12, 12).contiguous(**SIDE_BY_SIDE)
    images.winograd(torch.ones(1, 2, 3, 3), torch.zeros(1).numpy(), [], [(1, 1), (1, 1)], adds=False)(x, out)
    lost = torch.isnan(out[0, 0])
    assert lost[4:7, 4:7].all()  # where the true result is NaN
    lost[4:8, 4:8] = False
    assert not lost.any()


@pytest.mark.parametrize("depth", [2, 3])
def test_what_does_not_fit_is_refused(depth):
    run = images.winograd(torch.ones(2, 2, 3, 3), torch.zeros(2).numpy(), [], [(1, 1), (1, 1)], adds=False)
    fits = torch.ones(1, 2, 4, 4)
    for out in (torch.ones(1, 2, 4, 5), fits.double(), torch.ones(2, 2, 4, 4), *[fits] * (depth - 2)):
        with pytest.raises(ValueError, match="in float32, NHWC"):
            run(torch.ones(1, depth, 4, 4), out.contiguous(**SIDE_BY_SIDE))


@pytest.mark.parametrize(("window", "stride", "pad"), [*itertools.product([2, 3, (3, 2)], [1, 2], [0, 1])])
def test_generated_max_pooling_equals_torch(window, stride, pad):
    window = window if isinstance(window, tuple) else (window, window)
    x = torch.randn(2, 5, 9, 8).contiguous(**SIDE_BY_SIDE)
    x[0, 0, 3, 3] = float("nan")
    want = F.max_pool2d(x, window, stride, pad)
    out = torch.empty_like(want)
    images.max_pool(window, (stride, stride), (pad, pad))(x, out)
    torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)
    text = images.triton_maxima(window, (stride, stride), (pad, pad), x.shape[1:], out.shape[2:])
    run_on_numpy(text, [flat(x)], [flat(out.fill_(0))], block=16)
    torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)
