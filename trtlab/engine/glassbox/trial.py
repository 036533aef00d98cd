"""engine/glassbox/trial: an untuned plan made ready for one machine: tactics timed, layouts seen, memory placed.

In: a plan whose steps have no tactics. Out: the same plan with all of that. The network runs once, step by step, on
made-up inputs: that shows every shape and layout, times the tactics, and discards one that disagrees with the first.
Needs torch alone, so that a plan made anywhere is tuned where it is loaded, as TensorRT for RTX compiles there.
"""

import contextlib
import functools
import itertools
import math
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import GlassboxError, RunError, UnsupportedError
from trtlab.engine.glassbox.kernels import Call, Kernel, Tactic, call_of
from trtlab.engine.glassbox.library import VIEW, tactics
from trtlab.engine.glassbox.operators import is_host
from trtlab.engine.glassbox.plan import Plan, Step, TensorSpec
from trtlab.engine.glassbox.timing import Cache, left_alone, opened
from trtlab.plan import memory
from trtlab.plan.tactics import NoTacticError, Picker, Race, pick

QUICK: memory.Placer = functools.partial(memory.place, budget_s=0.5)


def tune(
    plan: Plan, *, pick: Picker = pick, place: memory.Placer = QUICK, timing_cache: Cache = None, kind: str = "level 3"
) -> Plan:
    """The plan with tactics, strides and offsets for the device that it names, and the races behind them. DeviceError
    where that is missing. What the cache knows of this `kind` of race is not timed again; what it lacks, it then has;
    a file is written. A cache that is damaged, or of another machine, is left alone, with a warning."""
    device = Device(plan.device)
    cache = opened(timing_cache, device)
    with device.mode():
        trial = _Trial(plan, device, pick, cache.races, kind)
    with left_alone():
        cache.save()
    placed = place(trial.buffers())
    tensors = {name: replace(spec, offset=placed.offsets.get(name)) for name, spec in trial.specs.items()}
    made_with, steps = {**plan.made_with, **device.description()}, tuple(trial.steps)
    return replace(
        plan, tensors=tensors, steps=steps, arena_bytes=placed.peak_bytes, made_with=made_with, races=tuple(trial.races)
    )


class _Trial:
    """One run, step by step. Afterwards `steps` have tactics and times, `races` what they are from, `specs` every
    tensor's shape and strides."""

    def __init__(self, plan: Plan, device: Device, pick: Picker, known: MutableMapping[str, Race], kind: str) -> None:
        self._plan, self._device, self._pick = plan, device, pick
        self._known, self._kind = known, kind  # by signature
        self._weights = {name: w.to(device.name) for name, w in plan.weights.items()}
        self._values: dict[str, Tensor] = {}
        self.specs: dict[str, TensorSpec] = {}
        self.steps: list[Step] = []
        self.races: list[Race | None] = []
        self._placed: set[str] = set()  # results in the arena, and scratch
        self.inside: dict[str, tuple[str, int]] = {}  # tensor -> whose memory it is a part of, bytes from the start
        self._turned = _turned(plan)
        self._places_all = device.name == "cpu"  # a copy costs a launch on a GPU; its graph has memory of its own
        self._parts, self._wholes = _parts(plan) if self._places_all else {}, dict[str, Tensor]()
        for number, name in enumerate(plan.inputs):
            self._values[name] = self._sample(plan.tensors[name], number)
            self._describe(name, self._values[name])
        for name in plan.outputs:
            if name in plan.weights:
                self._describe(name, plan.weights[name])
        last = {name: number for number, step in enumerate(plan.steps) for name in step.inputs}
        for number, step in enumerate(plan.steps):
            self.races.append(None)
            self.steps.append(self._step(step))
            for name in (*step.inputs, *step.outputs):
                if last.get(name, number) <= number:
                    self._values.pop(name, None)

    def _sample(self, spec: TensorSpec, seed: int) -> Tensor:
        shape, dtype = spec.shape or (), getattr(torch, spec.dtype)
        try:
            if not dtype.is_floating_point:
                return torch.zeros(shape, dtype=dtype, device=self._device.name)  # an index that is always there
            generator = torch.Generator("cpu").manual_seed(seed)
            return torch.randn(shape, generator=generator, device="cpu").to(dtype).to(self._device.name)
        except RuntimeError as error:
            raise RunError(f"No memory for an input {spec}: {error}. Build for a smaller shape.") from None

    def _describe(self, name: str, value: Tensor) -> None:
        """Of what type, shape and layout it is, seen: ONNX's inference only guesses where a pooling's windows end."""
        want, dtype = self._plan.tensors[name], str(value.dtype)[6:]
        if want.dtype not in ("", dtype):
            raise GlassboxError(f"{name!r} was made as {dtype}; ONNX says {want}.")
        self.specs[name] = TensorSpec(dtype=dtype, shape=tuple(value.shape), strides=tuple(value.stride()))

    def _step(self, step: Step) -> Step:
        specs = {n: self.specs.get(n) or t for n in (*step.inputs, *step.outputs) if (t := self._plan.tensors.get(n))}
        call = call_of(step, specs, self._weights, self._device)
        there = tactics(step.kernel, call)
        view = there.pop(VIEW, None)
        reads = [n for n in step.inputs if n and n not in self._weights]
        if any(n not in self._values for n in reads) or self._asks_values(step):
            return self._unseen(step, there)
        tensors, first = [self._values[n] for n in reads], there[next(iter(there))].bind(call)
        try:
            reference = self._results(step, first(*tensors))
            call = replace(call, result_shape=tuple(reference[0].shape))  # seen, where ONNX's inference only says so
        except (RuntimeError, IndexError, ValueError):  # made-up numbers divided by zero, or pointed nowhere
            return self._unseen(step, there)
        if view and self._is_view(step, reference, reads):
            return replace(step, tactic=VIEW)
        own = self._can_place(step, reference, [*tensors, *self._weights.values()])
        race, work = self._race(step, call, tensors, there, lambda: first(*tensors), reference, own)
        self.races[-1], name = race, race.winner
        self._keep(step, self._results(step, work()))  # with its own strides
        if own and (self._places_all or there[name].writes_out):
            self._placed |= set(step.outputs)
            self._share(step.outputs, [w for n in step.outputs if (w := self._parts.get(n, ("",))[0]) in self._wholes])
        return replace(step, tactic=name, time_us=race.time_us, scratch=self._scratch(step, there[name].scratch(call)))

    def _keep(self, step: Step, values: Sequence[Tensor]) -> None:
        for output, value in zip(step.outputs, values, strict=True):
            if output:
                self._values[output] = value
                self._describe(output, value)

    def _is_view(self, step: Step, reference: Sequence[Tensor], reads: Sequence[str]) -> bool:
        """Whether every result is a part of what lies in the arena, seen otherwise: then there is nothing to do."""
        homes = [n for n in reads if n in self._placed or n in self.inside]
        if not self._is_static(step, reference) or not homes:
            return False
        self._keep(step, reference)
        return self._share(step.outputs, homes)

    def _scratch(self, step: Step, size: int) -> str:
        """The name of so many bytes for this step alone, or "" for none."""
        name = f"scratch of {step.outputs[0]}"
        if not size or name in self._plan.tensors:
            return ""
        self.specs[name] = TensorSpec(dtype="uint8", shape=(size,), strides=(1,))
        self._placed.add(name)
        return name

    def _race(
        self, step: Step, call: Call, tensors: Sequence[Tensor], there: Mapping[str, Tactic], first: Kernel,
        reference: Sequence[Tensor], own: bool,
    ) -> tuple[Race, Kernel]:  # fmt: skip
        """The race of the tactics, run now or known, and the winner at work. Those made for the case come before the
        one that works wherever torch does; parts that are there already leave it to those that write beside them.
        `own`: the results can be told where they belong."""
        inside = any(self.inside.get(n, ("",))[0] in step.outputs for n in step.inputs)
        placed = {name: own and (self._places_all or tactic.writes_out) for name, tactic in there.items()}
        initial, *others = (name for name, tactic in there.items() if placed[name] or not tactic.writes_out)
        order = (*others, initial)
        works = {n: self._at_work(there[n], call, tensors, step, reference, placed=placed[n]) for n in order}
        writers = {name: work for name, work in works.items() if there[name].writes_out}
        key = self._signature(step, call, tensors, [*works, inside, own])
        check = functools.partial(_error_of, reference, there)
        if (known := self._known.get(key)) and known.winner in works:
            with contextlib.suppress(NoTacticError):
                pick({known.winner: works[known.winner]}, self._device.timer, check, level=0)  # it runs, and agrees
                return known, works[known.winner]
        try:
            race = self._pick(writers if inside and writers else works, self._device.timer, check)
        except NoTacticError:
            race = self._pick(works | {initial: first}, self._device.timer, check)
        self._known[key] = race
        return race, works[race.winner]

    def _signature(self, step: Step, call: Call, tensors: Sequence[Tensor], among: Sequence[Any]) -> str:
        """What decides which tactic is fastest: calls that are alike in it are timed once."""
        weights = [w is None or (w.shape, w.stride(), w.dtype) for w in (*call.operands, *call.epilogue.others)]
        given = [(t.shape, t.stride(), t.dtype) for t in tensors]
        results = [(self._plan.tensors[n].shape, n in self._parts, self._turned.get(n)) for n in step.outputs if n]
        what = step.kernel, dict(step.attributes), call.present, weights, given, call.result_shape, results
        return f"{self._kind}: {(*what, self._plan.precision, *among)!r}"

    def _share(self, names: Sequence[str], homes: Sequence[str]) -> bool:
        """Note which of the results are parts of the homes' memory; whether all are."""
        for name, home in itertools.product(names, homes):
            value, whole = self._values[name], self._wholes.get(home, self._values.get(home))
            if whole is not None and value.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr():
                root, at = self.inside.get(home, (home, 0))
                self.inside[name] = root, at + int(value.storage_offset() - whole.storage_offset()) * value.itemsize
        return all(name in self.inside for name in names)

    def _memory(self, name: str, like: Tensor) -> Tensor:
        """Memory for a result: its part of the concatenation that it goes into; dense in the order of the Transpose
        that reads it."""
        if name in self._parts:
            whole, axis, start = self._parts[name]
            if whole not in self._wholes:
                last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
                layout = torch.channels_last if last else torch.contiguous_format
                shape = self._plan.tensors[whole].shape or ()
                self._wholes[whole] = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
            return self._wholes[whole].narrow(axis, start, like.shape[axis])
        if (perm := self._turned.get(name)) and like.ndim > 2:
            dense = torch.empty([like.shape[d] for d in perm], dtype=like.dtype, device=like.device)
            turned = dense.permute([perm.index(d) for d in range(like.ndim)])
            if turned.flatten(0, -3).data_ptr() == turned.data_ptr():  # still one batch of matrices
                return turned
        empty = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)
        return self._wholes.get(name, empty)

    def _asks_values(self, step: Step) -> bool:
        """Whether a tensor that says how (a shape, axes) comes from outside: made-up numbers would say nonsense."""
        if step.kernel != "operator":
            return False
        host = is_host(step.attributes["operator"], len(step.inputs))
        return any(h and n and n not in self._weights for h, n in zip(host, step.inputs, strict=True))

    def _unseen(self, step: Step, there: Mapping[str, Tactic]) -> Step:
        """A step of which only the types are known: the tactic that brings its own memory."""
        for name in filter(None, step.outputs):
            known = self._plan.tensors[name]
            self.specs[name] = TensorSpec(dtype=known.dtype or "float32", shape=known.shape)
        return replace(step, tactic=next(iter(there)))

    def _results(self, step: Step, result: Any) -> list[Tensor]:
        values = _listed(result)
        if len(values) < len(step.outputs):
            made = f"{len(step.outputs)} results are asked for, the kernel makes {len(values)}"
            raise UnsupportedError(f"{step.nodes}: {made}.")
        return values[: len(step.outputs)]

    def _is_static(self, step: Step, reference: Sequence[Tensor]) -> bool:
        """Whether memory can be set aside: the shapes are static, and every result has a name."""
        return all(
            n and self._plan.tensors[n].shape == tuple(v.shape) and v.numel()
            for n, v in zip(step.outputs, reference, strict=True)
        )

    def _can_place(self, step: Step, reference: Sequence[Tensor], given: Sequence[Tensor]) -> bool:
        """Whether the results go into the arena: not those of an operator that only shows what is given otherwise."""
        kept = {t.untyped_storage().data_ptr() for t in given} if step.kernel == "operator" else set()
        return self._is_static(step, reference) and all(t.untyped_storage().data_ptr() not in kept for t in reference)

    def _at_work(
        self, tactic: Tactic, call: Call, tensors: Sequence[Tensor], step: Step, reference: Sequence[Tensor], *,
        placed: bool,
    ) -> Kernel:  # fmt: skip
        """The tactic as a function without arguments; weights are packed when it first runs."""

        @functools.cache
        def bound() -> Kernel:
            kernel, size = tactic.kernel(call, placed=placed), tactic.scratch(call)
            outs = [self._memory(n, v) for n, v in zip(step.outputs, reference, strict=True)] if placed else []
            room = {"room": torch.empty(size, dtype=torch.uint8, device=self._device.name)} if size else {}
            return lambda: kernel(*tensors, *outs, **room)

        return lambda: bound()()

    def buffers(self) -> list[memory.Buffer]:
        """What lies in the arena, and parts of it: views, and slices of concatenations. What torch brings itself may be
        a view of its inputs; results of products are their own."""
        own = self._placed - self.inside.keys()
        tasks = [
            (s.inputs, (*s.outputs, s.scratch), s.kernel in ("operator", "pointwise") and not own.issuperset(s.outputs))
            for s in self.steps
        ]
        lives = memory.lifetimes(tasks, self._plan.outputs)
        parts = {name: (root, at) for name, (root, at) in self.inside.items() if root in own}
        sizes = {name: self.specs[name].span_bytes for name in (*lives,) if name in own or name in parts}
        return [
            memory.Buffer(n, size, *lives[n], 1 if n in parts else memory.ALIGN, *parts.get(n, (None, 0)))
            for n, size in sizes.items()
        ]


def _listed(result: Any) -> list[Tensor]:
    return list(result) if isinstance(result, tuple | list) else [result]


def _turned(plan: Plan) -> dict[str, list[int]]:
    """Tensor -> the order of its axes for its only reader, a Transpose: of products, which write in any order."""
    reads = Counter(n for step in plan.steps for n in step.inputs) + Counter(plan.outputs * 2)
    products = [
        step for step in plan.steps if step.kernel in ("attention", "matmul") and step.inputs[1] not in plan.weights
    ]
    made = {n for step in products for n in step.outputs if reads[n] == 1}
    turns = [step for step in plan.steps if step.attributes.get("operator") == "Transpose" and step.inputs[0] in made]
    return {step.inputs[0]: step.attributes["perm"] for step in turns if "perm" in step.attributes}


def _parts(plan: Plan) -> dict[str, tuple[str, int, int]]:
    """Tensor -> the concatenation it is made in, its axis, and where it starts there: as the graph's rule decided. What
    is a part of a part lies in the outer one, if they join along the same axis."""
    found: dict[str, tuple[str, int, int]] = {}
    for step in (step for step in reversed(plan.steps) if step.attributes.get("in_place")):
        specs, axis = [plan.tensors.get(n) for n in (*step.outputs, *step.inputs)], step.attributes.get("axis", 1)
        shapes = [spec.shape for spec in specs if spec and spec.shape]
        if len(shapes) == len(specs) and isinstance(axis, int) and -len(shapes[0]) <= axis < len(shapes[0]):
            root, along, start = found.pop(step.outputs[0], (step.outputs[0], axis % len(shapes[0]), 0))
            if along != axis % len(shapes[0]):
                root, along, start = step.outputs[0], axis % len(shapes[0]), 0
            elif root != step.outputs[0]:
                found[step.outputs[0]] = root, along, start
            starts = itertools.accumulate((shape[along] for shape in shapes[1:]), initial=start)
            found |= {n: (root, along, at) for n, at in zip(step.inputs, starts, strict=False)}
    return found


def _error_of(reference: Sequence[Tensor], there: Mapping[str, Tactic], name: str, result: Any) -> tuple[float, float]:
    """How far a tactic's results are from the reference, of the largest number, and how far it says; the worst."""
    pairs, bounds = zip(_listed(result), reference, strict=False), there[name].bounds
    found = [(_difference(a, b), bounds.get(str(b.dtype)[6:], 1e-6)) for a, b in pairs]
    return max(found, key=lambda pair: pair[0] / pair[1])


def _difference(a: Tensor, b: Tensor) -> float:
    """Of the largest number of b; infinite where types, shapes, integers, NaN or infinities are not the same."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if not b.is_floating_point() or not b.numel():
        return 0.0 if torch.equal(a, b) else math.inf
    off, size = (a - b).abs().max().item(), b.abs().max().item()
    if not math.isfinite(off + size):
        finite = torch.isfinite(b)
        if not torch.allclose(a[~finite], b[~finite], rtol=0, atol=0, equal_nan=True):
            return math.inf
        off, size = (_difference(a[finite], b[finite]), 1.0) if finite.any() else (0.0, 1.0)
    return off / size if size else math.inf if off else 0.0
