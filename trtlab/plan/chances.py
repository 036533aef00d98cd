"""plan/chances: how many rounds a race needs until the right one wins, from the rounds that one race had.

In: a `Race` with all its samples. Out: how often each rule would have chosen right after fewer or other rounds.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtlab.plan.tactics import Race, is_ahead


def chances(
    found: Race, rounds: Sequence[int] = (1, 2, 4, 8, 16, 32), trials: int = 500
) -> dict[int, dict[str, float]]:
    """Rounds -> how often (0 to 1) each rule then chooses right: the least sample, the least median, and the spread
    (tactics.is_ahead). Right is who is within one in a hundred of the least lower quartile of all samples. Rounds are
    drawn from the race's own with replacement (bootstrap), whole: what slowed all candidates at once does so again."""
    running = [c.samples_s for c in found.candidates if c.samples_s]
    table, rng = np.array([s[: min(map(len, running))] for s in running]), np.random.default_rng(0)
    typical, rows = np.quantile(table, 0.25, axis=1), dict[int, dict[str, float]]()
    right = typical <= 1.01 * typical.min()
    for count in rounds:
        drawn = table[:, rng.integers(table.shape[1], size=(trials, count))]  # [candidates, trials, rounds]
        chosen = {"least": drawn.min(2).argmin(0), "median": np.median(drawn, axis=2).argmin(0)}
        chosen["spread"] = np.array([_chosen(samples) for samples in drawn.swapaxes(0, 1)])
        rows[count] = {rule: float(right[who].mean()) for rule, who in chosen.items()}
    return rows


def _chosen(samples: Any) -> int:
    """The first in preference until another is ahead of it."""
    return functools.reduce(lambda a, b: b if is_ahead(samples[b], samples[a]) else a, range(len(samples)))
