"""engine/nvidia/child: the worker process that holds the compiler. Started by worker.py, one per concurrent build.

In: tasks with their arguments, over a connection. Out: over the same one, phases, progress, and an answer or an error
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
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from trtlab.engine.nvidia import compiler, execute
from trtlab.engine.nvidia.errors import BuildError, CompilerError, CompilerMissing
from trtlab.engine.nvidia.log import Session, make_logger
from trtlab.engine.nvidia.worker import put_block, take_block

Names = dict[str, tuple[str, ...]]


def public_names(session: Session, _block: bytes) -> tuple[tuple[str, Names], bytes]:
    """Version of the module, and public names of every class of it; for an enumeration, its members."""
    classes = {name: value for name, value in vars(session.trt).items() if isinstance(value, type) and name[0] != "_"}
    names = {
        name: tuple(getattr(value, "__members__", None) or (part for part in dir(value) if part[0] != "_"))
        for name, value in sorted(classes.items())
    }
    return (session.trt.__version__, names), b""


BLOCK = 0  # what a terminal calls standard input
# A task gets a Session, the block and its arguments; it gives an answer and a block.
TASKS: dict[str, Any] = {"build": compiler.build, "execute": execute.run_plan, "api": public_names}


def main() -> None:
    """Import the compiler named on the command line, then serve tasks until the other end closes, which a thread
    notices while the builder works."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    channel, tasks = Connection(int(sys.argv[2])), queue.Queue[tuple[str, tuple[Any, ...]]]()

    def read() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                tasks.put(channel.recv())
        os._exit(0)

    threading.Thread(target=read, daemon=True, name="tasks").start()
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        with lock:
            channel.send((kind, value))

    serve(tasks, send)


def serve(tasks: "queue.Queue[tuple[str, tuple[Any, ...]]]", send: Any) -> None:
    """Answer one task after the other."""
    name = sys.argv[1]
    try:
        trt = importlib.import_module(name)
        logger = make_logger(trt)
    except Exception as error:  # noqa: BLE001 (an import can fail in any way)
        what = f"{name} cannot be imported: {type(error).__name__}: {error}."
        send("error", CompilerMissing(what, hint=f"Reinstall it: pip install {name}."))
        return
    send("phase", "idle")
    importlib.import_module("onnx")
    while True:
        task, arguments = tasks.get()
        try:
            send("phase", "start")
            answer, block = TASKS[task](Session(trt, logger, send), take_block(BLOCK), *arguments)
            put_block(BLOCK, block)
            send("answer", answer)
        except Exception as failure:  # noqa: BLE001 (the parent raises it, typed)
            send("error", _typed(failure))


def _typed(failure: Exception) -> CompilerError:
    if isinstance(failure, CompilerError):
        return failure
    what = f"The compiler's worker failed: {type(failure).__name__}: {failure}."
    hint = "Unless memory ran out, this is a defect; please report it with error.log."
    return BuildError(what, hint=hint, log=tuple(traceback.format_exception(failure)))


if __name__ == "__main__":
    main()
