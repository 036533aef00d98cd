"""Races every tactic on the shapes of lab/race, and builds ResNet-18 at every level and some times over. In FP16 on a
GPU, `python -m tools.race_meter cuda`; in FP32 on this processor, `python -m tools.race_meter cpu`."""

import sys
from pathlib import Path
from typing import Any

from trtlab.engine import recordings
from trtlab.engine.measure import device_name, live
from trtlab.lab import race
from trtlab.lab.race import Races

COMMAND = "python -m tools.race_meter"
NETWORK, BUILDS = "resnet18", 5
PRECISION = {"cpu": "FP32", "cuda": "FP16"}


def record(device: str) -> Path:
    """Measure, and write the recording."""
    how: dict[str, Any] = {"device": device, "precision": PRECISION[device]}
    raced = []
    for problem in race.SHAPES:
        raced.append(race.race(problem, **how))
        print(
            problem.name, *(f"{c.name} {c.best_s * 1e6:.1f}" for c in raced[-1].race.candidates), sep="  ", flush=True
        )
    budgets = race.budgets(NETWORK, **how)
    print(*(f"{one.how}: built in {one.build_s:.2f} s, {one.run}" for one in budgets), sep="\n", flush=True)
    again = race.repeated(NETWORK, BUILDS, **how)
    print(f"{BUILDS} builds:", race.differing(again), flush=True)
    made = live(race.PACKAGES, samples=BUILDS, device=raced[0].provenance.device)
    found = Races(races=tuple(raced), budgets=budgets, repeated=again, provenance=made)
    return recordings.save(found, f"race-{device_name(device)}", f"{COMMAND} {device}")


if __name__ == "__main__":
    print(record(*sys.argv[1:]))
