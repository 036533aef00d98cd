"""engine/nvidia/worker: keeps compiler processes warm and talks to them.

In: a task for the child. Out: the child's answer, or a typed error: a crash, a timeout and a cancel all end here, never
in the learner's kernel. Threads may build at once: each request takes an idle child or starts one. The child is a
fresh interpreter that runs child.py alone, so a script or notebook that builds is never run again inside it.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from trtlab.engine.files import open_block, put_block, take_block
from trtlab.engine.nvidia import errors
from trtlab.engine.nvidia.report import LogLine, Progress

STARTUP_S = 60.0
POLL_S = 0.05
IDLE_KEPT = 2
IDLE = "idle"
NOTHING: tuple[str, Any] = ("", None)
_KILLED = "Often memory has run out: close other programs, or build a smaller model or for fewer targets"
_DEFECT = (
    "Some valid models do this. Try another precision, simplify the model (onnxslim), or cut it in two to find where"
)

# Large blocks (weights, plans) in huge pages: building ResNet-18 takes 0.6 of the time it takes without.
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class CancelFlag(Protocol):
    """Anything with `is_set()`, such as threading.Event."""

    def is_set(self) -> bool: ...


class Worker:
    """One child process. Not shared between threads: the pool hands it to one request at a time."""

    def __init__(self, compiler: str) -> None:
        self.compiler, self._known = compiler, ""
        self._start()

    def _start(self) -> None:
        self.version, self._phase = "", IDLE
        self._printed, self._printed_read = tempfile.TemporaryFile(buffering=0), 0  # noqa: SIM115 (`kill` closes it)
        self._block = open_block()
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            number = theirs.fileno()  # on Windows a handle
            if sys.platform == "win32":
                os.set_handle_inheritable(number, True)
            handed_over: Any = {"close_fds": False} if sys.platform == "win32" else {"pass_fds": [number]}
            command = [sys.executable, "-u", "-m", "trtlab.engine.nvidia.child", self.compiler, str(number)]
            self._process = subprocess.Popen(
                command, stdin=self._block, stdout=self._printed, stderr=self._printed,
                env=os.environ | _ENVIRONMENT, start_new_session=True, **handed_over,
            )  # fmt: skip

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until the child has imported its compiler. Raises CompilerMissing when it could not."""
        if self.version:
            return
        kind, said = "missing", f"it did not start within {STARTUP_S:.0f} s"
        try:
            if self._connection.poll(STARTUP_S):
                kind, said = self._connection.recv()
        except (EOFError, OSError):
            said = "\n".join(line.text for line in self.new_lines())[-4000:] or "its process ended at once"
        if kind == "ready":
            self.version = said
            return
        self.kill()
        hint = f"Reinstall it: pip install {self.compiler}."
        raise errors.CompilerMissing(f"{self.compiler} cannot be imported: {said}.", hint=hint)

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

        Raises the child's typed error, or BuildCrashed, BuildTimeout, BuildCancelled; an interrupt (Ctrl-C) ends the
        build and is raised again. But for the child's own errors, the worker is dead then.
        """
        if not timeout_s > 0:
            raise errors.BuildError(f"timeout_s is {timeout_s!r}.", hint="Expected a number of seconds above 0.")
        how = (task, arguments, block, timeout_s, cancel, on_progress)
        try:
            kind, value = self._answer(*how)
        except errors.BuildCrashed:
            if self._phase != IDLE:
                raise
            self._start()  # it had died before it was asked, which is no failure of this task
            self.wait_until_ready()
            kind, value = self._answer(*how)
        if kind == "error":
            value.details["phase"] = self._phase
            raise value
        return value, take_block(self._block)

    def _answer(self, task: str, arguments: tuple[Any, ...], block: bytes, *how: Any) -> tuple[str, Any]:
        self._phase, self._known = IDLE, ""
        try:
            put_block(self._block, block)
            with contextlib.suppress(OSError):  # a dead child is noticed when it does not answer
                self._connection.send((task, arguments))
            return self._outcome(*how)
        except BaseException:  # also an interrupt, or an error in on_progress: the child may still be building
            self.kill()
            raise

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
                self._known += f" {value}"
                warnings.warn(value, errors.BuildWarning, stacklevel=5)
            elif kind == "progress":
                self._phase = value.name if not value.done else value.parent or value.name
                if on_progress is not None:
                    on_progress(value)
            elif kind:
                self._phase = kind
        raise errors.BuildTimeout(
            f"The build took longer than timeout_s={timeout_s:g} (in phase {self._phase!r}).{self._known}",
            hint="Give it more time, or a smaller model.",
        )

    def _crash(self) -> errors.BuildCrashed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        status = self._process.poll()
        name = signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"
        is_killed = name in ("SIGKILL", "SIGTERM")
        what = f"The build was killed from outside ({name})" if is_killed else f"NVIDIA's builder crashed ({name})"
        return errors.BuildCrashed(
            f"{what} during {self._phase!r}; your session is unharmed.{self._known}",
            hint=f"{_KILLED if is_killed else _DEFECT}; the next build uses a fresh worker.",
            log=tuple(line.text for line in self.new_lines()[-40:]), signal=name, phase=self._phase,
        )  # fmt: skip

    def new_lines(self) -> tuple[LogLine, ...]:
        """The lines that the child printed past its logger since the last call, for the log of a build that has ended:
        only while it prints nothing, because both share one place in the file."""
        self._printed.seek(self._printed_read)
        text = self._printed.read()
        self._printed_read += len(text)
        lines = text.decode("utf-8", "replace").splitlines()
        return tuple(LogLine(severity="STDERR", text=line) for line in lines if line.strip())

    def kill(self) -> None:
        """End the child now. Safe to call twice."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._connection.close()
        if self._block >= 0:
            os.close(self._block)
            self._block = -1
        self._printed.close()


class Pool:
    """Idle workers, the one used last first."""

    def __init__(self) -> None:
        self._lock, self._idle = threading.Lock(), list[Worker]()
        self._places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))

    @contextlib.contextmanager
    def worker(self, compiler: str) -> Iterator[Worker]:
        """A ready worker for one request. A worker that died is replaced in the background, so the next is warm."""
        with self._places:
            worker = self._take(compiler)
            try:
                worker.wait_until_ready()
                yield worker
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
        """Keep it, or a fresh one where it died; a compiler that could not be imported is not tried again."""
        returned = [worker, Worker(worker.compiler)] if worker.version and not worker.is_alive else [worker]
        with self._lock:
            workers = returned + self._idle
            self._idle = [worker for worker in workers if worker.is_alive][:IDLE_KEPT]
            for worker in set(workers).difference(self._idle):
                worker.kill()


POOL = Pool()
atexit.register(POOL.close)
if hasattr(os, "register_at_fork"):  # a fork starts with an empty pool: connections are not shared between processes
    os.register_at_fork(after_in_child=POOL.__init__)  # type: ignore[misc]
