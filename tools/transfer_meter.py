"""Meters what copies and streams cost on a GPU: bandwidth from pinned and pageable memory, what a read before
synchronising sees, how early an asynchronous call returns. On a GPU: `python -m tools.transfer_meter`."""

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tools.gpu_clock import by_host, repeated
from trtlab.engine import recordings
from trtlab.engine.measure import device_name, live
from trtlab.lab.streams import SIZES_BYTES, Copy, Transfers

COMMAND = "python -m tools.transfer_meter"
SAMPLES = 21


def _copies() -> list[Copy]:
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
                rate = size_bytes / statistics.median(repeated(by_host, work, SAMPLES))
                found.append(Copy(direction=direction, pinned=pinned, size_bytes=size_bytes, bytes_per_s=rate))
    return found


def _reads(trials: int) -> tuple[int, int]:
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


def _call_and_total() -> tuple[float, float]:
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


def record() -> Path:
    """Measure on this machine's GPU and write the recording."""
    stale, fresh = _reads(SAMPLES)
    call_s, total_s = _call_and_total()
    found = Transfers(
        copies=tuple(_copies()), trials=SAMPLES, stale_reads=stale, fresh_reads=fresh, call_s=call_s,
        total_s=total_s, provenance=live(["torch"], samples=SAMPLES, device=torch.cuda.get_device_name()),
    )  # fmt: skip
    return recordings.save(found, f"transfers-{device_name('cuda')}", COMMAND)


if __name__ == "__main__":
    print(record())
