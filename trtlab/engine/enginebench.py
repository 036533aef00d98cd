"""engine/enginebench: our engine against ONNX Runtime, with all its optimisations, on one thread.

In: nothing. Out: a `Ratio` of times for each network, batch 1. Both take turns in one process, some runs each, as in
steady use: an engine that follows the other would first have to fetch its code and weights into the caches again.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from trtlab.engine.freshprocess import Phase
from trtlab.engine.measure import Ratio, live

BOUNDS = {"resnet18": 1.05, "light_resnet50": 1.1, "transformer": 1.1, "light_squeezenet": 1.4}
"""Network -> our time over theirs, at most."""
ON_H100_US = {"resnet18": 320, "light_resnet50": 700}
"""Network -> microseconds of one FP16 run on an H100, at most; copies left out, as by those who measure torch."""


def bench_glassbox(rounds: int = 11) -> list[Ratio]:
    """The median of the rounds' ratios for each network."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = live(["torch", "onnxruntime", "numba"], samples=rounds)
    try:
        return [
            Ratio(
                name="glassbox", what=f"{name} latency", value=_ratio(name, rounds), bound=bound, provenance=made,
                peer="ONNX Runtime, one thread, all optimisations",
            )
            for name, bound in BOUNDS.items()
        ] + [_recorded(name, bound) for name, bound in ON_H100_US.items()]  # fmt: skip
    finally:
        torch.set_num_threads(threads)


def _recorded(name: str, bound: float) -> Ratio:
    from trtlab.engine import enginetimes

    life = enginetimes.load("h100")[name]
    return Ratio(
        name="glassbox", what=f"{name} FP16, kernels", value=life.seconds(Phase.KERNELS) * 1e6, bound=bound, unit="us",
        peer="a recorded run on an H100", provenance=life.provenance,
    )  # fmt: skip


def model_of(name: str) -> Any:
    """A teaching model, or one of onnx's light architectures with random weights."""
    import onnx

    from trtlab.engine.export import export_onnx
    from trtlab.graph.models import LIGHT_FOLDER, randomized

    if name.startswith("light_"):
        return randomized(onnx.load(LIGHT_FOLDER / f"{name}.onnx"))
    return export_onnx(name)


def _ratio(name: str, rounds: int) -> float:
    import numpy as np
    import onnxruntime

    from trtlab.engine import glassbox

    model = model_of(name)
    engine = glassbox.build(model)
    context, options, rng = engine.create_execution_context(), onnxruntime.SessionOptions(), np.random.default_rng(0)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in engine.inputs.items()}
    works = (lambda: context.run(feeds)), (lambda: session.run(None, feeds))
    times = [[_latency(work) for work in works] for _ in range(rounds + 1)]
    return statistics.median(ours / theirs for ours, theirs in times[1:])


def _latency(work: Callable[[], Any], runs: int = 6) -> float:
    """The median of some runs after two untimed ones."""
    work(), work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
