"""engine/bench: ratios that know their target and where they come from. No test asserts a time."""

import json
import sys

import pytest

from trtlab.engine import bench
from trtlab.engine.bench import run_benches
from trtlab.engine.measure import Origin, Provenance, Ratio

MADE = Provenance(origin=Origin.LIVE, device="a desk", when="2026-11-22T10:00:00+00:00", samples=3)


def ratio(**values):
    return Ratio(**{"name": "n", "what": "w", "value": 1.0, "bound": 1.15, "peer": "p", "provenance": MADE} | values)


@pytest.mark.parametrize(("value", "met"), [(0.0, True), (1.149, True), (1.15, True), (1.1501, False), (9.0, False)])
def test_smaller_is_better_and_the_bound_itself_is_met(value, met):
    assert ratio(value=value).met is met


def test_a_value_that_is_no_number_meets_nothing():
    assert not ratio(value=float("nan")).met


@pytest.mark.parametrize(
    ("values", "shown", "target"),
    [
        ({"value": 1.0345}, "1.03x", "<= 1.15x"),
        ({"value": 98.7654, "bound": 150.0, "unit": "ms"}, "98.8 ms", "<= 150 ms"),
        ({"value": 0.0, "bound": 2.0}, "0x", "<= 2x"),
    ],
)
def test_value_and_target_are_shown_with_their_unit(values, shown, target):
    assert (ratio(**values).shown_value, ratio(**values).target) == (shown, target)


@pytest.mark.parametrize(("value", "met"), [(9.99, False), (10.0, True), (40.0, True), (float("nan"), False)])
def test_larger_may_be_better(value, met):
    speed = ratio(value=value, bound=10.0, larger_is_better=True)
    assert (speed.met, speed.target, speed.to_dict()["larger_is_better"]) == (met, ">= 10x", True)


def test_json_holds_value_peer_target_verdict_and_provenance():
    values = json.loads(json.dumps(ratio(value=2.0).to_dict()))
    assert values["provenance"] == {
        "origin": "LIVE", "device": "a desk", "when": "2026-11-22T10:00:00+00:00", "versions": [], "samples": 3,
        "command": None,
    }  # fmt: skip
    assert {key: values[key] for key in ("name", "what", "value", "bound", "peer", "unit", "met")} == {
        "name": "n", "what": "w", "value": 2.0, "bound": 1.15, "peer": "p", "unit": "", "met": False,
    }  # fmt: skip


def test_an_unknown_benchmark_names_the_known():
    with pytest.raises(
        ValueError, match=r"'speed'\. Expected one of import, wrapper, codec, blocks, glassbox, fusion\."
    ):
        run_benches("speed")


def test_one_benchmark_or_all_of_them_in_order(monkeypatch):
    monkeypatch.setattr(
        bench,
        "BENCHES",
        {"a": lambda: [ratio(name="a")], "b": lambda: [ratio(name="b1"), ratio(name="b2")]},
    )
    assert [r.name for r in run_benches()] == ["a", "b1", "b2"]
    assert [r.name for r in run_benches("b")] == ["b1", "b2"]


def test_the_codec_benchmark_compares_both_ways_with_a_peer_and_with_a_copy():
    ratios = bench._bench_codec(count=1000, rounds=1)
    assert {r.what for r in ratios} == {f"{name} {way}" for name in bench._CODEC_PEERS for way in ("encode", "decode")}
    (mine,) = [r for r in ratios if r.what == "FP16 encode" and r.peer == "numpy.float16"]
    assert (mine.bound, mine.larger_is_better, mine.value > 0) == (8.0, True, True)
    assert [r.bound for r in ratios if r.peer == "a copy of as many bytes"] == [0.7] * 24
    assert {r.peer.split(".")[0] for r in ratios} == {"numpy", "ml_dtypes", "a copy of as many bytes"}


def test_the_block_benchmark_compares_with_torchao():
    pytest.importorskip("torchao", reason="torchao is not installed")
    ratios = bench._bench_blocks(count=6400, rounds=1)
    assert {r.what for r in ratios} == {"MXFP8_E4M3 quantize", "MXFP4 quantize", "NVFP4 quantize"}
    assert {(r.peer, r.bound, r.larger_is_better, r.value > 0) for r in ratios} == {("torchao", 5.0, True, True)}


def test_the_block_benchmark_without_its_peer_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.prototype.mx_formats.mx_tensor", None)
    with pytest.warns(UserWarning, match="no peer for `trtlab bench blocks`.*pip install torchao"):
        assert bench._bench_blocks(count=6400, rounds=1) == []


def test_the_import_benchmark_runs(monkeypatch):
    started = []
    real = bench.subprocess.run
    monkeypatch.setattr(bench.subprocess, "run", lambda command, **o: (started.append(command), real(command, **o)))
    (result,) = bench._bench_import(rounds=2)
    assert result.name == "import"
    assert result.value >= 0
    assert (result.provenance.origin, result.provenance.samples) == (Origin.LIVE, 2)
    assert started == [[sys.executable, "-c", code] for code in ("pass", "import trtlab")] * 2  # interleaved
