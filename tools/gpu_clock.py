"""The clocks of the meters. On a GPU, with torch alone."""

import time
from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], Any]
WARM_UP = 3


def captured(work: Work) -> Any:
    """A CUDA graph of the work, which is run three times before: kernels are chosen, workspaces are there."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            work()
    torch.cuda.synchronize()
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work()
    return graph


def by_events(work: Work) -> float:
    """Seconds of one call by CUDA events, behind a wait that hides what the launch takes."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(2_000_000)
    first.record()
    work()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3


def by_host(work: Work) -> float:
    """Seconds of the host's clock from the first issue until the GPU is done."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def repeated(clock: Callable[[Work], float], work: Work, samples: int) -> tuple[float, ...]:
    """So many readings of a clock, after some that do not count."""
    return tuple(clock(work) for _ in range(samples + WARM_UP))[WARM_UP:]
