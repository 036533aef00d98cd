"""The view of streams in a real JupyterLab: sliders by mouse and by keys, themes, how soon it answers."""

import statistics

import pytest

pytestmark = pytest.mark.browser

SHOW = "from trtlab.teach import StreamView\nview = StreamView(streams=4, share=25)\nview"
ASK = "*view.setting.values(), view.shown['facts'][0][1]"
FLIP = """async (values) => {
    const root = document.querySelector('.tl'), slider = root.querySelector('input[aria-label="streams"]'), taken = [];
    for (const value of values) {
        const started = performance.now();
        slider.value = value;
        slider.dispatchEvent(new Event('input'));
        while (root.dataset.setting.split(' ')[1] !== String(value)) await new Promise((done) => setTimeout(done, 1));
        taken.push(performance.now() - started);
    }
    return taken;
}"""


HAND_IS_SEEN = """() => {
    const box = (what) => document.querySelector(what).getBoundingClientRect();
    const [canvas, hand] = [box('.tl-hand'), box('.tl-hand circle')];
    return canvas.left <= hand.left && hand.right <= canvas.right;
}"""


@pytest.fixture
def view(lab):
    lab.show(SHOW)
    return lab


def test_sliders_predict_by_mouse_and_by_keys(view):
    group = view.page.get_by_role("group", name="Streams").first
    streams = group.get_by_role("slider", name="streams")
    before = group.locator("svg").inner_html()
    streams.focus()
    for _ in range(3):
        view.page.keyboard.press("ArrowLeft")
    view.page.wait_for_function("() => document.querySelector('.tl').dataset.setting.startsWith('6 1 ')")
    assert group.locator("svg").inner_html() != before
    assert group.get_by_text("1 stream").count() == 1
    assert view.ask(ASK).startswith("6 1 100 25 60 5 ")
    group.get_by_role("slider", name="requests").fill("16")
    view.page.wait_for_function("() => document.querySelector('.tl').dataset.setting.startsWith('16 1 ')")


def test_it_fits_answers_soon_and_has_two_themes(view):
    taken = view.page.evaluate(FLIP, [n % 8 + 1 for n in range(41)])
    print(f"slider to timeline: median {statistics.median(taken):.0f} ms, p95 {sorted(taken)[38]:.0f} ms")
    colours = set()
    for theme in ("light", "dark"):
        view.set_theme(theme)
        assert view.page.evaluate(
            "() => { const e = document.querySelector('.tl'); return e.scrollWidth <= e.clientWidth; }"
        )
        colours.add(view.page.evaluate("() => getComputedStyle(document.querySelector('.tl .gv-paper')).fill"))
        view.screenshot(f"streamview-{theme}")
    assert len(colours) == 2
    view.page.set_viewport_size({"width": 1000, "height": 768})  # larger words in place of a scroll bar
    view.page.wait_for_function("() => document.querySelector('.tl').clientWidth < 700")
    assert view.page.evaluate(
        "() => { const e = document.querySelector('.tl .timeline'); return e.scrollWidth <= e.clientWidth; }"
    )


CLIP = """import numpy as np
from trtlab.numeric.calibrate import Histogram
from trtlab.teach import ClipView, NoiseView, RooflineView
values = np.random.default_rng(0).laplace(size=50_000)
clip = ClipView(Histogram.of(values), lambda threshold: (round(100 * min(1, threshold / 4)), 100))
clip"""


def test_a_threshold_is_dragged_by_hand_and_chosen_by_a_button(lab):
    lab.show(CLIP)
    group = lab.page.get_by_role("group", name="Where to clip").first
    picture = group.locator("svg")
    box = picture.bounding_box()
    lab.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.4 * box["height"])
    lab.page.mouse.down()
    for part in (0.7, 0.5, 0.3):
        lab.page.mouse.move(box["x"] + part * box["width"], box["y"] + 0.4 * box["height"])
    lab.page.mouse.up()
    lab.page.wait_for_function("() => Number(document.querySelector('.tl').dataset.setting) < 800")
    bins, most = map(int, lab.ask("clip.setting['bins'], clip.SLIDERS['bins'][2]").split())
    assert 0.2 * most < bins < 0.3 * most  # the middle of the picture's axis is not at its edge
    assert group.get_by_text("of 100 test images").count() == 1
    for name in ("max", "entropy"):
        group.get_by_role("button", name=name).click()
        lab.page.wait_for_function(
            "(name) => document.querySelector(`.tl [data-press=${name}]`).ariaPressed === 'true'", arg=name
        )
    assert lab.ask("clip.setting['bins'] == clip.BUTTONS['entropy']['bins']") == "True"
    slider = group.get_by_role("slider")
    slider.focus()
    lab.page.keyboard.press("ArrowLeft")
    lab.page.wait_for_function("() => !document.querySelector('.tl [aria-pressed=true]')")
    lab.screenshot("clipview")
    lab.page.set_viewport_size({"width": 1000, "height": 768})
    for name in ("max", "entropy"):  # the picture is wider than its cell, and the hand stays in sight
        group.get_by_role("button", name=name).click()
        lab.page.wait_for_function(HAND_IS_SEEN)


@pytest.mark.parametrize(
    ("code", "about"), [("NoiseView()", "Noise and winners"), ("RooflineView()", "What a format buys")]
)
def test_other_models_of_sliders_fit(lab, code, about):
    lab.show(f"from trtlab.teach import NoiseView, RooflineView\n{code}")
    group = lab.page.get_by_role("group", name=about).first
    before = group.locator("svg").inner_html()
    group.get_by_role("slider").first.press("ArrowRight")
    lab.page.wait_for_function("(was) => document.querySelector('.tl svg').innerHTML !== was", arg=before)
    assert lab.page.evaluate(
        "() => { const e = document.querySelector('.tl'); return e.scrollWidth <= e.clientWidth; }"
    )
    lab.screenshot(about.split()[0])
