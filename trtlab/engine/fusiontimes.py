"""engine/fusiontimes: ReLU(A*B + C) as three kernels and as one, timed over sizes and lengths, on a CPU or a CUDA GPU.

In: "cpu" or "cuda". Out: a frozen `Sweep` of `Row`s: way, size, kernels, launches, bytes by the traffic model, time.
Every result is compared with float64 before it is timed. Record on a GPU (numpy, torch and triton suffice) with
`python -m trtlab.engine.fusiontimes --device cuda`.
"""

import argparse
import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trtlab.engine import fusionways
from trtlab.engine.fusionways import LONG, PASSES, WAYS, Arrays, Program, Way, chain, traffic_bytes
from trtlab.engine.measure import Measurement, Origin, Provenance, measure_in_turns

FOLDER = Path(__file__).parent / "recordings"
COMMAND = "python -m trtlab.engine.fusiontimes"
LENGTHS = (2, 3, 4, 8, 16, 32)
LIVE_SIZES = tuple(2**k for k in range(10, 23, 2))
FULL_SIZES = {"cpu": tuple(2**k for k in range(10, 27, 2)), "cuda": tuple(2**k for k in range(10, 29, 2))}
CHAIN_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
PACKAGES = {"cpu": ("numpy", "numba", "torch"), "cuda": ("torch", "triton")}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way at one size. `kernels` run for it; `bytes_moved` is what they read and write by the traffic model."""

    way: Way
    operations: int
    elements: int
    kernels: int
    launches: float
    bytes_moved: int
    time: Measurement

    @property
    def seconds(self) -> float:
        return self.time.median_s

    @property
    def bytes_per_s(self) -> float:
        return self.bytes_moved / self.seconds


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Rows of one run on one device, "cpu" or "cuda"."""

    device: str
    rows: tuple[Row, ...]
    provenance: Provenance

    def find(self, way: Way, elements: int, operations: int = 3) -> Row:
        """One row; KeyError says what there is."""
        for row in self.rows:
            if (row.way, row.elements, row.operations) == (way, elements, operations):
                return row
        raise KeyError(
            f"no {way.value!r} of {operations} operations on {elements} elements; there are"
            f" {', '.join(w.value for w in self.ways())} on {self.sizes()}"
        )

    def ways(self) -> tuple[Way, ...]:
        """The ways that were timed."""
        return tuple(dict.fromkeys(row.way for row in self.rows))

    def of(self, way: Way) -> tuple[Row, ...]:
        """The rows of one way for ReLU(A*B + C), by size."""
        found = (row for row in self.rows if (row.way, row.operations) == (way, 3))
        return tuple(sorted(found, key=lambda row: row.elements))

    def sizes(self) -> tuple[int, ...]:
        """Numbers of elements at which ReLU(A*B + C) was timed."""
        return tuple(sorted({row.elements for row in self.rows if row.operations == 3}))

    def chains(self, way: Way) -> tuple[Row, ...]:
        """The rows of one way at the size at which the length was varied, by length."""
        (size,) = {row.elements for row in self.rows if row.operations != 3} or {0}
        found = (row for row in self.rows if (row.way, row.elements) == (way, size))
        return tuple(sorted(found, key=lambda row: row.operations))

    def ratio(self, slow: Way, fast: Way, elements: int, operations: int = 3) -> float:
        """How many times as long the first takes."""
        return self.find(slow, elements, operations).seconds / self.find(fast, elements, operations).seconds

    def of_copy(self, way: Way, elements: int) -> float:
        """Bandwidth of a way as a share of what the copy reached at this size, in the same run."""
        return self.find(way, elements).bytes_per_s / self.find(Way.COPY, elements).bytes_per_s


def sweep(
    device: str = "cpu", *, sizes: Sequence[int] = LIVE_SIZES, lengths: Sequence[int] = LENGTHS,
    ways: Sequence[Way] | None = None, budget_s: float = 0.04, samples: int = 15, sample_s: float = 1e-3,
) -> Sweep:  # fmt: skip
    """ReLU(A*B + C) at all sizes, and chains of all lengths at one. One thread. Without `ways`: all, but torch.compile
    only on CUDA, since on a CPU it takes seconds for each size. As it stands this takes about 10 s on a CPU."""
    _check_asked(device, sizes)
    chosen = ways or tuple(way for way in WAYS[device] if device == "cuda" or way is not Way.COMPILED)
    size = min(CHAIN_ELEMENTS[device], max(sizes))
    cases = [(3, n) for n in sizes] + [(k, size) for k in lengths if k != 3 or size not in sizes]
    how: dict[str, Any] = {"budget_s": budget_s, "samples": samples, "sample_s": sample_s}
    with one_thread():
        np.ones(2**23 - 2**16, np.float32)  # once freed, glibc keeps smaller arrays for reuse, as in any long process
        list(_rows(device, chain(3), min(sizes), chosen, **how))  # for nothing: clocks rise, libraries load
        rows = [row for length, n in cases for row in _rows(device, chain(length), n, chosen, **how)]
    made = min((row.time.provenance for row in rows), key=lambda p: p.samples)
    return Sweep(device=device, rows=tuple(rows), provenance=made)


def _check_asked(device: str, sizes: Sequence[int]) -> None:
    import torch

    if device not in WAYS or not sizes or min(sizes) < 1:
        raise ValueError(
            f"cannot time device={device!r}, sizes={sizes!r}: expected 'cpu' or 'cuda', and sizes from 1 on"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', but torch sees no NVIDIA GPU here: use 'cpu', or load('h100') for a recording")


def _rows(device: str, program: Program, elements: int, ways: Sequence[Way], **how: Any) -> Iterator[Row]:
    arrays = Arrays(device, elements)
    works = {way: fusionways.build(way, program, arrays) for way in ways}
    for way, work in works.items():
        check(way, work(), program, arrays)
    times = measure_in_turns({way.value: work for way, work in works.items()}, packages=PACKAGES[device], **how)
    for way in ways:
        passes = PASSES if way in LONG else 1
        taken = times[way.value]
        yield Row(
            way=way,
            operations=len(program),
            elements=elements,
            kernels=fusionways.kernels(way, program),
            launches=fusionways.launches(way, program),
            bytes_moved=traffic_bytes(program, elements, fused=way in fusionways.FUSED or way is Way.COPY),
            time=replace(taken, samples_s=tuple(s / passes for s in taken.samples_s)),
        )


def check(way: Way, result: Any, program: Program, arrays: Arrays, part: int = 2**16) -> None:
    """RuntimeError unless the result is that of float64, at both ends of the arrays: the middle is the same loop."""
    if way is Way.COPY:
        return
    for ends in (slice(0, part), slice(-part, None)):
        registers = [row[ends].double().cpu().numpy() for row in arrays.tensors[: fusionways.INPUTS]]
        for name, reads, _ in program:
            registers.append(fusionways.NUMPY[name](*[registers[r] for r in reads]))
        found = result[ends] if isinstance(result, np.ndarray) else result[ends].cpu().numpy()
        if not np.allclose(found, registers[-1], rtol=1e-5, atol=1e-5):
            raise RuntimeError(
                f"{way.value} is wrong: off by {np.abs(found - registers[-1]).max()} for {len(program)} operations"
            )
    arrays.tensors[fusionways.INPUTS :] = float("nan")  # the next way must write every result itself


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, as numpy and our kernel are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- recordings -------------------------------------------------------------------------------------------------------


@functools.cache
def load(name: str = "h100") -> Sweep:
    """A recorded sweep. FileNotFoundError when there is none."""
    values = json.loads((FOLDER / f"fusion-times-{name}.json").read_text(encoding="utf-8"))
    made = values["provenance"]
    made = Provenance(**made | {"origin": Origin(made["origin"]), "versions": tuple(map(tuple, made["versions"]))})
    return Sweep(device=values["device"], rows=tuple(_row(row, made) for row in values["rows"]), provenance=made)


def _row(values: dict[str, Any], made: Provenance) -> Row:
    way, us = Way(values.pop("way")), values.pop("us")
    time = Measurement(
        name=way.value, samples_s=tuple(u / 1e6 for u in us), calls=values.pop("calls"), clock=values.pop("clock"),
        provenance=replace(made, samples=len(us)),
    )  # fmt: skip
    return Row(way=way, time=time, **values)


def save(found: Sweep, path: Path, command: str) -> None:
    """Write a sweep as a recording, samples in microseconds to five digits."""
    made = asdict(replace(found.provenance, origin=Origin.RECORDED, command=command)) | {"origin": "RECORDED"}
    rows = []
    for row in found.rows:
        values = {k: v for k, v in vars(row).items() if k not in ("way", "time")}
        us = [float(f"{s * 1e6:.5g}") for s in row.time.samples_s]
        rows.append({"way": row.way.value, **values, "calls": row.time.calls, "clock": row.time.clock, "us": us})
    head = json.dumps({"device": found.device, "provenance": made}, indent=1)[:-2]
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    path.write_text(f'{head},\n "rows": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Record all ways at all sizes; minutes on a CPU, since torch.compile is among them."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--device", choices=list(WAYS), default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    out = options.out or FOLDER / f"fusion-times-{'h100' if options.device == 'cuda' else 'cpu'}.json"
    sizes, ways = FULL_SIZES[options.device], WAYS[options.device]
    found = sweep(options.device, sizes=sizes, ways=ways, budget_s=0.5, samples=21, sample_s=5e-3)
    save(found, out, f"{COMMAND} --device {options.device}")
    for row in found.rows:
        rate = row.bytes_per_s / 1e9
        print(f"{row.operations:3d} ops 2^{row.elements.bit_length() - 1:<3d} {rate:8.1f} GB/s  {row.time}")


if __name__ == "__main__":
    main()
