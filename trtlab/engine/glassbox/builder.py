"""engine/glassbox/builder: from an ONNX model to an engine: rewrite, lower, time tactics, place memory.

In: a model and what to build for. Out: an `Engine` whose plan can be saved. The builder runs the network once, step by
step, on made-up inputs: that shows every shape and layout, times the tactics, and discards one that disagrees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
import onnx.inliner
import torch
from torch import Tensor

from trtlab.engine.glassbox import memory, planfile
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import GlassboxError, UnsupportedError
from trtlab.engine.glassbox.kernels import Call, Kernel, Tactic, tactics
from trtlab.engine.glassbox.lower import CLAIMED, Lowered, claims, dtype_of, lower
from trtlab.engine.glassbox.operators import is_host
from trtlab.engine.glassbox.plan import DTYPES, Plan, Step, TensorSpec
from trtlab.engine.glassbox.runtime import Engine, call_of, span_bytes
from trtlab.engine.glassbox.tactics import Picker, fastest
from trtlab.graph.load import export, load
from trtlab.graph.picture import OnnxModel
from trtlab.graph.rewrite import Rules, optimize
from trtlab.graph.rule import FUSED

AGREE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""How far a tactic may be from the first one, of the largest number."""


def build(
    model: OnnxModel,
    device: str = "cpu",
    *,
    precision: str = "FP32",
    rules: Rules = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    pick: Picker = fastest,
    place: memory.Placer = memory.place,
) -> Engine:
    """An engine for one shape of each input; a symbolic size is 1 unless `shapes` says otherwise.

    `rules` are those of graph.optimize (None: all). Raises UnsupportedError for what the glass box lacks, ValueError
    for what is no valid model, DeviceError where the device is missing.
    """
    where = Device(device)
    rewritten, _ = optimize(_fixed(model, shapes or {}), rules)
    for function in rewritten.functions:
        del function.value_info[:]  # one body serves calls of several shapes
    lowered = lower(load(rewritten), precision)
    with torch.inference_mode():
        trial = _Trial(lowered, where, pick)
    offsets, arena_bytes = place(trial.lifetimes())
    tensors = {name: replace(spec, offset=offsets.get(name)) for name, spec in trial.specs.items()}
    used = {n for step in trial.steps for n in step.inputs} | set(lowered.outputs)
    plan = Plan(
        device=device,
        precision=precision,
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        tensors=tensors,
        weights={name: w for name, w in lowered.weights.items() if name in used},
        steps=tuple(trial.steps),
        arena_bytes=arena_bytes,
        made_with=planfile.made_with(),
    )
    return Engine(plan)


def _fixed(model: OnnxModel, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The model with a size for every axis of its inputs, and without functions of its own."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model if isinstance(model, onnx.ModelProto) else export(load(model)))
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    weights = {tensor.name for tensor in proto.graph.initializer}
    given = {value.name: value for value in proto.graph.input if value.name not in weights}
    if strange := sorted(set(shapes) - set(given)):
        raise ValueError(f"shapes has {strange[0]!r}: the model's inputs are {', '.join(given)}")
    _check_claimed(proto)
    for name, value in given.items():
        _fix_shape(value, shapes.get(name))
    del proto.graph.value_info[:]
    for dim in (dim for value in proto.graph.output for dim in value.type.tensor_type.shape.dim):
        dim.ClearField("dim_param")  # what it is now follows from the inputs
    return proto


def _check_claimed(proto: onnx.ModelProto) -> None:
    """UnsupportedError for an operator or a type of tensor that the glass box does not have."""
    for node in proto.graph.node:
        if (node.domain in ("", "ai.onnx") and not claims(node.op_type)) or node.domain not in ("", "ai.onnx", FUSED):
            name = f"{node.domain}{'.' * bool(node.domain)}{node.op_type}"
            raise UnsupportedError(f"Operator {name} is not one of the glass box's: {CLAIMED}.")
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        kind, border = value.type.tensor_type.elem_type, value not in proto.graph.value_info
        word = (
            onnx.TensorProto.DataType.Name(kind)
            if value.type.HasField("tensor_type")
            else value.type.WhichOneof("value")
        )
        if (kind and dtype_of(word) not in DTYPES) or (not kind and border) or (border and word == "BFLOAT16"):
            raise UnsupportedError(
                f"Tensor {value.name!r} is {word}: the glass box takes {', '.join(DTYPES)}, and bfloat16 only inside."
            )


def _fix_shape(value: onnx.ValueInfoProto, wanted: Sequence[int] | None) -> None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise UnsupportedError(f"Input {value.name!r} is no tensor of known rank: the glass box takes nothing else.")
    dims = tensor.shape.dim
    fits = wanted is None or (
        len(wanted) == len(dims)
        and all(not d.HasField("dim_value") or d.dim_value == n for d, n in zip(dims, wanted, strict=True))
    )
    if not fits:
        have = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
        raise ValueError(f"shapes[{value.name!r}] is {list(wanted or [])}: the model says {have}")
    for number, dim in enumerate(dims):
        if not dim.HasField("dim_value"):
            dim.dim_value = 1 if wanted is None else wanted[number]


class _Trial:
    """One run, step by step. Afterwards `steps` have tactics and times, `specs` every tensor's shape and strides."""

    def __init__(self, lowered: Lowered, device: Device, pick: Picker) -> None:
        self._lowered, self._device, self._pick = lowered, device, pick
        self._weights = {name: w.to(device.name) for name, w in lowered.weights.items()}
        self._values: dict[str, Tensor] = {}
        self.specs: dict[str, TensorSpec] = {}
        self.steps: list[Step] = []
        self._places_itself: set[str] = set()
        for number, name in enumerate(lowered.inputs):
            self._values[name] = self._sample(name, number)
            self._describe(name, self._values[name])
        for name in lowered.outputs:
            if name in lowered.weights:
                self._describe(name, lowered.weights[name])
        last = {name: number for number, step in enumerate(lowered.steps) for name in step.inputs}
        for number, step in enumerate(lowered.steps):
            self.steps.append(self._step(step))
            for name in (*step.inputs, *step.outputs):
                if last.get(name, number) <= number:
                    self._values.pop(name, None)

    def _sample(self, name: str, seed: int) -> Tensor:
        shape, dtype = self._lowered.shapes[name], getattr(torch, self._lowered.dtypes[name])
        if not dtype.is_floating_point:
            return torch.zeros(shape or (), dtype=dtype, device=self._device.name)  # an index that is always there
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape or (), generator=generator).to(dtype).to(self._device.name)

    def _describe(self, name: str, value: Tensor) -> None:
        self.specs[name] = TensorSpec(
            dtype=str(value.dtype)[6:], shape=tuple(value.shape), strides=tuple(value.stride())
        )

    def _step(self, step: Step) -> Step:
        call = call_of(step, self.specs, self._weights, self._device)
        there = tactics(step.kernel, call)
        reads = [n for n in step.inputs if n and n not in self._weights]
        if any(n not in self._values for n in reads) or self._asks_values(step):
            return self._unseen(step, there)
        tensors = [self._values[n] for n in reads]
        first = next(name for name, tactic in there.items() if not tactic.writes_out or name == next(iter(there)))
        try:
            reference = self._results(step, self._runner(there[first], call, tensors, step)())
        except (RuntimeError, IndexError, ValueError):  # made-up numbers divided by zero, or pointed nowhere
            return self._unseen(step, there)
        works = {first: self._runner(there[first], call, tensors, step, reference)}
        for name, tactic in there.items():
            if name != first and self._can_place(step, reference, tactic):
                works |= self._candidate(name, tactic, call, tensors, step, reference)
        if not self._can_place(step, reference, there[first]) and len(works) > 1:
            del works[first]
        name, time_us = self._pick(works)
        for output, value in zip(step.outputs, self._results(step, works[name]()), strict=True):  # with its own strides
            if output:
                self._check(step, output, value)
                self._values[output] = value
                self._describe(output, value)
        if there[name].writes_out:
            self._places_itself |= set(step.outputs)
        return replace(step, tactic=name, time_us=time_us)

    def _asks_values(self, step: Step) -> bool:
        """Whether a tensor that says how (a shape, axes) comes from outside: made-up numbers would say nonsense."""
        if step.kernel != "operator":
            return False
        host = is_host(step.attributes["operator"], len(step.inputs))
        return any(h and n and n not in self._weights for h, n in zip(host, step.inputs, strict=True))

    def _unseen(self, step: Step, there: Mapping[str, Tactic]) -> Step:
        """A step of which only the types are known: any tactic that brings its own memory."""
        for name in filter(None, step.outputs):
            self.specs[name] = TensorSpec(
                dtype=self._lowered.dtypes[name] or "float32", shape=self._lowered.shapes[name]
            )
        return replace(step, tactic=next((n for n, t in there.items() if not t.writes_out), next(iter(there))))

    def _results(self, step: Step, result: Any) -> list[Tensor]:
        values = list(result) if isinstance(result, tuple | list) else [result]
        if len(values) < len(step.outputs):
            raise UnsupportedError(
                f"{step.nodes}: {len(step.outputs)} results are asked for, the kernel makes {len(values)}."
            )
        return values[: len(step.outputs)]

    def _check(self, step: Step, name: str, value: Tensor) -> None:
        want = self._lowered.dtypes[name], self._lowered.shapes[name]
        if (want[0] and str(value.dtype)[6:] != want[0]) or (want[1] is not None and tuple(value.shape) != want[1]):
            raise GlassboxError(
                f"{step.kernel} of {step.nodes} made {str(value.dtype)[6:]} {tuple(value.shape)}; ONNX says {want}."
            )

    def _can_place(self, step: Step, reference: Sequence[Tensor], tactic: Tactic) -> bool:
        """Whether memory can be set aside: the shapes are static, and every result has a name."""
        static = all(
            n and self._lowered.shapes[n] == tuple(v.shape) and v.numel()
            for n, v in zip(step.outputs, reference, strict=True)
        )
        return static or not tactic.writes_out

    def _runner(
        self, tactic: Tactic, call: Call, tensors: Sequence[Tensor], step: Step, like: Sequence[Tensor] | None = None
    ) -> Kernel:
        kernel = tactic.bind(call)
        if not tactic.writes_out:
            return lambda: kernel(*tensors)
        if like is not None:
            outs = [torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device=v.device) for v in like]
        else:
            outs = [
                torch.empty(self._lowered.shapes[n] or (), dtype=getattr(torch, self._lowered.dtypes[n]))
                for n in step.outputs
            ]
        return lambda: kernel(*tensors, *outs)

    def _candidate(
        self, name: str, tactic: Tactic, call: Call, tensors: Sequence[Tensor], step: Step, reference: Sequence[Tensor]
    ) -> dict[str, Kernel]:
        """The tactic if it runs and agrees with the first one."""
        try:
            work = self._runner(tactic, call, tensors, step, reference)
            results = self._results(step, work())
        except (RuntimeError, ValueError, IndexError, TypeError):
            return {}
        return {name: work} if all(map(_agree, results, reference)) else {}

    def lifetimes(self) -> dict[str, tuple[int, int, int]]:
        """Name -> (bytes, start, stop) of what lies in the arena. A result of torch may be a view of its inputs, so
        that they live as long as it does; results of our own kernels and of oneDNN are their own."""
        steps, end = self.steps, len(self.steps)
        stop = {name: number + 1 for number, step in enumerate(steps) for name in step.inputs}
        stop |= dict.fromkeys(self._lowered.outputs, end)
        for number in range(end - 1, -1, -1):
            step = steps[number]
            if step.kernel == "operator":
                until = max(stop.get(name, number + 1) for name in step.outputs)
                stop |= {name: max(stop[name], until) for name in step.inputs}
        return {
            name: (span_bytes(self.specs[name]), number, stop.get(name, number + 1))
            for number, step in enumerate(steps)
            for name in step.outputs
            if name in self._places_itself
        }


def _agree(a: Tensor, b: Tensor) -> bool:
    """Whether two results are the same but for rounding."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    size = b[torch.isfinite(b)].abs().max().item() if torch.isfinite(b).any() else 0.0
    return torch.allclose(a, b, rtol=0, atol=AGREE.get(str(b.dtype)[6:], 1e-6) * size, equal_nan=True)
