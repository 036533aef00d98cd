"""lab/streams: what several streams gain, predicted from operations timed alone, and measured.

In: kernels and copies with their times alone. Out: the `Operation`s of a pipeline and of branches, which plan/streams
turns into a timeline; the recordings `streams-h100`, `Case`s with prediction and samples, and `transfers-h100`, what
copies cost.
"""

import statistics
from dataclasses import dataclass
from typing import Any

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance
from trtlab.lab import find
from trtlab.plan.streams import COPY_IN, COPY_OUT, Operation, Timeline, limits, run


@dataclass(frozen=True, kw_only=True)
class Alone:
    """A kernel by itself: seconds, and the part of the GPU that its blocks fill."""

    name: str
    duration_s: float
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scenario: what was issued, and how long it took from the first issue to the last end, each time."""

    name: str
    topic: str
    streams: int
    operations: tuple[Operation, ...]
    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s)

    @property
    def timeline(self) -> Timeline:
        return run(self.operations)

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.timeline.total_s / self.median_s - 1

    @property
    def limit(self) -> str:
        """What keeps the prediction from being shorter: the largest of `limits`."""
        found = limits(self.operations)
        return max(found, key=lambda name: found[name])


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Requests to one engine of `batch` samples over so many contexts: samples a second, and the latency of each
    request from issue to answer, in seconds. `memory_bytes` is what the contexts hold."""

    batch: int
    contexts: int
    samples_per_s: float
    latencies_s: tuple[float, ...]
    memory_bytes: int

    def percentile(self, part: float) -> float:
        """The latency that so many of the requests (0 to 1) stay under."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


@dataclass(frozen=True, kw_only=True)
class StreamRuns:
    """All cases and all serving of one run on a GPU."""

    network: str
    cases: tuple[Case, ...]
    servings: tuple[Serving, ...]
    provenance: Provenance

    def case(self, name: str) -> Case:
        """KeyError says which there are."""
        return find(self.cases, name=name)


def load(gpu: str = "h100") -> StreamRuns:
    """The recording of a GPU. RecordingMissing when there is none."""
    return recordings.load(StreamRuns, f"streams-{gpu}")


# --- copies -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Median bandwidth of one direction and kind of host memory, in bytes per second."""

    direction: str
    pinned: bool
    size_bytes: int
    bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """`stale_reads` of `trials` reads before synchronising saw old data; `fresh_reads` of `trials` after. `call_s` is
    how long an asynchronous launch holds the caller, `total_s` how long its work takes (medians)."""

    copies: tuple[Copy, ...]
    trials: int
    stale_reads: int
    fresh_reads: int
    call_s: float
    total_s: float
    provenance: Provenance

    def bandwidth(self, direction: str, *, pinned: bool, size_bytes: int) -> float:
        """Bytes per second of one measured copy; KeyError names what was measured."""
        return find(self.copies, direction=direction, pinned=pinned, size_bytes=size_bytes).bytes_per_s


def load_transfers(gpu: str = "h100") -> Transfers:
    """What copies cost, recorded on a GPU. RecordingMissing when there is none."""
    return recordings.load(Transfers, f"transfers-{gpu}")


# --- scenarios --------------------------------------------------------------------------------------------------------


def pipeline(
    copy_in_s: float, kernel: Alone, copy_out_s: float, *, chunks: int, streams: int, issue_s: float = 0.0
) -> tuple[Operation, ...]:  # fmt: skip
    """Copy in, compute, copy out, chunk by chunk over streams, from pinned memory: the host waits for none of them."""
    found = list[Operation]()
    for chunk in range(chunks):
        name = f"chunk {chunk}"
        where: dict[str, Any] = {"stream": str(chunk % streams), "issue_s": issue_s}
        found += [
            Operation(name=f"{name} in", duration_s=copy_in_s, engine=COPY_IN, **where),
            Operation(name=f"{name} {kernel.name}", duration_s=kernel.duration_s, share=kernel.share, **where),
            Operation(name=f"{name} out", duration_s=copy_out_s, engine=COPY_OUT, **where),
        ]
    return tuple(found)


def branches(kernel: Alone, *, count: int, length: int, issue_s: float = 0.0) -> tuple[Operation, ...]:
    """A fork into so many chains of kernels, each on a stream, and the join: the kernel that follows waits for all."""
    alone: dict[str, Any] = {"duration_s": kernel.duration_s, "share": kernel.share, "issue_s": issue_s}
    found = [Operation(name="fork", **alone)]
    for branch in range(count):
        for k in range(length):
            after = () if k else ("fork",)
            found.append(Operation(name=f"branch {branch} {kernel.name} {k}", stream=str(branch), after=after, **alone))
    ends = tuple(f"branch {branch} {kernel.name} {length - 1}" for branch in range(count))
    return (*found, Operation(name="join", after=ends, **alone))
