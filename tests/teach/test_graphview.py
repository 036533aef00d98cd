"""GraphView without a browser: what is selected, found and folded, what the SVG holds, and names that mean harm."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import onnx
import pytest
from onnx import TensorProto, helper

import trtlab
from trtlab.engine.digits import DIGITS_ONNX
from trtlab.engine.nvidia.report import BuildReport
from trtlab.teach import GraphView
from trtlab.teach.graph.draw import short_name, shortened
from trtlab.teach.graph.groups import Group
from trtlab.teach.graph.layout import lay_out
from trtlab.teach.graph.picture import Node, Tensor, picture_of
from trtlab.teach.svg import text_width
from trtlab.teach.widget import STATIC

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
NASTY = [
    "<script>alert(1)</script>",
    "quotes \" ' ` and & < > ]]>",
    "two\nlines\tand\x07bell",
    "汉字 ünïcödé 🚀 \u202e",
    "</title></svg><img src=x onerror=alert(1)>",
    "block[0].{x} \\N \\l -> digraph",
    "x" * 300,
]


@pytest.fixture
def view():
    return GraphView(DIGITS_ONNX)


@pytest.fixture(scope="module")
def report():
    profiles = {"image": ((1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))}
    return trtlab.explain(DIGITS_ONNX, target="SM89", profiles=profiles)


@pytest.fixture(scope="module")
def two_streams():
    return trtlab.explain(LIGHT / "light_squeezenet.onnx", target="SM89")


def boxes(view):
    """Keys of the boxes and labels in the SVG, which must be well-formed XML."""
    return {e.get("data-key") for e in ET.fromstring(view.svg).iter() if e.get("data-key")}


def chain(names):
    """A model of Relu nodes with these names, and tensors named after them."""
    tensors = ["x", *(f"after {name}" for name in names)]
    nodes = [helper.make_node("Relu", [a], [b], name=n) for a, b, n in zip(tensors, tensors[1:], names, strict=False)]
    ends = [helper.make_tensor_value_info(t, TensorProto.FLOAT, ["<b>n</b>", 4]) for t in (tensors[0], tensors[-1])]
    return helper.make_model(helper.make_graph(nodes, "<b>chain</b>", ends[:1], ends[1:]))


# --- select, search, fold -------------------------------------------------------------------------------------------


def test_a_new_view_shows_every_node_and_has_nothing_selected(view):
    assert view.selected is None
    assert boxes(view) == {node.key for node in view.picture.nodes} | {group.key for group in view.groups}
    assert view.details["sections"][0]["rows"][0] == ["Conv", "4"]
    assert view.title == "digits: 17 nodes, 24 constants"


def test_selecting_by_name_fills_the_details(view):
    view.selected = "block.conv1/Conv"
    assert isinstance(view.selected, Node)
    assert view.selected.op == view.details["title"] == "Conv"
    rows = {section["head"]: section["rows"] for section in view.details["sections"]}
    assert ["kernel_shape", "[3, 3]"] in rows["attributes"]
    assert ["relu", "float32 batch×32×8×8"] in rows["inputs"]
    assert ["block.conv1.weight", "float32 32×32×3×3"] in rows["weights and constants"]
    view.selected = None
    assert view.selected is None


def test_what_the_page_chooses_is_selected_in_python(view):
    view.chosen = "n1"  # as the page sets it
    assert view.selected.name == "conv1/Conv"
    view.chosen = "<none>"
    assert view.selected is None


def test_an_unknown_name_is_refused_with_examples(view):
    with pytest.raises(KeyError, match="no node or group 'conv9'; there are image, conv1/Conv"):
        view.selected = "conv9"


def test_search_counts_marks_and_cycles(view):
    found = view.search("ReLU")
    assert [node.name for node in found] == ["relu/Relu", "block.relu/Relu", "block/Relu", "relu/Relu_1"]
    assert view.hits == [node.key for node in found]
    assert view.found == [0, 4]
    names = [view.next_hit().name for _ in range(5)]
    assert names == [*(node.name for node in found), "relu/Relu"]
    assert view.found == [1, 4]
    assert view.next_hit(-1).name == "relu/Relu_1"
    assert view.search("  ") == view.search("no such thing") == []
    assert view.next_hit() is None


def test_a_hit_inside_a_folded_group_marks_the_group_and_opens_it_when_reached(view):
    view.fold()
    view.search("block.conv2")
    (block,) = view.groups
    assert view.hits == [block.key]
    assert view.next_hit().name == "block.conv2/Conv"
    assert view.folded == ()
    assert view.hits == [view.selected.key]


def test_folding_and_what_the_page_asks_for(view):
    (block,) = view.groups
    view._on_message(view, {"do": "toggle", "key": block.key}, [])
    assert view.folded == ("block",)
    assert "1 group folded (7 of 19 nodes inside)" in view.notice
    assert len(boxes(view)) == 19 - 7 + 1
    view._on_message(view, {"do": "unfold"}, [])
    assert (view.folded, view.notice) == ((), "")
    view.selected = "block/Add"
    view._on_message(view, {"do": "around"}, [])
    assert view.folded == ("block",)
    assert isinstance(view.selected, Group)
    assert view.details["fold"] == block.key
    before = view.svg
    for nonsense in ({}, {"do": "toggle", "key": "g99"}, {"do": "toggle"}, "text", {"do": "next", "step": "x"}):
        view._on_message(view, nonsense, [])
    assert view.svg == before


def test_a_large_graph_starts_folded_and_says_so():
    view = GraphView(LIGHT / "light_densenet121.onnx")
    assert len(view.folded) > 20
    assert "groups folded (902 of 912 nodes inside)" in view.notice
    view.search("Concat")
    assert view.found == [0, 58]
    assert view.search("conv5_16/x2"), "its nodes are named n0, n1, ...: only their module tells them apart"
    assert view.next_hit().home.startswith("conv5_16/x2")
    view.unfold()
    assert {node.key for node in view.picture.nodes} <= boxes(view)


# --- reports --------------------------------------------------------------------------------------------------------


def test_nodes_with_their_kernels(report):
    view = GraphView(DIGITS_ONNX, report=report)
    merged = {name for kernel in report.kernels for name in kernel.onnx_nodes}
    operators = view.picture.operators
    assert {node.name for node in operators if not node.apart} == merged & {node.name for node in operators}
    assert {node.name for node in operators if node.apart} == {node.name for node in operators} - merged
    for group in view.groups:
        number = int(group.label.split()[1])
        names = {view.picture.nodes[n].name for n in group.members}
        assert names <= set(report.kernels[number].onnx_nodes)
    assert view.groupings == ["kernel", "module"]
    assert f"in {len(view.groups)} of {len(report.kernels)} kernels" in view.title
    assert any(words == "dashed: in no kernel" for _, words in view.legend)
    assert view.foot == report.provenance.line()
    view.selected = "conv1/Conv"
    assert any(label == "kernel" for label, _ in view.details["sections"][0]["rows"])
    assert "conv1/Conv" in [node.name for node in view.search(report.kernels[1].name)]


def test_the_kernels_as_a_graph(report):
    view = GraphView.from_kernels(report)
    assert [node.name for node in view.picture.operators] == [kernel.name for kernel in report.kernels]
    assert [bool(node.apart) for node in view.picture.operators] == [not k.onnx_nodes for k in report.kernels]
    reached = {edge.target for edge in view.picture.edges}
    outside = {n for n, node in enumerate(view.picture.nodes) if node.op == "input"}
    assert set(range(len(view.picture.nodes))) - reached == outside


def test_streams_are_written_and_events_connect_them(two_streams):
    view = GraphView.from_kernels(two_streams)
    streams = {kernel.stream for kernel in two_streams.kernels}
    assert len(streams) > 1, "this build uses one stream: choose another model"
    dashed = {"dashed: added by the compiler"}
    assert {text for _, text in view.legend} == {"input, output", *(f"stream {s}" for s in streams)} | dashed
    events = [edge for edge in view.picture.edges if edge.is_event]
    stream_of = {node.name: node.family for node in view.picture.nodes}
    assert events
    for edge in events:
        ends = [stream_of[view.picture.nodes[n].name] for n in (edge.source, edge.target)]
        assert ends[0] != ends[1]


def test_the_network_layers(report):
    view = GraphView.from_network(report)
    layers = [layer for layer in report.layers if not layer.is_constant]
    assert [node.name for node in view.picture.operators] == [layer.name for layer in layers]
    assert view.picture.constants == report.layer_counts[1]


def test_a_report_read_from_json_draws_the_same(report):
    again = BuildReport.from_json(report.without_plan().to_json())
    assert GraphView.from_kernels(again).svg == GraphView.from_kernels(report).svg


def test_a_report_of_another_model_is_refused(report):
    with pytest.raises(ValueError, match="names no node of the model"):
        GraphView(LIGHT / "light_squeezenet.onnx", report=report)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda report: GraphView(report), "got a BuildReport. Use GraphView.from_network"),
        (lambda _: GraphView([1, 2]), "got list"),
        (lambda _: GraphView(DIGITS_ONNX, report="report"), "expected the BuildReport that trtlab.explain returns"),
        (lambda _: GraphView.from_kernels(DIGITS_ONNX), "expected the BuildReport"),
        (lambda _: GraphView.from_network(None), "got NoneType"),
    ],
)
def test_a_wrong_type_says_what_to_do(make, words, report):
    with pytest.raises(TypeError, match=re.escape(words) if "(" not in words else words):
        make(report)


def test_an_empty_graph_is_refused():
    with pytest.raises(ValueError, match="has no nodes, so there is nothing to draw"):
        GraphView(helper.make_model(helper.make_graph([], "empty", [], [])))


# --- the picture ----------------------------------------------------------------------------------------------------


def test_names_that_mean_harm_stay_text():
    view = GraphView(chain([f"{name}/Relu" for name in NASTY]))
    root = ET.fromstring(view.svg)
    assert {e.tag.split("}")[1] for e in root.iter()} == {"svg", "g", "rect", "path", "text", "title"}
    assert not [name for e in root.iter() for name in e.attrib if name.startswith("on") or "href" in name]
    html = view.static()._repr_mimebundle_()["text/html"]
    assert "<script" not in html
    assert "<img" not in html
    view.selected = f"{NASTY[0]}/Relu"
    assert view.selected.name == f"{NASTY[0]}/Relu"
    assert len(view.search("汉字")) == 1
    assert len(max((e.text or "" for e in root.iter() if e.tag.endswith("text")), key=len)) < 60


def test_the_svg_is_a_picture_by_itself(view):
    root = ET.fromstring(view.svg)
    assert "style" not in {e.tag.split("}")[1] for e in root.iter()}
    assert float(root.get("width")) > 100
    for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert shape.get("fill")
    words = " ".join(root.itertext())
    assert all(word in words for word in ("BatchNormalization", "conv1", "batch×32×8×8"))


def test_the_static_form_has_html_an_image_and_text(view):
    bundle = view._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["image/svg+xml"] == view.svg
    assert view.svg in data["text/html"]
    assert data["text/plain"].startswith("digits: 17 nodes, 24 constants")
    assert "block.conv1/Conv" in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_boxes_do_not_overlap_and_frames_hold_them(report):
    view = GraphView(DIGITS_ONNX, report=report)
    shown = view._scene
    sizes = dict.fromkeys(shown.frame_of, (90.0, 40.0))
    layout = lay_out(shown, sizes, {group.key: 80.0 for group in view.groups})
    placed = [layout.places[key] for key in sizes]
    for i, a in enumerate(placed):
        for b in placed[:i]:
            assert abs(a.x - b.x) >= 90 or abs(a.y - b.y) >= 40
    for key, frame in shown.frame_of.items():
        if frame:
            outer, box = layout.places[frame], layout.places[key]
            assert outer.x <= box.x <= box.x + box.width <= outer.x + outer.width
            assert outer.y <= box.y <= box.y + box.height <= outer.y + outer.height
    assert len(layout.curves) == len(shown.lines)


def test_lines_that_go_round_in_a_circle_are_drawn():
    ends = [Tensor(name="a"), Tensor(name="b")]
    nodes = [Node(op="Op", name=r.name, inputs=(r,), outputs=(w,)) for r, w in (ends, ends[::-1])]
    assert GraphView(picture_of("circle", [], nodes, [])).svg.count('class="gv-edge"') == 2


def test_short_names():
    def name(op, text, around=""):
        return short_name(Node(op=op, name=text, outputs=(Tensor(name="t"),)), around)

    assert name("Conv", "block.conv1/Conv") == "block.conv1"
    assert name("Conv", "block.conv1/Conv", "block") == "conv1"
    assert name("Reshape", "attention/Reshape_2") == "attention_2"
    assert name("Reshape", "Reshape") == ""
    assert shortened("a" * 40, 11) == "aaaa…aaaaaa"
    assert text_width("汉字", 10) == 20


def test_the_page_builds_no_html_from_text():
    source = (STATIC / "graphview.js").read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", source)
    assert len(source.splitlines()) <= 250
