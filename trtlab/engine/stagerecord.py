"""engine/stagerecord: what the workflow's stages hand over: a frozen record for each, and the comparison at the end.

In: facts that engine/stages collects. Out: values that teach draws and tests check; nothing here runs anything.
"""

import enum
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trtlab.engine.provenance import Provenance

STAGES = (
    "export",
    "check",
    "parse",
    "configure",
    "build",
    "serialise",
    "deserialise",
    "context",
    "host_to_device",
    "enqueue",
    "device_to_host",
    "compare",
)
Precision = Literal["FP32", "FP16"]
TOLERANCES: dict[str, float] = {"FP32": 1e-4, "FP16": 2e-2}
"""Largest accepted error of an output, relative to the largest reference output. FP16 keeps about three digits."""

Images = npt.NDArray[np.float32]


class Status(enum.Enum):
    """DONE by the library that the stage names; STOOD_IN by ONNX Runtime; IMPOSSIBLE on this machine."""

    DONE = "done"
    STOOD_IN = "stood in"
    IMPOSSIBLE = "not possible here"


class StageOrderError(RuntimeError):
    """A stage was asked for before one that it needs."""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one stage did. `executor` is the library that did it; `why_not` says what could not be done here and why."""

    name: str
    status: Status
    executor: str
    went_in: str
    came_out: str
    seconds: float | None
    provenance: Provenance
    why_not: str | None = None
    log: tuple[str, ...] = ()
    artefact: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An answer against the reference. Arrays are [batch, classes]; `labels` is None where the input has no label."""

    outputs: npt.NDArray[Any]
    reference: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None
    inputs: npt.NDArray[Any]
    tolerance: float
    executor: str
    provenance: Provenance

    @property
    def relative_error(self) -> float:
        """max |output - reference| / max |reference|; infinite when an output is not finite."""
        if not np.all(np.isfinite(self.outputs)):
            return float("inf")
        difference = np.abs(self.outputs.astype(np.float64) - self.reference.astype(np.float64))
        return float(difference.max() / np.abs(self.reference).max())

    @property
    def agrees(self) -> bool:
        return self.relative_error <= self.tolerance

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """The class with the largest output for each sample of the batch."""
        return self.outputs.reshape(len(self.outputs), -1).argmax(axis=1)
