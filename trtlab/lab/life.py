"""lab/life: the life of a glass-box engine in numbers: build, load in a fresh process, run, enqueue.

In: a network by name. Out: a frozen `Life`: times, and how far the answers are from ONNX Runtime's in FP32; live on a
CPU, or recorded. `build` and `serve`, the two halves of the workflow, run in Python processes of their own, where
nothing is warm; `serve` needs numpy and torch alone: it never sees the model, nor onnx.
"""

import enum
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trtlab.engine import recordings
from trtlab.engine.measure import HOST_CLOCK, KernelTime, Measurement, Provenance, live, measure_in_turns, one_thread
from trtlab.lab import find

if TYPE_CHECKING:
    from trtlab.engine.glassbox import Engine, ExecutionContext, Stream

Arrays = dict[str, npt.NDArray[Any]]
FED, ANSWERED = "in/", "out/"  # in a file of arrays, before the names of inputs and outputs
PROGRAM = """import json, sys
from trtlab.lab import life
print(json.dumps(getattr(life, sys.argv[1])(*sys.argv[2:])))"""
PACKAGES = ("torch", "numba", "onnxruntime")
REQUESTS = 16


class Phase(enum.Enum):
    """What is timed. The value is the name that is shown. START to FIRST are timed in fresh processes, as BUILD is.
    TUNE, and torch eager, stand in recordings of a GPU alone."""

    BUILD = "build"
    START = "import torch"
    TUNE = "load, and time tactics"
    LOAD = "load"
    CONTEXT = "create context"
    FIRST = "first run"
    RUN = "run"
    KERNELS = "kernels alone"
    CALL = "enqueue returns"
    DONE = "enqueue, then synchronise"
    ONE = "one context, one stream"
    TWO = "two contexts, two streams"
    ORT = "ONNX Runtime"
    EAGER = "torch eager"
    CHANNELS_LAST = "torch eager, channels last"


@dataclass(frozen=True, kw_only=True)
class Life:
    """One engine. `error` is the largest difference from ONNX Runtime in FP32, over the largest output. Everything runs
    on one thread of the host."""

    network: str
    device: str
    precision: str
    plan_bytes: int
    error: float
    times: Mapping[Phase, Measurement]

    def seconds(self, phase: Phase) -> float:
        """The median of a phase. KeyError says what was timed."""
        return find(self.times.values(), name=phase.value).median_s

    @property
    def rebuild_s(self) -> float:
        """From a model to an engine with its tactics timed: the build, and the first load where that timed them."""
        return sum(self.seconds(phase) for phase in (Phase.BUILD, Phase.TUNE) if phase in self.times)

    @property
    def provenance(self) -> Provenance:
        """That of the runs; a build may have its own."""
        return self.times[Phase.RUN].provenance


def load(name: str = "h100") -> dict[str, Life]:
    """Recorded lives by network, of the "h100" or of a "cpu". RecordingMissing when there are none of that name."""
    return {life.network: life for life in recordings.load(tuple[Life, ...], f"life-{name}")}


# --- processes of their own -------------------------------------------------------------------------------------------


def fresh(work: str, *arguments: Any, **environment: str) -> dict[Phase, float]:
    """`build` or `serve` in a new Python process, on one thread. RuntimeError with its last words if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-c", PROGRAM, work, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{work}{arguments} failed in its process, expected times. Read why: {done.stderr[-800:]}")
    return {Phase(name): seconds for name, seconds in json.loads(done.stdout.splitlines()[-1]).items()}


def build(network: str, folder: str) -> dict[str, float]:
    """Writes NETWORK.plan, and NETWORK.npz with inputs and ONNX Runtime's answers. The export is not timed."""
    from trtlab.engine import glassbox
    from trtlab.engine.ort import OrtSession
    from trtlab.lab import builds

    model, times, rng = builds.network(network), dict[str, float](), np.random.default_rng(0)
    session = OrtSession(model)
    with _clock(times, Phase.BUILD):
        engine = glassbox.build(model)
    engine.save(Path(folder) / f"{network}.plan")
    feeds = {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in engine.inputs.items()}
    write_arrays(Path(folder) / f"{network}.npz", {FED: feeds, ANSWERED: session.run(feeds)})
    return times


def serve(plan: str, asked: str, answered: str) -> dict[str, float]:
    """The runtime half, in a process that never saw the model: a plan and inputs in, outputs out."""
    times = dict[str, float]()
    with _clock(times, Phase.START):
        from trtlab.engine.glassbox import load
    with _clock(times, Phase.LOAD):
        engine = load(plan)
    with _clock(times, Phase.CONTEXT):
        context = engine.create_execution_context()
    feeds = read_arrays(asked, FED)
    with _clock(times, Phase.FIRST):
        outputs = context.run(feeds)
    if "onnx" in sys.modules:
        raise RuntimeError("onnx was loaded: expected numpy and torch alone; find that import")
    write_arrays(answered, {ANSWERED: outputs})
    return times


@contextmanager
def _clock(times: dict[str, float], phase: Phase) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times[phase.value] = time.perf_counter() - started


def write_arrays(path: str | Path, groups: Mapping[str, Arrays]) -> None:
    """One file of arrays; each group has a prefix before its names."""
    values: dict[str, Any] = {prefix + name: value for prefix, group in groups.items() for name, value in group.items()}
    np.savez(path, **values)


def read_arrays(path: str | Path, prefix: str) -> Arrays:
    """One group of such a file."""
    with np.load(path) as file:
        return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_life(network: str, folder: str | Path, *, samples: int = 9) -> Life:
    """Built in one process, served in another, then run here, on one thread; its files stay in the folder."""
    from trtlab.engine import glassbox

    plan, arrays, answered = (Path(folder) / f"{network}{end}" for end in (".plan", ".npz", "-served.npz"))
    taken = fresh("build", network, folder) | fresh("serve", plan, arrays, answered)
    feeds, expected, found = (
        read_arrays(*file) for file in ((arrays, FED), (arrays, ANSWERED), (answered, ANSWERED))
    )  # fmt: skip
    with one_thread():
        engine = glassbox.load(plan)
        times = {phase: _measured(phase, (seconds,)) for phase, seconds in taken.items()}
        times |= _steady(engine, network, feeds, samples)
    return Life(
        network=network, device="cpu", precision=engine.plan.precision, plan_bytes=plan.stat().st_size,
        error=largest_error(found, expected), times=times,
    )  # fmt: skip


def _measured(phase: Phase, samples_s: tuple[float, ...]) -> Measurement:
    made = live(PACKAGES, samples=len(samples_s))
    return Measurement(name=phase.value, samples_s=samples_s, calls=1, clock=HOST_CLOCK, provenance=made)


def _steady(engine: "Engine", network: str, feeds: Arrays, samples: int) -> dict[Phase, Measurement]:
    """What a warm engine takes, in turns with ONNX Runtime."""
    from trtlab.engine.ort import OrtSession
    from trtlab.lab import builds

    context, session = engine.create_execution_context(), OrtSession(builds.network(network), threads=1)
    works: dict[str, Callable[[], Any]] = {
        Phase.RUN.value: lambda: context.run(feeds), Phase.ORT.value: lambda: session.run(feeds),
        Phase.ONE.value: _requests(engine, feeds, 1), Phase.TWO.value: _requests(engine, feeds, 2),
    }  # fmt: skip
    turns = measure_in_turns(works, samples=samples, sample_s=2e-2, budget_s=4.0, packages=PACKAGES)
    found = {Phase(name): taken for name, taken in turns.items()}
    for phase in (Phase.ONE, Phase.TWO):
        found[phase] = replace(found[phase], samples_s=tuple(s / REQUESTS for s in found[phase].samples_s))
    stream = engine.device.new_stream()
    returned, done = zip(*[_moments(context, feeds, stream) for _ in range(samples + 3)][3:], strict=True)
    kernels = tuple(sum(context.profile(feeds)) / 1e6 for _ in range(samples))
    rest = {Phase.CALL: returned, Phase.DONE: done, Phase.KERNELS: kernels}
    return found | {phase: _measured(phase, taken) for phase, taken in rest.items()}


def _requests(engine: "Engine", feeds: Arrays, lanes: int) -> Callable[[], None]:
    """Sixteen requests, dealt out to so many contexts, each with a stream of its own."""
    pairs = [(engine.create_execution_context(), engine.device.new_stream()) for _ in range(lanes)]

    def work() -> None:
        for context, stream in pairs * (REQUESTS // lanes):
            context.enqueue(feeds, {}, stream)
        for _, stream in pairs:
            stream.synchronize()

    return work


def _moments(context: "ExecutionContext", feeds: Arrays, stream: "Stream") -> tuple[float, float]:
    """When `enqueue` returned, and when the results were there; both counted from the call."""
    started = time.perf_counter()
    context.enqueue(feeds, {}, stream)
    returned = time.perf_counter()
    stream.synchronize()
    return returned - started, time.perf_counter() - started


def profile(context: "ExecutionContext", feeds: Arrays, repeats: int = 10) -> tuple[list[KernelTime], Provenance]:
    """What `engine.inspect()` says, each kernel with its median time in this context; and where the times are from."""
    found = zip(context.engine.inspect(), context.profile(feeds, repeats), strict=True)
    made = live(PACKAGES, samples=repeats, device=context.engine.device.description().get("gpu"))
    return [replace(kernel, time_us=us) for kernel, us in found], made


def largest_error(found: Arrays, expected: Arrays) -> float:
    """The largest difference in any output, over the largest number of that output."""
    return max(float(np.abs(found[name] - right).max() / np.abs(right).max()) for name, right in expected.items())
