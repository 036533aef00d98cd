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


def test_widgets_are_answered_on_the_main_thread(lab_page):
    """The setting shipped with the package reaches a running JupyterLab."""
    lab_page.open(START)
    assert lab_page.kernel_property("commsOverSubshells") == "disabled"


def test_the_page_notices_what_goes_wrong(lab_page, lab_folder):
    """The instrument itself: an error, a console error and a request to another host are all seen."""
    write_notebook(lab_folder / "broken.ipynb", ["1 / 0", "print('not reached')"])
    lab_page.open("broken.ipynb")
    lab_page.run_all()
    assert lab_page.error_outputs() == ["ZeroDivisionError: division by zero"]
    lab_page.page.evaluate("() => { console.error('seen'); return fetch('http://elsewhere.example/').catch(() => 0); }")
    assert any("seen" in error for error in lab_page.console_errors)
    assert lab_page.external_requests == ["http://elsewhere.example/"]
