"""engine/glassbox/runtime: what runs a plan. Needs numpy and torch alone.

In: a `Plan`. Out: an `Engine` that holds the weights, packed for its kernels, and any number of `ExecutionContext`s,
each with an arena and a schedule: one Python function with a line for each kernel. Checked against ONNX Runtime.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trtlab.engine.glassbox import planfile
from trtlab.engine.glassbox.device import Device, Stream
from trtlab.engine.glassbox.errors import DeviceError, GlassboxError, InputError, PlanError, RunError
from trtlab.engine.glassbox.kernels import KERNELS, Call, Kernel, tactics
from trtlab.engine.glassbox.plan import Plan, Step, TensorSpec

Arrays = Mapping[str, npt.NDArray[Any]]
OLDEST_TORCH = (2, 11)


@dataclass(frozen=True, kw_only=True)
class KernelInfo:
    """What `inspect` says of one kernel. `onnx_nodes` were merged into it; `time_us` was measured by the builder."""

    name: str
    onnx_nodes: tuple[str, ...]
    tactic: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    time_us: float


def load(path: str | os.PathLike[str]) -> "Engine":
    """The engine in a file that `Engine.save` wrote. PlanError for any other file, DeviceError where it cannot run."""
    return Engine(planfile.load_plan(path))


class Engine:
    """A plan made ready: weights packed, a function for every kernel. Immutable; contexts share all of it."""

    def __init__(self, plan: Plan) -> None:
        _check_torch()
        self.plan = plan
        self.device = Device(plan.device)
        check_plan(plan)
        weights = {name: w.to(self.device.name) for name, w in plan.weights.items()}
        self._steps = tuple(_bound(step, plan, weights, self.device) for step in plan.steps)
        self._weights = {name: weights[name] for name in plan.outputs if name in weights}

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """Inputs by name."""
        return {name: self.plan.tensors[name] for name in self.plan.inputs}

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """Outputs by name."""
        return {name: self.plan.tensors[name] for name in self.plan.outputs}

    def create_execution_context(self) -> "ExecutionContext":
        """A context of its own memory. One context runs one thing at a time; several may run at once."""
        return ExecutionContext(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as one file, atomically."""
        planfile.save_plan(self.plan, path)

    def inspect(self) -> tuple[KernelInfo, ...]:
        """Every kernel in order."""
        specs = {name: str(spec) for name, spec in self.plan.tensors.items()}
        return tuple(
            KernelInfo(
                name=_title(step),
                onnx_nodes=step.nodes,
                tactic=bound.tactic,
                inputs=tuple(specs[name] for name in step.inputs if name in specs),
                outputs=tuple(specs[name] for name in step.outputs if name in specs),
                time_us=step.time_us,
            )
            for step, bound in zip(self.plan.steps, self._steps, strict=True)
        )

    def __repr__(self) -> str:
        names = ", ".join(f"{name} {spec}" for name, spec in self.inputs.items())
        return f"Engine({len(self._steps)} kernels on {self.plan.device} in {self.plan.precision}, inputs {names})"


class ExecutionContext:
    """What one run needs besides the engine: an arena. After an error it can go on."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        plan = engine.plan
        try:
            self._arena = torch.empty(plan.arena_bytes, dtype=torch.uint8, device=plan.device)
        except RuntimeError as error:
            raise RunError(f"No memory for an arena of {plan.arena_bytes:,} bytes: {error}. Close a context.") from None
        self.schedule = schedule_source(plan, [step.writes_out for step in engine._steps])
        self._run = _compiled(self.schedule, [step.run for step in engine._steps], self._places())
        self.stream = None

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, as arrays of their own. InputError where inputs do not fit. NaN and infinity are values
        like any other, with one exception: a Relu that oneDNN fuses (tactic `onednn`) makes 0 of NaN."""
        outputs = self._launch(_checked(self.engine.inputs, inputs))
        self.engine.device.synchronize()
        return self._arrays(outputs)

    def enqueue(self, inputs: Arrays, outputs: dict[str, npt.NDArray[Any]], stream: Stream) -> None:
        """Run when the stream comes to it: `outputs` has the results after `stream.synchronize()`, which raises errors.
        Inputs are checked now; leave them alone until then."""
        tensors = _checked(self.engine.inputs, inputs)

        def work() -> None:
            outputs.update(self._arrays(self._launch(tensors)))

        stream.submit(work)

    def profile(self, inputs: Arrays, repeats: int = 10) -> tuple[float, ...]:
        """The median time of every kernel in microseconds, in context: each runs after the one before it."""
        rows: list[list[float]] = []
        timed = [_timed(step.run, rows, self.engine.device) for step in self.engine._steps]
        run, tensors = _compiled(self.schedule, timed, self._places()), _checked(self.engine.inputs, inputs)
        table = []
        with torch.inference_mode():
            for _ in range(repeats):
                rows.append([])
                run(*[t.to(self.engine.plan.device) for t in tensors])
                table.append(rows[-1])
        return tuple(np.median(np.array(table), axis=0) * 1e6)

    def _launch(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        device = self.engine.plan.device
        try:
            with torch.inference_mode():
                return self._run(*(tensors if device == "cpu" else [t.to(device) for t in tensors]))
        except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
            raise RunError(
                f"A kernel failed: {error}. Check the values of the inputs; the engine can go on."
            ) from error

    def _arrays(self, outputs: Sequence[Tensor]) -> dict[str, npt.NDArray[Any]]:
        for (name, spec), tensor in zip(self.engine.outputs.items(), outputs, strict=True):
            if str(tensor.dtype)[6:] != spec.dtype or (spec.shape is not None and tuple(tensor.shape) != spec.shape):
                raise RunError(
                    f"Output {name!r} is {tensor.dtype} {tuple(tensor.shape)}, the plan says {spec}. Build it again."
                )
        return {name: _array(t) for name, t in zip(self.engine.plan.outputs, outputs, strict=True)}

    def _places(self) -> dict[str, Tensor]:
        """The tensors that lie in the arena, and weights that are outputs as they are."""
        places = dict(self.engine._weights)
        for name, spec in self.engine.plan.tensors.items():
            if spec.offset is not None:
                places[name] = _view(self._arena, spec)
        return {_variable(self.engine.plan, name): tensor for name, tensor in places.items()}


@dataclass(frozen=True, kw_only=True)
class _Bound:
    run: Kernel
    tactic: str
    writes_out: bool


def _bound(step: Step, plan: Plan, weights: Mapping[str, Tensor], device: Device) -> _Bound:
    """The step's function. Where the tactic it was built for cannot run here, the kernel's first one does."""
    call = call_of(step, plan.tensors, weights, device)
    try:
        there = tactics(step.kernel, call)
        placed = all(name and plan.tensors[name].offset is not None for name in step.outputs)
        name = step.tactic if step.tactic in there else next(iter(there))
        if there[name].writes_out and not placed:
            name = next(n for n in there if not there[n].writes_out)
        return _Bound(run=there[name].bind(call), tactic=name, writes_out=there[name].writes_out)
    except GlassboxError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        AssertionError,
        StopIteration,
    ) as error:
        raise PlanError(f"Kernel {_title(step)!r} does not make sense: {error!r}. Build the plan again.") from None


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


def check_plan(plan: Plan) -> None:
    """PlanError unless every step reads what is there, and everything placed in the arena lies inside it."""
    known = {*plan.inputs, *plan.weights}
    if missing := [n for n in (*plan.inputs, *plan.outputs) if n not in plan.tensors]:
        raise PlanError(f"The plan does not describe {missing[0]!r}. Build it again.")
    for step in plan.steps:
        if step.kernel not in KERNELS:
            raise PlanError(
                f"No kernel is called {step.kernel!r}: expected one of {', '.join(KERNELS)}. Build the plan again."
            )
        if unknown := [n for n in step.inputs if n and n not in known]:
            raise PlanError(f"Kernel {_title(step)!r} reads {unknown[0]!r}, which nothing makes. Build the plan again.")
        if unknown := [n for n in step.outputs if n and (n not in plan.tensors or n in known)]:
            raise PlanError(
                f"Kernel {_title(step)!r} writes {unknown[0]!r}, unknown or written before. Build the plan again."
            )
        known |= {n for n in step.outputs if n}
    if missing := [n for n in plan.outputs if n not in known]:
        raise PlanError(f"Nothing makes the output {missing[0]!r}. Build the plan again.")
    for name, spec in plan.tensors.items():
        if spec.offset is not None and (
            spec.shape is None
            or len(spec.strides) != len(spec.shape)
            or spec.offset + span_bytes(spec) > plan.arena_bytes
        ):
            raise PlanError(f"{name!r} does not fit into the arena of {plan.arena_bytes} bytes. Build the plan again.")


def span_bytes(spec: TensorSpec) -> int:
    """Bytes from the first number of a tensor to behind its last."""
    if spec.shape is None or 0 in spec.shape:
        return 0
    return (sum((n - 1) * s for n, s in zip(spec.shape, spec.strides, strict=True)) + 1) * getattr(
        torch, spec.dtype
    ).itemsize


def _view(arena: Tensor, spec: TensorSpec) -> Tensor:
    dtype = getattr(torch, spec.dtype)
    part = arena[spec.offset : (spec.offset or 0) + span_bytes(spec)].view(dtype)
    return part.as_strided(spec.shape or (), spec.strides)


# --- the schedule -----------------------------------------------------------------------------------------------------


def _variable(plan: Plan, name: str) -> str:
    """A Python name: names in plans may be anything."""
    return f"t{list(plan.tensors).index(name)}"


def schedule_source(plan: Plan, writes_out: Sequence[bool]) -> str:
    """The run as one Python function: a line for each kernel; what nobody reads any more is dropped."""
    variable = {name: f"t{number}" for number, name in enumerate(plan.tensors)}
    last = {name: number for number, step in enumerate(plan.steps) for name in step.inputs}
    placed = {name for step, writes in zip(plan.steps, writes_out, strict=True) if writes for name in step.outputs}
    constant = {name for name in plan.outputs if name in plan.weights}
    lines = [f"def run({', '.join(variable[name] for name in plan.inputs)}):"]
    for number, (step, writes) in enumerate(zip(plan.steps, writes_out, strict=True)):
        reads = [variable[name] for name in step.inputs if name and name not in plan.weights]
        results = [variable[name] if name else "_" for name in step.outputs]
        call = f"k{number}({', '.join(reads + results if writes else reads)})"
        lines.append(f"    {call}" if writes else f"    {', '.join(results)} = {call}")
        dead = [n for n in dict.fromkeys((*step.inputs, *step.outputs)) if n in variable and n not in plan.weights]
        dead = [
            variable[n] for n in dead if last.get(n, number) == number and n not in {*placed, *plan.outputs, *constant}
        ]
        lines += [f"    del {', '.join(dead)}"] if dead else []
    outputs = "".join(f"{variable[name]}, " for name in plan.outputs)
    return "\n".join([*lines, f"    return ({outputs})"]) + "\n"


def _compiled(text: str, kernels: Sequence[Kernel], places: Mapping[str, Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """The function of that text. It holds only names made here: nothing of a plan's text gets into it."""
    space: dict[str, Any] = {f"k{number}": kernel for number, kernel in enumerate(kernels)} | dict(places)
    exec(compile(text, "<schedule>", "exec"), space)
    return space["run"]


def _timed(kernel: Kernel, rows: list[list[float]], device: Device) -> Kernel:
    def run(*tensors: Tensor) -> Any:
        started = time.perf_counter()
        result = kernel(*tensors)
        device.synchronize()
        rows[-1].append(time.perf_counter() - started)
        return result

    return run


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
        raise InputError(
            f"Input {name!r} is of type {type(value).__name__}: expected a numpy array {spec}; use np.asarray."
        )
    if value.dtype.name != spec.dtype:
        raise InputError(f"Input {name!r} is {value.dtype.name}: expected {spec}; use x.astype('{spec.dtype}').")
    if value.shape != spec.shape:
        raise InputError(
            f"Input {name!r} has shape {value.shape}: expected {spec}; one engine runs one shape, build for yours."
        )
    dense = (
        value
        if value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
        else np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
    )
    return torch.from_numpy(dense)


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """An array of its own: the arena changes with the next run."""
    return np.array(tensor.cpu().numpy(), order="C")


def _title(step: Step) -> str:
    if step.kernel == "operator":
        return str(step.attributes.get("operator"))
    if step.kernel == "maxpool":
        return "MaxPool"
    if step.kernel == "pointwise":
        program = step.attributes.get("program") or []
        return " ".join(str(line[0]) for line in program if isinstance(line, list) and line) or "pointwise"
    return " ".join(
        filter(None, [step.kernel, "Add" if len(step.inputs) > 3 else "", str(step.attributes.get("activation", ""))])
    )


def _check_torch() -> None:
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if found < OLDEST_TORCH:
        raise DeviceError(
            f"The glass box needs torch >= {'.'.join(map(str, OLDEST_TORCH))}, this is {torch.__version__}: update it."
        )
