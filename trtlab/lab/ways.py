"""lab/ways: ReLU(A*B + C), and longer chains of the same operators, computed in many ways.

In: a number of operations, six float32 arrays on a CPU or a CUDA GPU. Out: for each `Way` a function that computes the
chain once, and what it moves by the traffic model. lab/fusion runs and times them, and checks each against float64.
"""

import functools
import itertools
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

INPUTS, ITEM_BYTES = 3, 4  # A, B and C in float32
Program = tuple[tuple[str, tuple[int, ...], dict[str, float]], ...]
Work = Callable[[], Any]


class Way(Enum):
    """How the same numbers are computed. The value is the name that is shown; a graph is one of CUDA."""

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
LONG = frozenset({Way.LONG_GRAPH_UNFUSED, Way.LONG_GRAPH_FUSED})
PASSES = 32
"""A long graph computes the same so many times, as a network has many layers; its time is that of one pass."""
WAYS = {
    "cpu": (Way.NUMPY, Way.NUMPY_OUT, Way.TORCH, Way.TORCH_OUT, Way.COMPILED, Way.GENERATED, Way.COPY),
    "cuda": tuple(way for way in Way if way not in (Way.NUMPY, Way.NUMPY_OUT)),
}


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

    program = chain(operations)
    if device == "cuda":
        return pointwise.triton_source(program, [INPUTS + operations - 1])
    return pointwise.source(program, [INPUTS + operations - 1], [[1]] * INPUTS)


# --- the ways ---------------------------------------------------------------------------------------------------------


class Arrays:
    """Six arrays in one block: A, B, C and three results. A copy of A and B over two results moves 4 arrays, as many
    as the fused kernel. On the CPU numpy and torch see the same memory."""

    def __init__(self, device: str, elements: int) -> None:
        import torch

        self.device = device
        self.tensors = torch.empty((2 * INPUTS, elements), device=device)
        self.tensors[:INPUTS].uniform_(-1, 1, generator=torch.Generator(device).manual_seed(0))
        self.tensors[1].abs_().clamp_(0.5)  # below one, so that no chain grows
        self.tensors[INPUTS:] = float("nan")
        self.numpy = self.tensors.numpy() if device == "cpu" else None


def _step_by_step(functions: dict[str, Callable[..., Any]], program: Program, rows: Any) -> Work:
    """One call per operator, each into memory that is there already; the three results take turns."""
    place = {INPUTS + i: INPUTS + i % INPUTS for i in range(len(program))}
    steps = []
    for i, (name, reads, _) in enumerate(program):
        steps.append((functions[name], [rows[place.get(r, r)] for r in reads], rows[place[INPUTS + i]]))

    def work() -> Any:
        for function, operands, out in steps:
            function(*operands, out=out)
        return steps[-1][2]

    return work


NUMPY: dict[str, Callable[..., Any]] = {
    "Mul": np.multiply, "Add": np.add, "Relu": lambda x, out=None: np.maximum(x, 0, out=out)
}  # fmt: skip


def _with_numpy(program: Program, registers: list[Any]) -> Any:
    """The chain, each result in memory of its own."""
    for name, reads, _ in program:
        registers.append(NUMPY[name](*[registers[r] for r in reads]))
    return registers[-1]


def _numpy(program: Program, arrays: Arrays) -> Work:
    rows: Any = arrays.numpy
    return lambda: _with_numpy(program, [*rows[:INPUTS]])


def _torch_function(program: Program) -> Callable[..., Any]:
    """The chain as plain lines of torch calls, as one would write them."""
    import torch

    from trtlab.engine.codegen.pointwise import run_with_torch

    last = INPUTS + len(program) - 1
    return torch.fx.symbolic_trace(lambda a, b, c: run_with_torch(program, [last], (a, b, c))[0]).forward


def _torch(program: Program, arrays: Arrays) -> Work:
    return functools.partial(_torch_function(program), *arrays.tensors[:INPUTS])


def _torch_out(program: Program, arrays: Arrays) -> Work:
    import torch

    relu = lambda x, out: torch.clamp_min(x, 0, out=out)  # noqa: E731 - torch.relu takes no out=
    return _step_by_step({"Mul": torch.mul, "Add": torch.add, "Relu": relu}, program, arrays.tensors)


def _compiled(program: Program, arrays: Arrays) -> Work:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own code
        torch._dynamo.reset()  # a compiler that remembers other sizes would compile for any size
        work = functools.partial(torch.compile(_torch_function(program), dynamic=False), *arrays.tensors[:INPUTS])
        work()
    return work


def _generated(program: Program, arrays: Arrays) -> Work:
    from trtlab.engine.codegen import pointwise

    text, out = kernel_source(arrays.device, len(program)), INPUTS
    if arrays.device == "cuda":
        return pointwise.bind_triton(text, arrays.tensors[:INPUTS].unbind(), arrays.tensors[INPUTS])
    kernel, rows = pointwise.compiled(text), arrays.tensors.numpy()
    operands = (*rows[: out + 1], rows.shape[1])

    def work() -> Any:
        kernel(*operands)
        return operands[out]

    return work


def _copy(program: Program, arrays: Arrays) -> Work:  # noqa: ARG001 - a copy serves any program
    if arrays.numpy is None:
        return functools.partial(arrays.tensors[3:5].copy_, arrays.tensors[:2])
    target, origin = arrays.numpy[3:5].reshape(-1), arrays.numpy[:2].reshape(-1)
    return functools.partial(np.copyto, target, origin)


def _graph(build: Callable[[Program, Arrays], Work], passes: int) -> Callable[[Program, Arrays], Work]:
    """The kernels of so many passes, captured once; the work replays them with one call."""

    def captured(program: Program, arrays: Arrays) -> Work:
        import torch

        inner = build(program, arrays)
        inner()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(passes):
                out = inner()

        def work() -> Any:
            graph.replay()
            return out

        return work

    return captured


_BUILDERS: dict[Way, Callable[[Program, Arrays], Work]] = {
    Way.NUMPY: _numpy,
    Way.NUMPY_OUT: lambda program, arrays: _step_by_step(NUMPY, program, arrays.numpy),
    Way.TORCH: _torch,
    Way.TORCH_OUT: _torch_out,
    Way.COMPILED: _compiled,
    Way.GENERATED: _generated,
    Way.GRAPH_UNFUSED: _graph(_torch_out, 1),
    Way.GRAPH_FUSED: _graph(_generated, 1),
    Way.LONG_GRAPH_UNFUSED: _graph(_torch_out, PASSES),
    Way.LONG_GRAPH_FUSED: _graph(_generated, PASSES),
    Way.COPY: _copy,
}


def build(way: Way, program: Program, arrays: Arrays) -> Work:
    """A function that computes the program once and returns the result. The first call may compile."""
    return _BUILDERS[way](program, arrays)


def kernels(way: Way, program: Program) -> int:
    """How many kernels (on a CPU: passes over memory) one computation takes."""
    return 1 if way in FUSED or way is Way.COPY else len(program)


def check(way: Way, result: Any, program: Program, arrays: Arrays, part: int = 2**16) -> None:
    """RuntimeError unless the result is that of float64, at both ends of the arrays: the middle is the same loop."""
    if way is Way.COPY:
        return
    for ends in (slice(0, part), slice(-part, None)):
        registers = [row[ends].double().cpu().numpy() for row in arrays.tensors[:INPUTS]]
        want = _with_numpy(program, registers)
        found = result[ends] if isinstance(result, np.ndarray) else result[ends].cpu().numpy()
        if not np.allclose(found, want, rtol=1e-5, atol=1e-5):
            raise RuntimeError(
                f"{way.value} is wrong: off by {np.abs(found - want).max()} for {len(program)} operations"
            )
    arrays.tensors[INPUTS:] = float("nan")  # the next way must write every result itself
