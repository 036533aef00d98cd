"""The graph view in a real JupyterLab: mouse, keyboard, search, folding, and the answer in Python."""

import nbformat
import pytest

pytestmark = pytest.mark.browser

SHOW = """\
from trtlab.engine.digits import DIGITS_ONNX
from trtlab.teach import GraphView
view = GraphView(DIGITS_ONNX)
view"""
ASK = "print(getattr(view.selected, 'name', None) or getattr(view.selected, 'label', None), view.folded)"
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
RUN_LAST = """async () => {
    const { content, sessionContext } = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = content.widgets.length - 1;
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
VIEW = "() => document.querySelector('.gv .gv-world').getAttribute('transform')"


def write(folder, name, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), folder / name)
    return name


@pytest.fixture
def graph(lab_page, lab_folder):
    """A page with the digits model; `.ask()` runs the last cell and returns what Python says is selected."""
    lab_page.page.set_viewport_size({"width": 1366, "height": 900})
    lab_page.open(write(lab_folder, "graph.ipynb", SHOW, ASK))
    lab_page.run_all()
    assert lab_page.error_outputs() == []
    lab_page.page.wait_for_selector(".gv-world[transform]")
    lab_page.page.locator(".gv").scroll_into_view_if_needed()
    yield lab_page
    assert lab_page.console_errors == []
    assert lab_page.external_requests == []


def ask(lab_page):
    lab_page.page.evaluate(RUN_LAST)
    return lab_page.cells()[-1]["outputs"][0]["text"].strip()


def box(lab_page, name):
    return lab_page.page.get_by_role("button", name=name)


def panel(lab_page):
    return lab_page.page.get_by_role("region", name="Details")


def wait_for_title(lab_page, text):
    panel(lab_page).get_by_role("heading", level=3, name=text, exact=True).wait_for()


def test_a_click_selects_and_python_knows(graph):
    box(graph, "Conv, conv1/Conv,").click()
    wait_for_title(graph, "Conv")
    assert "float32 32×1×3×3" in panel(graph).inner_text()
    assert box(graph, "Conv, conv1/Conv,").get_attribute("aria-pressed") == "true"
    assert graph.page.locator(".gv-edge.gv-out").count() == 1
    assert ask(graph) == "conv1/Conv ()"


def test_keys_alone_walk_fold_and_open(graph):
    """Tab from the search to the graph, walk along the edges, fold the block, open it again."""
    press = graph.page.keyboard.press
    graph.page.get_by_role("searchbox").focus()
    for _ in range(7):
        press("Tab")
        if graph.page.evaluate("() => document.activeElement.matches('.gv-canvas [data-key]')"):
            break
    press("Enter")
    for name in ("image", "conv1/Conv", "bn1/BatchNormalization", "relu/Relu"):
        panel(graph).get_by_text(name, exact=True).first.wait_for()
        press("ArrowDown")
    panel(graph).get_by_text("block.conv1/Conv", exact=True).wait_for()
    assert ask(graph) == "block.conv1/Conv ()"
    box(graph, "Conv, block.conv1/Conv").focus()
    press("f")
    wait_for_title(graph, "block")
    assert graph.page.locator(".gv-notice").inner_text().startswith("1 group folded")
    assert graph.page.locator(".gv-box").count() == 13
    assert ask(graph) == "block ('block',)"
    box(graph, "folded group block").focus()
    press("Enter")
    graph.page.wait_for_function("() => document.querySelectorAll('.gv-box').length === 19")
    press("Escape")
    wait_for_title(graph, "digits")
    assert ask(graph) == "None ()"


def test_search_counts_jumps_and_cycles(graph):
    search, count = graph.page.get_by_role("searchbox"), graph.page.locator(".gv-count")
    search.fill("relu")
    graph.page.wait_for_function("() => document.querySelector('.gv-count').textContent === '4 hits'")
    assert graph.page.locator(".gv-hit").count() == 4
    for expected in ("1 of 4", "2 of 4", "3 of 4", "4 of 4", "1 of 4"):
        search.press("Enter")
        graph.page.wait_for_function("text => document.querySelector('.gv-count').textContent === text", arg=expected)
    wait_for_title(graph, "Relu")
    assert ask(graph).startswith("relu/Relu ")
    search.fill("nothing of the kind")
    graph.page.wait_for_function("() => document.querySelector('.gv-count').textContent === 'no hits'")
    search.press("Escape")
    graph.page.wait_for_function("() => document.querySelector('.gv-count').textContent === ''")
    assert count.inner_text() == ""


def test_folding_by_mouse_and_by_the_menu(graph):
    box(graph, "open group block").dblclick()
    graph.page.wait_for_function("() => document.querySelectorAll('.gv-box').length === 13")
    assert ask(graph) == "block ('block',)"
    panel(graph).get_by_role("button", name="Open this group").click()
    graph.page.wait_for_function("() => document.querySelectorAll('.gv-box').length === 19")
    graph.page.get_by_role("button", name="Fold all").click()
    graph.page.wait_for_function("() => !document.querySelector('.gv-frame')")
    graph.page.get_by_role("button", name="Open all").click()
    graph.page.wait_for_selector(".gv-frame", state="attached")


def test_zoom_pan_and_fit_move_the_view_and_not_the_selection(graph):
    page, seen = graph.page, [graph.page.evaluate(VIEW)]

    def moved():
        seen.append(page.evaluate(VIEW))
        assert seen[-1] != seen[-2]

    page.get_by_role("button", name="Zoom in").click()
    moved()
    page.get_by_role("button", name="Fit").click()
    moved()
    canvas = page.locator(".gv-canvas").bounding_box()
    page.mouse.move(canvas["x"] + 30, canvas["y"] + 30)
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(100)
    assert page.evaluate(VIEW) == seen[-1], "the wheel belongs to the page until the graph was clicked"
    page.mouse.down()
    page.mouse.move(canvas["x"] + 130, canvas["y"] + 90, steps=4)
    page.mouse.up()
    moved()
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(100)
    moved()
    page.keyboard.press("0")
    moved()
    assert ask(graph) == "None ()"


def test_names_in_a_model_cannot_become_markup(lab_page, lab_folder):
    source = """\
from onnx import helper
from trtlab.teach import GraphView
name = "</title><img src=x onerror=console.error(1)><script>console.error(2)</script>"
ends = [helper.make_tensor_value_info(t, 1, [name]) for t in "xy"]
node = helper.make_node("Relu", ["x"], ["y"], name=name, doc=name)
view = GraphView(helper.make_model(helper.make_graph([node], name, ends[:1], ends[1:])))
view.selected = name
view"""
    lab_page.open(write(lab_folder, "harm.ipynb", source, "view.static()"))
    lab_page.run_all()
    assert lab_page.error_outputs() == []
    lab_page.page.wait_for_selector(".gv-world[transform]")
    assert lab_page.page.locator(".gv img, .gv script").count() == 0
    assert "<script>" in lab_page.page.get_by_role("region", name="Details").inner_text()
    assert lab_page.console_errors == []


def test_both_themes(graph):
    box(graph, "Conv, block.conv1/Conv").click()
    colours = set()
    for theme in ("dark", "light"):
        graph.set_theme(theme)
        graph.page.wait_for_selector("#jupyterlab-splash", state="detached")
        graph.screenshot(f"graphview_{theme}")
        colours.add(graph.page.evaluate("() => getComputedStyle(document.querySelector('.gv-head')).fill"))
    assert len(colours) == 2
