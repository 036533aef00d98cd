"""teach/fusionfigures: the lines are the rows, and every picture says where its numbers come from."""

from dataclasses import replace

import pytest

from trtlab import teach
from trtlab.engine.fusiontimes import load, sweep
from trtlab.engine.fusionways import FUSED, Way
from trtlab.engine.measure import Origin
from trtlab.teach.fusionfigures import COLOURS


@pytest.fixture(scope="module")
def live():
    return sweep(sizes=(64, 256, 1024), lengths=(2, 3, 4), budget_s=0.0, samples=2, sample_s=1e-6)


@pytest.fixture(scope="module")
def recorded():
    return load("h100")


def words(figure):
    """All text on a figure, in one string."""
    return " ".join(str(note.text) for note in figure.layout.annotations).replace("<br>", " ")


DRAWERS = {
    "times": (teach.draw_fusion_times, lambda s, w: s.of(w), lambda row: row.seconds * 1e6),
    "bandwidth": (teach.draw_fusion_bandwidth, lambda s, w: s.of(w), lambda row: row.bytes_per_s / 1e9),
    "chains": (teach.draw_fusion_chains, lambda s, w: s.chains(w), lambda row: row.seconds * 1e6),
}


@pytest.mark.parametrize("name", DRAWERS)
def test_a_line_for_every_way_in_every_panel(name, live, recorded):
    draw, pick, value = DRAWERS[name]
    traces = draw(live, recorded).data
    expected = [(s, way) for s in (live, recorded) for way in s.ways()]
    assert len(traces) == len(expected)
    for trace, (one, way) in zip(traces, expected, strict=True):
        rows = pick(one, way)
        assert trace.name == way.value
        assert list(trace.x) == [row.operations if name == "chains" else row.elements for row in rows]
        assert list(trace.y) == pytest.approx([value(row) for row in rows], rel=1e-3)
        assert all("quartiles" in text for text in trace.text)
        assert trace.line.dash == ("dot" if way is Way.COPY else "solid" if way in FUSED else "dash")
    assert [t.xaxis for t in traces] == ["x"] * len(live.ways()) + ["x2"] * len(recorded.ways())


@pytest.mark.parametrize("name", DRAWERS)
def test_live_and_recorded_are_told_apart(name, live, recorded):
    figure = DRAWERS[name][0](live, recorded)
    assert live.provenance.line() in words(figure)
    assert recorded.provenance.line() in words(figure)
    assert f"LIVE: {live.provenance.device}" in words(figure)
    assert f"RECORDED: {recorded.provenance.device}" in words(figure)
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(shown) == sorted({way.value for s in (live, recorded) for way in s.ways()})  # each once


def test_launches_kernels_and_arrays(recorded):
    figure = teach.draw_fusion_traffic(recorded)
    launches, kernels, arrays = (dict(zip(bar.y, bar.x, strict=True)) for bar in figure.data)
    assert (launches["torch"], kernels["torch"], arrays["torch"]) == (3, 3, 8)
    assert (launches["our kernel"], kernels["our kernel"], arrays["our kernel"]) == (1, 1, 4)
    assert (launches["graph, per operator"], kernels["graph, per operator"]) == (1, 3)
    assert arrays["copy"] == 4
    assert recorded.provenance.line() in words(figure)


@pytest.mark.parametrize("name", [*DRAWERS, "traffic"])
def test_a_figure_is_static_transparent_and_small(name, live, recorded):
    figure = teach.draw_fusion_traffic(recorded) if name == "traffic" else DRAWERS[name][0](live, recorded)
    text = figure.to_json()
    assert "://" not in text.replace("https://plotly.com", "")
    assert type(figure).__name__ == "Figure"
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert len(text) < 40_000


def test_every_way_has_a_colour():
    assert set(COLOURS) == set(Way)


def test_findings_are_shown_with_their_numbers_and_their_origin(recorded):
    drawing = teach.draw_fusion_findings(recorded)
    assert "What does a CUDA graph change?" in drawing.text
    assert "3 times fewer launches, 2 times fewer bytes" in drawing.text
    assert "and half of the bytes stay" in drawing.text
    assert recorded.provenance.line() in drawing.text
    assert recorded.provenance.line() in drawing.html
    assert drawing.html.count("RECORDED</span>") == 5
    assert "not seen in this run" not in drawing.text


def test_what_a_run_did_not_show_is_not_taught(recorded):
    rows = (replace(r, time=replace(r.time, samples_s=(1e-6 * r.kernels,))) for r in recorded.rows)
    flat = replace(
        recorded, rows=tuple(rows), provenance=replace(recorded.provenance, origin=Origin.LIVE, device="<b>x</b>")
    )
    drawing = teach.draw_fusion_findings(recorded, flat)
    assert drawing.text.count("not seen in this run") == drawing.html.count("not seen in this run") > 2
    assert drawing.text.count("half of the bytes stay") == 1
    assert "<b>x</b>" not in drawing.html


@pytest.mark.parametrize("draw", [teach.draw_fusion_times, teach.draw_fusion_bandwidth, teach.draw_fusion_chains])
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(ValueError, match=r"no sweep to draw: expected at least one"):
        draw()
