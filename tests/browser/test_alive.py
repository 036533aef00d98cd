"""No widget is silent: it says when the kernel is busy, and a notebook that is opened again shows it as it was."""

import pytest

from .labpage import write_notebook

pytestmark = pytest.mark.browser

IMPORT = "from trtlab.teach import BitEditor, PipelineView, QuantView, RewriteStepper, StreamView, quiz\n"
SHOWS = (
    f"{IMPORT}BitEditor()", "QuantView()", "StreamView()", "PipelineView('digits')", "quiz('q1-order-by-range')",
    "RewriteStepper()",
)  # fmt: skip
BUSY = "import time; time.sleep(6)"
NOTES = "() => [...document.querySelectorAll('.trt-waits')].map((note) => note.hidden ? '' : note.textContent)"
SINCE = """async (press) => {
    const note = [...document.querySelectorAll('.trt-waits')][press], started = performance.now();
    note.nextSibling.querySelector('button, [role=checkbox], input').click();
    while (note.hidden && performance.now() - started < 5000) await new Promise((done) => setTimeout(done, 5));
    return [note.textContent, performance.now() - started];
}"""
SAID = "count => document.querySelectorAll('.trt-waits:not([hidden])').length === count"
QUIET = "() => [...document.querySelectorAll('.trt-waits')].every((note) => note.hidden)"


def test_a_busy_kernel_is_said_and_a_notebook_opened_again_shows_its_widgets(lab_page, lab_folder):
    write_notebook(lab_folder / "bits.ipynb", [*SHOWS, BUSY])
    lab_page.open("bits.ipynb")
    page = lab_page.page
    page.set_viewport_size({"width": 1366, "height": 6000})
    lab_page.run_all()
    assert lab_page.error_outputs() == []
    page.wait_for_function(QUIET)
    assert len(page.evaluate(NOTES)) == len(SHOWS)

    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")
    page.wait_for_timeout(300)
    words, waited_ms = page.evaluate(SINCE, 3)
    assert words == "queued: the kernel is busy"
    assert waited_ms < 400
    page.wait_for_function(QUIET)

    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    lab_page.open("bits.ipynb")
    page.wait_for_selector(".trt-waits:not([hidden])")
    page.wait_for_function(
        "count => document.querySelectorAll('.trt-waits:not([hidden])').length === count", arg=len(SHOWS)
    )
    assert set(page.evaluate(NOTES)) == {"a saved picture: run this cell to make it live"}
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.locator(".qv svg").count() == 1
    lab_page.screenshot("reopened")
