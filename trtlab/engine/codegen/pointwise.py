"""engine/codegen/pointwise: any graph of elementwise operators as one kernel, generated from a list of instructions.

In: a program, `[["Mul", [0, 1], {}], ["Relu", [2], {}]]`: operator, registers read, attributes; inputs are the first
registers, each instruction writes the next. Out: the source of one loop (one load per input, registers in between, one
store per result), compiled by numba; or the same program through torch, operator by operator. They check each other.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.numeric import kernelfile

Instruction = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An elementwise operator: through torch, and as a numba expression of float32 arguments {0}, {1} and attributes.
    Without an expression it only runs through torch."""

    torch: Callable[..., Tensor]
    text: str = ""


def _div(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _pow(a: Tensor, b: Tensor) -> Tensor:
    """The type of the base is the type of the result."""
    return torch.pow(a, b).to(a.dtype)


def _clip(x: Tensor, low: Any = None, high: Any = None, **bounds: float) -> Tensor:
    """Bounds are inputs since opset 11 and attributes before. The upper one wins where they cross; NaN is no bound."""
    low, high = (bounds.get(name) if given is None else given for name, given in (("min", low), ("max", high)))
    ends = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)  # as ONNX says: infinity is outside
    low, high = (
        torch.as_tensor(end if bound is None else bound, dtype=x.dtype, device=x.device).nan_to_num(
            far, math.inf, -math.inf
        )
        for bound, end, far in ((low, ends.min, -math.inf), (high, ends.max, math.inf))
    )
    return torch.clamp(x, low, high)


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda first, *rest: functools.reduce(function, rest, first) if rest else first.clone()


def _normalize(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Batch normalisation with known statistics, a factor and a summand for each channel; the channels are axis 1."""
    factor = scale / torch.sqrt(var + epsilon)
    factor, summand = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (factor, shift - mean * factor))
    return (x * factor + summand).to(x.dtype)


def _cast(x: Tensor, *, to: str) -> Tensor:
    """Towards zero for integers, as C does."""
    return x.to(getattr(torch, to), copy=True)


POINTWISE: dict[str, Operation] = {
    "Abs": Operation(torch=torch.abs, text="abs({0})"),
    "Add": Operation(torch=torch.add, text="{0} + {1}"),
    "BatchNormalization": Operation(torch=_normalize),
    "Cast": Operation(torch=_cast),
    "Clip": Operation(torch=_clip),
    "Div": Operation(torch=_div, text="{0} / {1}"),
    "Erf": Operation(torch=torch.erf),
    "Exp": Operation(torch=torch.exp, text="exp({0})"),
    "Gelu": Operation(torch=lambda x, *, approximate="none": F.gelu(x, approximate=approximate)),
    "HardSwish": Operation(torch=lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1)),
    "LeakyRelu": Operation(
        torch=lambda x, *, alpha=0.01: F.leaky_relu(x, alpha), text="{0} * f({alpha}) if {0} < f(0) else {0}"
    ),
    "Log": Operation(torch=torch.log, text="log({0})"),
    "Max": Operation(torch=_fold(torch.maximum)),
    "Min": Operation(torch=_fold(torch.minimum)),
    "Mul": Operation(torch=torch.mul, text="{0} * {1}"),
    "Neg": Operation(torch=torch.neg, text="-{0}"),
    "Pow": Operation(torch=_pow),
    "Reciprocal": Operation(torch=torch.reciprocal, text="f(1) / {0}"),
    "Relu": Operation(torch=torch.relu, text="f(0) if f(0) > {0} else {0}"),  # so written, NaN stays NaN
    "Sign": Operation(torch=lambda x: torch.where(x == x, torch.sign(x), x)),  # NaN stays NaN
    "Sigmoid": Operation(torch=torch.sigmoid, text="f(1) / (f(1) + exp(-{0}))"),
    "Sqrt": Operation(torch=torch.sqrt, text="sqrt({0})"),
    "Sub": Operation(torch=torch.sub, text="{0} - {1}"),
    "Sum": Operation(torch=_fold(torch.add)),
    "Tanh": Operation(torch=torch.tanh, text="tanh({0})"),
    "Where": Operation(torch=torch.where),
}
"""ONNX operator -> how to compute it."""


def run_with_torch(program: Sequence[Instruction], results: Sequence[int], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The results, one torch call per instruction."""
    registers = list(inputs)
    for name, reads, attributes in program:
        operands = [None if r is None else registers[r] for r in reads]
        registers.append(POINTWISE[name].torch(*operands, **attributes))
    return [registers[r] for r in results]


def checked(
    program: Sequence[Instruction], results: Sequence[int], inputs: int
) -> tuple[Sequence[Instruction], Sequence[int]]:
    """Program and results as they are; ValueError unless every register is written before it is read. Source is made
    from them, and plans come from files."""
    for number, (name, reads, attributes) in enumerate(program):
        known = name in POINTWISE and isinstance(attributes, dict)
        if not known or any(r is not None and (type(r) is not int or not 0 <= r < inputs + number) for r in reads):
            raise ValueError(f"instruction {number} of the program is {name!r} of {reads!r}")
    if not program or not results or any(type(r) is not int or not 0 <= r < inputs + len(program) for r in results):
        raise ValueError(f"the program's results are {results!r}")
    return program, results


def is_generated(program: Sequence[Instruction]) -> bool:
    """Whether every instruction has an expression."""
    return all(POINTWISE[name].text or name == "Sum" for name, _, _ in program)


def source(program: Sequence[Instruction], results: Sequence[int], steps: Sequence[Sequence[int]]) -> str:
    """Python source of the kernel. `steps[i][d]` is 1 if input i moves along loop d and 0 if it repeats there; results
    move along all. Outer loops may have any stride; the last one runs over dense rows, so that it becomes SIMD."""
    depth, count = len(steps[0]) if steps else 1, len(steps)
    last = f"n{depth - 1}"
    names = [
        *(f"x{i}" for i in range(count)),
        *(f"y{k}" for k in range(len(results))),
        *(f"n{d}" for d in range(depth)),
    ]
    names += [f"s{i}_{d}" for i in range(count) for d in range(depth - 1)]
    lines = [f"def kernel({', '.join(names)}):"]
    lines += [f"{'    ' * (d + 1)}for i{d} in range(n{d}):" for d in range(depth - 1)]
    indent = "    " * depth
    base = [" + ".join([f"i{d} * s{i}_{d}" for d in range(depth - 1) if steps[i][d]]) or "0" for i in range(count)]
    for i in range(count):
        lines += [f"{indent}b{i} = {base[i]}"]
        lines += [f"{indent}a{i} = x{i}[b{i}:b{i} + {last}]" if steps[i][-1] else f"{indent}r{i} = x{i}[b{i}]"]
    lines += [f"{indent}row = {_row(depth)}"]
    lines += [f"{indent}o{k} = y{k}[row:row + {last}]" for k in range(len(results))]
    lines += [f"{indent}for i in range({last}):"]
    lines += [f"{indent}    r{i} = a{i}[i]" for i in range(count) if steps[i][-1]]
    for number, (name, reads, attributes) in enumerate(program, count):
        lines.append(f"{indent}    r{number} = {expression(name, [f'r{r}' for r in reads], attributes)}")
    lines += [f"{indent}    o{k}[i] = r{r}" for k, r in enumerate(results)]
    return "\n".join(lines) + "\n"


def _row(depth: int) -> str:
    """Where a row of the dense results starts: ((i0 * n1 + i1) * n2 + i2) * n3."""
    text = "i0" if depth > 1 else "0"
    for d in range(1, depth):
        text = f"({text}) * n{d}" + (f" + i{d}" if d < depth - 1 else "")
    return text


def expression(name: str, operands: Sequence[str], attributes: Mapping[str, float]) -> str:
    """The operator on operands such as `r0` or `v`, as numba reads it."""
    if name == "Sum":
        return " + ".join(operands)
    defaults = {"alpha": 0.01}
    return POINTWISE[name].text.format(*operands, **(defaults | {k: float(v) for k, v in attributes.items()}))


_HEAD = """from math import inf, nan
from numba import njit
from numpy import abs, empty, exp, float32 as f, log, sqrt, tanh
"""
_FOOT = "\nkernel = njit(cache=True, fastmath={'contract'}, nogil=True, error_model='numpy')(kernel)\n"


@functools.lru_cache(maxsize=256)
def compiled(text: str, head: str = "") -> Callable[..., None]:
    """The kernel of this source, compiled by numba for float32 on first use, or by an earlier process. `head` is for
    what else it needs. ImportError where numba is missing."""
    return kernelfile.load(f"{_HEAD}{head}{text}{_FOOT}")


def loops(
    shapes: Sequence[Sequence[int]], strides: Sequence[Sequence[int]], out: Sequence[int]
) -> tuple[list[int], list[list[int]]] | None:
    """Loop sizes, outermost first, and the stride of every input in every loop; None if the inputs do not fit one dense
    pass. The last of `shapes` and `strides` is the result's, whose memory order the loops follow. Neighbouring loops
    that all tensors run through as one are one."""
    rank = len(out)
    if any(
        len(s) > rank or any(n not in (1, size) for n, size in zip(reversed(s), reversed(out), strict=False))
        for s in shapes
    ):
        return None
    order = sorted((d for d in range(rank) if out[d] > 1), key=lambda d: -strides[-1][d])
    padded = [_broadcast_strides(s, t, out) for s, t in zip(shapes, strides, strict=True)]
    sizes: list[int] = []
    rows: list[list[int]] = [[] for _ in padded]
    for d in order:
        if sizes and all(row[-1] == p[d] * out[d] for row, p in zip(rows, padded, strict=True)):
            sizes[-1] *= out[d]
            for row, p in zip(rows, padded, strict=True):
                row[-1] = p[d]
        else:
            sizes.append(out[d])
            for row, p in zip(rows, padded, strict=True):
                row.append(p[d])
    if not sizes:
        sizes, rows = [1], [[0]] * (len(padded) - 1) + [[1]]
    dense = [math.prod(sizes[d + 1 :]) for d in range(len(sizes))]
    fits = rows[-1] == dense and all(row[-1] in (0, 1) for row in rows)
    return (sizes, rows[:-1]) if fits else None


def _broadcast_strides(shape: Sequence[int], strides: Sequence[int], out: Sequence[int]) -> list[int]:
    """Strides along every axis of the result; 0 where one number serves them all."""
    missing = len(out) - len(shape)
    return [0] * missing + [0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)]


def flat(tensor: Tensor) -> Any:
    """The tensor's memory as a one-dimensional array of numpy."""
    return tensor.as_strided((span(tensor.shape, tensor.stride()),), (1,)).numpy()


@functools.lru_cache(maxsize=1024)
def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Numbers from the first of a tensor to behind its last."""
    return 0 if 0 in shape else sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
