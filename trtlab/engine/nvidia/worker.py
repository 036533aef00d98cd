"""engine/nvidia/worker: keeps compiler processes warm and talks to them.

In: a task for the child. Out: the child's answer, or a typed error: a crash, a timeout and a cancel all end here, never
in the learner's kernel. Threads may build at once: each request takes an idle child or starts one. The child is a
fresh interpreter that runs child.py alone, so a script or notebook that builds is never run again inside it. Models and
plans, tens of megabytes, pass through a block, a file in memory without a name that both hold.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from trtlab.engine.nvidia import errors
from trtlab.engine.nvidia.report import LogLine, Progress

POLL_S = 0.05
IDLE_KEPT = 2
IMPORTING, IDLE = "import", "idle"
NOTHING: tuple[str, Any] = ("", None)
_KILLED = "Often memory has run out: close other programs, or build a smaller model or for fewer targets"
_DEFECT = (
    "Some valid models do this. Try another precision, simplify the model (onnxslim), or cut it in two to find where"
)
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Large blocks (weights, plans) in huge pages: building ResNet-18 takes 0.6 of the time it takes without."""


class CancelFlag(Protocol):
    """Anything with `is_set()`, such as threading.Event."""

    def is_set(self) -> bool: ...


def put_block(number: int, block: bytes | memoryview) -> None:
    """Leave `block` in the file of that number for the other process, which is to be told when it is there."""
    with open(number, "wb", closefd=False) as file:
        file.seek(0)
        file.write(block)


def take_block(number: int) -> bytes:
    """What the other process left; it is gone then."""
    with open(number, "rb", closefd=False) as file:
        file.seek(0)
        block = file.read()
    os.ftruncate(number, 0)
    return block


class Worker:
    """One child process. Not shared between threads: the pool hands it to one request at a time."""

    def __init__(self, compiler: str) -> None:
        self.compiler, self._phase, self._printed_read = compiler, IMPORTING, 0
        self._block, self._printed = os.memfd_create("block"), os.memfd_create("printed")
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "trtlab.engine.nvidia.child", compiler, str(number)],
                stdin=self._block, stdout=self._printed, stderr=self._printed, pass_fds=[number],
                env=os.environ | _ENVIRONMENT, start_new_session=True,
            )  # fmt: skip

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self,
        task: str,
        *arguments: Any,
        block: bytes = b"",
        timeout_s: float,
        cancel: CancelFlag | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> tuple[Any, bytes]:
        """(answer, block of bytes) of one of child.TASKS, which gets `arguments` and `block`.

        Raises the child's typed error, or CompilerMissing, BuildCrashed, BuildTimeout, BuildCancelled; an interrupt
        (Ctrl-C) ends the build and is raised again. But for the child's own errors, the worker is dead then.
        """
        if not timeout_s > 0:
            raise errors.BuildError(f"timeout_s is {timeout_s!r}.", hint="Expected a number of seconds above 0.")
        self._phase = self._phase if self._phase == IMPORTING else IDLE
        try:
            put_block(self._block, block)
            with contextlib.suppress(OSError):  # a dead child is noticed when it does not answer
                self._connection.send((task, arguments))
            kind, value = self._outcome(timeout_s, cancel, on_progress)
        except BaseException:  # also an interrupt, or an error in on_progress: the child may still be building
            self.kill()
            raise
        if kind == "error":
            value.details["phase"] = self._phase
            raise value
        return value, take_block(self._block)

    def _outcome(
        self, timeout_s: float, cancel: CancelFlag | None, on_progress: Callable[[Progress], None] | None
    ) -> tuple[str, Any]:
        """The child's last message about a task; its warnings and progress are passed on as they come. Raises when it
        is gone, when time is up, and when a cancel is wished."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if cancel is not None and cancel.is_set():
                what = f"The build was cancelled during {self._phase!r}."
                raise errors.BuildCancelled(what, hint="Its worker was ended; the next build starts a new one.")
            try:
                kind, value = self._connection.recv() if self._connection.poll(POLL_S) else NOTHING
            except (EOFError, OSError):
                raise self._crash() from None
            if kind in ("answer", "error"):
                return kind, value
            if kind == "warning":
                warnings.warn(value, errors.BuildWarning, stacklevel=5)
            elif kind == "phase":
                self._phase = value
            elif kind == "progress":
                self._phase = value.name if not value.done else value.parent or value.name
                if on_progress is not None:
                    on_progress(value)
        what = f"The build took longer than timeout_s={timeout_s:g} (in phase {self._phase!r})."
        raise errors.BuildTimeout(what, hint="Give it more time, or a smaller model.")

    def _crash(self) -> errors.CompilerError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        log, status = tuple(line.text for line in self.new_lines()), self._process.poll()
        if self._phase == IMPORTING:
            what = f"{self.compiler} cannot be imported: {'; '.join(log)[-4000:] or 'its process ended at once'}."
            return errors.CompilerMissing(what, hint=f"Reinstall it: pip install {self.compiler}.")
        name = signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"
        is_killed = name in ("SIGKILL", "SIGTERM")
        what = f"The build was killed from outside ({name})" if is_killed else f"NVIDIA's builder crashed ({name})"
        hint = f"{_KILLED if is_killed else _DEFECT}; the next build uses a fresh worker."
        what += f" during {self._phase!r}; your session is unharmed."
        return errors.BuildCrashed(what, hint=hint, log=log[-40:], signal=name, phase=self._phase)

    def new_lines(self) -> tuple[LogLine, ...]:
        """The lines that the child printed past its logger since the last call, for the log of a build."""
        read = os.pread(self._printed, 2**24, self._printed_read)
        self._printed_read += len(read)
        lines = read.decode("utf-8", "replace").splitlines()
        return tuple(LogLine(severity="STDERR", text=line) for line in lines if line.strip())

    def kill(self) -> None:
        """End the child now. Safe to call twice."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        if not self._connection.closed:
            self._connection.close()
            os.close(self._block)
            os.close(self._printed)


class Pool:
    """Idle workers, the one used last first."""

    def __init__(self) -> None:
        self._lock, self._idle = threading.Lock(), list[Worker]()
        self._places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))

    def ask(self, compiler: str, task: str, *arguments: Any, **how: Any) -> tuple[Any, bytes, tuple[LogLine, ...]]:
        """(answer, block, lines printed past the logger) from a worker: see `Worker.ask`."""
        with self._places:
            worker = self._take(compiler)
            try:
                return *worker.ask(task, *arguments, **how), worker.new_lines()
            except errors.BuildCrashed as crash:
                if crash.details["phase"] != IDLE:
                    raise
                worker = Worker(compiler)  # the other had died before it was asked, which is no failure of this task
                return *worker.ask(task, *arguments, **how), worker.new_lines()
            finally:
                self._give_back(worker)

    def warm(self, compiler: str) -> None:
        """Start a worker in the background unless one is idle; its import takes about half a second."""
        self._give_back(self._take(compiler))

    def close(self) -> None:
        """End all idle workers."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def _take(self, compiler: str) -> Worker:
        with self._lock:
            for worker in self._idle:
                if worker.compiler == compiler and worker.is_alive:
                    self._idle.remove(worker)
                    return worker
        return Worker(compiler)

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            workers = [worker, *self._idle]
            self._idle = [worker for worker in workers if worker.is_alive][:IDLE_KEPT]
            for worker in set(workers).difference(self._idle):
                worker.kill()


POOL = Pool()
atexit.register(POOL.close)
if hasattr(os, "register_at_fork"):  # a fork starts with an empty pool: connections are not shared between processes
    os.register_at_fork(after_in_child=POOL.__init__)  # type: ignore[misc]
