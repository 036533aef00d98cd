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
