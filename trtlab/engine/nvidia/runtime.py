"""engine/nvidia/runtime: the runtime half of NVIDIA's library: deserialise, context, copy in, enqueue, copy out.

Runs inside the worker process only, with torch for device memory and streams. In: a plan and arrays. Out: outputs and
the seconds of each stage; on a machine that cannot do it ExecutionImpossible, with NVIDIA's own reason. The refusal is
verified without a GPU, copies and streams on an H100 with a stand-in engine; a real engine has not been run yet.
"""

import re
import time
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.nvidia.errors import ExecutionImpossible
from trtlab.engine.nvidia.log import readable

Arrays = dict[str, npt.NDArray[Any]]


def execute(trt: ModuleType, logger: Any, plan: bytes, feeds: Arrays, repeats: int) -> dict[str, Any]:
    """Values for an `Execution`. `seconds` by stage; `enqueue` is the median over `repeats` of execute_async_v3 until
    its stream is idle, `enqueue_call` of the call alone, `execute_v2` one synchronous run. Pinning is not timed."""
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    seconds["deserialise"] = time.perf_counter() - started
    if engine is None:
        raise ExecutionImpossible(
            f"NVIDIA's runtime refuses the plan here: {_reason(logger)}.", hint="The same network runs on ONNX Runtime."
        )
    torch = _torch_with_cuda()
    started = time.perf_counter()
    context = engine.create_execution_context()
    for name, array in feeds.items():
        context.set_input_shape(name, array.shape)
    seconds["context"] = time.perf_counter() - started
    stream = torch.cuda.Stream()
    pinned = {name: torch.from_numpy(np.ascontiguousarray(array)).pin_memory() for name, array in feeds.items()}
    device, seconds["host_to_device"] = _copied(torch, pinned, stream, "cuda")
    outputs = _outputs_on_device(trt, torch, engine, context)
    for name, tensor in (device | outputs).items():
        context.set_tensor_address(name, tensor.data_ptr())
    seconds |= _enqueue(context, stream, repeats)
    host, seconds["device_to_host"] = _copied(torch, outputs, stream, "cpu")
    started = time.perf_counter()
    order = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    context.execute_v2([(device | outputs)[name].data_ptr() for name in order])
    seconds["execute_v2"] = time.perf_counter() - started
    again, _ = _copied(torch, outputs, stream, "cpu")
    return {
        "seconds": seconds,
        "outputs": {name: tensor.numpy() for name, tensor in host.items()},
        "sync_outputs": {name: tensor.numpy() for name, tensor in again.items()},
        "device": torch.cuda.get_device_name(),
        "repeats": repeats,
        "inspector": _inspect(trt, engine),
    }


def _inspect(trt: ModuleType, engine: Any) -> str:
    """EngineInspector's JSON about the whole engine: its layers, if it was built with DETAILED verbosity."""
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def _copied(torch: Any, tensors: dict[str, Any], stream: Any, where: str) -> tuple[dict[str, Any], float]:
    """(copies on `where`, seconds). Copies run on the stream, to or from pinned memory, and are waited for."""
    pinned = where == "cpu"
    made = {name: torch.empty(t.shape, dtype=t.dtype, device=where, pin_memory=pinned) for name, t in tensors.items()}
    seconds = 0.0
    for _ in range(2):  # the first copy of a process also sets things up
        stream.synchronize()
        started = time.perf_counter()
        with torch.cuda.stream(stream):
            for name, tensor in tensors.items():
                made[name].copy_(tensor, non_blocking=True)
        stream.synchronize()
        seconds = time.perf_counter() - started
    return made, seconds


def _reason(logger: Any) -> str:
    errors = [line.text for line in logger.lines if line.severity in ("ERROR", "INTERNAL_ERROR")]
    text = " ".join(errors[-1].split()) if errors else "it gave no reason"
    cuda = re.search(r"cudaError \d+: [^()]+", text)
    return cuda[0] if cuda else readable(text)


def _torch_with_cuda() -> Any:
    import torch

    if not torch.cuda.is_available():
        raise ExecutionImpossible(
            "The plan was deserialised, but torch here is a CPU build and has no device memory.",
            hint="Install torch with CUDA.",
        )
    return torch


def _outputs_on_device(trt: ModuleType, torch: Any, engine: Any, context: Any) -> dict[str, Any]:
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    return {
        name: _empty(trt, torch, engine.get_tensor_dtype(name), tuple(context.get_tensor_shape(name)))
        for name in outputs
    }


def _empty(trt: ModuleType, torch: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    host = torch.from_numpy(np.empty(0, dtype=trt.nptype(dtype)))
    return torch.empty(shape, dtype=host.dtype, device="cuda")


def _enqueue(context: Any, stream: Any, repeats: int) -> dict[str, float]:
    calls, totals = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        context.execute_async_v3(stream.cuda_stream)
        calls.append(time.perf_counter() - started)
        stream.synchronize()
        totals.append(time.perf_counter() - started)
    return {"enqueue_call": float(np.median(calls)), "enqueue": float(np.median(totals))}
