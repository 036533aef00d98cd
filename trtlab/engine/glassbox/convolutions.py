"""engine/glassbox/convolutions: the tactics of a convolution: x, weights, bias if it is none of the plan's.

In: a `Call`. Out: `CONV`, tactic by tactic. The trial times them; codegen/ has those that we generate.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import product, winograd
from trtlab.engine.glassbox.epilogues import (
    ending,
    finished,
    fits_epilogue,
    fits_generated,
    fits_onednn,
    generates,
    multiply,
    same_shape,
    weights_of,
    with_epilogue,
    words,
)
from trtlab.engine.glassbox.kernels import Call, Kernel, Tactic, with_weights
from trtlab.engine.glassbox.operators import CONVOLUTIONS, Window, check_naturals, conv, window


def _is_known(call: Call) -> bool:
    """Weights from the plan for an image that is not, of known size: what every tactic but torch's first asks for."""
    known = call.free == [0] and len(call.operands) == 2 and call.shapes[0] is not None and call.result_shape
    return bool(known) and call.dtype != "float64"


def _channels(call: Call) -> tuple[int, ...]:
    w = weights_of(call)
    return (w.shape[0], *[1] * (w.ndim - 2))


def _window(call: Call) -> tuple[Window, int]:
    """(window, groups) for the image's size."""
    a = {name: value for name, value in call.attributes.items() if name != "group"}
    group = call.attributes.get("group", 1)
    check_naturals([group], least=1)
    return window((call.shapes[0] or ())[2:], weights_of(call).shape[2:], a), group


def _with_torch(call: Call) -> Kernel:
    """Any convolution."""
    if not _is_known(call) or _window(call)[0].padding is None:
        return finished(with_weights(conv, call, attributes=call.attributes), call)
    w, (at, group), (b, rest) = weights_of(call), _window(call), call.epilogue.split_bias(_channels(call))
    w = w.contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w
    run, strides, padding, dilations = CONVOLUTIONS[w.ndim - 3], at.strides, at.padding, at.dilations
    return finished(lambda x: run(x, w, b, strides, padding, dilations, group), call, rest)


def _with_onednn(call: Call) -> Kernel:
    """oneDNN with packed weights; bias, other branch and activation while the numbers are in registers."""
    w, (at, group), ends = weights_of(call), _window(call), words(call, _channels(call))
    if ends is None:
        raise ValueError("oneDNN has no words for this epilogue")
    padding, strides, dilations, b = at.padding, at.strides, at.dilations, ends.bias
    pack = torch.ops.aten.mkldnn_reorder_conv2d_weight
    packed = pack(w.to_mkldnn(), padding, strides, dilations, group, call.shapes[0])
    if ends.adds:
        fused = torch.ops.mkldnn._convolution_pointwise.binary
        unary = ends.name if ends.name != "none" else None
        check = same_shape(lambda shape: _result_shape(shape, w, at))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return fused(x, other, packed, b, padding, strides, dilations, group, "add", 1.0, unary, [], None)

        return add
    single, name, values, algorithm = (
        torch.ops.mkldnn._convolution_pointwise.default, ends.name, [*ends.values], ends.algorithm,
    )  # fmt: skip
    return lambda x: single(x, packed, b, padding, strides, dilations, group, name, values, algorithm)


def _result_shape(x: Sequence[int], w: Tensor, at: Window) -> tuple[int, ...]:
    axes = zip(x[2:], at.pairs, at.kernel, at.strides, at.dilations, strict=True)
    return (x[0], w.shape[0], *((n + a + b - (k - 1) * d - 1) // s + 1 for n, (a, b), k, s, d in axes))


def _is_image(call: Call) -> bool:
    """Two axes, the same zeros at both ends of each."""
    return _is_known(call) and weights_of(call).ndim == 4 and _window(call)[0].padding is not None


def _fits_onednn(call: Call) -> bool:
    """Behind an added branch nothing but Relu."""
    if not _is_image(call) or not fits_onednn(call, _channels(call)):
        return False
    ends = words(call, _channels(call))
    return ends is not None and (not ends.adds or ends.name in ("none", "relu"))


def _fits_onednn_epilogue(call: Call) -> bool:
    """On a CPU, where oneDNN has no words for the epilogue."""
    here = call.device.has_onednn and generates(call) and _is_image(call)
    return here and not _fits_onednn(call) and fits_epilogue(call)


def _is_product(call: Call) -> bool:
    """A 1x1 convolution is a matrix product over pixels."""
    if not _is_known(call) or weights_of(call).shape[2:] != (1, 1):
        return False
    at, group = _window(call)
    return group == 1 and {*at.strides} == {1} and at.padding == [0, 0]


def _as_product(call: Call) -> Kernel:
    """Pixels times channels: rows of an NHWC image times the weights, written where the result belongs."""
    w, (b, rest) = weights_of(call), call.epilogue.split_bias(_channels(call))
    columns = w.flatten(1).t().contiguous()

    def run(x: Tensor, out: Tensor) -> Tensor:
        n, c, h, width = x.shape
        rows, result = x.permute(0, 2, 3, 1).reshape(n * h * width, c), out.permute(0, 2, 3, 1).view(-1, w.shape[0])
        multiply(rows, columns, b, result)
        return out

    return finished(run, call, rest)


def _generated(call: Call) -> Kernel:
    """The same product, finished while its numbers are at hand."""
    columns, (bias, lines, adds) = weights_of(call).flatten(1).t(), ending(call, _channels(call))
    run = product.generated(lines, lambda t: t.permute(0, 2, 3, 1).flatten(0, 2)[None], len(bias), adds=adds)
    panels = product.packed(columns[None])
    return lambda x, *rest: run(panels, bias, x.contiguous(memory_format=torch.channels_last), *rest)


def _winograd(call: Call) -> Kernel:
    bias, lines, adds = ending(call, _channels(call))
    return winograd.generated(weights_of(call), bias, lines, _window(call)[0].pairs, adds=adds)


def _fits_winograd(call: Call) -> bool:
    if not _is_known(call) or weights_of(call).shape[2:] != (3, 3):
        return False
    at, group = _window(call)
    return group == 1 and {*at.strides, *at.dilations} == {1} and fits_generated(call, _channels(call))


def _with_cudnn(call: Call) -> Kernel:
    """cuDNN with bias, other branch and Relu while the numbers are in registers."""
    w, (at, group) = weights_of(call).contiguous(memory_format=torch.channels_last), _window(call)
    b, rest = call.epilogue.split_bias(_channels(call))
    b = torch.zeros(w.shape[0], dtype=w.dtype, device=w.device) if b is None else b
    how: tuple[Any, ...] = at.strides, at.padding, at.dilations, group
    if rest.free:
        return lambda x, other: torch.cudnn_convolution_add_relu(x, w, other, 1.0, b, *how)
    return lambda x: torch.cudnn_convolution_relu(x, w, b, *how)


def _fits_cudnn(call: Call) -> bool:
    ends = words(call, _channels(call)) if call.device.name == "cuda" and _is_image(call) else None
    return ends is not None and ends.name == "relu"


CONV: dict[str, Tactic] = {
    "torch": Tactic(bind=_with_torch),
    "onednn": Tactic(bind=_with_onednn, fits=_fits_onednn),
    "product": Tactic(bind=_as_product, fits=_is_product, writes_out=True),
    "generated": Tactic(
        bind=_generated, fits=lambda c: _is_product(c) and fits_generated(c, _channels(c)), writes_out=True
    ),
    "winograd": Tactic(bind=_winograd, fits=_fits_winograd, writes_out=True),
    "cudnn": Tactic(bind=_with_cudnn, fits=_fits_cudnn),
    "epilogue": Tactic(
        bind=with_epilogue(_with_torch), fits=lambda c: c.device.name == "cuda" and _is_known(c) and fits_epilogue(c)
    ),
    "onednn+epilogue": Tactic(bind=with_epilogue(_with_onednn), fits=_fits_onednn_epilogue),
    "product+epilogue": Tactic(
        bind=with_epilogue(_as_product),
        fits=lambda c: c.device.name == "cuda" and _is_product(c) and fits_epilogue(c),
        writes_out=True,
    ),
}
"""Tactics of a convolution. The first works wherever torch does."""
