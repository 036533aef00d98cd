"""GraphView without a browser: what is selected and folded, what the SVG holds, and names that mean harm."""

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree as ET

import pytest

from tests.teach.flows import relus
from tests.teach.markup import EVIL, faults
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS
from trtlab.lab import builds
from trtlab.teach import GraphView
from trtlab.teach.graph.arrange import Group, lay_out, scene
from trtlab.teach.graph.draw import short_name, shortened
from trtlab.teach.graph.picture import Node, Tensor, picture_of
from trtlab.teach.svg import text_width

SVG = "{http://www.w3.org/2000/svg}"
NASTY = [
    EVIL,
    "two\nlines\tand\x07bell ]]>",
    "汉字 ünïcödé 🚀 \u202e",
    "</title></svg>",
    "block[0].{x} \\N -> digraph",
    "x" * 300,
]


@pytest.fixture
def view():
    return GraphView(DIGITS_ONNX)


@pytest.fixture(scope="module")
def report():
    return builds.recorded("digits-FP32-SM89-dynamic")


def boxes(view):
    """Keys of the boxes and labels in the SVG, which must be well-formed XML."""
    return {e.get("data-key") for e in ET.fromstring(view.svg).iter() if e.get("data-key")}


def choose(view, name):
    """As a click does."""
    view.chosen = next(node.key for node in view.picture.nodes if node.name == name)


# --- select, fold ---------------------------------------------------------------------------------------------------


def ask(view, message):
    """What the page asks for; returns what is folded then."""
    view._handle_custom_msg(message, [])
    return view.folded


def test_what_is_selected_on_the_page_is_known_in_python(view):
    assert view.selected is None
    assert boxes(view) == {node.key for node in view.picture.nodes} | {group.key for group in view.groups}
    assert view.details["sections"][0]["rows"][0] == ["Conv", "4"]
    choose(view, "block.conv1/Conv")
    assert view.selected.op == view.details["title"] == "Conv"
    rows = {section["head"]: section["rows"] for section in view.details["sections"]}
    assert ["kernel_shape", "[3, 3]"] in rows["attributes"]
    assert ["relu", "float32 batch×32×8×8"] in rows["inputs"]
    assert ["block.conv1.weight", "float32 32×32×3×3"] in rows["weights and constants"]
    view.chosen = "<none>"
    assert view.selected is None


def test_folding_and_what_the_page_asks_for(view):
    (block,) = view.groups
    assert ask(view, {"toggle": block.key}) == ("block",)
    assert "7 of 17 nodes" in view.notice
    assert len(boxes(view)) == 19 - 7 + 1
    assert (ask(view, {"all": False}), view.notice) == ((), "")
    choose(view, "block/Add")
    assert ask(view, {"around": True}) == ("block",)
    assert isinstance(view.selected, Group)
    assert view.details["fold"] == block.key
    before = view.svg
    for nonsense in ({}, {"toggle": "g99"}, {"toggle": None}, "text", {"all": "x"}):
        ask(view, nonsense)
    assert view.svg == before


def test_a_large_graph_starts_folded_and_says_so():
    view = GraphView(LIGHT_FOLDER / "light_densenet121.onnx")
    assert len(view.folded) > 20
    assert "902 of 910 nodes" in view.notice
    assert len(view.details["sections"][0]["rows"]) < 41


# --- reports --------------------------------------------------------------------------------------------------------


def test_nodes_with_their_kernels(report):
    view = GraphView(DIGITS_ONNX, report=report)
    merged = {name for kernel in report.kernels for name in kernel.onnx_nodes}
    names = {node.name for node in view.picture.operators}
    assert {node.name for node in view.picture.operators if node.apart} == names - merged
    for group in view.groups:
        kernel = report.kernels[int(group.label.split()[1])]
        assert {view.picture.nodes[n].name for n in group.members} <= set(kernel.onnx_nodes)
    assert "kernel 1 · CorrMulAddRelu" in {group.label for group in view.groups}
    assert view.face["groupings"] == ["kernel", "module"]
    assert f"in {len(view.groups)} of {len(report.kernels)} kernels" in view.face["title"]
    assert ["gv-dashed", "dashed: in no kernel"] in view.face["legend"]
    assert view.face["foot"] == report.provenance.line()
    choose(view, "conv1/Conv")
    assert any(label == "kernel" for label, _ in view.details["sections"][0]["rows"])
    assert re.search(r"Conv +conv1/Conv .* kernel 1 · ", view.static().text)
    assert faults(view.static().html, view.static().text) == []


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda report: GraphView(report), TypeError, "got a BuildReport. Use GraphView"),
        (lambda _: GraphView([1, 2]), TypeError, "got list"),
        (lambda _: GraphView(DIGITS_ONNX, report="report"), TypeError, "the BuildReport that trtlab.explain returns"),
        (lambda r: GraphView(LIGHT_FOLDER / "light_squeezenet.onnx", report=r), ValueError, "no node of the model"),
    ],
)
def test_what_cannot_be_drawn_says_what_to_do(make, error, words, report):
    with pytest.raises(error, match=words):
        make(report)


# --- the picture ----------------------------------------------------------------------------------------------------


def test_names_that_mean_harm_stay_text():
    view = GraphView(relus(*(f"{name}/Relu" for name in NASTY), title=EVIL))
    root = ET.fromstring(view.svg)
    assert {e.tag.removeprefix(SVG) for e in root.iter()} == {"svg", "g", "rect", "path", "text", "title"}
    assert not [name for e in root.iter() for name in e.attrib if name.startswith("on") or "href" in name]
    choose(view, f"{NASTY[0]}/Relu")
    assert view.details["sections"][0]["rows"][0] == ["name", f"{NASTY[0]}/Relu"]
    assert len(max((e.text or "" for e in root.iter() if e.tag.endswith("text")), key=len)) < 60


def test_the_static_form_is_an_image_by_itself_and_says_the_same_as_text(view):
    drawn, root = view.static(), ET.fromstring(view.svg)
    assert drawn.svg == view.svg
    assert view.svg in drawn.html
    assert drawn.text.startswith("digits: 17 nodes, 24 constants")
    assert "block.conv1/Conv" in drawn.text
    assert all(shape.get("fill") for shape in root.iter(f"{SVG}rect"))
    words = " ".join(root.itertext())
    assert all(word in words for word in ("BatchNormalization", "conv1", "batch×32×8×8"))


def test_boxes_do_not_overlap_and_frames_hold_them(report):
    view = GraphView(DIGITS_ONNX, report=report)
    shown = scene(view.picture, view.groups, ())
    sizes = dict.fromkeys(shown.frame_of, (90.0, 40.0))
    layout = lay_out(shown, sizes, {group.key: 80.0 for group in view.groups})
    for one, two in itertools.combinations((layout.places[key] for key in sizes), 2):
        assert abs(one.x - two.x) >= 90 or abs(one.y - two.y) >= 40
    for outer, box in ((layout.places[f], layout.places[key]) for key, f in shown.frame_of.items() if f):
        assert outer.x <= box.x <= box.x + box.width <= outer.x + outer.width
        assert outer.y <= box.y <= box.y + box.height <= outer.y + outer.height
    assert len(layout.curves) == len(shown.lines)


def test_titles_of_frames_stand_above_all_lines_on_ground_of_their_own(report):
    svg = GraphView(DIGITS_ONNX, report=report).svg
    labels = [at.start() for at in re.finditer('class="gv-label', svg)]
    assert len(labels) > 4
    assert labels[0] > max(svg.rindex('class="gv-edge"'), svg.rindex('class="gv-size"'))
    for group in re.findall(r'<g class="gv-label.*?</g>', svg):
        room, text = re.search(r'gv-ground[^>]* x="([\d.]+)" y="[\d.]+" width="(\d+)"', group), group.split(">")[-3]
        left = float(re.search(r'<text[^>]* x="([\d.]+)"', group)[1])
        assert float(room[1]) < left
        assert left + text_width(text.split("<")[0], 12) < float(room[1]) + float(room[2])


def test_lines_that_go_round_in_a_circle_are_drawn():
    ends = [Tensor(name="a"), Tensor(name="b")]
    nodes = [Node(op="Op", name=r.name, inputs=(r,), outputs=(w,)) for r, w in (ends, ends[::-1])]
    assert GraphView(picture_of("circle", [], nodes, [])).svg.count('class="gv-edge"') == 2


def test_short_names():
    def short(op, name, around=""):
        return short_name(Node(op=op, name=name), around)

    assert short("Conv", "block.conv1/Conv") == "block.conv1"
    assert short("Conv", "block.conv1/Conv", "block") == "conv1"
    assert short("Reshape", "attention/Reshape_2") == "attention_2"
    assert short("Reshape", "Reshape") == ""
    assert shortened("a" * 40, 11) == "aaaa…aaaaaa"
    assert text_width("汉字", 10) == 20


def test_threads_draw_one_at_a_time():
    """Graphviz runs in one WebAssembly memory, which two threads at once would spoil."""
    models = [make() for make in TEACHING_MODELS.values()]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda model: GraphView(model).svg, models * 4))
    assert drawn[: len(models)] * 4 == drawn
