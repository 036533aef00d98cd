"""lab/life: the life of a glass-box engine in numbers: build, load in a fresh process, run, enqueue.

In: networks by name. Out: a frozen `Life` for each: times, and how far the answers are from ONNX Runtime's in FP32;
live or recorded by tools/life_meter.py. `build` and `serve`, the two halves of the workflow, run in Python
processes of their own, where nothing is warm; `serve` needs numpy and torch alone (and triton on CUDA): it never sees
the model, nor onnx.
"""

import enum
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
PACKAGES = {"cpu": ("torch", "numba", "onnxruntime"), "cuda": ("torch", "triton")}
REQUESTS = 16


class Phase(enum.Enum):
    """What is timed. The value is the name that is shown. START to FIRST are timed in fresh processes, as BUILD is."""

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


Works = dict[Phase, Callable[[], Any]]


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


def build(network: str, folder: str, device: str = "cpu", precision: str = "FP32") -> dict[str, float]:
    """Writes NETWORK.plan, and NETWORK.npz with inputs and ONNX Runtime's answers. The export is not timed."""
    from trtlab.engine import glassbox
    from trtlab.engine.ort import OrtSession
    from trtlab.lab import builds

    model, times, rng = builds.network(network), dict[str, float](), np.random.default_rng(0)
    build_engine, session = glassbox.build, OrtSession(model)
    with _clock(times, Phase.BUILD):
        engine = build_engine(model, device, precision=precision)
    engine.save(Path(folder) / f"{network}.plan")
    feeds = {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in engine.inputs.items()}
    write_arrays(Path(folder) / f"{network}.npz", {FED: feeds, ANSWERED: session.run(feeds)})
    return times


def serve(plan: str, asked: str, answered: str) -> dict[str, float]:
    """The runtime half, in a process that never saw the model: a plan and inputs in, outputs out."""
    times = dict[str, float]()
    with _clock(times, Phase.START):
        import torch

        from trtlab.engine.glassbox import load

        if torch.cuda.is_available():
            torch.zeros(1, device="cuda")  # wakes it up
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


def build_all(
    networks: Sequence[str], folder: Path, device: str = "cpu", precision: str = "FP32", processes: int = 1
) -> None:
    """Each network in processes of its own; NETWORK.json keeps how long that took."""
    for network in networks:
        rows = [fresh("build", network, folder, device, precision) for _ in range(processes)]
        taken = _measured(Phase.BUILD, [row[Phase.BUILD] for row in rows], live(("torch", "onnx")))
        text = json.dumps(recordings.converter().unstructure(taken))
        (folder / f"{network}.json").write_text(text, encoding="utf-8")


def measure_life(plan: Path, *, processes: int = 1, samples: int = 9) -> Life:
    """The life of the engine in a file that `build_all` wrote, on the device that it is for."""
    built = recordings.read(Measurement, plan.with_suffix(".json").read_text("utf-8"))
    feeds, expected = (read_arrays(plan.with_suffix(".npz"), prefix) for prefix in (FED, ANSWERED))
    with tempfile.TemporaryDirectory() as name, one_thread():
        tuned, answered = Path(name) / "tuned.plan", Path(name) / "answers.npz"
        engine, starts = _starts(plan, tuned, answered, processes)
        made = _made(engine, samples)
        times = [built, *(_measured(phase, taken, made) for phase, taken in starts.items())]
        times += _steady(engine, plan.stem, feeds, samples, made)
        return Life(
            network=plan.stem, device=engine.plan.device, precision=engine.plan.precision,
            plan_bytes=tuned.stat().st_size, error=largest_error(read_arrays(answered, ANSWERED), expected),
            times={Phase(taken.name): taken for taken in times},
        )  # fmt: skip


def _starts(plan: Path, tuned: Path, answered: Path, processes: int) -> "tuple[Engine, dict[Phase, list[float]]]":
    """The engine, loaded only after others have started cold, and seconds of each phase of their starts. A plan without
    tactics has them timed by those loads; the plan saved then knows the fastest ones."""
    from trtlab.engine import glassbox

    asked, cache = plan.with_suffix(".npz"), tuned.parent
    rows = [fresh("serve", plan, asked, answered, TRITON_CACHE_DIR=f"{cache}/{i}") for i in range(processes)]
    engine = glassbox.load(plan)
    engine.save(tuned)
    if engine.plan.races:  # it was tuned by loading it
        again = [fresh("serve", tuned, asked, answered) for _ in range(processes)]
        rows = [new | {Phase.TUNE: old[Phase.LOAD]} for new, old in zip(again, rows, strict=True)]
    return engine, {phase: [row[phase] for row in rows] for phase in rows[0]}


def profile(context: "ExecutionContext", feeds: Arrays, repeats: int = 10) -> "tuple[list[KernelTime], Provenance]":
    """What `engine.inspect()` says, each kernel with its median time in this context; and where the times are from."""
    found = zip(context.engine.inspect(), context.profile(feeds, repeats), strict=True)
    return [replace(kernel, time_us=us) for kernel, us in found], _made(context.engine, repeats)


def _made(engine: "Engine", samples: int) -> Provenance:
    import torch

    device = engine.plan.device
    name = torch.cuda.get_device_name() if device == "cuda" else None
    return live(PACKAGES[device], samples=samples, device=name)


def largest_error(found: Arrays, expected: Arrays) -> float:
    """The largest difference in any output, over the largest number of that output."""
    return max(float(np.abs(found[name] - right).max() / np.abs(right).max()) for name, right in expected.items())


def _measured(phase: Phase, samples_s: Sequence[float], made: Provenance) -> Measurement:
    made = replace(made, samples=len(samples_s))
    return Measurement(name=phase.value, samples_s=tuple(samples_s), calls=1, clock=HOST_CLOCK, provenance=made)


def _steady(engine: "Engine", network: str, feeds: Arrays, samples: int, made: Provenance) -> list[Measurement]:
    """What a warm engine takes, in turns with its peers."""
    context, stream = engine.create_execution_context(), engine.device.new_stream()
    works: Works = {
        Phase.RUN: lambda: context.run(feeds), Phase.ONE: _requests(engine, feeds, 1),
        Phase.TWO: _requests(engine, feeds, 2), **_peers(engine, network, feeds),
    }  # fmt: skip
    graph: Any = getattr(context._run, "graph", None)
    if graph is not None:  # a tensor of the GPU in the answer has CUDA events keep the time
        works[Phase.KERNELS] = lambda: (graph.replay(), context._arena)
    found = measure_in_turns({p.value: w for p, w in works.items()}, samples=samples, sample_s=2e-2, budget_s=4.0)
    for name in (Phase.ONE.value, Phase.TWO.value):
        found[name] = replace(found[name], samples_s=tuple(s / REQUESTS for s in found[name].samples_s))
    returned, done = zip(*[_moments(context, feeds, stream) for _ in range(samples + 3)][3:], strict=True)
    rest = {Phase.CALL: returned, Phase.DONE: done}
    if graph is None:
        rest[Phase.KERNELS] = tuple(sum(context.profile(feeds)) / 1e6 for _ in range(samples))
    timed = [replace(m, provenance=replace(made, samples=len(m.samples_s))) for m in found.values()]
    return timed + [_measured(phase, taken, made) for phase, taken in rest.items()]


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


def _peers(engine: "Engine", network: str, feeds: Arrays) -> Works:
    """ONNX Runtime on a CPU; on a GPU our torch code, if it draws its weights itself: what it computes stays there."""
    if engine.plan.device == "cpu":
        from trtlab.engine.ort import OrtSession
        from trtlab.lab import builds

        session = OrtSession(builds.network(network), threads=1)
        return {Phase.ORT: lambda: session.run(feeds)}
    import torch

    from trtlab.engine.networks import MODELS

    layouts = {Phase.EAGER: torch.contiguous_format, Phase.CHANNELS_LAST: torch.channels_last}
    works, dtype = Works(), torch.float16 if engine.plan.precision == "FP16" else torch.float32
    for phase, layout in layouts.items() if network in MODELS and not MODELS[network].trained else ():
        module, (x,) = MODELS[network].make(), map(torch.from_numpy, feeds.values())
        if x.ndim == 4 or phase is Phase.EAGER:
            to: dict[str, Any] = {"device": "cuda", "dtype": dtype, "memory_format": layout}
            works[phase] = functools.partial(torch.inference_mode()(module.to(**to)), x.to(**to))
    return works
