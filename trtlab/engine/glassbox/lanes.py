"""engine/glassbox/lanes: one run on several streams, with events: what does not need each other runs side by side.

In: a plan, and the line of its schedule for each step. Out: a function like the schedule's. On a GPU a lane is a stream
of CUDA, forked from the current one and joined to it, so that all are captured in one graph; on a CPU a thread.
plan/streams says which step waits for which: by the bytes of the arena, so that what uses none again may overlap.
"""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.glassbox.device import Device, ThreadStream
from trtlab.engine.glassbox.library import VIEW
from trtlab.engine.glassbox.plan import Plan, TensorSpec
from trtlab.plan.streams import Extent, dependencies, lanes


def extent(spec: TensorSpec) -> Extent:
    """The bytes that a placed tensor uses."""
    item = getattr(torch, spec.dtype).itemsize
    run, step = item, 0
    for stride, size in sorted((s * item, n) for s, n in zip(spec.strides, spec.shape or (), strict=True) if n > 1):
        if stride == run and not step:
            run *= size
        elif stride % step if step else stride < run:
            return Extent(offset=spec.offset or 0, span=spec.span_bytes)
        step = step or (stride if stride > run else 0)
    return Extent(offset=spec.offset or 0, span=spec.span_bytes, run=run, step=step)


def uses(plan: Plan) -> list[tuple[list[Extent], list[Extent]]]:
    """What each step reads and writes. Results that torch brings lie behind the arena; as they may show what they were
    made of otherwise, who reads one reads that, too. A view is no step: its bytes are those of what it shows."""
    apart = {name: Extent(offset=plan.arena_bytes + n, span=1) for n, name in enumerate(plan.tensors)}
    of = {n: [apart[n] if spec.offset is None else extent(spec)] for n, spec in plan.tensors.items()}
    found = list[tuple[list[Extent], list[Extent]]]()
    for step in plan.steps:
        reads = [e for n in step.inputs for e in of.get(n, ())]
        writes = [e for n in (*step.outputs, step.scratch) for e in of.get(n, ())]
        if step.kernel in ("operator", "pointwise"):
            of |= {n: [*{*of[n], *reads}] for n in step.outputs if n and plan.tensors[n].offset is None}
        found.append(([], []) if step.tactic == VIEW else (reads, writes))
    return found


class Lanes:
    """The steps of a plan on `count` streams. A line is run in a `space` that has kernels and places, under the plan's
    names for tensors as `variables`; what it assigns is there for the others."""

    def __init__(
        self, plan: Plan, lines: Sequence[CodeType], space: Mapping[str, Any], variables: Mapping[str, str],
        device: Device, count: int,
    ) -> None:  # fmt: skip
        self._lines, self._space, self._device = lines, space, device
        self._inputs, self._outputs = ([variables[n] for n in names] for names in (plan.inputs, plan.outputs))
        self.turns = lanes(dependencies(uses(plan)), count)
        self._awaited = {number for _, waits in self.turns for number in waits}
        self._threads = [ThreadStream() for _ in range(count)] if device.name == "cpu" else []
        self._streams = [torch.cuda.Stream() for _ in range(count)] if device.name == "cuda" else []

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        space = {**self._space, **dict(zip(self._inputs, inputs, strict=True))}
        (self._on_streams if self._streams else self._on_threads)(space)
        return tuple(space[name] for name in self._outputs)

    def _on_streams(self, space: dict[str, Any]) -> None:
        """All results are kept to the end: torch would give the memory of one to the next of its stream."""
        main, events = torch.cuda.current_stream(), {number: torch.cuda.Event() for number in self._awaited}
        for stream in self._streams:
            stream.wait_stream(main)
        for number, (lane, waits) in enumerate(self.turns):
            with torch.cuda.stream(self._streams[lane]):
                for other in waits:
                    events[other].wait()
                exec(self._lines[number], space)
                if number in events:
                    events[number].record()
        for stream in self._streams:
            main.wait_stream(stream)

    def _on_threads(self, space: dict[str, Any]) -> None:
        """Whatever happens to a step, nobody waits for it for ever."""
        events, errors = {number: threading.Event() for number in self._awaited}, list[BaseException]()

        def work(number: int, waits: Sequence[int]) -> Callable[[], None]:
            for other in waits:
                events[other].wait()
            try:
                with self._device.mode():
                    exec(self._lines[number], space)
            finally:
                events.get(number, threading.Event()).set()
            return lambda: None

        for number, (lane, waits) in enumerate(self.turns):
            self._threads[lane].submit(functools.partial(work, number, waits))
        for thread in self._threads:
            try:
                thread.synchronize()
            except Exception as error:  # noqa: BLE001 - the others come to their end first
                errors.append(error)
        if errors:
            raise errors[0]

    def __del__(self) -> None:
        for thread in getattr(self, "_threads", ()):
            thread.close()
