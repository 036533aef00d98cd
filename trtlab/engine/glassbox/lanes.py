"""engine/glassbox/lanes: one run on several streams, with events: what does not need each other runs side by side.

In: a plan, and the line of its schedule for each step. Out: a function like the schedule's. On a GPU a lane is a stream
of CUDA, forked from the current one and joined to it, so that all are captured in one graph; on a CPU a thread.
plan/streams says which step waits for which: by the bytes of the arena, so that what uses none again may overlap.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.library import VIEW
from trtlab.engine.glassbox.plan import Plan, TensorSpec
from trtlab.plan.streams import Extent, dependencies, lanes


def extent(spec: TensorSpec) -> Extent:
    """The bytes that a placed tensor uses: rows, where all outer strides are multiples of one."""
    run = getattr(torch, spec.dtype).itemsize
    axes = sorted((s * run, n) for s, n in zip(spec.strides, spec.shape or (), strict=True) if n > 1)
    while axes and axes[0][0] == run:
        run *= axes.pop(0)[1]
    step = axes[0][0] if axes else 0
    is_rows = step > run and all(stride % step == 0 for stride, _ in axes)
    return Extent(offset=spec.offset or 0, span=spec.span_bytes, run=run, step=step if is_rows else 0)


def uses(plan: Plan) -> list[tuple[list[Extent], list[Extent]]]:
    """What each step reads and writes. Results that torch brings lie behind the arena; as they may show what they were
    made of otherwise, who reads one reads that, too. A view is no step: its bytes are those of what it shows."""
    of, found = dict[str, list[Extent]](), list[tuple[list[Extent], list[Extent]]]()
    for number, (name, spec) in enumerate(plan.tensors.items()):
        of[name] = [Extent(offset=plan.arena_bytes + number, span=1) if spec.offset is None else extent(spec)]
    for step in plan.steps:
        reads, writes = (
            [e for n in names for e in of.get(n, ())] for names in (step.inputs, (*step.outputs, step.scratch))
        )
        if step.kernel in ("operator", "pointwise"):
            of |= {n: [*{*of[n], *reads}] for n in step.outputs if n and plan.tensors[n].offset is None}
        found.append(([], []) if step.tactic == VIEW else (reads, writes))
    return found


class Lanes:
    """The steps of a plan on `count` streams. A line is run in a `space` that has kernels and places, under the plan's
    `variables`; what it assigns is there for the others."""

    def __init__(self, plan: Plan, lines: Sequence[str], space: Mapping[str, Any], device: Device, count: int) -> None:
        names = plan.variables
        self._inputs, self._outputs = ([names[n] for n in ends] for ends in (plan.inputs, plan.outputs))
        self._lines = [compile(line, "<schedule>", "exec") for line in lines]
        self._space, self._device, self.turns = space, device, lanes(dependencies(uses(plan)), count)
        self._threads = ThreadPoolExecutor(count)
        self._streams = [torch.cuda.Stream() for _ in range(count)] if device.name == "cuda" else []
        self._count = count

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        space = {**self._space, **dict(zip(self._inputs, inputs, strict=True))}
        (self._on_streams if self._streams else self._on_threads)(space)
        return tuple(space[name] for name in self._outputs)

    def _on_streams(self, space: dict[str, Any]) -> None:
        """All results are kept to the end: torch would give the memory of one to the next of its stream."""
        main, events = torch.cuda.current_stream(), [torch.cuda.Event() for _ in self.turns]
        for stream in self._streams:
            stream.wait_stream(main)
        for number, (lane, waits) in enumerate(self.turns):
            with torch.cuda.stream(self._streams[lane]):
                for other in waits:
                    events[other].wait()
                exec(self._lines[number], space)
                events[number].record()
        for stream in self._streams:
            main.wait_stream(stream)

    def _on_threads(self, space: dict[str, Any]) -> None:
        """Once a step has failed no other begins, and nobody waits for it for ever."""
        events, errors = [threading.Event() for _ in self.turns], list[BaseException]()

        def work(mine: int) -> None:
            with self._device.mode():
                for number, waits in ((n, waits) for n, (lane, waits) in enumerate(self.turns) if lane == mine):
                    for other in waits:
                        events[other].wait()
                    try:
                        if not errors:
                            exec(self._lines[number], space)
                    except BaseException as error:  # noqa: BLE001 - it comes up again below
                        errors.append(error)
                    events[number].set()

        list(self._threads.map(work, range(self._count)))
        if errors:
            raise errors[0]
