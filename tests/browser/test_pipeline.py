"""The pipeline in a real JupyterLab: run, watch, cancel, run again; by mouse and by keyboard; in both themes."""

import contextlib

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from trtlab.lab.workflow import STAGES

pytestmark = pytest.mark.browser

SOURCES = ["from trtlab.teach import PipelineView\nview = PipelineView()\nview", "view"]
FINAL = {"done", "stood", "not"}
PATIENCE_MS = 90_000
STATES = "list => [...list.querySelectorAll('[data-stage]')].map(stage => stage.dataset.state)"
WATCH = """button => {
    window.runEnded = false;
    new MutationObserver((_changes, observer) => {
        if (button.classList.contains('stop')) return;
        window.runEnded = true;
        observer.disconnect();
    }).observe(button, { attributes: true });
}"""
ACTIVE = "() => document.activeElement.dataset.stage ?? document.activeElement.className"
WIDER = "node => [...node.querySelectorAll('.bar, .panes, .command')].some(n => n.scrollWidth > n.clientWidth + 1)"


@pytest.fixture
def pipe(lab):
    """A new pipeline, at rest, in two places."""
    lab.show(*SOURCES)
    lab.page.locator(".pipe").nth(1).wait_for()
    lab.cells_before = len(lab.cells())
    return lab.page.locator(".pipe").first


def states(pipe):
    return dict(zip(STAGES, pipe.locator("ol").evaluate(STATES), strict=True))


def choose(pipe, **choices):
    for name, text in choices.items():
        pipe.locator(f'select[data-choice="{name}"]').select_option(label=text)


def run_to_the_end(pipe, press=lambda button: button.click()):
    """Press Run and wait until the button has said Cancel and says Run again, however short that was."""
    button = pipe.locator("button.go")
    button.evaluate(WATCH)
    press(button)
    pipe.page.wait_for_function("() => window.runEnded", timeout=PATIENCE_MS)
    wait_for_run(pipe)


def wait_for_run(pipe):
    """Until the button says Run again."""
    pipe.locator('button.go:not(.stop):text-is("Run")').wait_for(timeout=PATIENCE_MS)


def cancel_the_build(lab, pipe):
    """Run and cancel in the middle of the build. That takes a second or two, which a page short of time may miss: then
    once more."""
    for _ in range(5):
        pipe.locator("button.go").click()
        with contextlib.suppress(PlaywrightTimeout):
            pipe.locator('[data-stage="build"][data-state="running"]').wait_for(timeout=20_000)
            assert pipe.locator("select[data-choice=model]").is_disabled()
            lab.screenshot("pipeline_running_light")
            pipe.locator('button.go.stop:text-is("Cancel")').click(timeout=1000)
            pipe.locator('[data-stage="build"][data-state="cancelled"]').wait_for(timeout=5000)
            return wait_for_run(pipe)
        wait_for_run(pipe)
    return pytest.fail("the build was over before it could be cancelled, five times")


def look(lab, name):
    """Screenshots in both themes. JupyterLab stumbles over a second change of theme before its splash has gone."""
    for theme in ("dark", "light"):
        lab.set_theme(theme)
        lab.page.locator("#jupyterlab-splash").wait_for(state="detached")
        lab.screenshot(f"{name}_{theme}")


def in_command_mode(lab):
    """Whether no key fell through to the notebook: nothing is being edited, no cell was added or deleted."""
    return lab.page.locator(".jp-mod-editMode").count() == 0 and len(lab.cells()) == lab.cells_before


def test_run_cancel_and_run_again(lab, pipe):
    page = lab.page
    assert set(states(pipe).values()) == {"waiting"}
    assert page.get_by_role("group", name="TensorRT workflow").count() == 2
    stages = pipe.get_by_role("listbox", name="Stages of the workflow").get_by_role("option")
    assert (stages.count(), stages.nth(4).get_attribute("aria-label")) == (len(STAGES), "5. Build: waiting")
    for label in ("Model", "Precision", "Target", "Batch"):
        assert pipe.get_by_label(label, exact=True).count() == 1
    assert "Export has not run yet" in pipe.locator(".detail").inner_text()
    lab.screenshot("pipeline_at_rest_light")

    run_to_the_end(pipe)
    assert set(states(pipe).values()) <= FINAL
    assert pipe.locator('[data-stage="compare"]').get_attribute("aria-selected") == "true"
    assert pipe.locator(".scans text", has_text="✓").count() >= 15
    assert "agrees with the reference" in pipe.locator('.detail[aria-live="polite"]').inner_text()
    assert states(page.locator(".pipe").nth(1)) == states(pipe)  # two views of one state
    look(lab, "pipeline_done")

    choose(pipe, model="ResNet-18 (random weights)")
    cancel_the_build(lab, pipe)
    assert states(pipe)["build"] == "cancelled"
    assert "running" not in states(pipe).values()
    assert "Cancelled. Finished stages keep" in pipe.get_by_role("alert").inner_text()
    pipe.locator('[data-stage="build"]').click()
    pipe.locator(".detail", has_text="Build did not finish").wait_for()
    look(lab, "pipeline_cancelled")

    choose(pipe, model=page.locator("select[data-choice=model] option").first.inner_text())
    run_to_the_end(pipe)
    assert set(states(pipe).values()) <= FINAL
    assert pipe.get_by_role("alert").inner_text() == ""


def test_the_keyboard_alone_and_each_stage_shows_its_artefact(lab, pipe):
    page, keyboard = lab.page, lab.page.keyboard
    run_to_the_end(pipe, press=lambda button: (button.focus(), keyboard.press("Enter")))
    assert set(states(pipe).values()) <= FINAL
    keyboard.press("Tab")
    assert page.evaluate(ACTIVE) == "compare"  # one stop for the whole list
    for key, name in (
        ("ArrowUp", "device_to_host"), ("ArrowUp", "enqueue"), ("Home", "export"), ("ArrowUp", "export"),
        ("ArrowDown", "check"), ("End", "compare"), ("ArrowDown", "compare"), ("Home", "export"),
    ):  # fmt: skip
        keyboard.press(key)
        assert page.evaluate(ACTIVE) == name
        assert pipe.locator('[aria-selected="true"]').get_attribute("data-stage") == name
    pipe.locator(".detail", has_text="torch.onnx.export").wait_for()
    for key in ("a", "b", "d", "d", "x", "Enter", "Space", "m"):  # shortcuts of the notebook, were it listening
        keyboard.press(key)
    assert in_command_mode(lab)
    assert page.evaluate(ACTIVE) == "export"
    expected = {
        "check": "onnx.checker", "parse": "CONVOLUTION", "configure": "optimisation profiles",
        "build": "merged into it", "serialise": "sha256", "enqueue": "first values", "compare": "labels right",
    }  # fmt: skip
    for name, words in expected.items():
        pipe.locator(f'[data-stage="{name}"]').click()
        pipe.locator(".detail", has_text=words).wait_for()
        lab.screenshot(f"pipeline_stage_{name}")
    page.set_viewport_size({"width": 760, "height": 900})
    assert not pipe.evaluate(WIDER)
    lab.screenshot("pipeline_narrow", whole=True)


def test_selects_change_the_command_and_a_failure_is_readable(lab, pipe):
    command, other = pipe.locator(".command code"), lab.page.locator(".pipe").nth(1)
    assert command.inner_text().startswith("trtexec --onnx=digits-fp32.onnx")
    for choices, words in (
        ({"precision": "FP16"}, "digits-fp16.onnx"),
        ({"dynamic": "dynamic, with a profile", "major": "TensorRT 8"}, "--minShapes=image:1x1x8x8"),
        ({}, "--fp16"),
        ({"major": "TensorRT 10"}, "--stronglyTyped"),
    ):
        choose(pipe, **choices)
        pipe.locator(".command code", has_text=words).wait_for()
    assert "--fp16" not in command.inner_text()
    pipe.locator("select[data-choice=precision]").focus()
    lab.page.keyboard.press("ArrowUp")
    pipe.locator(".command code", has_text="digits-fp32.onnx").wait_for()
    assert lab.page.evaluate("() => document.activeElement.dataset.choice") == "precision"
    assert in_command_mode(lab)
    assert other.locator(".command code").inner_text() == command.inner_text()
    assert other.locator("select[data-choice=precision]").evaluate("s => s.selectedOptions[0].text") == "FP32"

    choose(pipe, target="SM75")
    run_to_the_end(pipe)
    assert states(pipe)["build"] == "failed"
    alert = pipe.get_by_role("alert").inner_text()
    assert "UnsupportedTarget" in alert
    assert "Way out" in alert
    assert "failed" in pipe.locator('[data-stage="build"]').get_attribute("aria-label")
    look(lab, "pipeline_failed")
