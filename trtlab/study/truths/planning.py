"""study/truths/planning: where kernels come from, who wins where, what planners place and NVIDIA's builder plans, and
what several streams gain: C59 to C69.

In: builds, small models and buffers, races and arrays of this machine, recordings of lab/race and lab/streams. Out:
`Found`s.
"""

import functools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from trtlab.engine.measure import one_thread
from trtlab.engine.nvidia import explain
from trtlab.graph.models import conv
from trtlab.lab import builds, race, streams
from trtlab.lab.race import TRIALS, chances
from trtlab.plan.memory import Buffer, check_placement, lower_bound, place
from trtlab.plan.streams import on_one_stream, run
from trtlab.study import witnesses
from trtlab.study.found import Found, computed, seen
from trtlab.study.witnesses import listed, most, sizes, told_bytes

CONVOLUTIONS, NETWORK, STUB = ((64, 56), (128, 28), (512, 7)), "resnet18-FP32-SM89-static", "__myelin_CASK_STUB"
SIX = "a 4 0 3, b 2 1 4, c 3 2 5, d 4 4 7, e 2 3 6, f 1 5 8"
CHAINS, AUXILIARY = (2, 4, 8, 12), (0, 1, 3)
TENSOR_BYTES, RUNS = 64 * 256 * 256 * 4, 5
LENGTHS, RESERVED, PAGE = (100, 200, 400, 1300), 2048, 16


# --- tactics ----------------------------------------------------------------------------------------------------------


def where_winograd_stops() -> Found:
    """The convolution at which Winograd loses most, of three."""
    recorded, ratios = race.load("cpu"), dict[str, float]()
    races = {one.problem.name: one.race for one in recorded.races}
    for depth, size in CONVOLUTIONS:
        found = races[conv(depth, size).name]
        others = [c.best_s for c in found.candidates if c.samples_s and c.name != "winograd"]
        ratios[f"{size}x{size}x{depth}"] = min(others) / found["winograd"].best_s
    return seen(recorded, min(ratios, key=ratios.__getitem__), ratios=sizes(ratios))


def rule_that_repeats() -> Found:
    """The rule whose choice two builds share most often, between two equal tactics."""
    shares = chances(gap=0, noise=40, spikes=10, rounds=10)
    asked = {name: shares[name] for name in ("ahead of the spread", "minimum", "mean")}
    best = max(asked, key=lambda name: asked[name] ** 2 + (1 - asked[name]) ** 2)
    return computed(best, shares=sizes(asked, ".0%"), trials=TRIALS)


def what_keeps_a_cache() -> Found:
    """The change after which a build finds all its races in the timing cache of another one."""
    from trtlab.engine import glassbox
    from trtlab.engine.glassbox.device import Device
    from trtlab.engine.glassbox.timing import TimingCache, made_with

    def races(cache: TimingCache, batch: int = 1, factor: float = 1, level: int = 1) -> int:
        model = conv(16, 8, batch=batch).model()
        for weight in model.graph.initializer:
            values = factor * onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), weight.name))
        glassbox.build(model, optimization_level=level, timing_cache=cache)
        return len(cache.races)

    def added_by(**change: Any) -> int:
        cache = TimingCache(made_with=made_with(Device("cpu")))
        known = races(cache)
        return races(cache, **change) - known

    with one_thread():
        added = {"weights": added_by(factor=0.7), "batch": added_by(batch=4), "level": added_by(level=2)}
    (kept,) = [name for name, count in added.items() if count == 0]
    return computed(kept, referees=("torch", "numba"), added=sizes(added, "d"))


def library_and_generated() -> Found:
    """Kernels by type, of which some are generated, and most are left to the device that runs them."""
    report = builds.recorded(NETWORK)
    counts = Counter(kernel.type for kernel in report.kernels)
    first = {kernel.type: kernel.name for kernel in reversed(report.kernels)}
    rows = [(kind, count, first[kind]) for kind, count in counts.most_common()]
    tactics = [kernel.tactic for kernel in report.kernels]
    left = sum(tactic in ("", STUB) for tactic in tactics)
    facts = {"network": report.model_name, "open": left, "kernels": len(tactics), "stub": STUB}
    return seen(report, counts["kgen"] > 0 and STUB in tactics and 2 * left > len(tactics), rows, **facts)


def candidates_are_timed() -> Found:
    from trtlab.engine import glassbox

    with one_thread():
        races = glassbox.build(builds.model("conv_relu")).inspect(tactics=True)
    found = max((one.race for one in races if one.race), key=lambda race: len(race.candidates))
    timed = [one for one in found.candidates if one.samples_s]
    rows = [(one.name, f"{one.best_s * 1e6:.1f}", len(one.samples_s), one.state) for one in found.candidates]
    taken = sum(len(one.samples_s) for one in timed)
    return computed(len(timed) > 1, rows, ("torch", "numba"), taken, timed=len(timed), taken=taken, winner=found.winner)


def winner_depends_on_shape() -> Found:
    recorded = race.load("h100")
    rows = []
    for one in recorded.races:
        times = sorted(c.best_s for c in one.race.candidates if c.samples_s)
        if one.problem.op == "conv" and len(times) > 1:
            rows.append((one.problem.name, one.race.winner, f"{times[1] / times[0]:.2f}"))
    return seen(recorded, len({winner for _, winner, _ in rows}) > 1, rows)


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
    return seen(reports[CHAINS[0]], {str(n): told_bytes(report, "activation") for n, report in reports.items()})


@functools.cache
def memory_with_auxiliary_streams() -> Found:
    """The same for three parallel convolutions: {auxiliary streams: [bytes, streams that kernels are on]}."""
    model = builds.model("wide_inception")
    reports = {n: explain(model, "SM89", max_aux_streams=n, compiler="tensorrt_rtx") for n in AUXILIARY}
    found = {str(n): [told_bytes(r, "activation"), len({k.stream for k in r.kernels})] for n, r in reports.items()}
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


def page_faults(work: Callable[[], Any]) -> int:
    """Page faults of one run, the least of several, after one that does not count."""
    import resource

    def faults_of_one() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    return min([faults_of_one() for _ in range(1 + RUNS)][1:])


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
        (s.batch, s.contexts, f"{s.samples_per_s:,.0f}", *(f"{s.percentile(p) * 1e6:,.0f} µs" for p in (0.5, 0.99)),
         s.memory_bytes)
        for s in recorded.servings if s.batch in gain
    ]  # fmt: skip
    facts = {"small": gain[1], "large": gain[32], "small_wait": wait[1], "large_wait": wait[32]}
    return seen(recorded, gain[1] > 2 and gain[32] < 1.5 and min(wait.values()) > 1.5, rows, **facts)
