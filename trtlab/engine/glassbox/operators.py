"""engine/glassbox/operators: the ONNX operators that are not elementwise, as functions of torch tensors.

In: tensors in the order of ONNX's inputs, attributes by ONNX's names. An attribute of an old opset that is an input
in a new one has one name here. Inputs that say how (axes, shapes, pads) may be tuples, where the builder knows them.
Checked by the node tests of ONNX's backend suite.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Ints = Tensor | Sequence[int]
HOST_INPUTS = frozenset("axes shape starts ends steps split".split())
"""Parameters that are read as numbers, not as tensors."""


def ints(values: Ints) -> list[int]:
    """Numbers of an input that says how."""
    return values.flatten().tolist() if isinstance(values, Tensor) else list(values)


def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    sizes = ints(shape)
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes)])


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    where = [a % (x.ndim + len(ints(axes))) for a in ints(axes)]
    for axis in sorted(where):
        x = x.unsqueeze(axis)
    return x


def concat(*parts: Tensor, axis: int = 1, in_place: int = 0) -> Tensor:  # noqa: ARG001 - decided by a rule
    return torch.cat(parts, axis)


def split(
    x: Tensor, split: Ints | None = None, *, axis: int = 0, num_outputs: int | None = None, results: int = 2
) -> tuple[Tensor, ...]:
    """Parts of the given sizes; equal ones, with a smaller last, where there are none."""
    if split is None:
        size = -(-x.shape[axis] // (num_outputs or results))
        return x.split(size, axis)
    return x.split(ints(split), axis)


def slice_(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """Python's slices; a negative step runs backwards."""
    count = len(first := ints(starts))
    along, strides = range(count) if axes is None else ints(axes), [1] * count if steps is None else ints(steps)
    for axis, start, end, step in zip(along, first, ints(ends), strides, strict=True):
        size = x.shape[axis]  # ONNX starts inside, where Python's slice with a negative step is empty
        places = range(size)[slice(max(start, -size), end if step > 0 or end >= -size else None, step)]
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(places.start, max(places.start, places.stop), step),)]
        else:
            x = x.index_select(axis, torch.tensor(places, device=x.device, dtype=torch.int64))
    return x


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Slices of x along the axis; negative indices count from the end."""
    axis, size = axis % x.ndim, x.shape[axis]
    flat = indices.reshape(-1).long()
    picked = x.index_select(axis, torch.where(flat < 0, flat + size, flat))
    return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def constant_of_shape(shape: Ints, *, value: Tensor | None = None) -> Tensor:
    return torch.zeros(ints(shape)) if value is None else value.reshape(()).expand(ints(shape)).clone()


def softmax(x: Tensor, *, axis: int | None = None, opset: int = 13) -> Tensor:
    """Before opset 13, all axes from the named one on were one."""
    if opset >= 13:
        return torch.softmax(x, -1 if axis is None else axis)
    axis = 1 if axis is None else axis % x.ndim
    return torch.softmax(flatten(x, axis=axis), 1).reshape(x.shape)


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        over = ints(axes) if axes is not None else []
        if not over and noop_with_empty_axes:
            return function(x.unsqueeze(0), [0], False)
        return function(x, over or list(range(x.ndim)), bool(keepdims))

    return run


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype) if axes else x.clone()


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    y = x if x.is_floating_point() else x.double()  # of nothing it is 0
    return (y.mean(axes, keepdim=keep) if y.numel() else y.sum(axes, keepdim=keep)).to(x.dtype)


def lowest(dtype: torch.dtype) -> Any:
    """The smallest number, minus infinity for floats."""
    return -math.inf if dtype.is_floating_point else False if dtype == torch.bool else torch.iinfo(dtype).min


def layer_norm(
    x: Tensor, scale: Tensor, shift: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5
) -> Tensor:
    sizes = x.shape[axis % x.ndim :]
    if tuple(scale.shape) == tuple(sizes) and (shift is None or shift.shape == scale.shape):
        return torch.layer_norm(x, sizes, scale, shift, epsilon)
    y = torch.layer_norm(x, sizes, None, None, epsilon) * scale
    return y if shift is None else y + shift


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Every channel of every image by its own mean and variance."""
    return torch.instance_norm(x, scale, shift, None, None, True, 0.0, epsilon, False) if x.numel() else x.clone()


def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """x / (bias + alpha / size * sum of squares of the `size` channels around it) ** beta."""
    squares = F.pad(x.square(), [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2])
    sums = sum((squares.narrow(1, i, x.shape[1]) for i in range(1, size)), squares.narrow(1, 0, x.shape[1]))
    scale = torch.add(bias, sums, alpha=alpha / size) if not isinstance(sums, Tensor) else sums * (alpha / size) + bias
    return x * (torch.rsqrt(scale * torch.sqrt(scale)) if beta == 0.75 else scale.pow(-beta))


WINDOW = frozenset("kernel_shape strides pads dilations auto_pad ceil_mode".split())
"""Attributes that a convolution and the poolings share."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window on its way over an image, for every spatial axis. `pairs` are the zeros before and after; `over` is how
    far the last window may hang over in ceil mode; `counts` are sizes of the result."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pairs: list[tuple[int, int]]
    over: list[int]
    counts: list[int]

    @property
    def padding(self) -> list[int] | None:
        """One number for both ends of each axis, as torch wants it; None where that cannot be, or where a window sees
        nothing but zeros: oneDNN's convolutions read far outside of the image then, and kill the process."""
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        odd = any(a != b or a >= span for (a, b), span in zip(self.pairs, spans, strict=True))
        return None if odd or any(self.over) else [a for a, _ in self.pairs]


def window(sizes: Sequence[int], kernel: Sequence[int], a: Mapping[str, Any]) -> Window:
    """The window that ONNX's attributes describe. SAME makes as many results as strides fit into the size."""
    rank, modes = len(sizes), {"SAME_UPPER", "SAME_LOWER"}
    strides, dilations = (a.get(name) or [1] * rank for name in ("strides", "dilations"))
    pads = a.get("pads") or [0] * 2 * rank
    check_naturals(kernel, strides, dilations, least=1)
    pairs, over, counts, same = [], [], [], a.get("auto_pad", "NOTSET")
    for d, size in enumerate(sizes):
        span = (kernel[d] - 1) * dilations[d] + 1
        before, after = (pads[d], pads[d + rank]) if same in ("NOTSET", "") else (0, 0)
        if same in modes:
            total = max(0, (-(-size // strides[d]) - 1) * strides[d] + span - size)
            before = total // 2 if same == "SAME_UPPER" else total - total // 2
            after = total - before
        room = size + before + after - span
        count = (-(-room // strides[d]) if a.get("ceil_mode") else int(room / strides[d])) + 1  # as C divides
        count -= bool(a.get("ceil_mode") and (count - 1) * strides[d] >= size + before)  # a window must start inside
        pairs.append((before, after))
        over.append(max(0, (count - 1) * strides[d] - room))
        counts.append(max(0, count))
    return Window(kernel=[*kernel], strides=[*strides], dilations=[*dilations], pairs=pairs, over=over, counts=counts)


def check_naturals(*rows: Sequence[int], least: int) -> None:
    """ValueError unless all are integers and not below `least`: plans come from files."""
    if bad := [v for row in rows for v in row if type(v) is not int or not least <= v < 2**31]:
        raise ValueError(f"{bad[0]!r} is no integer from {least} on")


def _around(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Pads in torch's order, last axis first."""
    return [n for pair in reversed(pairs) for n in pair]


_MAX_POOLS: tuple[Any, ...] = F.max_pool1d, F.max_pool2d, F.max_pool3d
CONVOLUTIONS: tuple[Any, ...] = F.conv1d, F.conv2d, F.conv3d


def max_pool(x: Tensor, *, kernel_shape: Sequence[int], **rest: Any) -> Tensor:
    w = window(x.shape[2:], kernel_shape, rest)
    pool = _MAX_POOLS[len(w.kernel) - 1]
    if 0 in w.counts:
        return x.new_empty([*x.shape[:2], *w.counts])
    if x.is_cuda and x.dtype in (torch.int8, torch.uint8):  # torch has no such kernel there; a float16 holds them all
        return max_pool(x.half(), kernel_shape=kernel_shape, **rest).to(x.dtype)
    if w.padding and all(2 * p <= k for p, k in zip(w.padding, w.kernel, strict=True)):
        return pool(x, w.kernel, w.strides, w.padding, w.dilations)
    ends = [(a, b + over) for (a, b), over in zip(w.pairs, w.over, strict=True)]
    return pool(F.pad(x, _around(ends), value=lowest(x.dtype)), w.kernel, w.strides, 0, w.dilations)


def average_pool(x: Tensor, *, kernel_shape: Sequence[int], count_include_pad: int = 0, **rest: Any) -> Tensor:
    """Sum of each window over how many numbers it holds: two convolutions with ones, where torch has no better."""
    w = window(x.shape[2:], kernel_shape, rest)
    if 0 in w.counts:
        return x.new_empty([*x.shape[:2], *w.counts])
    plain = len(w.kernel) == 2 and {*w.dilations} == {1}
    if x.is_cuda and w.kernel == [*x.shape[2:]] and w.padding == [0] * len(w.kernel) and {*w.counts} == {1}:
        return global_average_pool(x)  # which spreads the sum of one large window over threads
    if plain and w.padding and all(2 * p <= k for p, k in zip(w.padding, w.kernel, strict=True)):
        return F.avg_pool2d(x, w.kernel, w.strides, w.padding, count_include_pad=bool(count_include_pad))
    ones = torch.ones(1, 1, *w.kernel, dtype=x.dtype, device=x.device)
    planes = x.reshape(-1, 1, *x.shape[2:])
    counted = F.pad(torch.ones_like(planes[:1]), _around(w.pairs), value=float(bool(count_include_pad)))
    hang, conv = _around([(0, over) for over in w.over]), CONVOLUTIONS[len(w.kernel) - 1]
    images = F.pad(planes, _around(w.pairs)), counted
    sums, counts = (conv(F.pad(image, hang), ones, None, w.strides, 0, w.dilations) for image in images)
    return (sums / counts).reshape(*x.shape[:2], *sums.shape[2:])


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


def conv(x: Tensor, w: Tensor, b: Tensor | None = None, *, group: int = 1, **rest: Any) -> Tensor:
    at = window(x.shape[2:], w.shape[2:], rest)
    run = CONVOLUTIONS[x.ndim - 3]
    if at.padding:
        return run(x, w, b, at.strides, at.padding, at.dilations, group)
    return run(F.pad(x, _around(at.pairs)), w, b, at.strides, 0, at.dilations, group)


def gemm(a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1, beta: float = 1, **turned: int) -> Tensor:
    """alpha * A' * B' + beta * C, where transA and transB turn A and B."""
    left, right = a.t() if turned.get("transA") else a, b.t() if turned.get("transB") else b
    product = left @ right if alpha == 1 else (left @ right) * alpha
    return product if c is None else product + (c if beta == 1 else c * beta)


def _along(numbers: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """Scales or zero points so that they meet their elements of x: one for all, one for each place on the axis, or one
    for each block of it."""
    if numbers.numel() == 1:
        return numbers.reshape(())
    if block_size:
        return numbers.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
    return numbers.reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])


def quantize_linear(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0
) -> Tensor:
    """round(x / scale) + zero, ties to even, saturated; UINT8 without a zero point, as ONNX has it. NaN becomes the
    lowest code, as in ONNX Runtime."""
    dtype, y = torch.uint8 if zero is None else zero.dtype, (x / _along(scale, x, axis, block_size)).round_()
    y = y if zero is None else y.add_(_along(zero, x, axis, block_size))
    return torch.fmax(y, y.new_tensor(torch.iinfo(dtype).min)).clamp_(max=torch.iinfo(dtype).max).to(dtype)


def dequantize_linear(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0
) -> Tensor:
    """(x - zero) * scale, in the type of the scale."""
    y = x if zero is None else x.int() - _along(zero, x, axis, block_size).int()
    return y.to(scale.dtype) * _along(scale, x, axis, block_size)


OPERATORS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Conv": conv,
    "DequantizeLinear": dequantize_linear,
    "Dropout": lambda x, *_: x,
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, ints(shape))),
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": lambda x: x,
    "InstanceNormalization": instance_norm,
    "LRN": lrn,
    "LayerNormalization": layer_norm,
    "MatMul": torch.matmul,
    "MaxPool": max_pool,
    "QuantizeLinear": quantize_linear,
    "ReduceMean": _reduction(_mean),
    "ReduceSum": _reduction(_sum),
    "Reshape": reshape,
    "Shape": lambda x, *, start=0, end=None: torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64),
    "Slice": slice_,
    "Softmax": softmax,
    "Split": split,
    "Squeeze": lambda x, axes=None: x.squeeze() if axes is None else x.squeeze(tuple({a % x.ndim for a in ints(axes)})),
    "Transpose": lambda x, *, perm=None: x.permute([*range(x.ndim)][::-1] if perm is None else [*perm]),
    "Unsqueeze": unsqueeze,
}
"""ONNX operator -> its function."""


def parameters(operator: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of an operator's function."""
    function = OPERATORS[operator]
    return {} if function is torch.matmul else inspect.signature(function).parameters


def takes(operator: str, attribute: str) -> bool:
    """Whether the operator's function knows the attribute."""
    known = parameters(operator)
    return (
        attribute in known
        or ("rest" in known and attribute in WINDOW)
        or ("turned" in known and attribute[:5] == "trans")
    )


def is_host(operator: str, count: int) -> list[bool]:
    """For each of `count` inputs, whether it says how (a shape, axes) instead of what."""
    names = [n for n, p in parameters(operator).items() if p.kind == p.POSITIONAL_OR_KEYWORD]
    return [n < len(names) and names[n] in HOST_INPUTS for n in range(count)]
