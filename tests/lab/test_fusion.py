"""lab/ways and lab/fusion: right numbers first, then times that teach."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.engine.codegen.triton_on_numpy import run_on_numpy
from trtlab.engine.measure import Origin
from trtlab.graph import cost, optimize
from trtlab.graph.models import TEACHING_MODELS
from trtlab.lab import fusion
from trtlab.lab.fusion import LENGTHS, findings, load, sweep
from trtlab.lab.ways import INPUTS, Arrays, Way, chain, check, kernel_source, traffic_bytes, works

LIVE = [Way.NUMPY, Way.NUMPY_OUT, Way.TORCH, Way.TORCH_OUT, Way.GENERATED, Way.COPY]
TINY = {"budget_s": 0.0, "samples": 2, "sample_s": 1e-6}


# --- what is computed -------------------------------------------------------------------------------------------------


def test_each_operation_reads_the_one_before_and_fused_none_moves_more_bytes():
    assert chain(3) == (("Mul", (0, 1), {}), ("Add", (3, 2), {}), ("Relu", (4,), {}))
    for length in LENGTHS:
        assert [reads[0] for _, reads, _ in chain(length)] == [0, *range(INPUTS, INPUTS + length - 1)]
    model = TEACHING_MODELS["multiply_add_relu"]()
    for found, fused in ((model, False), (optimize(model)[0], True)):  # the traffic model is that of the graph room
        assert traffic_bytes(chain(3), 16 * 16, fused=fused) == cost.model_cost(found).bytes_moved


@pytest.mark.parametrize("operations", LENGTHS)
@pytest.mark.parametrize("elements", [1, 1000])
def test_every_way_computes_the_same(elements, operations):
    arrays, program = Arrays(elements), chain(operations)
    for way, work in works(program, arrays).items():
        check(way, work(), program, arrays)
        assert torch.isnan(arrays.tensors[INPUTS:]).all() or way is Way.COPY
        if way is not Way.COPY:
            check(way, work(), program, arrays)  # once more, from memory that was made NaN
    assert torch.equal(arrays.tensors[3:5], arrays.tensors[:2])  # the copy moves two arrays to two
    assert torch.isnan(arrays.tensors[5]).all()


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("value", [9.0, float("nan")])
def test_a_wrong_number_at_either_end_is_seen(place, value):
    arrays = Arrays(3 * 2**16)
    result = works(chain(3), arrays)[Way.TORCH]()
    check(Way.TORCH, result, chain(3), arrays)
    result[place] = value
    with pytest.raises(RuntimeError, match=r"torch is wrong: off by .* for 3 operations"):
        check(Way.TORCH, result, chain(3), arrays)


@pytest.mark.parametrize("operations", LENGTHS)
def test_the_sources_load_each_input_once_store_once_and_compute_the_chain_also_of_nan(operations):
    cpu, cuda = kernel_source("cpu", operations), kernel_source("cuda", operations)
    assert re.findall(r"= a(\d)\[i\]", cpu) == re.findall(r"tl\.load\(x(\d)", cuda) == ["0", "1", "2"]
    assert (cpu.count("[i] ="), cuda.count("tl.store")) == (1, 1)
    for elements in (4, 21):
        arrays = Arrays(elements)
        rows = arrays.numpy
        run_on_numpy(cuda, rows[:INPUTS], [rows[INPUTS]], block=8)
        check(Way.GENERATED, rows[INPUTS], chain(operations), arrays)
    rows[0, :4], rows[1:3] = (np.nan, 1, -1, np.inf), 1
    run_on_numpy(cuda, rows[:INPUTS], [rows[INPUTS]], block=8)
    ours = rows[INPUTS].copy()
    assert np.array_equal(ours, works(chain(operations), arrays)[Way.GENERATED](), equal_nan=True)
    assert np.isnan(ours[0])


# --- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return sweep(sizes=(64, 256, 1024), lengths=(2, 3, 4), **TINY)


def test_a_sweep_is_whole_and_its_rows_are_found(small):
    cases = {(3, 64), (3, 256), (3, 1024), (2, 1024), (4, 1024)}
    assert {(r.way, r.operations, r.elements) for r in small.rows} == {(way, *case) for way in LIVE for case in cases}
    assert len(small.rows) == len(LIVE) * len(cases)
    assert (small.sizes(), small.ways()) == ((64, 256, 1024), tuple(LIVE))
    assert all(row.seconds > 0 and row.bytes_per_s > 0 and len(row.time.samples_s) == 2 for row in small.rows)
    assert (small.provenance.origin, small.provenance.samples) == (Origin.LIVE, 2)
    row = small.find(Way.TORCH_OUT, 1024, 4)
    assert (row.kernels, row.bytes_moved) == (4, 11 * 1024 * 4)
    assert [r.operations for r in small.chains(Way.NUMPY)] == [2, 3, 4]
    assert [r.elements for r in small.of(Way.NUMPY)] == [64, 256, 1024]
    with pytest.raises(KeyError, match=r"way='torch', elements=64, operations=9; there are way='numpy', elements=64"):
        small.find(Way.TORCH, 64, 9)
    three, one, copy = (small.find(way, 256) for way in (Way.TORCH_OUT, Way.GENERATED, Way.COPY))
    assert small.ratio(Way.TORCH_OUT, Way.GENERATED, 256) == three.seconds / one.seconds
    assert small.of_copy(Way.TORCH_OUT, 256) == pytest.approx(2 * copy.seconds / three.seconds)


def test_a_way_that_is_wrong_is_not_timed_nor_is_nothing_and_too_small_a_sweep_teaches_nothing(monkeypatch):
    with pytest.raises(ValueError, match=r"\(64,\) and 0 lengths .*three sizes and two"):
        findings(sweep(sizes=(64,), lengths=(), **TINY))
    monkeypatch.setattr(fusion, "works", lambda _, arrays: {Way.TORCH: lambda: arrays.tensors[0]})
    with pytest.raises(RuntimeError, match="torch is wrong"):
        sweep(sizes=(64,), lengths=(), **TINY)
    for sizes in ((), (0, 8)):
        with pytest.raises(ValueError, match=r"sizes=\("):
            sweep(sizes=sizes)


# --- recordings, and what follows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ways", "sizes"), [("h100", 9, range(10, 29, 2)), ("cpu", 7, range(10, 27, 2))])
def test_the_shipped_recordings(name, ways, sizes):
    found = load(name)
    assert (found.sizes(), len(found.ways())) == (tuple(2**k for k in sizes), ways)
    assert len(found.rows) == ways * (len(sizes) + len(LENGTHS) - 1)
    assert found.provenance.samples == min(len(row.time.samples_s) for row in found.rows) >= 5
    for row in found.rows:
        assert row.bytes_moved == traffic_bytes(chain(row.operations), row.elements, fused=row.kernels == 1)
        assert row.time.clock == ("CUDA events" if found.device == "cuda" else "perf_counter")


def test_the_recordings_bear_out_every_lesson():
    assert [f.name for name in ("h100", "cpu") for f in findings(load(name)) if not f.holds] == []
    found = load("h100")
    assert [f.name for f in findings(found)] == ["two_not_three", "launches", "graph", "cache", "length"]
    assert findings(found)[-1].lesson == "lesson"
    assert min(found.of_copy(Way.GENERATED, size) for size in found.sizes() if size >= 2**26) >= 0.97


def test_machines_where_one_thing_alone_counts_teach_what_follows_from_it():
    recorded = load("h100")

    def shown(seconds):
        rows = (replace(row, time=replace(row.time, samples_s=(seconds(row),))) for row in recorded.rows)
        return {f.name: f for f in findings(replace(recorded, rows=tuple(rows)))}

    launches = shown(lambda row: 1e-6 * row.kernels)
    assert not any(launches[name].holds for name in ("two_not_three", "launches", "cache"))
    moves = shown(lambda row: 1e-12 * row.bytes_moved)
    assert {name for name, one in moves.items() if one.holds} == {"two_not_three", "length"}
    facts = moves["two_not_three"].facts
    assert (facts["gain"], facts["one"], facts["three"]) == (pytest.approx(2), "4,295 µs", "8,590 µs")
    arithmetic = shown(lambda row: 1e-12 * row.operations * row.elements)
    assert (arithmetic["length"].holds, arithmetic["length"].lesson) == (False, "busy")
