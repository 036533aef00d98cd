"""Meters one matrix product on a GPU in every format that torch has. On a GPU: `python -m tools.gemm_meter`.

In: torch alone, and a folder to write to (default: the package's recordings). Out: `gemm-h100.json`, named after the
GPU, which lab/gemm reads: y [m, n] = x [m, k] times w [n, k] turned. Every product of a CUDA graph reads other weights,
together more than four second-level caches hold, as the layers of a network do; CUDA events time one replay.
"""

import datetime
import functools
import gzip
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tools.gpu_clock import by_events, captured, repeated

COMMAND = "python -m tools.gemm_meter"
FOLDER = Path(__file__).parents[1] / "trtlab" / "engine" / "recordings"
GZIPPED_FROM_BYTES = 2**13
SAMPLES = 31
ROWS, SIZE = (1, 16, 256, 4096), 4096
MISALIGNED = (4088, 4090, 4095)
READ_BYTES = 2**28
INT4_GROUP, INNER_K_TILES = 128, 8
Product = Callable[[], Any]


def _float(dtype: torch.dtype, precision: str, m: int, n: int, k: int) -> Iterator[Product]:
    torch.set_float32_matmul_precision(precision)
    x, out = torch.randn(m, k, device="cuda").to(dtype), torch.empty(m, n, device="cuda", dtype=dtype)
    while True:
        w = torch.randn(n, k, device="cuda").to(dtype)
        yield functools.partial(torch.mm, x, w.t(), out=out)


def _fp8(m: int, n: int, k: int) -> Iterator[Product]:
    x, one = torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn), torch.ones((), device="cuda")
    while True:
        w = torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn)
        yield functools.partial(
            torch._scaled_mm, x, w.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
        )


def _int8(m: int, n: int, k: int) -> Iterator[Product]:
    x = torch.randint(-127, 128, (m, k), device="cuda", dtype=torch.int8)
    while True:
        w = torch.randint(-127, 128, (n, k), device="cuda", dtype=torch.int8)
        yield functools.partial(torch._int_mm, x, w.t())


def _int4_weights(m: int, n: int, k: int) -> Iterator[Product]:
    """BF16 activations, INT4 weights with a scale and a zero for each 128, decoded inside the kernel (tinygemm)."""
    x = torch.randn(m, k, device="cuda").bfloat16()
    while True:
        pairs = torch.randint(0, 256, (n, k // 2), device="cuda", dtype=torch.uint8)
        w = torch._convert_weight_to_int4pack(pairs, INNER_K_TILES)
        scales = torch.rand(k // INT4_GROUP, n, 2, device="cuda").bfloat16()
        yield functools.partial(torch._weight_int4pack_mm, x, w, INT4_GROUP, scales)


def _quantise(m: int, n: int, k: int) -> Iterator[Product]:
    """What a quantise kernel of its own moves at least: activations [m, k] read in FP16, written in INT8."""
    del n
    while True:
        x, q = torch.randn(m, k, device="cuda").half(), torch.empty(m, k, device="cuda", dtype=torch.int8)
        yield functools.partial(q.copy_, x)


def _dequantise(m: int, n: int, k: int) -> Iterator[Product]:
    """What a dequantise kernel of its own moves at least: sums [m, n] read in INT32, written in FP16."""
    del k
    while True:
        sums, y = torch.zeros(m, n, device="cuda", dtype=torch.int32), torch.empty(m, n, device="cuda").half()
        yield functools.partial(y.copy_, sums)


FORMATS: dict[str, tuple[Callable[[int, int, int], Iterator[Product]], float]] = {
    "FP32": (functools.partial(_float, torch.float32, "highest"), 4),
    "TF32": (functools.partial(_float, torch.float32, "high"), 4),
    "FP16": (functools.partial(_float, torch.float16, "highest"), 2),
    "BF16": (functools.partial(_float, torch.bfloat16, "highest"), 2),
    "FP8": (_fp8, 1),
    "INT8": (_int8, 1),
    "W4A16": (_int4_weights, 0.5),
}
"""Name -> maker of products that each have weights of their own, bytes of a weight."""
KERNELS_BESIDE = {"quantise": _quantise, "dequantise": _dequantise}


def _run(make: Iterator[Product], weights_bytes: float) -> dict[str, Any]:
    """Median, quartiles and the longest kernel's name of one product."""
    count = max(4, min(64, -(-READ_BYTES // int(weights_bytes))))
    works = [next(make) for _ in range(count)]
    kept = list[Any]()  # results live as long as the graph that writes them

    def all_works() -> None:
        kept[:] = [work() for work in works]

    graph = captured(all_works)
    samples = [seconds / count for seconds in repeated(by_events, graph.replay, SAMPLES)]
    low, median, high = statistics.quantiles(samples, method="inclusive")
    return {"median_s": median, "low_s": low, "high_s": high, "kernel": _kernel(works[0])}


def _kernel(work: Product) -> str:
    """The name of the kernel that takes longest, from torch's profiler, without its arguments."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    taken = {event.key: float(getattr(event, "device_time_total", 0)) for event in profiler.key_averages()}
    name = max(taken, key=lambda key: taken[key], default="")
    return name.split("(")[0].removeprefix("void ")[:80]


def _cases() -> Iterator[tuple[str, int, int, int]]:
    for m in ROWS:
        for name in (*FORMATS, *KERNELS_BESIDE):
            yield name, m, SIZE, SIZE
    for m in ROWS[2:]:
        for k in MISALIGNED:
            for name in ("FP16", "BF16", "TF32", "FP8", "INT8"):
                yield name, m, SIZE, k


def measured() -> dict[str, Any]:
    """All cases that a kernel takes; of others the reason is printed."""
    runs = []
    for name, m, n, k in _cases():
        case: dict[str, Any] = {"format": name, "m": m, "n": n, "k": k}
        if name in FORMATS:
            make, each = FORMATS[name][0](m, n, k), FORMATS[name][1] * n * k
        else:
            make, each = KERNELS_BESIDE[name](m, n, k), 6.0 * m * n
        try:
            runs.append(case | _run(make, each))
            print(case, f"{runs[-1]['median_s'] * 1e6:,.1f} us, {runs[-1]['kernel']}", flush=True)
        except (RuntimeError, ValueError) as error:
            print(case, "refused:", str(error).strip().split("\n")[0][:160], flush=True)
        torch.cuda.empty_cache()
    provenance = {
        "origin": "RECORDED",
        "device": torch.cuda.get_device_name(),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": [["torch", torch.__version__]],
        "samples": SAMPLES,
        "command": COMMAND,
    }
    return {"runs": runs, "provenance": provenance}


def main() -> None:
    """Measure, and write as the package's store of recordings does."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    gpu = torch.cuda.get_device_name().split()[1].lower()
    data = (json.dumps(measured(), ensure_ascii=False, indent=1) + "\n").encode()
    packed = len(data) >= GZIPPED_FROM_BYTES
    path = folder / f"gemm-{gpu}.json{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    print(path.name, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
