"""Drawn graphs in a real JupyterLab: GraphView and RewriteStepper by mouse and keyboard, and the answer in Python."""

import onnx
import pytest

from trtlab.graph.models import TEACHING_MODELS

pytestmark = pytest.mark.browser

VIEW = """\
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.teach import GraphView
view = GraphView(DIGITS_ONNX)
view"""
STEPPER = 'from trtlab.teach import RewriteStepper\nstepper = RewriteStepper("inception")\nstepper'
SELECTED = "getattr(view.selected, 'name', None) or getattr(view.selected, 'label', None), view.folded"
STORY = "stepper.run['model'], stepper.position, len(stepper.report.steps)"
FOCUS = "() => [document.activeElement.value ?? '', document.activeElement.getAttribute('aria-label') ?? ''].join(' ')"
TRANSFORM = "() => document.querySelector('.gv .gv-world').getAttribute('transform')"
TOO_WIDE = "root => [...root.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > \
root.getBoundingClientRect().right + 1 && !e.closest('.st-canvas, pre, .scroll, .unseen')).map(e => e.className)"
BOXES = "number => document.querySelectorAll('.gv-box').length === number"
VERTICAL = "Vertical fusion"


@pytest.fixture(autouse=True)
def tall(lab):
    lab.page.set_viewport_size({"width": 1366, "height": 900})


def show(lab, source, selector):
    lab.show(source)
    lab.page.locator(selector).first.wait_for(state="attached")
    lab.page.locator(".gv").first.scroll_into_view_if_needed()


@pytest.fixture
def graph(lab):
    show(lab, VIEW, ".gv-world[transform]")
    return lab.page


def box(page, name):
    return page.get_by_role("button", name=name)


def panel(page):
    return page.get_by_role("region", name="Details")


def wait_for(page, title):
    page.get_by_role("heading", level=3, name=title, exact=True).wait_for()


def test_full_screen_shows_the_whole_graph_in_all_of_the_screen(lab):
    lab.show("from trtlab.lab import builds\nfrom trtlab.teach import GraphView\nGraphView(builds.model('inception'))")
    canvas = lab.page.locator(".gv-main .gv-canvas")
    before = canvas.evaluate("canvas => canvas.clientHeight")
    lab.page.get_by_role("button", name="Full screen").click()
    lab.page.wait_for_function("() => document.fullscreenElement?.matches('.gv')")
    lab.page.wait_for_timeout(200)
    world, room = lab.page.locator(".gv-main .gv-world").bounding_box(), canvas.bounding_box()
    assert room["height"] > 1.2 * before
    assert room["y"] <= world["y"]
    assert 0.9 * room["height"] < world["height"] <= room["height"]
    lab.page.get_by_role("button", name="Full screen").click()
    lab.page.wait_for_function("() => !document.fullscreenElement")
    assert canvas.evaluate("canvas => canvas.clientHeight") == before


def test_a_click_selects_and_keys_alone_walk_fold_and_open(lab, graph):
    """A click selects. Tab from the buttons to the graph, walk along the edges, fold the block, open it again."""
    box(graph, "Conv, conv1/Conv,").click()
    wait_for(graph, "Conv")
    assert "float32 32×1×3×3" in panel(graph).inner_text()
    assert box(graph, "Conv, conv1/Conv,").get_attribute("aria-pressed") == "true"
    assert graph.locator(".gv-edge.gv-out").count() == 1
    assert lab.ask(SELECTED) == "conv1/Conv ()"
    box(graph, "Conv, conv1/Conv,").focus()
    graph.keyboard.press("Escape")
    press = graph.keyboard.press
    box(graph, "Fold all").focus()
    for _ in range(6):
        press("Tab")
        if graph.evaluate("() => document.activeElement.matches('.gv-canvas [data-key]')"):
            break
    press("Enter")
    for name in ("image", "conv1/Conv", "bn1/BatchNormalization", "relu/Relu"):
        panel(graph).get_by_text(name, exact=True).first.wait_for()
        press("ArrowDown")
    panel(graph).get_by_text("block.conv1/Conv", exact=True).wait_for()
    box(graph, "Conv, block.conv1/Conv").focus()
    press("f")
    wait_for(graph, "block")
    assert graph.locator(".gv-notice").inner_text().startswith("1 group folded")
    assert lab.ask(SELECTED) == "block ('block',)"
    box(graph, "folded group block").focus()
    press("Enter")
    graph.wait_for_function(BOXES, arg=19)
    press("Escape")
    wait_for(graph, "digits")
    assert lab.ask(SELECTED) == "None ()"


def test_folding_by_mouse_and_by_the_menu(lab, graph):
    box(graph, "open group block").dblclick()
    graph.wait_for_function(BOXES, arg=13)
    assert lab.ask(SELECTED) == "block ('block',)"
    panel(graph).get_by_role("button", name="Open this group").click()
    graph.wait_for_function(BOXES, arg=19)
    box(graph, "Fold all").click()
    graph.wait_for_function(BOXES, arg=13)
    box(graph, "Open all").click()
    graph.wait_for_selector(".gv-frame", state="attached")


def test_zoom_pan_and_fit_move_the_view_and_not_the_selection(lab, graph):
    seen = [graph.evaluate(TRANSFORM)]

    def moved():
        seen.append(graph.evaluate(TRANSFORM))
        assert seen[-1] != seen[-2]

    box(graph, "Zoom in").click()
    moved()
    box(graph, "Fit").click()
    moved()
    canvas = graph.locator(".gv-canvas").bounding_box()
    graph.mouse.move(canvas["x"] + 30, canvas["y"] + 30)
    graph.mouse.wheel(0, -200)
    graph.wait_for_timeout(100)
    assert graph.evaluate(TRANSFORM) == seen[-1], "the wheel belongs to the page until the graph was clicked"
    graph.mouse.down()
    graph.mouse.move(canvas["x"] + 130, canvas["y"] + 90, steps=4)
    graph.mouse.up()
    moved()
    graph.mouse.wheel(0, -200)
    graph.wait_for_timeout(100)
    moved()
    graph.keyboard.press("0")
    moved()
    for corner, taller in (
        (4, 60),
        (30, 0),
    ):  # the corner makes the canvas taller; what is let go outside moves no more
        end = canvas["x"] + canvas["width"] - corner, canvas["y"] + canvas["height"] - corner
        graph.mouse.move(*end)
        graph.mouse.down()
        graph.mouse.move(end[0], end[1] + 60)
        graph.mouse.up()
        graph.mouse.move(canvas["x"] + 30, canvas["y"] + 30)
        before, canvas = canvas, graph.locator(".gv-canvas").bounding_box()
        assert abs(canvas["height"] - before["height"] - taller) < 3
        assert graph.evaluate(TRANSFORM) == seen[-1]
    assert lab.ask(SELECTED) == "None ()"


# --- the stepper ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stepper(lab):
    show(lab, STEPPER, ".st-canvas svg[width]")
    return lab.page.locator(".st")


def press(stepper, name):
    stepper.get_by_role("button", name=name).click()


def words(stepper, which):
    """The words on the flags of the drawing before (0) or after (1)."""
    return stepper.locator(".st-canvas").nth(which).locator(".gv-word").all_text_contents()


def test_step_forward_and_back_by_mouse(lab, stepper):
    wait_for(stepper, "From start to end")
    assert stepper.get_by_role("button", name="Step back").is_disabled()
    press(stepper, "Step forward")
    wait_for(stepper, f"Step 1 of 5: {VERTICAL}")
    assert (words(stepper, 0), words(stepper, 1)) == (["replaced", "replaced"], ["new"])
    assert stepper.locator(".st-now").get_attribute("data-rule") == "vertical_fusion"
    press(stepper, "Go to step 4: Horizontal fusion")
    wait_for(stepper, "Step 4 of 5: Horizontal fusion")
    assert stepper.locator("[aria-current=step]").all_inner_texts() == ["4"]
    assert "x * [q | k | v]" in stepper.locator(".st-about").inner_text()
    press(stepper, "Step back")
    wait_for(stepper, f"Step 3 of 5: {VERTICAL}")
    press(stepper, "Last step")
    wait_for(stepper, "Step 5 of 5: Concat elimination")
    assert stepper.get_by_role("button", name="Step forward").is_disabled()
    assert stepper.locator(".st-counts b").all_inner_texts() == ["2 → 2", "2 → 1", "20.84 KiB → 8.84 KiB"]
    assert lab.ask(STORY) == "inception 5 5"
    stepper.get_by_text("Source: pattern, check, rewrite").click()
    stepper.get_by_text("rules/fusion.py").first.wait_for()


def test_every_teaching_model_shows_whole_and_in_words_that_can_be_read(lab, stepper):
    cut = """() => [...document.querySelectorAll('.st-canvas')].some((one) => one.scrollHeight > one.clientHeight
        || one.scrollWidth > one.clientWidth || one.firstChild.getScreenCTM().a < 0.9)"""
    for model in (name for name in TEACHING_MODELS if name != "inception"):
        serial = stepper.get_attribute("data-serial")
        stepper.get_by_role("combobox", name="Model").select_option(model)
        lab.page.wait_for_function("old => document.querySelector('.st').dataset.serial !== old", arg=serial)
        assert (model, lab.page.evaluate(cut)) == (model, False)


def test_by_keyboard_alone(lab, stepper):
    keyboard, before = lab.page.keyboard, len(lab.cells())
    stepper.get_by_role("combobox", name="Model").focus()
    reached = []
    for _ in range(26):
        reached.append(lab.page.evaluate(FOCUS))
        keyboard.press("Tab")
    for name in "Load an ONNX,Step forward,Last step,Go to step 5,Start: 7 nodes,End, after".split(",", 5):
        assert any(name in label for label in reached), f"Tab does not reach {name!r}: {reached}"
    assert {"dead_layers ", "concat_elimination "} <= set(reached)
    stepper.locator(".st-canvas").first.focus()
    for keys, title in (
        ("ArrowRight ArrowRight", f"Step 2 of 5: {VERTICAL}"),
        ("ArrowLeft", f"Step 1 of 5: {VERTICAL}"),
        ("End", "Step 5 of 5: Concat elimination"),
        ("Home", "From start to end"),
    ):
        for key in keys.split():
            keyboard.press(key)
        wait_for(stepper, title)
    stepper.get_by_role("slider", name="Step").focus()
    keyboard.press("ArrowRight")
    wait_for(stepper, f"Step 1 of 5: {VERTICAL}")
    assert stepper.get_by_role("slider", name="Step").get_attribute("aria-valuetext") == "step 1 of 5"
    stepper.get_by_role("checkbox", name="Concat elimination").focus()
    keyboard.press("Space")
    stepper.locator("[data-rule=concat_elimination]").get_by_text("off").wait_for()
    assert lab.page.evaluate(FOCUS).startswith("concat_elimination"), "the focus stays on the rule"
    for key in ("d", "d", "b", "m"):
        keyboard.press(key)
    assert len(lab.cells()) == before, "a key reached the notebook's shortcuts"
    assert lab.ask(STORY) == "inception 0 4"


def test_rules_and_models(lab, stepper):
    stepper.get_by_role("checkbox", name=VERTICAL).uncheck()
    stepper.locator(".st-counts b").get_by_text("7 → 5").first.wait_for()
    stepper.get_by_role("combobox", name="Model").select_option("layernorm")
    stepper.get_by_text("Left alone: 2, and why").click()
    assert "do not fit one loop" in stepper.get_by_role("table").inner_text()
    assert not stepper.get_by_role("checkbox", name=VERTICAL).is_checked(), "the rules stay as chosen"
    stepper.get_by_role("combobox", name="Model").select_option("dead_branch")
    stepper.locator(".gv-word", has_text="removed").first.wait_for()
    stepper.get_by_role("checkbox", name="Dead-layer elimination").uncheck()
    stepper.locator(".st-what", has_text="None of the chosen rules finds anything").wait_for()
    assert stepper.get_by_role("button", name="Step forward").is_disabled()
    assert lab.ask(STORY) == "dead_branch 0 0"


def test_a_file_of_ones_own_and_a_bad_one(lab, stepper, tmp_path):
    def upload(name, data, beside=b""):
        files = {name: data, "net.onnx.data": beside} if beside else {name: data}
        sent = [{"name": each, "mimeType": "application/octet-stream", "buffer": held} for each, held in files.items()]
        stepper.locator("input[type=file]").set_input_files(files=sent)

    upload("bad.onnx", b"hello")
    alert = stepper.get_by_role("alert")
    alert.get_by_text("'bad.onnx' is no ONNX model").wait_for()
    assert lab.ask(STORY) == "inception 0 5"
    model = TEACHING_MODELS["residual"]()
    weight = model.graph.initializer.add()  # more than one piece
    weight.name, weight.data_type, weight.raw_data = "ballast", 1, bytes(5 << 20)
    weight.dims.append(5 << 18)
    upload("net.onnx", model.SerializeToString())
    stepper.locator(".st-what", has_text="3 steps in all").wait_for()
    assert alert.is_hidden()
    assert stepper.get_by_role("combobox", name="Model").input_value() == "net.onnx (yours)"
    assert lab.ask(STORY) == "net.onnx (yours) 0 3"
    onnx.save(
        TEACHING_MODELS["qkv"](),
        tmp_path / "two.onnx",
        save_as_external_data=True,
        size_threshold=0,
        location="net.onnx.data",
    )
    upload("weights", b"alone")
    alert.get_by_text("choose the .onnx file, and with it").wait_for()
    upload("two.onnx", *((tmp_path / name).read_bytes() for name in ("two.onnx", "net.onnx.data")))
    stepper.locator(".st-what", has_text="4 steps in all").wait_for()
    assert lab.ask(STORY) == "two.onnx (yours) 0 4"


def test_one_click_shows_nvidias_kernels_for_the_same_model(lab, stepper):
    stepper.get_by_role("button", name="What NVIDIA's builder makes").click()
    stepper.get_by_text("of ours").wait_for()
    press(stepper, "Last step")
    wait_for(stepper, "Step 5 of 5: Concat elimination")
    assert stepper.get_by_text("of ours").is_visible()
    lab.screenshot("stepper_nvidia")


def test_of_many_steps_asked_for_at_once_the_last_is_shown(stepper):
    keys = "['ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowLeft', 'End', 'ArrowLeft']"
    event = "new KeyboardEvent('keydown', { key, bubbles: true })"
    stepper.evaluate(f"root => {{ for (const key of {keys}) root.dispatchEvent({event}); }}")
    wait_for(stepper, "Step 4 of 5: Horizontal fusion")


def test_both_themes_and_narrow_pages(lab, stepper):
    inks = set()
    for theme, width in (("dark", 1366), ("light", 820)):
        lab.set_theme(theme)
        lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
        lab.page.set_viewport_size({"width": width, "height": 900})
        lab.page.wait_for_timeout(300)
        inks.add(lab.page.evaluate("() => getComputedStyle(document.querySelector('.gv-head')).fill"))
        assert stepper.evaluate(TOO_WIDE) == []
    assert len(inks) == 2
