"""study/truths/memory: what planners place and NVIDIA's builder plans, and what several streams gain: C64 to C69.

In: small models and buffers, arrays of this machine, the recording of lab/streams. Out: `Found`s.
"""

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from trtlab.engine.nvidia import explain
from trtlab.lab import builds, streams
from trtlab.plan.memory import Buffer, check_placement, lower_bound, place
from trtlab.plan.streams import on_one_stream, run
from trtlab.study import witnesses
from trtlab.study.found import Found, computed, seen
from trtlab.study.witnesses import listed, most

SIX = "a 4 0 3, b 2 1 4, c 3 2 5, d 4 4 7, e 2 3 6, f 1 5 8"
CHAINS, AUXILIARY = (2, 4, 8, 12), (0, 1, 3)
TENSOR_BYTES, RUNS = 64 * 256 * 256 * 4, 5
LENGTHS, RESERVED, PAGE = (100, 200, 400, 1300), 2048, 16


# --- placing ----------------------------------------------------------------------------------------------------------


def six_buffers() -> list[Buffer]:
    """Name, MiB, first step, step behind the last."""
    rows = [row.split() for row in SIX.split(", ")]
    return [Buffer(name, int(size) * 2**20, int(start), int(stop)) for name, size, start, stop in rows]


def six_tensors() -> Found:
    """The smallest arena of the six, in MiB; proved by the bound, and checked."""
    buffers = six_buffers()
    placed, bound = place(buffers), lower_bound(buffers)
    is_least = placed.peak_bytes == bound and not check_placement(buffers, placed)
    every = sum(buffer.size_bytes for buffer in buffers) / 2**20
    return computed(placed.peak_bytes / 2**20 if is_least else math.nan, bound=bound / 2**20, all=every)


def reserved_and_wasted() -> Found:
    """Per cent of a reservation that is never written, and of blocks."""
    mean = statistics.mean(LENGTHS)
    paged = statistics.mean(-n % PAGE for n in LENGTHS)
    wasted = 100 * (1 - mean / RESERVED)
    return computed(wasted, mean=mean, used=100 - wasted, paged=100 * paged / (mean + paged))


# --- what NVIDIA's builder plans --------------------------------------------------------------------------------------


def chain_of_softmaxes(length: int) -> onnx.ModelProto:
    """So many softmaxes of [64, 256, 256] in a chain, along axes 0 and 1 in turn: none can be fused with the next."""
    nodes = [f"t{n + 1} = Softmax <axis={n % 2}> (t{n})" for n in range(length)]
    shape = "float[64,256,256]"
    text = f'<ir_version: 8, opset_import: ["": 17]> chain ({shape} t0) => ({shape} t{length}) {{ {" ".join(nodes)} }}'
    return onnx.parser.parse_model(text)


@functools.cache
def memory_of_chains() -> Found:
    """Bytes of activations that tensorrt_rtx plans for each length of the chain: {length: bytes}."""
    reports = {n: explain(chain_of_softmaxes(n), "SM89", compiler="tensorrt_rtx") for n in CHAINS}
    return seen(reports[CHAINS[0]], {str(n): report.activation_bytes for n, report in reports.items()})


@functools.cache
def memory_with_auxiliary_streams() -> Found:
    """The same for three parallel convolutions: {auxiliary streams: [bytes, streams that kernels are on]}."""
    model = builds.model("wide_inception")
    reports = {n: explain(model, "SM89", max_aux_streams=n, compiler="tensorrt_rtx") for n in AUXILIARY}
    found = {str(n): [r.activation_bytes, len({k.stream for k in r.kernels})] for n, r in reports.items()}
    return seen(reports[0], found)


def memory_of_a_chain() -> Found:
    """Whether chains need about one tensor each, two, or all."""
    found = witnesses.built(memory_of_chains)
    rows = [(n, int(n) * TENSOR_BYTES, size) for n, size in found.value.items()]
    tensors = tuple(sorted({10 * size // TENSOR_BYTES / 10 for *_, size in rows}))
    value = {(1,): "one", (2,): "two", CHAINS: "all"}.get(tensors, listed(tensors))
    planned = ", ".join(f"{size / 2**20:.1f}" for *_, size in rows)
    return seen(found, value, rows, planned=planned, tensor=TENSOR_BYTES)


def memory_of_auxiliary_streams() -> Found:
    """Whether auxiliary streams need more memory, less, or as much."""
    found = witnesses.built(memory_with_auxiliary_streams)
    rows = [(n, on, size) for n, (size, on) in found.value.items()]
    sizes = [size for *_, size in rows]
    value = "same" if sizes[-1] == sizes[0] else "more" if sizes == sorted(sizes) else "less"
    planned = ", ".join(f"{size:,}" for size in sizes)
    return seen(found, value, rows, planned=planned, one=sizes[0], three=sizes[-1])


# --- what touching new memory costs -----------------------------------------------------------------------------------


def new_memory_is_touched_first() -> Found:
    a = np.ones(2**24, np.float32)
    kept = np.empty_like(a)
    fresh_faults, kept_faults = page_faults(lambda: np.add(a, a)), page_faults(lambda: np.add(a, a, out=kept))
    holds = fresh_faults > 8 * max(kept_faults, 1)
    return computed(holds, samples=RUNS, size=a.nbytes, fresh=fresh_faults, kept=kept_faults)


def page_faults(work: Callable[[], Any], runs: int = RUNS) -> int:
    """Page faults of one run, the least of several, after one that does not count."""
    import resource

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    work()
    found = []
    for _ in range(runs):
        before = faults()
        work()
        found.append(faults() - before)
    return min(found)


# --- several streams: a model, and what an H100 did -------------------------------------------------------------------


def three_requests() -> Found:
    """When the last of three requests is answered, in milliseconds."""
    kernel = streams.Alone(name="kernel", duration_s=3e-3)
    operations = streams.pipeline(2e-3, kernel, 1e-3, chunks=3, streams=3)
    total, serial = (round(run(each).total_s * 1e3, 6) for each in (operations, on_one_stream(operations)))
    return computed(total, serial=serial)


def longest(cases: Mapping[str, Sequence[str]]) -> Found:
    """What took longest, in milliseconds, or, of two cases, longest against the other one: {answer: cases}."""
    recorded = streams.load()
    taken = {answer: [recorded.case(name).median_s for name in names] for answer, names in cases.items()}
    return most(recorded, {answer: found[0] / (found[1] if found[1:] else 1e-3) for answer, found in taken.items()})


def best_throughput() -> Found:
    """Which of three ways answered most samples a second."""
    recorded = streams.load()
    rates = {(s.batch, s.contexts): s.samples_per_s for s in recorded.servings}
    return most(recorded, {f"batch {b} × {c}": rates[b, c] for b, c in ((32, 1), (1, 8), (1, 1))}, ",.0f")


def contexts_overlap() -> Found:
    recorded = streams.load()
    one, many = (recorded.case(f"16 requests on {n}") for n in (1, 4))
    facts = {"one": one.median_s * 1e3, "many": many.median_s * 1e3, "contexts": many.streams, "requests": 16}
    return seen(recorded, one.median_s > 1.5 * many.median_s, **facts)


def streams_help_small_batches() -> Found:
    recorded = streams.load()
    by = {(s.batch, s.contexts): s for s in recorded.servings}
    gain = {b: by[b, 8].samples_per_s / by[b, 1].samples_per_s for b in (1, 32)}
    wait = {b: by[b, 8].percentile(0.5) / by[b, 1].percentile(0.5) for b in (1, 32)}
    rows = [
        (s.batch, s.contexts, f"{s.samples_per_s:,.0f}", *(f"{s.percentile(p) * 1e6:.0f} µs" for p in (0.5, 0.99)),
         s.memory_bytes)
        for s in recorded.servings if s.batch in gain
    ]  # fmt: skip
    facts = {"small": gain[1], "large": gain[32], "small_wait": wait[1], "large_wait": wait[32]}
    return seen(recorded, gain[1] > 2 and gain[32] < 1.5 and min(wait.values()) > 1.5, rows, **facts)
