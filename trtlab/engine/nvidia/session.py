"""engine/nvidia/session: one request inside the worker: the compiler's module, the clock, the log, the phases.

In: the module, and where to tell progress. Out: `Session`, which every task gets, with the compiler's own classes
subclassed: a logger that keeps what is said, a monitor that reports phases.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from trtlab.engine.nvidia.report import LogLine, Phase, Progress

STEP_INTERVAL_S = 0.03


class Session:
    """What the steps of one request read and write. `emit` gets ("progress", Progress), a few dozen times a second, and
    ("warning", text)."""

    def __init__(self, trt: ModuleType, logger: Any, emit: Callable[[str, Any], None]) -> None:
        self.trt, self.logger, self.emit = trt, logger, emit
        self.lines: list[LogLine] = []
        self.phases: list[Phase] = []
        self._open, self._started, self._told_at = dict[str, Progress](), time.perf_counter(), 0.0
        logger.lines = self.lines

    def _tell(self, progress: Progress) -> None:
        self._told_at = progress.seconds
        self.emit("progress", progress)

    def start(self, name: str, parent: str | None = None, steps: int = 0) -> None:
        now = time.perf_counter() - self._started
        self._open[name] = Progress(name=name, parent=parent, step=0, steps=steps, done=False, seconds=now)
        self._tell(self._open[name])

    def step(self, name: str, step: int) -> None:
        now = time.perf_counter() - self._started
        if name in self._open and now - self._told_at >= STEP_INTERVAL_S:
            self._tell(replace(self._open[name], step=step, seconds=now))

    def finish(self, name: str) -> None:
        if (opened := self._open.pop(name, None)) is not None:
            now, parent, start, steps = time.perf_counter() - self._started, opened.parent, opened.seconds, opened.steps
            self.phases.append(Phase(name=name, parent=parent, start_s=start, seconds=now - start, steps=steps))
            self._tell(replace(opened, step=steps, done=True, seconds=now))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase of our own around a `with` block; it stays open when the block raises."""
        self.start(name)
        yield
        self.finish(name)


def make_logger(trt: ModuleType) -> Any:
    """A logger that appends to `logger.lines`. One per process: the library keeps the first it is given."""

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        lines: list[LogLine]

        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            self.lines.append(LogLine(severity=severity.name, text=message))

    return Logger()


def make_monitor(session: Session) -> Any:
    """A progress monitor that reports phases. It never stops a build: a cancel ends the worker."""

    class Monitor(session.trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            session.start(name, parent or "build", steps)

        def step_complete(self, name: str, step: int) -> bool:
            session.step(name, step)
            return True

        def phase_finish(self, name: str) -> None:
            session.finish(name)

    return Monitor()
