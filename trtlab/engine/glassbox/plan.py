"""engine/glassbox/plan: what a plan says: tensors, weights, and steps in order. Plain frozen values, no behaviour.

The builder makes it, planfile stores it, the runtime runs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

DTYPES = tuple("float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool".split())
"""Types of tensors, under torch's names."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A tensor while the engine runs. `shape` is None where only a run can tell. `strides` count elements.
    `offset` is its place in the arena in bytes; None where a kernel brings the memory itself."""

    dtype: str
    shape: tuple[int, ...] | None
    strides: tuple[int, ...] = ()
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.dtype}[{'?' if self.shape is None else ', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kernel launch. `inputs` name tensors and weights, "" is an input left out; `nodes` are the ONNX nodes merged
    into it. `time_us` is what the builder measured for the tactic it picked."""

    kernel: str
    tactic: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    nodes: tuple[str, ...]
    time_us: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything an engine needs. Tensors include inputs and outputs; `arena_bytes` holds all that has an offset."""

    device: str
    precision: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorSpec]
    weights: "Mapping[str, torch.Tensor]"
    steps: tuple[Step, ...]
    arena_bytes: int = 0
    made_with: Mapping[str, str]
