"""engine/nvidia/child: the worker process that holds the compiler. Started by worker.py, one per concurrent build.

In: tasks with their arguments, over a connection. Out: over the same one, `ready`, progress, and an answer or an error
for each task; models and plans lie in a block. It ends when the other end closes, ignores Ctrl-C (the parent decides),
and asks the kernel to end it first when memory runs out, so that no build takes a learner's notebook with it.
"""

import contextlib
import importlib
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing import connection
from pathlib import Path
from typing import Any

from trtlab.engine.files import put_block, take_block
from trtlab.engine.nvidia import compiler, execute
from trtlab.engine.nvidia.errors import BuildError, CompilerError
from trtlab.engine.nvidia.log import Session, make_logger


def public_names(session: Session, _block: bytes) -> tuple[dict[str, tuple[str, ...]], bytes]:
    """Public names of every class of the module; for an enumeration, its members."""
    classes = {name: value for name, value in vars(session.trt).items() if isinstance(value, type) and name[0] != "_"}
    return {name: _names_of(value) for name, value in sorted(classes.items())}, b""


def _names_of(kind: type) -> tuple[str, ...]:
    members = getattr(kind, "__members__", None)
    return tuple(members) if members else tuple(name for name in dir(kind) if not name.startswith("_"))


BLOCK = 0  # what a terminal calls standard input
# A task gets a Session, the block and its arguments; it gives an answer and a block.
TASKS: dict[str, Any] = {"build": compiler.build, "execute": execute.run_plan, "api": public_names}


class Channel:
    """The parent's end of the conversation. A thread reads it and notes, while the builder works, that it is gone."""

    def __init__(self, number: int) -> None:
        kind = getattr(connection, "PipeConnection" if sys.platform == "win32" else "Connection")
        self._connection, self._lock = kind(number), threading.Lock()
        self.tasks: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True, name="tasks").start()

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.tasks.put(self._connection.recv())
        os._exit(0)

    def send(self, kind: str, value: Any) -> None:
        with self._lock:
            self._connection.send((kind, value))


def main() -> None:
    """Import the compiler named on the command line, say so, then serve tasks until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    channel = Channel(int(sys.argv[2]))
    try:
        trt = importlib.import_module(sys.argv[1])
    except Exception as error:  # noqa: BLE001 (an import can fail in any way)
        channel.send("missing", f"{type(error).__name__}: {error}")
        return
    channel.send("ready", trt.__version__)
    importlib.import_module("onnx")
    logger = make_logger(trt)
    while True:
        task, arguments = channel.tasks.get()
        try:
            channel.send("start", None)
            session = Session(trt, logger, channel.send)
            answer, block = TASKS[task](session, take_block(BLOCK), *arguments)
            put_block(BLOCK, block)
            channel.send("answer", answer)
        except Exception as failure:  # noqa: BLE001 (the parent raises it, typed)
            channel.send("error", _typed(failure))


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


if __name__ == "__main__":
    main()
