"""Races every tactic on layers of ResNet-18 and ResNet-50 and on products as in transformers, and builds ResNet-18 at
every level. In FP16 on a GPU, `python -m tools.race_meter cuda`; in FP32 on this processor, `python -m tools.race_meter
cpu`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trtlab.engine import recordings
from trtlab.engine.measure import device_name, live, measure_in_turns, one_thread
from trtlab.graph.models import conv, product
from trtlab.lab import race
from trtlab.lab.race import Build, Races

COMMAND = "python -m tools.race_meter"
PRECISION = {"cpu": "FP32", "cuda": "FP16"}
SHAPES = (
    *(conv(depth, size, batch=batch) for batch in (1, 8) for depth, size in ((64, 56), (128, 28), (256, 14), (512, 7))),
    conv(64, 56, 256, kernel=1), conv(1024, 14, 256, kernel=1), conv(512, 7, 2048, kernel=1),
    product(1, 512, 1000), product(128, 256, 1024), product(128, 768, 768), product(512, 512, 512),
)  # fmt: skip


def budgets(name: str, levels: Sequence[int] = range(6), **options: Any) -> tuple[Build, ...]:
    """Each level: how long the build takes, and then how long a run of its engine does, on a GPU its kernels alone; the
    engines run in turns."""
    made = [race.build(name, f"level {level}", optimization_level=level, **options) for level in levels]
    feeds = {name: np.zeros(spec.shape, spec.dtype) for name, spec in made[0][1].inputs.items()}
    works = {one.how: _run(engine.create_execution_context(), feeds) for one, engine in made}
    with one_thread():
        runs = measure_in_turns(works, sample_s=0.0, packages=race.PACKAGES)
    return tuple(replace(one, run=runs[one.how]) for one, _ in made)


def _run(context: Any, feeds: Mapping[str, Any]) -> Callable[[], Any]:
    graph = getattr(context._run, "graph", None)
    return (lambda: context.run(feeds)) if graph is None else lambda: (graph.replay(), context._arena)


def record(device: str, network: str = "resnet18") -> Path:
    """Measure, and write the recording."""
    how: dict[str, Any] = {"device": device, "precision": PRECISION[device]}
    raced = []
    for problem in SHAPES:
        raced.append(race.race(problem, **how))
        print(
            problem.name, *(f"{c.name} {c.best_s * 1e6:.1f}" for c in raced[-1].race.candidates), sep="  ", flush=True
        )
    built = budgets(network, **how)
    print(*(f"{one.how}: built in {one.build_s:.2f} s, {one.run}" for one in built), sep="\n", flush=True)
    made = live(race.PACKAGES, samples=len(built), device=raced[0].provenance.device)
    found = Races(races=tuple(raced), budgets=built, provenance=made)
    return recordings.save(found, f"race-{device_name(device)}", f"{COMMAND} {device}")


if __name__ == "__main__":
    print(record(*sys.argv[1:]))
