"""engine/glassbox/tactics: which way is fastest? The simplest answer that holds: run each, take the smallest median.

In: name -> function. Out: the name and its time in microseconds. A better picker, with a cache, can take its place.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Picker = Callable[[Mapping[str, Callable[[], Any]]], tuple[str, float]]


def fastest(works: Mapping[str, Callable[[], Any]], *, budget_s: float = 0.03, rounds: int = 7) -> tuple[str, float]:
    """The work with the smallest median; in turns, so that what disturbs one disturbs all. At least two rounds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for done in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
        if done and time.perf_counter() - begun > budget_s:
            break
    medians = {name: statistics.median(row[1:]) for name, row in times.items()}
    best = min(medians, key=lambda name: medians[name])
    return best, medians[best] * 1e6
