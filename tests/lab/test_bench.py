"""lab/bench: ratios that know their target and where they come from. No test asserts a time."""

import json
import sys

import pytest
import torch

from trtlab.engine.measure import Origin, Provenance, Ratio
from trtlab.lab import bench
from trtlab.lab.bench import COPY, run_benches

MADE = Provenance(origin=Origin.LIVE, device="a desk", when="2026-11-22T10:00:00+00:00", samples=3)
NAN = float("nan")


def ratio(**values):
    return Ratio(**{"name": "n", "what": "w", "value": 1.0, "bound": 1.15, "peer": "p", "provenance": MADE} | values)


@pytest.mark.parametrize(("value", "met"), [(0.0, True), (1.149, True), (1.15, True), (1.1501, False), (NAN, False)])
def test_smaller_is_better_and_the_bound_itself_is_met(value, met):
    assert ratio(value=value).met is met


@pytest.mark.parametrize(("value", "met"), [(9.99, False), (10.0, True), (40.0, True), (NAN, False)])
def test_larger_may_be_better(value, met):
    speed = ratio(value=value, bound=10.0, larger_is_better=True)
    assert (speed.met, speed.target, speed.to_dict()["larger_is_better"]) == (met, ">= 10x", True)


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


def test_json_holds_value_peer_target_verdict_and_provenance():
    values = json.loads(json.dumps(ratio(value=2.0).to_dict()))
    assert values["provenance"] == {
        "origin": "LIVE", "device": "a desk", "when": "2026-11-22T10:00:00+00:00", "versions": [], "samples": 3,
        "command": None,
    }  # fmt: skip
    assert {key: values[key] for key in ("name", "what", "value", "bound", "peer", "unit", "met")} == {
        "name": "n", "what": "w", "value": 2.0, "bound": 1.15, "peer": "p", "unit": "", "met": False,
    }  # fmt: skip


def test_one_benchmark_or_all_of_them_in_order(monkeypatch):
    with pytest.raises(ValueError, match=r"'speed'.*import, wrapper, codec, blocks, glassbox, fusion"):
        run_benches("speed")
    known = {"a": lambda: [ratio(name="a")], "b": lambda: [ratio(name="b1"), ratio(name="b2")]}
    monkeypatch.setattr(bench, "BENCHES", known)
    assert [r.name for r in run_benches()] == ["a", "b1", "b2"]
    assert [r.name for r in run_benches("b")] == ["b1", "b2"]


def test_the_codec_benchmark_compares_both_ways_with_a_peer_and_with_a_copy():
    ratios = bench.bench_codec(count=1000, rounds=1)
    assert {r.what for r in ratios} == {f"{name} {way}" for name in bench.CODEC_PEERS for way in ("encode", "decode")}
    (mine,) = [r for r in ratios if r.what == "FP16 encode" and r.peer == "numpy.float16"]
    assert (mine.bound, mine.larger_is_better, mine.value > 0) == (8.0, True, True)
    assert [r.bound for r in ratios if r.peer == COPY] == [0.7] * 24
    assert {r.peer.split(".")[0] for r in ratios} == {"numpy", "ml_dtypes", COPY}


def test_the_block_benchmark_compares_with_torchao():
    pytest.importorskip("torchao", reason="torchao is not installed")
    ratios = bench.bench_blocks(count=6400, rounds=1)
    assert {r.what for r in ratios} == {"MXFP8_E4M3 quantize", "MXFP4 quantize", "NVFP4 quantize"}
    assert {(r.peer, r.bound, r.larger_is_better, r.value > 0) for r in ratios} == {("torchao", 5.0, True, True)}


def test_the_block_benchmark_without_its_peer_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.prototype.mx_formats.mx_tensor", None)
    with pytest.warns(UserWarning, match="no peer for `trtlab bench blocks`.*pip install torchao"):
        assert bench.bench_blocks(count=6400, rounds=1) == []


def test_the_import_benchmark_starts_both_in_every_round(monkeypatch):
    started, real = [], bench.subprocess.run
    monkeypatch.setattr(bench.subprocess, "run", lambda command, **o: (started.append(command[-1]), real(command, **o)))
    (result,) = bench.bench_import(rounds=2)
    assert (result.name, result.unit, result.value >= 0) == ("import", "ms", True)
    assert (result.provenance.origin, result.provenance.samples) == (Origin.LIVE, 2)
    assert [set(started[-4:-2]), set(started[-2:])] == [{"pass", "import trtlab"}] * 2


def test_a_ratio_divides_round_by_round():
    ours, theirs = (bench._in_turns({"w": lambda: None}, 3)["w"] for _ in range(2))
    found = bench._ratio("n", "w", ours, theirs, 2.0, "p")
    assert (found.value, found.provenance) == (ours.ratio_to(theirs), ours.provenance)


def test_every_target_of_the_engine_is_measured(monkeypatch):
    monkeypatch.setattr(bench, "LATENCY_BOUNDS", {"digits": 9.0})
    live, *recorded = bench.bench_glassbox(rounds=2)
    assert live.value > 0
    assert (live.what, live.target, live.provenance.origin) == ("digits latency", "<= 9x", Origin.LIVE)
    assert [r.what for r in recorded] == ["resnet18 FP16, kernels", "light_resnet50 FP16, kernels"]
    assert {(r.unit, r.met, r.provenance.origin) for r in recorded} == {("us", True, Origin.RECORDED)}


def test_every_target_of_fusion_is_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    *live, recorded = bench.bench_fusion(sizes=(1024, 4096), samples=2)
    assert [(r.what, r.peer, r.target) for r in live] == [
        row
        for size in ("2^10", "2^12")
        for row in (
            (f"ReLU(A*B + C), {size}", COPY, "<= 1.111x"),
            (f"16 operations, {size}", "3 operations", "<= 1.3x"),
            (f"16 operations, {size}", "numpy, out=", ">= 8x"),
        )
    ]
    assert all(r.value > 0 and r.provenance.origin is Origin.LIVE for r in live)
    assert (recorded.what, recorded.peer, recorded.target) == ("Triton kernel's bandwidth, 2^26", COPY, ">= 0.97x")
    assert (recorded.met, recorded.provenance.origin) == (True, Origin.RECORDED)
