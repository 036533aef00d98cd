"""The rewrite stepper in a real JupyterLab: step, jump, play, rules, models, an own file; mouse and keyboard."""

import nbformat
import pytest

from trtlab.graph.models import TEACHING_MODELS

pytestmark = pytest.mark.browser

SHOW = 'from trtlab.teach import RewriteStepper\nstepper = RewriteStepper("inception")\nstepper'
ASK = "print(stepper.run['model'], stepper.position, len(stepper.report.steps))"
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
RUN_LAST = """async () => {
    const { content } = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = content.widgets.length - 1;
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
FOCUS = "() => [document.activeElement.value ?? '', document.activeElement.getAttribute('aria-label') ?? ''].join(' ')"
TOO_WIDE = "root => [...root.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > \
root.getBoundingClientRect().right + 1 && !e.closest('.st-canvas, pre, .scroll, .st-unseen')).map(e => e.className)"


@pytest.fixture
def lab(lab_page, lab_folder):
    cells = [nbformat.v4.new_code_cell(source) for source in (SHOW, ASK)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), lab_folder / "stepper.ipynb")
    lab_page.page.set_viewport_size({"width": 1366, "height": 768})
    lab_page.open("stepper.ipynb")
    lab_page.run_all()
    assert lab_page.error_outputs() == []
    lab_page.page.locator(".st-canvas svg[width]").first.wait_for()
    lab_page.page.locator(".st").evaluate("root => root.scrollIntoView()")
    yield lab_page
    assert lab_page.console_errors == []
    assert lab_page.external_requests == []


@pytest.fixture
def stepper(lab):
    return lab.page.locator(".st")


def python_says(lab):
    lab.page.evaluate(RUN_LAST)
    return lab.cells()[-1]["outputs"][0]["text"].strip()


def wait_for(stepper, title):
    stepper.get_by_role("heading", level=3, name=title, exact=True).wait_for()


def press(stepper, name):
    stepper.get_by_role("button", name=name).click()


def words(stepper, which):
    """The words on the flags of the drawing before (0) or after (1)."""
    return stepper.locator(".st-canvas").nth(which).locator(".gv-word").all_text_contents()


def upload(stepper, name, data):
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    stepper.locator("input[type=file]").set_input_files(files=[file])


def test_step_forward_and_back_by_mouse(lab, stepper):
    wait_for(stepper, "From start to end")
    assert stepper.get_by_role("button", name="Step back").is_disabled()
    press(stepper, "Step forward")
    wait_for(stepper, "Step 1 of 5: Vertical fusion")
    assert words(stepper, 0) == ["replaced", "replaced"]
    assert words(stepper, 1) == ["new"]
    assert stepper.locator(".st-now").get_attribute("data-rule") == "vertical_fusion"
    press(stepper, "Go to step 4: Horizontal fusion")
    wait_for(stepper, "Step 4 of 5: Horizontal fusion")
    assert stepper.locator("[aria-current=step]").all_inner_texts() == ["4"]
    assert "x * [q | k | v]" in stepper.locator(".st-about").inner_text()
    assert words(stepper, 0) == ["replaced"] * 3
    lab.screenshot("stepper_horizontal_light")
    press(stepper, "Step back")
    wait_for(stepper, "Step 3 of 5: Vertical fusion")
    press(stepper, "Last step")
    wait_for(stepper, "Step 5 of 5: Concat elimination")
    assert stepper.get_by_role("button", name="Step forward").is_disabled()
    assert stepper.locator(".st-counts b").all_inner_texts() == ["2 → 2", "2 → 1", "20.84 KiB → 8.84 KiB"]
    assert python_says(lab) == "inception 5 5"
    stepper.get_by_text("Source: pattern, check, rewrite").click()
    stepper.get_by_text("def why_copied").or_(stepper.get_by_text("rules/concat_elimination.py").first).first.wait_for()


def test_by_keyboard_alone(lab, stepper):
    keyboard, before = lab.page.keyboard, len(lab.cells())
    stepper.get_by_role("combobox", name="Model").focus()
    reached = []
    for _ in range(24):
        reached.append(lab.page.evaluate(FOCUS))
        keyboard.press("Tab")
    for name in (
        "Load an ONNX file",
        "Step forward",
        "Last step",
        "Play all",
        "Go to step 5",
        "Start: 7 nodes",
        "End, after",
    ):
        assert any(name in label for label in reached), f"Tab does not reach {name!r}: {reached}"
    assert {"dead_layers ", "concat_elimination "} <= set(reached)
    stepper.locator(".st-canvas").first.focus()
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    wait_for(stepper, "Step 2 of 5: Vertical fusion")
    keyboard.press("ArrowLeft")
    wait_for(stepper, "Step 1 of 5: Vertical fusion")
    keyboard.press("End")
    wait_for(stepper, "Step 5 of 5: Concat elimination")
    keyboard.press("Home")
    wait_for(stepper, "From start to end")
    stepper.get_by_role("slider", name="Step").focus()
    keyboard.press("ArrowRight")
    wait_for(stepper, "Step 1 of 5: Vertical fusion")
    assert stepper.get_by_role("slider", name="Step").get_attribute("aria-valuetext") == "step 1 of 5"
    stepper.get_by_role("checkbox", name="Concat elimination").focus()
    keyboard.press("Space")
    stepper.locator("[data-rule=concat_elimination]").get_by_text("off").wait_for()
    assert lab.page.evaluate(FOCUS).startswith("concat_elimination"), "the focus stays on the rule"
    for key in ("d", "d", "b", "m"):
        keyboard.press(key)
    assert len(lab.cells()) == before, "a key reached the notebook's shortcuts"
    assert python_says(lab) == "inception 0 4"


def test_rules_and_models(lab, stepper):
    press(stepper, "Step forward")
    wait_for(stepper, "Step 1 of 5: Vertical fusion")
    stepper.get_by_role("checkbox", name="Vertical fusion").uncheck()
    stepper.locator(".st-counts b").get_by_text("7 → 5").first.wait_for()
    wait_for(stepper, "From start to end")
    stepper.get_by_role("combobox", name="Model").select_option("layernorm")
    stepper.get_by_text("Left alone: 2, and why").click()
    assert "do not fit one loop" in stepper.get_by_role("table").inner_text()
    assert not stepper.get_by_role("checkbox", name="Vertical fusion").is_checked(), "the rules stay as chosen"
    stepper.get_by_role("combobox", name="Model").select_option("dead_branch")
    stepper.locator(".gv-word", has_text="removed").first.wait_for()
    stepper.get_by_role("checkbox", name="Dead-layer elimination").uncheck()
    stepper.locator(".st-what", has_text="None of the chosen rules finds anything").wait_for()
    assert stepper.get_by_role("button", name="Play").is_disabled()
    assert python_says(lab) == "dead_branch 0 0"


def test_a_file_of_ones_own_and_a_bad_one(lab, stepper):
    upload(stepper, "bad.onnx", b"hello")
    alert = stepper.get_by_role("alert")
    alert.get_by_text("bad.onnx: this is no ONNX file (no protobuf message").wait_for()
    lab.screenshot("stepper_bad_file_light")
    assert python_says(lab) == "inception 0 5"
    model = TEACHING_MODELS["residual"]()
    weight = model.graph.initializer.add()  # more than one piece
    weight.name, weight.data_type, weight.raw_data = "ballast", 1, bytes(5 << 20)
    weight.dims.append(5 << 18)
    upload(stepper, "net.onnx", model.SerializeToString())
    stepper.locator(".st-what", has_text="3 steps in all").wait_for()
    assert alert.is_hidden()
    assert stepper.get_by_role("combobox", name="Model").input_value() == "net.onnx (yours)"
    assert python_says(lab) == "net.onnx (yours) 0 3"


def test_play_walks_to_the_end_and_can_be_stopped(stepper):
    press(stepper, "Play")
    wait_for(stepper, "Step 1 of 5: Vertical fusion")
    assert stepper.get_by_role("button", name="Play").inner_text() == "Stop"
    press(stepper, "Play")
    assert stepper.get_by_role("button", name="Play").inner_text() == "Play"
    press(stepper, "Go to step 3")
    wait_for(stepper, "Step 3 of 5: Vertical fusion")
    press(stepper, "Play")
    wait_for(stepper, "Step 5 of 5: Concat elimination")
    stepper.get_by_role("button", name="Play").get_by_text("Play", exact=True).wait_for()


def test_both_themes_and_narrow_pages(lab, stepper):
    press(stepper, "Step forward")
    wait_for(stepper, "Step 1 of 5: Vertical fusion")
    inks = set()
    for theme in ("dark", "light"):
        lab.set_theme(theme)
        lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
        lab.screenshot(f"stepper_{theme}", whole=True)
        inks.add(lab.page.evaluate("() => getComputedStyle(document.querySelector('.st .gv-flag')).fill"))
        assert stepper.evaluate(TOO_WIDE) == []
    assert len(inks) == 2
    lab.page.set_viewport_size({"width": 820, "height": 900})
    lab.page.wait_for_timeout(300)
    lab.screenshot("stepper_narrow", whole=True)
    assert stepper.evaluate(TOO_WIDE) == []
