"""engine/tritonkernel: a chain of elementwise operators as one CUDA kernel, generated for Triton.

In: a program in the form of glassbox/pointwise. Out: the kernel's source, and a function that launches it for float32
tensors of one size. Needs triton to run, and nothing but text to be read. Checked against float64 on the CPU.
"""

import functools
import linecache
from collections.abc import Callable, Sequence
from typing import Any

EXPRESSIONS = {
    "Add": "{0} + {1}",
    "Mul": "{0} * {1}",
    "Relu": "tl.where({0} <= 0.0, 0.0, {0})",  # so written, NaN stays NaN
    "Sub": "{0} - {1}",
}
BLOCK, WARPS = 512, 8
MOST_ELEMENTS = 2**31 - BLOCK


def source(program: Sequence[Sequence[Any]], inputs: int) -> str:
    """Triton source: one load for each input, registers in between, one store. ValueError names an unknown operator."""
    names = [f"x{i}" for i in range(inputs)]
    lines = ["@triton.jit", f"def kernel({', '.join(names)}, y, n, BLOCK: tl.constexpr):"]
    lines += ["    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "    inside = i < n"]
    lines += [f"    r{k} = tl.load({name} + i, inside)" for k, name in enumerate(names)]
    for number, (operator, reads, _) in enumerate(program, inputs):
        if operator not in EXPRESSIONS:
            raise ValueError(f"no Triton expression for {operator!r}: expected one of {', '.join(EXPRESSIONS)}")
        lines.append(f"    r{number} = {EXPRESSIONS[operator].format(*[f'r{r}' for r in reads])}")
    lines += [f"    tl.store(y + i, r{inputs + len(program) - 1}, inside)"]
    return "\n".join(lines) + "\n"


def bind(text: str, inputs: Sequence[Any], out: Any) -> Callable[[], Any]:
    """A function that launches the kernel of this source for these tensors and returns `out`. Compiled and specialised
    here, so that a launch is left with little to do. ValueError for more elements than 32 bits can count."""
    count = out.numel()
    if count > MOST_ELEMENTS:
        raise ValueError(f"{count:,} elements: the kernel counts in 32 bits; expected at most {MOST_ELEMENTS:,}")
    blocks = -(-count // BLOCK)
    start = _compiled(text)[(blocks,)](*inputs, out, count, BLOCK=BLOCK, num_warps=WARPS)[(blocks, 1, 1)]

    def launch() -> Any:
        start(*inputs, out, count, BLOCK)
        return out

    return launch


@functools.cache
def _compiled(text: str) -> Any:
    """The kernel as triton.jit makes it. It wants to read a source file: here, one that only linecache knows."""
    import triton
    import triton.language as tl

    name = f"<triton kernel {hash(text):x}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"triton": triton, "tl": tl, "__name__": __name__}
    exec(compile(text, name, "exec"), space)
    return space["kernel"]
