"""engine/glassbox/kernels: what a kernel and a tactic are.

In: a `Call`: the step's attributes, the weights among its operands, the shapes. Out: a function of the other operands,
with everything that does not change from run to run (packed weights, padding) done beforehand. A tactic that writes
where it is told takes the result tensors as its last arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.plan import Step, TensorSpec

Kernel = Callable[..., Any]
FLOATS = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is known of a step before it runs. `operands` has a tensor for every weight, `shapes` the input shapes;
    None where that is not known, or the input is left out. `present` tells left out from not known."""

    attributes: Mapping[str, Any]
    operands: tuple[Tensor | None, ...]
    present: tuple[bool, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    dtype: str
    device: Device
    results: int = 1

    def weight(self, number: int) -> Tensor | None:
        return self.operands[number] if number < len(self.operands) else None

    def has(self, number: int) -> bool:
        return number < len(self.present) and self.present[number]


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


@dataclass(frozen=True, kw_only=True)
class Tactic:
    """One way to compute a kernel. `fits` says whether it can compute this call here."""

    bind: Callable[[Call], Kernel]
    fits: Callable[[Call], bool] = lambda _: True
    writes_out: bool = False


def with_weights(
    function: Kernel, call: Call, fixed: Sequence[Any] | None = None, attributes: Mapping[str, Any] | None = None
) -> Kernel:
    """A function of the operands that are no weights, and of whatever follows them."""
    fixed, named = list(fixed or call.operands), dict(attributes or {})
    free = [n for n, (p, w) in enumerate(zip(call.present, call.operands, strict=True)) if p and w is None]
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
