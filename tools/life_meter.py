"""Records the lives of engines (lab/life): built where onnx is, measured where the device is, with numpy, torch and
cattrs (and triton on CUDA):

    python -m tools.life_meter build --device cuda --precision FP16 --out FOLDER resnet18 transformer
    python -m tools.life_meter run FOLDER
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from trtlab.engine import recordings
from trtlab.engine.measure import device_name
from trtlab.lab.life import PACKAGES, build_all, measure_life

COMMAND = "python -m tools.life_meter"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build plans with what belongs to them, or measure all in a folder and write the recording."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parts = parser.add_subparsers(dest="work", required=True)
    builds, runs = parts.add_parser("build"), parts.add_parser("run")
    builds.add_argument("networks", nargs="+")
    builds.add_argument("--device", choices=list(PACKAGES), default="cpu")
    builds.add_argument("--precision", default="FP32")
    builds.add_argument("--out", type=Path, required=True)
    runs.add_argument("folder", type=Path)
    for part in (builds, runs):
        part.add_argument("--processes", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.work == "build":
        options.out.mkdir(parents=True, exist_ok=True)
        build_all(options.networks, options.out, options.device, options.precision, options.processes)
        return
    if not (plans := sorted(options.folder.glob("*.plan"))):
        runs.error(f"no *.plan in {options.folder}: expected what this writes: {COMMAND} build NETWORK --out FOLDER")
    _record(plans, options.processes)


def _record(plans: Sequence[Path], processes: int) -> None:
    lives = tuple(measure_life(plan, processes=processes, samples=21) for plan in plans)
    place = device_name(lives[0].device)
    path = recordings.save(lives, f"life-{place}", f"{COMMAND} run {plans[0].parent.name}")
    for life in lives:
        print(f"{life.network} on {life.device} in {life.precision}: {life.plan_bytes:,} bytes, error {life.error:.1e}")
        print("\n".join(f"  {taken}" for taken in life.times.values()))
    print(path)


if __name__ == "__main__":
    main()
