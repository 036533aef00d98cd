"""engine/recordings/transfers: what copies and streams cost on a GPU; a recording that claims about copying read.

In: a CUDA GPU, once. Out: `transfers-<gpu>.json`: bandwidth from pinned and pageable memory, what a read before
synchronising sees, and how early an asynchronous call returns. Make it again on a GPU with
`python -m trtlab.engine.recordings.transfers`.
"""

import datetime
import functools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtlab.engine.measure import Origin, Provenance

FOLDER = Path(__file__).parent
COMMAND = "python -m trtlab.engine.recordings.transfers"
SIZES_BYTES = (2**16, 2**20, 2**24, 2**28)
SAMPLES = 21


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Median bandwidth of one direction and kind of host memory, in bytes per second."""

    direction: str
    pinned: bool
    size_bytes: int
    bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """`stale_reads` of `trials` reads before synchronising saw old data; `fresh_reads` of `trials` after. `call_s` is
    how long an asynchronous launch holds the caller, `total_s` how long its work takes (medians)."""

    copies: tuple[Copy, ...]
    trials: int
    stale_reads: int
    fresh_reads: int
    call_s: float
    total_s: float
    provenance: Provenance

    def bandwidth(self, direction: str, *, pinned: bool, size_bytes: int) -> float:
        """Bytes per second of one measured copy; KeyError names what was measured."""
        for copy in self.copies:
            if (copy.direction, copy.pinned, copy.size_bytes) == (direction, pinned, size_bytes):
                return copy.bytes_per_s
        raise KeyError(f"no copy {direction!r} of {size_bytes} bytes; measured are {SIZES_BYTES} both ways")


@functools.cache
def load(gpu: str = "h100") -> Transfers:
    """The recording of a GPU. FileNotFoundError when there is none."""
    from cattrs.preconf.json import make_converter

    return make_converter().structure(
        json.loads((FOLDER / f"transfers-{gpu}.json").read_text(encoding="utf-8")), Transfers
    )


def _median_s(torch: Any, work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(SAMPLES + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[3:])


def _copies(torch: Any) -> list[Copy]:
    found = []
    for size_bytes in SIZES_BYTES:
        device = torch.empty(size_bytes, dtype=torch.uint8, device="cuda")
        for pinned in (True, False):
            host = torch.zeros(size_bytes, dtype=torch.uint8, pin_memory=pinned)
            ways: dict[str, Callable[[], Any]] = {
                "host_to_device": functools.partial(device.copy_, host, non_blocking=pinned),
                "device_to_host": functools.partial(host.copy_, device, non_blocking=pinned),
            }
            for direction, work in ways.items():
                rate = size_bytes / _median_s(torch, work)
                found.append(Copy(direction=direction, pinned=pinned, size_bytes=size_bytes, bytes_per_s=rate))
    return found


def _reads(torch: Any, trials: int) -> tuple[int, int]:
    """(reads before synchronising that saw old data, reads after that saw new data)."""
    a = torch.randn(4096, 4096, device="cuda")
    stale = fresh = 0
    for _ in range(trials):
        host = torch.full((1,), -1.0, pin_memory=True)
        torch.cuda.synchronize()
        out = a
        for _ in range(8):
            out = out @ a
        answer = torch.ones(1, device="cuda") + 0 * out[0, :1].nan_to_num(0, 0, 0)
        host.copy_(answer, non_blocking=True)
        stale += int(host[0].item() == -1.0)
        torch.cuda.synchronize()
        fresh += int(host[0].item() == 1.0)
    return stale, fresh


def _call_and_total(torch: Any) -> tuple[float, float]:
    a = torch.randn(4096, 4096, device="cuda")
    out = torch.empty_like(a)
    calls, totals = [], []
    for _ in range(SAMPLES + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(a, a, out=out)
        calls.append(time.perf_counter() - started)
        torch.cuda.synchronize()
        totals.append(time.perf_counter() - started)
    return statistics.median(calls[3:]), statistics.median(totals[3:])


def record(path: Path | None = None) -> Path:
    """Measure on this machine's GPU and write the recording."""
    import torch

    name = torch.cuda.get_device_name()
    stale, fresh = _reads(torch, SAMPLES)
    call_s, total_s = _call_and_total(torch)
    made = Provenance(
        origin=Origin.RECORDED,
        device=name,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=(("torch", str(torch.__version__)), ("CUDA", str(torch.version.cuda))),
        samples=SAMPLES,
        command=COMMAND,
    )
    result = Transfers(
        copies=tuple(_copies(torch)),
        trials=SAMPLES,
        stale_reads=stale,
        fresh_reads=fresh,
        call_s=call_s,
        total_s=total_s,
        provenance=made,
    )
    values = asdict(result)
    values["provenance"]["origin"] = made.origin.value
    target = path or FOLDER / f"transfers-{name.split()[1].lower()}.json"
    target.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    print(record())
