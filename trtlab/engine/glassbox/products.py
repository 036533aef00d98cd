"""engine/glassbox/products: the tactics of matrix products.

In: a `Call`. Out: `LINEAR` (x, constant weights [K, N], bias or none, other branch or none) and `MATMUL` (any two
operands, of which one may be constant).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trtlab.engine.codegen import product
from trtlab.engine.glassbox.finishing import (
    activation,
    check_rows,
    finished,
    fits_epilogue,
    fits_onednn,
    generates,
    generates_all,
    multiply,
    product_generated,
    same_shape,
    weights_of,
    with_epilogue,
)  # fmt: skip
from trtlab.engine.glassbox.kernels import Call, Kernel, Tactic, with_weights


def _linear_with_torch(call: Call) -> Kernel:
    w, b = weights_of(call), call.weight(2)
    columns, width = w.contiguous(), w.shape[1]

    def run(x: Tensor, out: Tensor) -> Tensor:
        rows, result = x.reshape(-1, x.shape[-1]), out.view(-1, width)
        multiply(rows, columns, b, result)
        return out

    return finished(run, call, adds=call.has(3))


def _linear_generated(call: Call) -> Kernel:
    return product_generated(call, weights_of(call), lambda t: t.flatten(0, -2))


def _linear_with_onednn(call: Call) -> Kernel:
    w, b = weights_of(call), call.weight(2)
    shape = call.shapes[0] or (1,)
    packed = torch.ops.mkldnn._reorder_linear_weight(w.t().contiguous(), max(1, _rows(shape)))
    name, values, algorithm = activation(call)
    if call.has(3):
        binary, width = torch.ops.mkldnn._linear_pointwise.binary, w.shape[1]
        check = same_shape(lambda shape: (*shape[:-1], width))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return binary(x, other, packed, b, "add")

        return add
    single = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: single(x, packed, b, name, values, algorithm)


def _fits_onednn_linear(call: Call) -> bool:
    """Behind an added branch, which must lie dense, no activation."""
    alone = not call.has(3) or not call.attributes.get("activation", "")
    return fits_onednn(call) and alone and call.shapes[0] is not None and call.shapes[0][-1] > 0


def _rows(shape: Sequence[int]) -> int:
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows


def _matmul(call: Call) -> Kernel:
    scale = call.attributes.get("scale", 1.0)
    return with_weights(torch.matmul if scale == 1 else lambda a, b: torch.matmul(a, b).mul_(scale), call)


def _batched(call: Call) -> Kernel:
    """One call for all matrices, the factor included, written where the result belongs."""
    scale = call.attributes.get("scale", 1.0)

    def run(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        result = out.view(-1, *out.shape[-2:])
        left, right = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
        check_rows(left.flatten(0, 1), result.flatten(0, 1))
        if scale == 1:
            torch.bmm(left, right, out=result)
        else:
            torch.baddbmm(result, left, right, beta=0, alpha=scale, out=result)
        return out

    return with_weights(run, call)


def _matmul_generated(call: Call) -> Kernel:
    """Our own product: the second operand is packed on every run."""
    rows, bias = lambda t: t.flatten(0, -3), np.zeros((call.shapes[1] or (0,))[-1], np.float32)
    run = product.generated(f"{{0}} * f({float(call.attributes.get('scale', 1.0))})", rows, len(bias))
    return with_weights(lambda a, b, out: run(product.packed(rows(b)), bias, a, out), call)


def _fits_batched(call: Call) -> bool:
    a, b = call.shapes[:2]
    return a is not None and b is not None and len(a) > 2 and a[:-2] == b[:-2]


LINEAR: dict[str, Tactic] = {
    "torch": Tactic(bind=_linear_with_torch, writes_out=True),
    "onednn": Tactic(bind=_linear_with_onednn, fits=_fits_onednn_linear),
    "generated": Tactic(bind=_linear_generated, fits=generates_all, writes_out=True),
    "epilogue": Tactic(bind=with_epilogue(_linear_with_torch), fits=fits_epilogue, writes_out=True),
}
"""Tactics of a product with a constant matrix."""
MATMUL: dict[str, Tactic] = {
    "torch": Tactic(bind=_matmul),
    "batched": Tactic(bind=_batched, fits=_fits_batched, writes_out=True),
    "generated": Tactic(bind=_matmul_generated, fits=lambda c: generates(c) and _fits_batched(c), writes_out=True),
}
"""Tactics of any other product."""
