"""tools/publish against small notebooks: what is saved, what is left out, and what is refused."""

import json

import nbformat
import pytest

from tools import publish
from trtlab import teach


@pytest.fixture
def book(tmp_path):
    """A function that writes a notebook of code cells and returns its path."""

    def write(*sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        path = tmp_path / "book.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


def outputs(path):
    return [out for cell in nbformat.read(path, 4).cells for out in cell.outputs]


@pytest.mark.slow
@pytest.mark.usefixtures("browser_path")  # kaleido draws the PNG with it
def test_a_clean_run_is_saved_with_png_and_without_widgets_and_twice_the_same(book):
    path = book(
        "import ipywidgets, plotly.graph_objects as go\nfrom trtlab import teach\nprint('one')\nprint('two')",
        "go.Figure(go.Bar(y=[1, 2]))",
        "ipywidgets.IntSlider()",
        "teach.RewriteStepper('common')",
    )
    assert publish.main([str(path)]) == 0
    stream, plot, slider, graph = outputs(path)
    assert stream.text == "one\ntwo\n"
    assert {"image/png", "application/vnd.plotly.v1+json"} <= set(plot.data)
    assert slider.data == {"text/plain": "[interactive: run this cell to use it]"}
    assert {"image/png", "image/svg+xml"} <= set(graph.data)
    saved = path.read_text()
    notebook = json.loads(saved)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}, {}, {}, {}]
    publish.publish(path)
    assert path.read_text() == saved


def test_a_style_sheet_and_a_script_are_saved_once_and_later_cards_still_join_in():
    html = teach.draw_badges()._repr_mimebundle_()["text/html"]
    shown = [nbformat.v4.new_output("display_data", {"text/html": html}) for _ in range(3)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[each]) for each in shown])
    publish.clean(notebook)
    first, *later = (cell.outputs[0].data["text/html"] for cell in notebook.cells)
    assert first == html
    assert ("<style>" in first, "window.trtTongue = " in first) == (True, True)
    for html in later:
        assert "<style>" not in html
        assert html.count("<script>") == html.count("window.trtTongue?.again?.()") == 1


def test_a_failing_cell_is_shown_and_the_old_file_stays(book, capsys):
    path = book("depth = 3", "raise ValueError(f'no tactic at {depth}')")
    before = path.read_text()
    assert publish.main([str(path)]) == 1
    assert "no tactic at 3" in capsys.readouterr().err
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["book.ipynb"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os; print(os.getcwd())", "cell 0 prints a path of this machine: /"),
        ("for _ in range(11_000): print('x' * 99)", "KB, more than 1000 KB; largest outputs: cell 0 1... KB"),
    ],
)
def test_what_no_reader_should_get_is_refused(book, source, message):
    with pytest.raises(publish.PublishError, match=message):
        publish.publish(book(source))


def test_a_machine_path_is_found_and_a_path_of_no_machine_is_let_be():
    def leaks(text):
        output = nbformat.v4.new_output("stream", text=text)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
        return len(list(publish.find_leaks(notebook, ["/home/ada"])))

    found = ["/home/ada/x.onnx", "at '/home/ada'", "file:///home/ada/m", "/home/ada:3"]
    assert [leaks(text) for text in found] == [1] * 4
    assert [leaks(text) for text in ("/home/adam/x", "conv/home/ada", "notebooks/models/cnn.onnx")] == [0] * 3
