"""engine/nvidia/runtime: the runtime half of NVIDIA's library: deserialise, context, copy in, enqueue, copy out.

Runs inside the worker process only, with torch for device memory and streams. In: a plan and arrays. Out: outputs and
the seconds of each stage. On a machine that cannot do it: ExecutionImpossible, with NVIDIA's own reason. Written for
tensorrt 10 and 11 and tensorrt_rtx; the refusal is verified without a GPU, the execution path only by fakes.
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
    """{"seconds": {stage: seconds}, "outputs": async results, "sync_outputs": results of execute_v2}.

    `enqueue` is the median over `repeats` of execute_async_v3 until its stream is idle; `enqueue_call` only the call.
    """
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
    started = time.perf_counter()
    device = _inputs_on_device(torch, feeds, stream)
    seconds["host_to_device"] = time.perf_counter() - started
    device |= _outputs_on_device(trt, torch, engine, context)
    for name, tensor in device.items():
        context.set_tensor_address(name, tensor.data_ptr())
    seconds |= _enqueue(context, stream, repeats)
    started = time.perf_counter()
    outputs = {name: device[name].cpu().numpy() for name in device if name not in feeds}
    seconds["device_to_host"] = time.perf_counter() - started
    started = time.perf_counter()
    order = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    context.execute_v2([device[name].data_ptr() for name in order])
    seconds["execute_v2"] = time.perf_counter() - started
    again = {name: device[name].cpu().numpy() for name in device if name not in feeds}
    return {"seconds": seconds, "outputs": outputs, "sync_outputs": again}


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


def _inputs_on_device(torch: Any, feeds: Arrays, stream: Any) -> dict[str, Any]:
    with torch.cuda.stream(stream):
        pinned = {name: torch.from_numpy(np.ascontiguousarray(array)).pin_memory() for name, array in feeds.items()}
        tensors = {name: tensor.to("cuda", non_blocking=True) for name, tensor in pinned.items()}
    stream.synchronize()
    return tensors


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
