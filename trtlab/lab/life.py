"""lab/life: the life of a glass-box engine in numbers: build, load in a fresh process, run, enqueue.

In: networks by name. Out: a frozen `Life` for each: times, kernels, and how far the answers are from ONNX Runtime's in
FP32; live or recorded. Built where onnx is; measured where the device is, with numpy, torch and cattrs (and triton on
CUDA):
    python -m trtlab.lab.life build --device cuda --precision FP16 --out FOLDER resnet18 transformer
    python -m trtlab.lab.life run FOLDER
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.engine import recordings
from trtlab.engine.measure import HOST_CLOCK, Measurement, Provenance, device_name, live, measure_in_turns, one_thread
from trtlab.lab.processes import ANSWERED, FED, Arrays, Phase, fresh, read_arrays

if TYPE_CHECKING:
    from trtlab.engine.glassbox import Engine, ExecutionContext, Stream

COMMAND = "python -m trtlab.lab.life"
PACKAGES = {"cpu": ("torch", "numba", "onnxruntime"), "cuda": ("torch", "triton")}
REQUESTS = 16
Works = dict[Phase, Callable[[], Any]]


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """What `engine.inspect()` says of one kernel; `time_us` is its median while the network runs."""

    name: str
    onnx_nodes: tuple[str, ...]
    tactic: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    time_us: float


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
    kernels: tuple[KernelTime, ...]

    def seconds(self, phase: Phase) -> float:
        """The median of a phase. KeyError says what was timed."""
        if phase not in self.times:
            raise KeyError(f"no {phase.value!r} of {self.network}; there are {', '.join(p.value for p in self.times)}")
        return self.times[phase].median_s

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


# --- measuring --------------------------------------------------------------------------------------------------------


def build_all(
    networks: Sequence[str], folder: Path, device: str = "cpu", precision: str = "FP32", processes: int = 1
) -> None:
    """Each network in processes of its own; NETWORK.json keeps how long that took."""
    from cattrs.preconf.json import make_converter

    for network in networks:
        rows = [fresh("build", network, folder, device, precision) for _ in range(processes)]
        taken = _measured(Phase.BUILD, [row[Phase.BUILD] for row in rows], live(("torch", "onnx")))
        (folder / f"{network}.json").write_text(make_converter().dumps(taken), encoding="utf-8")


def measure_life(plan: Path, *, processes: int = 1, samples: int = 9) -> Life:
    """The life of the engine in a file that `build_all` wrote, on the device that it is for."""
    from cattrs.preconf.json import make_converter

    built = make_converter().loads(plan.with_suffix(".json").read_text("utf-8"), Measurement)
    feeds, expected = (read_arrays(plan.with_suffix(".npz"), prefix) for prefix in (FED, ANSWERED))
    with tempfile.TemporaryDirectory() as name, one_thread():
        tuned, answered = Path(name) / "tuned.plan", Path(name) / "answers.npz"
        engine, starts = _starts(plan, tuned, answered, processes)
        kernels, made = profile(engine.create_execution_context(), feeds, samples)
        times = [built, *(_measured(phase, taken, made) for phase, taken in starts.items())]
        times += _steady(engine, plan.stem, feeds, samples, made)
        return Life(
            network=plan.stem, device=engine.plan.device, precision=engine.plan.precision,
            plan_bytes=tuned.stat().st_size,
            error=largest_error(read_arrays(answered, ANSWERED), expected),
            times={Phase(taken.name): taken for taken in times}, kernels=kernels,
        )  # fmt: skip


def _starts(plan: Path, tuned: Path, answered: Path, processes: int) -> "tuple[Engine, dict[Phase, list[float]]]":
    """The engine, loaded only after others have started cold, and seconds of each phase of their starts. A plan without
    tactics has them timed by those loads; the plan saved then knows the fastest ones."""
    from trtlab.engine import glassbox
    from trtlab.engine.glassbox.plan import load_plan

    asked, cache = plan.with_suffix(".npz"), tuned.parent
    rows = [fresh("serve", plan, asked, answered, TRITON_CACHE_DIR=f"{cache}/{i}") for i in range(processes)]
    engine = glassbox.load(plan)
    engine.save(tuned)
    if not load_plan(plan).is_tuned:
        again = [fresh("serve", tuned, asked, answered) for _ in range(processes)]
        rows = [new | {Phase.TUNE: old[Phase.LOAD]} for new, old in zip(again, rows, strict=True)]
    return engine, {phase: [row[phase] for row in rows] for phase in rows[0]}


def profile(context: "ExecutionContext", feeds: Arrays, repeats: int = 10) -> tuple[tuple[KernelTime, ...], Provenance]:
    """What `engine.inspect()` says, each kernel with its time in this context; and where the times are from."""
    import torch

    device, taken = context.engine.plan.device, context.profile(feeds, repeats)
    found = zip(context.engine.inspect(), taken, strict=True)
    kernels = tuple(KernelTime(**vars(kernel) | {"time_us": us}) for kernel, us in found)
    name = torch.cuda.get_device_name() if device == "cuda" else None
    return kernels, live(PACKAGES[device], samples=repeats, device=name)


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


# --- the recording ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Build plans with what belongs to them, or measure all in a folder and write the recording."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parts = parser.add_subparsers(dest="work", required=True)
    builds, runs = parts.add_parser("build"), parts.add_parser("run")
    builds.add_argument("networks", nargs="+")
    builds.add_argument("--device", choices=list(PACKAGES), default="cpu")
    builds.add_argument("--precision", default="FP32")
    builds.add_argument("--out", type=Path, required=True)
    runs.add_argument("folder", type=Path)
    for part in (builds, runs):
        part.add_argument("--processes", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.work == "build":
        options.out.mkdir(parents=True, exist_ok=True)
        build_all(options.networks, options.out, options.device, options.precision, options.processes)
        return
    if not (plans := sorted(options.folder.glob("*.plan"))):
        runs.error(f"no *.plan in {options.folder}: expected what this writes: {COMMAND} build NETWORK --out FOLDER")
    _record(plans, options.processes)


def _record(plans: Sequence[Path], processes: int) -> None:
    lives = tuple(measure_life(plan, processes=processes, samples=21) for plan in plans)
    place = device_name(lives[0].device)
    path = recordings.save(lives, f"life-{place}", f"{COMMAND} run {plans[0].parent.name}")
    for life in lives:
        print(f"{life.network} on {life.device} in {life.precision}: {life.plan_bytes:,} bytes, error {life.error:.1e}")
        print("\n".join(f"  {taken}" for taken in life.times.values()))
    print(path)


if __name__ == "__main__":
    main()
