"""engine/glassbox/operators: the ONNX operators that are not elementwise, as functions of torch tensors.

In: tensors in the order of ONNX's inputs, attributes by ONNX's names. What was an attribute in an old opset and an input
in a new one has one name here. Inputs that say how (axes, shapes, pads) may be tuples, where the builder knows them.
Checked by the node tests of ONNX's backend suite.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Ints = Tensor | Sequence[int]
HOST_INPUTS = frozenset("axes shape starts ends steps split pads repeats start limit delta depth".split())
"""Parameters that are read as numbers, not as tensors."""


def ints(values: Ints) -> list[int]:
    """Numbers of an input that says how."""
    return values.flatten().tolist() if isinstance(values, Tensor) else list(values)


def identity(x: Tensor) -> Tensor:
    return x


def dropout(
    x: Tensor, ratio: Any = None, training: Any = None, *, seed: int = 0, is_test: int = 1, results: int = 1
) -> Any:
    """In inference nothing is dropped, and the mask is true everywhere. The builder refuses training."""
    return x if results == 1 else (x, torch.ones_like(x, dtype=torch.bool))


def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    sizes = ints(shape)
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes)])


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    where = [a % (x.ndim + len(ints(axes))) for a in ints(axes)]
    for axis in sorted(where):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(*(range(x.ndim - 1, -1, -1) if perm is None else perm))


def concat(*parts: Tensor, axis: int = 1) -> Tensor:
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
    for number, axis in enumerate(ints(axes) if axes is not None else range(len(ints(starts)))):
        start, end = ints(starts)[number], ints(ends)[number]
        step = ints(steps)[number] if steps is not None else 1
        places = range(x.shape[axis])[slice(start, end if step > 0 or end >= -x.shape[axis] else None, step)]
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
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def expand(x: Tensor, shape: Ints) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, ints(shape)))


def tile(x: Tensor, repeats: Ints) -> Tensor:
    return x.repeat(*ints(repeats))


def pad(
    x: Tensor,
    pads: Ints,
    constant_value: Tensor | None = None,
    axes: Ints | None = None,
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> Tensor:
    """Numbers before and after each axis; negative ones crop. One axis at a time, by index unless constant."""
    sizes, where = ints(pads), ints(axes) if axes is not None else list(range(x.ndim))
    pairs = {axis % x.ndim: (sizes[i], sizes[i + len(where)]) for i, axis in enumerate(where)}
    if mode == "constant":
        fill = value if constant_value is None else constant_value.item()
        return F.pad(x, [n for axis in reversed(range(x.ndim)) for n in pairs.get(axis, (0, 0))], value=fill)
    for axis, (before, after) in pairs.items():
        size = x.shape[axis]
        places = torch.arange(-before, size + after, device=x.device)
        if mode == "edge":
            places = places.clamp(0, size - 1)
        elif mode == "wrap":
            places = places % size
        elif mode == "reflect":
            places = (size - 1) - ((places % max(1, 2 * size - 2)) - (size - 1)).abs()
        else:
            raise ValueError(f"Pad has no mode {mode!r}: use constant, reflect, edge or wrap")
        x = x.index_select(axis, places)
    return x


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


def size_of(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


def constant_of_shape(shape: Ints, *, value: Tensor | None = None) -> Tensor:
    return torch.zeros(ints(shape)) if value is None else value.reshape(()).expand(ints(shape)).clone()


def range_(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, ... before limit."""
    a, b, step = (torch.as_tensor(v).reshape(()) for v in (start, limit, delta))
    count = max(0, math.ceil((b.item() - a.item()) / step.item()))
    return (a + torch.arange(count, dtype=torch.float64).to(a.dtype) * step).to(a.dtype)


def _over_axis(function: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, *, axis: int | None = None, opset: int = 13) -> Tensor:
        if opset >= 13:
            return function(x, -1 if axis is None else axis)
        axis = 1 if axis is None else axis % x.ndim  # before, all axes from this one on were one
        return function(x.reshape(math.prod(x.shape[:axis]), -1), 1).reshape(x.shape)

    return run


softmax, log_softmax = _over_axis(torch.softmax), _over_axis(torch.log_softmax)


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
    return x.mean(axes, keepdim=keep) if x.is_floating_point() else x.double().mean(axes, keepdim=keep).to(x.dtype)


def _extreme(
    function: Callable[..., Tensor], worst: Callable[[torch.dtype], Any]
) -> Callable[[Tensor, list[int], bool], Tensor]:
    """Of no numbers at all, the worst there is."""

    def run(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if x.numel():
            return function(x, axes, keepdim=keep)
        return torch.full_like(x.float().sum(axes, keepdim=keep), worst(x.dtype)).to(x.dtype)

    return run


def lowest(dtype: torch.dtype) -> Any:
    """The smallest number, minus infinity for floats."""
    return -math.inf if dtype.is_floating_point else False if dtype == torch.bool else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> Any:
    return math.inf if dtype.is_floating_point else True if dtype == torch.bool else torch.iinfo(dtype).max


def layer_norm(
    x: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    results: int = 1,
) -> Any:
    sizes = x.shape[axis % x.ndim :]
    if results == 1 and tuple(scale.shape) == tuple(sizes) and (shift is None or shift.shape == scale.shape):
        return torch.layer_norm(x, sizes, scale, shift, epsilon)
    y, mean, inverse = torch.native_layer_norm(x.contiguous(), sizes, None, None, epsilon)
    y = y * scale if shift is None else y * scale + shift
    return (y, mean, inverse)[:results] if results > 1 else y


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=shift, eps=epsilon)


def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """x / (bias + alpha / size * sum of squares of the `size` channels around it) ** beta."""
    squares = F.pad(x.square(), [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2])
    sums = sum((squares.narrow(1, i, x.shape[1]) for i in range(1, size)), squares.narrow(1, 0, x.shape[1]))
    scale = torch.add(bias, sums, alpha=alpha / size) if not isinstance(sums, Tensor) else sums * (alpha / size) + bias
    power = torch.rsqrt(scale * torch.sqrt(scale)) if beta == 0.75 else scale.pow(-beta)
    return x * power


def resolve_pads(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    auto_pad: str,
    ceil_mode: int = 0,
) -> tuple[list[tuple[int, int]], list[int]]:
    """(before, after) of every spatial axis, and how far the last window may hang over in ceil mode."""
    rank, pairs, over = len(sizes), [], []
    for d in range(rank):
        span = (kernel[d] - 1) * dilations[d] + 1
        before, after = (pads[d], pads[d + rank]) if auto_pad in ("NOTSET", "") else (0, 0)
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = max(0, (-(-sizes[d] // strides[d]) - 1) * strides[d] + span - sizes[d])
            before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            after = total - before
        room = sizes[d] + before + after - span
        windows = (-(-room // strides[d]) if ceil_mode else room // strides[d]) + 1
        if ceil_mode and (windows - 1) * strides[d] >= sizes[d] + before:
            windows -= 1  # a window must start inside
        pairs.append((before, after))
        over.append(max(0, (windows - 1) * strides[d] - room))
    return pairs, over


def _around(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Pads in torch's order, last axis first."""
    return [n for pair in reversed(pairs) for n in pair]


_MAX_POOLS: tuple[Any, ...] = F.max_pool1d, F.max_pool2d, F.max_pool3d
_CONVS = F.conv1d, F.conv2d, F.conv3d


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
    results: int = 1,
) -> Any:
    rank = len(kernel_shape)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    pairs, over = resolve_pads(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    simple = not any(over) and all(a == b and 2 * a <= k for (a, b), k in zip(pairs, kernel_shape, strict=True))
    pool = _MAX_POOLS[rank - 1]
    if simple and results == 1:
        return pool(x, kernel_shape, strides, [a for a, _ in pairs], dilations)
    padded = F.pad(x, _around([(a, b + o) for (a, b), o in zip(pairs, over, strict=True)]), value=lowest(x.dtype))
    if results == 1:
        return pool(padded, kernel_shape, strides, 0, dilations)
    y, places = pool(padded, kernel_shape, strides, 0, dilations, return_indices=True)
    return y, _unpadded_places(places, x.shape, padded.shape, [a for a, _ in pairs], storage_order)


def _unpadded_places(
    places: Tensor, shape: Sequence[int], padded: Sequence[int], before: Sequence[int], column_major: int
) -> Tensor:
    """Places in the whole tensor x, from places in each padded plane."""
    coordinates = []
    for size, shift in zip(reversed(padded[2:]), reversed(before), strict=True):
        coordinates.append(places % size - shift)
        places = places // size
    spatial = list(shape[2:])
    order = list(zip(reversed(coordinates), spatial, strict=True))
    flat = torch.zeros_like(coordinates[0])
    for coordinate, size in reversed(order) if column_major else order:
        flat = flat * size + coordinate
    planes = torch.arange(shape[0] * shape[1], device=flat.device).reshape(shape[0], shape[1], *[1] * len(spatial))
    return flat + planes * math.prod(spatial)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    rank = len(kernel_shape)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    pairs, over = resolve_pads(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    simple = not any(over) and all(a == b and 2 * a <= k for (a, b), k in zip(pairs, kernel_shape, strict=True))
    if rank == 2 and simple and set(dilations) == {1}:
        return F.avg_pool2d(x, list(kernel_shape), list(strides), [a for a, _ in pairs], count_include_pad=bool(count_include_pad))
    return _average_of_windows(x, kernel_shape, strides, dilations, pairs, over, count_include_pad)


def _average_of_windows(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    over: Sequence[int],
    include_pad: int,
) -> Tensor:
    """Sum of each window over how many numbers it holds: two convolutions with ones."""
    ones = torch.ones(1, 1, *kernel, dtype=x.dtype, device=x.device)
    planes = x.reshape(-1, 1, *x.shape[2:])
    counted = F.pad(torch.ones_like(planes[:1]), _around(pairs), value=float(bool(include_pad)))
    hang = _around([(0, o) for o in over])
    sums, counts = (
        _CONVS[len(kernel) - 1](F.pad(v, hang), ones, None, strides, 0, dilations)
        for v in (F.pad(planes, _around(pairs)), counted)
    )
    result = sums / counts
    return result.reshape(*x.shape[:2], *result.shape[2:])


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.ndim)), keepdim=True)


def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    rank = x.ndim - 2
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    pairs, _ = resolve_pads(x.shape[2:], kernel_shape or w.shape[2:], strides, dilations, pads, auto_pad)
    if all(a == b_ for a, b_ in pairs):
        return _CONVS[rank - 1](x, w, b, strides, [a for a, _ in pairs], dilations, group)
    return _CONVS[rank - 1](F.pad(x, _around(pairs)), w, b, strides, 0, dilations, group)


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * A' * B' + beta * C."""
    left, right = a.t() if transA else a, b.t() if transB else b
    product = left @ right
    product = product if alpha == 1 else product * alpha
    return product if c is None else product + (c if beta == 1 else c * beta)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def batch_norm(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Tensor:
    if training_mode or not spatial:
        raise ValueError("BatchNormalization only infers, with statistics of each channel")
    return F.batch_norm(x, mean, var, scale, shift, False, 0.0, epsilon)


OPERATORS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Conv": conv,
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "Identity": identity,
    "InstanceNormalization": instance_norm,
    "LRN": lrn,
    "LayerNormalization": layer_norm,
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Pad": pad,
    "Range": range_,
    "ReduceMax": _reduction(_extreme(torch.amax, lowest)),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(_extreme(torch.amin, _highest)),
    "ReduceSum": _reduction(_sum),
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": size_of,
    "Slice": slice_,
    "Softmax": softmax,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""ONNX operator -> its function."""
