"""teach/enginefigures: what is drawn is what was measured, each life in its own look, with its origin."""

import pytest

from trtlab import teach
from trtlab.engine.enginetimes import Life
from trtlab.engine.freshprocess import Phase
from trtlab.engine.glassbox.runtime import KernelInfo
from trtlab.engine.measure import Measurement, Origin, Provenance

from .markup import EVIL, read, said_by_both

CPU = Provenance(origin=Origin.LIVE, device="a processor", when="2026-11-22T00:00:00", samples=3)
GPU = Provenance(origin=Origin.RECORDED, device="a GPU", when="2026-11-21T00:00:00", samples=3)
KERNELS = (
    KernelInfo(name="conv Relu", onnx_nodes=("conv1/Conv", "relu/Relu"), tactic="onednn", inputs=("float32[1]",),
               outputs=("float32[1, 64]",), time_us=30.0),
    KernelInfo(name="Softmax", onnx_nodes=("soft",), tactic="torch", inputs=(), outputs=("float32[7]",), time_us=10.0),
)  # fmt: skip


def made_up(made, phases, scale=1.0, **changes):
    """A life whose phases take 1 ms, 2 ms, 3 ms and so on, times `scale`, each measured three times."""
    times = {}
    for number, phase in enumerate(phases, 1):
        middle = number * 1e-3 * scale
        times[phase] = Measurement(name=phase.value, samples_s=(middle / 2, middle, 2 * middle), calls=1,
                                   clock="perf_counter", provenance=made)  # fmt: skip
    values = {"network": "resnet18", "device": "cpu", "precision": "FP32", "plan_bytes": 7, "error": 1e-6}
    return Life(**values | {"times": times, "kernels": KERNELS} | changes)


ON_CPU = [p for p in Phase if p not in (Phase.TUNE, Phase.EAGER, Phase.CHANNELS_LAST)]
ON_GPU = [p for p in Phase if p is not Phase.ORT]


@pytest.fixture
def live():
    return made_up(CPU, ON_CPU)


@pytest.fixture
def recorded():
    return made_up(GPU, ON_GPU, 0.01, device="cuda", precision="FP16")


def words(figure):
    return " ".join(str(note.text) for note in figure.layout.annotations).replace("<br>", " ")


def test_a_life_is_a_marker_for_each_phase(live, recorded):
    figure = teach.draw_engine_life(live, recorded)
    for trace, life in zip(figure.data, (live, recorded), strict=True):
        assert dict(zip(trace.y, trace.x, strict=True)) == {
            phase.value: pytest.approx(life.seconds(phase), rel=1e-3)
            for phase in life.times
            if phase not in (Phase.CALL, Phase.DONE, Phase.ONE, Phase.TWO)
        }
        assert f"{life.provenance.origin.value}: resnet18 in {life.precision}, {life.provenance.device}" == trace.name
    assert len({trace.marker.symbol for trace in figure.data}) == len({t.marker.color for t in figure.data}) == 2


def test_every_marker_lies_inside_and_under_its_part(live, recorded):
    figure = teach.draw_engine_life(live, recorded)
    low, high = figure.layout.xaxis.range
    assert all(10**low < x < 10**high for trace in figure.data for x in trace.x)
    rows = list(figure.layout.yaxis.categoryarray)
    heights = {note.text.strip("</b>"): note.y for note in figure.layout.annotations if note.text.startswith("<b>")}
    assert [rows[int(y)] for y in heights.values()] == ["build", "import torch", "run"]
    assert len(figure.layout.shapes) == 2


def test_one_request_is_held_and_free_for_as_long_as_measured(live, recorded):
    figure = teach.draw_enqueue(live, recorded)
    for life, (held, free, there) in zip((live, recorded), (figure.data[:3], figure.data[3:]), strict=True):
        run, called, done = (1e3 * life.seconds(p) for p in (Phase.RUN, Phase.CALL, Phase.DONE))
        assert list(held.x) == [run, called]
        assert list(free.x) == [0, pytest.approx(done - called)]
        assert list(there.x) == [run, done]
    assert [trace.name for trace in figure.data if trace.showlegend] == [
        "the host is held", "the host is free", "results are there"
    ]  # fmt: skip
    assert "LIVE: a processor" in words(figure)
    assert "RECORDED: a GPU" in words(figure)


@pytest.mark.parametrize("draw", [teach.draw_engine_life, teach.draw_enqueue])
def test_figures_are_static_transparent_and_say_where_numbers_come_from(draw, live, recorded):
    figure = draw(live, recorded)
    assert type(figure).__name__ == "Figure"
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert len(figure.to_json()) < 20_000
    assert live.provenance.line() in words(figure)
    assert recorded.provenance.line() in words(figure)
    assert "fresh processes: 3 and 3 of each" in words(figure)


@pytest.mark.parametrize("draw", [teach.draw_engine_life, teach.draw_enqueue])
def test_no_lives_or_too_many_are_refused(draw, live):
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"cannot draw {count} lives: expected 1 to 3"):
            draw(*[live] * count)


def test_kernels_with_what_was_merged_and_their_share():
    page = said_by_both(
        teach.draw_kernels(KERNELS, CPU), "2 kernels, 40 µs together", "conv Relu", "onednn", "float32[1, 64]",
        "30 µs", "75%", "25%", CPU.line(),
    )  # fmt: skip
    assert "conv1/Conv" in page.words
    assert "LIVE" in page.words
    assert [a["style"].split("width:")[1] for tag, a in page.tags if tag == "div" and "style" in a] == ["45px", "15px"]


def test_names_of_a_model_stay_text():
    evil = KernelInfo(name=EVIL, onnx_nodes=(EVIL,), tactic=EVIL, inputs=(), outputs=(EVIL,), time_us=1.0)
    page = read(teach.draw_kernels([evil], CPU))
    assert page.count("img") == page.count("script") == 0
    assert EVIL in page.words


def test_a_table_of_lives(live, recorded):
    drawing = teach.draw_lives([live, recorded])
    said_by_both(
        drawing, "resnet18, cpu, FP32, LIVE", "resnet18, cuda, FP16, RECORDED", "ONNX Runtime 12 ms", "1.0e-06",
        CPU.line(), GPU.line(),
    )  # fmt: skip
    first, second = drawing.text.splitlines()[1:3]
    assert "–" in first  # nothing to tune on the CPU
    assert "–" not in second
    for line, life, rebuilt in ((first, live, [Phase.BUILD]), (second, recorded, [Phase.BUILD, Phase.TUNE])):
        assert f"  {sum(map(life.seconds, rebuilt)) / life.seconds(Phase.LOAD):.1f} " in line
