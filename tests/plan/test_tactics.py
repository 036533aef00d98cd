"""plan/tactics: races by clocks that the test turns: quiet ones, spikes, drift, other loads, lucky readings."""

import random

import pytest

from trtlab.plan.tactics import LEVELS, Budget, NoTacticError, is_ahead, pick, prefer


def raced(clocks, check=lambda *_: (0.0, 1.0), **how):
    """(the race, how often each was timed): `clocks` are lists of seconds, the last for ever, or functions."""
    runs = dict.fromkeys(clocks, 0)

    def timer(work):
        name = work()

        def seconds():
            clock, runs[name] = clocks[name], runs[name] + 1
            return clock() if callable(clock) else clock[min(runs[name], len(clock)) - 1]

        return seconds

    return pick({name: lambda name=name: name for name in clocks}, timer, check, **how), runs


def states(race):
    return {c.name: c.state for c in race.candidates}


def test_who_wins_by_more_than_the_spread_is_taken_and_everybody_told_why():
    race, runs = raced({"a": [3e-6, 3.1e-6], "b": [2e-6, 2.02e-6] * 9, "c": [2.01e-6], "far": [4e-6]})
    assert states(race) == {"a": "slower", "b": "winner", "c": "within the spread", "far": "discarded after 3 rounds"}
    assert (race.winner, round(race.time_us, 2)) == ("b", 2.0)
    assert (race["far"].samples_s, race["far"].preference) == ((4e-6,) * 3, 3)
    assert runs == {"a": 16, "b": 16, "c": 16, "far": 3}


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_lead_below_one_in_a_hundred_or_below_the_spread_leaves_it_to_the_preference(first):
    order = (first, "ab".replace(first, ""))
    for clocks in ({"a": [1.0], "b": [1.009]}, {"a": [1, 1.4, 1.2], "b": [1.1, 1.2, 1.5]}):
        assert raced({name: clocks[name] for name in order})[0].winner == first


def noise(kind, seed):
    """One clock for all works, as a machine has one load: seconds of a work that takes `s` alone."""
    rng, calls, slow = random.Random(seed), 0, False

    def after(s):
        nonlocal calls, slow
        calls += 1
        slow = rng.random() < (0.8 if slow else 0.1)
        factors = {
            "one-sided": 1 + rng.expovariate(50),
            "spikes": 1 + 0.003 * rng.gauss(0, 1) + (rng.random() < 0.1) * rng.uniform(0, 20),
            "drift": 1 + calls / 200 + 0.002 * rng.gauss(0, 1),
            "alternating": 1.5 if calls % 2 else 1.0,
            "another's load": (2.0 if slow else 1.0) * (1 + 0.003 * rng.gauss(0, 1)),
        }
        return s * factors[kind]

    return after


@pytest.mark.parametrize("kind", ["one-sided", "spikes", "drift", "another's load"])
def test_through_noise_the_faster_one_wins_and_of_equals_the_preferred_one(kind):
    def winners(**alone):
        found = []
        for seed in range(200):
            after = noise(kind, seed)
            clocks = {name: lambda s=s, after=after: after(s) for name, s in alone.items()}
            found.append(raced(clocks, level=Budget(99, 24, 1e9))[0].winner)
        return found

    assert winners(preferred=1.2, other=1.0).count("other") >= 190
    assert winners(preferred=1.0, other=1.2).count("preferred") >= 195
    assert winners(preferred=1.0, other=1.0).count("preferred") >= 194


def test_a_clock_that_alternates_does_not_make_a_winner_of_who_comes_second():
    for seed in range(20):
        after = noise("alternating", seed)
        after(1) if seed % 2 else None
        race, _ = raced({"a": lambda after=after: after(1.0), "b": lambda after=after: after(1.0)}, level=5)
        assert states(race) == {"a": "winner", "b": "within the spread"}


def test_a_work_alone_or_far_ahead_ends_the_race_and_so_does_the_budget():
    assert raced({"best": [2e-6], "far": [5e-6]})[1] == {"best": 3, "far": 3}
    assert raced({"only": [2e-6]})[1] == {"only": 3}
    assert raced({"a": [0.02], "b": [0.02]}, level=Budget(9, 9, 0.17))[1] == {"a": 5, "b": 5}
    assert raced({"a": [5], "b": [5]})[1] == {"a": 3, "b": 3}


def test_levels_time_nobody_then_the_first_in_preference_then_all_and_ever_longer():
    clocks = {name: [1e-6] for name in "abcd"} | {"d": [1e-7]}
    for level, timed in enumerate(("", "ab", "abc", "abcd", "abcd", "abcd")):
        race, runs = raced(clocks, level=level)
        assert ("".join(name for name in runs if runs[name]), race.winner) == (timed, "d" if "d" in timed else "a")
        assert {c.state for c in race.candidates if not runs[c.name]} <= {"not timed", "winner"}
    assert [b.rounds for b in LEVELS] == sorted({b.rounds for b in LEVELS})
    for level in (-1, 6, 2.0, True, None):
        with pytest.raises(ValueError, match=f"level={level}: expected 0 .* to 5"):
            raced(clocks, level=level)


def fails(_=None):
    raise OverflowError("no room")


def test_who_raises_or_leaves_its_bound_is_discarded_and_reported():
    errors = {"good": (1e-7, 1e-4), "off": (3e-2, 1e-2), "lost": (float("nan"), 1e-2)}

    def check(name, result):
        assert name == result
        return errors.get(name, (0.0, 0.0)) if name != "shapeless" else fails()

    clocks = {"shapeless": [1], "off": [1e-9], "late": [1, 1, 1, 1], "lost": [1], "good": [2]}
    works = {name: lambda name=name: name for name in clocks} | {"broken": fails}
    late = iter([2e-6] * 4)
    timer = lambda work: (lambda: next(late, None) or fails()) if work() == "late" else lambda: 2e-6  # noqa: E731
    race = pick(works, timer, check, level=5)
    assert states(race) == {
        "shapeless": "raised: OverflowError: no room", "off": "wrong: error 0.03 > bound 0.01",
        "late": "raised: OverflowError: no room", "lost": "wrong: error nan > bound 0.01", "good": "winner",
        "broken": "raised: OverflowError: no room",
    }  # fmt: skip
    assert (race["off"].error, race["good"].error, race["broken"].error) == (3e-2, 1e-7, None)
    with pytest.raises(NoTacticError, match="no tactic is left: broken raised: OverflowError: no room"):
        pick({"broken": fails}, timer)


def test_one_discarded_wins_where_the_leader_breaks_later():
    times = {"fast": iter([1.0] * 4), "slow": iter([9.0] * 9)}
    assert pick({n: lambda n=n: n for n in times}, lambda work: times[work()].__next__, level=5).winner == "fast"
    times = {"fast": iter([1e-6] * 3), "slow": iter([9e-6] * 9), "near": iter([1.01e-6] * 3)}
    race = pick({n: lambda n=n: n for n in times}, lambda work: times[work()].__next__, level=5)
    assert (race.winner, race["fast"].state[:21]) == ("slow", "raised: StopIteration")


def test_a_preference_takes_the_first_that_runs():
    works = {"a": fails, "b": lambda: 1, "c": lambda: 2}
    for names, winner in (("ca", "c"), ("xac", "c"), ("", "b")):
        race = prefer(*names)(works, fails, lambda *_: (0.0, 0.0))
        assert (race.winner, race.time_us, race[winner].state) == (winner, 0.0, "winner")


def test_one_lucky_reading_wins_no_race_and_hides_no_winner_for_long():
    assert raced({"a": [1e-6], "b": [1.1e-6, 1e-9, 1.1e-6]})[0].winner == "a"
    assert raced({"b": [1.1e-6, 1e-9, 1.1e-6], "a": [1e-6]})[0]["a"].state == "within the spread"


def test_ahead_is_never_both_ways():
    rng = random.Random(0)
    for _ in range(2000):
        a, b = ([rng.choice([1.0, 1.01, 1.3, 5.0]) for _ in range(rng.randint(0, 12))] for _ in range(2))
        assert not (is_ahead(a, b) and is_ahead(b, a))
