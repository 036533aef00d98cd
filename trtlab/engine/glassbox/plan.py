"""engine/glassbox/plan: what a plan says: tensors, weights, and steps in order. Plain frozen values, no behaviour.

The builder makes it, planfile stores it, the runtime runs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = tuple("float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool".split())
"""Types of tensors, under torch's names."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A tensor while the engine runs. `shape` is None where only a run can tell. `strides` count elements.
    `offset` is its place in the arena in bytes; None where a kernel brings the memory itself. Before a plan is tuned,
    `dtype` may be "": not known."""

    dtype: str
    shape: tuple[int, ...] | None
    strides: tuple[int, ...] = ()
    offset: int | None = None

    @property
    def span_bytes(self) -> int:
        """Bytes from the first number to behind the last."""
        if self.shape is None or 0 in self.shape:
            return 0
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return (last + 1) * getattr(torch, self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{'?' if self.shape is None else ', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kernel launch. `inputs` name tensors and weights, "" is an input left out; `nodes` are the ONNX nodes merged
    into it. `time_us` is what was measured for the tactic that was picked; "" is none yet."""

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
    weights: Mapping[str, torch.Tensor]
    steps: tuple[Step, ...]
    arena_bytes: int = 0
    made_with: Mapping[str, str]

    @property
    def is_tuned(self) -> bool:
        """Whether every step has a tactic. A plan built on a machine without its device has none; loading tunes it."""
        return all(step.tactic for step in self.steps)
