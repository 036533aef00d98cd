"""engine/glassbox/products: the tactics of convolutions and matrix products.

In: a `Call` of x and weights (a convolution also has a bias if that is none of the plan's), or of any two matrices.
Out: `CONV` and `MATMUL`, tactic by tactic. The trial times them; codegen/ has those that we generate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.engine.codegen import images, product
from trtlab.engine.glassbox.kernels import (
    FLOATS,
    Call,
    Kernel,
    Tactic,
    ending,
    finished,
    fits_epilogue,
    library_ending,
    weights_of,
    with_epilogue,
    with_weights,
)
from trtlab.engine.glassbox.operators import CONVOLUTIONS, Window, check_naturals, conv, window

WINOGRAD = {"float32": 1e-4}
"""Its sums have factors up to 8 that cancel each other: some digits go."""


def _finishes_on_gpu(call: Call) -> bool:
    """Where a pass that is saved is worth one more kernel."""
    return call.device.name == "cuda" and fits_epilogue(call)


def multiply(rows: Tensor, columns: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """rows @ columns + bias into `result`; torch would give one of another size other memory."""
    if rows.shape[0] != result.shape[0]:
        raise ValueError(f"{rows.shape[0]} rows do not go into {result.shape[0]}")
    if bias is None:
        torch.mm(rows, columns, out=result)
    else:
        torch.addmm(bias, rows, columns, out=result)


# --- convolutions -----------------------------------------------------------------------------------------------------


def _is_known(call: Call) -> bool:
    """Weights from the plan for an image that is not, of known size: what every tactic but torch's first asks for."""
    known = call.free == [0] and len(call.operands) == 2 and call.shapes[0] is not None and call.result_shape
    return bool(known) and call.dtype != "float64"


def _is_image(call: Call) -> bool:
    """Two axes, the same zeros at both ends of each."""
    return _is_known(call) and weights_of(call).ndim == 4 and _conv_window(call)[0].padding is not None


def _is_product(call: Call) -> bool:
    """A 1x1 convolution is a matrix product over pixels; with strides, over some of them."""
    if not _is_known(call) or weights_of(call).shape[2:] != (1, 1):
        return False
    at, group = _conv_window(call)
    return group == 1 and at.padding == [0, 0]


def _conv_channels(call: Call) -> tuple[int, ...]:
    w = weights_of(call)
    return (w.shape[0], *[1] * (w.ndim - 2))


def _conv_window(call: Call) -> tuple[Window, int]:
    """(window, groups) for the image's size."""
    a = {name: value for name, value in call.attributes.items() if name != "group"}
    group = call.attributes.get("group", 1)
    check_naturals([group], least=1)
    return window((call.shapes[0] or ())[2:], weights_of(call).shape[2:], a), group


def _conv_with_torch(call: Call, layout: torch.memory_format = torch.channels_last) -> Kernel:
    """Any convolution."""
    if not _is_known(call) or _conv_window(call)[0].padding is None:
        return finished(with_weights(conv, call, attributes=call.attributes), call)
    w, (at, group), (b, rest) = weights_of(call), _conv_window(call), call.epilogue.split_bias(_conv_channels(call))
    w = w.contiguous(memory_format=layout) if w.ndim == 4 else w
    run, strides, padding, dilations = CONVOLUTIONS[w.ndim - 3], at.strides, at.padding, at.dilations
    return finished(lambda x: run(x, w, b, strides, padding, dilations, group), call, rest)


def _conv_in_planes(call: Call) -> Kernel:
    """The other layout, NCHW: one channel after the other."""
    kernel = _conv_with_torch(call, torch.contiguous_format)
    return lambda x, *rest: kernel(x.contiguous(), *rest)


def _runs_onednn(call: Call) -> bool:
    return call.device.has_onednn and call.dtype in ("float32", "bfloat16") and _is_image(call)


def _conv_with_onednn(call: Call) -> Kernel:
    """oneDNN with packed weights; bias and Relu while the numbers are in registers. It adds to what lies where the
    result belongs, zeros or the other branch, and reads that without looking at its size."""
    w, (at, group) = weights_of(call), _conv_window(call)
    bias, adds, relu = library_ending(call, _conv_channels(call)) or (None, False, False)
    how, shapes = (at.padding, at.strides, at.dilations, group), (call.shapes[0], (len(w), *at.counts))
    packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(w.to_mkldnn(), *how, call.shapes[0])
    add, word = torch.ops.mkldnn._convolution_pointwise_.binary, "relu" if relu else None

    def run(x: Tensor, *rest: Tensor) -> Tensor:
        out = rest[-1]
        if (x.shape, out.shape[1:]) != shapes or len(out) != len(x):
            raise ValueError(f"an image {tuple(x.shape)} does not make {tuple(out.shape)}")
        dense = out.is_contiguous(memory_format=torch.channels_last)  # no slice of a concatenation
        made = out if dense else torch.empty_like(out, memory_format=torch.channels_last)
        _ = made.copy_(rest[0]) if adds else made.zero_()
        add(made, x, packed, bias, *how, "add", 1.0, word, [], None)
        return out if dense else out.copy_(made)

    return run


def _conv_as_product(call: Call) -> Kernel:
    """Pixels times channels: rows of an NHWC image times the weights, written where the result belongs."""
    w, (b, rest), pixels = weights_of(call), call.epilogue.split_bias(_conv_channels(call)), windows(call)
    columns = w.flatten(1).t().contiguous()

    def run(x: Tensor, out: Tensor) -> Tensor:
        rows = pixels(x).permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        multiply(rows, columns, b, out.permute(0, 2, 3, 1).view(-1, w.shape[0]))
        return out

    return finished(run, call, rest)


def windows(call: Call) -> Callable[[Tensor], Tensor]:
    """Of an image, the numbers of every window side by side like channels (im2col): its convolution is then 1x1. Of one
    number a window, without pads, they are a view."""
    at = _conv_window(call)[0]
    ((top, bottom), (left, right)), (down, across) = at.pairs, at.dilations
    height, width = [(k - 1) * d + 1 for k, d in zip(at.kernel, at.dilations, strict=True)]
    if at.kernel == [1, 1] and not any((top, bottom, left, right)):
        return lambda x: x if at.strides == [1, 1] else x[:, :, :: at.strides[0], :: at.strides[1]]

    def run(x: Tensor) -> Tensor:
        image = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom))
        found = image.unfold(1, height, at.strides[0]).unfold(2, width, at.strides[1])[..., ::down, ::across]
        return found.permute(0, 1, 2, 4, 5, 3).flatten(3).permute(0, 3, 1, 2)

    return run


def _conv_generated(call: Call) -> Kernel:
    """Pixels, or windows, times weights, finished while the numbers are at hand."""
    bias, lines, adds = ending(call, _conv_channels(call)) or (None, [], False)
    run = product.generated(lines, lambda t: t.permute(0, 2, 3, 1).flatten(0, 2)[None], bias, adds=adds)
    panels = product.packed(weights_of(call).permute(2, 3, 1, 0).flatten(0, 2)[None])
    pixels = windows(call)
    return lambda x, *rest: run(panels, pixels(x).contiguous(memory_format=torch.channels_last), *rest)


def _conv_fits_generated(call: Call, size: Sequence[int] | None = None) -> bool:
    """Whether a generated kernel can finish it; windows of that size, or any but 1x1."""
    if not _is_image(call) or _conv_window(call)[1] != 1:
        return False
    kernel = tuple(weights_of(call).shape[2:])
    fits = kernel == size if size else kernel != (1, 1)
    return fits and ending(call, _conv_channels(call)) is not None


def _conv_winograd(call: Call) -> Kernel:
    bias, lines, adds = ending(call, _conv_channels(call)) or (None, [], False)
    return images.winograd(weights_of(call), bias, lines, _conv_window(call)[0].pairs, adds=adds)


def _winograd_scratch(call: Call) -> int:
    return 4 * sum(images.scratch_sizes(call.shapes[0] or (), weights_of(call).shape[0], _conv_window(call)[0].pairs))


def _conv_fits_winograd(call: Call) -> bool:
    at = _conv_window(call)[0] if _conv_fits_generated(call, (3, 3)) else None
    return at is not None and {*at.strides, *at.dilations} == {1}


def _conv_with_cudnn(call: Call) -> Kernel:
    """cuDNN with bias, other branch and Relu while the numbers are in registers."""
    w, (at, group) = weights_of(call).contiguous(memory_format=torch.channels_last), _conv_window(call)
    b, adds, _ = library_ending(call, _conv_channels(call)) or (None, False, True)
    b = torch.zeros(w.shape[0], dtype=w.dtype, device=w.device) if b is None else b
    how: tuple[Any, ...] = at.strides, at.padding, at.dilations, group
    if adds:
        return lambda x, other: torch.cudnn_convolution_add_relu(x, w, other, 1.0, b, *how)
    return lambda x: torch.cudnn_convolution_relu(x, w, b, *how)


def _conv_fits_cudnn(call: Call) -> bool:
    ends = library_ending(call, _conv_channels(call)) if call.device.name == "cuda" and _is_image(call) else None
    return ends is not None and ends[2]


CONV: dict[str, Tactic] = {
    "torch": Tactic(bind=_conv_with_torch),
    "generated": Tactic(
        bind=_conv_generated, fits=lambda c: _is_product(c) and _conv_fits_generated(c, (1, 1)), writes_out=True
    ),
    "onednn": Tactic(
        bind=_conv_with_onednn,
        fits=lambda c: _runs_onednn(c) and library_ending(c, _conv_channels(c)) is not None,
        writes_out=True,
    ),
    "product": Tactic(bind=_conv_as_product, fits=_is_product, writes_out=True),
    "winograd": Tactic(
        bind=_conv_winograd, fits=_conv_fits_winograd, writes_out=True, scratch=_winograd_scratch, bounds=WINOGRAD
    ),
    "im2col": Tactic(bind=_conv_generated, fits=_conv_fits_generated, writes_out=True),
    "planes": Tactic(bind=_conv_in_planes, fits=_runs_onednn),
    "cudnn": Tactic(bind=_conv_with_cudnn, fits=_conv_fits_cudnn),
    "epilogue": Tactic(bind=with_epilogue(_conv_with_torch), fits=lambda c: _is_known(c) and _finishes_on_gpu(c)),
    "product+epilogue": Tactic(
        bind=with_epilogue(_conv_as_product), fits=lambda c: _is_product(c) and _finishes_on_gpu(c), writes_out=True
    ),
}
"""Tactics of a convolution. The first works wherever torch does; the others in the order of preference."""

# --- matrix products --------------------------------------------------------------------------------------------------


def _is_linear(call: Call) -> bool:
    """Rows of known size times a matrix of the plan."""
    rows, w = call.shapes[0], call.weight(1)
    if call.free != [0] or w is None or w.ndim != 2 or rows is None or len(rows) < 2 or not call.result_shape:
        return False
    return call.dtype in FLOATS and 0 not in (*rows, *w.shape)


def _is_batched(call: Call) -> bool:
    a, b = call.shapes[:2]
    return a is not None and b is not None and len(a) > 2 and a[:-2] == b[:-2]


def _columns(call: Call) -> tuple[int, ...]:
    return ((call.shapes[1] or (0,))[-1],)


def _addmm(call: Call) -> Kernel:
    w, (b, rest) = weights_of(call).contiguous(), call.epilogue.split_bias(_columns(call))

    def run(x: Tensor, out: Tensor) -> Tensor:
        multiply(x.reshape(-1, x.shape[-1]), w, b, out.view(-1, w.shape[1]))
        return out

    return finished(run, call, rest)


def _batched(call: Call) -> Kernel:
    """One call for all matrices, a constant factor included, written where the result belongs."""
    chain, others, scale, rest = call.epilogue.chain, call.epilogue.others, 1.0, call.epilogue
    factor = len(chain) == 1 and chain[0][0] == "Mul" and sorted(chain[0][1]) == [0, 1] and others[0]
    if isinstance(factor, Tensor) and factor.numel() == 1:
        scale, rest = factor.item(), replace(rest, chain=())

    def run(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        left, right, result = *(t.reshape(-1, *t.shape[-2:]) for t in (a, b)), out.view(-1, *out.shape[-2:])
        if (left.shape[:2], right.shape[2]) != (result.shape[:2], result.shape[2]):
            raise ValueError(f"{tuple(a.shape)} times {tuple(b.shape)} does not go into {tuple(out.shape)}")
        torch.baddbmm(result, left, right, beta=0, alpha=scale, out=result)
        return out

    return finished(with_weights(run, call), call, rest)


def _generated(call: Call) -> Kernel:
    """Our own product. Where the second operand is no weight, it is packed on every run."""
    bias, lines, adds = ending(call, _columns(call)) or (None, [], False)
    if _is_linear(call):
        run = product.generated(lines, lambda t: t.flatten(0, -2)[None], bias, adds=adds)
        panels = product.packed(weights_of(call)[None])
        return lambda x, *rest: run(panels, x, *rest)
    run_batch = product.generated(lines, lambda t: t.flatten(0, -3), bias, adds=adds)

    def packs(a: Tensor, b: Tensor, *rest: Tensor, room: Tensor | None = None) -> Tensor:
        return run_batch(product.packed(b.flatten(0, -3), room), a, *rest)

    return with_weights(packs, call)


def _packing_scratch(call: Call) -> int:
    """Bytes of the panels, where both operands come with each run."""
    b = call.shapes[1] or (0, 0)
    return 4 * product.panels_size(math.prod(b[:-2]), *b[-2:]) if call.free == [0, 1] else 0


def _fits_generated(call: Call) -> bool:
    return (_is_linear(call) or _is_batched(call)) and ending(call, _columns(call)) is not None


MATMUL: dict[str, Tactic] = {
    "torch": Tactic(bind=lambda c: finished(with_weights(torch.matmul, c), c)),
    "generated": Tactic(bind=_generated, fits=_fits_generated, writes_out=True, scratch=_packing_scratch),
    "addmm": Tactic(bind=_addmm, fits=_is_linear, writes_out=True),
    "batched": Tactic(bind=_batched, fits=_is_batched, writes_out=True),
    "epilogue": Tactic(
        bind=with_epilogue(_addmm), fits=lambda c: _is_linear(c) and _finishes_on_gpu(c), writes_out=True
    ),
}
"""Tactics of a product. The first works wherever torch does; the others in the order of preference."""
