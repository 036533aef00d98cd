"""Meters what streams gain on a GPU, beside what plan/streams predicts from the same operations timed alone. On a GPU:
`python -m tools.stream_meter`."""

import ctypes
import functools
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.gpu_clock import by_events, by_host, captured, repeated
from trtlab.engine import glassbox, recordings
from trtlab.engine.export import export_onnx
from trtlab.engine.measure import device_name, live
from trtlab.lab import streams
from trtlab.lab.streams import Alone, Case, Serving, StreamRuns
from trtlab.plan.streams import on_one_stream

COMMAND = "python -m tools.stream_meter"
SAMPLES, CHUNKS, CHUNK_BYTES, REQUESTS = 21, 8, 2**24, 16
SIZES = (256, 512, 1024, 2048, 4096)
NETWORK = "resnet18"


def _issue_s(work: Callable[[], Any], calls: int = 200) -> float:
    """What one call holds the host, while the GPU is busy with something else."""
    found = []
    for _ in range(7):
        torch.cuda._sleep(50_000_000)
        started = time.perf_counter()
        for _ in range(calls):
            work()
        found.append((time.perf_counter() - started) / calls)
        torch.cuda.synchronize()
    return statistics.median(found)


# --- kernels alone ----------------------------------------------------------------------------------------------------


def _kernels(graph: Any, repeats: int = 10) -> tuple[Alone, ...]:
    """The kernels of one replay, from torch's profiler: the median time of each, and the part of the GPU that its
    blocks fill: blocks over multiprocessors, as one block of these kernels takes about all that one has."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(repeats):
            graph.replay()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        profiler.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(f"{folder}/trace.json").read_text("utf-8"))["traceEvents"]
    found = sorted((e for e in events if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")), key=lambda e: e["ts"])
    each = len(found) // repeats
    rows = [found[k::each] for k in range(each)]
    starts = [[row[r]["ts"] for row in rows] for r in range(repeats)]
    ends = [[row[r]["ts"] + row[r]["dur"] for row in rows] for r in range(repeats)]
    gaps = [0.0] + [
        statistics.median(max(0.0, starts[r][k] - ends[r][k - 1]) for r in range(repeats)) for k in range(1, each)
    ]
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    alone = []
    for row, gap in zip(rows, gaps, strict=True):
        blocks = int(np.prod(row[0].get("args", {}).get("grid", [processors])))
        duration = statistics.median(event["dur"] for event in row) / 1e6
        name = row[0]["name"].split("(")[0][:40]
        alone.append(Alone(name=name, duration_s=duration, share=min(1.0, blocks / processors), gap_s=gap / 1e6))
    return tuple(alone)


def _product(size: int) -> tuple[Alone, Callable[[int], Callable[[], Any]]]:
    """An FP16 product of two squares, alone in a chain, and a maker of works that each write elsewhere."""
    a = torch.randn(size, size, device="cuda", dtype=torch.float16) / size**0.5

    def work(_: int) -> Callable[[], Any]:
        out = torch.empty_like(a)
        return lambda: torch.mm(a, a, out=out)

    chain = [work(k) for k in range(16)]
    graph = captured(lambda: [one() for one in chain])
    kernels = _kernels(graph)
    total = statistics.median(repeated(by_events, graph.replay, SAMPLES)) / 16
    per = len(kernels) // 16
    busy = sum(k.duration_s for k in kernels[:per])
    share = sum(k.duration_s * k.share for k in kernels[:per]) / busy
    return Alone(name=f"product {size}", duration_s=min(busy, total), share=share, gap_s=max(0.0, total - busy)), work


# --- scenarios --------------------------------------------------------------------------------------------------------


def _branches() -> Iterator[Case]:
    for size in SIZES:
        alone, make = _product(size)
        for count, wide in ((1, 4), (4, 4)):
            lanes = [torch.cuda.Stream() for _ in range(count)]
            works = [[make(0) for _ in range(4)] for _ in range(wide)]
            fork, join = make(0), make(0)

            def issue(lanes: Any = lanes, works: Any = works, fork: Any = fork, join: Any = join) -> None:
                fork()
                here = torch.cuda.current_stream()
                for lane in lanes:
                    lane.wait_stream(here)
                for number, chain in enumerate(works):
                    with torch.cuda.stream(lanes[number % len(lanes)]):
                        for one in chain:
                            one()
                for lane in lanes:
                    here.wait_stream(lane)
                join()

            planned = streams.branches(alone, count=wide, length=4)
            yield Case(
                name=f"4 branches of products {size} on {count}", topic="branches", streams=count,
                operations=planned if count > 1 else on_one_stream(planned),
                samples_s=repeated(by_events, captured(issue).replay, SAMPLES),
            )  # fmt: skip


def _blocking_stream() -> Any:
    """A stream that the default stream waits for, and that waits for it, as plain cudaStreamCreate makes them; those of
    torch do neither."""
    handle = ctypes.c_void_p()
    torch.cuda.cudart().cudaStreamCreate(ctypes.addressof(handle))
    return torch.cuda.ExternalStream(handle.value)


def _copied(to: Sequence[Any], source: Sequence[Any], pinned: bool) -> float:
    """Seconds for one of these copies."""
    pairs = list(zip(to, source, strict=True))
    return statistics.median(
        repeated(by_host, lambda: [t.copy_(s, non_blocking=pinned) for t, s in pairs], SAMPLES)
    ) / len(pairs)


def _pipelines() -> Iterator[Case]:
    alone, make = _product(4096)
    work, lanes = make(0), [_blocking_stream() for _ in range(4)]
    there, back = ([torch.empty(CHUNK_BYTES, dtype=torch.uint8, device="cuda") for _ in range(CHUNKS)] for _ in "io")
    host = {
        pinned: [[torch.zeros(CHUNK_BYTES, dtype=torch.uint8, pin_memory=pinned) for _ in range(CHUNKS)] for _ in "io"]
        for pinned in (True, False)
    }
    taken = {p: (_copied(there, into, p), _copied(out, back, p)) for p, (into, out) in host.items()}
    issue_s = _issue_s(work)

    def issue(count: int, pageable: bool = False, waits: bool = False, default_stream: bool = False) -> None:
        into, out = host[not pageable]
        for chunk in range(CHUNKS):
            with torch.cuda.stream(lanes[chunk % count]):
                there[chunk].copy_(into[chunk], non_blocking=not pageable)
            with torch.cuda.stream(torch.cuda.default_stream() if default_stream else lanes[chunk % count]):
                work()
            with torch.cuda.stream(lanes[chunk % count]):
                out[chunk].copy_(back[chunk], non_blocking=not pageable)
            if waits:
                lanes[chunk % count].synchronize()

    rows: list[tuple[str, int, dict[str, bool]]] = [("copies and products", n, {}) for n in (1, 2, 3, 4)]
    rows += [(m, 3, {m.replace(" ", "_"): True}) for m in ("pageable", "waits", "default stream")]
    for name, count, mistake in rows:
        yield Case(
            name=f"{name} on {count}", topic="mistakes" if mistake else "copies", streams=count,
            operations=streams.pipeline(
                taken[name != "pageable"][0], alone, taken[name != "pageable"][1], chunks=CHUNKS, streams=count,
                issue_s=issue_s, **mistake,
            ),
            samples_s=repeated(by_host, functools.partial(issue, count, **mistake), SAMPLES),
        )  # fmt: skip


def _engine(batch: int) -> tuple[Any, dict[str, Any]]:
    model = export_onnx(NETWORK, dynamic_batch=True)
    engine = glassbox.build(model, "cuda", precision="FP16", shapes={"image": (batch, 3, 224, 224)})
    feeds = {n: np.random.default_rng(0).standard_normal(s.shape).astype(s.dtype) for n, s in engine.inputs.items()}
    return engine, feeds


def _requests(engine: Any, feeds: Any) -> Iterator[Case]:
    contexts = [engine.create_execution_context() for _ in range(8)]
    for context in contexts:
        context.run(feeds)
    graphs = [context._run.graph for context in contexts]
    kernels = _kernels(graphs[0])
    launch_s = _issue_s(graphs[0].replay, 20)
    lanes = [torch.cuda.Stream() for _ in range(8)]
    for count in (1, 2, 4, 8):

        def issue(count: int = count) -> None:
            for request in range(REQUESTS):
                with torch.cuda.stream(lanes[request % count]):
                    graphs[request % count].replay()

        yield Case(
            name=f"{REQUESTS} requests on {count}", topic="requests", streams=count,
            operations=streams.requests(kernels, REQUESTS, count, launch_s=launch_s),
            samples_s=repeated(by_host, issue, SAMPLES),
        )  # fmt: skip


def _serving(engine: Any, feeds: Any, batch: int, count: int, seconds: float = 0.4) -> Serving:
    """A closed loop: each context has one request under way, and gets the next as soon as its answer is there."""
    before = torch.cuda.memory_allocated()
    contexts = [engine.create_execution_context() for _ in range(count)]
    for context in contexts:
        context.run(feeds)
    held = torch.cuda.memory_allocated() - before
    lanes, waiting = [torch.cuda.Stream() for _ in range(count)], deque[tuple[int, float, Any]]()
    latencies, started = [], time.perf_counter()

    def send(number: int) -> None:
        with torch.cuda.stream(lanes[number]):
            sent = time.perf_counter()
            contexts[number]._run.graph.replay()
            event = torch.cuda.Event()
            event.record()
        waiting.append((number, sent, event))

    for number in range(count):
        send(number)
    while time.perf_counter() - started < seconds:
        number, sent, event = waiting.popleft()
        if event.query():
            latencies.append(time.perf_counter() - sent)
            send(number)
        else:
            waiting.append((number, sent, event))
    torch.cuda.synchronize()
    rate = batch * len(latencies) / (time.perf_counter() - started)
    return Serving(
        batch=batch, contexts=count, samples_per_s=rate, latencies_s=tuple(latencies[-400:]), memory_bytes=held
    )


def record() -> Path:
    """Measure on this machine's GPU, print prediction beside measurement, write the recording."""
    cases, servings = [*_branches(), *_pipelines()], list[Serving]()
    for batch in (1, 2, 4, 8, 16, 32, 64):
        engine, feeds = _engine(batch)
        if batch == 1:
            cases += _requests(engine, feeds)
        for count in (1, 2, 4, 8) if batch in (1, 32) else (1,):
            servings.append(_serving(engine, feeds, batch, count))
    for one in servings:
        p50, p99 = (one.percentile(part) * 1e6 for part in (0.5, 0.99))
        print(f"batch {one.batch} x {one.contexts}: {one.samples_per_s:,.0f}/s, {p50:.0f} and {p99:.0f} us")
    for case in cases:
        total_s = case.timeline.total_s
        print(
            f"{case.name}: {case.median_s * 1e6:.1f} us, predicted {total_s * 1e6:.1f}: {case.error:+.1%}, {case.limit}"
        )
    errors = [abs(case.error) for case in cases]
    print(f"median error {statistics.median(errors):.1%} of {len(errors)}")
    found = StreamRuns(
        network=NETWORK, cases=tuple(cases), servings=tuple(servings),
        provenance=live(["torch", "triton"], samples=SAMPLES, device=torch.cuda.get_device_name()),
    )  # fmt: skip
    return recordings.save(found, f"streams-{device_name('cuda')}", COMMAND)


if __name__ == "__main__":
    print(record())
