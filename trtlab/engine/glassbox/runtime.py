"""engine/glassbox/runtime: what runs a plan. Needs numpy and torch alone.

In: a `Plan`. Out: an `Engine` that holds the weights, packed for its kernels, and any number of `ExecutionContext`s,
each with an arena and a schedule: one Python function with a line for each kernel. Checked against ONNX Runtime.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trtlab.engine.files import write_atomically
from trtlab.engine.glassbox.device import Device, Replay, Stream
from trtlab.engine.glassbox.errors import DeviceError, InputError, PlanError, RunError
from trtlab.engine.glassbox.kernels import Kernel, call_of
from trtlab.engine.glassbox.library import tactics
from trtlab.engine.glassbox.plan import Plan, TensorSpec, bytes_from_plan, making_sense, plan_from_bytes
from trtlab.engine.measure import KernelTime

if TYPE_CHECKING:
    from trtlab.engine.glassbox.timing import Cache, Races

Arrays = Mapping[str, npt.NDArray[Any]]
HOLD_BACK_CYCLES = 20_000_000


def load(path: str | os.PathLike[str], *, timing_cache: "Cache" = None) -> "Engine":
    """The engine in a file that `Engine.save` wrote; tuned here, with a timing cache as `build` takes it, if it was
    built without its device or on another GPU. PlanError for any other file, DeviceError where it cannot run."""
    try:
        plan = plan_from_bytes(Path(path).read_bytes())
    except OSError as error:
        raise PlanError(f"The plan {Path(path).name} cannot be read: {error.strerror}. Save one there.") from None
    if not plan.is_tuned or not Device(plan.device).description().items() <= plan.made_with.items():
        from trtlab.engine.glassbox.trial import tune

        with making_sense("The plan"):
            plan = tune(plan, timing_cache=timing_cache)
    return Engine(plan)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What an engine needs, in bytes, by what its plan says: weights once (kernels keep them packed, in copies), and an
    arena for each context. In the arena lie activations and, while a kernel runs, its scratch: `scratch_bytes` is the
    largest. `apart` has results without a place: views of inputs, which need none, results whose shape only a run
    tells, as 0, and on a GPU those of PyTorch's kernels, which lie in the memory of the CUDA graph."""

    weights_bytes: int
    arena_bytes: int
    scratch_bytes: int
    apart: Mapping[str, int]

    def total_bytes(self, contexts: int = 1) -> int:
        """With so many contexts, at most: as if no two results apart ever shared memory."""
        return self.weights_bytes + contexts * (self.arena_bytes + sum(self.apart.values()))


class Engine:
    """A plan made ready: weights packed, a function for every kernel. Immutable; contexts share all of it. `inputs` and
    `outputs` are tensors by name."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._steps, self._weights = plan, tuple[_Bound, ...](), dict[str, Tensor]()
        self.inputs, self.outputs = ({n: plan.tensors[n] for n in names} for names in (plan.inputs, plan.outputs))
        if plan.is_tuned:
            self._device = Device(plan.device)
            weights = {name: w.to(plan.device) for name, w in plan.weights.items()}
            with self._device.mode():
                self._steps = tuple(_bound(plan, weights, self._device))
            self._weights = {name: weights[name] for name in plan.outputs if name in weights}

    @property
    def device(self) -> Device:
        """Where it runs. DeviceError for an engine built where its device is not."""
        if not self.plan.is_tuned:
            raise DeviceError(
                f"This engine was built ahead of time for {self.plan.device!r}, which is not here: save it, and load it"
                " on a machine that has one."
            )
        return self._device

    @property
    def memory(self) -> Memory:
        """What it needs, in bytes. DeviceError before it is tuned for its device."""
        plan, specs, _ = self.plan, self.plan.tensors, self.device
        made = [name for step in plan.steps for name in step.outputs if name]
        return Memory(
            weights_bytes=sum(weight.nbytes for weight in plan.weights.values()),
            arena_bytes=plan.arena_bytes,
            scratch_bytes=max((specs[step.scratch].span_bytes for step in plan.steps if step.scratch), default=0),
            apart={name: specs[name].span_bytes for name in made if specs[name].offset is None},
        )

    def create_execution_context(self, streams: int = 1) -> "ExecutionContext":
        """A context of its own memory. One context runs one thing at a time; several may run at once. On several
        streams, branches of one run go side by side, as far as no bytes of the arena forbid it."""
        return ExecutionContext(self, streams)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as one file, in one step: an interrupted save leaves the old file."""
        write_atomically(Path(path), bytes_from_plan(self.plan))

    @overload
    def inspect(self, *, tactics: Literal[False] = False) -> tuple[KernelTime, ...]: ...

    @overload
    def inspect(self, *, tactics: Literal[True]) -> "Races": ...

    def inspect(self, *, tactics: bool = False) -> "tuple[KernelTime, ...] | Races":
        """Every kernel in order; without tactics before the plan is tuned. With `tactics=True` the race behind each
        tactic, where it was run or read from a timing cache here: every candidate, its samples, and why it lost."""
        specs = {name: str(spec) for name, spec in self.plan.tensors.items()}
        kernels = tuple(
            KernelTime(
                name=step.name,
                onnx_nodes=step.nodes,
                tactic=bound.tactic if bound else "",
                inputs=tuple(specs[name] for name in step.inputs if name in specs),
                outputs=tuple(specs[name] for name in step.outputs if name in specs),
                time_us=step.time_us,
            )
            for step, bound in itertools.zip_longest(self.plan.steps, self._steps)
        )
        if not tactics:
            return kernels
        from trtlab.engine.glassbox.timing import KernelRace, Races

        return Races(itertools.starmap(KernelRace, itertools.zip_longest(kernels, self.plan.races)))

    def __repr__(self) -> str:
        plan = self.plan
        return f"Engine({len(plan.steps)} kernels on {plan.device} in {plan.precision}, inputs {_wanted(self.inputs)})"


class ExecutionContext:
    """What one run needs besides the engine: an arena, on a GPU a CUDA graph too. After an error it can go on."""

    def __init__(self, engine: Engine, streams: int = 1) -> None:
        self.engine, self.schedule = engine, schedule_source(engine)
        plan, device, names, specs = engine.plan, engine.device, engine.plan.variables, [*engine.inputs.values()]
        self._space: dict[str, Any] = {f"k{number}": step.run for number, step in enumerate(engine._steps)}
        self._space |= {names[name]: weight for name, weight in engine._weights.items()}
        try:
            self._arena = torch.empty(plan.arena_bytes, dtype=torch.uint8, device=device.name)
            for name, at in ((name, spec) for name, spec in plan.tensors.items() if spec.offset is not None):
                part = self._arena[at.offset :][: at.span_bytes].view(getattr(torch, at.dtype))
                self._space[names[name]] = part.as_strided(at.shape or (), at.strides)
            if streams == 1:  # what is run holds only names made here: nothing of a plan's text gets into it
                exec(compile(self.schedule, "<schedule>", "exec"), self._space)
                run = self._space["run"]
            else:
                from trtlab.engine.glassbox.lanes import Lanes

                run = Lanes(plan, [step.line for step in engine._steps], self._space, device, streams)
            self._run = run if device.name == "cpu" else Replay(device, run, specs)
        except RuntimeError as error:
            raise RunError(f"No context, with an arena of {plan.arena_bytes:,} bytes: {error}. Close one.") from None

    @property
    def is_graph(self) -> bool:
        """Whether a run is one launch of a CUDA graph."""
        return getattr(self._run, "graph", None) is not None

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, as arrays of their own. InputError where inputs do not fit. NaN and infinity are values
        like any other, with three exceptions: a Relu that oneDNN fuses (tactic `onednn`) makes a number of NaN, the
        Gelu of torch makes NaN of infinity, and `winograd` makes NaN of the 4x4 pixels that share a tile with either.
        ONNX Runtime has others: its MaxPool forgets NaN and never goes below the lowest finite
        number, its LRN makes NaN of channels that stand beside infinity, a pad times an infinite weight is NaN."""
        fetch = self._launch(_checked(self.engine.inputs, inputs))
        self.engine.device.synchronize()
        return fetch()

    def enqueue(self, inputs: Arrays, outputs: dict[str, npt.NDArray[Any]], stream: Stream) -> None:
        """Run when the stream comes to it: `outputs` has the results after `stream.synchronize()`, which raises errors.
        Inputs are checked now; leave them alone until then."""
        tensors = _checked(self.engine.inputs, inputs)

        def work() -> Callable[[], None]:
            fetch = self._launch(tensors)
            return lambda: outputs.update(fetch())

        stream.submit(work)

    def profile(self, inputs: Arrays, repeats: int = 10) -> tuple[float, ...]:
        """The median time of every kernel in microseconds, in context: each runs after the one before it."""
        if not isinstance(repeats, int) or repeats < 1:
            raise ValueError(f"repeats is {repeats!r}: expected a whole number, 1 or more")
        device, table = self.engine.device, list[list[float]]()
        lines = [compile(step.line, "<schedule>", "exec") for step in self.engine._steps]
        names, tensors = self.engine.plan.variables, _checked(self.engine.inputs, inputs)
        with device.mode():
            fed = {names[n]: t.to(device.name) for n, t in zip(self.engine.plan.inputs, tensors, strict=True)}
            for _ in range(repeats):
                space = self._space | fed
                if device.name == "cuda":  # it waits some milliseconds, so that what is launched now runs without gaps
                    torch.cuda._sleep(HOLD_BACK_CYCLES)
                marks = [device.mark()]
                for line in lines:
                    exec(line, space)
                    marks.append(device.mark())
                device.synchronize()
                table.append([device.seconds(a, b) * 1e6 for a, b in itertools.pairwise(marks)])
        return tuple(np.median(np.array(table), axis=0))

    def _launch(self, tensors: list[Tensor]) -> Callable[[], dict[str, npt.NDArray[Any]]]:
        """Start the kernels, and the way back of their results; the function returned hands these out."""
        try:
            with torch.inference_mode():
                results = [self.engine.device.fetched(result) for result in self._run(*tensors)]
        except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
            raise RunError(f"A kernel failed: {error}. Check the inputs' values; the engine can go on.") from error
        return lambda: {n: t.contiguous().numpy() for n, t in zip(self.engine.plan.outputs, results, strict=True)}


# --- the schedule -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """A step's function, its tactic, and the line of the schedule that calls it, under the plan's `variables`."""

    run: Kernel
    tactic: str
    line: str


def _bound(plan: Plan, weights: Mapping[str, Tensor], device: Device) -> Iterator[_Bound]:
    """Every step's function. Where the tactic it was built for cannot run here, the kernel's first one does."""
    names, specs = plan.variables, plan.tensors
    for number, step in enumerate(plan.steps):
        with making_sense(f"Kernel {step.name!r}"):
            call = call_of(step, specs, weights, device)
            there = tactics(step.kernel, call)
            placed = all(name and specs[name].offset is not None for name in step.outputs)
            tactic = step.tactic
            if tactic not in there or (there[tactic].writes_out and not placed):
                tactic = next(iter(there))
            run, scratch, room = there[tactic].kernel(call, placed=placed), there[tactic].scratch(call), ""
            spare = specs.get(step.scratch)
            if spare and spare.offset is not None and 0 < scratch <= spare.span_bytes:
                room = f", room={names[step.scratch]}"
        reads = [names[name] for name in step.inputs if name and name not in weights]
        results = [names[name] if name else "_" for name in step.outputs]
        line = f"k{number}({', '.join([*reads, *(results if placed else [])])}{room})"
        yield _Bound(run=run, tactic=tactic, line=line if placed else f"{', '.join(results)} = {line}")


def schedule_source(engine: Engine) -> str:
    """The run as one Python function: a line for each kernel; what nobody reads any more is dropped."""
    plan, names = engine.plan, engine.plan.variables
    free = {names[n] for n, spec in plan.tensors.items() if spec.offset is None} - {names[n] for n in plan.outputs}
    last = {names[n]: number for number, s in enumerate(plan.steps) for n in (*s.inputs, *s.outputs) if n in names}
    lines = [f"def run({', '.join(names[name] for name in plan.inputs)}):"]
    for number, bound in enumerate(engine._steps):
        dead = sorted(name for name in free if last.get(name) == number)
        lines += [f"    {bound.line}", *([f"    del {', '.join(dead)}"] if dead else [])]
    outputs = "".join(f"{names[name]}, " for name in plan.outputs)
    return "\n".join([*lines, f"    return ({outputs})"]) + "\n"


def _checked(specs: Mapping[str, TensorSpec], inputs: Arrays) -> list[Tensor]:
    """Tensors in the engine's order, sharing memory where the array is dense. InputError says what does not fit."""
    if not isinstance(inputs, Mapping) or set(inputs) != set(specs):
        got = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise InputError(f"Inputs are {got or 'none'}: expected a dict of arrays by name, {_wanted(specs)}.")
    return [_tensor(name, spec, inputs[name]) for name, spec in specs.items()]


def _tensor(name: str, spec: TensorSpec, value: Any) -> Tensor:
    is_array = isinstance(value, np.ndarray)
    got = TensorSpec(dtype=value.dtype.name, shape=value.shape) if is_array else type(value).__name__
    if str(got) != str(spec):
        way_out = f"np.asarray(x, '{spec.dtype}') has the type, and one engine runs one shape: build for yours"
        raise InputError(f"Input {name!r} is {got}: expected an array {spec}; {way_out}.")
    is_dense = value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
    return torch.from_numpy(value if is_dense else np.array(value, value.dtype.newbyteorder("="), order="C"))


def _wanted(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {spec}" for name, spec in specs.items()) or "no inputs"
