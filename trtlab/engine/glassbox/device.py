"""engine/glassbox/device: the little that differs between a CPU and a GPU: where memory comes from, how work waits.

In: "cpu" or "cuda". Out: a `Device`. Streams here are the simplest that keep TensorRT's promise: `enqueue` returns at
once where it can, work of one stream runs in order, `synchronize` waits for all of it.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch

from trtlab.engine.glassbox.errors import DeviceError


class Stream(Protocol):
    """Work in order. What went wrong comes up in `synchronize`."""

    def submit(self, work: Callable[[], Any]) -> None: ...

    def synchronize(self) -> None: ...


class ThreadStream:
    """A stream on the CPU: one thread that takes work in order and ends with the stream."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(self._work,), daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any]) -> None:
        """Have it done after everything that was submitted before."""
        self._work.put(work)

    def synchronize(self) -> None:
        """Wait for all submitted work; raises the first error among it."""
        done = threading.Event()
        self._work.put(done.set)
        done.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: "queue.SimpleQueue[Callable[[], Any] | None]") -> None:
        while (task := work.get()) is not None:
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - it comes up again in synchronize
                self._error = self._error or error

    def close(self) -> None:
        """Let the thread end after what is submitted."""
        self._work.put(None)


class CudaStream:
    """A stream of CUDA: work is launched at once and runs when the GPU comes to it."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def submit(self, work: Callable[[], Any]) -> None:
        with torch.cuda.stream(self._stream):
            work()

    def synchronize(self) -> None:
        self._stream.synchronize()


class Device:
    """A CPU or a CUDA GPU."""

    def __init__(self, name: str) -> None:
        if name not in ("cpu", "cuda"):
            raise DeviceError(f"There is no device {name!r}: expected 'cpu' or 'cuda'.")
        if name == "cuda" and not torch.cuda.is_available():
            raise DeviceError("This needs an NVIDIA GPU, and torch sees none here: build for device='cpu' instead.")
        self.name = name

    def new_stream(self) -> Stream:
        return ThreadStream() if self.name == "cpu" else CudaStream()

    def synchronize(self) -> None:
        """Wait until everything launched so far is done."""
        if self.name == "cuda":
            torch.cuda.synchronize()

    @property
    def has_onednn(self) -> bool:
        """Whether oneDNN's fused kernels, and weights packed for them, are here."""
        return (
            self.name == "cpu"
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        )
