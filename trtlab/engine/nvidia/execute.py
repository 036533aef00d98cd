"""engine/nvidia/execute: run a plan on this machine's GPU, in the worker process.

In: a plan's bytes and arrays by input name. Out: an `Execution`: outputs and seconds per stage. Raises
ExecutionImpossible, with NVIDIA's reason, where no plan can run; the caller then lets ONNX Runtime stand in. The
refusal is verified without a GPU, the calls by a stand-in engine; a real engine was not run yet.
"""

import functools
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.nvidia import minimal
from trtlab.engine.nvidia.api import choose_compiler
from trtlab.engine.nvidia.errors import ExecutionImpossible
from trtlab.engine.nvidia.log import Session, inspector_json, readable
from trtlab.engine.nvidia.worker import POOL, CancelFlag

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """`outputs` came from execute_async_v3; `calls_agree` says whether execute_v2 gave the same, bit for bit. `seconds`
    by stage; `enqueue` is a median over `repeats`, until the stream is idle, `enqueue_call` that of the call alone.
    `device` is the GPU's name; `inspector` is EngineInspector's JSON."""

    outputs: dict[str, npt.NDArray[Any]]
    calls_agree: bool
    seconds: dict[str, float]
    device: str
    repeats: int
    inspector: str


def execute(
    plan: bytes,
    feeds: Arrays,
    *,
    repeats: int = 20,
    compiler: str | None = None,
    timeout_s: float = 120.0,
    cancel: CancelFlag | None = None,
) -> Execution:
    """Deserialise `plan`, create a context, copy `feeds` in, enqueue, copy out. Errors as in nvidia.errors."""
    how: dict[str, Any] = {"block": plan, "timeout_s": timeout_s, "cancel": cancel}
    ran: Execution = POOL.ask(choose_compiler(compiler), "execute", dict(feeds), repeats, **how)[0]
    return ran


def run_plan(session: Session, plan: bytes, feeds: Arrays, repeats: int) -> tuple[Execution, bytes]:
    """In the worker: what minimal.infer does, with a clock beside each call. Pinning is not timed."""
    trt, taken = session.trt, defaultdict[str, list[float]](list)
    timed = functools.partial(_timed, taken)
    engine = timed("deserialise", lambda: trt.Runtime(session.logger).deserialize_cuda_engine(plan))
    torch, stream = _torch_with_gpu(session, engine)
    pinned = {name: _tensor(torch, array).pin_memory() for name, array in feeds.items()}
    copied = functools.partial(_copied, torch, stream)
    copied(pinned, "cuda")  # the first copy of a process also sets things up
    on_gpu = timed("host_to_device", lambda: copied(pinned, "cuda"))
    context = timed("context", engine.create_execution_context)
    tensors = minimal.bind(trt, torch, engine, context, on_gpu)
    results = {name: tensor for name, tensor in tensors.items() if name not in feeds}

    def enqueue() -> None:
        timed("enqueue_call", lambda: context.execute_async_v3(stream.cuda_stream))
        stream.synchronize()

    for _ in range(repeats):
        timed("enqueue", enqueue)
    host = timed("device_to_host", lambda: copied(results, "cpu"))
    timed("execute_v2", lambda: context.execute_v2([tensor.data_ptr() for tensor in tensors.values()]))
    again, outputs = copied(results, "cpu"), {name: _array(torch, tensor) for name, tensor in host.items()}
    execution = Execution(
        outputs=outputs,
        calls_agree=all(outputs[name].tobytes() == _array(torch, again[name]).tobytes() for name in outputs),
        seconds={name: float(np.median(seconds)) for name, seconds in taken.items()},
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

    return tensor.view(getattr(torch, f"uint{8 * tensor.itemsize}")).numpy().view(str(tensor.dtype)[6:])


def _timed(taken: dict[str, list[float]], name: str, work: Callable[[], Any]) -> Any:
    """What the work returns; how long it took is one more of `taken`."""
    started = time.perf_counter()
    made = work()
    taken[name].append(time.perf_counter() - started)
    return made


def _copied(torch: Any, stream: Any, tensors: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tensors on another device, once they have arrived."""
    with torch.cuda.stream(stream):
        made = {name: tensor.to(where, non_blocking=True) for name, tensor in tensors.items()}
    stream.synchronize()
    return made


def _torch_with_gpu(session: Session, engine: Any) -> tuple[Any, Any]:
    """torch, and a stream of its own. ExecutionImpossible where there is no engine, or no GPU for torch."""
    if engine is None:
        errors = [line.text for line in session.lines if line.severity in ("ERROR", "INTERNAL_ERROR")]
        text = " ".join(errors[-1].split()) if errors else "it gave no reason"
        reason = cuda[0] if (cuda := re.search(r"cudaError \d+: [^()]+", text)) else readable(text)
        what = f"NVIDIA's runtime refuses the plan here: {reason}."
        raise ExecutionImpossible(what, hint="The same network runs on ONNX Runtime.")
    import torch

    if not torch.cuda.is_available():
        what = "The plan was deserialised, but torch here is a CPU build and has no device memory."
        raise ExecutionImpossible(what, hint="Install torch with CUDA.")
    return torch, torch.cuda.Stream()
