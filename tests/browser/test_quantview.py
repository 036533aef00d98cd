"""The quantisation view in a real JupyterLab: choices by mouse and by keys, refusals, two views, themes."""

import pytest

pytestmark = pytest.mark.browser

SHOW = """\
from trtlab.teach import QuantView
view = QuantView("after ReLU", "UINT8")
view.choose(tensor="gaussian", format="INT8")
view"""
OTHER = "other = QuantView('after ReLU', 'INT4', 64)\nother"
FITS = "() => { const e = document.querySelector('.qv'); return e.scrollWidth <= e.clientWidth; }"
ASK = "'|'.join(one.shown[what] for one in (view, other) for what in ('tensor', 'format', 'granularity'))"


@pytest.fixture
def views(lab):
    """A page with two views."""
    lab.show(SHOW, OTHER)
    lab.page.locator(".qv").first.scroll_into_view_if_needed()
    return lab


def first(lab_page):
    return lab_page.page.get_by_role("group", name="Quantisation view").first


def wait_for(lab_page, title):
    lab_page.page.locator(f".qv[data-title='{title}']").first.wait_for()


def fact(lab_page, label):
    facts = first(lab_page).locator(".qv-facts div", has=lab_page.page.get_by_text(label, exact=True))
    return facts.locator("b").inner_text()


def test_a_choice_travels_to_python_and_back(views):
    first(views).get_by_role("combobox", name="format").select_option("NF4")
    wait_for(views, "gaussian in NF4, one scale for the tensor")
    assert fact(views, "levels used") == "16"
    first(views).get_by_role("combobox", name="tensor").select_option("gaussian with outliers")
    wait_for(views, "gaussian with outliers in NF4, one scale for the tensor")
    assert fact(views, "inliers").endswith("dB")
    first(views).get_by_text("16", exact=True).first.click()
    wait_for(views, "gaussian with outliers in NF4, blocks of 16, FP32 scales")
    assert views.ask(ASK) == "gaussian with outliers|NF4|16|after ReLU|INT4|64"
    assert first(views).locator(".qv-tried tbody tr").count() == 5


def test_keys_alone_choose_and_the_other_view_keeps_its_choice(views):
    press = views.page.keyboard.press
    first(views).get_by_role("combobox", name="tensor").focus()
    press("Tab")
    press("ArrowDown")
    wait_for(views, "gaussian in INT8 + zero point, one scale for the tensor")
    press("Tab")
    press("ArrowRight")
    wait_for(views, "gaussian in INT8 + zero point, one scale per row")
    press("Tab")
    before = first(views).locator("svg").inner_html()
    press("Space")
    views.page.wait_for_function("before => document.querySelector('.qv svg').innerHTML !== before", arg=before)
    assert views.ask(ASK) == "gaussian|INT8 + zero point|channel|after ReLU|INT4|64"
    other = views.page.get_by_role("group", name="Quantisation view").last
    assert other.get_by_role("radio", name="64").is_checked()
    assert first(views).get_by_role("radio", name="row").is_checked()


def test_a_refusal_is_said_and_the_choice_goes_back(views):
    first(views).get_by_role("combobox", name="format").select_option("UINT8")
    alert = first(views).get_by_role("alert")
    alert.wait_for()
    assert "no values below 0" in alert.inner_text()
    assert first(views).get_by_role("combobox", name="format").input_value() == "INT8"
    first(views).get_by_role("combobox", name="format").select_option("NVFP4")
    wait_for(views, "gaussian in NVFP4, blocks of 16, FP8_E4M3 scales and one for the tensor")
    assert alert.is_hidden()
    assert first(views).get_by_role("radio").count() == 0


def test_the_view_fits_on_a_small_screen_in_both_themes(views):
    for theme in ("light", "dark"):
        views.set_theme(theme)
        assert first(views).bounding_box()["height"] < 620
        assert views.page.evaluate(FITS)
        colours = views.page.evaluate("""() => ['.gv-paper', '.qv-value', '.qv-ink'].map(
            name => getComputedStyle(document.querySelector('.qv ' + name)).fill)""")
        assert len(set(colours)) == 3
        views.screenshot(f"quantview-{theme}")


def test_codes_and_errors_stand_below_the_values_on_a_narrow_page(views):
    for width in (1000, 760):
        views.page.set_viewport_size({"width": width, "height": 900})
        boxes = [first(views).locator(what).bounding_box() for what in (".qv-canvas", ".qv-value", ".qv-side")]
        canvas, values, side = boxes
        assert canvas["x"] < side["x"]
        assert side["x"] + side["width"] < canvas["x"] + canvas["width"]
        assert values["y"] + values["height"] < side["y"]
        assert side["y"] + side["height"] < canvas["y"] + canvas["height"], "or it would be cut"
