"""plan/tactics: which way is fastest? Every one runs in turns; who wins by more than the spread is taken.

In: name -> function in the order of preference, and how to time one. Out: a `Race`: the winner, and every candidate
with its samples and what became of it; and how many rounds a race needs until the right one wins. The clock is the
caller's; tests/plan/test_tactics.py turns it by hand.
"""

import functools
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Work = Callable[[], Any]
Clock = Callable[[], float]
Timer = Callable[[Work], Clock]
"""Makes of a work a function that runs it and returns the seconds it took."""
Check = Callable[[str, Any], tuple[float, float]]
"""The error of the result of the work of that name, and the bound that it states."""
WINNER, SLOWER, WITHIN, UNTIMED = "winner", "slower", "within the spread", "not timed"
LEAST_ROUNDS, LEAST_AHEAD = 3, 0.03
"""Rounds that are run in any case, before one is discarded or the budget ends a race; a smaller lead is none."""


@dataclass(frozen=True)
class Budget:
    """How much is searched: candidates timed, in the order of preference; rounds; seconds of timing for a race. One is
    discarded whose best is so many times the leader's median."""

    candidates: int
    rounds: int
    seconds: float
    discard: float = 1.5


LEVELS = (Budget(0, 0, 0.0), Budget(2, 6, 0.02), Budget(3, 10, 0.05), Budget(99, 16, 0.2), Budget(99, 24, 0.5),
          Budget(99, 48, 2.0, math.inf))  # fmt: skip
"""As TensorRT's builder optimization levels: 0 takes the first tactic that runs, 3 is the default, 5 spares nothing."""


class NoTacticError(RuntimeError):
    """Every candidate raised or was wrong."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way of several. `state` is one of the words above, "discarded after n rounds", "raised: why" or "wrong: error
    e > bound b". `preference` counts from 0; `error` is that of its result, where it was checked."""

    name: str
    preference: int
    state: str = UNTIMED
    samples_s: tuple[float, ...] = ()
    error: float | None = None

    @property
    def best_s(self) -> float:
        """The smallest sample; 0 without any."""
        return min(self.samples_s, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Race:
    """The candidates in the order of preference."""

    winner: str
    candidates: tuple[Candidate, ...]

    def __getitem__(self, name: str) -> Candidate:
        return next(c for c in self.candidates if c.name == name)

    @property
    def time_us(self) -> float:
        """The winner's best in microseconds; 0 where nothing was timed."""
        return self[self.winner].best_s * 1e6


Picker = Callable[[Mapping[str, Work], Timer, Check], Race]


def pick(
    works: Mapping[str, Work], timer: Timer, check: Check = lambda *_: (0.0, 0.0), *, level: int | Budget = 3
) -> Race:
    """Race the works, given in the order of preference, as hard as LEVELS[level] says, or a budget of your own.

    Each runs once for its result, which `check` looks at, and to be warm; then all in turns, in an order drawn anew for
    each round. The first in preference wins unless another `is_ahead`, so that builds repeat. NoTacticError if none is
    left, ValueError for a level that is not there.
    """
    budget = level if isinstance(level, Budget) else LEVELS[checked_level(level)]
    entered, clocks = dict[str, Candidate](), dict[str, Clock]()
    for number, (name, work) in enumerate(works.items()):
        entered[name] = Candidate(name=name, preference=number)
        if len(clocks) < max(1, budget.candidates):
            entered[name], clock = _entered(entered[name], work, timer, check, timed=budget.candidates > 0)
            clocks |= {name: clock} if clock else {}
    _run(entered, clocks, budget)
    return _judged(entered)


def checked_level(level: int) -> int:
    """The level. ValueError for one that is not there."""
    if type(level) is not int or level not in range(len(LEVELS)):
        raise ValueError(f"level={level!r}: expected 0 (no timing) to {len(LEVELS) - 1}, as TensorRT's builder has")
    return level


def prefer(*names: str) -> Picker:
    """A picker without a clock: the first of these names that runs, else the first that does."""

    def picker(works: Mapping[str, Work], timer: Timer, check: Check) -> Race:
        return pick({name: works[name] for name in names if name in works} | {**works}, timer, check, level=0)

    return picker


def is_ahead(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is faster than b by more than the spread: their best samples are further apart than
    a's best and its lower quartile, and three in a hundred. So the fastest quarter of a's samples,
    three at least, is below all of b's. What disturbs a machine only ever adds to its times: the
    slow samples say nothing; a lucky one wins no race."""
    count = min(len(a), len(b))
    quarter = max(LEAST_ROUNDS, count // 4)
    return count >= LEAST_ROUNDS and sorted(a[:count])[quarter - 1] < (1 - LEAST_AHEAD) * min(b[:count])


def _entered(one: Candidate, work: Work, timer: Timer, check: Check, *, timed: bool) -> tuple[Candidate, Clock | None]:
    """The candidate with its error, and its clock; no clock for one that raises, or is wrong."""
    try:
        error, bound = check(one.name, work())
        if not error <= bound:
            wrong = f"wrong: error {error:.2g} > bound {bound:.2g}"
            return replace(one, state=wrong, error=error if math.isfinite(error) else None), None
        return replace(one, error=error), timer(work) if timed else lambda: 0.0
    except Exception as raised:  # noqa: BLE001 - whatever it is, the others go on
        return _raised(one, raised), None


def _raised(one: Candidate, error: Exception) -> Candidate:
    return replace(one, state=f"raised: {type(error).__name__}: {error}"[:200])


def _run(entered: dict[str, Candidate], clocks: dict[str, Clock], budget: Budget) -> None:
    """Rounds until they, the time or the rivals are used up; `entered` then has the samples."""
    order = random.Random(0)
    for done in range(budget.rounds):
        if done >= LEAST_ROUNDS and clocks:
            best = min(statistics.median(entered[name].samples_s) for name in clocks)
            for name in [n for n in clocks if entered[n].best_s > budget.discard * best]:
                entered[name] = replace(entered[name], state=f"discarded after {done} rounds")
                del clocks[name]
            if len(clocks) < 2 or sum(sum(c.samples_s) for c in entered.values()) > budget.seconds:
                return
        for name in order.sample(list(clocks), len(clocks)):
            try:
                entered[name] = replace(entered[name], samples_s=(*entered[name].samples_s, clocks[name]()))
            except Exception as error:  # noqa: BLE001 - as above
                entered[name] = _raised(entered[name], error)
                del clocks[name]


def _judged(entered: Mapping[str, Candidate]) -> Race:
    """The race with everybody's state. `best` holds until another is ahead of it. One discarded is better than none."""
    good = [c for c in entered.values() if c.error is not None and not c.state.startswith(("raised", "wrong"))]
    running = [c for c in good if c.state == UNTIMED] or sorted(good, key=lambda c: c.best_s)[:1]
    if not running:
        raise NoTacticError(f"no tactic is left: {'; '.join(f'{c.name} {c.state}' for c in entered.values())}")
    best = running[_leader([c.samples_s for c in running])]
    states = {c.name: SLOWER if is_ahead(best.samples_s, c.samples_s) else WITHIN for c in running if c.samples_s}
    states[best.name] = WINNER
    judged = tuple(replace(c, state=states.get(c.name, c.state)) for c in entered.values())
    return Race(winner=best.name, candidates=judged)


def _leader(samples: Any) -> int:
    """Whose of these samples hold: the first's, until another's are ahead."""
    return functools.reduce(lambda a, b: b if is_ahead(samples[b], samples[a]) else a, range(len(samples)))


def chances(
    found: Race, rounds: Sequence[int] = (1, 2, 4, 8, 16, 32), trials: int = 500
) -> dict[int, dict[str, float]]:
    """Rounds -> how often (0 to 1) each rule then chooses right: the least sample, the least median, and the spread
    (is_ahead). Right is who is within one in a hundred of the least lower quartile of all samples. Rounds are
    drawn from the race's own with replacement (bootstrap), whole: what slowed all candidates at once does so again."""
    running = [c.samples_s for c in found.candidates if c.samples_s]
    table, rng = np.array([s[: min(map(len, running))] for s in running]), np.random.default_rng(0)
    typical, rows = np.quantile(table, 0.25, axis=1), dict[int, dict[str, float]]()
    right = typical <= 1.01 * typical.min()
    for count in rounds:
        drawn = table[:, rng.integers(table.shape[1], size=(trials, count))]  # [candidates, trials, rounds]
        chosen = {"least": drawn.min(2).argmin(0), "median": np.median(drawn, axis=2).argmin(0)}
        chosen["spread"] = np.array([_leader(samples) for samples in drawn.swapaxes(0, 1)])
        rows[count] = {rule: float(right[who].mean()) for rule, who in chosen.items()}
    return rows
