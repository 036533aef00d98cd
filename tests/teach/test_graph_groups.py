"""Groups and scenes: nested, convex, and no edge is lost when groups are folded."""

from pathlib import Path

import onnx
import pytest

from trtlab.engine.digits import DIGITS_ONNX
from trtlab.teach.graph.groups import fold_to_fit, kernel_groups, module_groups, scene
from trtlab.teach.graph.picture import Node, Tensor, picture_from_onnx, picture_of

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def chain(*names, title="chain"):
    """A picture of nodes in a row."""
    nodes = [
        Node(op="Op", name=name, home=name, inputs=(Tensor(name=f"t{i}"),), outputs=(Tensor(name=f"t{i + 1}"),))
        for i, name in enumerate(names)
    ]
    return picture_of(title, [], nodes, [])


def members(picture, group):
    return [picture.nodes[number].name for number in sorted(group.members)]


def test_the_residual_block_is_a_group_and_the_shared_relu_is_not():
    picture = picture_from_onnx(DIGITS_ONNX)
    (block,) = module_groups(picture, 100)
    assert block.label == "block"
    assert members(picture, block)[0] == "block.conv1/Conv"
    assert members(picture, block)[-1] == "block/Relu"


def test_modules_nest():
    picture = chain("stem", "a.0.x", "a.0.y", "a.1.x", "a.1.y", "head")
    outer, left, right = module_groups(picture, 100)
    assert [(g.label, g.depth, g.parent) for g in (outer, left, right)] == [
        ("a", 0, None),
        ("a.0", 1, outer.key),
        ("a.1", 1, outer.key),
    ]
    assert left.members | right.members == outer.members


def test_a_module_called_twice_makes_a_group_for_each_call():
    picture = chain("m.x", "m.y", "between", "m.x", "m.y")
    assert [sorted(g.members) for g in module_groups(picture, 100)] == [[0, 1], [3, 4]]


def test_a_module_that_a_path_leaves_and_enters_again_is_no_group():
    # m.a -> out -> m.b, and m.a -> m.b: folded, the module would stand in a cycle with `out`
    def node(name, reads, writes):
        return Node(op="Op", name=name, home=name, inputs=reads, outputs=writes)

    a, b = Tensor(name="a"), Tensor(name="b")
    nodes = [node("m.a", (), (a,)), node("out", (a,), (b,)), node("m.b", (a, b), ()), node("free", (), ())]
    assert module_groups(picture_of("", [], nodes, []), 100) == ()


def test_a_node_without_a_home_lives_where_the_node_before_it_lives():
    (group,) = module_groups(chain("stem", "a.x", "", "a.y", "head"), 100)
    assert sorted(group.members) == [1, 2, 3]


@pytest.mark.parametrize("name", ["digits", "light_squeezenet", "light_inception_v2", "light_densenet121"])
def test_no_edge_is_lost_and_frames_hold_their_boxes(name):
    picture = picture_from_onnx(DIGITS_ONNX if name == "digits" else LIGHT / f"{name}.onnx")
    groups = module_groups(picture, 150)
    for folded in (set(), {g.key for g in groups}, fold_to_fit(picture, groups, 150)):
        shown = scene(picture, groups, folded)
        for edge in picture.edges:
            ends = shown.box_of[edge.source], shown.box_of[edge.target]
            assert ends[0] == ends[1] or edge in shown.lines[ends]
        assert sum(map(len, shown.lines.values())) <= len(picture.edges)
        assert set(shown.box_of.values()) == set(shown.frame_of)


@pytest.mark.parametrize("name", ["resnet50", "shufflenet", "densenet121", "inception_v2"])
def test_large_models_fold_to_the_limit_and_stay_telling(name):
    picture = picture_from_onnx(LIGHT / f"light_{name}.onnx")
    groups = module_groups(picture, 150)
    boxes = scene(picture, groups, fold_to_fit(picture, groups, 150)).frame_of
    assert 12 <= len(boxes) <= 150


def test_densenet_is_grouped_by_its_layers():
    picture = picture_from_onnx(LIGHT / "light_densenet121.onnx")
    assert len(picture.operators) == 910
    labels = {group.label for group in module_groups(picture, 150)}
    assert {"conv2_1", "conv2_1/x1", "conv5_16"} <= labels


def test_a_large_graph_without_names_is_cut_into_stretches():
    picture = chain(*["" for _ in range(500)])
    groups = module_groups(picture, 150)
    assert groups[0].label == "nodes from 0"
    assert len(scene(picture, groups, fold_to_fit(picture, groups, 150)).frame_of) == 13


def test_small_graphs_are_not_folded():
    picture = picture_from_onnx(DIGITS_ONNX)
    assert fold_to_fit(picture, module_groups(picture, 150), 150) == frozenset()


def test_folding_the_outer_group_hides_the_inner_one():
    picture = chain("stem", "a.0.x", "a.0.y", "a.1.x", "head")
    outer, inner = module_groups(picture, 100)
    shown = scene(picture, (outer, inner), {outer.key, inner.key})
    assert list(shown.frame_of) == ["n0", outer.key, "n4"]
    assert shown.open_groups == ()
    assert scene(picture, (outer, inner), {inner.key}).frame_of[inner.key] == outer.key


def test_one_group_for_each_kernel():
    nodes = [Node(op="Op", name=kernel, kernel=kernel) for kernel in ("kernel 0", "kernel 0", "", "kernel 1")]
    first, second = kernel_groups(picture_of("", [], nodes, []))
    assert (first.label, first.members, second.members) == ("kernel 0", {0, 1}, {3})
