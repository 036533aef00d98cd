"""lab/bench: what `trtlab bench` measures. Ratios against a peer in the same run, round by round; medians.

In: a benchmark's name. Out: frozen `Ratio`s with value, target, peer and provenance. A benchmark is works that take
turns, and rows: what, the work above, the work below, the target, the peer. Absolute times are printed where an aim
was set for them, and are never asserted by a test.
"""

import functools
import math
import random
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from trtlab.engine.measure import Measurement, Provenance, Ratio, live, measure_in_turns, one_thread

COPY = "a copy of as many bytes"
Works = dict[str, Callable[[], Any]]


def run_benches(name: str | None = None, begins: Callable[[str], None] = lambda _: None) -> list[Ratio]:
    """One benchmark, or all of them; `begins` is told of each before it runs. ValueError names the known ones."""
    if name is not None and name not in BENCHES:
        raise ValueError(f"There is no benchmark {name!r}. Expected one of {', '.join(BENCHES)}.")
    found = list[Ratio]()
    for key in BENCHES if name is None else [name]:
        begins(key)
        found += [replace(ratio, name=key) for ratio in BENCHES[key]()]
    return found


def _in_turns(works: Works, rounds: int, *packages: str, sample_s: float = 0.0) -> dict[str, Measurement]:
    """One call of each work a round, or as many as `sample_s` takes, in an order drawn anew: who comes next may find
    warm caches."""
    how: dict[str, Any] = {"samples": rounds, "sample_s": sample_s, "budget_s": 1e9, "packages": packages}
    return measure_in_turns(works, warm_up=1, **how)


def _row(what: str, value: float, target: str, made: Provenance, peer: str = "") -> Ratio:
    """A value and its target in words: `>= 0.85` of a ratio, `<= 150 ms`. Its name is the benchmark's."""
    sign, bound, *unit = target.split(maxsplit=2)
    return Ratio(
        name="", what=what, value=value, bound=float(bound), unit="".join(unit), larger_is_better=sign == ">=",
        peer=peer, provenance=made,
    )  # fmt: skip


def _rows(taken: Mapping[str, Measurement], *rows: tuple[str, str, str, str, str]) -> list[Ratio]:
    """(what, the work above, the work below, target, peer) of works that took turns."""
    return [
        _row(what, taken[above].ratio_to(taken[below]), target, taken[above].provenance, peer)
        for what, above, below, target, peer in rows
    ]


# --- importing, and the real compiler ---------------------------------------------------------------------------------


def bench_import(rounds: int = 15) -> list[Ratio]:
    """`import trtlab` in a fresh interpreter, less a bare one."""
    works: Works = {
        code: functools.partial(subprocess.run, [sys.executable, "-c", code], check=True)
        for code in ("pass", "import trtlab")
    }
    bare, ours = _in_turns(works, rounds).values()
    more_ms = statistics.median(b - a for a, b in zip(bare.samples_s, ours.samples_s, strict=True)) * 1e3
    return [_row("import trtlab", max(0.0, more_ms), "<= 150 ms", ours.provenance, "bare Python, subtracted")]


_BARE_CALLS = """
import pathlib, sys
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
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(pathlib.Path(path.strip()).read_bytes())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    plan = bytes(memoryview(builder.build_serialized_network(network, config)))
    print(len(plan), flush=True)
    del plan, config, parser, network, builder
"""


def bench_wrapper(rounds: int = 10) -> list[Ratio]:
    """`explain` against the bare calls on ResNet-18 from a file: check, log reading and transfer included."""
    import tempfile

    import trtlab
    from trtlab.engine.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.onnx"
        path.write_bytes(export_onnx("resnet18").SerializeToString())
        command = [sys.executable, "-c", _BARE_CALLS]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            ask, answer = cast("IO[str]", peer.stdin), cast("IO[str]", peer.stdout)
            works: Works = {
                "explain": lambda: len(trtlab.explain(path, compiler="tensorrt_rtx").plan),
                "bare": lambda: (print(path, file=ask, flush=True), int(answer.readline())),
            }
            taken = _in_turns(works, rounds, "tensorrt-rtx", "onnx")
    return _rows(taken, ("explain(ResNet-18)", "explain", "bare", "<= 1.15", "bare tensorrt_rtx calls"))


# --- number formats ---------------------------------------------------------------------------------------------------

CODEC_PEERS = {"FP16": ("float16", ">= 8", ">= 5"), "BF16": ("bfloat16", ">= 1.5", ">= 1")} | {
    name: (peer, ">= 10", ">= 5")
    for name, peer in {
        "FP8_E4M3": "float8_e4m3fn", "FP8_E5M2": "float8_e5m2", "FP8_E4M3_IEEE": "float8_e4m3",
        "FP8_E3M4": "float8_e3m4", "FP8_E4M3_FNUZ": "float8_e4m3fnuz", "FP8_E5M2_FNUZ": "float8_e5m2fnuz",
        "FP6_E3M2": "float6_e3m2fn", "FP6_E2M3": "float6_e2m3fn", "FP4_E2M1": "float4_e2m1fn",
        "E8M0": "float8_e8m0fnu",
    }.items()
}  # fmt: skip
"""Format -> the same elsewhere, and how many times as fast to encode and to decode we aim to be."""


def bench_codec(count: int = 10_000_000, rounds: int = 15) -> list[Ratio]:
    """float32 normals to codes and back against NumPy or ml_dtypes, and against a copy that moves as many bytes. One
    thread, memory allocated and touched beforehand."""
    import numpy as np

    values = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    return [ratio for name in CODEC_PEERS for ratio in _codec_ratios(name, values, rounds)]


def _codec_ratios(name: str, values: Any, rounds: int) -> list[Ratio]:
    import ml_dtypes
    import numpy as np

    from trtlab.numeric import FORMATS, FloatFormat

    fmt, (peer_name, *targets) = FORMATS[name], CODEC_PEERS[name]
    library = np if hasattr(np, peer_name) else ml_dtypes
    values = values if isinstance(fmt, FloatFormat) and fmt.is_signed else abs(values)
    codes, back = fmt.encode(values), np.zeros_like(values)
    theirs = values.astype(getattr(library, peer_name))
    source = np.ones((values.nbytes + codes.nbytes) // 2, np.uint8)
    target = np.ones_like(source)
    works: Works = {
        "peer encode": lambda: np.copyto(theirs, values, casting="unsafe"),
        "encode": lambda: fmt.encode(values, out=codes),
        "copy": lambda: np.copyto(target, source),
        "decode": lambda: fmt.decode(codes, out=back),
        "peer decode": lambda: np.copyto(back, theirs, casting="unsafe"),
    }
    rows = []
    for ours, aim in zip(("encode", "decode"), targets, strict=True):
        rows.append((f"{name} {ours}", f"peer {ours}", ours, aim, f"{library.__name__}.{peer_name}"))
        rows.append((f"{name} {ours}", "copy", ours, ">= 0.7", COPY))
    return _rows(_in_turns(works, rounds, "numpy", "numba", "ml-dtypes"), *rows)


def bench_blocks(count: int = 10_000_000, rounds: int = 9) -> list[Ratio]:
    """float32 normals to scales and codes against torchao; 4-bit codes packed, NVFP4 with its pass for the maximum.
    One thread. No ratio, but a warning, where torchao is missing."""
    import numpy as np
    import torch

    from trtlab.numeric import FORMATS, quantize

    try:
        from torchao.prototype.mx_formats.mx_tensor import to_mx
        from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale
    except ImportError as missing:
        warnings.warn(f"no peer for `trtlab bench blocks` ({missing}): pip install torchao", stacklevel=2)
        return []
    values, found = np.random.default_rng(0).standard_normal((count // 3200, 3200)).astype(np.float32), list[Ratio]()
    x = torch.from_numpy(values)
    theirs = {
        "MXFP8_E4M3": lambda: to_mx(x, torch.float8_e4m3fn, 32),
        "MXFP4": lambda: to_mx(x, torch.float4_e2m1fn_x2, 32),
        "NVFP4": lambda: nvfp4_quantize(x, 16, per_tensor_amax_to_scale(torch.max(torch.abs(x)))),
    }
    with one_thread():
        for name, work in theirs.items():
            whole = functools.partial(FORMATS[name].quantize, values)
            ours = whole if name == "MXFP8_E4M3" else lambda whole=whole: quantize.pack(whole().codes)
            taken = _in_turns({"torchao": work, "ours": ours}, rounds, "numpy", "numba", "torchao", "torch")
            found += _rows(taken, (f"{name} quantize", "torchao", "ours", ">= 5", "torchao"))
    return found


def bench_calibrate(count: int = 10_000_000, rounds: int = 9) -> list[Ratio]:
    """Entropy's threshold of 2,048 bins against one candidate after the other, which must be the same; and histograms
    against NumPy's. Activations of three kinds, one thread."""
    import numpy as np

    rng = np.random.default_rng(0)
    kinds = {"normal": rng.standard_normal(count), "heavy tail": rng.standard_t(4, count)}
    kinds["ReLU"] = np.maximum(kinds["normal"], 0)
    return [ratio for kind, x in kinds.items() for ratio in _calibrate_ratios(kind, x.astype(np.float32), rounds)]


def _calibrate_ratios(kind: str, x: Any, rounds: int) -> list[Ratio]:
    import numpy as np

    from trtlab.numeric.calibrate import BINS, START, Histogram, candidate, entropy

    h, kept = Histogram.of(x), range(START, BINS + 1)
    works: Works = {
        "entropy": lambda: entropy(h),
        "naive": lambda: np.array([candidate(h, bins).divergence for bins in kept]),
        "of": lambda: Histogram.of(x),
        "numpy": lambda: np.histogram(np.abs(x), BINS, (0, h.limit)),
    }
    curve, taken = works["naive"](), _in_turns(works, rounds, "numpy", "numba")
    is_same = entropy(h).bin == kept[np.flatnonzero(curve <= curve.min() + 1e-12)[-1]]
    ms, made = taken["entropy"].median_s * 1e3 if is_same else math.inf, taken["of"].provenance
    return [
        _row(f"entropy, {kind}", ms, "<= 5 ms", made),
        _row(f"histogram, {kind}", x.size / taken["of"].median_s / 1e9, ">= 0.5 G values/s", made),
        *_rows(
            taken, (f"entropy, {kind}", "naive", "entropy", ">= 10", "each candidate by itself"),
            (f"histogram, {kind}", "numpy", "of", ">= 4", "numpy.histogram"),
        ),
    ]  # fmt: skip


# --- our engine and its kernels ---------------------------------------------------------------------------------------

LATENCIES = {
    "resnet18": ("<= 0.85", "<= 1"), "light_resnet50": ("<= 0.97", "<= 1"), "transformer": ("<= 1.02", "<= 1"),
    "light_squeezenet": ("<= 1.2", "<= 1.2"),
}  # fmt: skip
"""Network -> our time over ONNX Runtime's, with AVX-512 and without."""


def bench_glassbox(rounds: int = 11) -> list[Ratio]:
    """Our engine against ONNX Runtime with all its optimisations, on one thread, batch 1. Both take turns in one
    process, some runs each, as in steady use: an engine that follows the other would first have to fetch its code and
    weights into the caches again. The GPU's times are recorded ones. And our product's share of the processor's peak.

    Without AVX-512: `python -m tools.as_avx2 bench glassbox`."""
    from trtlab.lab import life, race

    with one_thread():
        found = [ratio for name in LATENCIES for ratio in _latency(name, rounds)]
        found.append(_share_of_peak(rounds))
    lived = life.load("h100")["light_resnet50"].times[life.Phase.KERNELS]
    for name, run, target in (
        ("resnet18", race.load("h100").budgets[3].run or lived, "<= 185 µs"), ("light_resnet50", lived, "<= 380 µs")
    ):  # fmt: skip
        peer = "a run recorded on an H100"
        found.append(_row(f"{name} FP16, kernels", run.median_s * 1e6, target, run.provenance, peer))
    return found


def _latency(name: str, rounds: int) -> list[Ratio]:
    import numpy as np
    import onnxruntime
    import torch

    from trtlab.engine import glassbox
    from trtlab.lab import builds

    model, rng, options = builds.network(name), np.random.default_rng(0), onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    engine = glassbox.build(model)
    context = engine.create_execution_context()
    feeds = {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in engine.inputs.items()}
    works: Works = {"ours": lambda: context.run(feeds), "theirs": lambda: session.run(None, feeds)}
    taken = _in_turns(works, rounds, "torch", "onnxruntime", "numba", sample_s=0.2)
    vectors = torch.backends.cpu.get_cpu_capability()
    peer = f"ONNX Runtime, one thread, all optimisations, {vectors}"
    return _rows(taken, (f"{name} latency", "ours", "theirs", LATENCIES[name][vectors != "AVX512"], peer))


def _share_of_peak(rounds: int, m: int = 128, depth: int = 256, n: int = 1024, times: int = 1000) -> Ratio:
    """FLOP/s of a product against those of its innermost tile over and over the same numbers: the peak of FMA."""
    import numpy as np
    import torch

    from trtlab.engine.codegen import product
    from trtlab.engine.codegen.pointwise import compiled

    width, x, y, bias = product.panel_width(n), torch.ones(m, depth), torch.empty(m, n), np.zeros(n, np.float32)
    rows, panels = product.tile_rows(width), product.packed(torch.ones(1, depth, n))
    run = product.generated([], lambda t: t[None], bias)
    call = f"tile(x, 0, {rows - 1}, w, n, x, y, {4 * width})"
    loop = f"def kernel(x, w, y, n, times):\n    for _ in range(times):\n        {call}\n"
    tile = compiled(loop, f"from {product.__name__} import tile_of\ntile = tile_of({width}, {rows})\n")
    numbers = [t.data_ptr() for t in (x, panels, y)]
    works: Works = {"product": lambda: run(panels, x, y), "tile": lambda: tile(*numbers, 64, times)}
    taken = _in_turns(works, rounds, "torch", "numba", sample_s=0.05)
    value = taken["tile"].ratio_to(taken["product"]) * (m * depth * n) / (rows * width * 64 * times)
    what, peer = f"product {m}x{depth}x{n}", "its innermost tile alone: the peak"
    return _row(what, value, ">= 0.85", taken["tile"].provenance, peer)


def bench_fusion(sizes: Sequence[int] = (2**20, 2**22, 2**24), rounds: int = 21) -> list[Ratio]:
    """Three operators, and sixteen, in one generated kernel, against a copy of as many bytes and against numpy, on one
    thread; the GPU's kernel as recorded."""
    from trtlab.lab.fusion import PACKAGES, load, power
    from trtlab.lab.ways import Arrays, Way, chain, works

    found, recorded, large = list[Ratio](), load("h100"), 2**26
    for elements in sizes:
        arrays, size = Arrays(elements), power(elements)
        short, long = (works(chain(length), arrays) for length in (3, 16))
        ways = {"copy": short[Way.COPY], "short": short[Way.GENERATED], "long": long[Way.GENERATED]}
        with one_thread():
            taken = _in_turns(ways | {"numpy": long[Way.NUMPY_OUT]}, rounds, *PACKAGES, sample_s=1e-3)
        found += _rows(
            taken, (f"ReLU(A*B + C), {size}", "short", "copy", "<= 1.111", COPY),
            (f"16 operations, {size}", "long", "short", "<= 1.3", "3 operations"),
            (f"16 operations, {size}", "numpy", "long", ">= 8", "numpy, out="),
        )  # fmt: skip
    what, share = f"Triton kernel's bandwidth, {power(large)}", recorded.of_copy(Way.GENERATED, large)
    return [*found, _row(what, share, ">= 0.97", recorded.provenance, COPY)]


def bench_tuning(network: str = "resnet18", rounds: int = 5) -> list[Ratio]:
    """Seconds to tune a rewritten network on one thread (tactics bound, checked and raced, layouts seen, memory placed)
    from nothing and from a full timing cache; and how many kernels were built the same way every time without one."""
    from trtlab.engine import glassbox
    from trtlab.engine.glassbox import timing, trial
    from trtlab.engine.glassbox.device import Device
    from trtlab.lab import builds

    with one_thread():
        plan = glassbox.build(builds.network(network), optimization_level=0).plan
        cache, found = timing.TimingCache(made_with=timing.made_with(Device("cpu"))), list[Any]()
        works: Works = {
            "from nothing": lambda: found.append(trial.tune(plan)),
            "from a timing cache": lambda: trial.tune(plan, timing_cache=cache),
        }
        taken = _in_turns(works, rounds, "torch", "numba")
    tactics = [*zip(*([step.tactic for step in one.steps] for one in found), strict=True)]
    differ, made = sum(len({*row}) > 1 for row in tactics) / len(tactics), taken["from nothing"].provenance
    aims = zip(works, ("<= 3 s", "<= 0.3 s"), strict=True)
    rows = [_row(f"{network}, {how}", taken[how].median_s, aim, made) for how, aim in aims]
    return [*rows, _row(f"{network}, kernels that differ in {len(found)} races", differ, "<= 0.1", made, "all kernels")]


# --- rewriting, and memory --------------------------------------------------------------------------------------------

GROWING = {
    "a chain": lambda i: (("Relu", "Neg")[i % 2], [f"t{i}"]),
    "transposes": lambda i: ("Transpose", [f"t{i}"]),
    "equal nodes": lambda _: ("Exp", ["t0"]),
    "products of one input": lambda i: ("MatMul", ["t0", f"w{i}"]),
    "a wide Concat": lambda i: ("Softmax", [f"w{i}"] if i else ["t0"]),
}
"""Graphs of any size: operator and inputs of node i, which writes t(i + 1). A Concat reads what nobody else reads."""


def bench_rewrite(sizes: Sequence[int] = (1_000, 10_000), rounds: int = 3) -> list[Ratio]:
    """Seconds of `graph.optimize` for the larger graph of each form, and its time per node against the smaller's."""
    from trtlab.graph import optimize

    ratios = []
    for form in GROWING:
        works: Works = {str(size): functools.partial(optimize, _grown(form, size)) for size in sizes}
        small, large = _in_turns(works, rounds, "onnx", "onnx-ir").values()
        what, peer, made = f"{form}, {sizes[1]:,} nodes", f"{sizes[0]:,} nodes", large.provenance
        ratios.append(_row(what, large.median_s, "<= 10 s", made))
        value = large.median_s / sizes[1] / (small.median_s / sizes[0])
        ratios.append(_row(f"{what}, time a node", value, "<= 2", made, peer))
    return ratios


def _grown(form: str, size: int) -> Any:
    import onnx

    nodes = [onnx.helper.make_node(*GROWING[form](number), [f"t{number + 1}"]) for number in range(size)]
    read, written = {name for node in nodes for name in node.input}, [node.output[0] for node in nodes]
    nodes.append(onnx.helper.make_node("Concat", [name for name in written if name not in read], ["y"], axis=0))
    rng, weights = random.Random(0), [name for name in sorted(read) if name.startswith("w")]
    tensors = [
        onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [4, 4], [rng.random() for _ in range(16)])
        for name in weights
    ]
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("t0", [4, 4]), ("y", None))
    )
    graph = onnx.helper.make_graph(nodes, form, [x], [y], tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def bench_memory(seeds: int = 20, networks: Sequence[str] = (), budget_s: float = 10.0) -> list[Ratio]:
    """Arenas against the bytes that live at once: of onnx's nine `light_*` networks or of these, with parts in place
    and without; and of `hard_buffers`, where 3 % of the capacity is to spare, and where nothing is."""
    from trtlab.engine import glassbox
    from trtlab.graph.models import LIGHT_FOLDER
    from trtlab.lab import builds
    from trtlab.plan.memory import Buffer, check_placement, lower_bound, place

    def ratio(what: str, buffers: Sequence[Any], target: str, capacity: int | None = None) -> Ratio:
        placed = place(buffers, capacity, budget_s)
        value = math.inf if check_placement(buffers, placed) else placed.peak_bytes / lower_bound(buffers)
        return _row(what, value, target, made, "bytes that live at once")

    made, found, rows = live(("numba", "numpy")), list[Any](), dict[str, list[Any]]()
    for name in networks or sorted(path.stem for path in LIGHT_FOLDER.glob("light_*.onnx")):
        glassbox.build(builds.network(name), place=lambda buffers: found.append(buffers) or place(buffers))  # type: ignore[func-returns-value]
        apart = [Buffer(b.name, b.size_bytes, b.start, b.stop, b.alignment) for b in found[-1]]
        rows |= {name: found[-1], f"{name}, no part in place": apart}
    ratios = [ratio(name, buffers, "<= 1") for name, buffers in rows.items()]
    cut = {f"a rectangle in {len(b)}, seed {n}": b for n in range(seeds) for b in [hard_buffers(n)]}
    ratios += [ratio(f"{what}, 3 % to spare", b, "<= 1.03", lower_bound(b) * 103 // 100) for what, b in cut.items()]
    return ratios + [ratio(f"{what}, nothing to spare", b, "<= 1.1") for what, b in cut.items()]


def hard_buffers(seed: int, capacity_bytes: int = 2**20) -> list[Any]:
    """150 to 450 buffers that fill an arena of that capacity to the last byte: a rectangle of time and memory, cut
    through, or into a pinwheel of five, which no cut through can make; in any order."""
    from trtlab.plan.memory import Buffer

    rng = random.Random(seed)
    count, pieces = rng.randrange(150, 451), [(0, 1024, 0, 1024)]
    while len(pieces) < count:
        piece = max(rng.sample(pieces, min(4, len(pieces))), key=lambda p: (p[1] - p[0]) * (p[3] - p[2]))
        pieces.remove(piece)
        a, b, c, d = piece
        if min(b - a, d - c) > 2 and rng.random() < 0.3:
            (x, y), (u, v) = sorted(rng.sample(range(a + 1, b), 2)), sorted(rng.sample(range(c + 1, d), 2))
            pieces += [(a, y, c, u), (y, b, c, v), (x, b, v, d), (a, x, u, d), (x, y, u, v)]
        elif b - a > 1 and (d - c < 2 or rng.random() < 0.5):
            x = rng.randrange(a + 1, b)
            pieces += [(a, x, c, d), (x, b, c, d)]
        else:
            u = rng.randrange(c + 1, max(d, c + 2))
            pieces += [(a, b, c, u), (a, b, u, d)]
    rng.shuffle(pieces)
    return [Buffer(str(n), (d - c) * capacity_bytes // 1024, a, b) for n, (a, b, c, d) in enumerate(pieces) if c < d]


BENCHES: dict[str, Callable[[], list[Ratio]]] = {
    "import": bench_import,
    "wrapper": bench_wrapper,
    "codec": bench_codec,
    "blocks": bench_blocks,
    "glassbox": bench_glassbox,
    "tuning": bench_tuning,
    "fusion": bench_fusion,
    "rewrite": bench_rewrite,
    "memory": bench_memory,
    "calibrate": bench_calibrate,
}
