"""plan/tactics: the fastest of several works, by a clock that the test turns."""

from trtlab.plan.tactics import fastest


def raced(times, **limits):
    """(what fastest says, how often each ran): `times` are the seconds of each work, round by round."""
    runs = dict.fromkeys(times, 0)

    def timer(name):
        def seconds():
            runs[name] += 1
            row = times[name]
            return row[min(runs[name], len(row)) - 1]

        return seconds

    return fastest({name: name for name in times}, timer, **limits), runs


def test_the_smallest_time_wins_and_the_first_round_is_for_nothing():
    (name, us), runs = raced({"a": [1e-9, 3e-6, 2e-6], "b": [1, 2.5e-6, 2.5e-6]}, budget_s=9)
    assert (name, round(us, 9)) == ("a", 2.0)
    assert runs == {"a": 11, "b": 11}


def test_a_work_far_behind_is_not_run_again_and_one_alone_ends_the_race():
    _, runs = raced({"best": [2e-6], "near": [4e-6], "far": [4.1e-6]})
    assert runs == {"best": 11, "near": 11, "far": 3}
    assert raced({"best": [2e-6], "far": [5e-6]})[1] == {"best": 3, "far": 3}
    assert raced({"only": [2e-6]})[1] == {"only": 3}


def test_no_further_round_starts_once_the_budget_is_spent():
    assert raced({"a": [0.02], "b": [0.02]}, budget_s=0.2)[1] == {"a": 6, "b": 6}
    assert raced({"a": [5], "b": [5]}, budget_s=0.1)[1] == {"a": 3, "b": 3}
