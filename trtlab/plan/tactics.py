"""plan/tactics: which way is fastest? The simplest answer: run each in turns, take the smallest time.

In: name -> function, and how to time one. Out: the name and its time in microseconds. The clock is the caller's. A
better picker, with a cache, can take its place.
"""

from collections.abc import Callable, Mapping
from typing import Any

Work = Callable[[], Any]
Timer = Callable[[Work], Callable[[], float]]
"""Makes of a work a function that runs it and returns the seconds it took."""
Picker = Callable[[Mapping[str, Work], Timer], tuple[str, float]]


def fastest(works: Mapping[str, Work], timer: Timer, *, budget_s: float = 0.1, rounds: int = 10) -> tuple[str, float]:
    """The work with the smallest time of several rounds, in turns: what disturbs a run only ever adds to it. The first
    round is for nothing; two more are the least, further ones as long as less than the budget was spent, and among
    those that are at most twice as slow as the best."""
    timers = {name: timer(work) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for done in range(rounds + 1):
        least = {name: min(row[1:], default=0) for name, row in times.items()}
        running = [name for name in works if done < 3 or least[name] <= 2 * min(least.values())]
        if done > 2 and (len(running) == 1 or sum(map(sum, times.values())) > budget_s):
            break
        for name in running:
            times[name].append(timers[name]())
    least = {name: min(row[1:]) for name, row in times.items()}
    best = min(least, key=lambda name: least[name])
    return best, least[best] * 1e6
