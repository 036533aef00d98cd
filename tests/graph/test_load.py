"""Models that cannot be rewritten: one test per error; and odd ones that can."""

# ruff: noqa: E501 (a graph reads better on one line)

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtlab.graph import load as load_module
from trtlab.graph import optimize

from .written import onnxruntime_runs, ops, proved, written

GOOD = "(float[3] x) => (float[3] y) { a = Identity(x) y = Relu(a) }"


def loop_model(*nodes):
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op, i, o, name=n) for op, i, o, n in nodes], "g", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (loop_model(("Add", ["x", "b"], ["a"], "n1"), ("Relu", ["a"], ["b"], "n2"), ("Abs", ["b"], ["y"], "n3")), "cycle: n1 <- n2 <- n1"),
        (loop_model(("Add", ["x", "q"], ["y"], "n1")), "node 'n1' reads 'q': no input, weight or node"),
        (loop_model(("Abs", ["a"], ["y"], "n1"), ("Relu", ["x"], ["a"], "n2")), "not a valid ONNX model: .*topologically sorted"),
        (loop_model(("Abs", ["x"], ["a"], "n1"), ("Exp", ["x"], ["a"], "n2"), ("Relu", ["a"], ["y"], "n3")), "not a valid ONNX model: Output 'a' is redeclared"),
        (loop_model(("Frobnicate", ["x"], ["y"], "n1")), "not a valid ONNX model: .*No Op registered for Frobnicate"),
        (written("(float[3] x) => (float[3] y) { y = other.Op(x) }"), "not a valid ONNX model: .*other"),
        (written("(float[3] x) => (int64[3] y) { y = Relu(x) }"), "not a valid ONNX model: .*elem type"),
        (written(GOOD, opset=99), "asks for opset 99; onnx .* knows up to"),
        (b"this is no model", "is no ONNX model|not a valid ONNX model"),
        (b"", "not a valid ONNX model"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(model, said):
    with pytest.raises(ValueError, match=said):
        optimize(model)


def test_large_weights_that_break_off():
    model = written("(float[2,3] x) => (float[2,4000] y) { y = MatMul(x, w) }", w=np.ones((3, 4000), np.float32))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    with pytest.raises(ValueError, match=r"not a valid ONNX model: .*raw_data size .47996 bytes. is too small"):
        optimize(model)


def external(folder):
    model = written("(float[2,3] x) => (float[2,4] y) { y = MatMul(x, w) }", w=np.ones((3, 4), np.float32))
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    return path


def test_weights_in_another_file(tmp_path):
    path = external(tmp_path)
    result, _ = optimize(path)
    assert numpy_helper.to_array(result.graph.initializer[0]).shape == (3, 4)
    with pytest.raises(ValueError, match="'w' and perhaps other weights stand in another file: pass the model's path"):
        optimize(onnx.load(path, load_external_data=False))


def test_more_than_a_message_can_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(load_module, "LIMIT_BYTES", 100)
    with pytest.raises(ValueError, match="bytes with its weights; one ONNX message holds 100"):
        optimize(external(tmp_path))


def test_bytes_and_paths_are_models_too(tmp_path):
    model = written(GOOD)
    path = tmp_path / "good.onnx"
    onnx.save(model, path)
    assert optimize(path)[0] == optimize(str(path))[0] == optimize(path.read_bytes())[0] == optimize(model)[0]


@pytest.mark.parametrize("shape", ["[0]", "[0,3]", "[N]", "[N,0]", ""])
def test_sizes_of_zero_unknown_sizes_and_scalars(shape):
    text = f"(float{shape} x) => (float{shape} y) {{ a = Exp(x) b = Identity(a) y = Relu(b) }}"
    result, _ = proved(written(text))
    assert ops(result) == ["Exp_Relu"]


def test_shapes_nobody_knows_are_not_fused():
    text = "(float[6] x, int64[K] s) => (float[?,?] y) { r = Reshape(x, s) a = Exp(r) y = Relu(a) }"
    result, report = optimize(written(text))
    assert ops(result) == ["Reshape", "Exp", "Relu"]
    assert "do not fit one loop" in report.refusals[0].reason


def test_functions_of_the_model_are_kept():
    text = """<ir_version: 10, opset_import: ["": 20, "mine": 1]> g (float[3] x) => (float[3] y) {
        a = Identity(x) b = mine.Twice(a) y = Relu(b) }
        <domain: "mine", opset_import: ["": 20]> Twice (a) => (b) { b = Add(a, a) }"""
    result, _ = proved(onnx.parser.parse_model(text))
    assert ops(result) == ["Twice", "Relu"]
    assert [function.name for function in result.functions] == ["Twice"]


@pytest.mark.parametrize(
    ("where", "before", "after"),
    [
        ("a = trtlab.fused.F(x)", "", "(a) => (b) { b = Abs(a) }"),
        ("a = trtlab.fused.F<alpha = 0.5>(x)", "<alpha>", "(a) => (b) { b = LeakyRelu<alpha: float = @alpha>(a) }"),
        ("a = If(t) <then_branch = t () => (float[3] b) { b = trtlab.fused.F(x) }, else_branch = e () => (float[3] c) { c = Exp(x) }>", "", "(a) => (b) { b = Abs(a) }"),
    ],
)  # fmt: skip
def test_a_domain_of_our_name_keeps_functions_that_others_wrote(where, before, after):
    text = f"""<ir_version: 10, opset_import: ["": 20, "trtlab.fused": 1]> g (float[3] x) => (float[3] y)
        <bool t = {{1}}> {{ {where} b = Exp(a) y = Relu(b) }}
        <domain: "trtlab.fused", opset_import: ["": 20]> F {before} {after}"""
    proved(onnx.parser.parse_model(text), run=onnxruntime_runs)


def test_metadata_survives():
    model = written(GOOD)
    model.producer_name, model.doc_string = "somebody", "a model"
    model.metadata_props.append(onnx.StringStringEntryProto(key="k", value="v"))
    result, _ = optimize(model)
    assert (result.producer_name, result.doc_string, result.metadata_props[0].value) == ("somebody", "a model", "v")
