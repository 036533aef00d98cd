"""Meters the glass box beside torch.compile in one run, on a GPU in FP16: `python -m tools.compile_meter`.

Both take float32, compute in FP16 and give float32, and replay a CUDA graph whose input lies on the GPU already; CUDA
events time each replay, ten in a row, all ways in turns. Also ResNet-50 of the onnx package, of which there is no
module, with the glass box alone.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
from trtlab.engine.measure import Measurement, live
from trtlab.engine.networks import teaching_model
from trtlab.lab import builds

ROUNDS, IN_A_ROW, WARM_UP = 200, 10, 3
MODES = ("reduce-overhead", "max-autotune")


def ours(model: Any) -> Callable[[], Any]:
    """A replay of the engine's graph, without copies."""
    context = glassbox.build(model, "cuda", precision="FP16").create_execution_context()
    run: Any = context._run
    return lambda: (run.graph.replay(), context)  # what the graph reads lives as long as it


def compiled(name: str, mode: str) -> Callable[[], Any]:
    """A replay of torch.compile's kernels; its own graphs are off, since they copy inputs."""
    module: Any = teaching_model(name).make().half().cuda()
    sizes = export_onnx(name).graph.input[0].type.tensor_type.shape.dim
    x = torch.randn([size.dim_value for size in sizes], device="cuda")
    layout = {"memory_format": torch.channels_last} if x.ndim == 4 else {}
    module = module.to(**layout)
    options: Any = {"max_autotune": mode == "max-autotune", "triton.cudagraphs": False, "epilogue_fusion": True}
    fast = torch.compile(lambda x: module(x.half().to(**layout)).float(), options=options)
    with torch.no_grad():
        graph = captured(lambda: fast(x))
    return lambda: (graph.replay(), module, x)


def captured(work: Callable[[], Any]) -> Any:
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


def in_turns(works: Mapping[str, Callable[[], Any]]) -> dict[str, Measurement]:
    """Each replay, ten in a row, as an engine that serves: its weights are in the L2 cache."""
    taken = {name: list[float]() for name in works}
    for turn in range(ROUNDS // IN_A_ROW + 2):
        for name, work in works.items():
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(IN_A_ROW + 1)]
            torch.cuda._sleep(5_000_000)  # hides what the launches take
            work()
            marks[0].record()
            for mark in marks[1:]:
                work()
                mark.record()
            marks[-1].synchronize()
            if turn >= 2:
                taken[name] += [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks)]
    made = live(["torch", "triton"], samples=ROUNDS, device=torch.cuda.get_device_name())
    how: dict[str, Any] = {"calls": 1, "clock": "CUDA events", "provenance": made}
    return {name: Measurement(name=name, samples_s=tuple(samples), **how) for name, samples in taken.items()}


def main() -> None:
    """Print medians."""
    for name in ("resnet18", "transformer", "light_resnet50"):
        works = {"glass box": ours(builds.network(name))}
        if not name.startswith("light"):
            works |= {f"torch.compile {mode}": compiled(name, mode) for mode in MODES}
        for way, taken in in_turns(works).items():
            print(f"{name:15} {way:32} {taken.median_s * 1e6:8.1f} µs", flush=True)


if __name__ == "__main__":
    main()
