"""Every chart draws what was measured or decoded, says where its numbers come from, and loads nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.teach.flows import finished
from trtlab import teach
from trtlab.engine.measure import KernelTime, Measurement, Origin, Provenance, live
from trtlab.lab import fusion
from trtlab.lab.life import Life, Phase
from trtlab.lab.ways import FUSED, Way
from trtlab.lab.workflow import WORKFLOW, Status
from trtlab.numeric import FORMATS, FloatFormat
from trtlab.teach.engines import COLOURS
from trtlab.teach.fusion import AT_ONCE, WAYS

from .markup import alike

CPU = Provenance(origin=Origin.LIVE, device="a processor", when="2026-11-22T00:00:00", samples=3)
GPU = Provenance(origin=Origin.RECORDED, device="a GPU", when="2026-11-21T00:00:00", samples=3)
KERNELS = (
    KernelTime(name="conv Relu", onnx_nodes=("conv1/Conv", "relu/Relu"), tactic="onednn", inputs=("float32[1]",),
               outputs=("float32[1, 64]",), time_us=30.0),
    KernelTime(name="Softmax", onnx_nodes=("soft",), tactic="torch", inputs=(), outputs=("float32[7]",), time_us=10.0),
)  # fmt: skip
NOISE = np.random.default_rng(7).standard_normal((4, 128)).astype(np.float32)


def made_up(made, phases, scale=1.0, **changes):
    """A life whose phases take 1 ms, 2 ms, 3 ms and so on, times `scale`, each measured three times."""
    times = {}
    for number, phase in enumerate(phases, 1):
        middle = number * 1e-3 * scale
        times[phase] = Measurement(name=phase.value, samples_s=(middle / 2, middle, 2 * middle), calls=1,
                                   clock="perf_counter", provenance=made)  # fmt: skip
    values = {"network": "resnet18", "device": "cpu", "precision": "FP32", "plan_bytes": 7, "error": 1e-6}
    return Life(**values | {"times": times} | changes)


LIVES = (
    made_up(CPU, [p for p in Phase if p not in (Phase.TUNE, Phase.EAGER, Phase.CHANNELS_LAST)]),
    made_up(GPU, [p for p in Phase if p is not Phase.ORT], 0.01, device="cuda", precision="FP16"),
)


@pytest.fixture(scope="module")
def records():
    return list(finished().records.values())


@pytest.fixture(scope="module")
def sweeps():
    tiny = fusion.sweep(sizes=(64, 256, 1024), lengths=(2, 3, 4), budget_s=0.0, samples=2, sample_s=1e-6)
    return tiny, fusion.load("h100")


def words(figure):
    """All text on a figure, in one string."""
    notes = " ".join(str(note.text) for note in figure.layout.annotations).replace("<br>", " ")
    return f"{notes} {figure.layout.title.text}"


# --- every chart ------------------------------------------------------------------------------------------------------

FORMAT_NAMES = ["FP16", "FP8_E4M3", "INT8"]
HERE = [live(["numpy"])]
CHARTS = {
    "precision": lambda: teach.draw_precision(FORMAT_NAMES),
    "number line": lambda: teach.draw_number_line(["FP4_E2M1"], scale="log"),
    "density": lambda: teach.draw_density(FORMAT_NAMES),
    "staircase": lambda: teach.draw_staircase("FP4_E2M1", ["up"], low=-1, high=1),
    "sums": lambda: teach.draw_sums({"a": np.arange(9)}, title="t"),
    "spread": lambda: teach.draw_spread([1.0, 2.0], 1.5, title="t", label="l"),
    "tradeoff": lambda: teach.draw_tradeoff(NOISE, ["INT4", "NVFP4"]),
    "curves": lambda: teach.draw_curves([1, 2], {"a": [3, 4]}, title="T", across="x", up="y"),
    "levels": lambda: teach.draw_levels({"NF4": FORMATS["NF4"].entries}, title="L"),
}
NAMED = {"precision": FORMAT_NAMES, "density": FORMAT_NAMES, "sums": ["a"], "curves": ["a"], "tradeoff": ["INT4"]}


def check_chart(figure, made):
    """Static, transparent, of a size to save, loads nothing, its provenance in full inside the foot."""
    text = figure.to_json()
    assert "://" not in text.replace("https://plotly.com", "")
    assert "<script" not in text
    assert "<a " not in text
    assert type(figure).__name__ == "Figure"  # a FigureWidget would leave megabytes in a saved notebook
    assert figure.layout.paper_bgcolor is figure.layout.plot_bgcolor is None  # the template's: transparent
    assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert len(text) < 60_000
    assert [one.line() for one in made if one.line() not in words(figure)] == []
    foot = figure.layout.annotations[-1]
    assert -foot.yshift <= figure.layout.margin.b
    assert max(map(len, foot.text.split("<br>"))) < 120


def check_named(figure):
    """At most five lines at once in a panel, each named at its end, the names apart; returns the names."""
    shown = [trace for trace in figure.data if trace.visible is None and "lines" in (trace.mode or "")]
    shown = [trace.update(xaxis=trace.xaxis or "x") for trace in shown]
    assert max(Counter(trace.xaxis for trace in shown).values()) <= 5
    names = [note for note in figure.layout.annotations if note.text in {trace.name for trace in shown}]
    last = [trace for trace in shown if trace.xaxis == max(t.xaxis for t in shown)]
    assert len(names) >= len(last)
    if all(note.xshift for note in names):  # behind the ends, and none on top of another
        top, bottom = figure.layout.margin.t, figure.layout.margin.b
        axis = figure.layout.yaxis2 if "yaxis2" in figure.layout else figure.layout.yaxis
        ys = [np.asarray(trace.y, float) for trace in last]
        ys = np.concatenate([np.log10(y) if axis.type == "log" else y for y in ys])
        low = 0 if axis.rangemode == "tozero" else np.nanmin(ys)
        scale = 0.88 * (figure.layout.height - top - bottom) / (np.nanmax(ys) - low)
        places = sorted((note.y - low) * scale + note.yshift for note in names)
        assert min(np.diff(places), default=14) > 11
    return {note.text for note in names}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_static_says_where_its_numbers_come_from_and_names_its_lines(name):
    figure = CHARTS[name]()
    check_chart(figure, HERE)
    if name in NAMED:
        assert check_named(figure) == set(NAMED[name])


# --- the workflow -----------------------------------------------------------------------------------------------------


def test_the_waterfall_has_a_bar_for_each_timed_stage_laid_end_to_end(records):
    figure = teach.draw_waterfall(records)
    (bars,) = figure.data
    timed = [record for record in records if record.seconds is not None]
    assert list(bars.y) == [WORKFLOW[record.name].title for record in timed]
    assert list(bars.x) == pytest.approx([1000 * record.seconds for record in timed])
    assert list(bars.base) == pytest.approx(list(np.cumsum([0, *bars.x[:-1]])))
    assert list(bars.marker.color) == [COLOURS[record.status] for record in timed]
    for record, hover in zip(timed, bars.hovertext, strict=True):
        assert record.provenance.line().split(", 2")[0] in words(figure)  # origin and device; versions are merged
        assert record.executor in hover
    check_chart(figure, [])
    assert ("ONNX Runtime stood in" in words(figure)) is any(r.status is Status.STOOD_IN for r in records)
    assert "stood in" not in words(teach.draw_waterfall([replace(record, status=Status.DONE) for record in records]))
    assert list(teach.draw_waterfall([]).data[0].x) == []


# --- formats ----------------------------------------------------------------------------------------------------------


def curve(figure, name):
    (found,) = [trace for trace in figure.data if trace.name == name][:1]
    return dict(zip(found.x, found.y, strict=True))


@pytest.mark.parametrize("name", ["FP32", "TF32", "FP16", "BF16", "FP8_E4M3", "FP4_E2M1", "E8M0"])
def test_significant_bits_are_those_that_survive(name):
    fmt = FORMATS[name]
    bits = curve(teach.draw_precision([name]), name)
    for octave in [octave for octave in bits if bits[octave]][:: max(1, len(bits) // 12)]:
        step = 2.0 ** (octave + 1 - bits[octave])
        for value, survives in ((2.0 ** (octave + 1) - step, True), (2.0**octave + step / 2, False)):
            if value <= fmt.max:
                assert (float(fmt.decode(fmt.encode(value))) == value) is survives
    assert (bits[fmt.max_exponent] > 0, bits[fmt.max_exponent + 1]) == (True, 0)
    assert list(curve(teach.draw_precision(["INT8"]), "INT8").values()) == [1, 2, 3, 4, 5, 6, 7, 0]


def test_number_line_shows_every_value_once():
    positive = [0.5, 1, 1.5, 2, 3, 4, 6]
    (trace,) = teach.draw_number_line(["FP4_E2M1"]).data
    assert list(trace.x) == [-x for x in positive[::-1]] + [0] + positive
    (trace,) = teach.draw_number_line(["FP4_E2M1"], scale="log").data
    assert list(trace.x) == positive
    mine = FloatFormat(exponent_bits=2, mantissa_bits=0, has_infinity=False, padding_bits=5)
    (trace,) = teach.draw_number_line([mine]).data
    assert (list(trace.x), set(trace.y)) == ([-4, -2, -1, 0, 1, 2, 4], {"E2M0 "})
    with pytest.raises(ValueError, match="at most 16 bits"):
        teach.draw_number_line(["FP32"])


def test_density_counts_all_values():
    linear, octaves = teach.draw_density(["FP8_E4M3"], most=448).data
    assert np.nansum(linear.y) == 252  # 448 begins a unit of its own
    assert np.nansum(octaves.y) == 126
    assert dict(zip(octaves.x, octaves.y, strict=True))[0] == 8
    assert set(teach.draw_density(["INT8", "UINT8"]).data[0].y) == {1}  # evenly, the last unit too


def test_a_chart_draws_what_it_is_given():
    stairs = teach.draw_staircase("FP4_E2M1", ["nearest_even", "stochastic"], low=-1, high=1)
    assert set(np.unique(stairs.data[0].y)) == {-1, -0.5, 0, 0.5, 1}
    sums = teach.draw_sums({"a": np.arange(1000)}, title="t")
    assert (sums.data[0].x[-1], sums.data[0].y[-1]) == (1000, 999)
    spread = teach.draw_spread([1.0, 2.0, 1.0], 1.5, title="t", label="l")
    assert (list(spread.data[0].x), list(spread.data[0].y)) == ([-0.5, 0.5], [2, 1])
    trade = teach.draw_tradeoff(NOISE, ["INT4", "NVFP4"])
    assert (list(trade.data[0].x)[-1], len(trade.data[1].x)) == (6.0, 1)
    curves = teach.draw_curves([1, 2], {"a": [3, 4], "b": [5, 6]}, title="T", across="x", up="y", marks={"here": 1.5})
    assert [list(line.y) for line in curves.data] == [[3, 4], [5, 6]]
    assert list(teach.draw_levels({"NF4": FORMATS["NF4"].entries}, title="L").data[0].x) == list(FORMATS["NF4"].entries)


# --- fused against unfused --------------------------------------------------------------------------------------------

SWEPT = {
    "times": (teach.draw_fusion_times, lambda s, w: s.of(w), lambda row: row.seconds * 1e6),
    "bandwidth": (teach.draw_fusion_bandwidth, lambda s, w: s.of(w), lambda row: row.bytes_per_s / 1e9),
    "chains": (teach.draw_fusion_chains, lambda s, w: s.chains(w), lambda row: row.seconds * 1e6),
}


@pytest.mark.parametrize("name", SWEPT)
def test_a_line_for_every_way_in_every_panel(name, sweeps):
    draw, pick, value = SWEPT[name]
    figure = draw(*sweeps)
    expected = [(sweep, way) for sweep in sweeps for way in sweep.ways()]
    for trace, (one, way) in zip(figure.data, expected, strict=True):
        rows = pick(one, way)
        assert trace.name == way.value
        assert list(trace.x) == [row.operations if name == "chains" else row.elements for row in rows]
        assert list(trace.y) == pytest.approx([value(row) for row in rows], rel=1e-3)
        assert trace.line.dash == ("dot" if way is Way.COPY else "solid" if way in FUSED else "dash")
        assert trace.xaxis == ("x" if one is sweeps[0] else "x2")
    ways = {way.value for _, way in expected}
    asked = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(asked) == sorted(ways - {way.value for way in AT_ONCE})  # each once
    assert {trace.name for trace in figure.data if trace.visible == "legendonly"} == set(asked)
    assert check_named(figure) == ways - set(asked)
    for sweep in sweeps:
        assert f"{sweep.provenance.origin.value}: {sweep.provenance.device}" in words(figure)
    check_chart(figure, [sweep.provenance for sweep in sweeps])
    with pytest.raises(ValueError, match="expected at least one"):
        draw()
    assert set(WAYS) == set(Way)


# --- the life of an engine --------------------------------------------------------------------------------------------


def test_a_life_is_a_marker_for_each_phase_inside_and_under_its_part():
    figure = teach.draw_engine_life(*LIVES)
    low, high = figure.layout.xaxis.range
    for trace, life in zip(figure.data, LIVES, strict=True):
        shown = [p for p in life.times if p not in (Phase.CALL, Phase.DONE, Phase.ONE, Phase.TWO)]
        expected = {phase.value: pytest.approx(life.seconds(phase), rel=1e-3) for phase in shown}
        assert dict(zip(trace.y, trace.x, strict=True)) == expected
        assert all(10**low < x < 10**high for x in trace.x)
        assert f"{life.provenance.origin.value}: resnet18 in {life.precision}, {life.provenance.device}" == trace.name
    assert len({(trace.marker.symbol, trace.marker.color) for trace in figure.data}) == 2
    rows = list(figure.layout.yaxis.categoryarray)
    heights = [note.y for note in figure.layout.annotations if note.text.startswith("<b>")]
    assert [rows[int(y)] for y in heights] == ["build", "import torch", "run"]
    assert len(figure.layout.shapes) == 2
    assert "each built and started 3 times, in fresh processes" in words(figure)


def test_one_request_is_held_and_free_for_as_long_as_measured():
    figure = teach.draw_enqueue(*LIVES)
    for life, (held, free, there) in zip(LIVES, (figure.data[:3], figure.data[3:]), strict=True):
        run, called, done = (1e3 * life.seconds(p) for p in (Phase.RUN, Phase.CALL, Phase.DONE))
        assert (list(held.x), list(there.x)) == ([run, called], [run, done])
        assert list(free.x) == [0, pytest.approx(done - called)]
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert shown == ["the host is held", "the host is free", "results are there"]


@pytest.mark.parametrize("draw", [teach.draw_engine_life, teach.draw_enqueue])
def test_lives_say_where_they_come_from_and_none_or_too_many_are_refused(draw):
    check_chart(draw(*LIVES), [CPU, GPU])
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"cannot draw {count} lives: expected 1 to 3"):
            draw(*LIVES[:1] * count)


def test_kernels_with_what_was_merged_and_their_share():
    words = ["2 kernels, 40 µs together", "conv Relu", "onednn", "float32[1, 64]", "30 µs", "75%", "25%", CPU.line()]
    page = alike(teach.draw_kernels(KERNELS, CPU), *words, "conv1/Conv + relu/Relu", "LIVE")
    assert [a["style"] for tag, a in page.tags if "style" in a] == ["--share:0.750", "--share:0.250"]


def test_a_table_of_lives():
    names = ["resnet18, cpu, FP32, LIVE", "resnet18, cuda, FP16, RECORDED"]
    drawing = teach.draw_lives(LIVES)
    alike(drawing, *names, "ONNX Runtime 12 ms", "1.0e-06", CPU.line(), GPU.line())
    lines = drawing.text.splitlines()[1:3]
    assert ["–" in line for line in lines] == [True, False]  # nothing to tune on the CPU
    for line, life, rebuilt in zip(lines, LIVES, ([Phase.BUILD], [Phase.BUILD, Phase.TUNE]), strict=True):
        assert f"  {sum(map(life.seconds, rebuilt)) / life.seconds(Phase.LOAD):.1f} " in line
