"""lab/noise: what noise does to a choice between two tactics: made-up times, and the rules by which one is chosen.

In: how far the two are apart, how noisy samples are, how many there are. Out: how often each rule takes the second one.
"""

import functools
import random
import statistics
from collections.abc import Callable, Mapping, Sequence

from trtlab.plan.tactics import is_ahead

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
def chances(gap: int, noise: int, spikes: int, rounds: int) -> dict[str, float]:
    """How often each rule takes the other tactic, of `TRIALS` races."""
    races = [samples(gap, noise, spikes, rounds, seed) for seed in range(1, TRIALS + 1)]
    return {name: sum(rule(a, b) for a, b in races) / TRIALS for name, rule in RULES.items()}
