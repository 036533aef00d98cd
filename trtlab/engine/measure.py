"""engine/measure: where a number comes from, and how long something takes.

In: a device description, versions, functions without arguments. Out: frozen values: `Provenance`, which every report,
recording and figure prints; `Measurement`, which keeps every sample and knows its clock; `Ratio` of a benchmark. Work
on a GPU returns before it is done, so there CUDA events keep the time. torch is loaded only where a result is on one.
"""

import datetime
import enum
import functools
import importlib.metadata
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

CUDA_EVENTS, HOST_CLOCK = "CUDA events", "perf_counter"
LEAST_ROUNDS = 5


class Origin(enum.Enum):
    """LIVE: produced by this machine when the cell ran. RECORDED: read from a file, made earlier by a command that the
    file names. SIMULATED: computed from a model of a device, not observed on one."""

    LIVE = "LIVE"
    RECORDED = "RECORDED"
    SIMULATED = "SIMULATED"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a reader needs to trust a number, or to make it again.

    `when` is UTC, ISO 8601. `versions` holds (package, version) pairs. `samples` counts repetitions behind the number.
    """

    origin: Origin
    device: str
    when: str
    versions: tuple[tuple[str, str], ...] = ()
    samples: int = 1
    command: str | None = None

    def line(self) -> str:
        """One line for the foot of a figure: `LIVE on 2 cores of ..., 2026-11-22, tensorrt_rtx 1.7.1, 1 sample`."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions)
        samples = f"{self.samples} sample" + ("" if self.samples == 1 else "s")
        return ", ".join(filter(None, [f"{self.origin.value} on {self.device}", self.when[:10], versions, samples]))


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """One kernel of the glass box: the ONNX nodes merged into it, its tactic, tensors in words, and its time: what its
    builder measured, or its median while the network runs."""

    name: str
    onnx_nodes: tuple[str, ...]
    tactic: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    time_us: float


def describe_machine() -> str:
    """`AMD EPYC 9B14, 2 cores`: the processor that LIVE CPU numbers were made on."""
    return f"{processor_name()}, {usable_cores()} cores"


def cpu_facts() -> dict[str, str]:
    """What Linux says of the first core, by name; empty elsewhere."""
    facts, path = dict[str, str](), Path("/proc/cpuinfo")
    for line in path.read_text("utf-8").partition("\n\n")[0].splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    return facts


@functools.cache
def processor_name() -> str:
    """The marketing name where the system tells it, else the architecture (`arm64`)."""
    return cpu_facts().get("model name") or platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name()


def usable_cores() -> int:
    """Cores this process may run on; containers often allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_version(package: str) -> str | None:
    """The installed version of a distribution, or None; imports nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def live(packages: Iterable[str] = (), *, samples: int = 1, device: str | None = None) -> Provenance:
    """Provenance of something made on this machine, now. `packages` are the distributions whose versions matter."""
    versions = tuple((name, version) for name in packages if (version := installed_version(name)) is not None)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Provenance(
        origin=Origin.LIVE, device=device or describe_machine(), when=now, versions=versions, samples=samples
    )


def merged(parts: Iterable[Provenance]) -> tuple[Provenance, ...]:
    """One provenance for each origin, device and day among `parts`, with the versions of all of them."""
    found: dict[tuple[Origin, str, str], Provenance] = {}
    for part in parts:
        key = (part.origin, part.device, part.when[:10])
        known = found.get(key, part)
        found[key] = replace(known, versions=tuple(dict.fromkeys(known.versions + part.versions)))
    return tuple(found.values())


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Seconds for one call. Each sample is the mean of `calls` calls made back to back, after some that are not timed:
    caches are warm, and a GPU is never waiting for the first launch."""

    name: str
    samples_s: tuple[float, ...]
    calls: int
    clock: str
    provenance: Provenance

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s)

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """A quarter of the samples is below the first, a quarter above the second: the spread."""
        if len(self.samples_s) == 1:
            return self.samples_s[0], self.samples_s[0]
        low, _, high = statistics.quantiles(self.samples_s, method="inclusive")
        return low, high

    def ratio_to(self, other: "Measurement") -> float:
        """How many times as long this takes: the median of the ratios of the rounds of `measure_in_turns` in which both
        took turns. ValueError where they cannot have."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.samples_s, other.samples_s, strict=True))


def measure(work: Callable[[], Any], *, name: str = "", **how: Any) -> Measurement:
    """How long `work()` takes. The options are those of `measure_in_turns`.

    >>> measure(lambda: sorted(range(1000)), name="sort").median_s
    """
    (found,) = measure_in_turns({name or getattr(work, "__name__", "work"): work}, **how).values()
    return found


def measure_in_turns(
    works: Mapping[str, Callable[[], Any]], *, warm_up: int = 3, samples: int = 15, sample_s: float = 1e-3,
    budget_s: float = 1.0, packages: Iterable[str] = (),
) -> dict[str, Measurement]:  # fmt: skip
    """Each work once a round, in an order drawn anew: what slows the machine down for a while then hits all of them,
    and their ratios stay right. A sample lasts `sample_s` or one call. After `budget_s` for each work, rounds end, but
    not before five. ValueError if there is nothing to measure. `packages` are those whose versions matter."""
    if not works or samples < 1 or warm_up < 1:
        raise ValueError(
            f"nothing to measure: got {len(works)} works, samples={samples}, warm_up={warm_up}; expected at least 1"
        )
    clocks = {name: _warmed_up(work, warm_up) for name, work in works.items()}
    seconds = {name: functools.partial(_SECONDS[clocks[name]], work) for name, work in works.items()}
    calls = {name: max(1, math.ceil(sample_s / max(taken(1), 1e-9))) for name, taken in seconds.items()}
    order, begun, rounds = random.Random(0), time.perf_counter(), list[dict[str, float]]()
    while len(rounds) < samples:
        turns = order.sample(list(works), len(works))
        rounds.append({name: seconds[name](calls[name]) / calls[name] for name in turns})
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - begun > budget_s * len(works):
            break
    return {
        name: Measurement(
            name=name,
            samples_s=tuple(taken[name] for taken in rounds),
            calls=calls[name],
            clock=clock,
            provenance=live(packages, samples=len(rounds), device=_gpu() if clock == CUDA_EVENTS else None),
        )
        for name, clock in clocks.items()
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, as numpy and our kernels are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _warmed_up(work: Callable[[], Any], warm_up: int) -> str:
    """The clock for a work, by where its result lies, once it ran so often."""
    result: Any = None
    for _ in range(warm_up):
        result = work()
    parts = result if isinstance(result, list | tuple) else [result]
    return CUDA_EVENTS if any(getattr(part, "is_cuda", False) for part in parts) else HOST_CLOCK


def _by_host(work: Callable[[], Any], calls: int) -> float:
    for _ in range(min(calls - 1, max(1, calls // 4))):
        work()
    started = time.perf_counter()
    for _ in range(calls):
        work()
    return time.perf_counter() - started


def _by_events(work: Callable[[], Any], calls: int) -> float:
    """From the moment the GPU comes to the first event, behind calls that are not timed, to when it comes to the
    second. Where the host is the slower one, this is the host's time for its launches."""
    import torch

    first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    for _ in range(max(1, calls // 4)):
        work()
    first.record()
    for _ in range(calls):
        work()
    second.record()
    second.synchronize()
    return first.elapsed_time(second) / 1e3


_SECONDS = {HOST_CLOCK: _by_host, CUDA_EVENTS: _by_events}
"""Seconds of so many calls back to back, by one of the two clocks."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A measured value. `bound` is the target; `unit` is empty for a ratio against `peer`; small is good by default."""

    name: str
    what: str
    value: float
    bound: float
    peer: str
    provenance: Provenance
    unit: str = ""
    larger_is_better: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.larger_is_better else self.value <= self.bound

    @property
    def shown_value(self) -> str:
        return f"{self.value:.3g}{' ' + self.unit if self.unit else 'x'}"

    @property
    def target(self) -> str:
        return f"{'>=' if self.larger_is_better else '<='} {self.bound:g}{' ' + self.unit if self.unit else 'x'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self) | {"target": self.target, "met": self.met}
        values["provenance"]["origin"] = self.provenance.origin.value
        return values
