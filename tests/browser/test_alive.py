"""No widget is silent: it says when the kernel is busy, and a notebook that is opened again shows it as it was."""

import json

import pytest

from trtlab import teach
from trtlab.teach.widget import Widget

from .labpage import write_notebook

pytestmark = pytest.mark.browser

START = """from trtlab import teach
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.lab import builds, precision
from trtlab.study.truths.planning import six_buffers
seen = precision.histograms("transformer")["layer_norm_2"]"""
PRESSED = {
    "teach.BitEditor()": "[role=switch]", "teach.QuantView()": ".qv-zoom input", "teach.StreamView()": "input",
    "teach.PipelineView('digits')": "button.go", "teach.quiz('q1-order-by-range')": ".qz-button",
    "teach.RewriteStepper('inception')": "[title^=Last]", "teach.ArenaView(six_buffers())": "[title^=Put]",
    "teach.ClipView(seen)": "button", "teach.NoiseView()": "input", "teach.RooflineView()": "button",
    "teach.GraphView(DIGITS_ONNX, report=builds.recorded('digits-FP32-SM89-dynamic'))": "[title^=Fold]",
}  # fmt: skip
"""Every kind of widget, and what in it sends something to Python."""
BUSY = "import pathlib, time\nwhile not pathlib.Path('free').exists(): time.sleep(0.05)"
"""A cell that runs until the test makes this file beside the notebook."""
SAID, SAVED = "queued: the kernel is busy", "a saved picture: run this cell to make it live"
NOTES = "() => [...document.querySelectorAll('.trt-waits')].map((note) => note.hidden ? '' : note.textContent)"
# Timers of a page run in the order of their times, on a busy machine too: what this one sees was there within 200 ms.
WITHIN_200_MS = """async ([number, what]) => {
    const note = [...document.querySelectorAll('.trt-waits')][number], pressed = note.nextSibling.querySelector(what);
    if (pressed.type === 'range') pressed.dispatchEvent(new Event('input')); else pressed.click();
    await new Promise((done) => setTimeout(done, 200));
    return note.hidden ? '' : note.textContent;
}"""
QUIET = """count => {
    const notes = [...document.querySelectorAll('.trt-waits')];
    return notes.length === count && notes.every((note) => note.hidden);
}"""
ALL_SAY = "words => [...document.querySelectorAll('.trt-waits')].every((note) => note.textContent === words)"
DRAWN = """() => [...document.querySelectorAll('.trt-waits')].map(({ nextSibling: widget }) =>
    [widget.offsetHeight > 60, widget.textContent.trim().length > 20])"""


def wait_until_quiet(page, count):
    """Until `count` widgets say nothing, now and once the first of what is not answered would be said."""
    for pause_ms in (200, 0):
        page.wait_for_function(QUIET, arg=count)
        page.wait_for_timeout(pause_ms)


def test_a_busy_kernel_is_said_and_a_notebook_opened_again_shows_its_widgets(lab_page, lab_folder):
    kinds = [kind for kind in (getattr(teach, name) for name in dir(teach)) if isinstance(kind, type)]
    made = {one.replace("quiz", "QuizCard").removeprefix("teach.").split("(")[0] for one in PRESSED}
    assert {kind.__name__ for kind in kinds if issubclass(kind, Widget)} == made
    write_notebook(lab_folder / "alive.ipynb", [START, *PRESSED, BUSY])
    lab_page.open("alive.ipynb")
    page, free = lab_page.page, lab_folder / "free"
    page.set_viewport_size({"width": 1366, "height": 12_000})
    free.touch()
    lab_page.run_all()
    free.unlink()
    assert lab_page.error_outputs() == []
    wait_until_quiet(page, len(PRESSED))

    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")
    page.wait_for_timeout(500)
    said = {one: page.evaluate(WITHIN_200_MS, [number, what]) for number, (one, what) in enumerate(PRESSED.items())}
    assert said == dict.fromkeys(PRESSED, SAID)
    free.touch()
    wait_until_quiet(page, len(PRESSED))

    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    outputs = [cell["outputs"] for cell in json.loads((lab_folder / "alive.ipynb").read_text("utf-8"))["cells"][1:-1]]
    assert all("text/html" in out["data"] for cell in outputs for out in cell)
    lab_page.open("alive.ipynb")
    page.wait_for_function(f"() => document.querySelectorAll('.trt-waits').length === {len(PRESSED)}")
    page.wait_for_function(ALL_SAY, arg=SAVED)
    assert page.evaluate(DRAWN) == [[True, True]] * len(PRESSED)
    assert page.get_by_text("Error displaying widget").count() == 0
    lab_page.screenshot("reopened")


LATE = """() => {
    const after = AbortSignal.timeout.bind(AbortSignal);
    AbortSignal.timeout = (ms) => (ms === 2000 ? { addEventListener: (_, end) => end(window.isLate = 1) } : after(ms));
}"""  # anywidget gives a widget two seconds to start, and then drops all that Python says to it


def test_a_widget_that_took_long_to_start_hears_python_all_the_same(lab_page, lab_folder):
    write_notebook(lab_folder / "late.ipynb", ["from trtlab.teach import QuantView", "QuantView()"])
    lab_page.open("late.ipynb")
    lab_page.page.evaluate(LATE)
    lab_page.run_all()
    assert lab_page.page.evaluate("() => window.isLate")
    lab_page.page.get_by_role("combobox", name="format").select_option("NF4")
    lab_page.page.locator(".qv[data-title^='gaussian in NF4']").wait_for()
    wait_until_quiet(lab_page.page, 1)


GONE = """async (how) => {
    const { session } = window.jupyterapp.shell.currentWidget.sessionContext;
    await (how === "restarted" ? session.kernel.restart() : window.jupyterapp.serviceManager.sessions.shutdownAll());
}"""


def test_what_is_pressed_when_the_kernel_was_restarted_or_shut_down_is_said_to_reach_nobody(lab_page, lab_folder):
    asked = [one for one in PRESSED if "BitEditor" in one or "quiz" in one]
    write_notebook(lab_folder / "gone.ipynb", [START, *asked])
    lab_page.open("gone.ipynb")
    page = lab_page.page
    for how in ("restarted", "shut down"):
        lab_page.run_all()
        wait_until_quiet(page, len(asked))
        page.evaluate(GONE, how)
        page.wait_for_timeout(500)
        assert page.evaluate(NOTES) == ["", ""]
        for one in asked:
            page.locator(PRESSED[one]).first.click()
        page.wait_for_function(ALL_SAY, arg=SAVED, timeout=5000)
