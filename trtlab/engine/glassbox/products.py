"""engine/glassbox/products: the tactics of a matrix product of any two operands; the second is often a weight.

In: a `Call`. Out: `MATMUL`, tactic by tactic. The trial times them.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from trtlab.engine.codegen import product
from trtlab.engine.glassbox.epilogues import (
    check_rows,
    ending,
    finished,
    fits_epilogue,
    fits_generated,
    fits_onednn,
    multiply,
    same_shape,
    weights_of,
    with_epilogue,
    words,
)
from trtlab.engine.glassbox.kernels import FLOATS, Call, Kernel, Tactic, with_weights

# a product with a constant matrix [K, N]


def _is_linear(call: Call) -> bool:
    """Rows of known size times a matrix of the plan."""
    rows, w = call.shapes[0], call.weight(1)
    if call.free != [0] or w is None or w.ndim != 2 or rows is None or len(rows) < 2 or not call.result_shape:
        return False
    return call.dtype in FLOATS and 0 not in (*rows, *w.shape)


def _columns(call: Call) -> tuple[int, ...]:
    return (weights_of(call).shape[1],)


def _addmm(call: Call) -> Kernel:
    w, (b, rest) = weights_of(call).contiguous(), call.epilogue.split_bias(_columns(call))

    def run(x: Tensor, out: Tensor) -> Tensor:
        multiply(x.reshape(-1, x.shape[-1]), w, b, out.view(-1, w.shape[1]))
        return out

    return finished(run, call, rest)


def _with_onednn(call: Call) -> Kernel:
    w, shape, ends = weights_of(call), call.shapes[0] or (1,), words(call, _columns(call))
    if ends is None:
        raise ValueError("oneDNN has no words for this epilogue")
    packed = torch.ops.mkldnn._reorder_linear_weight(w.t().contiguous(), max(1, math.prod(shape[:-1])))
    b = ends.bias
    if ends.adds:
        binary, width = torch.ops.mkldnn._linear_pointwise.binary, w.shape[1]
        check = same_shape(lambda shape: (*shape[:-1], width))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return binary(x, other, packed, b, "add")

        return add
    single, name, values, algorithm = (
        torch.ops.mkldnn._linear_pointwise.default, ends.name, [*ends.values], ends.algorithm,
    )  # fmt: skip
    return lambda x: single(x, packed, b, name, values, algorithm)


def _fits_onednn(call: Call) -> bool:
    """Behind an added branch, which must lie dense, no activation."""
    if not _is_linear(call) or not fits_onednn(call, _columns(call)):
        return False
    ends = words(call, _columns(call))
    return ends is not None and (not ends.adds or ends.name == "none")


# any other product


def _matmul(call: Call) -> Kernel:
    return finished(with_weights(torch.matmul, call), call)


def _is_batched(call: Call) -> bool:
    a, b = call.shapes[:2]
    return a is not None and b is not None and len(a) > 2 and a[:-2] == b[:-2]


def _batched(call: Call) -> Kernel:
    """One call for all matrices, a constant factor included, written where the result belongs."""
    chain, others, scale = call.epilogue.chain, call.epilogue.others, 1.0
    factor = len(chain) == 1 and chain[0][0] == "Mul" and sorted(chain[0][1]) == [0, 1] and others[0]
    rest = call.epilogue
    if isinstance(factor, Tensor) and factor.numel() == 1:
        scale, rest = factor.item(), replace(rest, chain=())

    def run(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        result = out.view(-1, *out.shape[-2:])
        left, right = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
        check_rows(left.flatten(0, 1), result.flatten(0, 1))
        if scale == 1:
            torch.bmm(left, right, out=result)
        else:
            torch.baddbmm(result, left, right, beta=0, alpha=scale, out=result)
        return out

    return finished(with_weights(run, call), call, rest)


def _generated(call: Call) -> Kernel:
    """Our own product. Where the second operand is no weight, it is packed on every run."""
    width = (call.shapes[1] or (0,))[-1]
    bias, lines, adds = ending(call, (width,))
    if _is_linear(call):
        panels = product.packed(weights_of(call)[None])
        run = product.generated(lines, lambda t: t.flatten(0, -2)[None], width, adds=adds)
        return lambda x, *rest: run(panels, bias, x, *rest)
    rows = lambda t: t.flatten(0, -3)  # noqa: E731
    run = product.generated(lines, rows, width, adds=adds)
    return with_weights(lambda a, b, *rest: run(product.packed(rows(b)), bias, a, *rest), call)


def _fits_generated(call: Call) -> bool:
    known = _is_linear(call) or _is_batched(call)
    return known and fits_generated(call, ((call.shapes[1] or (0,))[-1],))


MATMUL: dict[str, Tactic] = {
    "torch": Tactic(bind=_matmul),
    "addmm": Tactic(bind=_addmm, fits=_is_linear, writes_out=True),
    "onednn": Tactic(bind=_with_onednn, fits=_fits_onednn),
    "batched": Tactic(bind=_batched, fits=_is_batched, writes_out=True),
    "generated": Tactic(bind=_generated, fits=_fits_generated, writes_out=True),
    "epilogue": Tactic(
        bind=with_epilogue(_addmm),
        fits=lambda c: c.device.name == "cuda" and _is_linear(c) and fits_epilogue(c),
        writes_out=True,
    ),
}
"""Tactics of a product. The first works wherever torch does."""
