"""engine/glassbox/tactics: which way is fastest? The simplest answer: run each in turns, take the smallest time.

In: name -> function, and how to time one. Out: the name and its time in microseconds. A better picker, with a cache,
can take its place.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

Work = Callable[[], Any]
Timer = Callable[[Work], Callable[[], float]]
"""Makes of a work a function that runs it and returns the seconds: `Device.timer`."""
Picker = Callable[[Mapping[str, Work], Timer], tuple[str, float]]


def fastest(works: Mapping[str, Work], timer: Timer, *, budget_s: float = 0.1, rounds: int = 10) -> tuple[str, float]:
    """The work with the smallest time of several rounds, in turns: what disturbs a run only ever adds to it. The first
    round is for nothing; after the budget two more are the least."""
    timers = {name: timer(work) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for done in range(rounds + 1):
        for name, seconds in timers.items():
            times[name].append(seconds())
        if done > 1 and time.perf_counter() - begun > budget_s:
            break
    least = {name: min(row[1:]) for name, row in times.items()}
    best = min(least, key=lambda name: least[name])
    return best, least[best] * 1e6
