"""study/truths/tuning: where kernels come from, who wins where, what a timing cache depends on: C59 to C63.

In: builds, lab/race and its recordings, races of tactics run here in the glass box. Out: `Found`s.
"""

from collections import Counter
from typing import Any

from onnx import numpy_helper

from trtlab.engine.measure import one_thread
from trtlab.graph.models import conv
from trtlab.lab import builds, race
from trtlab.lab.race import TRIALS, chances
from trtlab.study.found import Found, computed, seen
from trtlab.study.witnesses import sizes

SIZES = ((64, 56), (128, 28), (512, 7))
STUB = "__myelin_CASK_STUB"
BESIDE = ("torch", "numba")
NETWORK = "resnet18-FP32-SM89-static"


# --- quizzes ----------------------------------------------------------------------------------------------------------


def where_winograd_stops() -> Found:
    """The convolution at which Winograd loses most, of three."""
    recorded, ratios = race.load("cpu"), dict[str, float]()
    races = {one.problem.name: one.race for one in recorded.races}
    for depth, size in SIZES:
        found = races[conv(depth, size).name]
        others = [c.best_s for c in found.candidates if c.samples_s and c.name != "winograd"]
        ratios[f"{size}x{size}x{depth}"] = min(others) / found["winograd"].best_s
    return seen(recorded, min(ratios, key=ratios.__getitem__), ratios=sizes(ratios))


def rule_that_repeats() -> Found:
    """The rule whose choice two builds share most often, between two equal tactics."""
    shares = chances(gap=0, noise=40, spikes=10, rounds=10)
    asked = {name: shares[name] for name in ("ahead of the spread", "minimum", "mean")}
    best = max(asked, key=lambda name: asked[name] ** 2 + (1 - asked[name]) ** 2)
    return computed(best, shares=sizes(asked, ".0%"), trials=TRIALS)


def what_keeps_a_cache() -> Found:
    """The change after which a build finds all its races in the timing cache of another one."""
    from trtlab.engine import glassbox
    from trtlab.engine.glassbox.device import Device
    from trtlab.engine.glassbox.timing import TimingCache, made_with

    def races(cache: TimingCache, batch: int = 1, factor: float = 1, level: int = 1) -> int:
        model = conv(16, 8, batch=batch).model()
        for weight in model.graph.initializer:
            values = factor * numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(values.astype("float32"), weight.name))
        glassbox.build(model, optimization_level=level, timing_cache=cache)
        return len(cache.races)

    def added_by(**change: Any) -> int:
        cache = TimingCache(made_with=made_with(Device("cpu")))
        known = races(cache)
        return races(cache, **change) - known

    with one_thread():
        added = {"weights": added_by(factor=0.7), "batch": added_by(batch=4), "level": added_by(level=2)}
    (kept,) = [name for name, count in added.items() if count == 0]
    return computed(kept, referees=BESIDE, added=sizes(added, "d"))


# --- claims -----------------------------------------------------------------------------------------------------------


def library_and_generated() -> Found:
    """Kernels by type, of which some are generated, and most are left to the device that runs them."""
    report = builds.recorded(NETWORK)
    counts = Counter(kernel.type for kernel in report.kernels)
    first = {kernel.type: kernel.name for kernel in reversed(report.kernels)}
    rows = [(kind, count, first[kind]) for kind, count in counts.most_common()]
    tactics = [kernel.tactic for kernel in report.kernels]
    left = sum(tactic in ("", STUB) for tactic in tactics)
    facts = {"network": report.model_name, "open": left, "kernels": len(tactics), "stub": STUB}
    return seen(report, counts["kgen"] > 0 and STUB in tactics and 2 * left > len(tactics), rows, **facts)


def candidates_are_timed() -> Found:
    from trtlab.engine import glassbox

    with one_thread():
        races = glassbox.build(builds.model("conv_relu")).inspect(tactics=True)
    longest = max((one.race for one in races if one.race), key=lambda race: len(race.candidates))
    timed = [one for one in longest.candidates if one.samples_s]
    rows = [(one.name, f"{one.best_s * 1e6:.1f}", len(one.samples_s), one.state) for one in longest.candidates]
    taken = sum(len(one.samples_s) for one in timed)
    return computed(len(timed) > 1, rows, BESIDE, taken, timed=len(timed), taken=taken, winner=longest.winner)


def winner_depends_on_shape() -> Found:
    recorded = race.load("h100")
    rows, winners = [], set()
    for one in recorded.races:
        times = sorted(c.best_s for c in one.race.candidates if c.samples_s)
        if one.problem.op == "conv" and len(times) > 1:
            rows.append((one.problem.name, one.race.winner, f"{times[1] / times[0]:.2f}"))
            winners.add(one.race.winner)
    return seen(recorded, len(winners) > 1, rows)
