"""engine/glassbox/kernels: the library of kernels, and for each the tactics: ways to compute the same.

In: a `Call`: the step's attributes, the weights among its operands, the shapes. Out: a function of the other operands,
with everything that does not change from run to run (packed weights, padding) done beforehand. A tactic that writes
where it is told takes the result tensors as its last arguments. The builder times tactics and keeps the fastest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.engine.glassbox import pointwise, pooling, product, winograd
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import PlanError
from trtlab.engine.glassbox.operators import (
    CONVOLUTIONS,
    OPERATORS,
    WINDOW,
    Window,
    check_naturals,
    conv,
    is_host,
    max_pool,
    parameters,
    window,
)  # fmt: skip
from trtlab.engine.glassbox.plan import Step, TensorSpec

Kernel = Callable[..., Any]
FLOATS = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is known of a step before it runs. `operands` has a tensor for every weight, `shapes` the input shapes;
    None where that is not known, or the input is left out. `present` tells left out from not known."""

    attributes: Mapping[str, Any]
    operands: tuple[Tensor | None, ...]
    present: tuple[bool, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    dtype: str
    device: Device
    results: int = 1

    def weight(self, number: int) -> Tensor | None:
        return self.operands[number] if number < len(self.operands) else None

    def has(self, number: int) -> bool:
        return number < len(self.present) and self.present[number]


def call_of(step: Step, tensors: Mapping[str, TensorSpec], weights: Mapping[str, Tensor], device: Device) -> Call:
    """What is known of the step before it runs."""
    shapes = [
        tensors[n].shape if n in tensors else tuple(weights[n].shape) if n in weights else None for n in step.inputs
    ]
    dtypes = {tensors[n].dtype if n in tensors else str(weights[n].dtype)[6:] for n in step.inputs if n}
    return Call(
        attributes=step.attributes,
        operands=tuple(weights.get(name) for name in step.inputs),
        present=tuple(bool(name) for name in step.inputs),
        shapes=tuple(shapes),
        dtype=dtypes.pop() if len(dtypes) == 1 else "mixed",
        device=device,
        results=len(step.outputs),
    )


@dataclass(frozen=True, kw_only=True)
class Tactic:
    """One way to compute a kernel. `fits` says whether it can compute this call here."""

    bind: Callable[[Call], Kernel]
    fits: Callable[[Call], bool] = lambda _: True
    writes_out: bool = False


# --- activations that finish a convolution or a product -------------------------------------------------------------


def activation(call: Call) -> tuple[str, list[float], str]:
    """The fused activation in oneDNN's words: name, numbers, algorithm."""
    name, values = call.attributes.get("activation", ""), call.attributes.get("activation_values", [])
    return (_ONEDNN_WORDS[name], list(values), "none" if name == "Gelu" else "tanh" if name == "GeluTanh" else "")


_ONEDNN_WORDS = {
    "": "none", "Clip": "hardtanh", "Gelu": "gelu", "GeluTanh": "gelu", "HardSwish": "hardswish",
    "LeakyRelu": "leaky_relu", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
}  # fmt: skip
ACTIVATIONS = frozenset(_ONEDNN_WORDS) - {""}
"""Activations that a convolution or a product can finish with."""


def _finish(call: Call) -> Callable[[Tensor], Tensor] | None:
    """The activation in place, through torch; None if there is none."""
    name, values = call.attributes.get("activation", ""), call.attributes.get("activation_values", [])
    return {
        "": None,
        "Clip": lambda y: y.clamp_(*values),
        "Gelu": lambda y: torch.ops.aten.gelu_(y),
        "GeluTanh": lambda y: torch.ops.aten.gelu_(y, approximate="tanh"),
        "HardSwish": lambda y: F.hardswish(y, inplace=True),
        "LeakyRelu": lambda y: F.leaky_relu_(y, *values),
        "Relu": torch.relu_,
        "Sigmoid": torch.sigmoid_,
        "Tanh": torch.tanh_,
    }[name]  # fmt: skip


def _finished(kernel: Kernel, call: Call, *, adds: bool) -> Kernel:
    """The kernel, then the other branch added if there is one, then the activation, in place."""
    finish = _finish(call)
    if adds:
        return (
            (lambda x, other, *out: finish(kernel(x, *out).add_(other)))
            if finish
            else (lambda x, other, *out: kernel(x, *out).add_(other))
        )
    return (lambda x, *out: finish(kernel(x, *out))) if finish else kernel


def _weight(call: Call) -> Tensor:
    """The constant second operand."""
    weight = call.weight(1)
    if weight is None:
        raise ValueError("the weights of this kernel are not in the plan")
    return weight


def _finish_text(call: Call) -> str:
    """The activation as an expression of {0}; "" where there is none."""
    name, values = call.attributes.get("activation", ""), call.attributes.get("activation_values", [])
    return pointwise.POINTWISE[name].text.format("{0}", alpha=float(*values or [0])) if name else "{0}"


def _generates(call: Call) -> bool:
    """Whether generated kernels for float32 run here."""
    return call.device.name == "cpu" and call.dtype == "float32" and _has_numba()


def _finishes(call: Call) -> bool:
    """Whether a generated kernel has the activation too."""
    name = call.attributes.get("activation", "")
    return _generates(call) and (not name or bool(pointwise.POINTWISE[name].text))


def _bias(call: Call, size: int) -> Any:
    """The constant third operand as an array, zeros where there is none."""
    bias = call.weight(2)
    return (torch.zeros(size) if bias is None else bias.contiguous()).numpy()


# --- convolution: x, weights, bias or none, other branch or none ------------------------------------------------------


def _conv_window(call: Call) -> tuple[Window, int]:
    """(window, groups) for the image's size."""
    a = {name: value for name, value in call.attributes.items() if name in WINDOW}
    group = call.attributes.get("group", 1)
    check_naturals([group], least=1)
    return window((call.shapes[0] or ())[2:], _weight(call).shape[2:], a), group


def _same_shape(shape_of: Callable[[Sequence[int]], tuple[int, ...]]) -> Callable[[Tensor, Tensor], None]:
    """A check that the other branch has the shape of the result, which oneDNN reads without looking. Asked once for
    each pair of shapes."""
    known: set[tuple[Any, Any]] = set()

    def check(x: Tensor, other: Tensor) -> None:
        key = x.shape, other.shape
        if key not in known:
            if tuple(other.shape) != shape_of(x.shape):
                raise ValueError(f"the other branch is {tuple(other.shape)}, the result {shape_of(x.shape)}")
            known.add(key)

    return check


def _conv_with_torch(call: Call) -> Kernel:
    w, b, (at, group) = _weight(call), call.weight(2), _conv_window(call)
    if w.ndim == 4:
        w = w.contiguous(memory_format=torch.channels_last)
    if at.padding is None:
        a = {name: value for name, value in call.attributes.items() if name in WINDOW}
        return _finished(lambda x: conv(x, w, b, group=group, **a), call, adds=call.has(3))
    run, strides, padding, dilations = CONVOLUTIONS[w.ndim - 3], at.strides, at.padding, at.dilations
    return _finished(lambda x: run(x, w, b, strides, padding, dilations, group), call, adds=call.has(3))


def _fits_onednn(call: Call) -> bool:
    return call.device.has_onednn and call.dtype in ("float32", "bfloat16")


def _conv_with_onednn(call: Call) -> Kernel:
    """oneDNN with packed weights; bias, other branch and activation while the numbers are in registers."""
    w, b, (at, group) = _weight(call), call.weight(2), _conv_window(call)
    padding, strides, dilations = at.padding, at.strides, at.dilations
    pack = torch.ops.aten.mkldnn_reorder_conv2d_weight
    packed = pack(w.to_mkldnn(), padding, strides, dilations, group, call.shapes[0])
    name, values, algorithm = activation(call)
    if call.has(3):
        fused = torch.ops.mkldnn._convolution_pointwise.binary
        unary = name if name != "none" else None
        check = _same_shape(lambda shape: _conv_shape(shape, w, at))

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
    return _fits_onednn(call) and alone and _weight(call).ndim == 4 and _conv_window(call)[0].padding is not None


def _is_product(call: Call) -> bool:
    """A 1x1 convolution is a matrix product over pixels."""
    at, group = _conv_window(call)
    return _weight(call).shape[2:] == (1, 1) and group == 1 and {*at.strides} == {1} and at.padding == [0, 0]


def _conv_as_product(call: Call) -> Kernel:
    """Pixels times channels: rows of an NHWC image times the weights, written where the result belongs."""
    w, b = _weight(call), call.weight(2)
    columns = w.flatten(1).t().contiguous()

    def run(x: Tensor, out: Tensor) -> Tensor:
        rows, result = _pixels(x), out.permute(0, 2, 3, 1).view(-1, w.shape[0])
        _multiply(rows, columns, b, result)
        return out

    return _finished(run, call, adds=call.has(3))


def _check_rows(rows: Tensor, result: Tensor) -> None:
    """torch would give a result of another size other memory."""
    if rows.shape[0] != result.shape[0]:
        raise ValueError(f"{rows.shape[0]} rows do not go into {result.shape[0]}")


def _multiply(rows: Tensor, columns: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """rows @ columns + bias into `result`."""
    _check_rows(rows, result)
    if bias is None:
        torch.mm(rows, columns, out=result)
    else:
        torch.addmm(bias, rows, columns, out=result)


def _pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] in NHWC order as [N * H * W, C], the same memory."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n * h * w, c)


def _conv_with_cudnn(call: Call) -> Kernel:
    """cuDNN with bias, other branch and Relu while the numbers are in registers."""
    w, (at, group) = _weight(call).contiguous(memory_format=torch.channels_last), _conv_window(call)
    b = call.weight(2)
    b = torch.zeros(w.shape[0], dtype=w.dtype, device=w.device) if b is None else b
    how: tuple[Any, ...] = at.strides, at.padding, at.dilations, group
    if call.has(3):
        return lambda x, other: torch.cudnn_convolution_add_relu(x, w, other, 1.0, b, *how)
    return lambda x: torch.cudnn_convolution_relu(x, w, b, *how)


def _fits_cudnn(call: Call) -> bool:
    relu = call.attributes.get("activation", "") == "Relu"
    return relu and call.device.name == "cuda" and _weight(call).ndim == 4 and _conv_window(call)[0].padding is not None


def _with_epilogue(bind: Callable[[Call], Kernel]) -> Callable[[Call], Kernel]:
    """The kernel bare, then bias, other branch and activation as one generated kernel, in place."""

    def bound(call: Call) -> Kernel:
        name, b = call.attributes.get("activation", ""), call.weight(2)
        bare = replace(
            call,
            attributes={n: v for n, v in call.attributes.items() if not n.startswith("activation")},
            operands=(*call.operands[:2], None),
            present=(True, True, False),
            shapes=(*call.shapes[:2], None),
        )
        kernel = bind(bare)
        bias = [] if b is None else [b.reshape(-1, *[1] * (_weight(call).ndim - 2)) if _weight(call).ndim > 2 else b]
        inputs, program = 1 + len(bias) + call.has(3), list[list[Any]]()
        for other in range(1, inputs):
            program.append(["Add", [inputs + len(program) - 1 if program else 0, other], {}])
        if name:
            program.append([name, [inputs + len(program) - 1 if program else 0], {}])
        launch = pointwise.generated(program, [inputs + len(program) - 1])

        def run(x: Tensor, *rest: Tensor) -> Tensor:
            others = rest[: call.has(3)]
            y = kernel(x, *rest[call.has(3) :])
            launch(y, *bias, *others, y)
            return y

        return run

    return bound


def _fits_epilogue(call: Call) -> bool:
    """On a GPU, where a pass that is saved is worth it, and there is something to finish with."""
    name = call.attributes.get("activation", "")
    finishes = bool(name) + (call.weight(2) is not None) + call.has(3)
    known = not name or (pointwise.is_generated([(name, [0], {})]) and not call.attributes.get("activation_values"))
    return call.device.has_triton and call.dtype in FLOATS and finishes > 0 and known


def _conv_generated(call: Call) -> Kernel:
    """The same product, finished while its numbers are at hand."""
    run = _product_generated(call, _weight(call).flatten(1).t(), lambda t: t.permute(0, 2, 3, 1).flatten(0, 2))
    return lambda x, *rest: run(x.contiguous(memory_format=torch.channels_last), *rest)


def _product_generated(call: Call, columns: Tensor, rows: Callable[[Tensor], Tensor]) -> Kernel:
    run = product.generated(_finish_text(call), lambda t: rows(t)[None], columns.shape[1], adds=call.has(3))
    return partial(run, product.packed(columns[None]), _bias(call, columns.shape[1]))


def _conv_winograd(call: Call) -> Kernel:
    w, (at, _) = _weight(call), _conv_window(call)
    return winograd.generated(w, _bias(call, len(w)), _finish_text(call), at.pairs, adds=call.has(3))


def _fits_winograd(call: Call) -> bool:
    at, group = _conv_window(call)
    return _finishes(call) and _weight(call).shape[2:] == (3, 3) and group == 1 and {*at.strides, *at.dilations} == {1}


# --- product with a constant matrix: x, weights [K, N], bias or none, other branch or none ---------------------------


def _linear_with_torch(call: Call) -> Kernel:
    w, b = _weight(call), call.weight(2)
    columns, width = w.contiguous(), w.shape[1]

    def run(x: Tensor, out: Tensor) -> Tensor:
        rows, result = x.reshape(-1, x.shape[-1]), out.view(-1, width)
        _multiply(rows, columns, b, result)
        return out

    return _finished(run, call, adds=call.has(3))


def _linear_generated(call: Call) -> Kernel:
    return _product_generated(call, _weight(call), lambda t: t.flatten(0, -2))


def _linear_with_onednn(call: Call) -> Kernel:
    w, b = _weight(call), call.weight(2)
    shape = call.shapes[0] or (1,)
    packed = torch.ops.mkldnn._reorder_linear_weight(w.t().contiguous(), max(1, _rows(shape)))
    name, values, algorithm = activation(call)
    if call.has(3):
        binary, width = torch.ops.mkldnn._linear_pointwise.binary, w.shape[1]
        check = _same_shape(lambda shape: (*shape[:-1], width))

        def add(x: Tensor, other: Tensor) -> Tensor:
            check(x, other)
            return binary(x, other, packed, b, "add")

        return add
    single = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: single(x, packed, b, name, values, algorithm)


def _fits_onednn_linear(call: Call) -> bool:
    """Behind an added branch, which must lie dense, no activation."""
    alone = not call.has(3) or not call.attributes.get("activation", "")
    return _fits_onednn(call) and alone and call.shapes[0] is not None and call.shapes[0][-1] > 0


def _rows(shape: Sequence[int]) -> int:
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows


# --- products of two tensors, pointwise programs, everything else -----------------------------------------------------


def _matmul(call: Call) -> Kernel:
    scale = call.attributes.get("scale", 1.0)
    return torch.matmul if scale == 1 else lambda a, b: torch.matmul(a, b).mul_(scale)


def _batched(call: Call) -> Kernel:
    """One call for all matrices, the factor included, written where the result belongs."""
    scale = call.attributes.get("scale", 1.0)

    def run(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        result = out.view(-1, *out.shape[-2:])
        left, right = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
        _check_rows(left.flatten(0, 1), result.flatten(0, 1))
        if scale == 1:
            torch.bmm(left, right, out=result)
        else:
            torch.baddbmm(result, left, right, beta=0, alpha=scale, out=result)
        return out

    return run


def _matmul_generated(call: Call) -> Kernel:
    """Our own product: the second operand is packed on every run."""
    rows, bias = lambda t: t.flatten(0, -3), np.zeros((call.shapes[1] or (0,))[-1], np.float32)
    run = product.generated(f"{{0}} * f({float(call.attributes.get('scale', 1.0))})", rows, len(bias))
    return lambda a, b, out: run(product.packed(rows(b)), bias, a, out)


def _fits_batched(call: Call) -> bool:
    a, b = call.shapes[:2]
    return a is not None and b is not None and len(a) > 2 and a[:-2] == b[:-2]


def _pointwise_with_torch(call: Call) -> Kernel:
    program, results = pointwise.checked(call.attributes["program"], call.attributes["results"], len(call.operands))
    operation = pointwise.POINTWISE[program[0][0]].torch
    if len(program) == 1 and program[0][1] == list(range(len(call.operands))) and all(call.present):
        attributes = program[0][2]
        return with_weights(lambda *tensors: operation(*tensors, **attributes), call)
    run = pointwise.run_with_torch
    if len(results) == 1:
        return with_weights(lambda *tensors: run(program, results, tensors)[0], call)
    return with_weights(lambda *tensors: run(program, results, tensors), call)


def _pointwise_generated(call: Call) -> Kernel:
    launch = pointwise.generated(
        *pointwise.checked(call.attributes["program"], call.attributes["results"], len(call.operands))
    )
    launch_all = with_weights(launch, call)

    def run(*tensors: Tensor) -> Any:
        launch_all(*tensors)
        return tensors[-1] if call.results == 1 else tensors[-call.results :]

    return run


def _fits_generated(call: Call) -> bool:
    program = call.attributes["program"]
    here = _has_numba() and call.dtype == "float32" if call.device.name == "cpu" else call.device.has_triton
    return here and call.dtype in FLOATS and pointwise.is_generated(program)


def _has_numba() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def _max_pool_window(call: Call) -> Window:
    return window((call.shapes[0] or ())[2:], call.attributes["kernel_shape"], call.attributes)


def _max_pool_generated(call: Call) -> Kernel:
    at = _max_pool_window(call)
    return pooling.generated(at.kernel, at.strides, [before for before, _ in at.pairs])


def _fits_max_pool(call: Call) -> bool:
    at = _max_pool_window(call)
    plain = (
        len(at.strides) == 2
        and {*at.dilations} == {1}
        and all(a < k for (a, _), k in zip(at.pairs, at.kernel, strict=True))
    )
    return plain and _generates(call)


def _operator(call: Call) -> Kernel:
    """The ONNX operator itself; weights that say how are read once, here."""
    attributes = dict(call.attributes)
    name = attributes.pop("operator")
    if "value" in attributes and isinstance(attributes["value"], Mapping):  # a tensor of one number
        value = attributes["value"]
        attributes["value"] = torch.tensor(value["number"], dtype=getattr(torch, value["dtype"]))
    if "results" in parameters(name):
        attributes["results"] = call.results
    host = is_host(name, len(call.operands))
    fixed = [
        tuple(w.flatten().tolist()) if h and w is not None else w for h, w in zip(host, call.operands, strict=True)
    ]
    return with_weights(OPERATORS[name], call, fixed, attributes)


def _joined(call: Call) -> Kernel:
    """A concatenation that copies the parts which were not made where they belong."""
    axis, known = call.attributes.get("axis", 1), set[tuple[int, ...]]()

    def run(*tensors: Tensor) -> Tensor:
        *parts, out = tensors
        addresses = tuple([t.data_ptr() for t in tensors])
        if addresses not in known:
            places = out.split([p.shape[axis] for p in parts], axis)
            copies = [
                place.copy_(p) for p, place in zip(parts, places, strict=True) if p.data_ptr() != place.data_ptr()
            ]
            known.update([] if copies else [addresses])
        return out

    return with_weights(run, call)


def with_weights(
    function: Kernel, call: Call, fixed: Sequence[Any] | None = None, attributes: Mapping[str, Any] | None = None
) -> Kernel:
    """A function of the operands that are no weights, and of whatever follows them."""
    fixed, named = list(fixed or call.operands), dict(attributes or {})
    free = [n for n, (p, w) in enumerate(zip(call.present, call.operands, strict=True)) if p and w is None]
    if free == list(range(len(fixed))):
        return (lambda *tensors: function(*tensors, **named)) if named else function
    if free == [0]:
        rest = tuple(fixed[1:])
        return lambda x, *out: function(x, *rest, *out, **named)

    def run(*tensors: Any) -> Any:
        operands = list(fixed)
        for place, tensor in zip(free, tensors, strict=False):
            operands[place] = tensor
        return function(*operands, *tensors[len(free) :], **named)

    return run


VIEW = "view"
"""The tactic of what is a part of its input's memory, seen otherwise: nothing to do."""
KERNELS: dict[str, dict[str, Tactic]] = {
    "conv": {
        "torch": Tactic(bind=_conv_with_torch),
        "onednn": Tactic(bind=_conv_with_onednn, fits=_fits_onednn_conv),
        "product": Tactic(bind=_conv_as_product, fits=_is_product, writes_out=True),
        "generated": Tactic(bind=_conv_generated, fits=lambda c: _finishes(c) and _is_product(c), writes_out=True),
        "winograd": Tactic(bind=_conv_winograd, fits=_fits_winograd, writes_out=True),
        "cudnn": Tactic(bind=_conv_with_cudnn, fits=_fits_cudnn),
        "epilogue": Tactic(bind=_with_epilogue(_conv_with_torch), fits=_fits_epilogue),
        "product+epilogue": Tactic(
            bind=_with_epilogue(_conv_as_product), fits=lambda c: _is_product(c) and _fits_epilogue(c), writes_out=True
        ),
    },
    "linear": {
        "torch": Tactic(bind=_linear_with_torch, writes_out=True),
        "onednn": Tactic(bind=_linear_with_onednn, fits=_fits_onednn_linear),
        "generated": Tactic(bind=_linear_generated, fits=_finishes, writes_out=True),
        "epilogue": Tactic(bind=_with_epilogue(_linear_with_torch), fits=_fits_epilogue, writes_out=True),
    },
    "matmul": {
        "torch": Tactic(bind=_matmul),
        "batched": Tactic(bind=_batched, fits=_fits_batched, writes_out=True),
        "generated": Tactic(bind=_matmul_generated, fits=lambda c: _generates(c) and _fits_batched(c), writes_out=True),
    },
    "pointwise": {
        "torch": Tactic(bind=_pointwise_with_torch),
        "generated": Tactic(bind=_pointwise_generated, fits=_fits_generated, writes_out=True),
    },
    "maxpool": {
        "torch": Tactic(bind=lambda call: partial(max_pool, **call.attributes)),
        "generated": Tactic(bind=_max_pool_generated, fits=_fits_max_pool, writes_out=True),
    },
    "operator": {
        "torch": Tactic(bind=_operator),
        "joined": Tactic(bind=_joined, fits=lambda call: call.attributes["operator"] == "Concat", writes_out=True),
        VIEW: Tactic(bind=lambda _: lambda *tensors: tensors[-1], writes_out=True),
    },
}
"""Kernel -> tactic -> how. The first tactic of each works wherever torch does."""


def tactics(kernel: str, call: Call) -> dict[str, Tactic]:
    """The tactics that can compute this call on this machine."""
    if kernel not in KERNELS:
        raise PlanError(f"No kernel is called {kernel!r}: expected one of {', '.join(KERNELS)}. Build the plan again.")
    return {name: tactic for name, tactic in KERNELS[kernel].items() if tactic.fits(call)}
