"""engine/glassbox/kernels: what a kernel, its epilogue and a tactic are, and ways to finish a kernel's numbers.

In: a `Call`: a step's attributes, the weights among its operands, the shapes, and what finishes each number: bias,
other branch, activation, what a rule fused. Out: a function of the tensors that are no weights: operands, then others
of the epilogue, then, for a tactic that writes where it is told, the results. It ends with its epilogue through torch,
as lines of a generated kernel, in oneDNN's words, or as one more generated kernel that works in place. What does not
change from run to run (packed weights, padding) is done beforehand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.engine.codegen import pointwise
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.plan import Step, TensorSpec

Kernel = Callable[..., Any]
Shape = tuple[int, ...] | None
RESULT = -1
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
    where that is not known, or the operand is left out. `present` tells left out from not known. `strides` are those of
    the operands by number, of the epilogue's others behind them, and of the RESULT, where they are seen."""

    attributes: Mapping[str, Any]
    operands: tuple[Tensor | None, ...]
    present: tuple[bool, ...]
    shapes: tuple[Shape, ...]
    dtype: str
    device: Device
    results: int
    result_shape: Shape
    epilogue: Epilogue
    strides: Mapping[int, tuple[int, ...]]

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
    seen = {n: tensors.get(name) for n, name in enumerate(step.inputs)} | {RESULT: result}
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
        strides={n: spec.strides for n, spec in seen.items() if spec and spec.strides},
    )


@dataclass(frozen=True, kw_only=True)
class Tactic:
    """One way to compute a kernel. `fits` says whether it can compute this call here. A tactic that `writes_out` is
    told where its results belong; another makes them `into` that memory, if it has a way, or else they are copied.
    `scratch` is how many bytes it needs while it runs; the kernel takes them as `room`, or else allocates them. It is
    out of a race if its error, against the first tactic, is more than its own of the `bounds`."""

    bind: Callable[[Call], Kernel]
    fits: Callable[[Call], bool] = lambda _: True
    writes_out: bool = False
    into: Callable[[Call], Kernel | None] = lambda _: None
    scratch: Callable[[Call], int] = lambda _: 0
    bounds: Mapping[str, float] = field(default_factory=lambda: DIRECT)

    def kernel(self, call: Call, *, placed: bool) -> Kernel:
        """The kernel; if its results are `placed`, it takes their memory behind the operands."""
        if self.writes_out or not placed:
            return self.bind(call)
        return self.into(call) or copied(self.bind(call), call.results)


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


# --- endings ----------------------------------------------------------------------------------------------------------

_IN_PLACE: dict[str, Callable[..., Tensor]] = {
    "Add": Tensor.add_,
    "Gelu": lambda y, approximate="none": torch.ops.aten.gelu_(y, approximate=approximate),
    "HardSwish": lambda y: F.hardswish(y, inplace=True),
    "LeakyRelu": lambda y, alpha=0.01: F.leaky_relu_(y, alpha),
    "Mul": Tensor.mul_,
    "Relu": torch.relu_,
    "Sigmoid": torch.sigmoid_,
    "Sum": Tensor.add_,
    "Tanh": torch.tanh_,
}
"""Operators that torch does in place, on the number so far and one other where they join two."""


def finished(kernel: Kernel, call: Call, epilogue: Epilogue | None = None) -> Kernel:
    """The kernel, then the epilogue (the call's, if none is named) through torch, in place where torch can."""
    ending = call.epilogue if epilogue is None else epilogue
    works = [_through_torch(*line) for line in ending.chain]
    if not works:
        return kernel
    head, behind = len(call.free), len(call.free) + ending.free

    def run(*tensors: Tensor) -> Tensor:
        y, others = kernel(*tensors[:head], *tensors[behind:]), ending.filled(tensors[head:behind])
        for work in works:
            y = work(y, others)
        return y

    return run


def _through_torch(
    kind: str, reads: Sequence[int | None], attributes: dict[str, Any]
) -> Callable[[Tensor, Sequence[Tensor]], Tensor]:
    """One operator of a chain as a function of the number so far and the others."""
    in_place, operation = _IN_PLACE.get(kind), pointwise.POINTWISE[kind].torch
    if in_place is not None and len(reads) == (2 if kind in ("Add", "Mul", "Sum") else 1) and list(reads).count(0) == 1:
        others = [r - 1 for r in reads if r]
        return lambda y, given: in_place(y, *[given[r] for r in others], **attributes)

    def work(y: Tensor, given: Sequence[Tensor]) -> Tensor:
        operands = [None if r is None else given[r - 1] if r else y for r in reads]
        return y.copy_(operation(*operands, **attributes))

    return work


# what a generated kernel can finish with


def has_numba() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def generates(call: Call) -> bool:
    """Whether generated kernels for float32 run here."""
    return call.device.name == "cpu" and call.dtype == "float32" and has_numba()


def finish_lines(call: Call, epilogue: Epilogue) -> list[str] | None:
    """The epilogue as lines that change `v`, the number so far; `u` is one of another branch. None where an
    operator has no expression, or more is read than one branch of the result's shape and constants of one number."""
    texts, lines = {0: "v"}, list[str]()
    for number, (other, shape) in enumerate(zip(epilogue.others, epilogue.shapes, strict=True), 1):
        if other is not None and other.numel() == 1:
            texts[number] = f"f({other.item()})"
        elif other is None and shape == call.result_shape and epilogue.free == 1:
            texts[number] = "u"
    for kind, reads, attributes in epilogue.chain:
        if not pointwise.is_generated([(kind, reads, attributes)]) or not set(reads) <= set(texts):
            return None
        lines.append(f"v = {pointwise.expression(kind, [texts[r] for r in reads], attributes)}")
    return lines


def fits_generated(call: Call, channels: tuple[int, ...]) -> bool:
    """Whether a generated product can do all of the epilogue; `channels` as for `split_bias`."""
    return generates(call) and finish_lines(call, call.epilogue.split_bias(channels)[1]) is not None


def ending(call: Call, channels: tuple[int, ...]) -> tuple[Any, list[str], bool]:
    """(bias as an array, lines, whether they read another branch) for a generated product that fits."""
    bias, rest = call.epilogue.split_bias(channels)
    zeros = torch.zeros(channels[0]) if bias is None else bias
    return zeros.numpy(), finish_lines(call, rest) or [], call.epilogue.free > 0


def with_epilogue(bind: Callable[[Call], Kernel]) -> Callable[[Call], Kernel]:
    """The kernel bare, then all of the epilogue as one generated kernel, in place."""

    def bound(call: Call) -> Kernel:
        kernel, launch = bind(replace(call, epilogue=Epilogue())), pointwise.generated(*call.epilogue.program())
        head, behind = len(call.free), len(call.free) + call.epilogue.free

        def run(*tensors: Tensor) -> Tensor:
            y = kernel(*tensors[:head], *tensors[behind:])
            launch(y, *call.epilogue.filled(tensors[head:behind]), y)
            return y

        return run

    return bound


def fits_epilogue(call: Call) -> bool:
    """Whether one more generated kernel can do the epilogue here: in Triton on a GPU, by numba on a CPU."""
    here = generates(call) or (call.device.has_triton and call.dtype in FLOATS)
    known = all(None not in reads for _, reads, _ in call.epilogue.chain)
    return here and bool(call.epilogue.chain) and known and pointwise.is_generated(call.epilogue.chain)


# what oneDNN and cuDNN can finish with


@dataclass(frozen=True, kw_only=True)
class Words:
    """An epilogue in oneDNN's words: the bias, whether another branch is added, the activation with its numbers."""

    bias: Tensor | None
    adds: bool
    name: str = "none"
    values: tuple[float, ...] = ()
    algorithm: str = ""


FLT_MAX = torch.finfo(torch.float32).max
_WORDS = {
    "HardSwish": "hardswish", "LeakyRelu": "leaky_relu", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
}  # fmt: skip


def words(call: Call, channels: tuple[int, ...]) -> Words | None:
    """The epilogue in oneDNN's words, if it has them: bias, then another branch, then one activation."""
    bias, rest = call.epilogue.split_bias(channels)
    kind, reads, _ = rest.chain[0] if rest.chain else ("", [], {})
    branch = max(reads) if kind in ("Add", "Sum") and len(reads) == 2 and min(reads) == 0 else 0
    adds = branch > 0 and rest.others[branch - 1] is None and rest.shapes[branch - 1] == call.result_shape
    chain = rest.chain[adds:]
    if len(chain) > 1 or rest.free != adds or (chain and chain[0][1][0] != 0):
        return None
    found = _activation(rest, *chain[0]) if chain else ("none", (), "")
    return found and Words(bias=bias, adds=adds, name=found[0], values=found[1], algorithm=found[2])


def _activation(
    epilogue: Epilogue, kind: str, reads: Sequence[int | None], attributes: dict[str, Any]
) -> tuple[str, tuple[float, ...], str] | None:
    if kind == "Gelu":
        return "gelu", (), attributes.get("approximate", "none")
    if kind != "Clip":
        values = (attributes.get("alpha", 0.01),) if kind == "LeakyRelu" else ()
        return (_WORDS[kind], values, "") if kind in _WORDS else None
    bounds = [attributes.get("min", -FLT_MAX), attributes.get("max", FLT_MAX)]
    for number, read in enumerate(reads[1:]):
        if read is not None:
            other = epilogue.others[read - 1]
            if other is None or other.isnan():
                return None
            bounds[number] = other.item()
    return "hardtanh", tuple(bounds), ""


# checks before memory is touched


def weights_of(call: Call) -> Tensor:
    """The constant second operand."""
    weight = call.weight(1)
    if weight is None:
        raise ValueError("the weights of this kernel are not in the plan")
    return weight


def same_shape(shape_of: Callable[[Sequence[int]], tuple[int, ...]]) -> Callable[[Tensor, Tensor], None]:
    """A check that the other branch has the shape of the result, which oneDNN reads without looking. Asked once for
    each pair of shapes."""
    known: set[tuple[Any, Any]] = set()

    def check(x: Tensor, other: Tensor) -> None:
        key = x.shape, other.shape
        if key not in known:
            if tuple(other.shape) != shape_of(x.shape):
                raise ValueError(f"the other branch is {tuple(other.shape)}, the result {shape_of(x.shape)}")
            known.add(key)

    return check


def check_rows(rows: Tensor, result: Tensor) -> None:
    """torch would give a result of another size other memory."""
    if rows.shape[0] != result.shape[0]:
        raise ValueError(f"{rows.shape[0]} rows do not go into {result.shape[0]}")


def multiply(rows: Tensor, columns: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """rows @ columns + bias into `result`."""
    check_rows(rows, result)
    if bias is None:
        torch.mm(rows, columns, out=result)
    else:
        torch.addmm(bias, rows, columns, out=result)
