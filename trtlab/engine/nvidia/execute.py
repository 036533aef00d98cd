"""engine/nvidia/execute: run a plan on this machine's GPU, in the worker process.

In: a plan's bytes and arrays by input name. Out: an `Execution`: outputs and seconds per stage. Raises
ExecutionImpossible, with NVIDIA's reason, where no plan can run; the caller then lets ONNX Runtime stand in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.nvidia.explain import choose_compiler
from trtlab.engine.nvidia.worker import POOL, CancelFlag


@dataclass(frozen=True, kw_only=True)
class Execution:
    """`outputs` came from execute_async_v3, `sync_outputs` from execute_v2; `seconds` by stage name, `enqueue` a median
    over `repeats`; `device` is the GPU's name; `inspector` is EngineInspector's JSON."""

    outputs: dict[str, npt.NDArray[Any]]
    sync_outputs: dict[str, npt.NDArray[Any]]
    seconds: dict[str, float]
    device: str
    repeats: int
    inspector: str

    @property
    def calls_agree(self) -> bool:
        """Whether the asynchronous and the synchronous call gave the same answer, bit for bit."""
        return all(np.array_equal(self.outputs[name], self.sync_outputs[name], equal_nan=True) for name in self.outputs)


def execute(
    plan: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    repeats: int = 20,
    compiler: str | None = None,
    timeout_s: float = 120.0,
    cancel: CancelFlag | None = None,
) -> Execution:
    """Deserialise `plan`, create a context, copy `feeds` in, enqueue, copy out. Errors as in nvidia.errors."""
    message = {"kind": "execute", "feeds": dict(feeds), "repeats": repeats}
    with POOL.worker(choose_compiler(compiler)) as worker:
        answer, _ = worker.ask(message, plan, timeout_s=timeout_s, cancel=cancel)
    return Execution(**answer["values"])
