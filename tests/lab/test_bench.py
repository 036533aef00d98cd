"""lab/bench: ratios that know their target and where they come from. No test asserts a time."""

import json
import math
import sys
from dataclasses import replace

import pytest
import torch

from trtlab.engine.measure import HOST_CLOCK, Measurement, Origin, Provenance
from trtlab.lab import bench
from trtlab.lab.bench import COPY, run_benches
from trtlab.plan.memory import lower_bound

MADE = Provenance(origin=Origin.LIVE, device="a desk", when="2026-11-22T10:00:00+00:00", samples=3)


@pytest.mark.parametrize(
    ("value", "target", "met", "shown", "said"),
    [
        (1.15, "<= 1.15", True, "1.15x", "<= 1.15x"),  # the bound itself is met
        (1.1501, "<= 1.15", False, "1.15x", "<= 1.15x"),
        (math.nan, "<= 1.15", False, "nanx", "<= 1.15x"),
        (9.99, ">= 10", False, "9.99x", ">= 10x"),
        (98.7654, "<= 150 ms", True, "98.8 ms", "<= 150 ms"),
    ],
)
def test_a_row_says_its_value_its_target_and_whether_it_is_met(value, target, met, shown, said):
    made = bench._row("what", value, target, MADE)
    assert (made.met, made.shown_value, made.target) == (met, shown, said)
    assert json.loads(json.dumps(made.to_dict()))["met"] == met


def test_one_benchmark_or_all_of_them_in_order(monkeypatch):
    with pytest.raises(ValueError, match=r"'speed'.*import, wrapper, codec, blocks, glassbox, tuning, fusion"):
        run_benches("speed")
    row = bench._row("w", 1.0, "<= 1", MADE)
    monkeypatch.setattr(bench, "BENCHES", {"a": lambda: [row], "b": lambda: [row, row]})
    assert [r.name for r in run_benches()] == ["a", "b", "b"]
    assert [r.name for r in run_benches("b")] == ["b", "b"]


@pytest.fixture
def clock(monkeypatch):
    """Every work runs once; then the samples, in seconds, are those that the test sets for its name."""
    seconds = {}

    def in_turns(works, rounds, *packages):
        for work in works.values():
            work()
        made = replace(MADE, samples=rounds, versions=tuple((package, "1") for package in packages))
        return {
            name: Measurement(name=name, samples_s=(seconds[name],), calls=1, clock=HOST_CLOCK, provenance=made)
            for name in works
        }

    monkeypatch.setattr(bench, "_in_turns", in_turns)
    return seconds


def test_the_codec_benchmark_compares_both_ways_with_a_peer_and_with_a_copy(clock):
    clock |= {"encode": 1, "decode": 2, "peer encode": 10, "peer decode": 40, "copy": 4}
    ratios = bench.bench_codec(count=1000, rounds=7)
    assert len(ratios) == 4 * len(bench.CODEC_PEERS)
    assert [(r.what, r.peer, r.value, r.bound) for r in ratios[:4]] == [
        ("FP16 encode", "numpy.float16", 10, 8.0), ("FP16 encode", COPY, 4, 0.7),
        ("FP16 decode", "numpy.float16", 20, 5.0), ("FP16 decode", COPY, 2, 0.7),
    ]  # fmt: skip
    assert all(r.larger_is_better and r.provenance.samples == 7 for r in ratios)


@pytest.mark.slow
def test_the_block_benchmark_compares_with_torchao(clock):
    pytest.importorskip("torchao", reason="torchao is not installed")
    clock |= {"torchao": 6, "ours": 2}
    ratios = bench.bench_blocks(count=6400, rounds=1)
    assert len(ratios) == 3
    assert {(r.peer, r.value, r.larger_is_better) for r in ratios} == {("torchao", 3, True)}


def test_the_block_benchmark_without_its_peer_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.prototype.mx_formats.mx_tensor", None)
    with pytest.warns(UserWarning, match="no peer for `trtlab bench blocks`.*pip install torchao"):
        assert bench.bench_blocks(count=6400, rounds=1) == []


def test_the_import_benchmark_subtracts_a_bare_start(clock, monkeypatch):
    started = []
    monkeypatch.setattr(bench.subprocess, "run", lambda command, **_: started.append(command[-1]))
    clock |= {"pass": 0.02, "import trtlab": 0.05}
    (result,) = bench.bench_import(rounds=2)
    assert (result.unit, result.value, started) == ("ms", pytest.approx(30), ["pass", "import trtlab"])


def test_one_call_a_round_and_ratios_round_by_round():
    calls = {"a": 0, "b": 0}
    works = {name: lambda name=name: calls.update({name: calls[name] + 1}) for name in calls}
    taken = bench._in_turns(works, 7, "numpy")
    assert [(len(one.samples_s), one.calls) for one in taken.values()] == [(7, 1)] * 2
    assert set(calls.values()) == {7 + 2}  # one to warm up, one to see how long it takes
    (found,) = bench._rows(taken, ("w", "a", "b", "<= 2", "p"))
    assert (found.value, found.provenance) == (taken["a"].ratio_to(taken["b"]), taken["a"].provenance)


@pytest.mark.slow
def test_every_target_of_the_engine_is_measured(monkeypatch):
    monkeypatch.setattr(bench, "LATENCIES", {"digits": ("<= 9", "<= 9")})
    live, share, *recorded = bench.bench_glassbox(rounds=3)
    assert min(live.value, share.value) > 0
    assert (live.target, live.provenance.origin, share.target) == ("<= 9x", Origin.LIVE, ">= 0.85x")
    assert live.peer.endswith(torch.backends.cpu.get_cpu_capability())
    assert {(r.unit, r.provenance.origin) for r in recorded} == {("µs", Origin.RECORDED)}


def test_every_target_of_fusion_is_measured():
    *live, recorded = bench.bench_fusion(sizes=(1024,), rounds=2)
    assert [(r.peer, r.target) for r in live] == [
        (COPY, "<= 1.111x"), ("3 operations", "<= 1.3x"), ("numpy, out=", ">= 8x")
    ]  # fmt: skip
    assert all(r.value > 0 and r.provenance.origin is Origin.LIVE for r in live)
    assert (recorded.peer, recorded.target, recorded.met) == (COPY, ">= 0.97x", True)
    assert recorded.provenance.origin is Origin.RECORDED


def test_the_rewriter_is_timed_at_two_sizes():
    ratios = bench.bench_rewrite(sizes=(20, 60), rounds=1)
    assert [r.unit for r in ratios] == ["s", ""] * len(bench.GROWING)
    assert all(r.value > 0 for r in ratios)


@pytest.mark.slow
def test_arenas_are_measured_against_the_bound():
    buffers = bench.hard_buffers(3)
    assert sum(b.size_bytes * (b.stop - b.start) for b in buffers) == 2**20 * 1024
    assert (150 <= len(buffers) <= 450, lower_bound(buffers)) == (True, 2**20)
    found = bench.bench_memory(seeds=1, networks=("light_squeezenet",), budget_s=0.1)
    assert [ratio.value for ratio in found[:2]] == [1.0, 1.0]
    assert all(1.0 <= ratio.value < 1.6 for ratio in found[2:])
    assert len(found) == 4


@pytest.mark.slow
def test_calibration_is_measured_in_milliseconds_and_against_the_naive_search():
    """An infinite time would say that the two found different bins."""
    found = {f"{r.what}, {r.peer}": r for r in bench.bench_calibrate(count=40_000, rounds=1)}
    assert len(found) == 12
    assert all(0 < r.value < math.inf for r in found.values())
    assert {r.unit for name, r in found.items() if name.endswith(", ")} == {"ms", "G values/s"}


@pytest.mark.slow
def test_tuning_is_timed_from_nothing_and_from_a_cache_and_repeats_are_counted():
    nothing, cache, differ = bench.bench_tuning("digits", rounds=2)
    assert (nothing.target, cache.target) == ("<= 3 s", "<= 0.3 s")
    assert 0 < cache.value < nothing.value
    assert 0 <= differ.value <= 1
