"""Records ReLU(A*B + C) and longer chains in every way of lab/fusion at all sizes: minutes on a CPU, since
torch.compile is among them. On a GPU (numpy, torch, triton and cattrs suffice) say
`python -m tools.fusion_meter --device cuda`."""

import argparse
from collections.abc import Sequence

from trtlab.engine import recordings
from trtlab.engine.measure import device_name
from trtlab.lab.fusion import power, sweep
from trtlab.lab.ways import WAYS

COMMAND = "python -m tools.fusion_meter"
SIZES = {"cpu": tuple(2**k for k in range(10, 27, 2)), "cuda": tuple(2**k for k in range(10, 29, 2))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the recording, print what was reached."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--device", choices=list(WAYS), default="cpu")
    device = parser.parse_args(arguments).device
    found = sweep(device, sizes=SIZES[device], ways=WAYS[device], budget_s=0.5, samples=21, sample_s=5e-3)
    path = recordings.save(found, f"sweep-{device_name(device)}", f"{COMMAND} --device {device}")
    for row in found.rows:
        rate = row.bytes_per_s / 1e9
        print(f"{row.operations:3d} ops {power(row.elements):5s} {rate:8.1f} GB/s  {row.time}")
    print(path)


if __name__ == "__main__":
    main()
