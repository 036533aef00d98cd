"""lab/processes: the two halves of the workflow, each in a Python process of its own, where nothing is warm yet.

In: a network's name, or a plan and inputs. Out: files, and seconds for each `Phase`. `serve` needs numpy and torch
alone (and triton on CUDA): it never sees the model, nor onnx. lab/life collects the times.
"""

import enum
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
FED, ANSWERED = "in/", "out/"  # in a file of arrays, before the names of inputs and outputs
PROGRAM = """import json, sys
from trtlab.lab import processes
print(json.dumps(getattr(processes, sys.argv[1])(*sys.argv[2:])))"""


class Phase(enum.Enum):
    """What is timed. The value is the name that is shown. START to FIRST are timed in fresh processes, as BUILD is."""

    BUILD = "build"
    START = "import torch"
    TUNE = "load, and time tactics"
    LOAD = "load"
    CONTEXT = "create context"
    FIRST = "first run"
    RUN = "run"
    KERNELS = "kernels alone"
    CALL = "enqueue returns"
    DONE = "enqueue, then synchronise"
    ONE = "one context, one stream"
    TWO = "two contexts, two streams"
    ORT = "ONNX Runtime"
    EAGER = "torch eager"
    CHANNELS_LAST = "torch eager, channels last"


def fresh(work: str, *arguments: Any, **environment: str) -> dict[Phase, float]:
    """`build` or `serve` in a new Python process, on one thread. RuntimeError with its last words if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-c", PROGRAM, work, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{work}{arguments} failed in its process, expected times. Read why: {done.stderr[-800:]}")
    return {Phase(name): seconds for name, seconds in json.loads(done.stdout.splitlines()[-1]).items()}


def build(network: str, folder: str, device: str = "cpu", precision: str = "FP32") -> dict[str, float]:
    """Writes NETWORK.plan, and NETWORK.npz with inputs and ONNX Runtime's answers. The export is not timed."""
    from trtlab.engine import glassbox
    from trtlab.engine.ort import OrtSession
    from trtlab.lab import builds

    model, times, rng = builds.network(network), dict[str, float](), np.random.default_rng(0)
    build_engine, session = glassbox.build, OrtSession(model)
    with _clock(times, Phase.BUILD):
        engine = build_engine(model, device, precision=precision)
    engine.save(Path(folder) / f"{network}.plan")
    feeds = {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in engine.inputs.items()}
    write_arrays(Path(folder) / f"{network}.npz", {FED: feeds, ANSWERED: session.run(feeds)})
    return times


def serve(plan: str, asked: str, answered: str) -> dict[str, float]:
    """The runtime half, in a process that never saw the model: a plan and inputs in, outputs out."""
    times = dict[str, float]()
    with _clock(times, Phase.START):
        import torch

        from trtlab.engine.glassbox import load

        if torch.cuda.is_available():
            torch.zeros(1, device="cuda")  # wakes it up
    with _clock(times, Phase.LOAD):
        engine = load(plan)
    with _clock(times, Phase.CONTEXT):
        context = engine.create_execution_context()
    feeds = read_arrays(asked, FED)
    with _clock(times, Phase.FIRST):
        outputs = context.run(feeds)
    if "onnx" in sys.modules:
        raise RuntimeError("onnx was loaded: expected numpy and torch alone; find that import")
    write_arrays(answered, {ANSWERED: outputs})
    return times


@contextmanager
def _clock(times: dict[str, float], phase: Phase) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times[phase.value] = time.perf_counter() - started


def write_arrays(path: str | Path, groups: Mapping[str, Arrays]) -> None:
    """One file of arrays; each group has a prefix before its names."""
    values: dict[str, Any] = {prefix + name: value for prefix, group in groups.items() for name, value in group.items()}
    np.savez(path, **values)


def read_arrays(path: str | Path, prefix: str) -> Arrays:
    """One group of such a file."""
    with np.load(path) as file:
        return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
