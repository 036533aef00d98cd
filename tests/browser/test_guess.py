"""Below a guess and behind a quiz answers stay covered, in this cell and two more, until they are asked for."""

import nbformat
import pytest

from .labpage import write_notebook

pytestmark = pytest.mark.browser

GUESS = """from trtlab.teach import draw_number_line, guess, quiz
asked = guess("kernels")
print("seven of them")
asked.measured(7)
draw_number_line(["INT4"])"""
PROSE = "Seven it is.\n\nNext: [here](covered.ipynb)\n\n## A heading"
BLURRED = """() => [...document.querySelectorAll('.jp-CodeCell .cm-line')].map(
    (line) => getComputedStyle(line).filter !== 'none')"""
HIDDEN = "node => getComputedStyle(node).visibility === 'hidden'"


def hidden(page, words):
    return page.get_by_text(words, exact=True).last.evaluate(HIDDEN)


def test_what_follows_a_guess_or_a_quiz_is_covered_until_it_is_answered(lab_page, lab_folder):
    cells = [
        GUESS,
        "print('behind it')",
        "print('third')",
        nbformat.v4.new_markdown_cell(PROSE),
        "from IPython.display import HTML; HTML('<h3>a title</h3>')",
        "quiz('q3-sync-call')",
    ]
    write_notebook(lab_folder / "covered.ipynb", [*cells, "print('after the quiz')", "guess()\nprint('last')"])
    lab_page.open("covered.ipynb")
    page = lab_page.page
    page.set_viewport_size({"width": 1000, "height": 2000})
    saved = [out.get("text") for cell in lab_page.run_all() for out in cell.get("outputs", [])]
    assert {"seven of them\n", "behind it\n", "last\n"} <= set(saved)  # computed all the same
    everything = ("seven of them", "behind it", "third", "after the quiz", "last")
    assert [hidden(page, words) for words in everything] == [True] * 5
    assert not hidden(page, "a title")  # of the next section, though it looks like a heading
    bar = page.locator(".trt-guess").first
    assert bar.get_by_text("Answer").is_hidden()
    prose = [page.locator(".jp-RenderedMarkdown > *").nth(number) for number in range(3)]
    assert [one.is_visible() for one in prose] == [False, True, True]  # where to go next is no answer
    assert page.evaluate(BLURRED) == [False, *[True] * 4, True, True, False, False, True, False, True]
    lab_page.screenshot("covered")

    bar.get_by_role("textbox").click()
    page.keyboard.type("12")
    page.keyboard.press("Enter")
    bar.get_by_text("Answer").wait_for()
    assert [hidden(page, words) for words in everything] == [False, False, False, True, True]
    assert page.evaluate(BLURRED) == [*[False] * 9, True, False, True]
    assert prose[0].is_visible()
    assert "7" in bar.inner_text()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot').offsetHeight > 200")  # drawn under a cover
    card = page.locator(".qz")
    card.get_by_role("radio", name="execute_v2").check()
    assert hidden(page, "after the quiz")
    card.get_by_role("button", name="Check").click()
    card.get_by_role("status").filter(has_text="Right.").wait_for()
    assert [hidden(page, words) for words in everything] == [False] * 4 + [True]
    card.get_by_role("button", name="Start over").click()
    page.wait_for_function("() => !document.querySelector('.qz .trt-show').checked")
    page.locator(".trt-guess").last.get_by_role("button").click()  # all of the page
    assert [hidden(page, words) for words in everything] == [False] * 5
    lab_page.run(0)
    page.wait_for_function("() => document.querySelector('.trt-under')")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('.trt-under')")  # a cover goes with its question
    lab_page.assert_clean()
    lab_page.screenshot("uncovered")


def test_the_bar_stays_where_it_is_though_its_cell_begins_above(lab):
    lab.show("# a long cell\n" * 40 + GUESS, "print('behind it\\n' * 40)")
    bar = lab.page.locator(".trt-guess")
    bar.evaluate("bar => bar.scrollIntoView()")
    lab.page.wait_for_timeout(300)
    before = bar.bounding_box()["y"]
    bar.locator(".trt-entry").fill("7")
    lab.page.keyboard.press("Enter")
    bar.locator(".trt-found").wait_for()
    assert abs(bar.bounding_box()["y"] - before) < 3


def test_in_voila_a_guess_covers_as_far_and_uncovers(voila):
    voila.show(GUESS, "print('behind it')", "print('third')", "print('fourth')")
    page = voila.page
    page.wait_for_function("() => document.querySelectorAll('.trt-under').length === 2")
    assert [hidden(page, words) for words in ("seven of them", "third", "fourth")] == [True, True, False]
    page.get_by_role("textbox").fill("12")
    page.keyboard.press("Enter")
    page.locator(".trt-guess").get_by_text("Answer").wait_for()
    assert [hidden(page, words) for words in ("seven of them", "third")] == [False, False]
    page.wait_for_function("() => document.querySelector('.js-plotly-plot').offsetHeight > 200")


def test_a_script_that_an_older_package_saved_in_the_page_gives_way(lab):
    lab.page.evaluate("() => { window.trtTongue = () => {}; window.trtTongue.again = () => {}; }")  # as it was left
    lab.show("from trtlab.teach import guess\nguess('kernels')\nprint('seven')")
    lab.page.wait_for_function(
        "() => document.querySelector('.trt-guess .tongue') && document.querySelector('.trt-asks')"
    )
    ours = lab.page.evaluate("() => window.trtTongue.mark = 1")
    lab.show("from trtlab.teach import guess\nguess('layers')")
    lab.page.wait_for_function("() => document.querySelector('.trt-guess .tongue')")
    assert lab.page.evaluate("() => window.trtTongue.mark") == ours  # and one's own stays
