"""engine/glassbox: placements against the overlap check, the picker on a clock."""

import random
import time

import numpy as np

from trtlab.engine.glassbox import memory
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.tactics import fastest


def test_no_placement_overlaps_and_memory_is_used_again():
    rng = random.Random(0)
    for _ in range(50):
        buffers = {}
        for number in range(rng.randrange(1, 40)):
            start = rng.randrange(30)
            buffers[str(number)] = (rng.randrange(1, 5000), start, start + rng.randrange(1, 10))
        offsets, peak = memory.place(buffers)
        assert memory.find_overlap(buffers, offsets) is None
        assert max(offsets[n] + buffers[n][0] for n in buffers) == peak
    assert memory.place({"a": (64, 0, 1), "b": (64, 1, 2)})[1] == 64
    assert memory.find_overlap({"a": (64, 0, 2), "b": (64, 1, 2)}, {"a": 0, "b": 63}) == ("a", "b")


def test_the_picker_takes_the_smallest_time():
    name, time_us = fastest({"slow": lambda: time.sleep(0.003), "fast": lambda: None}, Device("cpu").timer)
    assert name == "fast"
    assert time_us < 3000
    assert np.isfinite(time_us)
