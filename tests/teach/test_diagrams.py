"""The three pictures: what they claim is counted again, they load nothing, and their words stand beside them."""

import io
import re

import pytest
from PIL import Image

from trtlab.graph import cost, optimize
from trtlab.graph.models import TEACHING_MODELS
from trtlab.lab.compare import Verdict, compare_groups
from trtlab.lab.workflow import STAGES, WORKFLOW
from trtlab.teach import draw_diagram
from trtlab.teach.door import DIAGRAMS, diagram_lines

from .markup import alike

RULES = ["vertical_fusion", "horizontal_fusion", "concat_elimination"]


def lines(name):
    return diagram_lines(draw_diagram(name).svg)


def test_a_diagram_of_no_known_name():
    with pytest.raises(KeyError, match="no diagram 'none'; there are workflow"):
        draw_diagram("none")


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_picture_says_its_words_loads_nothing_and_has_a_png_of_its_shape(name):
    drawing = draw_diagram(name)
    page = alike(drawing, *lines(name))
    assert page.count("style") == 1  # that of the card; one in the picture would rule the whole page
    narrowest = int(re.search(r"min-width: (\d+)px", drawing.html)[1])
    assert narrowest < (700 if name == "acceleration" else 566)  # a cell of 1,000 px with the file browser open
    assert "http" not in drawing.svg.replace("http://www.w3.org/2000/svg", "")
    bundle = drawing._repr_mimebundle_()
    assert {"image/svg+xml", "image/png"} <= set(bundle)
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawing.svg).groups())
    with Image.open(io.BytesIO(drawing.png)) as picture:
        assert picture.size == (int(1.5 * width), int(1.5 * height))


def test_every_stage_stands_in_the_workflow_in_order():
    stages = [line.split(" · ")[0] for line in lines("workflow") if line[0].isdigit()]
    assert stages == [f"{number} {WORKFLOW[name].title.split(' (')[0]}" for number, name in enumerate(STAGES, 1)]


def test_the_numbers_in_the_picture_of_fusion_are_those_of_the_rewriter():
    found = [cost.model_cost(optimize(TEACHING_MODELS["inception"](), RULES[:n])[0]) for n in range(4)]
    panels = [line for line in lines("fusion") if "moved" in line]
    assert [re.findall(r"(\d+) kernel.*? ([\d.]+) KiB moved", panel) for panel in panels] == [
        [(str(count.kernels), f"{count.bytes_moved / 1024:.1f}")] for count in found
    ]
    assert [panel.split(" · ")[0][2:].replace(" ", "_") for panel in panels[1:3]] == RULES[:2]


def test_the_block_in_the_picture_is_the_teaching_model_and_the_aside_what_nvidia_did():
    graph = TEACHING_MODELS["inception"]().graph
    kinds = [node.op_type for node in graph.node]
    assert (kinds.count("Conv"), kinds.count("Relu"), kinds.count("Concat"), len(kinds)) == (3, 3, 1, 7)
    assert {tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 4} == {(8, 8, 1, 1)}
    assert "three 1×1 convolutions of x, 8 channels each · NVIDIA's builder leaves step 3 out" in lines("fusion")[-1]
    assert compare_groups(TEACHING_MODELS["inception"]()).count(Verdict.DECLINED) == 1
