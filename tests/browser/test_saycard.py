"""The "Say it" card in a real JupyterLab: opened step by step with the keyboard alone, in both languages."""

import nbformat
import pytest

pytestmark = pytest.mark.browser

NOTEBOOK = "say_it.ipynb"
SOURCES = ["from trtlab.teach import say", "say('Q3-01')", "say('Q3-05', language='zh')"]
STEPS = ("answer", "follow_ups", "mistakes", "changes", "sources")


@pytest.fixture
def cards(lab_page, lab_folder):
    """Two cards on one page."""
    cells = [nbformat.v4.new_code_cell(source) for source in SOURCES]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab_folder / NOTEBOOK)
    lab_page.page.set_viewport_size({"width": 1366, "height": 768})
    lab_page.open(NOTEBOOK)
    lab_page.run_all()
    assert lab_page.error_outputs() == []
    yield lab_page
    assert lab_page.console_errors == []
    assert lab_page.external_requests == []


def _card(lab_page, name):
    return lab_page.page.locator(f'section.say[aria-label="{name}"]')


def _focused(lab_page):
    """The text of what has the focus, as a reader sees it."""
    return lab_page.page.evaluate("() => document.activeElement.innerText || document.activeElement.ariaLabel")


def _open(lab_page):
    return lab_page.page.evaluate("() => document.activeElement.parentElement.open")


def test_a_card_opens_step_by_step_with_the_keyboard_alone(cards):
    card, keyboard = _card(cards, "Q3-01"), cards.page.keyboard
    assert "I think of two halves" not in card.inner_text()
    card.locator("summary").first.focus()
    assert "60 seconds" in _focused(cards)
    for key, part in (("Enter", "I think of two halves"), ("Space", "Which of these steps")):
        keyboard.press("Tab")
        assert not _open(cards)
        keyboard.press(key)
        assert _open(cards)
        assert part in card.inner_text()
    for question in ("Which of these", "Your service takes", "What do you store"):
        keyboard.press("Tab")
        assert question in _focused(cards)
        keyboard.press("Enter")
        assert _open(cards)
    for key, part in (
        ("Enter", "The runtime loads the ONNX file"),
        ("Space", "EXPLICIT_BATCH"),
        ("Enter", 'claim("C74")'),
    ):
        keyboard.press("Tab")
        assert part not in card.inner_text()
        keyboard.press(key)
        assert part in card.inner_text()
    assert cards.page.locator(".jp-mod-editMode").count() == 0  # Enter did not fall through to the notebook


def test_a_follow_up_waits_for_the_one_before(cards):
    card = _card(cards, "Q3-01")
    card.locator(".follow_ups > summary").click()
    rungs = card.locator(".rung > summary")
    assert [rungs.nth(i).is_visible() for i in range(3)] == [True, False, False]
    rungs.nth(0).click()
    assert [rungs.nth(i).is_visible() for i in range(3)] == [True, True, False]


def test_one_switch_turns_everything_into_the_other_language(cards):
    first, second = _card(cards, "Q3-01"), _card(cards, "Q3-05")
    english, chinese = "Walk me through", "请从头到尾讲一遍"
    assert english in first.inner_text()
    assert chinese not in first.inner_text()
    assert "Why serialise" not in second.inner_text()  # this one began in Chinese
    for step in STEPS:
        first.locator(f".{step} > summary").click()
    first.get_by_role("switch").focus()
    cards.page.keyboard.press("Space")
    shown = first.inner_text()
    assert chinese in shown
    assert english not in shown
    for heading in ("60 秒口述答案", "追问", "常见错误", "现在的说法", "出处"):
        assert heading in shown
    for gone in ("The 60-second answer", "Common mistakes", "Often said", "Topic"):
        assert gone not in shown
    second.get_by_role("switch").focus()
    cards.page.keyboard.press("Space")
    assert "Why serialise" in second.inner_text()
    assert chinese in first.inner_text()  # the cards are independent


def test_the_clock_runs_when_it_is_opened(cards):
    card = _card(cards, "Q3-01")
    bar = ".clock .time div"
    running = "(element, bar) => element.querySelector(bar).getAnimations().map(a => a.effect.getTiming().duration)"
    assert card.evaluate(running, bar) == []
    card.locator(".clock > summary").click()
    assert card.evaluate(running, bar) == [60_000]


def test_pictures_in_both_themes(cards):
    for name in ("Q3-01", "Q3-05"):
        for step in STEPS:
            _card(cards, name).locator(f".{step} > summary").click()
        for number in range(3):
            _card(cards, name).locator(".rung > summary").nth(number).click()
    for theme in ("dark", "light"):
        cards.set_theme(theme)
        cards.screenshot(f"saycard_{theme}", whole=True)
