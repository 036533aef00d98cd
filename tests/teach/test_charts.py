"""teach/charts: plotly figures that print where their numbers come from, and need nothing from elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from trtlab.lab.workflow import Status
from trtlab.teach.charts import COLOURS, draw_predictions, draw_waterfall
from trtlab.teach.tables import TITLES

from .flows import finished


@pytest.fixture(scope="module")
def records():
    return list(finished().records.values())


@pytest.fixture(scope="module")
def result():
    return finished().artefact("compare")


def words(figure):
    """All text on a figure, in one string."""
    return " ".join(str(note.text) for note in figure.layout.annotations) + f" {figure.layout.title.text}"


def titles(figure):
    """What stands above each small picture."""
    return [note.text for note in figure.layout.annotations][:-1]


def test_the_waterfall_has_a_bar_for_each_timed_stage_laid_end_to_end(records):
    (bars,) = draw_waterfall(records).data
    timed = [record for record in records if record.seconds is not None]
    assert list(bars.y) == [TITLES[record.name] for record in timed]
    assert list(bars.x) == pytest.approx([1000 * record.seconds for record in timed])
    assert list(bars.base) == pytest.approx(list(np.cumsum([0, *bars.x[:-1]])))
    assert list(bars.marker.color) == [COLOURS[record.status] for record in timed]


def test_the_waterfall_says_who_and_where(records):
    figure = draw_waterfall(records)
    for record in records:
        if record.seconds is not None:
            assert record.provenance.line().split(", 2")[0] in words(figure)  # origin and device; versions are merged
            assert any(record.executor in text for text in figure.data[0].hovertext)
    assert ("ONNX Runtime stood in" in words(figure)) is any(r.status is Status.STOOD_IN for r in records)
    assert figure.layout.xaxis.title.text == "milliseconds"


def test_where_all_was_done_nothing_stood_in(records):
    done = [replace(record, status=Status.DONE) for record in records]
    assert "stood in" not in words(draw_waterfall(done))


def test_a_waterfall_of_nothing_is_an_empty_figure():
    assert list(draw_waterfall([]).data[0].x) == []


def test_the_scans_are_drawn_with_answer_and_provenance(result):
    figure = draw_predictions(result)
    assert len(figure.data) == len(result.inputs)
    for trace, image in zip(figure.data, result.inputs, strict=True):
        assert np.array_equal(trace.z, image[0])
    assert titles(figure)[0].startswith(str(result.predictions[0]))
    assert sum("✓" in title for title in titles(figure)) == (result.predictions == result.labels).sum()
    assert result.provenance.line() in words(figure)
    assert result.executor in words(figure)
    assert "16 scans of the held-out test split" in words(figure)


def test_a_wrong_answer_names_the_label(result):
    wrong = replace(result, labels=(result.predictions + 1) % 10)
    assert titles(draw_predictions(wrong))[0] == f"{result.predictions[0]} ✗ is {wrong.labels[0]}"


def test_without_labels_nothing_is_called_right(result):
    figure = draw_predictions(replace(result, labels=None))
    assert titles(figure) == [str(answer) for answer in result.predictions]
    assert "without labels" in words(figure)
    assert "test split" not in words(figure)


@pytest.mark.parametrize("count", [1, 8, 9])
def test_rows_are_filled_from_the_left(result, count):
    few = replace(
        result, inputs=result.inputs[:count], outputs=result.outputs[:count], labels=result.labels[:count],
        reference=result.reference[:count],
    )  # fmt: skip
    figure = draw_predictions(few)
    assert len(figure.data) == count
    assert len(figure._grid_ref) == (2 if count > 8 else 1)


@pytest.mark.parametrize("draw", ["waterfall", "predictions"])
def test_a_figure_is_static_transparent_and_loads_nothing(records, result, draw):
    figure = draw_waterfall(records) if draw == "waterfall" else draw_predictions(result)
    text = figure.to_json()
    assert "://" not in text.replace("https://plotly.com", "")
    assert "<script" not in text
    assert "<a " not in text
    assert type(figure).__name__ == "Figure"  # a FigureWidget would leave megabytes in a saved notebook
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert len(text) < 60_000
