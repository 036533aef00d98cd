"""engine/codegen/tritonkernel: a program of elementwise operators as one CUDA kernel, generated for Triton.

In: a program of pointwise.py, and how its inputs lie. Out: the kernel's source, and its launch. It computes in float32,
whatever the tensors hold. Needs triton to run, and nothing but text to be read. Checked against torch, and by running
the text on numpy.
"""

import functools
import linecache
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from trtlab.engine.codegen import pointwise

BLOCK, WARPS = 512, 8
MOST_ELEMENTS = 2**31 - BLOCK
_NAMES = {n: f"tl.{n}" for n in ("abs", "exp", "log")} | {
    "sqrt": "tl.sqrt_rn",
    "tanh": "libdevice.tanh",
}


def source(
    program: Sequence[pointwise.Instruction],
    results: Sequence[int],
    sizes: Sequence[int] = (0,),
    rows: Sequence[Sequence[int]] = ((1,),) * 3,
    *,
    half: bool = False,
) -> str:
    """Triton source: one load for each input, registers in between, one store for each result. `sizes` and `rows` are
    those of pointwise.loops; one dense loop may be of any size. ValueError names an operator without an expression."""
    inputs, outs = [f"x{k}" for k in range(len(rows))], [f"y{k}" for k in range(len(results))]
    dense = [math.prod(sizes[d + 1 :]) for d in range(len(sizes))]
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
        if not pointwise.is_generated([(operator, reads, attributes)]):
            raise ValueError(f"no Triton expression for {operator!r}: run its program with torch")
        lines.append(
            f"    r{number} = {_in_triton(pointwise.expression(operator, [f'r{r}' for r in reads], attributes))}"
        )
    lines += [f"    tl.store({out} + i, r{r}, inside)" for out, r in zip(outs, results, strict=True)]
    return "\n".join(lines) + "\n"


def _in_triton(text: str) -> str:
    """An expression for numba in Triton's words: plain numbers, tl.where, tl.exp."""
    text = re.sub(r"\bf\(([^()]*)\)", r"\1", text)
    text = re.sub(r"\b(\w+)\(", lambda found: f"{_NAMES[found[1]]}(", text)
    value, _, rest = text.partition(" if ")
    condition, _, other = rest.partition(" else ")
    return f"tl.where({condition}, {value}, {other})" if rest else text


def launch(text: str, tensors: Sequence[Any], count: int) -> Any:
    """Launch the kernel of this source for so many results. ValueError for more than 32 bits can count."""
    if count > MOST_ELEMENTS:
        raise ValueError(f"{count:,} elements: the kernel counts in 32 bits; expected at most {MOST_ELEMENTS:,}")
    return _compiled(text)[(-(-count // BLOCK),)](*tensors, count, BLOCK=BLOCK, num_warps=WARPS)


def bind(text: str, inputs: Sequence[Any], out: Any) -> Callable[[], Any]:
    """A function that launches the kernel of this source for these tensors and returns `out`. Compiled and specialised
    here, so that a launch is left with little to do."""
    count = out.numel()
    start = launch(text, (*inputs, out), count)[(-(-count // BLOCK), 1, 1)]

    def again() -> Any:
        start(*inputs, out, count, BLOCK)
        return out

    return again


@functools.cache
def _compiled(text: str) -> Any:
    """The kernel as triton.jit makes it. It wants to read a source file: here, one that only linecache knows."""
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice

    name = f"<triton kernel {hash(text):x}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"triton": triton, "tl": tl, "libdevice": libdevice, "__name__": __name__}
    exec(compile(text, name, "exec"), space)
    return space["kernel"]
