"""Pictures of ONNX models: edges against a search by hand, constants apart, nothing lost to odd names or gaps."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtlab.engine.digits import DIGITS_ONNX
from trtlab.teach.graph.picture import (
    OTHER,
    Node,
    Tensor,
    attribute_text,
    connected,
    family_of,
    module_path,
    picture_from_onnx,
)

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def model(nodes, *, inputs=("x",), outputs=("y",), weights=(), opset=17):
    describe = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in inputs]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "test", describe, ends, initializer=list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weight(name, *shape):
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def edges_by_hand(picture):
    """Every (writer, reader, tensor), found by comparing all pairs."""
    return {
        (a.key, b.key, written.name)
        for a in picture.nodes
        for b in picture.nodes
        for written in a.outputs
        for read in b.inputs
        if written.name == read.name
    }


@pytest.mark.parametrize("path", [DIGITS_ONNX, LIGHT / "light_squeezenet.onnx", LIGHT / "light_inception_v1.onnx"])
def test_edges_are_those_found_by_hand(path):
    picture = picture_from_onnx(path)
    drawn = {(picture.nodes[e.source].key, picture.nodes[e.target].key, e.tensor.name) for e in picture.edges}
    assert drawn == edges_by_hand(picture)


def test_the_digits_model_shows_17_nodes_and_counts_its_weights():
    picture = picture_from_onnx(DIGITS_ONNX)
    assert len(picture.operators) == 17
    assert picture.constants == len(onnx.load(DIGITS_ONNX).graph.initializer)
    first = picture.operators[0]
    assert (first.op, first.name, first.inputs[0].shape_text) == ("Conv", "conv1/Conv", "batch×1×8×8")
    assert [w.type_text for w in first.weights] == ["float32 32×1×3×3"]
    assert dict(first.attributes)["kernel_shape"] == "[3, 3]"
    assert [node.op for node in picture.nodes if node.is_end] == ["input", "output"]


def test_a_path_its_bytes_and_its_proto_give_one_picture():
    data = Path(DIGITS_ONNX).read_bytes()
    pictures = [picture_from_onnx(m) for m in (str(DIGITS_ONNX), data, onnx.load_from_string(data))]
    assert pictures[0].nodes == pictures[1].nodes == pictures[2].nodes
    assert pictures[0].edges == pictures[1].edges == pictures[2].edges


def test_constants_in_every_form_are_counted_and_not_drawn():
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(4, np.float32))),
        helper.make_node("ConstantOfShape", ["s"], ["zeros"]),
        helper.make_node("Sum", ["x", "w", "c", "zeros"], ["y"], name="sum"),
    ]
    shape = numpy_helper.from_array(np.array([4], np.int64), "s")
    picture = picture_from_onnx(model(nodes, weights=[weight("w", 4), shape]))
    (node,) = picture.operators
    assert picture.constants == 4
    assert [w.name for w in node.weights] == ["w", "c", "zeros"]
    assert [t.name for t in node.inputs] == ["x"]


def test_a_constant_of_unknown_shape_is_a_node():
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("ConstantOfShape", ["s"], ["y"])]
    assert [node.op for node in picture_from_onnx(model(nodes)).operators] == ["Shape", "ConstantOfShape"]


def test_shapes_are_inferred_where_the_file_has_none():
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    picture = picture_from_onnx(model(nodes, weights=[weight("w", 4, 3000)]))  # larger than what inference is given
    assert [t.shape_text for n in picture.operators for t in n.outputs] == ["n×3000", "n×3000"]


def test_a_model_that_inference_refuses_is_drawn_without_shapes():
    nodes = [
        helper.make_node("NoSuchOperator", ["x"], ["h"], domain="elsewhere"),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    picture = picture_from_onnx(model(nodes))
    assert [n.op for n in picture.operators] == ["NoSuchOperator", "Relu"]
    assert picture.operators[0].outputs[0].type_text == "unknown"
    assert ("domain", "elsewhere") in picture.operators[0].facts
    assert picture.operators[0].family == OTHER


def test_a_graph_inside_a_node_captures_what_it_reads():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["h"], ["out"])], "then", [], [helper.make_tensor_value_info("out", 1, None)]
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["h"], name="abs"),
        helper.make_node("If", ["x"], ["y"], name="if", then_branch=branch, else_branch=branch),
    ]
    picture = picture_from_onnx(model(nodes))
    assert [t.name for t in picture.operators[1].inputs] == ["x", "h"]
    assert dict(picture.operators[1].attributes)["then_branch"] == "graph of 1 nodes"


def test_unsorted_and_optional_inputs_and_names_that_repeat():
    nodes = [
        helper.make_node("Relu", ["h"], ["y"], name="same"),
        helper.make_node("Clip", ["x", "", "w"], ["h"], name="same"),
    ]
    picture = picture_from_onnx(model(nodes, weights=[weight("w")]))
    assert [node.key for node in picture.nodes] == ["n0", "n1", "n2", "n3"]
    assert (2, 1) in {(edge.source, edge.target) for edge in picture.edges}


@pytest.mark.parametrize(
    ("broken", "error", "words"),
    [
        (model([]), ValueError, "'test' has no nodes, so there is nothing to draw"),
        (b"garbage, not a model", ValueError, "is no ONNX model: .* Expected what onnx.save writes"),
        ("no/such/file.onnx", FileNotFoundError, "does not exist"),
        (17, TypeError, "got int"),
    ],
)
def test_what_cannot_be_drawn_says_why(broken, error, words):
    with pytest.raises(error, match=words):
        picture_from_onnx(broken)


def test_the_path_itself_may_be_any_kind_of_path():
    class Somewhere(os.PathLike):
        def __fspath__(self):
            return str(DIGITS_ONNX)

    assert picture_from_onnx(Somewhere()).title == "digits"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2], "[1, 2]"),
        (0.5, "0.5"),
        ("same", "same"),
        (["a", "b"], "[a, b]"),
        (numpy_helper.from_array(np.zeros((2, 3), np.int64)), "int64 2×3"),
        ("x" * 500, "x" * 159 + "…"),
    ],
)
def test_attributes_are_one_short_line(value, text):
    assert attribute_text(helper.make_attribute("a", value)) == text


def test_a_tensor_with_several_writers_is_read_from_all_of_them():
    def node(name, reads, writes):
        return Node(op="k", name=name, inputs=tuple(map(tensor, reads)), outputs=tuple(map(tensor, writes)))

    def tensor(name):
        return Tensor(name=name)

    nodes = [node("left", "a", "b"), node("right", "a", "b"), node("both", "b", "c"), node("later", "c", "b")]
    found = {(edge.source, edge.target) for edge in connected(nodes)}
    assert found == {(0, 2), (1, 2), (2, 3)}


def test_module_paths():
    assert module_path("layer1.0.conv1/Conv") == ("layer1", "layer1.0", "layer1.0.conv1")
    assert module_path("/layer1/Conv_3") == ("layer1",)
    assert module_path("Conv_3") == ()
    assert module_path("gpu_0/res2_w", "./_") == ("gpu", "gpu_0", "gpu_0/res2")


@pytest.mark.parametrize(
    ("family", "ops"),
    [
        ("convolution, matrix product", "Conv QLinearConv ConvTranspose Gemm MatMul LSTM Attention CONVOLUTION"),
        ("pointwise", "Relu PRelu HardSwish Exp Log Max Where Softplus GreaterOrEqual ACTIVATION UNARY"),
        ("normalisation, softmax", "BatchNormalization LRN LogSoftmax SCALE NORMALIZATION SOFTMAX"),
        ("pooling, reduction", "MaxPool ReduceMax ArgMax TopK CumSum POOLING CUMULATIVE"),
        ("shape, data movement", "Reshape Expand Concat SpaceToDepth Compress SHUFFLE IDENTITY"),
        ("type, quantisation", "Cast QuantizeLinear DEQUANTIZE"),
        ("control flow", "If Loop Scan TRIP_LIMIT"),
        (OTHER, "<script> RandomNormal GridSample NonZero"),
    ],
)
def test_families(family, ops):
    assert {op: family_of(op) for op in ops.split()} == dict.fromkeys(ops.split(), family)
