"""engine/glassbox/device: the little that differs between a CPU and a GPU: streams, clocks, CUDA graphs, copies.

In: "cpu" or "cuda". Out: a `Device`. Streams here are the simplest that keep TensorRT's promise: `enqueue` returns at
once where it can, work of one stream runs in order, `synchronize` waits for all of it.
"""

import contextlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.glassbox.errors import DeviceError
from trtlab.engine.glassbox.plan import TensorSpec

Run = Callable[..., tuple[Tensor, ...]]
Work = Callable[[], Callable[[], Any]]
"""Starts something, and returns what is to be done once the stream has come so far."""
DEVICES = "cpu", "cuda"
GRAPH_CALLS = 10


class Stream:
    """Work in order: on a CPU one thread does it, which ends with the stream; on a GPU it is launched at once, and runs
    when a stream of CUDA comes to it."""

    def __init__(self, device: str) -> None:
        self._cuda = torch.cuda.Stream() if device == "cuda" else None
        self._thread, self._unfinished = ThreadPoolExecutor(1), list[Callable[[], Any]]()

    def submit(self, work: Work) -> None:
        """Have it done after everything that was submitted before."""
        if self._cuda is None:
            self._unfinished.append(self._thread.submit(lambda: work()()).result)
        else:
            with torch.cuda.stream(self._cuda):
                self._unfinished.append(work())

    def synchronize(self) -> None:
        """Wait for all submitted work; raises the first error among it."""
        if self._cuda is None:
            self._thread.submit(lambda: None).result()
        else:
            self._cuda.synchronize()
        finished, self._unfinished = self._unfinished, []
        for finish in finished:
            finish()


class Device:
    """A CPU or a CUDA GPU."""

    def __init__(self, name: str) -> None:
        if not is_here(name):
            raise DeviceError(
                "This needs an NVIDIA GPU, and torch sees none here: load it where there is one, or build for 'cpu'."
            )
        self.name = name

    def description(self) -> dict[str, str]:
        """What a tuned plan remembers."""
        return {"gpu": torch.cuda.get_device_name()} if self.name == "cuda" else {}

    def new_stream(self) -> Stream:
        return Stream(self.name)

    def synchronize(self) -> None:
        """Wait until everything launched here so far is done."""
        if self.name == "cuda":
            torch.cuda.current_stream().synchronize()

    @contextlib.contextmanager
    def mode(self) -> Iterator[None]:
        """How kernels run: without gradients; on a GPU float32 is float32, not TF32, and cuDNN times its own ways."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.name == "cuda":  # cuDNN's flags are the process's: threads would leave each other's behind
                stack.enter_context(torch.device("cuda"))
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False))
            yield

    @property
    def has_onednn(self) -> bool:
        """Whether oneDNN's fused kernels, and weights packed for them, are here."""
        there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        return self.name == "cpu" and there

    @property
    def has_triton(self) -> bool:
        """Whether kernels can be generated for this GPU."""
        return self.name == "cuda" and importlib.util.find_spec("triton") is not None

    # time

    def mark(self) -> Any:
        """A moment on the device."""
        if self.name == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, first: Any, second: Any) -> float:
        """From one mark to another; on a GPU it must have come so far."""
        return second - first if self.name == "cpu" else first.elapsed_time(second) / 1e3

    def timer(self, work: Callable[[], Any]) -> Callable[[], float]:
        """A function that runs `work` and returns seconds. On a GPU a graph of several calls runs: how long a launch
        takes the host does not matter there, since the engine's launches are in a graph too."""

        def repeated() -> None:
            for _ in range(GRAPH_CALLS):
                work()

        graph = _captured(repeated)[0] if self.name == "cuda" else None
        run, calls = (work, 1) if graph is None else (graph.replay, GRAPH_CALLS)

        def seconds() -> float:
            first = self.mark()
            run()
            second = self.mark()
            self.synchronize()
            return self.seconds(first, second) / calls

        return seconds

    def fetched(self, tensor: Tensor) -> Tensor:
        """A copy in the host's memory, there once the stream has come so far, in the same layout: a GPU would make room
        for another one."""
        if self.name == "cpu" or not tensor.is_cuda:
            return tensor.clone(memory_format=torch.contiguous_format)
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


class Replay:
    """A schedule on a GPU: copies in, then one launch of its CUDA graph; or all its kernels where there can be none, as
    of a schedule that asks for values on the way."""

    def __init__(self, device: Device, run: Run, inputs: Sequence[TensorSpec]) -> None:
        self._device, self._run, self.graph, self._results = device, run, None, ()
        self._held = [torch.zeros(one.shape or (), dtype=getattr(torch, one.dtype), device="cuda") for one in inputs]
        with device.mode(), contextlib.suppress(ArithmeticError, IndexError, RuntimeError, ValueError):
            run(*self._held)  # cuDNN chooses, Triton compiles; made-up zeros may be no input for an operator
            self.graph, self._results = _captured(lambda: run(*self._held))

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors may change as soon as this returns: torch keeps pinned copies of them until they have arrived."""
        for held, tensor in zip(self._held, tensors, strict=True):
            held.copy_(tensor.pin_memory(), non_blocking=True)
        if self.graph is None:
            with self._device.mode():
                return self._run(*self._held)
        self.graph.replay()
        return tuple(self._results)


def is_here(name: str) -> bool:
    """Whether this machine has the device. DeviceError for one that nobody has."""
    if name not in DEVICES:
        raise DeviceError(f"There is no device {name!r}: expected one of {', '.join(DEVICES)}.")
    return name == "cpu" or torch.cuda.is_available()


def _captured(work: Callable[[], Any]) -> tuple[Any, Any]:
    """The launches of `work` as a CUDA graph, and its results; (None, None) where it waits for the GPU on the way."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with warnings.catch_warnings(), torch.cuda.graph(graph):
            warnings.filterwarnings("ignore", "The CUDA Graph is empty")  # a change of shape launches nothing
            results = work()
    except RuntimeError:
        torch.cuda.synchronize()
        return None, None
    return graph, results
