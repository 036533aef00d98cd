"""engine/bench: what `trtlab bench` measures. Ratios against a peer in the same run; medians; interleaved.

In: a benchmark's name. Out: frozen `Ratio`s with value, target, peer and provenance. Absolute times are printed where
an aim was set for them, and are never asserted by a test.
"""

import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from trtlab.engine.measure import Ratio, live


def run_benches(name: str | None = None) -> list[Ratio]:
    """One benchmark, or all of them. ValueError names the known ones."""
    if name is not None and name not in BENCHES:
        raise ValueError(f"There is no benchmark {name!r}. Expected one of {', '.join(BENCHES)}.")
    return [ratio for key, bench in BENCHES.items() if name in (None, key) for ratio in bench()]


def _bench_import(rounds: int = 15) -> list[Ratio]:
    """`import trtlab` in a fresh interpreter, less a bare one, interleaved."""
    differences = []
    for _ in range(rounds):
        bare = _seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        ours = _seconds(lambda: subprocess.run([sys.executable, "-c", "import trtlab"], check=True))
        differences.append((ours - bare) * 1e3)
    value = max(0.0, statistics.median(differences))
    return [
        Ratio(
            name="import", what="import trtlab", value=value, bound=150.0, unit="ms", peer="bare Python, subtracted",
            provenance=live(samples=rounds),
        )
    ]  # fmt: skip


_RAW = """
import pathlib, sys, time
import tensorrt_rtx as trt
class Log(trt.ILogger):
    def __init__(self):
        super().__init__()
        self.lines = []
    def log(self, severity, text):
        self.lines.append((severity, text))
log = Log()
for path in sys.stdin:
    log.lines.clear()
    started = time.perf_counter()
    model = pathlib.Path(path.strip()).read_bytes()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    plan = bytes(memoryview(builder.build_serialized_network(network, config)))
    print(time.perf_counter() - started, flush=True)
    del plan, config, parser, network, builder, model
"""


def _bench_wrapper(rounds: int = 10) -> list[Ratio]:
    """`explain` against the bare calls on ResNet-18 from a file: check, log reading and transfer included."""
    import tempfile
    from pathlib import Path

    import trtlab
    from trtlab.engine.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.onnx"
        path.write_bytes(export_onnx("resnet18").SerializeToString())
        raw, wrapped = [], []
        with subprocess.Popen(
            [sys.executable, "-c", _RAW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer:
            for _ in range(rounds + 2):
                raw.append(_ask(peer, str(path)))
                wrapped.append(_seconds(lambda: len(trtlab.explain(path, compiler="tensorrt_rtx").plan)))
    value = statistics.median(wrapped[2:]) / statistics.median(raw[2:])
    made = live(["tensorrt-rtx", "onnx"], samples=rounds)
    return [
        Ratio(
            name="wrapper",
            what="explain(ResNet-18)",
            value=value,
            bound=1.15,
            peer="bare tensorrt_rtx calls",
            provenance=made,
        )
    ]


def _ask(peer: "subprocess.Popen[str]", line: str) -> float:
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(line + "\n")
    peer.stdin.flush()
    return float(peer.stdout.readline())


# Format -> the same elsewhere, and how many times as fast to encode and to decode we aim to be.
_CODEC_PEERS = {
    "FP16": ("float16", 8.0, 5.0),
    "BF16": ("bfloat16", 1.5, 1.0),
    "FP8_E4M3": ("float8_e4m3fn", 10.0, 5.0),
    "FP8_E5M2": ("float8_e5m2", 10.0, 5.0),
    "FP8_E4M3_IEEE": ("float8_e4m3", 10.0, 5.0),
    "FP8_E3M4": ("float8_e3m4", 10.0, 5.0),
    "FP8_E4M3_FNUZ": ("float8_e4m3fnuz", 10.0, 5.0),
    "FP8_E5M2_FNUZ": ("float8_e5m2fnuz", 10.0, 5.0),
    "FP6_E3M2": ("float6_e3m2fn", 10.0, 5.0),
    "FP6_E2M3": ("float6_e2m3fn", 10.0, 5.0),
    "FP4_E2M1": ("float4_e2m1fn", 10.0, 5.0),
    "E8M0": ("float8_e8m0fnu", 10.0, 5.0),
}
_OF_COPY_BOUND = 0.7


def _bench_codec(count: int = 10_000_000, rounds: int = 15) -> list[Ratio]:
    """float32 normals to codes and back against NumPy or ml_dtypes, and against a copy that moves as many bytes.

    One thread, memory allocated and touched beforehand. Each round times all five in a drawn order, since who comes
    next may find warm caches; the first round is for nothing; the value is the median of the rounds' ratios.
    """
    import numpy as np

    values = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    return [ratio for name in _CODEC_PEERS for ratio in _codec_ratios(name, values, rounds)]


def _codec_ratios(name: str, values: Any, rounds: int) -> list[Ratio]:
    import ml_dtypes
    import numpy as np

    from trtlab.numeric import FORMATS, FloatFormat

    fmt, (peer_name, *bounds) = FORMATS[name], _CODEC_PEERS[name]
    library = np if hasattr(np, peer_name) else ml_dtypes
    values = values if isinstance(fmt, FloatFormat) and fmt.is_signed else abs(values)
    codes, back = fmt.encode(values), np.zeros_like(values)
    theirs = values.astype(getattr(library, peer_name))
    source = np.ones((values.nbytes + codes.nbytes) // 2, np.uint8)
    target = np.ones_like(source)
    works: dict[str, Callable[[], Any]] = {
        "peer encode": lambda: np.copyto(theirs, values, casting="unsafe"),
        "encode": lambda: fmt.encode(values, out=codes),
        "copy": lambda: np.copyto(target, source),
        "decode": lambda: fmt.decode(codes, out=back),
        "peer decode": lambda: np.copyto(back, theirs, casting="unsafe"),
    }
    times = _rounds_of(works, rounds)
    made = live(["numpy", "numba", "ml-dtypes"], samples=rounds)
    their_name = f"{library.__name__}.{peer_name}"
    rows = [
        ("encode", "peer encode", bounds[0], their_name),
        ("encode", "copy", _OF_COPY_BOUND, "a copy of as many bytes"),
        ("decode", "peer decode", bounds[1], their_name),
        ("decode", "copy", _OF_COPY_BOUND, "a copy of as many bytes"),
    ]
    return [
        Ratio(
            name="codec", what=f"{name} {ours}", value=statistics.median(row[other] / row[ours] for row in times),
            bound=bound, peer=peer, provenance=made, larger_is_better=True,
        )
        for ours, other, bound, peer in rows
    ]  # fmt: skip


def _bench_blocks(count: int = 10_000_000, rounds: int = 9) -> list[Ratio]:
    """float32 normals to scales and codes against torchao; 4-bit codes packed, NVFP4 with its pass for the maximum.

    One thread; the value is the median of the ratios of rounds. No ratio, but a warning, where torchao is missing.
    """
    import numpy as np

    from trtlab.numeric import FORMATS, quantize

    values = np.random.default_rng(0).standard_normal((count // 3200, 3200)).astype(np.float32)

    def pair(name: str, theirs: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
        fmt = FORMATS[name]
        if fmt.bits == 4:
            return {"ours": lambda: quantize.pack(fmt.quantize(values).codes), "theirs": theirs}
        return {"ours": lambda: fmt.quantize(values), "theirs": theirs}

    try:
        times = {name: _rounds_of(pair(name, work), rounds) for name, work in _torchao_works(values).items()}
    except ImportError as missing:
        warnings.warn(f"no peer for `trtlab bench blocks` ({missing}): pip install torchao", stacklevel=2)
        return []
    made = live(["numpy", "numba", "torchao", "torch"], samples=rounds)
    return [
        Ratio(
            name="blocks", what=f"{name} quantize", value=statistics.median(t["theirs"] / t["ours"] for t in rows),
            bound=5.0, peer="torchao", provenance=made, larger_is_better=True,
        )
        for name, rows in times.items()
    ]  # fmt: skip


def _torchao_works(values: Any) -> dict[str, Callable[[], Any]]:
    """The same quantisations there, on one thread."""
    import torch
    from torchao.prototype.mx_formats.mx_tensor import to_mx
    from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale

    def one_thread(work: Callable[[], Any]) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        work()
        torch.set_num_threads(threads)

    x = torch.from_numpy(values)
    works = {
        "MXFP8_E4M3": lambda: to_mx(x, torch.float8_e4m3fn, 32),
        "MXFP4": lambda: to_mx(x, torch.float4_e2m1fn_x2, 32),
        "NVFP4": lambda: nvfp4_quantize(x, 16, per_tensor_amax_to_scale(torch.max(torch.abs(x)))),
    }
    return {name: partial(one_thread, work) for name, work in works.items()}


def _bench_glassbox() -> list[Ratio]:
    """Our engine against ONNX Runtime; in the engine's own room."""
    from trtlab.engine.enginebench import bench_glassbox

    return bench_glassbox()


def _bench_fusion() -> list[Ratio]:
    """Three operators, and sixteen, in one generated kernel, against a copy of as many bytes and against numpy."""
    from trtlab.engine.fusionfacts import fusion_ratios

    return fusion_ratios()


def _rounds_of(works: dict[str, Callable[[], Any]], rounds: int) -> list[dict[str, float]]:
    """Seconds of each work in each round, in an order drawn anew, without a first round that is for nothing."""
    order = random.Random(0)
    times = [{name: _seconds(works[name]) for name in order.sample(list(works), len(works))} for _ in range(rounds + 1)]
    return times[1:]


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


BENCHES: dict[str, Callable[[], list[Ratio]]] = {
    "import": _bench_import,
    "wrapper": _bench_wrapper,
    "codec": _bench_codec,
    "blocks": _bench_blocks,
    "glassbox": _bench_glassbox,
    "fusion": _bench_fusion,
}
