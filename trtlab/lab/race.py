"""lab/race: what choosing a kernel by a race gains, costs, and gets wrong.

In: a convolution or a product of some shape; a network's name; how noisy samples are. Out: frozen values: every
candidate's samples, builds with a timing cache and without, the roofline's guesses, errors of cheaper arithmetic, how
often rules of choice take the faster of two made-up tactics. Live on this processor; `race-cpu` and `race-h100` are
recordings. Checked by tests/lab/test_race.py.
"""

import functools
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtlab.engine import recordings
from trtlab.engine.measure import Measurement, Provenance, live, measure_in_turns, one_thread
from trtlab.graph.cost import Cost, Device
from trtlab.graph.models import Problem
from trtlab.lab import builds
from trtlab.numeric import FORMATS
from trtlab.numeric.arithmetic import rounded
from trtlab.plan.tactics import WITHIN, Race, is_ahead, pick

PACKAGES = ("torch", "numpy", "numba")
LOOPS = {
    "number by number": """
def kernel(a, b, c, n):
    for i in range(n):
        for j in range(n):
            total = f(0)
            for k in range(n):
                total += a[i * n + k] * b[k * n + j]
            c[i * n + j] = total
""",
    "row by row": """
def kernel(a, b, c, n):
    for i in range(n):
        row = c[i * n:]
        for j in range(n):
            row[j] = 0
        for k in range(n):
            x, other = a[i * n + k], b[k * n:]
            for j in range(n):
                row[j] += x * other[j]
""",
}
"""The same sums in two orders: the innermost loop walks down a column of b, or along a row."""


def products(n: int = 384) -> dict[str, Measurement]:
    """C = A B of n x n float32 numbers on one thread: the loops above, sums kept in registers (codegen/product), and
    the library. RuntimeError unless each is right against float64."""
    import torch

    from trtlab.engine.codegen import pointwise
    from trtlab.engine.codegen import product as ours

    a, b = torch.randn(2, n, n, generator=torch.Generator().manual_seed(0))
    want, found = a.double() @ b.double(), {name: torch.empty(n, n) for name in (*LOOPS, "registers", "library")}
    tile, panels = ours.generated([], lambda t: t[None], np.zeros(n, np.float32)), ours.packed(b[None])
    works: dict[str, Callable[[], Any]] = {
        name: functools.partial(pointwise.compiled(text), *(t.view(-1).numpy() for t in (a, b, found[name])), n)
        for name, text in LOOPS.items()
    }
    works["registers"] = lambda: tile(panels, a, found["registers"])
    works["library"] = lambda: torch.mm(a, b, out=found["library"])
    with one_thread():
        taken = measure_in_turns(works, warm_up=1, samples=5, sample_s=0.0, packages=PACKAGES)
    for name, result in found.items():
        if not torch.allclose(result.double(), want, rtol=0, atol=1e-5 * float(want.abs().max())):
            raise RuntimeError(f"{name} is wrong by {float((result - want).abs().max()):.2g}")
    return taken


@dataclass(frozen=True, kw_only=True)
class Raced:
    """A problem and its race."""

    problem: Problem
    race: Race
    provenance: Provenance


def race(problem: Problem, level: int = 5) -> Raced:
    """Every tactic of the glass box on one problem, on one thread; at level 5 all are timed in every round."""
    from trtlab.engine import glassbox

    with one_thread():
        engine = glassbox.build(problem.model(), pick=functools.partial(pick, level=level))
    races = [one.race for one in reversed(engine.inspect(tactics=True)) if one.race]
    found = next((one for one in races if len(one.candidates) > 1), races[0])  # what casts the result has one tactic
    return Raced(problem=problem, race=found, provenance=live(PACKAGES, samples=len(found[found.winner].samples_s)))


@dataclass(frozen=True, kw_only=True)
class Build:
    """What a build took, every kernel's tactic in order, the plan file's hash; and how long its engine runs."""

    how: str
    build_s: float
    tactics: tuple[tuple[str, str], ...]
    sha256: str
    run: Measurement | None = None


def build(name: str, how: str, **options: Any) -> Build:
    """A build of the network on one thread; the options are those of glassbox.build."""
    from trtlab.engine import glassbox
    from trtlab.engine.glassbox.plan import bytes_from_plan

    model = builds.network(name)
    with one_thread():
        started = time.perf_counter()
        engine = glassbox.build(model, **options)
        taken = time.perf_counter() - started
    tactics = tuple((kernel.name, kernel.tactic) for kernel in engine.inspect())
    digest = hashlib.sha256(bytes_from_plan(engine.plan)).hexdigest()
    return Build(how=how, build_s=taken, tactics=tactics, sha256=digest)


def cached(name: str = "light_squeezenet") -> tuple[Build, ...]:
    """No race at all, a build that fills a timing cache, and two that read it: these are the same, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        hows = ("no cache yet", "from the cache", "from the cache again")
        filled = [build(name, how, timing_cache=Path(folder) / "timing.json") for how in hows]
        return build(name, "no race", optimization_level=0), *filled


def repeated(name: str = "light_squeezenet") -> tuple[Build, ...]:
    """Two builds without a cache."""
    return build(name, "build 1"), build(name, "build 2")


def differing(found: Sequence[Build]) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """(number, name, tactic in each build) of every kernel that was not built the same way each time."""
    rows = ([*zip(*row, strict=True)] for row in zip(*(one.tactics for one in found), strict=True))
    return tuple((number, names[0], tactics) for number, (names, tactics) in enumerate(rows) if len({*tactics}) > 1)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What the roofline says each tactic takes. `choice` is the least, the first in preference among equals; `loss` its
    measured time over the winner's; right if it won, or lost by less than the spread."""

    problem: Problem
    predicted_s: Mapping[str, float]
    choice: str
    loss: float
    is_right: bool


def roof(n: int = 1024) -> Device:
    """One thread of this machine: FLOP/s of the library's product of n x n, bytes/s of a copy of 64 MB."""
    import torch

    a, b, c = torch.randn(3, n, n)
    source, target = torch.zeros(2, 2**24)
    works = {"product": lambda: torch.mm(a, b, out=c), "copy": lambda: target.copy_(source)}
    with one_thread():
        flops, copy = (min(found.samples_s) for found in measure_in_turns(works, samples=7).values())
    return Device(name="one thread", flops=2 * n**3 / flops, bandwidth=2 * source.nbytes / copy)


def guess(raced: Raced, device: Device) -> Guess:
    """The roofline's time of every candidate that ran. All that multiply directly ask for the same, but that some
    finish in one more pass; Winograd makes a quarter of the products, and transforms."""
    from trtlab.engine.codegen import images

    problem = raced.problem
    costs = {c.name: problem.direct for c in raced.race.candidates if c.samples_s}
    for name in costs:
        if name == "winograd":
            batch, depth, size, filters, _ = problem.sizes
            for_b, for_a = (2 * sum(x != 0 for row in matrix for x in row) for matrix in (images.B, images.A))
            a_tile = 72 * depth * filters + 12 * for_b * depth + 10 * for_a * filters
            more_bytes = problem.direct.bytes_moved + 4 * 27 * depth * filters
            costs[name] = Cost(flops=batch * (-(-size // 4)) ** 2 * a_tile, bytes_moved=more_bytes)
        elif "epilogue" in name or name in ("torch", "product", "addmm"):
            costs[name] = problem.direct + Cost(bytes_moved=2 * problem.result_bytes)
    predicted = {name: cost.time_s(device) for name, cost in costs.items()}
    one, won = raced.race[min(predicted, key=lambda name: predicted[name])], raced.race[raced.race.winner]
    return Guess(
        problem=problem, predicted_s=predicted, choice=one.name, loss=one.best_s / won.best_s,
        is_right=one is won or one.state == WITHIN,
    )  # fmt: skip


def accuracies(depth: int = 64, size: int = 28) -> dict[str, float]:
    """Way -> largest error against float64, of the largest result: one 3x3 convolution of normal numbers, by our
    Winograd kernel, and in narrower numbers: each product exact and each sum rounded once, as tensor cores at best."""
    import torch
    from torch.nn.functional import conv2d, unfold

    from trtlab.engine.codegen import images

    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(1, depth, size, size, generator=draw), torch.randn(depth, depth, 3, 3, generator=draw)
    columns, rows = unfold(x, 3, padding=1)[0].numpy(), w.flatten(1).numpy()
    image, out = (t.contiguous(memory_format=torch.channels_last) for t in (x, torch.empty_like(x)))
    run = images.winograd(w, np.zeros(depth, np.float32), [], [(1, 1), (1, 1)], adds=False)
    ways = {"FP32": conv2d(x, w, padding=1).numpy(), "FP32, Winograd F(4x4, 3x3)": run(image, out).numpy()}
    for name in ("TF32", "FP16", "BF16"):
        a, b = (rounded(FORMATS[name], values).astype(np.float32) for values in (rows, columns))
        ways[f"{name}, sums in FP32"] = a @ b
    a, b = (rounded(FORMATS["FP16"], values).astype(np.float32) for values in (rows, columns))
    total = np.zeros((depth, size**2), np.float16)
    for term in range(len(b)):
        total = (total + a[:, term, None] * b[term]).astype(np.float16)
    want = rows.astype(float) @ columns.astype(float)
    ways["FP16, sums in FP16"] = total
    return {way: float(abs(y.reshape(want.shape) - want).max() / abs(want).max()) for way, y in ways.items()}


@dataclass(frozen=True, kw_only=True)
class Races:
    """One run on one device: layers of ResNets and products raced, ResNet-18 built at every level."""

    races: tuple[Raced, ...]
    budgets: tuple[Build, ...]
    provenance: Provenance


def load(device: str = "h100") -> Races:
    """The recording of a GPU, or of "cpu". RecordingMissing when there is none."""
    return recordings.load(Races, f"race-{device}")


# --- noise ------------------------------------------------------------------------------------------------------------

Rule = Callable[[Sequence[float], Sequence[float]], bool]
"""Samples of the preferred tactic and of the other one -> whether the other one is taken."""
RULES: Mapping[str, Rule] = {
    "first sample": lambda a, b: b[0] < a[0],
    "mean": lambda a, b: statistics.fmean(b) < statistics.fmean(a),
    "minimum": lambda a, b: min(b) < min(a),
    "median": lambda a, b: statistics.median(b) < statistics.median(a),
    "ahead of the spread": lambda a, b: is_ahead(b, a),
}
TRIALS = 200


def samples(gap: int, noise: int, spikes: int, rounds: int, seed: int) -> tuple[list[float], list[float]]:
    """Made-up times of two tactics, in microseconds: 100, and less by `gap` per mille. What disturbs only ever adds: a
    half-normal of `noise` per mille, and now and then a spike of 20 to 80 %. The same seed gives the same times."""
    draw = random.Random(seed)

    def one(true: float) -> float:
        spike = draw.uniform(0.2, 0.8) if draw.random() < spikes / 100 else 0.0
        return true * (1 + abs(draw.gauss(0, noise / 1000)) + spike)

    first, second = ([one(true) for _ in range(rounds)] for true in (100.0, 100.0 * (1 - gap / 1000)))
    return first, second


@functools.lru_cache(maxsize=512)
def chances(gap: int, noise: int, spikes: int, rounds: int) -> Mapping[str, float]:
    """How often each rule takes the other tactic, of `TRIALS` races."""
    races = [samples(gap, noise, spikes, rounds, seed) for seed in range(1, TRIALS + 1)]
    return {name: sum(rule(a, b) for a, b in races) / TRIALS for name, rule in RULES.items()}
