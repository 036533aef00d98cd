"""The arena in a real JupyterLab: buffers moved by mouse and by keys, overlaps, a planner that plays, themes."""

import pytest

pytestmark = pytest.mark.browser

SHOW = """\
from trtlab.plan.memory import Buffer
from trtlab.teach import ArenaView
view = ArenaView([Buffer("a", 4096, 0, 2), Buffer("b", 4096, 2, 4), Buffer("c", 2048, 1, 3)])
view"""
OFFSETS = "*(view.offsets[name] for name in 'abc')"
SCORE = "score => document.querySelector('.ar').dataset.score === score"
AT_THE_FLOOR = "() => document.querySelector('[data-buffer=b]').dataset.at === '0'"
FITS = "() => document.querySelector('.ar').scrollWidth <= document.querySelector('.ar').clientWidth"
WHOLE = "() => { const one = document.querySelector('.ar .timeline'); return one.scrollWidth <= one.clientWidth; }"
BAD = "() => document.querySelectorAll('.ar-buffer rect[fill=\"#cf222e\"]').length"


@pytest.fixture
def arena(lab):
    lab.show(SHOW)
    lab.page.set_viewport_size({"width": 1366, "height": 1100})
    return lab


def buffer(arena, name):
    return arena.page.locator(f"[data-buffer='{name}']")


def test_a_buffer_is_dragged_overlaps_turn_red_and_keys_move_it_on(arena):
    assert arena.ask(OFFSETS) == "0 4096 8192"
    box = buffer(arena, "b").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    arena.page.mouse.move(x, y)
    arena.page.mouse.down()
    for step in range(1, 6):
        arena.page.mouse.move(x, y + step * box["height"] / 5)
    arena.page.mouse.up()
    arena.page.wait_for_function(AT_THE_FLOOR)
    assert arena.ask(OFFSETS) == "0 0 8192"

    buffer(arena, "c").focus()
    arena.page.keyboard.press("Home")
    arena.page.wait_for_function(f"() => ({BAD})() === 3")
    assert arena.page.get_by_role("group", name="Arena").get_by_text("share bytes while both live").count() == 1
    for place in ("2048", "4096"):
        arena.page.keyboard.press("ArrowUp")
        arena.page.wait_for_function(
            "place => document.activeElement.dataset.at === place", arg=place
        )  # it keeps the focus
    arena.page.wait_for_function(SCORE, arg="1.00")
    assert arena.page.evaluate(BAD) == 0


def test_a_planner_plays_step_by_step_and_both_themes_fit(arena):
    group = arena.page.get_by_role("group", name="Arena")
    group.get_by_role("combobox", name="planner").select_option("best fit")
    for count in (1, 2):
        group.get_by_role("button", name="The planner's next decision").click()
        group.get_by_text(f"best fit: {count} of 3").wait_for()
    assert buffer(arena, "b").count() == 0
    group.get_by_role("button", name="All decisions in turn").click()
    group.get_by_text("best fit: 3 of 3").wait_for()
    arena.page.wait_for_function(SCORE, arg="1.00")
    colours = set()
    for theme in ("light", "dark"):
        arena.set_theme(theme)
        assert arena.page.evaluate(FITS)
        colours.add(arena.page.evaluate("() => getComputedStyle(document.querySelector('.ar .gv-paper')).fill"))
        arena.screenshot(f"arena-{theme}")
    assert len(colours) == 2
    arena.page.set_viewport_size({"width": 1000, "height": 1100})
    arena.page.wait_for_function(WHOLE)
    assert buffer(arena, "c").locator(".ar-on").is_visible()
