"""engine/nvidia/execute: run a plan on this machine's GPU, in the worker process.

In: a plan's bytes and arrays by input name. Out: an `Execution`: outputs and seconds per stage. Raises
ExecutionImpossible, with NVIDIA's reason, where no plan can run; the caller then lets ONNX Runtime stand in. The
refusal is verified without a GPU, copies and streams on an H100 with a stand-in engine; a real engine was not run yet.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.nvidia import minimal
from trtlab.engine.nvidia.api import choose_compiler
from trtlab.engine.nvidia.errors import ExecutionImpossible
from trtlab.engine.nvidia.log import Session, inspector_json, readable
from trtlab.engine.nvidia.worker import POOL, CancelFlag


@dataclass(frozen=True, kw_only=True)
class Execution:
    """`outputs` came from execute_async_v3, `sync_outputs` from execute_v2. `seconds` by stage; `enqueue` is a median
    over `repeats`, until the stream is idle, `enqueue_call` that of the call alone. `device` is the GPU's name;
    `inspector` is EngineInspector's JSON."""

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
    with POOL.worker(choose_compiler(compiler)) as worker:
        asked = worker.ask("execute", dict(feeds), repeats, block=plan, timeout_s=timeout_s, cancel=cancel)
    return asked[0]


def run_plan(
    session: Session, plan: bytes, feeds: Mapping[str, npt.NDArray[Any]], repeats: int
) -> tuple[Execution, bytes]:
    """In the worker: what minimal.infer does, with a clock beside each call. Pinning is not timed."""
    trt, seconds = session.trt, dict[str, float]()
    with _timed(seconds, "deserialise"):
        engine = trt.Runtime(session.logger).deserialize_cuda_engine(plan)
    if engine is None:
        what = f"NVIDIA's runtime refuses the plan here: {_reason(session)}."
        raise ExecutionImpossible(what, hint="The same network runs on ONNX Runtime.")
    import torch

    if not torch.cuda.is_available():
        what = "The plan was deserialised, but torch here is a CPU build and has no device memory."
        raise ExecutionImpossible(what, hint="Install torch with CUDA.")
    stream = torch.cuda.Stream()
    pinned = {name: _tensor(torch, array).pin_memory() for name, array in feeds.items()}
    on_gpu, seconds["host_to_device"] = _copied(torch, pinned, stream, "cuda")
    with _timed(seconds, "context"):
        context = engine.create_execution_context()
        tensors = minimal.bind(trt, torch, engine, context, on_gpu)
    outputs = {name: tensor for name, tensor in tensors.items() if name not in feeds}
    seconds |= _enqueue(context, stream, repeats)
    host, seconds["device_to_host"] = _copied(torch, outputs, stream, "cpu")
    with _timed(seconds, "execute_v2"):
        context.execute_v2([tensor.data_ptr() for tensor in tensors.values()])
    again, _ = _copied(torch, outputs, stream, "cpu")
    execution = Execution(
        seconds=seconds,
        outputs={name: _array(torch, tensor) for name, tensor in host.items()},
        sync_outputs={name: _array(torch, tensor) for name, tensor in again.items()},
        device=torch.cuda.get_device_name(),
        repeats=repeats,
        inspector=inspector_json(trt, engine),
    )
    return execution, b""


def _tensor(torch: Any, array: npt.ArrayLike) -> Any:
    """The array as torch sees it, bit for bit: NumPy has BF16 and FP8 through ml_dtypes, which torch does not know."""
    array = np.asarray(array, order="C")
    return torch.from_numpy(array.view(f"u{array.itemsize}")).view(getattr(torch, array.dtype.name))


def _array(torch: Any, tensor: Any) -> npt.NDArray[Any]:
    """The inverse of `_tensor`."""
    import ml_dtypes  # noqa: F401 (gives NumPy the names of its types)

    return (
        tensor.view(getattr(torch, f"uint{8 * tensor.itemsize}")).numpy().view(str(tensor.dtype).removeprefix("torch."))
    )


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


def _copied(torch: Any, tensors: dict[str, Any], stream: Any, where: str) -> tuple[dict[str, Any], float]:
    """(copies on `where`, seconds). Copies run on the stream, to or from pinned memory, and are waited for."""
    pinned, seconds = where == "cpu", dict[str, float]()
    made = {name: torch.empty(t.shape, dtype=t.dtype, device=where, pin_memory=pinned) for name, t in tensors.items()}
    for _ in range(2):  # the first copy of a process also sets things up
        stream.synchronize()
        with _timed(seconds, "copy"):
            with torch.cuda.stream(stream):
                for name, tensor in tensors.items():
                    made[name].copy_(tensor, non_blocking=True)
            stream.synchronize()
    return made, seconds["copy"]


def _enqueue(context: Any, stream: Any, repeats: int) -> dict[str, float]:
    calls, totals = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        context.execute_async_v3(stream.cuda_stream)
        calls.append(time.perf_counter() - started)
        stream.synchronize()
        totals.append(time.perf_counter() - started)
    return {"enqueue_call": float(np.median(calls)), "enqueue": float(np.median(totals))}


def _reason(session: Session) -> str:
    errors = [line.text for line in session.lines if line.severity in ("ERROR", "INTERNAL_ERROR")]
    text = " ".join(errors[-1].split()) if errors else "it gave no reason"
    cuda = re.search(r"cudaError \d+: [^()]+", text)
    return cuda[0] if cuda else readable(text)
