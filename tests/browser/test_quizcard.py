"""Quiz cards in a real JupyterLab, answered as a learner does: by keyboard, with a wrong try first."""

import re

import pytest

pytestmark = pytest.mark.browser

CELLS = (
    "from trtlab.teach import quiz",
    'choice = quiz("q3-sync-call")\nchoice',
    'several = quiz("q3-builder-flags")\nseveral',
    'number = quiz("q3-fp16-weights")\nnumber',
    'ordering = quiz("q3-inference-order")\nordering',
)
ORDER = ("Deserialise", "Create an", "Copy the inputs", "Enqueue", "Copy the outputs", "Compare")


@pytest.fixture
def page(lab):
    """Four new quizzes; no language has been chosen."""
    lab.page.evaluate("() => localStorage.clear()")
    lab.show(*CELLS)
    lab.page.locator(".qz").nth(3).wait_for()
    return lab


def test_quizzes_are_answered_by_keyboard_alone(page):
    cards, keyboard = page.page.locator(".qz"), page.page.keyboard
    before = len(page.cells())
    page.screenshot("quiz_asked_light", whole=True)
    answer_choice(cards.nth(0), keyboard)
    answer_several(cards.nth(1), keyboard)
    answer_number(cards.nth(2), keyboard)
    answer_ordering(cards.nth(3), keyboard)
    assert len(page.cells()) == before, "a key reached the notebook's shortcuts"
    for theme in ("dark", "light"):
        page.set_theme(theme)
        page.screenshot(f"quiz_answered_{theme}", whole=True)
    replies = page.ask("[[r.correct for r in c.attempts] for c in (choice, several, number, ordering)], number.reply")
    assert replies == "[[False, True], [False, True], [False, True], [False, True]] 73.5"


def test_a_choice_leaves_that_in_another_quiz_alone(lab):
    lab.show(*CELLS[:2], 'quiz("q3-parsers")', "choice")
    for card, label in ((0, "execute(batch_size, bindings)"), (1, "UffParser"), (2, "execute_v2(bindings)")):
        lab.page.locator(".qz").nth(card).get_by_role("radio", name=label, exact=True).check()
    assert lab.page.locator(".qz input:checked").count() == 3


def answer_choice(card, keyboard):
    told = card.get_by_role("status")
    assert card.get_by_role("button", name="Show answer").is_hidden()
    card.get_by_role("radio").first.focus()
    keyboard.press("Enter")
    told.filter(has_text="Choose an option first.").wait_for()
    keyboard.press(digit_of(card, "execute_async_v2"))
    keyboard.press("Enter")
    told.filter(has_text="Not this one.").wait_for()
    card.get_by_text("removed in 10.0; execute_async_v3 took its place").first.wait_for()
    assert card.get_by_role("button", name="Show answer").is_visible()
    for _ in range(len(card.get_by_role("radio").all())):  # arrows go round
        keyboard.press("ArrowDown")
        if card.get_by_role("radio", name="execute_v2(bindings)").is_checked():
            break
    keyboard.press("Enter")
    told.filter(has_text="Right.").wait_for()


def answer_several(card, keyboard):
    card.get_by_role("checkbox").first.focus()
    for flag in ("TF32", "FP16"):
        keyboard.press(digit_of(card, flag))
    keyboard.press("Enter")
    card.get_by_role("status").filter(has_text="1 of 2 ticked wrongly, 2 missing").wait_for()
    keyboard.press(digit_of(card, "FP16"))
    for flag in ("REFIT", "WEIGHT_STREAMING"):
        while not card.get_by_role("checkbox", name=flag).evaluate("node => node === document.activeElement"):
            keyboard.press("ArrowDown")
        keyboard.press("Space")
    keyboard.press("Enter")
    card.get_by_role("status").filter(has_text="Right, all of them.").wait_for()


def answer_number(card, keyboard):
    told = card.get_by_role("status")
    card.get_by_role("textbox", name=re.compile("KiB.*KiB")).focus()  # a screen reader hears the unit, too
    keyboard.type("149 KiB")
    keyboard.press("Enter")
    told.filter(has_text="That is all of FP32").wait_for()
    keyboard.press("ControlOrMeta+a")
    keyboard.type("73,5 KiB")
    keyboard.press("Tab")
    keyboard.press("Enter")  # on the Check button
    told.filter(has_text="Right: 73.6 KiB").wait_for()
    card.get_by_text("Typical slips").click()
    assert ": That is all of FP32" in card.locator(".qz-answer li", has_text="all of FP32").inner_text()


def answer_ordering(card, keyboard):
    told = card.get_by_role("status")
    card.locator("li").first.focus()
    keyboard.press("Enter")
    told.filter(has_text="comes too early: it needs").wait_for()
    for place, words in enumerate(ORDER):
        row = card.get_by_role("listitem", name=words)
        while int(row.locator(".qz-digit").inner_text()) != place + 1:
            row.focus()
            keyboard.press("Alt+ArrowUp")
    keyboard.press("Enter")
    told.filter(has_text="Right, all in order.").wait_for()


def digit_of(card, text):
    """The digit painted beside the option whose text begins with `text`."""
    rows = card.locator(".qz-row").filter(has=card.page.locator(f".qz-text >> text=/^{text}(\\W|$)/"))
    return rows.locator(".qz-digit").inner_text()


def test_an_order_is_made_with_the_mouse_too(page):
    card = page.page.locator(".qz").last
    first = card.locator("li").first
    first.scroll_into_view_if_needed()
    words = first.locator(".qz-text").inner_text()
    first.get_by_role("button", name=re.compile(f"^Move down ?: {words}")).click()
    assert place_of(card, words) == 2
    start = card.get_by_role("listitem", name=words).bounding_box()
    last = card.locator("li").last.bounding_box()
    page.page.mouse.move(start["x"] + 200, start["y"] + start["height"] / 2)
    page.page.mouse.down()
    page.page.mouse.move(last["x"] + 200, last["y"] + last["height"] - 2, steps=8)
    page.page.mouse.up()
    assert place_of(card, words) == len(ORDER)
    page.page.keyboard.press("3")
    assert place_of(card, words) == 3


def test_the_answer_can_be_seen_and_the_quiz_begun_again(page):
    card = page.page.locator(".qz").last
    card.get_by_role("button", name="Check").click()
    card.get_by_role("button", name="Show answer").click()
    card.get_by_role("status").filter(has_text="The answer").wait_for()
    rows = [row.locator(".qz-text").inner_text() for row in card.get_by_role("listitem").all()]
    assert [row.startswith(words) for row, words in zip(rows, ORDER, strict=True)] == [True] * len(ORDER)
    page.screenshot("quiz_shown_light", whole=True)
    card.get_by_role("button", name="Start over").click()
    card.get_by_role("button", name="Check").wait_for()
    assert card.get_by_role("button", name="Show answer").is_hidden()
    assert not card.locator("li").first.inner_text().startswith(ORDER[0])


def test_the_language_changes_live_in_every_quiz_with_what_was_ticked_and_told(page):
    choice, ordering = page.page.locator(".qz").first, page.page.locator(".qz").last
    choice.get_by_role("radio", name="execute_async_v2").check()
    choice.get_by_role("button", name="Check").click()
    choice.get_by_role("status").filter(has_text="Not this one.").wait_for()
    choice.get_by_role("switch").focus()
    page.page.keyboard.press("Space")
    said = choice.inner_text()
    for words in ("测验", "单选", "第 1 次", "老教程里的四个调用", "不是这个。", "看答案"):
        assert words in said
    for gone in ("Quiz", "Choose one", "Four calls", "Not this one", "Show answer"):
        assert gone not in said
    assert choice.get_by_role("radio", name="execute_async_v2").is_checked()
    assert "把 plan 反序列化成引擎" in ordering.inner_text()
    ordering.locator("li").first.focus()
    assert ordering.get_by_role("button", name="下移").first.is_visible()
    page.screenshot("quiz_chinese_light", whole=True)
    page.show(*CELLS)  # drawn anew, in the language that was chosen
    page.page.locator(".qz").first.get_by_text("老教程里的四个调用").wait_for()


def place_of(card, words):
    texts = [row.locator(".qz-text").inner_text() for row in card.locator("li").all()]
    return texts.index(words) + 1
