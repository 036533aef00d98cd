"""engine/glassbox/kernels: what a kernel, its epilogue and a tactic are.

In: a `Call`: a step's attributes, the weights among its operands, the shapes, and what finishes each number. Out: a
function of the tensors that are no weights: operands, then others of the epilogue, then, for a tactic that writes where
it is told, the results. What does not change from run to run (packed weights, padding) is done beforehand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import pointwise
from trtlab.engine.codegen.pointwise import Instruction, compiled, flat, loops, run_with_torch, source
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.plan import Step, TensorSpec

Kernel = Callable[..., Any]
Shape = tuple[int, ...] | None
FLOATS = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """Elementwise operators on each number of a kernel's result, one after another: `["Add", [0, 1], {}]` reads 0, the
    number so far, and 1, the first of `others`. Those are weights, or None for what comes with each run."""

    chain: tuple[Sequence[Any], ...] = ()
    others: tuple[Tensor | None, ...] = ()
    shapes: tuple[Shape, ...] = ()

    @property
    def free(self) -> int:
        """How many of the others come with each run."""
        return sum(other is None for other in self.others)

    def filled(self, given: Sequence[Tensor]) -> list[Tensor]:
        """All others, with those that came with this run."""
        there = iter(given)
        return [next(there) if other is None else other for other in self.others]

    def program(self) -> tuple[list[list[Any]], list[int]]:
        """The same as a program of codegen/pointwise, whose inputs are the result and the others; and its results."""
        first = 1 + len(self.others)
        program = [
            [kind, [first + n - 1 if r == 0 and n else r for r in reads], attributes]
            for n, (kind, reads, attributes) in enumerate(self.chain)
        ]
        return program, [first + len(program) - 1]

    def split_bias(self, channels: tuple[int, ...]) -> "tuple[Tensor | None, Epilogue]":
        """The weights that are added to each channel first, flat, and what follows; (None, all) where there are none.
        `channels` is the shape of one number for each: (C,), or (C, 1, 1) of images."""
        kind, reads, _ = self.chain[0] if self.chain else ("", [], {})
        if kind in ("Add", "Sum") and len(reads) == 2 and min(reads) == 0 < max(reads):
            bias = self.others[max(reads) - 1]
            if bias is not None and tuple(bias.shape[-len(channels) :]) == channels and bias.numel() == channels[0]:
                return bias.reshape(-1).contiguous(), replace(self, chain=self.chain[1:])
        return None, self


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is known of a step before it runs. `operands` has a tensor for every weight, `shapes` their shapes; None
    where that is not known, or the operand is left out. `present` tells left out from not known."""

    attributes: Mapping[str, Any]
    operands: tuple[Tensor | None, ...]
    present: tuple[bool, ...]
    shapes: tuple[Shape, ...]
    dtype: str
    device: Device
    results: int
    result_shape: Shape
    epilogue: Epilogue

    def weight(self, number: int) -> Tensor | None:
        return self.operands[number] if number < len(self.operands) else None

    @property
    def free(self) -> list[int]:
        """Which operands come with each run."""
        return [n for n, (p, w) in enumerate(zip(self.present, self.operands, strict=True)) if p and w is None]


def call_of(step: Step, tensors: Mapping[str, TensorSpec], weights: Mapping[str, Tensor], device: Device) -> Call:
    """What is known of the step before it runs. ValueError for an epilogue that makes no sense."""
    shapes = [
        tensors[n].shape if n in tensors else tuple(weights[n].shape) if n in weights else None for n in step.inputs
    ]
    dtypes = {tensors[n].dtype if n in tensors else str(weights[n].dtype)[6:] for n in step.inputs if n}
    chain = tuple(tuple(line) for line in step.attributes.get("epilogue", ()))
    others = max((r for _, reads, _ in chain for r in reads if r is not None), default=0)
    count = len(step.inputs) - others
    operands = tuple(weights.get(name) for name in step.inputs)
    epilogue = Epilogue(chain=chain, others=operands[count:], shapes=tuple(shapes[count:]))
    if chain:
        pointwise.checked(*epilogue.program(), 1 + others)
    if count < 0 or "" in step.inputs[count:]:
        raise ValueError(f"the epilogue reads {others} others, the step has {len(step.inputs)} inputs")
    result = tensors.get(step.outputs[0])
    return Call(
        attributes={name: value for name, value in step.attributes.items() if name != "epilogue"},
        operands=operands[:count],
        present=tuple(bool(name) for name in step.inputs[:count]),
        shapes=tuple(shapes[:count]),
        dtype=dtypes.pop() if len(dtypes) == 1 else "mixed",
        device=device,
        results=len(step.outputs),
        result_shape=None if result is None else result.shape,
        epilogue=epilogue,
    )


@dataclass(frozen=True, kw_only=True)
class Tactic:
    """One way to compute a kernel. `fits` says whether it can compute this call here. A tactic that `writes_out` is
    told where its results belong; another makes them `into` that memory, if it has a way, or else they are copied.
    `scratch` is how many bytes it needs while it runs; the kernel takes them as `room`, or else allocates them."""

    bind: Callable[[Call], Kernel]
    fits: Callable[[Call], bool] = lambda _: True
    writes_out: bool = False
    into: Callable[[Call], Kernel | None] = lambda _: None
    scratch: Callable[[Call], int] = lambda _: 0

    def kernel(self, call: Call, *, placed: bool) -> Kernel:
        """The kernel; if its results are `placed`, it takes their memory behind the operands."""
        if self.writes_out or not placed:
            return self.bind(call)
        return self.into(call) or copied(self.bind(call), call.results)


def copied(kernel: Kernel, results: int) -> Kernel:
    """A kernel that brings its own memory, and a copy of each result to where it belongs."""

    def run(*tensors: Tensor) -> Any:
        made, outs = kernel(*tensors[:-results]), tensors[-results:]
        _copy(made if isinstance(made, tuple | list) else (made,), outs)
        return outs if results > 1 else outs[0]

    return run


def with_weights(
    function: Kernel, call: Call, fixed: Sequence[Any] | None = None, attributes: Mapping[str, Any] | None = None
) -> Kernel:
    """A function of the operands that are no weights, and of whatever follows them."""
    fixed, named, free = list(fixed or call.operands), dict(attributes or {}), call.free
    if free == list(range(len(fixed))):
        return (lambda *tensors: function(*tensors, **named)) if named else function
    if free == [0]:
        rest = tuple(fixed[1:])
        return lambda x, *out: function(x, *rest, *out, **named)

    def run(*tensors: Any) -> Any:
        operands = list(fixed)
        for place, tensor in zip(free, tensors, strict=False):
            operands[place] = tensor
        return function(*operands, *tensors[len(free) :], **named)

    return run


# --- elementwise programs, on whatever device their tensors are -------------------------------------------------------

_GPU_TYPES = {torch.float32, torch.float16, torch.bfloat16}


def generated(program: Sequence[Instruction], results: Sequence[int]) -> Callable[..., None]:
    """A function (*inputs, *outs) that runs the generated kernel. Its loops are chosen when it first sees the strides;
    where no dense pass fits them, torch computes and the results are copied."""
    launchers: dict[Any, Callable[..., None]] = {}

    def launch(*tensors: Tensor) -> None:
        key = tuple([(t.shape, t.stride()) for t in tensors])
        if key not in launchers:
            launchers[key] = _specialised(program, results, tensors)
        launchers[key](*tensors)

    return launch


def _specialised(
    program: Sequence[Instruction], results: Sequence[int], tensors: Sequence[Tensor]
) -> Callable[..., None]:
    """The kernel for these strides as a function of tensors."""
    count = len(tensors) - len(results)
    outs, like = tensors[count:], tensors[count]
    shapes, strides = [
        [list(v) for v in column]
        for column in zip(*[(t.shape, t.stride()) for t in (*tensors[:count], like)], strict=True)
    ]
    found = loops(shapes, strides, list(like.shape))
    alike = all(t.stride() == like.stride() and t.shape == like.shape for t in outs)
    known = _GPU_TYPES if like.is_cuda else {torch.float32}
    if found is None or not alike or any(t.dtype not in known or not t.numel() for t in tensors):
        return lambda *ts: _copy(run_with_torch(program, results, ts[:count]), ts[count:])
    sizes, rows = found
    if like.is_cuda:
        from trtlab.engine.codegen import tritonkernel

        text = tritonkernel.source(program, results, sizes, rows, half=like.dtype != torch.float32)
        return lambda *ts: tritonkernel.launch(text, ts, like.numel())
    kernel = compiled(source(program, results, [[int(s != 0) for s in row] for row in rows]))
    numbers = (*sizes, *(s for row in rows for s in row[:-1]))
    return lambda *ts: kernel(*[flat(t) for t in ts], *numbers)


def _copy(values: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    for value, out in zip(values[: len(outs)], outs, strict=True):
        if value.shape != out.shape:
            raise ValueError(f"a result of shape {tuple(value.shape)} does not go into {tuple(out.shape)}")
        out.copy_(value)
