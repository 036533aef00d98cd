"""lab/ways and lab/fusion: right numbers first, then times that teach."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.engine.codegen.triton_on_numpy import run_on_numpy
from tools import fusion_meter
from tools.fusion_meter import SIZES
from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.graph import cost, optimize
from trtlab.graph.models import TEACHING_MODELS
from trtlab.lab import ways
from trtlab.lab.fusion import LENGTHS, Sweep, findings, load, sweep
from trtlab.lab.ways import INPUTS, WAYS, Arrays, Way, build, chain, check, kernel_source, traffic_bytes

QUICK = [way for way in WAYS["cpu"] if way is not Way.COMPILED]
TINY = {"budget_s": 0.0, "samples": 2, "sample_s": 1e-6}


# --- what is computed -------------------------------------------------------------------------------------------------


def test_each_operation_reads_the_one_before_and_fused_none_moves_more_bytes():
    assert chain(3) == (("Mul", (0, 1), {}), ("Add", (3, 2), {}), ("Relu", (4,), {}))
    for length in LENGTHS:
        assert [reads[0] for _, reads, _ in chain(length)] == [0, *range(INPUTS, INPUTS + length - 1)]
    assert {traffic_bytes(chain(k), 10, fused=True) for k in LENGTHS} == {4 * 10 * 4}
    assert traffic_bytes(chain(16), 10, fused=False) == (11 * 3 + 5 * 2) * 10 * 4
    model = TEACHING_MODELS["multiply_add_relu"]()
    for found, fused in ((model, False), (optimize(model)[0], True)):  # the traffic model is that of the graph room
        assert traffic_bytes(chain(3), 16 * 16, fused=fused) == cost.model_cost(found).bytes_moved


@pytest.mark.parametrize("operations", LENGTHS)
@pytest.mark.parametrize("elements", [1, 1000])
def test_every_way_computes_the_same(elements, operations):
    arrays, program = Arrays("cpu", elements), chain(operations)
    for way in QUICK:
        work = build(way, program, arrays)
        check(way, work(), program, arrays)
        assert torch.isnan(arrays.tensors[INPUTS:]).all() or way is Way.COPY
        if way is not Way.COPY:
            check(way, work(), program, arrays)  # once more, from memory that was made NaN


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler here")
def test_torch_compile_computes_the_same():
    arrays = Arrays("cpu", 1000)
    check(Way.COMPILED, build(Way.COMPILED, chain(4), arrays)(), chain(4), arrays)


def test_the_copy_moves_two_arrays_to_two():
    arrays = Arrays("cpu", 50)
    build(Way.COPY, chain(3), arrays)()
    assert torch.equal(arrays.tensors[3:5], arrays.tensors[:2])
    assert torch.isnan(arrays.tensors[5]).all()


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("value", [9.0, float("nan")])
def test_a_wrong_number_at_either_end_is_seen(place, value):
    arrays = Arrays("cpu", 3 * 2**16)
    result = build(Way.TORCH, chain(3), arrays)()
    check(Way.TORCH, result, chain(3), arrays)
    result[place] = value
    with pytest.raises(RuntimeError, match=r"torch is wrong: off by .* for 3 operations"):
        check(Way.TORCH, result, chain(3), arrays)


# --- the generated kernels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operations", LENGTHS)
def test_the_sources_load_each_input_once_store_once_and_compute_the_chain(operations):
    cpu, cuda = kernel_source("cpu", operations), kernel_source("cuda", operations)
    assert re.findall(r"= a(\d)\[i\]", cpu) == re.findall(r"tl\.load\(x(\d)", cuda) == ["0", "1", "2"]
    assert (cpu.count("[i] ="), cuda.count("tl.store")) == (1, 1)
    for elements in (1, 8, 21):
        arrays = Arrays("cpu", elements)
        run_on_numpy(cuda, arrays.numpy[:INPUTS], [arrays.numpy[INPUTS]], block=8)
        check(Way.GENERATED, arrays.numpy[INPUTS], chain(operations), arrays)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nan_goes_through_our_kernel(device):
    arrays = Arrays("cpu", 4)
    arrays.numpy[0] = np.nan, 1, -1, np.inf
    arrays.numpy[1:3] = 1
    if device == "cpu":
        found = build(Way.GENERATED, chain(3), arrays)()
    else:
        found = arrays.numpy[INPUTS]
        run_on_numpy(kernel_source("cuda"), arrays.numpy[:INPUTS], [found], block=8)
    assert np.array_equal(found, [np.nan, 2, 0, np.inf], equal_nan=True)


# --- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return sweep(sizes=(64, 256, 1024), lengths=(2, 3, 4), **TINY)


def test_a_sweep_is_whole(small):
    cases = {(3, 64), (3, 256), (3, 1024), (2, 1024), (4, 1024)}
    assert {(r.way, r.operations, r.elements) for r in small.rows} == {(way, *case) for way in QUICK for case in cases}
    assert len(small.rows) == len(QUICK) * len(cases)
    assert (small.sizes(), small.ways()) == ((64, 256, 1024), tuple(QUICK))
    assert all(row.seconds > 0 and row.bytes_per_s > 0 and len(row.time.samples_s) == 2 for row in small.rows)
    assert (small.provenance.origin, small.provenance.samples) == (Origin.LIVE, 2)
    assert [name for name, _ in small.provenance.versions] == ["numpy", "numba", "torch"]


def test_rows_are_found(small):
    row = small.find(Way.TORCH_OUT, 1024, 4)
    assert (row.kernels, row.bytes_moved) == (4, 11 * 1024 * 4)
    assert [r.operations for r in small.chains(Way.NUMPY)] == [2, 3, 4]
    assert [r.elements for r in small.of(Way.NUMPY)] == [64, 256, 1024]
    with pytest.raises(KeyError, match=r"way='torch', elements=64, operations=9; there are way='numpy', elements=64"):
        small.find(Way.TORCH, 64, 9)
    three, one, copy = (small.find(way, 256) for way in (Way.TORCH_OUT, Way.GENERATED, Way.COPY))
    assert small.ratio(Way.TORCH_OUT, Way.GENERATED, 256) == three.seconds / one.seconds
    assert small.of_copy(Way.GENERATED, 256) == pytest.approx(copy.seconds / one.seconds)  # they move as many bytes
    assert small.of_copy(Way.TORCH_OUT, 256) == pytest.approx(2 * copy.seconds / three.seconds)


def test_a_way_that_is_wrong_is_not_timed(monkeypatch):
    monkeypatch.setitem(ways._BUILDERS, Way.TORCH, lambda _, arrays: lambda: arrays.tensors[0])
    with pytest.raises(RuntimeError, match="torch is wrong"):
        sweep(sizes=(64,), lengths=(), ways=(Way.TORCH,), **TINY)


def test_a_sweep_of_nothing_or_without_its_device_is_refused(monkeypatch):
    for device, sizes in (("tpu", (8,)), ("cpu", ()), ("cpu", (0, 8))):
        with pytest.raises(ValueError, match=rf"'{device}'.*expected 'cpu' or 'cuda', and sizes from 1"):
            sweep(device, sizes=sizes)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"use 'cpu', or load\('h100'\)"):
        sweep("cuda")


# --- recordings -------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_recording(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    monkeypatch.setitem(SIZES, "cpu", (8, 16))
    monkeypatch.setitem(WAYS, "cpu", (Way.GENERATED, Way.COPY))
    fusion_meter.main([])
    found = load("cpu")
    assert found.provenance.command == "python -m tools.fusion_meter --device cpu"
    assert (found.sizes(), found.ways()) == ((8, 16), (Way.GENERATED, Way.COPY))
    assert len(found.rows) == len(capsys.readouterr().out.splitlines()) - 1 == 2 * (2 + len(LENGTHS) - 1)


@pytest.mark.parametrize(("name", "device"), [("h100", "cuda"), ("cpu", "cpu")])
def test_the_shipped_recordings(name, device):
    found = load(name)
    assert (found.device, found.sizes(), set(found.ways())) == (device, SIZES[device], set(WAYS[device]))
    assert len(found.rows) == len(WAYS[device]) * (len(SIZES[device]) + len(LENGTHS) - 1)
    assert found.provenance.command == f"python -m tools.fusion_meter --device {device}"
    assert found.provenance.samples == min(len(row.time.samples_s) for row in found.rows) >= 5
    for row in found.rows:
        assert row.bytes_moved == traffic_bytes(chain(row.operations), row.elements, fused=row.kernels == 1)
        assert row.time.clock == ("CUDA events" if device == "cuda" else "perf_counter")


# --- what follows -----------------------------------------------------------------------------------------------------


def test_the_recordings_bear_out_every_lesson():
    assert [f.name for name in ("h100", "cpu") for f in findings(load(name)) if not f.holds] == []
    found = findings(load("h100"))
    assert [f.name for f in found] == ["two_not_three", "launches", "graph", "cache", "length"]
    assert found[-1].lesson == "lesson"


def test_the_h100_reaches_its_copy_bandwidth():
    found = load("h100")
    for size in (n for n in found.sizes() if n >= 2**26):
        assert found.of_copy(Way.GENERATED, size) >= 0.97


def with_times(found: Sweep, seconds) -> Sweep:
    """The sweep with other times: `seconds(row)`."""
    rows = (replace(row, time=replace(row.time, samples_s=(seconds(row),))) for row in found.rows)
    return replace(found, rows=tuple(rows))


def holds(found: Sweep) -> dict[str, bool]:
    return {f.name: f.holds for f in findings(found)}


def test_a_machine_where_only_launches_count_teaches_no_2x():
    shown = holds(with_times(load("h100"), lambda row: 1e-6 * row.kernels))
    assert (shown["two_not_three"], shown["launches"], shown["cache"]) == (False, False, False)


def test_a_machine_where_only_bytes_count_has_no_launches_and_no_cache():
    slow = with_times(load("h100"), lambda row: 1e-12 * row.bytes_moved)
    assert holds(slow) == {"two_not_three": True, "launches": False, "graph": False, "cache": False, "length": True}
    facts = findings(slow)[0].facts
    assert (facts["gain"], facts["one"], facts["three"]) == (pytest.approx(2), "4,295 µs", "8,590 µs")


def test_a_machine_that_pays_for_arithmetic():
    slow = with_times(load("h100"), lambda row: 1e-12 * row.operations * row.elements)
    assert (holds(slow)["length"], findings(slow)[-1].lesson) == (False, "busy")


def test_too_small_a_sweep_teaches_nothing():
    with pytest.raises(ValueError, match=r"sizes \(64,\) and 0 lengths teaches nothing: expected three sizes and two"):
        findings(sweep(sizes=(64,), lengths=(), **TINY))


@pytest.mark.gpu
def test_a_gpu_computes_the_same_in_every_way():
    found = sweep("cuda", sizes=(1000, 2**16), lengths=(2, 16), ways=WAYS["cuda"], **TINY)
    assert set(found.ways()) == set(WAYS["cuda"])
    assert {row.time.clock for row in found.rows} == {"CUDA events"}
