"""engine/glassbox/products: the tactics of convolutions and matrix products.

In: a `Call` of x and weights (a convolution also has a bias if that is none of the plan's), or of any two matrices.
Out: `CONV` and `MATMUL`, tactic by tactic. The trial times them; codegen/ has those that we generate.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.engine.codegen import images, product, rows
from trtlab.engine.glassbox.kernels import (
    FLOATS,
    RESULT,
    Call,
    Epilogue,
    Kernel,
    Tactic,
    Words,
    check_rows,
    ending,
    finished,
    fits_epilogue,
    fits_generated,
    generates,
    multiply,
    same_shape,
    weights_of,
    with_epilogue,
    with_weights,
    words,
)
from trtlab.engine.glassbox.operators import CONVOLUTIONS, Window, check_naturals, conv, window

NO_WORDS = Words(bias=None, adds=False)
PIXELS = 0, 2, 3
WINOGRAD = {"float32": 1e-4}
"""Its sums have factors up to 8 that cancel each other: some digits go."""


def _has_onednn(call: Call) -> bool:
    return call.device.has_onednn and call.dtype in ("float32", "bfloat16")


def _finishes_on_gpu(call: Call) -> bool:
    """Where a pass that is saved is worth one more kernel."""
    return call.device.name == "cuda" and fits_epilogue(call)


def lies(call: Call, merged: Sequence[int], dense: int | None = None, among: Sequence[int] = (RESULT,)) -> bool:
    """Whether the result, or what else is named `among` the call's strides, lies so that the `merged` axes are steps of
    one size, and the `dense` one of 1: what is a view as rows. True of what is not seen."""
    for number in among:
        strides, inside = call.strides.get(number), 0 <= number < len(call.operands)
        if strides and (shape := call.shapes[number] if inside else call.result_shape):
            runs = [(shape[a], strides[a]) for a in merged if shape[a] > 1]
            steps = all(outer == n * inner for (_, outer), (n, inner) in itertools.pairwise(runs))
            if not steps or (dense is not None and strides[dense] != 1 < shape[dense]):
                return False
    return True


def _written(call: Call) -> list[int]:
    """What a generated kernel walks through besides its operands: other branches, and the result."""
    return [n for n in call.strides if n == RESULT or n >= len(call.operands)]


# --- convolutions -----------------------------------------------------------------------------------------------------


def _is_known(call: Call) -> bool:
    """Weights from the plan for an image that is not, of known size: what every tactic but torch's first asks for."""
    known = call.free == [0] and len(call.operands) == 2 and call.shapes[0] is not None and call.result_shape
    return bool(known) and call.dtype != "float64"


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


def _conv_with_onednn(call: Call) -> Kernel:
    """oneDNN with packed weights; bias, other branch and activation while the numbers are in registers."""
    w, (at, group) = weights_of(call), _conv_window(call)
    ends, how = words(call, _conv_channels(call)) or NO_WORDS, (at.padding, at.strides, at.dilations, group)
    packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(w.to_mkldnn(), *how, call.shapes[0])
    if ends.adds:
        fused, unary = torch.ops.mkldnn._convolution_pointwise.binary, None if ends.name == "none" else ends.name
        check = same_shape(lambda shape: _conv_result_shape(shape, w, at))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return fused(x, other, packed, ends.bias, *how, "add", 1.0, unary, [], None)

        return add
    single, activation = torch.ops.mkldnn._convolution_pointwise.default, (ends.name, [*ends.values], ends.algorithm)
    return lambda x: single(x, packed, ends.bias, *how, *activation)


def _conv_into_onednn(call: Call) -> Kernel | None:
    """oneDNN adds to what lies where the result belongs: zeros, or the other branch. None for words it has not here."""
    w, (at, group) = weights_of(call), _conv_window(call)
    ends, how = words(call, _conv_channels(call)) or NO_WORDS, (at.padding, at.strides, at.dilations, group)
    if ends.name not in ("none", "relu"):
        return None
    packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(w.to_mkldnn(), *how, call.shapes[0])
    check = same_shape(lambda shape: _conv_result_shape(shape, w, at))
    apart = functools.cache(lambda: _conv_with_onednn(call))  # packs its weights where it is needed
    add, word = torch.ops.mkldnn._convolution_pointwise_.binary, None if ends.name == "none" else ends.name

    def run(x: Tensor, *rest: Tensor) -> Tensor:
        out = rest[-1]
        check(x, out)
        if not out.is_contiguous(memory_format=torch.channels_last):  # a slice of a concatenation
            return out.copy_(apart()(x, *rest[:-1]))
        _ = out.copy_(rest[0]) if ends.adds else out.zero_()
        return add(out, x, packed, ends.bias, *how, "add", 1.0, word, [], None)

    return run


def _conv_into_onednn_epilogue(call: Call) -> Kernel | None:
    bare = _conv_into_onednn(replace(call, epilogue=Epilogue()))
    return bare and with_epilogue(lambda _: bare)(call)


def _conv_result_shape(x: Sequence[int], w: Tensor, at: Window) -> tuple[int, ...]:
    axes = zip(x[2:], at.pairs, at.kernel, at.strides, at.dilations, strict=True)
    return (x[0], w.shape[0], *((n + a + b - (k - 1) * d - 1) // s + 1 for n, (a, b), k, s, d in axes))


def _is_image(call: Call) -> bool:
    """Two axes, the same zeros at both ends of each."""
    return _is_known(call) and weights_of(call).ndim == 4 and _conv_window(call)[0].padding is not None


def _conv_fits_onednn(call: Call) -> bool:
    """Behind an added branch nothing but Relu."""
    ends = words(call, _conv_channels(call)) if _has_onednn(call) and _is_image(call) else None
    return ends is not None and (not ends.adds or ends.name in ("none", "relu"))


def _conv_fits_onednn_epilogue(call: Call) -> bool:
    """On a CPU, where oneDNN has no words for the epilogue."""
    here = call.device.has_onednn and generates(call) and _is_image(call)
    return here and not _conv_fits_onednn(call) and fits_epilogue(call)


def _is_product(call: Call) -> bool:
    """A 1x1 convolution is a matrix product over pixels; with strides, over some of them."""
    if not _is_known(call) or weights_of(call).shape[2:] != (1, 1):
        return False
    at, group = _conv_window(call)
    return group == 1 and at.padding == [0, 0] and lies(call, PIXELS)


def _pixels(call: Call) -> Callable[[Tensor], Tensor]:
    """The pixels of an image that a 1x1 convolution reads: a view."""
    down, along = _conv_window(call)[0].strides
    return (lambda x: x) if down == along == 1 else lambda x: x[:, :, ::down, ::along]


def _conv_as_product(call: Call) -> Kernel:
    """Pixels times channels: rows of an NHWC image times the weights, written where the result belongs."""
    w, (b, rest), pixels = weights_of(call), call.epilogue.split_bias(_conv_channels(call)), _pixels(call)
    columns = w.flatten(1).t().contiguous()

    def run(x: Tensor, out: Tensor) -> Tensor:
        rows, result = pixels(x).permute(0, 2, 3, 1).reshape(-1, x.shape[1]), out.permute(0, 2, 3, 1)
        result = result.view(-1, w.shape[0])
        multiply(rows, columns, b, result)
        return out

    return finished(run, call, rest)


def windows(call: Call) -> Callable[[Tensor], Tensor]:
    """Of an image, the numbers of every window side by side like channels (im2col): its convolution is then 1x1."""
    at = _conv_window(call)[0]
    ((top, bottom), (left, right)), (down, across) = at.pairs, at.dilations
    height, width = [(k - 1) * d + 1 for k, d in zip(at.kernel, at.dilations, strict=True)]

    def run(x: Tensor) -> Tensor:
        image = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom))
        found = image.unfold(1, height, at.strides[0]).unfold(2, width, at.strides[1])[..., ::down, ::across]
        return found.permute(0, 1, 2, 4, 5, 3).flatten(3).permute(0, 3, 1, 2)

    return run


def _conv_generated(call: Call) -> Kernel:
    """Pixels, or windows, times weights, finished while the numbers are at hand."""
    columns, (bias, lines, adds) = (
        weights_of(call).permute(2, 3, 1, 0).flatten(0, 2),
        ending(call, _conv_channels(call)),
    )
    run = product.generated(lines, lambda t: t.permute(0, 2, 3, 1).flatten(0, 2)[None], len(bias), adds=adds)
    panels, pixels = product.packed(columns[None]), _pixels(call) if _is_product(call) else windows(call)
    return lambda x, *rest: run(panels, bias, pixels(x).contiguous(memory_format=torch.channels_last), *rest)


def _conv_fits_windows(call: Call) -> bool:
    here = _is_image(call) and weights_of(call).shape[2:] != (1, 1) and _conv_window(call)[1] == 1
    return here and fits_generated(call, _conv_channels(call)) and lies(call, PIXELS, 1, _written(call))


def _conv_fits_generated(call: Call) -> bool:
    return _is_product(call) and fits_generated(call, _conv_channels(call)) and lies(call, PIXELS, 1, _written(call))


def _conv_winograd(call: Call) -> Kernel:
    bias, lines, adds = ending(call, _conv_channels(call))
    return images.winograd(weights_of(call), bias, lines, _conv_window(call)[0].pairs, adds=adds)


def _winograd_scratch(call: Call) -> int:
    return 4 * sum(images.scratch_sizes(call.shapes[0] or (), weights_of(call).shape[0], _conv_window(call)[0].pairs))


def _conv_fits_winograd(call: Call) -> bool:
    if not _is_known(call) or weights_of(call).shape[2:] != (3, 3):
        return False
    at, group = _conv_window(call)
    plain = group == 1 and {*at.strides, *at.dilations} == {1} and lies(call, (), 1, _written(call))
    return plain and fits_generated(call, _conv_channels(call))


def _conv_with_cudnn(call: Call) -> Kernel:
    """cuDNN with bias, other branch and Relu while the numbers are in registers."""
    w, (at, group) = weights_of(call).contiguous(memory_format=torch.channels_last), _conv_window(call)
    b, rest = call.epilogue.split_bias(_conv_channels(call))
    b = torch.zeros(w.shape[0], dtype=w.dtype, device=w.device) if b is None else b
    how: tuple[Any, ...] = at.strides, at.padding, at.dilations, group
    if rest.free:
        return lambda x, other: torch.cudnn_convolution_add_relu(x, w, other, 1.0, b, *how)
    return lambda x: torch.cudnn_convolution_relu(x, w, b, *how)


def _conv_fits_cudnn(call: Call) -> bool:
    ends = words(call, _conv_channels(call)) if call.device.name == "cuda" and _is_image(call) else None
    return ends is not None and ends.name == "relu"


CONV: dict[str, Tactic] = {
    "torch": Tactic(bind=_conv_with_torch),
    "generated": Tactic(bind=_conv_generated, fits=_conv_fits_generated, writes_out=True),
    "onednn": Tactic(bind=_conv_with_onednn, fits=_conv_fits_onednn, into=_conv_into_onednn),
    "product": Tactic(bind=_conv_as_product, fits=_is_product, writes_out=True),
    "winograd": Tactic(
        bind=_conv_winograd, fits=_conv_fits_winograd, writes_out=True, scratch=_winograd_scratch, bounds=WINOGRAD
    ),
    "im2col": Tactic(bind=_conv_generated, fits=_conv_fits_windows, writes_out=True),
    "planes": Tactic(bind=_conv_in_planes, fits=lambda c: _has_onednn(c) and _is_image(c)),
    "cudnn": Tactic(bind=_conv_with_cudnn, fits=_conv_fits_cudnn),
    "epilogue": Tactic(bind=with_epilogue(_conv_with_torch), fits=lambda c: _is_known(c) and _finishes_on_gpu(c)),
    "onednn+epilogue": Tactic(
        bind=with_epilogue(_conv_with_onednn), fits=_conv_fits_onednn_epilogue, into=_conv_into_onednn_epilogue
    ),
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


def _columns(call: Call) -> tuple[int, ...]:
    return (weights_of(call).shape[1],)


def _addmm(call: Call) -> Kernel:
    w, (b, rest) = weights_of(call).contiguous(), call.epilogue.split_bias(_columns(call))

    def run(x: Tensor, out: Tensor) -> Tensor:
        multiply(x.reshape(-1, x.shape[-1]), w, b, out.view(-1, w.shape[1]))
        return out

    return finished(run, call, rest)


def _with_onednn(call: Call) -> Kernel:
    w, ends = weights_of(call), words(call, _columns(call)) or NO_WORDS
    packed = torch.ops.mkldnn._reorder_linear_weight(
        w.t().contiguous(), max(1, math.prod((call.shapes[0] or (1,))[:-1]))
    )
    if ends.adds:
        binary, check = torch.ops.mkldnn._linear_pointwise.binary, same_shape(lambda x: (*x[:-1], w.shape[1]))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return binary(x, other, packed, ends.bias, "add")

        return add
    single, activation = torch.ops.mkldnn._linear_pointwise.default, (ends.name, [*ends.values], ends.algorithm)
    return lambda x: single(x, packed, ends.bias, *activation)


def _fits_onednn(call: Call) -> bool:
    """Behind an added branch, which must lie dense, no activation."""
    ends = words(call, _columns(call)) if _has_onednn(call) and _is_linear(call) else None
    return ends is not None and (not ends.adds or ends.name == "none")


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
    matrices = lambda t: t.flatten(0, -3)  # noqa: E731
    run = product.generated(lines, matrices, width, adds=adds)

    def packs(a: Tensor, b: Tensor, *rest: Tensor, room: Tensor | None = None) -> Tensor:
        return run(product.packed(matrices(b), room), bias, a, *rest)

    return packs if call.free == [0, 1] else with_weights(packs, call)


def _packing_scratch(call: Call) -> int:
    """Bytes of the panels, where both operands come with each run."""
    b = call.shapes[1] or (0, 0)
    return 4 * product.panels_size(math.prod(b[:-2]), *b[-2:]) if call.free == [0, 1] else 0


def _fits_generated(call: Call) -> bool:
    known = (_is_linear(call) or _is_batched(call)) and fits_generated(call, ((call.shapes[1] or (0,))[-1],))
    return known and lies(call, _outer(call), -1, [0, *_written(call)])


def _outer(call: Call) -> range:
    """The axes before one row of x, where the weights are the plan's, or before one matrix."""
    return range(len(call.result_shape or ()) - (1 if _is_linear(call) else 2))


MATMUL: dict[str, Tactic] = {
    "torch": Tactic(bind=_matmul),
    "generated": Tactic(bind=_generated, fits=_fits_generated, writes_out=True, scratch=_packing_scratch),
    "onednn": Tactic(bind=_with_onednn, fits=_fits_onednn),
    "addmm": Tactic(bind=_addmm, fits=lambda c: _is_linear(c) and lies(c, _outer(c)), writes_out=True),
    "batched": Tactic(bind=_batched, fits=lambda c: _is_batched(c) and lies(c, _outer(c)), writes_out=True),
    "epilogue": Tactic(
        bind=with_epilogue(_addmm), fits=lambda c: _is_linear(c) and _finishes_on_gpu(c), writes_out=True
    ),
}
"""Tactics of a product. The first works wherever torch does; the others in the order of preference."""

# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(call: Call) -> Kernel:
    if call.attributes["operator"] == "Softmax":
        return rows.softmax
    scale, shift = weights_of(call), call.weight(2)
    numbers = scale.numpy(), (torch.zeros_like(scale) if shift is None else shift).numpy()
    return lambda x, out: rows.layer_norm(x, *numbers, call.attributes.get("epsilon", 1e-5), out)


def _fits_rows(call: Call) -> bool:
    """Over the last axis alone, with weights of the plan."""
    shape, known = call.shapes[0] or (), call.free == [0] and generates(call)
    if call.attributes["operator"] not in ("Softmax", "LayerNormalization") or not known or 0 in (*shape, len(shape)):
        return False
    axis = call.attributes.get("axis", 1 if call.attributes.get("opset", 13) < 13 else -1)
    return axis in (-1, len(shape) - 1) and all(w is None or w.shape == shape[-1:] for w in call.operands[1:])


ROWS = Tactic(bind=_rows, fits=_fits_rows, writes_out=True)
"""Softmax and LayerNormalization, generated."""
