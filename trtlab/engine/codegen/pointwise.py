"""engine/codegen/pointwise: any graph of elementwise operators as one kernel, generated from a list of instructions.

In: a program, `[["Mul", [0, 1], {}], ["Relu", [2], {}]]`: operator, registers read, attributes; inputs are the first
registers, each instruction writes the next. Out: one load per input, registers in between, one store per result: the
source of a loop for numba, or of a CUDA kernel for Triton; or the same program through torch, operator by operator.
They check each other; numpy runs Triton's text where there is no GPU.
"""

import functools
import linecache
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    "Erf": Operation(torch=torch.erf, text="erf({0})"),
    "Exp": Operation(torch=torch.exp, text="exp({0})"),
    "Gelu": Operation(
        torch=lambda x, *, approximate="none": F.gelu(x, approximate=approximate),
        text="f(0.5) * {0} * (f(1) + erf({0} * f(0.70710678)))",
    ),
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


def through_torch(program: Sequence[Instruction], results: Sequence[int]) -> Callable[..., None]:
    """A function (*inputs, *outs) that computes with torch and copies the results."""
    last = len(results)
    return lambda *tensors: copy(run_with_torch(program, results, tensors[:-last]), tensors[-last:])


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
    """Whether every instruction has an expression: Gelu by way of tanh has none."""
    return all(
        (POINTWISE[name].text or name == "Sum") and attributes.get("approximate", "none") == "none"
        for name, _, attributes in program
    )


def expression(name: str, operands: Sequence[str], attributes: Mapping[str, float]) -> str:
    """The operator on operands such as `r0` or `v`, as numba reads it."""
    if name == "Sum":
        return " + ".join(operands)
    defaults = {"alpha": 0.01}
    numbers = {k: float(v) for k, v in attributes.items() if k != "approximate"}
    return POINTWISE[name].text.format(*operands, **(defaults | numbers))


def loops(tensors: Sequence[Tensor]) -> tuple[list[int], list[list[int]]] | None:
    """Loop sizes, outermost first, and the stride of every input in every loop; None if the inputs do not fit one dense
    pass. The last of the tensors is the result, whose memory order the loops follow. Neighbouring loops that all
    tensors run through as one are one."""
    out = tensors[-1]
    try:
        steps = [tensor.expand(out.shape).stride() for tensor in tensors]  # 0 where one number serves them all
    except RuntimeError:
        return None
    sizes, rows = list[int](), [list[int]() for _ in steps]
    for d in sorted((d for d in range(out.ndim) if out.shape[d] > 1), key=lambda d: -out.stride()[d]):
        if is_one := bool(sizes) and all(
            row[-1] == step[d] * out.shape[d] for row, step in zip(rows, steps, strict=True)
        ):
            sizes[-1] *= out.shape[d]
        else:
            sizes.append(out.shape[d])
        rows = [[*(row[:-1] if is_one else row), step[d]] for row, step in zip(rows, steps, strict=True)]
    if not sizes:
        sizes, rows = [1], [*[[0]] * (len(rows) - 1), [1]]
    fits = rows[-1] == _dense(sizes) and all(row[-1] in (0, 1) for row in rows)
    return (sizes, rows[:-1]) if fits else None


def _dense(sizes: Sequence[int]) -> list[int]:
    return [math.prod(sizes[d + 1 :]) for d in range(len(sizes))]


def by_layout(make: Callable[..., Callable[..., Any]]) -> Callable[..., Any]:
    """A function of tensors that has `make`, of the same, choose its kernel when it first sees their layouts."""
    known: dict[Any, Callable[..., Any]] = {}

    def launch(*tensors: Tensor, **room: Tensor) -> Any:
        key = tuple([(t.shape, t.stride(), t.dtype) for t in tensors])
        if key not in known:
            known[key] = make(*tensors)
        return known[key](*tensors, **room)

    return launch


def generated(program: Sequence[Instruction], results: Sequence[int]) -> Callable[..., None]:
    """A function (*inputs, *outs) that runs the generated kernel. Where no dense pass fits the strides, torch computes
    and the results are copied."""

    def make(*tensors: Tensor) -> Callable[..., None]:
        count = len(tensors) - len(results)
        outs, like, found = tensors[count:], tensors[count], loops(tensors[: count + 1])
        alike = all(t.stride() == like.stride() and t.shape == like.shape for t in outs)
        known = {torch.float32, torch.float16, torch.bfloat16} if like.is_cuda else {torch.float32}
        if found is None or not alike or any(t.dtype not in known or not t.numel() for t in tensors):
            return through_torch(program, results)
        sizes, rows = found
        if like.is_cuda:
            text = triton_source(program, results, sizes, rows, half=like.dtype != torch.float32)
            return lambda *ts: launch_triton(text, ts, like.numel())
        kernel = compiled(source(program, results, [[int(s != 0) for s in row] for row in rows]))
        numbers = (*sizes, *(s for row in rows for s in row[:-1]))
        return lambda *ts: kernel(*[flat(t) for t in ts], *numbers)

    return by_layout(make)


def copy(values: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    """Each into its place, of the same shape."""
    for value, out in zip(values[: len(outs)], outs, strict=True):
        if value.shape != out.shape:
            raise ValueError(f"a result of shape {tuple(value.shape)} does not go into {tuple(out.shape)}")
        out.copy_(value)


# --- on a CPU, by numba -----------------------------------------------------------------------------------------------


def source(program: Sequence[Instruction], results: Sequence[int], steps: Sequence[Sequence[int]]) -> str:
    """Python source of the kernel. `steps[i][d]` is 1 if input i moves along loop d and 0 if it repeats there; results
    move along all. Outer loops may have any stride; the last one runs over dense rows, so that it becomes SIMD."""
    depth, count, outs = len(steps[0]) if steps else 1, len(steps), range(len(results))
    outer, last, indent = range(depth - 1), f"n{depth - 1}", "    " * depth
    names = [*(f"x{i}" for i in range(count)), *(f"y{k}" for k in outs), *(f"n{d}" for d in range(depth))]
    names += [f"s{i}_{d}" for i in range(count) for d in outer]
    lines = [f"def kernel({', '.join(names)}):", "    row = 0"]
    lines += [f"{'    ' * (d + 1)}for i{d} in range(n{d}):" for d in outer]
    for i in range(count):
        lines += [f"{indent}b{i} = {' + '.join(f'i{d} * s{i}_{d}' for d in outer if steps[i][d]) or '0'}"]
        lines += [f"{indent}a{i} = x{i}[b{i}:b{i} + {last}]" if steps[i][-1] else f"{indent}r{i} = x{i}[b{i}]"]
    lines += [f"{indent}o{k} = y{k}[row:row + {last}]" for k in outs]
    lines += [f"{indent}for i in range({last}):"]
    lines += [f"{indent}    r{i} = a{i}[i]" for i in range(count) if steps[i][-1]]
    for number, (name, reads, attributes) in enumerate(program, count):
        lines.append(f"{indent}    r{number} = {expression(name, [f'r{r}' for r in reads], attributes)}")
    lines += [f"{indent}    o{k}[i] = r{r}" for k, r in enumerate(results)]
    return "\n".join([*lines, *([f"{indent}row += {last}"] if outer else [])]) + "\n"


_HEAD = """from math import inf, nan
from numba import njit
from numpy import abs, empty, float32 as f, int32, log, sqrt, tanh, zeros
"""
_FOOT = "\nkernel = njit(cache=True, fastmath={%s}, nogil=True, error_model='numpy')(kernel)\n"
_POWER = """    t = x * f(1.44269504) + f(12582912)
    r = x - (t - f(12582912)) * f(0.693359375) + (t - f(12582912)) * f(2.12194440e-4)
    n = int32(f(t).view(int32) - 0x4B400000)
    p = ((f(1.98756915e-4) * r + f(1.3981999507e-3)) * r + f(8.3334519073e-3)) * r + f(4.1665795894e-2)
    p = ((p * r + f(1.6666665459e-1)) * r + f(5.0000001201e-1)) * r * r + r + f(1)
"""
"""e**x = 2**n e**r: adding 1.5 * 2**23 rounds to n, which becomes exponents; Cephes' polynomial. numba's is no SIMD."""
_EXP = f"""
@njit(fastmath={{'contract'}})
def exp(x):
    x = f(-110) if x < f(-110) else f(90) if x > f(90) else x
{_POWER}    return p * int32(((n >> 1) + 127) << 23).view(f) * int32((n - (n >> 1) + 127) << 23).view(f)
"""
_EXP_BELOW = f"""
@njit(fastmath={{'contract'}})
def exp_below(x):
{_POWER}    return f(0) if x < f(-87) else p * int32((n + 127) << 23).view(f)
"""
"""Of what is not above 0, as in a softmax: one factor is enough, and what is below float32's normal numbers is 0."""


@functools.cache
def _functions() -> dict[str, str]:
    """What kernels call, by name, in words that become SIMD. erf(x) / x is a polynomial in x**2 up to the END, where it
    is 1 in float32: interpolated in s, -1 to 1, at Chebyshev's points, to 4e-7 of its value."""
    degree, end = 14, 3.9
    points: Any = lambda s: [math.erf(x) / x for x in np.sqrt(end**2 / 2 * (s + 1))]  # noqa: E731
    first, *rest = np.polynomial.chebyshev.cheb2poly(np.polynomial.chebyshev.chebinterpolate(points, degree))[::-1]
    lines = "".join(f"    p = p * s + f({factor:.9g})\n" for factor in rest)
    head = f"    s, p = x * x * f({2 / end**2:.9g}) - f(1), f({first:.9g})\n"
    tail = f"    return f(1) if x > f({end}) else f(-1) if x < f(-{end}) else p * x\n"
    return {
        "exp(": _EXP,
        "exp_below(": _EXP_BELOW,
        "erf(": f"\n@njit(fastmath={{'contract'}})\ndef erf(x):\n{head}{lines}{tail}",
    }


@functools.lru_cache(maxsize=256)
def compiled(text: str, head: str = "", fastmath: str = "'contract'") -> Callable[..., None]:
    """The kernel of this source, compiled by numba for float32 on first use, or by an earlier process. `head` is for
    what else it needs. ImportError where numba is missing."""
    called = "".join(function for name, function in _functions().items() if name in text)
    return kernelfile.load(f"{_HEAD}{head}{called}{text}{_FOOT % fastmath}")


def flat(tensor: Tensor) -> Any:
    """The tensor's memory as a one-dimensional array of numpy."""
    return tensor.as_strided((span(tensor.shape, tensor.stride()),), (1,)).numpy()


@functools.lru_cache(maxsize=1024)
def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Numbers from the first of a tensor to behind its last."""
    return 0 if 0 in shape else sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1


# --- on a GPU, by Triton ----------------------------------------------------------------------------------------------

BLOCK, WARPS = 512, 8
MOST_ELEMENTS = 2**31 - BLOCK
_NAMES = {n: f"tl.{n}" for n in ("abs", "exp", "log")} | {
    "erf": "libdevice.erf",
    "sqrt": "tl.sqrt_rn",
    "tanh": "libdevice.tanh",
}


def triton_source(
    program: Sequence[Instruction],
    results: Sequence[int],
    sizes: Sequence[int] = (0,),
    rows: Sequence[Sequence[int]] = ((1,),) * 3,
    *,
    half: bool = False,
) -> str:
    """Triton source: one load for each input, registers in between, one store for each result. `sizes` and `rows` are
    those of `loops`; one dense loop may be of any size. ValueError names an operator without an expression."""
    inputs, outs = [f"x{k}" for k in range(len(rows))], [f"y{k}" for k in range(len(results))]
    dense = _dense(sizes)
    lines = ["@triton.jit", f"def kernel({', '.join(inputs + outs)}, n, BLOCK: tl.constexpr):"]
    lines += ["    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "    inside = i < n"]
    for d in sorted({d for row in rows if list(row) != dense for d, stride in enumerate(row) if stride}):
        lines.append(f"    i{d} = i // {dense[d]}" + (f" % {sizes[d]}" if d else ""))
    to = ".to(tl.float32)" if half else ""
    for k, (name, row) in enumerate(zip(inputs, rows, strict=True)):
        place = "i" if list(row) == dense else " + ".join(f"i{d} * {s}" for d, s in enumerate(row) if s)
        lines.append(
            f"    r{k} = tl.load({name} + {place}, inside){to}" if place else f"    r{k} = tl.load({name}){to}"
        )
    for number, (operator, reads, attributes) in enumerate(program, len(rows)):
        if not is_generated([(operator, reads, attributes)]):
            raise ValueError(f"no Triton expression for {operator!r}: run its program with torch")
        lines.append(f"    r{number} = {_in_triton(expression(operator, [f'r{r}' for r in reads], attributes))}")
    lines += [f"    tl.store({out} + i, r{r}, inside)" for out, r in zip(outs, results, strict=True)]
    return "\n".join(lines) + "\n"


def _in_triton(text: str) -> str:
    """An expression for numba in Triton's words: plain numbers, tl.where, tl.exp."""
    text = re.sub(r"\bf\(([^()]*)\)", r"\1", text)
    text = re.sub(r"\b(\w+)\(", lambda found: f"{_NAMES[found[1]]}(", text)
    value, _, rest = text.partition(" if ")
    condition, _, other = rest.partition(" else ")
    return f"tl.where({condition}, {value}, {other})" if rest else text


def launch_triton(text: str, tensors: Sequence[Any], count: int) -> Any:
    """Launch the kernel of this source for so many results. ValueError for more than 32 bits can count."""
    if count > MOST_ELEMENTS:
        raise ValueError(f"{count:,} elements: the kernel counts in 32 bits; expected at most {MOST_ELEMENTS:,}")
    return triton_kernel(text)[(-(-count // BLOCK),)](*tensors, count, BLOCK=BLOCK, num_warps=WARPS)


@functools.cache
def triton_kernel(text: str) -> Any:
    """The kernel as triton.jit makes it. It wants to read a source file: here, one that only linecache knows."""
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice

    name = f"<triton kernel {hash(text):x}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"triton": triton, "tl": tl, "libdevice": libdevice, "__name__": __name__}
    exec(compile(text, name, "exec"), space)
    return space["kernel"]
