"""The "Say it" card in a real JupyterLab: opened step by step with the keyboard alone, in both languages."""

import pytest

pytestmark = pytest.mark.browser

SOURCES = ["from trtlab.teach import claim, say", "say('Q3-01')", "say('Q3-05')", "claim('C74')"]
STEPS = ("answer", "follow_ups", "mistakes", "changes", "sources")


@pytest.fixture
def cards(lab):
    """Two cards, closed, and a claim below; no language has been chosen."""
    lab.page.evaluate("() => localStorage.clear()")
    lab.show(*SOURCES)
    return lab


def _card(lab, name):
    return lab.page.locator(f'section.say[aria-label="{name}"]')


def _focused(lab):
    """The text of what has the focus, as a reader sees it."""
    return lab.page.evaluate("() => document.activeElement.innerText || document.activeElement.ariaLabel")


def _open(lab):
    return lab.page.evaluate("() => document.activeElement.parentElement.open")


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
    rungs = card.locator(".rung > summary")
    for number, question in enumerate(("Which of these", "Your service takes", "What do you store"), 1):
        assert [rungs.nth(i).is_visible() for i in range(3)] == [i < number for i in range(3)], "one after the other"
        keyboard.press("Tab")
        assert question in _focused(cards)
        keyboard.press("Enter")
    for key, part in (("Enter", "loads the ONNX file"), ("Space", "EXPLICIT_BATCH"), ("Enter", 'claim("C74")')):
        keyboard.press("Tab")
        assert part not in card.inner_text()
        keyboard.press(key)
        assert part in card.inner_text()
    assert cards.page.locator(".jp-mod-editMode").count() == 0  # Enter did not fall through to the notebook


def test_one_switch_turns_every_card_into_the_other_language_and_is_remembered(cards):
    first, second = _card(cards, "Q3-01"), _card(cards, "Q3-05")
    proof = cards.page.locator(".card", has=cards.page.locator(".claim")).last
    english, chinese = "Walk me through", "请从头到尾讲一遍"
    assert english in first.inner_text()
    assert chinese not in first.inner_text()
    assert "Why serialise" in second.inner_text()
    for step in STEPS:
        first.locator(f".{step} > summary").click()
    first.get_by_role("switch").focus()
    cards.page.keyboard.press("Space")
    shown = first.inner_text()
    assert english not in shown
    for heading in (chinese, "60 秒口述答案", "追问", "常见错误", "现在的说法", "出处"):
        assert heading in shown
    for gone in ("The 60-second answer", "Common mistakes", "Often said", "Topic"):
        assert gone not in shown
    proof.scroll_into_view_if_needed()
    proof.get_by_text("原题：").wait_for()
    assert "The sheet:" not in proof.inner_text()
    cards.show(*SOURCES)  # drawn anew
    first.get_by_text(chinese).wait_for()
    assert "Why serialise" not in second.inner_text()
    second.get_by_role("switch").focus()
    cards.page.keyboard.press("Space")
    assert "Why serialise" in second.inner_text()
    assert english in first.inner_text()


def test_the_clock_runs_when_it_is_opened_and_pictures(cards):
    card = _card(cards, "Q3-01")
    running = """element => element.querySelector('.clock .time div').getAnimations()
        .map(a => a.effect.getTiming().duration)"""
    assert card.evaluate(running) == []
    card.locator(".clock > summary").click()
    assert card.evaluate(running) == [60_000]
    for name in ("Q3-01", "Q3-05"):
        for part in [*(f".{step}" for step in STEPS), ".rung >> nth=0", ".rung >> nth=1", ".rung >> nth=2"]:
            _card(cards, name).locator(part).locator("summary").first.click()
    for theme in ("dark", "light"):
        cards.set_theme(theme)
        cards.screenshot(f"saycard_{theme}", whole=True)
