"""teach/sliders and the views made of it: what sliders and buttons can say, what the pictures say, static forms."""

import numpy as np
import pytest

from trtlab.lab import gemm, precision
from trtlab.numeric.calibrate import CALIBRATORS, Histogram
from trtlab.plan import tactics
from trtlab.teach import ClipView, NoiseView, RooflineView, StreamView, draw_accuracies, draw_candidate, draw_race
from trtlab.teach.precision import errors
from trtlab.teach.streams import _marks

VALUES = np.random.default_rng(0).laplace(size=20_000).astype(np.float32)
SEEN = Histogram.of(VALUES)


@pytest.fixture(scope="module", params=["clip", "noise", "roof", "streams"])
def view(request):
    made = {"clip": lambda: ClipView(SEEN), "noise": NoiseView, "roof": RooflineView, "streams": StreamView}
    return made[request.param]()


def test_what_a_slider_cannot_say_changes_nothing(view):
    before, (name, (_, _, most, _)) = dict(view.setting), next(iter(view.SLIDERS.items()))
    for wrong, error in (({name: most + 1}, ValueError), ({name: 1.5}, ValueError), ({"speed": 1}, TypeError)):
        with pytest.raises(error, match="expected"):
            view.set(**wrong)
    for message in ({name: -1}, {"press": "nothing"}, {"speed": 3}, [], {"press": 3, name: 1}):
        view._handle_custom_msg(message, [])
    assert view.setting == before


def test_the_static_form_says_the_facts_in_words(view):
    text = view.static()._repr_mimebundle_()["text/plain"]
    assert all(value in text for _, value, _ in view.facts())
    assert view.shown["svg"].startswith("<svg")


def test_a_button_sets_what_the_calibrator_chose_and_a_move_releases_it():
    clip = ClipView(SEEN, lambda _: (90, 100))
    for name, find in CALIBRATORS.items():
        clip.hear({"press": name})
        assert clip.threshold == pytest.approx(find(SEEN).value, abs=SEEN.width)
        assert clip.shown["setting"]["pressed"] == name
    clip.set(bins=clip.setting["bins"] - 1)
    assert clip.shown["setting"]["pressed"] == ""
    assert clip.shown["facts"][0][:2] == ["accuracy", "90.0%"]


def test_errors_are_those_of_the_values_themselves():
    for threshold in (1.0, 4.0, 9.0):
        step = threshold / 127
        coded = np.clip(np.rint(VALUES / step), -127, 127) * step
        inside = np.abs(VALUES) <= threshold
        square = np.square(coded - VALUES, dtype=np.float64)
        rounding, clipping = errors(SEEN, threshold)
        assert rounding == pytest.approx(square[inside].sum() / VALUES.size, rel=0.1)
        assert clipping == pytest.approx(square[~inside].sum() / VALUES.size, rel=0.1)


def test_the_accuracy_is_that_of_the_threshold():
    heard = []
    view = ClipView(SEEN, lambda threshold: (heard.append(threshold) or 9, 10))
    view.set(bins=3)
    assert heard == [SEEN.width * view.last, view.threshold]


def test_a_histogram_without_values_cannot_be_clipped_and_one_of_equal_values_can():
    for wrong in (Histogram.of(np.zeros(4)), VALUES):
        with pytest.raises(ValueError, match="no Histogram with a value above 0"):
            ClipView(wrong)
    assert "divergence" not in ClipView(Histogram.of(np.ones(9))).shown["svg"]  # no loss has a logarithm


def test_the_roofline_names_what_limits_and_marks_what_was_measured():
    view = RooflineView(rows=0)
    assert {one.limit for one in view.times} == {"memory"}
    assert "measured: 16.4 µs" in view.picture()
    view.set(rows=12)
    assert {one.limit for one in view.times if one.format != "W4A16"} == {"compute"}
    view.hear({"press": "B200"})
    assert [one.format for one in view.times] == list(gemm.FORMATS)
    assert "measured" not in view.picture()


def test_a_race_shows_every_candidate_and_says_why_one_did_not_run():
    def fails():
        raise RuntimeError("out of paper")

    race = tactics.pick({"a": fails, "b": int, "c": int}, lambda _: iter([3e-6, 1e-6, 2e-6] * 20).__next__)
    figure = draw_race(race, "three").to_plotly_json()
    words = str(figure)
    assert "out of paper" in words
    assert "winner" in words


def test_pictures_of_calibration_hold_their_numbers():
    words = str(draw_candidate(SEEN, 200).to_plotly_json())
    assert "200 bins kept" in words
    row = precision.Row(name="INT8", how="simulated", right=45, same=44, total=50, weights_bytes=2048)
    assert "90.0%" in draw_accuracies([row], "one").text
    assert "44 of 50" in draw_accuracies([row], "one").text


def test_round_times_stand_below_a_timeline_whatever_its_length():
    for total, said in ((9e-3, "0 2 4 6 8"), (5.25e-4, "0 100 200 300 400 500"), (1e-5, "0 2 4 6 8 10")):
        unit = 1e6 if total < 1e-3 else 1e3
        assert " ".join(f"{moment * unit:g}" for moment in _marks(total)) == said
    assert _marks(0.0) == [0.0]


def test_a_power_stands_beside_its_slider_and_exponents_stay_in_the_setting():
    view = RooflineView(rows=13, size=14)
    assert view.face["powers"] == ("rows", "size")
    assert view.setting["rows"] == 13
    assert "8,192 × 16,384²" in view.static().text
