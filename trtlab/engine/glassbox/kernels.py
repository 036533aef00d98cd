"""engine/glassbox/kernels: what a kernel, its epilogue and a tactic are, and ways to finish a kernel's numbers.

In: a `Call`: a step's attributes, the weights among its operands, the shapes, and what finishes each number: bias,
other branch, activation, what a rule fused. Out: a function of the tensors that are no weights: operands, then others
of the epilogue, then, for a tactic that writes where it is told, the results. It ends with its epilogue through torch,
as lines of a generated kernel, in a library's convolution, or as one more generated kernel that works in place. What
does not change from run to run (packed weights, padding) is done beforehand.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import pointwise
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.plan import Step, TensorSpec

Kernel = Callable[..., Any]
Shape = tuple[int, ...] | None
FLOATS = frozenset({"float32", "float16", "bfloat16"})
DIRECT = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 1e-1}
"""How far a sum of products in this type may be from another order of it, of the largest number: sums of 16-bit floats
may be rounded on the way. Other types: 1e-6."""


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
    told where its results belong; those of another are copied there. `scratch` is how many bytes it needs while it
    runs; the kernel takes them as `room`, or else allocates them. It is out of a race if its error, against the first
    tactic, is more than its own of the `bounds`."""

    bind: Callable[[Call], Kernel]
    fits: Callable[[Call], bool] = lambda _: True
    writes_out: bool = False
    scratch: Callable[[Call], int] = lambda _: 0
    bounds: Mapping[str, float] = field(default_factory=lambda: DIRECT)

    def kernel(self, call: Call, *, placed: bool) -> Kernel:
        """The kernel; if its results are `placed`, it takes their memory behind the operands."""
        return self.bind(call) if self.writes_out or not placed else copied(self.bind(call), call.results)


def copied(kernel: Kernel, results: int) -> Kernel:
    """A kernel that brings its own memory, and a copy of each result to where it belongs."""

    def run(*tensors: Tensor) -> Any:
        made, outs = kernel(*tensors[:-results]), tensors[-results:]
        pointwise.copy(made if isinstance(made, tuple | list) else (made,), outs)
        return outs if results > 1 else outs[0]

    return run


def with_weights(
    function: Kernel, call: Call, fixed: Sequence[Any] | None = None, attributes: Mapping[str, Any] | None = None
) -> Kernel:
    """A function of the operands that are no weights, and of whatever follows them."""
    operands, named, free = list(fixed or call.operands), dict(attributes or {}), call.free
    if free == list(range(len(operands))):
        return functools.partial(function, **named) if named else function

    def run(*tensors: Any) -> Any:
        filled = list(operands)
        for place, tensor in zip(free, tensors, strict=False):
            filled[place] = tensor
        return function(*filled, *tensors[len(free) :], **named)

    return run


def weights_of(call: Call, number: int = 1) -> Tensor:
    """An operand that is constant, the second if no other is named."""
    weight = call.weight(number)
    if weight is None:
        raise ValueError(f"the {'scales' if number == 2 else 'weights'} of this kernel are not in the plan")
    return weight


# --- endings ----------------------------------------------------------------------------------------------------------


def finished(kernel: Kernel, call: Call, epilogue: Epilogue | None = None, *, generates: bool = False) -> Kernel:
    """The kernel, then the epilogue (the call's, if none is named) on its result, in place: through torch, or as one
    generated kernel, by numba or Triton."""
    ending = call.epilogue if epilogue is None else epilogue
    if not ending.chain:
        return kernel
    program, results = ending.program()
    launch = pointwise.generated(program, results) if generates else pointwise.through_torch(program, results)
    head, behind = len(call.free), len(call.free) + ending.free

    def run(*tensors: Tensor) -> Tensor:
        y, there = kernel(*tensors[:head], *tensors[behind:]), iter(tensors[head:behind])
        launch(y, *[next(there) if other is None else other for other in ending.others], y)
        return y

    return run


def with_epilogue(bind: Callable[[Call], Kernel]) -> Callable[[Call], Kernel]:
    """The kernel bare, then all of the epilogue as one generated kernel."""
    return lambda call: finished(bind(replace(call, epilogue=Epilogue())), call, generates=True)


def fits_epilogue(call: Call) -> bool:
    """Whether one more generated kernel can do the epilogue here: in Triton on a GPU, by numba on a CPU."""
    chain = call.epilogue.chain
    known = bool(chain) and all(None not in reads for _, reads, _ in chain)
    return known and generates(call, triton=True) and pointwise.is_generated(chain)


def has_numba() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def generates(call: Call, *, triton: bool = False) -> bool:
    """Whether kernels generated for numba run here, in float32; or those for Triton, of which there are some."""
    on_gpu = triton and call.device.has_triton and call.dtype in FLOATS
    return on_gpu or (call.device.name == "cpu" and call.dtype == "float32" and has_numba())


def ending(call: Call, channels: tuple[int, ...]) -> tuple[Any, list[str], bool] | None:
    """(bias as an array, lines that change `v`, the number so far, whether they read `u`, one of another branch) for a
    generated product; `channels` as for `split_bias`. None where an operator has no expression, or more is read than
    one branch of the result's shape and constants of one number."""
    if not generates(call):
        return None
    bias, rest = call.epilogue.split_bias(channels)
    texts, lines = {0: "v"}, list[str]()
    for number, (other, shape) in enumerate(zip(rest.others, rest.shapes, strict=True), 1):
        if other is not None and other.numel() == 1:
            texts[number] = f"f({other.item()})"
        elif other is None and shape == call.result_shape and rest.free == 1:
            texts[number] = "u"
    for kind, reads, attributes in rest.chain:
        if not pointwise.is_generated([(kind, reads, attributes)]) or not set(reads) <= set(texts):
            return None
        lines.append(f"v = {pointwise.expression(kind, [texts[r] for r in reads], attributes)}")
    return (torch.zeros(channels[0]) if bias is None else bias).numpy(), lines, rest.free > 0


def library_ending(call: Call, channels: tuple[int, ...]) -> tuple[Tensor | None, bool, bool] | None:
    """(bias, whether another branch of the result's shape is added, whether Relu is last): what oneDNN's and cuDNN's
    convolutions finish with. None where there is more."""
    bias, rest = call.epilogue.split_bias(channels)
    branch = next((n for n, other in enumerate(rest.others, 1) if other is None), 0)
    lines = [("Add" if kind == "Sum" else kind, set(reads), len(reads)) for kind, reads, _ in rest.chain]
    adds = lines[:1] == [("Add", {0, branch}, 2)]
    if rest.free != adds or (adds and rest.shapes[branch - 1] != call.result_shape):
        return None
    relu = lines[adds:] == [("Relu", {0}, 1)]
    return (bias, adds, relu) if relu or not lines[adds:] else None
