"""Pictures of ONNX models: edges against a search by hand, constants apart, nothing lost to odd names; groups."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtlab.engine.networks import DIGITS_ONNX
from trtlab.graph import optimize
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS
from trtlab.teach.graph.arrange import fold_to_fit, module_groups, scene
from trtlab.teach.graph.picture import (
    FAMILIES,
    OTHER,
    Node,
    Tensor,
    family_of,
    module_path,
    picture_from_onnx,
    picture_of,
)

X = numpy_helper.from_array(np.zeros((2, 3), np.int64))


def light(name):
    return DIGITS_ONNX if name == "digits" else LIGHT_FOLDER / f"light_{name}.onnx"


def node(op, reads, writes, name="", **more):
    return helper.make_node(op, reads, writes, name=name, **more)


def model(*nodes, weights=()):
    ends = [helper.make_tensor_value_info("x", 1, ["n", 4]), helper.make_tensor_value_info("y", 1, None)]
    stored = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, *shape in weights]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], initializer=stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain(*names):
    """A picture of nodes in a row."""
    ends = [Tensor(name=f"t{i}") for i in range(len(names) + 1)]
    pairs = zip(names, ends, ends[1:], strict=False)
    return picture_of("chain", [], [Node(op="Op", name=n, home=n, inputs=(a,), outputs=(b,)) for n, a, b in pairs], [])


@pytest.mark.parametrize("name", ["digits", "squeezenet"])
def test_edges_are_those_found_by_hand(name):
    picture = picture_from_onnx(light(name))
    nodes = picture.nodes
    drawn = {(nodes[e.source].key, nodes[e.target].key, e.tensor.name) for e in picture.edges}
    read = [(b.key, tensor.name) for b in nodes for tensor in b.inputs]
    assert drawn == {(a.key, b, out.name) for a in nodes for out in a.outputs for b, name in read if out.name == name}


def test_the_digits_model_and_an_empty_one():
    picture = picture_from_onnx(DIGITS_ONNX.read_bytes())
    first = picture.operators[0]
    assert (len(picture.operators), [end.op for end in picture.nodes if end.is_end]) == (17, ["input", "output"])
    assert picture.constants == len(onnx.load(DIGITS_ONNX).graph.initializer)
    assert (first.op, first.name, first.inputs[0].shape_text) == ("Conv", "conv1/Conv", "batch×1×8×8")
    assert [w.type_text for w in first.weights] == ["float32 32×1×3×3"]
    assert dict(first.attributes)["kernel_shape"] == "[3, 3]"
    with pytest.raises(ValueError, match="'model' has no nodes"):
        picture_from_onnx(onnx.ModelProto())


def test_constants_in_every_form_are_counted_and_not_drawn():
    one = node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(4, np.float32)))
    total = node("Sum", ["x", "w", "c", "zeros"], ["y"], "sum")
    picture = picture_from_onnx(
        model(one, node("ConstantOfShape", ["s"], ["zeros"]), total, weights=[("w", 4), ("s",)])
    )
    (drawn,) = picture.operators
    assert picture.constants == 4
    assert [w.name for w in drawn.weights] == ["w", "c", "zeros"]
    assert [t.name for t in drawn.inputs] == ["x"]
    of_unknown_shape = model(node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["y"]))
    assert [n.op for n in picture_from_onnx(of_unknown_shape).operators] == ["Shape", "ConstantOfShape"]


def test_shapes_are_inferred_where_the_file_has_none_and_missing_where_nobody_knows():
    given = model(
        node("Gemm", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"]), weights=[("w", 4, 3000)]
    )  # a large weight
    assert [t.shape_text for n in picture_from_onnx(given).operators for t in n.outputs] == ["n×3000", "n×3000"]
    refused = model(node("NoSuchOperator", ["x"], ["h"], domain="elsewhere"), node("Relu", ["h"], ["y"]))
    first, _ = picture_from_onnx(refused).operators
    assert (first.outputs[0].type_text, first.family, first.facts) == ("unknown", OTHER, (("domain", "elsewhere"),))


def test_a_dimension_is_its_size_its_symbol_or_unknown():
    given = model(node("Relu", ["x"], ["y"]))
    for dimension in given.graph.input[0].type.tensor_type.shape.dim:
        dimension.Clear()
    given.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n-1"
    assert picture_from_onnx(given).nodes[0].outputs[0].shape_text == "n-1×?"
    given.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "unk__0"  # a name that onnx's inference made up
    assert picture_from_onnx(given).nodes[0].outputs[0].shape_text == "n-1×?"


def test_a_graph_inside_a_node_captures_what_it_reads_and_not_what_it_makes():
    out = helper.make_tensor_value_info("out", 1, None)
    branch = helper.make_graph([node("Neg", ["h"], ["t"]), node("Relu", ["t"], ["out"])], "then", [], [out])
    other = helper.make_graph([], "else", [], [helper.make_tensor_value_info("g", 1, None)])  # hands a value on
    choice = node("If", ["x"], ["y"], "if", then_branch=branch, else_branch=other)
    drawn = picture_from_onnx(model(node("Abs", ["x"], ["h"]), node("Exp", ["x"], ["g"]), choice)).operators[2]
    assert {t.name for t in drawn.inputs} == {"x", "h", "g"}
    assert dict(drawn.attributes)["then_branch"] == "graph of 2 nodes"


def test_unsorted_and_optional_inputs_and_names_that_repeat():
    picture = picture_from_onnx(
        model(node("Relu", ["h"], ["y"], "same"), node("Clip", ["x", "", "w"], ["h"], "same"), weights=[("w",)])
    )
    assert [n.key for n in picture.nodes] == ["n0", "n1", "n2", "n3"]
    assert (2, 1) in {(edge.source, edge.target) for edge in picture.edges}


def test_a_fused_node_is_one_box_with_its_operators_inside():
    fused, concat = picture_from_onnx(optimize(TEACHING_MODELS["inception"]())[0]).operators
    assert (fused.op, fused.members[:2], fused.stands_for[0]) == ("one fused kernel", ("Conv", "Relu"), "conv1")
    assert (concat.op, concat.members, concat.apart) == ("Concat in place", ("Concat",), "no kernel")


@pytest.mark.parametrize(
    ("value", "text"),
    [([1, 2], "[1, 2]"), (0.5, "0.5"), (["a", "b"], "[a, b]"), (X, "int64 2×3"), ("x" * 500, "x" * 159 + "…")],
)
def test_attributes_are_one_short_line(value, text):
    picture = picture_from_onnx(model(node("Odd", ["x"], ["y"], domain="odd", a=value)))
    assert picture.operators[0].attributes == (("a", text),)


def test_families_of_operators_are_the_kinds_of_the_one_table_and_a_few_more():
    one = "Conv LSTM Relu LogSoftmax CumSum ReduceMax Expand QuantizeLinear Loop RandomNormal".split()
    product, cost = "convolution, matrix product", "pooling, reduction"
    more = ["shape, data movement", "type, quantisation", "control flow", OTHER]
    assert [*map(family_of, one)] == [product, product, "pointwise", "normalisation, softmax", cost, cost, *more]
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {op for ops in FAMILIES.values() for op in ops.split()} <= known
    found = [*map(family_of, "DeformConv RoiAlign Upsample Hardmax".split())]
    assert found == [product, cost, "shape, data movement", "normalisation, softmax"]


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ("stem a.0.x a.0.y a.1.x a.1.y head", {"a": [1, 2, 3, 4], "a.0": [1, 2], "a.1": [3, 4]}),
        ("m.x m.y between n.x n.y", {"m": [0, 1], "n": [3, 4]}),
        ("stem a.x - a.y head", {"a": [1, 2, 3]}),  # a node without a home lives where the node before it lives
        ("m.x out m.y", {}),  # folded, m would stand in a cycle with what is between
        ("m.x m.y", {}),  # what holds everything is no group
    ],
)
def test_runs_of_nodes_in_one_module_are_groups(names, groups):
    picture = chain(*("" if name == "-" else name for name in names.split()))
    found = module_groups(picture, 100)
    assert {group.label: sorted(group.members) for group in found} == groups
    label_of = {group.key: group.label for group in found}
    assert all(group.parent is None or group.label.startswith(label_of[group.parent]) for group in found)


def test_the_modules_in_a_name_and_a_group_for_each_call_of_one():
    assert module_path("/layer1.0.conv1/Conv_3") == ("layer1", "layer1.0", "layer1.0.conv1")
    assert module_path("gpu_0/res2_w", "./_") == ("gpu", "gpu_0", "gpu_0/res2")
    assert [sorted(g.members) for g in module_groups(chain("m.x", "m.y", "z", "m.x", "m.y"), 100)] == [[0, 1], [3, 4]]


@pytest.mark.parametrize("name", ["digits", "squeezenet", "densenet121"])
def test_no_edge_is_lost_and_large_models_fold_to_the_limit_and_stay_telling(name):
    picture = picture_from_onnx(light(name))
    groups = module_groups(picture, 150)
    fitting = fold_to_fit(picture, groups, 150)
    for folded in (set(), {g.key for g in groups}, fitting):
        shown = scene(picture, groups, folded)
        for edge in picture.edges:
            ends = shown.box_of[edge.source], shown.box_of[edge.target]
            assert ends[0] == ends[1] or edge in shown.lines[ends]
        assert sum(map(len, shown.lines.values())) <= len(picture.edges)
        assert set(shown.box_of.values()) == set(shown.frame_of)
    assert 12 <= len(scene(picture, groups, fitting).frame_of) <= 150
    assert bool(fitting) == (len(picture.nodes) > 150)
    if name == "digits":
        assert [group.label for group in groups] == ["block"]
    if name == "densenet121":
        assert {"conv2_1", "conv2_1/x1", "conv5_16"} <= {group.label for group in groups}


def test_a_large_graph_without_names_is_cut_into_stretches():
    picture = chain(*[""] * 500)
    groups = module_groups(picture, 150)
    assert groups[0].label == "nodes from 0"
    assert len(scene(picture, groups, fold_to_fit(picture, groups, 150)).frame_of) == 13


def test_folding_the_outer_group_hides_all_inner_ones():
    picture = chain("stem", "a.0.b.x", "a.0.b.y", "a.0.z", "a.1.x", "head")
    outer, *inner = module_groups(picture, 100)
    shown = scene(picture, (outer, *inner), {outer.key})
    assert (len(inner), list(shown.frame_of), shown.open_groups) == (2, ["n0", outer.key, "n5"], ())
