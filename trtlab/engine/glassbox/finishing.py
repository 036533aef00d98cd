"""engine/glassbox/finishing: what a convolution and a product have in common: bias, other branch, activation.

In: a `Call` with operands x, weights, bias or none, other branch or none. Out: kernels that end with them: in place
through torch, as an expression for a generated kernel, in oneDNN's words, or as one more generated kernel on a GPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.engine.codegen import pointwise, product
from trtlab.engine.glassbox.kernels import FLOATS, Call, Kernel

_ONEDNN_WORDS = {
    "": "none", "Clip": "hardtanh", "Gelu": "gelu", "GeluTanh": "gelu", "HardSwish": "hardswish",
    "LeakyRelu": "leaky_relu", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
}  # fmt: skip
ACTIVATIONS = frozenset(_ONEDNN_WORDS) - {""}
"""Activations that a convolution or a product can finish with."""


def activation(call: Call) -> tuple[str, list[float], str]:
    """The fused activation in oneDNN's words: name, numbers, algorithm."""
    name, values = call.attributes.get("activation", ""), call.attributes.get("activation_values", [])
    return (_ONEDNN_WORDS[name], list(values), "none" if name == "Gelu" else "tanh" if name == "GeluTanh" else "")


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


def finished(kernel: Kernel, call: Call, *, adds: bool) -> Kernel:
    """The kernel, then the other branch added if there is one, then the activation, in place."""
    finish = _finish(call)
    if adds:
        return (
            (lambda x, other, *out: finish(kernel(x, *out).add_(other)))
            if finish
            else (lambda x, other, *out: kernel(x, *out).add_(other))
        )
    return (lambda x, *out: finish(kernel(x, *out))) if finish else kernel


def weights_of(call: Call) -> Tensor:
    """The constant second operand."""
    weight = call.weight(1)
    if weight is None:
        raise ValueError("the weights of this kernel are not in the plan")
    return weight


def finish_text(call: Call) -> str:
    """The activation as an expression of {0}; "" where there is none."""
    name, values = call.attributes.get("activation", ""), call.attributes.get("activation_values", [])
    return pointwise.POINTWISE[name].text.format("{0}", alpha=float(*values or [0])) if name else "{0}"


def has_numba() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def generates(call: Call) -> bool:
    """Whether generated kernels for float32 run here."""
    return call.device.name == "cpu" and call.dtype == "float32" and has_numba()


def generates_all(call: Call) -> bool:
    """Whether a generated kernel has the activation too."""
    name = call.attributes.get("activation", "")
    return generates(call) and (not name or bool(pointwise.POINTWISE[name].text))


def bias_of(call: Call, size: int) -> Any:
    """The constant third operand as an array, zeros where there is none."""
    bias = call.weight(2)
    return (torch.zeros(size) if bias is None else bias.contiguous()).numpy()


def same_shape(shape_of: Callable[[Sequence[int]], tuple[int, ...]]) -> Callable[[Tensor, Tensor], None]:
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


def check_rows(rows: Tensor, result: Tensor) -> None:
    """torch would give a result of another size other memory."""
    if rows.shape[0] != result.shape[0]:
        raise ValueError(f"{rows.shape[0]} rows do not go into {result.shape[0]}")


def multiply(rows: Tensor, columns: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """rows @ columns + bias into `result`."""
    check_rows(rows, result)
    if bias is None:
        torch.mm(rows, columns, out=result)
    else:
        torch.addmm(bias, rows, columns, out=result)


def fits_onednn(call: Call) -> bool:
    return call.device.has_onednn and call.dtype in ("float32", "bfloat16")


def product_generated(call: Call, columns: Tensor, rows: Callable[[Tensor], Tensor]) -> Kernel:
    run = product.generated(finish_text(call), lambda t: rows(t)[None], columns.shape[1], adds=call.has(3))
    return partial(run, product.packed(columns[None]), bias_of(call, columns.shape[1]))


def with_epilogue(bind: Callable[[Call], Kernel]) -> Callable[[Call], Kernel]:
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
        bias = (
            [] if b is None else [b.reshape(-1, *[1] * (weights_of(call).ndim - 2)) if weights_of(call).ndim > 2 else b]
        )
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


def fits_epilogue(call: Call) -> bool:
    """On a GPU, where a pass that is saved is worth it, and there is something to finish with."""
    name = call.attributes.get("activation", "")
    finishes = bool(name) + (call.weight(2) is not None) + call.has(3)
    known = not name or (pointwise.is_generated([(name, [0], {})]) and not call.attributes.get("activation_values"))
    return call.device.has_triton and call.dtype in FLOATS and finishes > 0 and known
