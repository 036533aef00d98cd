"""engine/glassbox/convolutions: the tactics of a convolution: x, weights, bias or none, other branch or none.

In: a `Call`. Out: `CONV`, tactic by tactic. The builder times them; codegen/ has those that we generate.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import winograd
from trtlab.engine.glassbox.finishing import (
    activation,
    bias_of,
    finish_text,
    finished,
    fits_epilogue,
    fits_onednn,
    generates_all,
    multiply,
    product_generated,
    same_shape,
    weights_of,
    with_epilogue,
)  # fmt: skip
from trtlab.engine.glassbox.kernels import Call, Kernel, Tactic
from trtlab.engine.glassbox.operators import CONVOLUTIONS, WINDOW, Window, check_naturals, conv, window


def _conv_window(call: Call) -> tuple[Window, int]:
    """(window, groups) for the image's size."""
    a = {name: value for name, value in call.attributes.items() if name in WINDOW}
    group = call.attributes.get("group", 1)
    check_naturals([group], least=1)
    return window((call.shapes[0] or ())[2:], weights_of(call).shape[2:], a), group


def _conv_with_torch(call: Call) -> Kernel:
    w, b, (at, group) = weights_of(call), call.weight(2), _conv_window(call)
    if w.ndim == 4:
        w = w.contiguous(memory_format=torch.channels_last)
    if at.padding is None:
        a = {name: value for name, value in call.attributes.items() if name in WINDOW}
        return finished(lambda x: conv(x, w, b, group=group, **a), call, adds=call.has(3))
    run, strides, padding, dilations = CONVOLUTIONS[w.ndim - 3], at.strides, at.padding, at.dilations
    return finished(lambda x: run(x, w, b, strides, padding, dilations, group), call, adds=call.has(3))


def _conv_with_onednn(call: Call) -> Kernel:
    """oneDNN with packed weights; bias, other branch and activation while the numbers are in registers."""
    w, b, (at, group) = weights_of(call), call.weight(2), _conv_window(call)
    padding, strides, dilations = at.padding, at.strides, at.dilations
    pack = torch.ops.aten.mkldnn_reorder_conv2d_weight
    packed = pack(w.to_mkldnn(), padding, strides, dilations, group, call.shapes[0])
    name, values, algorithm = activation(call)
    if call.has(3):
        fused = torch.ops.mkldnn._convolution_pointwise.binary
        unary = name if name != "none" else None
        check = same_shape(lambda shape: _conv_shape(shape, w, at))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return fused(x, other, packed, b, padding, strides, dilations, group, "add", 1.0, unary, [], None)

        return add
    single = torch.ops.mkldnn._convolution_pointwise.default
    return lambda x: single(x, packed, b, padding, strides, dilations, group, name, values, algorithm)


def _conv_shape(x: Sequence[int], w: Tensor, at: Window) -> tuple[int, ...]:
    axes = zip(x[2:], at.pairs, at.kernel, at.strides, at.dilations, strict=True)
    return (x[0], w.shape[0], *((n + a + b - (k - 1) * d - 1) // s + 1 for n, (a, b), k, s, d in axes))


def _fits_onednn_conv(call: Call) -> bool:
    """Two-dimensional, the same zeros at both ends, and behind an added branch nothing but Relu."""
    alone = not call.has(3) or call.attributes.get("activation", "") in ("", "Relu")
    return fits_onednn(call) and alone and weights_of(call).ndim == 4 and _conv_window(call)[0].padding is not None


def _is_product(call: Call) -> bool:
    """A 1x1 convolution is a matrix product over pixels."""
    at, group = _conv_window(call)
    return weights_of(call).shape[2:] == (1, 1) and group == 1 and {*at.strides} == {1} and at.padding == [0, 0]


def _conv_as_product(call: Call) -> Kernel:
    """Pixels times channels: rows of an NHWC image times the weights, written where the result belongs."""
    w, b = weights_of(call), call.weight(2)
    columns = w.flatten(1).t().contiguous()

    def run(x: Tensor, out: Tensor) -> Tensor:
        rows, result = _pixels(x), out.permute(0, 2, 3, 1).view(-1, w.shape[0])
        multiply(rows, columns, b, result)
        return out

    return finished(run, call, adds=call.has(3))


def _pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] in NHWC order as [N * H * W, C], the same memory."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n * h * w, c)


def _conv_generated(call: Call) -> Kernel:
    """The same product, finished while its numbers are at hand."""
    run = product_generated(call, weights_of(call).flatten(1).t(), lambda t: t.permute(0, 2, 3, 1).flatten(0, 2))
    return lambda x, *rest: run(x.contiguous(memory_format=torch.channels_last), *rest)


def _conv_winograd(call: Call) -> Kernel:
    w, (at, _) = weights_of(call), _conv_window(call)
    return winograd.generated(w, bias_of(call, len(w)), finish_text(call), at.pairs, adds=call.has(3))


def _fits_winograd(call: Call) -> bool:
    at, group = _conv_window(call)
    return (
        generates_all(call)
        and weights_of(call).shape[2:] == (3, 3)
        and group == 1
        and {*at.strides, *at.dilations} == {1}
    )


def _conv_with_cudnn(call: Call) -> Kernel:
    """cuDNN with bias, other branch and Relu while the numbers are in registers."""
    w, (at, group) = weights_of(call).contiguous(memory_format=torch.channels_last), _conv_window(call)
    b = call.weight(2)
    b = torch.zeros(w.shape[0], dtype=w.dtype, device=w.device) if b is None else b
    how: tuple[Any, ...] = at.strides, at.padding, at.dilations, group
    if call.has(3):
        return lambda x, other: torch.cudnn_convolution_add_relu(x, w, other, 1.0, b, *how)
    return lambda x: torch.cudnn_convolution_relu(x, w, b, *how)


def _fits_cudnn(call: Call) -> bool:
    relu = call.attributes.get("activation", "") == "Relu"
    return (
        relu and call.device.name == "cuda" and weights_of(call).ndim == 4 and _conv_window(call)[0].padding is not None
    )


CONV: dict[str, Tactic] = {
    "torch": Tactic(bind=_conv_with_torch),
    "onednn": Tactic(bind=_conv_with_onednn, fits=_fits_onednn_conv),
    "product": Tactic(bind=_conv_as_product, fits=_is_product, writes_out=True),
    "generated": Tactic(bind=_conv_generated, fits=lambda c: generates_all(c) and _is_product(c), writes_out=True),
    "winograd": Tactic(bind=_conv_winograd, fits=_fits_winograd, writes_out=True),
    "cudnn": Tactic(bind=_conv_with_cudnn, fits=_fits_cudnn),
    "epilogue": Tactic(bind=with_epilogue(_conv_with_torch), fits=fits_epilogue),
    "product+epilogue": Tactic(
        bind=with_epilogue(_conv_as_product), fits=lambda c: _is_product(c) and fits_epilogue(c), writes_out=True
    ),
}
"""Tactics of a convolution. The first works wherever torch does."""
