"""plan: placements against the overlap check and the lower bound, lifetimes by hand, the picker with a clock."""

import random

import pytest

from trtlab.plan.lifetimes import Task, lifetimes
from trtlab.plan.memory import ALIGN, Buffer, find_overlap, lower_bound, place
from trtlab.plan.tactics import fastest


def buffers_of(*rows):
    return [Buffer(name=n, size_bytes=size, start=start, stop=stop) for n, size, start, stop in rows]


def drawn(rng):
    rows = []
    for number in range(rng.randrange(1, 40)):
        start = rng.randrange(30)
        rows.append((str(number), rng.randrange(1, 5000), start, start + rng.randrange(1, 10)))
    return buffers_of(*rows)


def test_no_placement_overlaps_and_none_is_smaller_than_what_lives_at_once():
    rng = random.Random(0)
    for _ in range(50):
        buffers = drawn(rng)
        placed = place(buffers)
        assert find_overlap(buffers, placed.offsets) is None
        assert max(placed.offsets[b.name] + b.size_bytes for b in buffers) == placed.peak_bytes
        assert not any(offset % ALIGN for offset in placed.offsets.values())
        busiest = max(sum(b.size_bytes for b in buffers if b.start <= t < b.stop) for t in range(40))
        assert lower_bound(buffers) == busiest <= placed.peak_bytes


def test_memory_is_used_again_on_a_napkin():
    assert place(buffers_of(("a", 64, 0, 1), ("b", 64, 1, 2))).peak_bytes == 64  # half-open: they never meet
    assert place(buffers_of(("a", 100, 0, 2), ("b", 64, 1, 3), ("c", 100, 2, 4))).peak_bytes == 128 + 64
    assert (place([]).peak_bytes, lower_bound([])) == (0, 0)


@pytest.mark.parametrize(("offset", "found"), [(63, ("a", "b")), (64, None)])
def test_one_shared_byte_is_an_overlap(offset, found):
    assert find_overlap(buffers_of(("a", 64, 0, 2), ("b", 64, 1, 2)), {"a": 0, "b": offset}) == found


def test_lifetimes_end_behind_the_last_reader():
    tasks = [Task(reads=["x"], writes=["a"]), Task(reads=["a"], writes=["b"]), Task(reads=["a", "b"], writes=["y"])]
    assert lifetimes(tasks, ["y"]) == {"a": (0, 3), "b": (1, 3), "y": (2, 3)}
    assert lifetimes([Task(reads=[], writes=["dead"]), *tasks], ["y"])["dead"] == (0, 1)


def test_what_may_be_seen_otherwise_lives_as_long_as_the_view():
    tasks = [
        Task(reads=["x"], writes=["a"]), Task(reads=["a"], writes=["v"], may_share=True),
        Task(reads=["x"], writes=["b"]), Task(reads=["v", "b"], writes=["y"]),
    ]  # fmt: skip
    assert lifetimes(tasks, ["y"])["a"] == (0, 4)


def test_a_home_lives_from_its_first_part_on():
    tasks = [Task(reads=["x"], writes=["p"]), Task(reads=["x"], writes=["q"]), Task(reads=["p", "q"], writes=["c"])]
    assert lifetimes(tasks, ["c"], {"q": "c", "p": "c"})["c"] == (0, 3)


def test_the_picker_takes_the_smallest_time_of_a_round_that_counts():
    seconds = {"slow": [1, 3, 3, 3], "fast": [9, 4, 2, 4], "lucky once": [0.5, 5, 5, 5]}  # the first is for nothing
    rows = {name: iter(row) for name, row in seconds.items()}
    asked = []

    def timer(work):
        name = work()
        return lambda: asked.append(name) or next(rows[name])

    works = {name: (lambda name=name: name) for name in seconds}
    assert fastest(works, timer, budget_s=1, rounds=3) == ("fast", 2e6)
    assert asked == [*seconds] * 3  # in turns; two rounds after the first are the least
