"""engine/glassbox/runtime: what runs a plan. Needs numpy and torch alone.

In: a `Plan`. Out: an `Engine` that holds the weights, packed for its kernels, and any number of `ExecutionContext`s,
each with an arena and a schedule: one Python function with a line for each kernel. Checked against ONNX Runtime.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trtlab.engine.glassbox.device import Device, Run, Stream
from trtlab.engine.glassbox.errors import DeviceError, GlassboxError, InputError, PlanError, RunError
from trtlab.engine.glassbox.kernels import Kernel, call_of
from trtlab.engine.glassbox.library import KERNELS, VIEW, tactics
from trtlab.engine.glassbox.plan import Memory, Plan, Step, TensorSpec, load_plan, memory_of, save_plan
from trtlab.engine.measure import KernelTime

if TYPE_CHECKING:
    from trtlab.engine.glassbox.timing import Cache, Races

Arrays = Mapping[str, npt.NDArray[Any]]


def load(path: str | os.PathLike[str], *, timing_cache: "Cache" = None) -> "Engine":
    """The engine in a file that `Engine.save` wrote; tuned here, with a timing cache as `build` takes it, if it was
    built without its device or on another GPU. PlanError for any other file, DeviceError where it cannot run."""
    plan = load_plan(path)
    here = Device(plan.device).description().items()
    return Engine(plan if plan.is_tuned and here <= plan.made_with.items() else _tuned(plan, timing_cache))


def _tuned(plan: Plan, timing_cache: "Cache") -> Plan:
    from trtlab.engine.glassbox.trial import tune

    check_plan(plan)
    with _making_sense("The plan"):
        return tune(plan, timing_cache=timing_cache)


class Engine:
    """A plan made ready: weights packed, a function for every kernel. Immutable; contexts share all of it."""

    def __init__(self, plan: Plan) -> None:
        check_plan(plan)
        self.plan, self._device = plan, Device(plan.device) if plan.is_tuned else None
        self._steps: tuple[_Bound, ...] = ()
        self._weights: dict[str, Tensor] = {}
        if self._device is not None:
            weights = {name: w.to(self._device.name) for name, w in plan.weights.items()}
            with self._device.mode():
                self._steps = _all_bound(plan, weights, self._device)
            self._weights = {name: weights[name] for name in plan.outputs if name in weights}

    @property
    def device(self) -> Device:
        """Where it runs. DeviceError for an engine built where its device is not."""
        if self._device is None:
            raise DeviceError(
                f"This engine was built ahead of time for {self.plan.device!r}, which is not here: save it, and load it"
                " on a machine that has one."
            )
        return self._device

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """Inputs by name."""
        return {name: self.plan.tensors[name] for name in self.plan.inputs}

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """Outputs by name."""
        return {name: self.plan.tensors[name] for name in self.plan.outputs}

    @property
    def memory(self) -> Memory:
        """What it needs, in bytes. DeviceError before it is tuned for its device."""
        _ = self.device
        return memory_of(self.plan)

    def create_execution_context(self, streams: int = 1) -> "ExecutionContext":
        """A context of its own memory. One context runs one thing at a time; several may run at once. On several
        streams, branches of one run go side by side, as far as no bytes of the arena forbid it."""
        return ExecutionContext(self, streams)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as one file, atomically."""
        save_plan(self.plan, path)

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
        names = ", ".join(f"{name} {spec}" for name, spec in self.inputs.items())
        return f"Engine({len(self.plan.steps)} kernels on {self.plan.device} in {self.plan.precision}, inputs {names})"


class ExecutionContext:
    """What one run needs besides the engine: an arena, on a GPU a CUDA graph too. After an error it can go on."""

    def __init__(self, engine: Engine, streams: int = 1) -> None:
        self.engine = engine
        plan, device = engine.plan, engine.device
        self.schedule = schedule_source(plan, engine._steps)
        try:
            self._arena = torch.empty(plan.arena_bytes, dtype=torch.uint8, device=device.name)
            run = _compiled(self.schedule, [step.run for step in engine._steps], self._places())
            run = run if streams == 1 else _on_lanes(engine, self._places(), streams)
            self._run = device.prepared(run, [*engine.inputs.values()])
        except RuntimeError as error:
            raise RunError(f"No context, with an arena of {plan.arena_bytes:,} bytes: {error}. Close one.") from None

    @property
    def is_graph(self) -> bool:
        """Whether a run is one launch of a CUDA graph."""
        return getattr(self._run, "graph", None) is not None

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, as arrays of their own. InputError where inputs do not fit. NaN and infinity are values
        like any other, with three exceptions: a Relu that oneDNN fuses (tactic `onednn`) makes a number of NaN, the
        Gelu of torch makes NaN of infinity, and `winograd` makes NaN of the 4x4 pixels that share a
        tile with either. ONNX Runtime has others: its MaxPool forgets NaN and never goes below the lowest finite
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
        device, marks, table = self.engine.device, list[Any](), list[list[float]]()

        def marked(kernel: Kernel) -> Kernel:
            def run(*tensors: Tensor, **room: Tensor) -> Any:
                result = kernel(*tensors, **room)
                marks.append(device.mark())
                return result

            return run

        run = _compiled(self.schedule, [marked(step.run) for step in self.engine._steps], self._places())
        tensors = _checked(self.engine.inputs, inputs)
        with device.mode():
            there = [t.to(device.name) for t in tensors]
            for _ in range(repeats):
                device.hold_back()
                marks[:] = [device.mark()]
                run(*there)
                device.synchronize()
                table.append([device.seconds(a, b) * 1e6 for a, b in itertools.pairwise(marks)])
        return tuple(np.median(np.array(table), axis=0))

    def _launch(self, tensors: Sequence[Tensor]) -> Callable[[], dict[str, npt.NDArray[Any]]]:
        """Start the kernels, and the way back of their results; the function returned hands these out."""
        device = self.engine.device
        try:
            with torch.inference_mode():
                results = [device.fetched(t) for t in self._run(*tensors)]
        except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
            raise RunError(
                f"A kernel failed: {error}. Check the values of the inputs; the engine can go on."
            ) from error
        specs = self.engine.outputs
        for name, tensor in zip(self.engine.plan.outputs, results, strict=True):
            spec = specs[name]
            if str(tensor.dtype)[6:] != spec.dtype or (spec.shape is not None and tuple(tensor.shape) != spec.shape):
                raise RunError(
                    f"Output {name!r} is {tensor.dtype} {tuple(tensor.shape)}, the plan says {spec}. Build it again."
                )
        return lambda: {name: t.contiguous().numpy() for name, t in zip(self.engine.plan.outputs, results, strict=True)}

    def _places(self) -> dict[str, Tensor]:
        """The tensors that lie in the arena, and weights that are outputs as they are."""
        plan, variable = self.engine.plan, _variables(self.engine.plan)
        placed = {name: spec for name, spec in plan.tensors.items() if spec.offset is not None}
        places = self.engine._weights | {name: _view(self._arena, spec) for name, spec in placed.items()}
        return {variable[name]: tensor for name, tensor in places.items()}


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """A step's function, and the line of the schedule that calls it, under the names of `_variables`."""

    run: Kernel
    tactic: str
    placed: bool
    line: str


def _all_bound(plan: Plan, weights: Mapping[str, Tensor], device: Device) -> tuple[_Bound, ...]:
    """Every step's function. A view is one only of what truly lies in the arena."""
    steps, there, variable = list[_Bound](), set[str](), _variables(plan)
    for number, step in enumerate(plan.steps):
        views = all(name in there for name in step.inputs if name in plan.tensors)
        with _making_sense(f"Kernel {step.name!r}"):
            run, tactic, placed, room = _bound(step, plan, weights, device, views=views)
        reads = [variable[name] for name in step.inputs if name and name not in plan.weights]
        results = [variable[name] if name else "_" for name in step.outputs]
        rooms = [f"room={variable[room]}"] if room else []
        line = f"k{number}({', '.join([*reads, *(results if placed else []), *rooms])})"
        line = line if placed else f"{', '.join(results)} = {line}"
        steps.append(_Bound(run=run, tactic=tactic, placed=placed, line=line))
        there |= set(step.outputs) if placed else set()
    return tuple(steps)


def _bound(
    step: Step, plan: Plan, weights: Mapping[str, Tensor], device: Device, *, views: bool
) -> tuple[Kernel, str, bool, str]:
    """(function, tactic, whether its results are placed, its scratch). Where the tactic it was built for cannot run
    here, the kernel's first one does."""
    call = call_of(step, plan.tensors, weights, device)
    there = tactics(step.kernel, call)
    placed = all(n and plan.tensors[n].offset is not None for n in step.outputs)
    name = step.tactic if step.tactic in there and (views or step.tactic != VIEW) else next(iter(there))
    if there[name].writes_out and not placed:
        name = next(iter(there))
    room = plan.tensors.get(step.scratch)
    fits = room is not None and room.offset is not None and 0 < there[name].scratch(call) <= room.span_bytes
    return there[name].kernel(call, placed=placed), name, placed, step.scratch if fits else ""


@contextlib.contextmanager
def _making_sense(what: str) -> Iterator[None]:
    """Plans come from files: whatever their values break is a PlanError."""
    try:
        yield
    except GlassboxError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError,
            ValueError) as error:  # fmt: skip
        raise PlanError(f"{what} does not make sense: {error!r}. Build the plan again.") from None


def check_plan(plan: Plan) -> None:
    """PlanError unless every step reads what is there, and everything placed in the arena lies inside it."""
    if fault := next(_faults(plan), ""):
        raise PlanError(f"{fault}. Build the plan again.")


def _faults(plan: Plan) -> Iterator[str]:
    known = {*plan.inputs, *plan.weights}
    yield from (f"The plan does not describe {n!r}" for n in (*plan.inputs, *plan.outputs) if n not in plan.tensors)
    for step in plan.steps:
        kernel, made = f"Kernel {step.name!r}", [name for name in step.outputs if name]
        if step.kernel not in KERNELS:
            yield f"No kernel is called {step.kernel!r}: expected one of {', '.join(KERNELS)}"
        yield from (f"{kernel} reads {n!r}, which nothing makes" for n in step.inputs if n and n not in known)
        yield from (
            f"{kernel} writes {n!r}, unknown or written before" for n in made if n not in plan.tensors or n in known
        )
        known.update(made)
    yield from (f"Nothing makes the output {name!r}" for name in plan.outputs if name not in known)
    for name, spec in plan.tensors.items():
        is_whole = spec.shape is not None and len(spec.strides) == len(spec.shape)
        if spec.offset is not None and not (is_whole and spec.offset + spec.span_bytes <= plan.arena_bytes):
            yield f"{name!r} does not fit into the arena of {plan.arena_bytes} bytes"


def _view(arena: Tensor, spec: TensorSpec) -> Tensor:
    dtype = getattr(torch, spec.dtype)
    part = arena[spec.offset : (spec.offset or 0) + spec.span_bytes].view(dtype)
    return part.as_strided(spec.shape or (), spec.strides)


# --- the schedule -----------------------------------------------------------------------------------------------------


def _variables(plan: Plan) -> dict[str, str]:
    """A Python name for each tensor: names in plans may be anything."""
    return {name: f"t{number}" for number, name in enumerate(plan.tensors)}


def schedule_source(plan: Plan, steps: Sequence[_Bound]) -> str:
    """The run as one Python function: a line for each kernel; what nobody reads any more is dropped."""
    variable = _variables(plan)
    last = {name: number for number, step in enumerate(plan.steps) for name in step.inputs}
    kept = {*plan.outputs, *plan.weights}
    kept |= {name for step, bound in zip(plan.steps, steps, strict=True) if bound.placed for name in step.outputs}
    lines = [f"def run({', '.join(variable[name] for name in plan.inputs)}):"]
    for number, (step, bound) in enumerate(zip(plan.steps, steps, strict=True)):
        dead = [n for n in dict.fromkeys((*step.inputs, *step.outputs)) if n in variable and n not in kept]
        dead = [variable[n] for n in dead if last.get(n, number) == number]
        lines += [f"    {bound.line}", *([f"    del {', '.join(dead)}"] if dead else [])]
    outputs = "".join(f"{variable[name]}, " for name in plan.outputs)
    return "\n".join([*lines, f"    return ({outputs})"]) + "\n"


def _on_lanes(engine: Engine, places: Mapping[str, Tensor], streams: int) -> Run:
    from trtlab.engine.glassbox.lanes import Lanes

    space = {f"k{number}": step.run for number, step in enumerate(engine._steps)} | dict(places)
    lines = [compile(step.line, "<schedule>", "exec") for step in engine._steps]
    return Lanes(engine.plan, lines, space, _variables(engine.plan), engine.device, streams)


def _compiled(text: str, kernels: Sequence[Kernel], places: Mapping[str, Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """The function of that text. It holds only names made here: nothing of a plan's text gets into it."""
    space: dict[str, Any] = {f"k{number}": kernel for number, kernel in enumerate(kernels)} | dict(places)
    exec(compile(text, "<schedule>", "exec"), space)
    return space["run"]


# --- the border to numpy ----------------------------------------------------------------------------------------------


def _checked(specs: Mapping[str, TensorSpec], inputs: Arrays) -> list[Tensor]:
    """Tensors in the engine's order, sharing memory where the array is dense. InputError says what does not fit."""
    if not isinstance(inputs, Mapping):
        raise InputError(f"run takes a dict of arrays by name: got {type(inputs).__name__}; pass {{{_wanted(specs)}}}.")
    if set(inputs) != set(specs):
        strange = min(map(str, set(inputs) ^ set(specs)))
        state = "is missing" if strange in specs else "is unknown"
        raise InputError(f"Input {strange!r} {state}: the engine takes {_wanted(specs)}.")
    return [_tensor(name, spec, inputs[name]) for name, spec in specs.items()]


def _wanted(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {spec}" for name, spec in specs.items()) or "no inputs"


def _tensor(name: str, spec: TensorSpec, value: Any) -> Tensor:
    if not isinstance(value, np.ndarray):
        fault = f"is of type {type(value).__name__}: expected a numpy array {spec}; use np.asarray"
    elif value.dtype.name != spec.dtype:
        fault = f"is {value.dtype.name}: expected {spec}; use x.astype('{spec.dtype}')"
    elif value.shape != spec.shape:
        fault = f"has shape {value.shape}: expected {spec}; one engine runs one shape, build for yours"
    else:
        is_dense = value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
        return torch.from_numpy(value if is_dense else np.array(value, value.dtype.newbyteorder("="), order="C"))
    raise InputError(f"Input {name!r} {fault}.")
