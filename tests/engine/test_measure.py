"""engine/measure: where a number comes from; what a Measurement keeps, on clocks that the tests wind themselves."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from trtlab.engine.measure import (
    CUDA_EVENTS,
    HOST_CLOCK,
    Measurement,
    Origin,
    Provenance,
    describe_machine,
    measure,
    measure_in_turns,
    merged,
)  # fmt: skip

MADE = Provenance(origin=Origin.LIVE, device="a desk", when="2026-11-22T10:00:00+00:00")


class Clock:
    """Stands still until a work moves it."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def work(self, seconds, name="", result=None):
        """A work that takes so long; `seconds` may be a function of how often it ran."""

        def run():
            self.log.append(name)
            self.now += seconds(self.log.count(name) - 1) if callable(seconds) else seconds
            return result

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sys.modules[Measurement.__module__], "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def measurement(*samples_s):
    return Measurement(name="m", samples_s=samples_s, calls=2, clock=HOST_CLOCK, provenance=MADE)


def test_median_and_quartiles_of_known_samples():
    found = measurement(5.0, 1.0, 2.0, 4.0, 3.0)
    assert (found.median_s, found.quartiles_s) == (3.0, (2.0, 4.0))
    assert (measurement(7.0).median_s, measurement(7.0).quartiles_s) == (7.0, (7.0, 7.0))


def test_what_is_no_sample(clock):
    """Warm-up, one call to see how long it takes, and a quarter of the calls before each sample."""
    slow_at_first = clock.work(lambda ran: 9.0 if ran < 5 else 0.01)
    found = measure(slow_at_first, warm_up=5, samples=3, packages=("numpy", "no-such-package"))
    assert found.samples_s == pytest.approx([0.01] * 3)
    assert (found.calls, len(clock.log)) == (1, 5 + 1 + 3)
    made = found.provenance
    assert (made.origin, made.samples, [name for name, _ in made.versions]) == (Origin.LIVE, 3, ["numpy"])
    assert made.device == describe_machine()
    clock.log.clear()
    found = measure(clock.work(1e-4), samples=1)
    assert (len(clock.log), found.samples_s) == (3 + 1 + 2 + found.calls, pytest.approx((1e-4,)))
    assert found.calls in (9, 10, 11)  # a millisecond of calls


def test_after_the_budget_five_rounds_are_enough(clock):
    for budget, samples, taken in ((0.1, 99, 5), (7.5, 99, 8), (0.1, 2, 2)):
        assert len(measure(clock.work(1.0), budget_s=budget, samples=samples).samples_s) == taken


def test_works_take_turns(clock):
    works = {name: clock.work(0.1, name) for name in "abc"}
    measure_in_turns(works, warm_up=1, samples=20, budget_s=99)
    turns = clock.log[6:]
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert [sorted(turn) for turn in rounds] == [["a", "b", "c"]] * 20
    assert len(set(map(tuple, rounds))) > 2  # nobody always comes first


def test_a_machine_that_slows_down_leaves_the_ratio_alone(clock):
    def drifting(seconds):
        return lambda ran: seconds * (1 + ran)

    works = {"slow": clock.work(drifting(3.0), "slow"), "fast": clock.work(drifting(1.0), "fast")}
    found = measure_in_turns(works, samples=9, budget_s=1e9)
    assert found["slow"].ratio_to(found["fast"]) == pytest.approx(3.0)
    assert found["fast"].quartiles_s[1] > 1.2 * found["fast"].quartiles_s[0]


def test_work_on_a_gpu_is_timed_by_events(clock, monkeypatch):
    """A result on a GPU is enough. The host's clock stands at 1 s a call, the GPU's events at 2 ms."""
    gpu = SimpleNamespace(now_ms=0.0, synchronised=0)

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = gpu.now_ms

        def synchronize(self):
            gpu.synchronised += 1

        def elapsed_time(self, other):
            return other.at - self.at

    def work():
        clock.now += 1.0
        gpu.now_ms += 2.0
        return [SimpleNamespace(is_cuda=True)]

    cuda = SimpleNamespace(Event=Event, synchronize=lambda: None, get_device_name=lambda: "a GPU")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    found = measure(work, name="w", samples=2, sample_s=0.01)
    assert (found.samples_s, found.calls, found.clock) == (pytest.approx((2e-3, 2e-3)), 5, CUDA_EVENTS)
    assert (found.provenance.device, gpu.synchronised) == ("a GPU", 3)


def test_what_cannot_be_measured_or_compared_is_refused():
    for how in ({"samples": 0}, {"warm_up": 0}):
        with pytest.raises(ValueError, match=r"got 1 works, .*=0.*; expected at least 1"):
            measure(print, **how)
    with pytest.raises(ValueError, match="got 0 works"):
        measure_in_turns({})
    with pytest.raises(ValueError, match="shorter"):
        measurement(1.0, 2.0).ratio_to(measurement(1.0))


@pytest.mark.gpu
def test_a_real_gpu():
    import torch

    a = torch.ones(2**20, device="cuda")
    found = measure(lambda: a + a, packages=["torch"])
    assert (found.clock, found.provenance.device) == (CUDA_EVENTS, torch.cuda.get_device_name())
    assert found.median_s > 0


# --- provenance -------------------------------------------------------------------------------------------------------


def test_the_line_for_a_figure_has_no_gap_and_merging_keeps_one_per_origin_device_and_day():
    numpy = (("numpy", "2.4"),)
    made = Provenance(origin=Origin.RECORDED, device="a GPU", when=MADE.when, versions=numpy, samples=20)
    assert made.line() == "RECORDED on a GPU, 2026-11-22, numpy 2.4, 20 samples"
    assert replace(made, versions=(), samples=1).line() == "RECORDED on a GPU, 2026-11-22, 1 sample"
    parts = [replace(MADE, versions=(("onnx", "1"),)), replace(MADE, versions=(("onnx", "1"), ("torch", "2")))]
    others = [replace(MADE, origin=Origin.RECORDED), replace(MADE, device="b"), replace(MADE, when="2026-11-23T10:00")]
    found = merged(parts + others)
    assert found[1:] == tuple(others)
    assert found[0].versions == (("onnx", "1"), ("torch", "2"))
