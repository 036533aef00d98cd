"""engine/nvidia/worker: keeps compiler processes warm and talks to them.

In: a request and a block of bytes. Out: the child's answer, or a typed error: a crash, a timeout and a cancel all end
here, never in the learner's kernel. Threads may build at once: each request takes an idle child or starts one.
"""

import atexit
import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from trtlab.engine.nvidia import wire
from trtlab.engine.nvidia.errors import BuildCancelled, BuildCrashed, BuildTimeout, CompilerError, CompilerMissing

CANCEL_GRACE_S = 0.3
STARTUP_S = 60.0
POLL_S = 0.05
IDLE_KEPT = 2
_IDS = itertools.count(1)

# Large blocks (weights, plans) in huge pages: building ResNet-18 takes 0.6 of the time it takes without.
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


class CancelFlag(Protocol):
    """Anything with `is_set()`, such as threading.Event."""

    def is_set(self) -> bool: ...


class Worker:
    """One child process. Not shared between threads: the pool hands it to one request at a time."""

    def __init__(self, compiler: str) -> None:
        self.compiler, self.version, self._stderr_read = compiler, "", 0
        handle, name = tempfile.mkstemp(prefix="trtlab-", suffix=".log")
        self._stderr_path = Path(name)
        command = [sys.executable, "-m", "trtlab.engine.nvidia.child", compiler]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=handle,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,
        )
        os.close(handle)  # the child has its own; reading opens the file anew
        self._input, self._output = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        wire.widen_pipe(self._input.fileno())
        self._frames: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True, name="compiler answers").start()

    def _read(self) -> None:
        frame: tuple[dict[str, Any], bytes] | None = ({}, b"")
        while frame is not None:
            try:
                frame = wire.receive(self._output)
            except (OSError, ValueError):
                frame = None
            self._frames.put(frame)
        self._output.close()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait for the child's hello. Raises CompilerMissing when its import failed."""
        if self.version:
            return
        with contextlib.suppress(queue.Empty):
            frame = self._frames.get(timeout=STARTUP_S)
            if frame is not None and "version" in frame[0]:
                self.version = frame[0]["version"]
                return
            reason = frame[0]["error"] if frame is not None else self.stderr_tail() or "its process ended at once"
            self.kill()
            raise CompilerMissing(
                f"{self.compiler} cannot be imported: {reason}.", hint=f"Reinstall it: pip install {self.compiler}."
            )
        self.kill()
        raise CompilerMissing(
            f"{self.compiler} did not start within {STARTUP_S:.0f} s.", hint="Is this machine out of memory?"
        )

    def ask(
        self,
        message: dict[str, Any],
        block: bytes | memoryview = b"",
        *,
        timeout_s: float,
        cancel: CancelFlag | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request, run `meanwhile` while the child works, and return its result frame.

        Raises the child's typed error, BuildCrashed, BuildTimeout, or BuildCancelled; an interrupt (Ctrl-C) cancels
        the build and is raised again. After a crash, timeout or forced cancel the worker is dead.
        """
        request_id = next(_IDS)
        deadline = time.monotonic() + timeout_s
        try:
            with contextlib.suppress(BrokenPipeError):  # a dead child is reported by _wait, with its last words
                wire.send(self._input, {**message, "id": request_id}, block)
            if meanwhile is not None:
                meanwhile()
            return self._wait(request_id, deadline, timeout_s, cancel, on_event)
        except CompilerError:
            raise
        except BaseException:  # an interrupt, or an error in on_event or meanwhile: the child may still be building
            self.kill()
            raise

    def _wait(
        self,
        request_id: int,
        deadline: float,
        timeout_s: float,
        cancel: CancelFlag | None,
        on_event: Callable[[dict[str, Any]], None] | None,
    ) -> tuple[dict[str, Any], bytes]:
        phases = ["start"]
        for message, block in self._answers(request_id, deadline, cancel, phases):
            if message["kind"] == "result":
                return message, block
            if message["kind"] == "error":
                error = message["error"]
                error.details["phase"], error.details["full_log"] = phases[-1], message["log"]
                raise error
            _follow(phases, message)
            if on_event is not None:
                on_event(message)
        if not self.is_alive or time.monotonic() < deadline:
            raise self._crash(phases[-1])
        self.kill()
        raise BuildTimeout(
            f"The build took longer than timeout_s={timeout_s:g} (in phase {phases[-1]!r}).",
            hint="Give it more time, or a smaller model.",
        )

    def _answers(
        self, request_id: int, deadline: float, cancel: CancelFlag | None, phases: list[str]
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Messages about one request. A cancel is passed on; a child that does not heed it in time is ended."""
        kill_at = float("inf")
        for frame in self._frames_until(deadline):
            if kill_at == float("inf") and cancel is not None and cancel.is_set():
                kill_at = time.monotonic() + CANCEL_GRACE_S
                with contextlib.suppress(BrokenPipeError):
                    wire.send(self._input, {"kind": "cancel", "id": request_id})
            if time.monotonic() > kill_at:
                self.kill()
                raise BuildCancelled(
                    f"The build was cancelled during {phases[-1]!r}.",
                    hint="Its worker was ended; the next build starts a new one.",
                )
            if frame is not None and frame[0].get("id") == request_id:
                yield frame

    def _frames_until(self, deadline: float) -> Iterator[tuple[dict[str, Any], bytes] | None]:
        """Frames as they come, None at least every POLL_S seconds; ends at the deadline or when the child is gone."""
        while time.monotonic() < deadline:
            try:
                frame = self._frames.get(timeout=POLL_S)
            except queue.Empty:
                yield None
                continue
            if frame is None:
                return
            yield frame

    def _crash(self, phase: str) -> BuildCrashed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        status = self._process.poll()
        name = signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"
        tail = self.stderr_tail()
        self.kill()
        return BuildCrashed(
            f"NVIDIA's builder crashed ({name}) during {phase!r}; your session is unharmed.",
            hint="Some valid models do this. Try another precision, simplify the model (onnxslim), or cut it in two to"
            " find the node; the next build uses a fresh worker.",
            log=tuple(tail.splitlines()), signal=name, phase=phase,
        )  # fmt: skip

    def stderr_tail(self, limit_bytes: int = 4000) -> str:
        """The last that the child wrote past its logger."""
        if not self._stderr_path.exists():
            return ""
        with self._stderr_path.open("rb") as file:
            return file.read()[-limit_bytes:].decode("utf-8", "replace").strip()

    def new_stderr(self) -> str:
        """What the child wrote past its logger since the last call."""
        with self._stderr_path.open("rb") as file:
            file.seek(self._stderr_read)
            text = file.read()
        self._stderr_read += len(text)
        return text.decode("utf-8", "replace")

    def kill(self) -> None:
        """End the child now. Safe to call twice."""
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        with contextlib.suppress(OSError):
            self._input.close()
        with contextlib.suppress(OSError):
            self._stderr_path.unlink(missing_ok=True)


def _follow(phases: list[str], event: dict[str, Any]) -> None:
    """Keep the stack of open phases; its last is where a crash or a timeout happened."""
    if event["kind"] == "phase":
        phases.append(event["name"])
    elif event["kind"] == "phase_done" and event["name"] in phases[1:]:
        phases.remove(event["name"])


class Pool:
    """Idle workers by compiler. A fork starts with an empty pool: pipes are not shared between processes."""

    def __init__(self) -> None:
        self._lock, self._idle, self._pid = threading.Lock(), list[Worker](), os.getpid()
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
        with self._lock:
            if not any(worker.compiler == compiler for worker in self._idle):
                self._idle.append(Worker(compiler))

    def close(self) -> None:
        """End all idle workers."""
        with self._lock:
            idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for worker in idle:
                worker.kill()

    def _take(self, compiler: str) -> Worker:
        with self._lock:
            if self._pid != os.getpid():
                self._idle, self._pid = [], os.getpid()
            for worker in self._idle:
                if worker.compiler == compiler and worker.is_alive:
                    self._idle.remove(worker)
                    return worker
        return Worker(compiler)

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            alive = [kept for kept in self._idle if kept.is_alive]
            for dead in set(self._idle).difference(alive):
                dead.kill()  # closes its pipes
            candidate = worker if worker.is_alive else Worker(worker.compiler) if worker.version else None
            if candidate is not None and len(alive) < IDLE_KEPT:
                alive.append(candidate)
            elif candidate is not None:
                candidate.kill()
            self._idle = alive


POOL = Pool()
atexit.register(POOL.close)
