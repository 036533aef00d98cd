"""engine/nvidia/child: the worker process that holds the compiler. Started by worker.py, one per concurrent build.

In: frames on standard input (a build or an execution, and cancels). Out: frames on standard output (hello, phases,
one result or error each). It ends when its input closes, ignores Ctrl-C (the parent decides), and asks the kernel to
end it first when memory runs out, so that no build takes a learner's notebook with it.
"""

import importlib
import os
import queue
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from trtlab.engine.nvidia import compiler, describe, wire
from trtlab.engine.nvidia.errors import BuildError, CompilerError, ModelError
from trtlab.engine.nvidia.log import memory_from_log, steps_from_log

STEP_INTERVAL_S = 0.03
NO_LIST = "The log brought no kernel list; a name in the model that is not UTF-8 keeps the message from Python."


class Channel:
    """The parent's end of the conversation: requests in, frames out, cancels noted at once by a reader thread."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._write_lock = threading.Lock()
        self.requests: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, daemon=True, name="requests").start()

    def _read(self) -> None:
        while (frame := wire.receive(self._source)) is not None:
            message, block = frame
            if message["kind"] == "cancel":
                self._cancelled.add(message["id"])
            else:
                self.requests.put((message, block))
        os._exit(0)  # the parent is gone; the builder may hold the main thread

    def send(self, message: dict[str, Any], block: bytes | memoryview = b"") -> None:
        with self._write_lock:
            wire.send(self._sink, message, block)

    def is_cancelled(self, request_id: int) -> bool:
        return request_id in self._cancelled


def main() -> None:
    """Import the compiler named on the command line, say hello, then serve requests until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)  # whatever prints to standard output must not land between frames
    wire.widen_pipe(sink.fileno())
    _volunteer_for_the_oom_killer()
    channel = Channel(sys.stdin.buffer, sink)
    try:
        trt = importlib.import_module(sys.argv[1])
    except Exception as error:  # noqa: BLE001 (an import can fail in any way)
        channel.send({"kind": "hello", "error": f"{type(error).__name__}: {error}"})
        return
    channel.send({"kind": "hello", "version": trt.__version__})
    importlib.import_module("onnx")
    logger = compiler.make_logger(trt)
    while True:
        message, block = channel.requests.get()
        _serve(trt, logger, channel, message, block)


def _volunteer_for_the_oom_killer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    except OSError:
        return


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request with everything a handler needs: the compiler's module, its logger, the message, the clock."""

    trt: ModuleType
    logger: Any
    message: dict[str, Any]
    block: bytes
    session: compiler.Session


def _serve(trt: ModuleType, logger: Any, channel: Channel, message: dict[str, Any], block: bytes) -> None:
    request_id = message["id"]
    session = compiler.Session(_throttled(channel, request_id), lambda: channel.is_cancelled(request_id))
    handler = {"build": _build, "execute": _execute, "api": _api}[message["kind"]]
    try:
        values, plan = handler(Job(trt=trt, logger=logger, message=message, block=block, session=session))
        channel.send({"kind": "result", "id": request_id, "values": values}, plan)
    except Exception as failure:  # noqa: BLE001 (the parent raises it, typed)
        channel.send({"kind": "error", "id": request_id, "error": _typed(failure), "log": tuple(session.lines)})


def _typed(failure: Exception) -> CompilerError:
    if isinstance(failure, CompilerError):
        return failure
    if isinstance(failure, MemoryError):
        return BuildError("The worker ran out of memory.", hint="Build a smaller model, or close other programs.")
    return BuildError(
        f"The compiler's worker failed: {type(failure).__name__}: {failure}.",
        hint="This is a defect; please report it with error.log.",
        log=tuple(traceback.format_exception(failure)),
    )


def _throttled(channel: Channel, request_id: int) -> Any:
    last = -STEP_INTERVAL_S

    def emit(event: dict[str, Any]) -> None:
        nonlocal last
        if event["kind"] == "step" and event["seconds"] - last < STEP_INTERVAL_S:
            return
        last = event["seconds"]
        channel.send({**event, "id": request_id})

    return emit


def _build(job: Job) -> tuple[dict[str, Any], bytes | memoryview]:
    request: compiler.BuildRequest = job.message["request"]
    model = job.block if request.model_path is None else _read(request.model_path)
    facts, plan = compiler.run(job.trt, job.logger, request, model, job.session)
    lines = tuple(job.session.lines)
    steps, unread = steps_from_log(lines)
    if plan is not None and not steps and not compiler.has_targets(job.trt):
        steps = describe.inspect_plan(job.trt, job.logger, plan)
    if plan is not None and not steps and not unread:
        unread = (NO_LIST,)
    facts |= {
        "steps": steps,
        "unread_lines": unread,
        "memory": memory_from_log(lines),
        "phases": tuple(sorted(job.session.phases, key=lambda phase: phase.start_s)),
        "log": lines,
    }
    return facts, b"" if plan is None else memoryview(plan)


def _execute(job: Job) -> tuple[dict[str, Any], bytes]:
    from trtlab.engine.nvidia import runtime

    job.logger.lines = job.session.lines
    return runtime.execute(job.trt, job.logger, job.block, job.message["feeds"], job.message["repeats"]), b""


def _api(job: Job) -> tuple[dict[str, Any], bytes]:
    return describe.public_names(job.trt), b""


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"The model file cannot be read: {path}: {error.strerror}.", hint="Expected an .onnx file."
        ) from None


if __name__ == "__main__":
    main()
