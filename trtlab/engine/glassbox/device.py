"""engine/glassbox/device: the little that differs between a CPU and a GPU: streams, clocks, CUDA graphs, copies.

In: "cpu" or "cuda". Out: a `Device`. Streams here are the simplest that keep TensorRT's promise: `enqueue` returns at
once where it can, work of one stream runs in order, `synchronize` waits for all of it.
"""

import contextlib
import importlib.util
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.glassbox.errors import DeviceError, RunError
from trtlab.engine.glassbox.plan import TensorSpec

Run = Callable[..., tuple[Tensor, ...]]
Work = Callable[[], Callable[[], Any]]
"""Starts something, and returns what is to be done once the stream has come so far."""
DEVICES, OLDEST_TORCH = ("cpu", "cuda"), (2, 11)
GRAPH_CALLS, HOLD_BACK_CYCLES = 10, 20_000_000


class ThreadStream:
    """A stream on the CPU: one thread that takes work in order and ends with the stream."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(self._work,), daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Have it done after everything that was submitted before. RunError once the stream is closed."""
        if self._closed:
            raise RunError("The stream is closed: nothing would run what is submitted; make a new one.")
        self._work.put(work)

    def synchronize(self) -> None:
        """Wait for all submitted work; raises the first error among it."""
        if self._closed:
            self._thread.join()
        else:
            done = threading.Event()
            self._work.put(lambda: done.set)
            done.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, works: "queue.SimpleQueue[Work | None]") -> None:
        while (work := works.get()) is not None:
            try:
                work()()
            except BaseException as error:  # noqa: BLE001 - it comes up again in synchronize
                self._error = self._error or error

    def close(self) -> None:
        """Let the thread end after what is submitted."""
        self._closed = True
        self._work.put(None)


class CudaStream:
    """A stream of CUDA: work is launched at once and runs when the GPU comes to it."""

    def __init__(self) -> None:
        self.cuda = torch.cuda.Stream()
        self._unfinished: list[Callable[[], Any]] = []

    def submit(self, work: Work) -> None:
        """Launch it; its results are fetched in `synchronize`."""
        with torch.cuda.stream(self.cuda):
            self._unfinished.append(work())

    def synchronize(self) -> None:
        """Wait for all submitted work."""
        self.cuda.synchronize()
        finished, self._unfinished = self._unfinished, []
        for finish in finished:
            finish()

    def close(self) -> None:
        """Nothing to end: CUDA's streams belong to torch."""


Stream = ThreadStream | CudaStream
"""Work in order: `submit`, `synchronize`, which raises what went wrong, `close`."""


class Device:
    """A CPU or a CUDA GPU."""

    def __init__(self, name: str) -> None:
        if not is_here(name):
            raise DeviceError(
                "This needs an NVIDIA GPU, and torch sees none here: load it where there is one, or build for 'cpu'."
            )
        if tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) < OLDEST_TORCH:
            oldest = ".".join(map(str, OLDEST_TORCH))
            raise DeviceError(f"The glass box needs torch >= {oldest}, this is {torch.__version__}: update it.")
        self.name = name

    def description(self) -> dict[str, str]:
        """What a tuned plan remembers."""
        return {"gpu": torch.cuda.get_device_name()} if self.name == "cuda" else {}

    def new_stream(self) -> Stream:
        return ThreadStream() if self.name == "cpu" else CudaStream()

    def synchronize(self) -> None:
        """Wait until everything launched here so far is done."""
        if self.name == "cuda":
            torch.cuda.current_stream().synchronize()

    @contextlib.contextmanager
    def mode(self) -> Iterator[None]:
        """How kernels run: without gradients; on a GPU float32 is float32, not TF32, and cuDNN times its own ways."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.name == "cuda":
                stack.enter_context(torch.device("cuda"))
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False))
            yield

    @property
    def has_onednn(self) -> bool:
        """Whether oneDNN's fused kernels, and weights packed for them, are here."""
        return (
            self.name == "cpu"
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        )

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

    def hold_back(self) -> None:
        """Have the GPU wait some milliseconds, so that what is launched now runs without gaps between kernels."""
        if self.name == "cuda":
            torch.cuda._sleep(HOLD_BACK_CYCLES)

    def timer(self, work: Callable[[], Any]) -> Callable[[], float]:
        """A function that runs `work` and returns seconds. On a GPU a graph of several calls runs: how long a launch
        takes the host does not matter there, since the engine's launches are in a graph too."""

        def repeated() -> None:
            for _ in range(GRAPH_CALLS):
                work()

        graph, _ = _captured(repeated) if self.name == "cuda" else (None, None)
        calls = 1 if graph is None else GRAPH_CALLS

        def seconds() -> float:
            first = self.mark()
            work() if graph is None else graph.replay()
            second = self.mark()
            self.synchronize()
            return self.seconds(first, second) / calls

        return seconds

    # one run of an engine

    def prepared(self, run: Run, inputs: Sequence[TensorSpec]) -> Run:
        """The schedule as this device runs it best. On a GPU it is captured as a CUDA graph, and launched as one; a
        schedule that asks for values on the way cannot be, and runs kernel by kernel."""
        if self.name == "cpu":
            return run
        held = [torch.zeros(spec.shape or (), dtype=getattr(torch, spec.dtype), device="cuda") for spec in inputs]
        return _Replay(self.mode, run, held)

    def fetched(self, tensor: Tensor) -> Tensor:
        """A copy in the host's memory, there once the stream has come so far, in the same layout: a GPU would make room
        for another one."""
        if self.name == "cpu" or not tensor.is_cuda:
            return tensor.clone(memory_format=torch.contiguous_format)
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


class Staging:
    """Two sets of buffers in pinned memory, in turns: while one travels to the GPU, the host fills the other."""

    def __init__(self, buffers: Callable[[], Sequence[Tensor]], event: Callable[[], Any]) -> None:
        self._slots = [(buffers(), event()) for _ in range(2)]

    def send(self, tensors: Sequence[Tensor], to: Sequence[Tensor]) -> None:
        """Have them copied on the current stream; they may change as soon as this returns. It waits only if both sets
        are still under way."""
        buffers, sent = self._slots.pop(0)
        self._slots.append((buffers, sent))
        sent.synchronize()
        for buffer, here, there in zip(buffers, tensors, to, strict=True):
            buffer.copy_(here)
            there.copy_(buffer, non_blocking=True)
        sent.record()


class _Replay:
    """A schedule on a GPU: copies in, then one launch of its graph, or all its kernels where there can be none."""

    def __init__(self, mode: Callable[[], AbstractContextManager[None]], run: Run, held: Sequence[Tensor]) -> None:
        self._mode, self._run, self._held = mode, run, held
        self._staging = Staging(
            lambda: [torch.empty_like(t, device="cpu", pin_memory=True) for t in held], torch.cuda.Event
        )
        self.graph, self._results = None, ()
        with mode(), contextlib.suppress(ArithmeticError, IndexError, RuntimeError, ValueError):
            run(*held)  # cuDNN chooses, Triton compiles; made-up zeros may be no input for an operator
            self.graph, self._results = _captured(lambda: run(*held))

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self._staging.send(tensors, self._held)
        if self.graph is None:
            with self._mode():
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
