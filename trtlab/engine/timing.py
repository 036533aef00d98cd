"""engine/timing: how long does it take? A `Measurement` keeps every sample, and knows clock, device and versions.

In: functions without arguments. Out: a frozen `Measurement` for each. Work on a GPU returns before it is done, so there
CUDA events keep the time. Nothing heavy is imported: torch only where a result lies on a GPU.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trtlab.engine import provenance
from trtlab.engine.provenance import Provenance

CUDA_EVENTS, HOST_CLOCK = "CUDA events", "perf_counter"
LEAST_ROUNDS = 5


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
        """How many times as long this takes: the median of the ratios of the rounds in which both took turns.
        ValueError where they cannot have."""
        if len(self.samples_s) != len(other.samples_s):
            raise ValueError(
                f"{self.name} has {len(self.samples_s)} samples and {other.name} {len(other.samples_s)}: expected two"
                " of one run of measure_in_turns; divide the medians of others"
            )
        return statistics.median(mine / theirs for mine, theirs in zip(self.samples_s, other.samples_s, strict=True))

    def __str__(self) -> str:
        low, high = self.quartiles_s
        return (
            f"{self.name}: {self.median_s * 1e6:,.4g} us (quartiles {low * 1e6:,.4g} to {high * 1e6:,.4g};"
            f" {len(self.samples_s)} samples of {self.calls} calls, {self.clock})"
        )


def measure(work: Callable[[], Any], *, name: str = "", **how: Any) -> Measurement:
    """How long `work()` takes. The options are those of `measure_in_turns`.

    >>> print(measure(lambda: sorted(range(1000)), name="sort"))
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
    timers = {name: _timer(work, warm_up) for name, work in works.items()}
    calls = {name: max(1, math.ceil(sample_s / max(timer(1), 1e-9))) for name, timer in timers.items()}
    order, begun, rounds = random.Random(0), time.perf_counter(), list[dict[str, float]]()
    while len(rounds) < samples:
        turns = order.sample(list(works), len(works))
        rounds.append({name: timers[name](calls[name]) / calls[name] for name in turns})
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - begun > budget_s * len(works):
            break
    return {
        name: Measurement(
            name=name,
            samples_s=tuple(taken[name] for taken in rounds),
            calls=calls[name],
            clock=timer.clock,
            provenance=provenance.live(packages, samples=len(rounds), device=timer.device()),
        )
        for name, timer in timers.items()
    }


def _timer(work: Callable[[], Any], warm_up: int) -> "_Timer":
    """Warm `work` up, and choose the clock by where its result lies."""
    result: Any = None
    for _ in range(warm_up):
        result = work()
    parts = result if isinstance(result, list | tuple) else [result]
    return _Timer(work, CUDA_EVENTS if any(getattr(part, "is_cuda", False) for part in parts) else HOST_CLOCK)


@dataclass(frozen=True)
class _Timer:
    """Seconds of so many calls back to back, by one of the two clocks."""

    work: Callable[[], Any]
    clock: str

    def __call__(self, calls: int) -> float:
        return self._by_events(calls) if self.clock == CUDA_EVENTS else self._by_host(calls)

    def _by_host(self, calls: int) -> float:
        work = self.work
        for _ in range(min(calls - 1, max(1, calls // 4))):
            work()
        started = time.perf_counter()
        for _ in range(calls):
            work()
        return time.perf_counter() - started

    def _by_events(self, calls: int) -> float:
        """From the moment the GPU comes to the first event, behind calls that are not timed, to when it comes to the
        second. Where the host is the slower one, this is the host's time for its launches."""
        import torch

        first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        for _ in range(max(1, calls // 4)):
            self.work()
        first.record()
        for _ in range(calls):
            self.work()
        second.record()
        second.synchronize()
        return first.elapsed_time(second) / 1e3

    def device(self) -> str | None:
        """The GPU's name; None for this machine's processor."""
        if self.clock == HOST_CLOCK:
            return None
        import torch

        return torch.cuda.get_device_name()
