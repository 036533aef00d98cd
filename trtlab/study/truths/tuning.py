"""study/truths/tuning: who wins where, which rule repeats, what a timing cache depends on, for quizzes.

In: lab/race, its recording, the glass box. Out: `Found`s; the words are in words/quizzes.
"""

from typing import Any

from trtlab.study.found import Found, computed

SIZES = ((64, 56), (128, 28), (512, 7))


def where_winograd_stops() -> Found:
    """The convolution at which Winograd loses most, of three."""
    from trtlab.graph.problem import conv
    from trtlab.lab import race

    recorded, ratios = race.load("cpu"), dict[str, float]()
    for depth, size in SIZES:
        name = conv(depth, size).name
        found = next(one.race for one in recorded.races if one.problem.name == name)
        others = [c.best_s for c in found.candidates if c.samples_s and c.name != "winograd"]
        ratios[f"{size}x{size}x{depth}"] = min(others) / found["winograd"].best_s
    said = ", ".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items())
    least = min(ratios, key=lambda name: ratios[name])
    return Found(value=least, facts={"ratios": said}, provenance=recorded.provenance)


def rule_that_repeats() -> Found:
    """The rule whose choice two builds share most often, between two equal tactics."""
    from trtlab.lab.race import TRIALS, chances

    shares = chances(gap=0, noise=40, spikes=10, rounds=10)
    asked = {name: shares[name] for name in ("ahead of the spread", "minimum", "mean")}
    said = ", ".join(f"{name} {share:.0%}" for name, share in asked.items())
    best = max(asked, key=lambda name: asked[name] ** 2 + (1 - asked[name]) ** 2)
    return computed(best, shares=said, trials=TRIALS)


def what_keeps_a_cache() -> Found:
    """The change after which a build finds all its races in the timing cache of another one."""
    from onnx import numpy_helper

    from trtlab.engine import glassbox
    from trtlab.engine.glassbox.device import Device
    from trtlab.engine.glassbox.timing import TimingCache, made_with
    from trtlab.engine.measure import live, one_thread
    from trtlab.graph.problem import conv

    def races(cache: TimingCache, batch: int = 1, factor: float = 1, level: int = 1) -> int:
        model = conv(16, 8, batch=batch).model()
        for weight in model.graph.initializer:
            values = factor * numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(values.astype("float32"), weight.name))
        glassbox.build(model, optimization_level=level, timing_cache=cache)
        return len(cache.races)

    added = {}
    with one_thread():
        changes: dict[str, dict[str, Any]] = {"weights": {"factor": 0.7}, "batch": {"batch": 4}, "level": {"level": 2}}
        for name, change in changes.items():
            cache = TimingCache(made_with=made_with(Device("cpu")))
            known = races(cache)
            added[name] = races(cache, **change) - known
    said = ", ".join(f"{name} {count}" for name, count in added.items())
    (kept,) = [name for name, count in added.items() if count == 0]
    return Found(value=kept, facts={"added": said}, provenance=live(["torch", "numba"]))
