"""lab/ways: ReLU(A*B + C), and longer chains of the same operators, computed in many ways.

In: a number of operations, six float32 arrays. Out: for each `Way` of a CPU a function that computes the chain once,
and what it moves by the traffic model. lab/fusion times them, and checks each against float64; the ways that are
recorded alone are those of a GPU, and torch.compile.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np

INPUTS, ITEM_BYTES = 3, 4  # A, B and C in float32
Program = tuple[tuple[str, tuple[int, ...], dict[str, float]], ...]
Work = Callable[[], Any]


class Way(Enum):
    """How the same numbers are computed. The value is the name that is shown; a graph is one of CUDA, a long one
    computes the same 32 times, as a network has many layers."""

    NUMPY = "numpy"
    NUMPY_OUT = "numpy, out="
    TORCH = "torch"
    TORCH_OUT = "torch, out="
    COMPILED = "torch.compile"
    GENERATED = "our kernel"
    GRAPH_UNFUSED = "graph, per operator"
    GRAPH_FUSED = "graph, our kernel"
    LONG_GRAPH_UNFUSED = "long graph, per operator"
    LONG_GRAPH_FUSED = "long graph, our kernel"
    COPY = "copy"


FUSED = frozenset({Way.COMPILED, Way.GENERATED, Way.GRAPH_FUSED, Way.LONG_GRAPH_FUSED})


# --- what is computed -------------------------------------------------------------------------------------------------


def chain(operations: int) -> Program:
    """x*B, x+C, ReLU(x), x*B, ...: so many operators, each on the result of the one before, starting with A. A program
    of codegen/pointwise; three operations are ReLU(A*B + C)."""
    steps = (("Mul", (1,)), ("Add", (2,)), ("Relu", ()))
    before = [0, *range(INPUTS, INPUTS + operations - 1)]
    return tuple((name, (x, *others), {}) for x, (name, others) in zip(before, itertools.cycle(steps), strict=False))


def traffic_bytes(program: Program, elements: int, *, fused: bool) -> int:
    """The traffic model: a kernel reads each of its inputs once and writes its result once. ReLU(A*B + C) moves
    3 + 3 + 2 = 8 arrays as three kernels, and 3 + 1 = 4 as one."""
    used = {r for _, reads, _ in program for r in reads if r < INPUTS}
    arrays = len(used) + 1 if fused else sum(len(set(reads)) + 1 for _, reads, _ in program)
    return arrays * elements * ITEM_BYTES


def kernel_source(device: str = "cpu", operations: int = 3) -> str:
    """The source of our kernel: one load for each input, registers in between, one store."""
    from trtlab.engine.codegen import pointwise

    program, last = chain(operations), [INPUTS + operations - 1]
    if device == "cuda":
        return pointwise.triton_source(program, last)
    return pointwise.source(program, last, [[1]] * INPUTS)


# --- the ways ---------------------------------------------------------------------------------------------------------


class Arrays:
    """Six arrays in one block: A, B, C and three results. A copy of A and B over two results moves 4 arrays, as many
    as the fused kernel. numpy and torch see the same memory."""

    def __init__(self, elements: int) -> None:
        import torch

        self.tensors = torch.empty((2 * INPUTS, elements))
        self.tensors[:INPUTS].uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        self.tensors[1].abs_().clamp_(0.5)  # below one, so that no chain grows
        self.tensors[INPUTS:] = float("nan")
        self.numpy = self.tensors.numpy()


NUMPY: dict[str, Callable[..., Any]] = {
    "Mul": np.multiply, "Add": np.add, "Relu": lambda x, out=None: np.maximum(x, 0, out=out)
}  # fmt: skip


def works(program: Program, arrays: Arrays) -> Mapping[Way, Work]:
    """For each way a function that computes the program once and returns the result. The first call may compile."""
    import torch

    from trtlab.engine.codegen import pointwise

    rows, last = arrays.numpy, INPUTS + len(program) - 1
    given, operands = [*rows[:INPUTS]], (*rows[: INPUTS + 1], rows.shape[1])
    in_torch: dict[str, Callable[..., Any]] = {
        "Mul": torch.mul, "Add": torch.add, "Relu": lambda x, out: torch.clamp_min(x, 0, out=out)
    }  # fmt: skip
    lines = torch.fx.symbolic_trace(lambda a, b, c: pointwise.run_with_torch(program, [last], (a, b, c))[0]).forward
    kernel = pointwise.compiled(kernel_source("cpu", len(program)))
    return {
        Way.NUMPY: lambda: _with_numpy(program, [*given]),
        Way.NUMPY_OUT: _step_by_step(NUMPY, program, rows),
        Way.TORCH: functools.partial(lines, *arrays.tensors[:INPUTS]),
        Way.TORCH_OUT: _step_by_step(in_torch, program, arrays.tensors),
        Way.GENERATED: lambda: (kernel(*operands), operands[INPUTS])[1],
        Way.COPY: functools.partial(np.copyto, rows[3:5].reshape(-1), rows[:2].reshape(-1)),
    }


def _with_numpy(program: Program, registers: list[Any]) -> Any:
    """The chain, each result in memory of its own."""
    for name, reads, _ in program:
        registers.append(NUMPY[name](*[registers[r] for r in reads]))
    return registers[-1]


def _step_by_step(functions: Mapping[str, Callable[..., Any]], program: Program, rows: Any) -> Work:
    """One call per operator, each into memory that is there already; the three results take turns."""
    place = [*range(INPUTS), *(INPUTS + i % INPUTS for i in range(len(program)))]
    steps = [
        (functions[name], [rows[place[r]] for r in reads], rows[place[INPUTS + i]])
        for i, (name, reads, _) in enumerate(program)
    ]

    def work() -> Any:
        for function, operands, out in steps:
            function(*operands, out=out)
        return steps[-1][2]

    return work


def check(way: Way, result: Any, program: Program, arrays: Arrays, part: int = 2**16) -> None:
    """RuntimeError unless the result is that of float64, at both ends of the arrays: the middle is the same loop."""
    if way is Way.COPY:
        return
    for ends in (slice(0, part), slice(-part, None)):
        want, found = _with_numpy(program, [*arrays.numpy[:INPUTS, ends].astype(float)]), np.asarray(result[ends])
        if not np.allclose(found, want, rtol=1e-5, atol=1e-5):
            raise RuntimeError(
                f"{way.value} is wrong: off by {np.abs(found - want).max()} for {len(program)} operations"
            )
    arrays.tensors[INPUTS:] = float("nan")  # the next way must write every result itself
