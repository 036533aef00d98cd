"""The first page a learner opens, in a real JupyterLab."""

import pytest

from .labpage import write_notebook

pytestmark = pytest.mark.browser

START = "00_start_here.ipynb"


def test_start_here_runs_clean_in_both_themes(lab_page):
    lab_page.open(START)
    code = [cell for cell in lab_page.run_all() if cell["cell_type"] == "code"]
    assert lab_page.error_outputs() == []
    assert all(cell["execution_count"] for cell in code)
    for theme in ("dark", "light"):
        lab_page.set_theme(theme)
        lab_page.screenshot(f"start_here_{theme}", whole=True)
    assert lab_page.console_errors == []
    assert lab_page.external_requests == []


def test_a_quiz_answered_on_the_page_is_counted_when_the_card_of_quizzes_is_drawn_again(lab_page, lab_folder):
    own = f"import os\nos.environ['TRTLAB_DATA'] = {str(lab_folder / 'answers')!r}\n"  # nobody else's answers
    quiz = f"{own}from pathlib import Path\nfrom trtlab import teach\nteach.quiz('q3-sync-call')"
    write_notebook(lab_folder / "answers.ipynb", [quiz, "teach.draw_progress(Path.cwd())"])
    lab_page.open("answers.ipynb")
    lab_page.page.set_viewport_size({"width": 1000, "height": 2000})
    lab_page.run_all()
    row = lab_page.page.locator(".jp-OutputArea tr").filter(has_text="08_workflow")
    numbers = row.locator("td.num")  # covered: they follow a quiz that waits for its answer
    asked, *answered = map(int, numbers.all_text_contents())
    card = lab_page.page.locator(".qz")
    card.get_by_role("radio", name="execute_v2").check()
    card.get_by_role("button", name="Check").click()
    card.get_by_role("status").filter(has_text="Right.").wait_for()
    lab_page.run_all()
    assert list(map(int, numbers.all_text_contents())) == [asked, *(n + 1 for n in answered)]
    assert row.evaluate("row => row.scrollWidth <= row.closest('.card').clientWidth")


def test_the_door_answers_on_the_page_alone(lab):
    source = """from pathlib import Path
from trtlab import teach
from trtlab.lab import builds
teach.draw_door(Path.cwd(), builds.recorded("digits-FP32-SM89-dynamic"), "q1-nearest-code")"""
    lab.page.evaluate("() => localStorage.clear()")  # another test's choice of language
    lab.show(source, "print('not covered')")
    door = lab.page.locator(".door")
    for place, value in ((0, "2.25"), (2, "3.25"), (7, "−3.25")):
        door.get_by_label(f"bit {place},").check(force=True)
        assert door.locator(".trt-value").inner_text() == value
    assert door.locator(".trt-code").inner_text() == "0xc5"
    quiz = door.locator(".trt-asked")
    quiz.get_by_label("3.5").check()
    assert "off by 0.2" in quiz.locator(".trt-reply").inner_text()
    assert quiz.get_by_text("eight steps").is_hidden()
    quiz.get_by_label("3.25").check()
    assert "✓" in quiz.locator(".trt-reply").inner_text()
    quiz.get_by_text("eight steps").wait_for()
    door.get_by_text("Say a number").click()
    door.get_by_text("8 kernels").wait_for()
    assert lab.page.get_by_text("not covered").last.evaluate("node => getComputedStyle(node).visibility") == "visible"
    lab.screenshot("door")


def test_widgets_are_answered_on_the_main_thread(lab):
    """The setting shipped with the package reaches a running JupyterLab."""
    assert lab.kernel_property("commsOverSubshells") == "disabled"


def test_the_page_notices_what_goes_wrong(lab_page, lab_folder):
    """The instrument itself: an error, a console error and a request to another host are all seen."""
    write_notebook(lab_folder / "broken.ipynb", ["1 / 0", "print('not reached')"])
    lab_page.open("broken.ipynb")
    lab_page.run_all()
    assert lab_page.error_outputs() == ["ZeroDivisionError: division by zero"]
    lab_page.page.evaluate("() => { console.error('seen'); return fetch('http://elsewhere.example/').catch(() => 0); }")
    assert any("seen" in error for error in lab_page.console_errors)
    assert lab_page.external_requests == ["http://elsewhere.example/"]
