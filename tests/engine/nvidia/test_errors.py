"""engine/nvidia/errors: whatever is wrong with a model becomes a typed error with a way out.

On the real tensorrt_rtx, except for what cannot be provoked there.
"""

import pickle
import re
from contextlib import nullcontext

import numpy as np
import onnx
import pytest

from tests.graph.written import nested
from trtlab.engine import machine
from trtlab.engine.nvidia.api import choose_compiler
from trtlab.engine.nvidia.errors import (
    BuildError,
    CompilerError,
    CompilerMissing,
    ModelError,
    ParseError,
    ProfileError,
    UnsupportedTarget,
)

from . import onnx_models as models
from .rtx import build, needs_rtx

DYNAMIC = models.dynamic_conv()
SCALES = np.array([1, 1, 0.5, 0.5], np.float32)
RESIZE = ("Resize", '<mode = "cubic", antialias = 1>', "float[1, 1, 8, 8] x", "float[1, 1, 4, 4] y", "x, , s")


@needs_rtx
@pytest.mark.parametrize(
    ("model", "node", "op", "code", "said"),
    [
        (models.mixed_types(), "mixed", "MatMul", "INVALID_NODE", "must have same input types.*Insert a Cast"),
        (models.unknown_op(), "mystery", "Mystery", "INVALID_NODE", "Plugin not found.*no operator of this name"),
        (
            models.single("Det", inputs="float[1, 8, 8] x", output="float[1] y"),
            "node1", "Det", "UNSUPPORTED_NODE", "this form of the operator is not supported.*Change node 'node1'",
        ),
        (models.dropout_in_training_mode(), "drop", "Dropout", "UNSUPPORTED_NODE", r"training mode.*model\.eval\(\)"),
        (
            models.qdq_conv(zero_point=3),
            "q1", "QuantizeLinear", "INVALID_NODE", "Non-zero zero point.*every zero point 0",
        ),
        (
            models.qdq_int32_bias(),
            "dq_bias", "DequantizeLinear", "INVALID_NODE", "input has type Int32.*QuantizeBias=False",
        ),
        (
            models.single(*RESIZE, s=SCALES),
            "node1", "Resize", "UNSUPPORTED_NODE_ATTR", r"Antialiasing is not supported.*Change node 'node1'",
        ),
    ],
    ids=["mixed types", "unknown operator", "false", "training mode", "zero point", "INT32 bias", "attribute"],
)  # fmt: skip
def test_a_parse_error_names_node_operator_reason_and_way_out(model, node, op, code, said):
    with pytest.raises(ParseError, match=rf"'{node}' \(operator {op}\): .*{said}") as caught:
        build(model)
    details = caught.value.details
    assert (details["node"], details["op"], details["code"], details["phase"]) == (node, op, code, "parse")
    assert details["index"] == [n.name for n in model.graph.node].index(node)
    assert details["description"]
    assert "cuda" not in f"{caught.value} {caught.value.log}".lower()  # most failures drag a `cudaError 35` along


def refused_types():
    """(model, name, type): types that the parser does not take, wherever ONNX lets a tensor stand."""
    for kind in ("UINT16", "STRING"):
        model = models.make("g (float[4] pixels) => (float[4] y) { h = Identity(pixels) y = Identity(h) }")
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(kind)
        yield model, "pixels", kind
    for kind in ("UINT4", "FLOAT8E5M2"):
        number = onnx.TensorProto.DataType.Value(kind)
        tensor = onnx.helper.make_tensor("weight", number, (4,), [1] * 4)
        model = models.make("g (int64[2] i) => (float[2] y) { y = Gather(weight, i) }", weight=tensor)
        model.graph.output[0].type.tensor_type.elem_type = number
        yield model, "weight", kind
    value = onnx.helper.make_tensor("", onnx.TensorProto.UINT16, (4,), [1] * 4)
    model = models.make("g (float[4] x) => (float[4] y) { c = Cast<to = 1>(filled) y = Add(x, c) }")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["filled"], value=value))
    yield model, "filled", "UINT16"
    sequence = models.make("g (float[4] x) => (float[4] y) { y = Relu(x) }")
    sequence.graph.input.add(name="many").type.sequence_type.elem_type.tensor_type.elem_type = 1
    yield sequence, "many", "SEQUENCE"
    inner = models.if_else()
    inner.graph.node[0].attribute[0].g.node[0].CopyFrom(onnx.helper.make_node("Cast", ["x"], ["deep"], to=4))
    inner.graph.node[0].attribute[0].g.node.append(onnx.helper.make_node("Cast", ["deep"], ["a"], to=1))
    yield inner, "deep", "UINT16"


@needs_rtx
@pytest.mark.parametrize(("model", "name", "kind"), list(refused_types()))
def test_a_type_that_the_parser_lacks_is_named_with_its_tensor_and_what_is_taken(model, name, kind):
    with pytest.raises(ParseError, match=rf"'{name}' is {kind}; .*FLOAT, .*Cast"):
        build(model, stop_after="parse")


@needs_rtx
@pytest.mark.parametrize(
    ("text", "op", "way_out"),
    [
        ("(float[4] x) => (float[K] result) { h = Relu(x) result = Unique(h) }", "Unique", "Change the node"),
        ("(float[4] x) => (float[4] result) { h = Relu(x) result = Mod(h, x) }", "Mod", "Cast to a type that is"),
    ],
)
def test_a_node_without_a_name_is_known_by_what_it_writes(text, op, way_out):
    with pytest.raises(CompilerError, match=rf"the node that writes 'result' \(operator {op}\): .*{way_out}") as caught:
        build(models.make(f"g {text}"))
    assert "''" not in str(caught.value)


@needs_rtx
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(int8[4, 4] x) => (int8[4, 4] y) { [s] y = Sigmoid(x) }", r"sigmoid \(node s, which reads x-\(i8"),
        (
            "(float16[4] x) => (int8[4] y) <int8[4] w = {1, 1, 1, 1}> { h = Cast<to = 3>(x) y = Add(h, w) }",
            r"Quantized constant \(w\).*only go into DequantizeLinear",
        ),
    ],
)
def test_what_the_builder_refuses_is_a_sentence_with_a_way_out(text, said):
    with pytest.raises(BuildError, match=said) as caught:
        build(models.make(f"g {text}"))
    assert not re.search(r"mem_prop|\.cpp|\[\w+::", str(caught.value))
    assert caught.value.hint


@needs_rtx
@pytest.mark.parametrize(
    ("said", "side", "clear"),
    [
        ("'result' lacks its shape", "output", lambda value: value.type.tensor_type.ClearField("shape")),
        ("'x' lacks its type", "input", lambda value: value.ClearField("type")),
        ("'' lacks its name", "output", lambda value: value.ClearField("name")),
    ],
)
def test_what_onnx_checker_leaves_open_is_named(said, side, clear):
    model = models.make("g (float[4] x) => (float[4] result) { result = Add(x, w) }", w=(4,))
    clear(getattr(model.graph, side)[0])
    with pytest.raises(ModelError, match=said):
        build(model)


def ifs(depth):
    """An If in the first branch of an If, and so on."""

    def graph(level, op="If"):
        name, inner, op = f"{op}{level}", {}, "Neg" if level == depth else op
        if op == "If":
            inner = {"then_branch": graph(level + 1), "else_branch": graph(level, "Relu")}
        node = onnx.helper.make_node(op, ["c"] if op == "If" else ["x"], [name], **inner)
        result = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2])
        return onnx.helper.make_graph([node], name, [], [result])

    main = graph(0)
    main.input.add().CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2]))
    main.input.add().CopyFrom(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    return onnx.helper.make_model(main, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


@needs_rtx
def test_what_is_nested_too_deep_is_refused_with_a_way_out():
    assert build(ifs(24)).onnx_nodes == 49
    for model in (ifs(25), ifs(32), nested(400)):
        with pytest.raises((ParseError, ModelError), match=r"24 Ifs inside one another.* Choose with Where"):
            build(model)


@needs_rtx
def test_names_and_paths_of_the_user_are_no_words_of_nvidia(tmp_path):
    """A folder called train, nodes and weights called like messages: the hint is about what happened. The weights that
    lie beside the file are not there, then cut."""
    path = tmp_path / "workspace limit, in training mode.onnx"
    model, data = models.external_weights()
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CompilerError, match=r"weights\.bin.*its weight files beside it"):
        build(path)
    (tmp_path / "weights.bin").write_bytes(data[:10])
    with pytest.raises(CompilerError, match=r"weights\.bin.*its weight files beside it"):
        build(path)
    with pytest.raises(CompilerError, match=r"weights\.bin.*lie in a second file\. Pass the path"):
        build(model)
    model = models.mixed_types()
    model.graph.node[0].name = "Plugin not found"
    with pytest.raises(ParseError, match=r"'Plugin not found'.*Insert a Cast"):
        build(model)


# --- profiles, targets, flags ----------------------------------------------------------------------------------------


@needs_rtx
def test_a_missing_profile_suggests_one_that_works():
    suggestion = {"image": ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))}
    with pytest.raises(ProfileError, match=re.escape(f"Pass profiles={suggestion}")):
        build(DYNAMIC)
    assert build(DYNAMIC, profiles=suggestion).kernels


@needs_rtx
@pytest.mark.parametrize(
    ("name", "shapes", "said"),
    [
        ("picture", ((1, 3, 8, 8),) * 3, r"names 'picture', which is no input\. The inputs are image"),
        ("image", ((8, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8)), r": image \(8, .*\) / \(4, .*minimum <= optimum"),
        ("image", ((1, 3, 9, 8),) * 3, r"profile has min=9, .* but tensor has 8\. Give each dynamic input"),
        ("image", ((1, 3, 8),) * 3, r"4 dimensions but profile 0 has 3 .*Give each dynamic input"),
        ("image", ((-1, 3, 8, 8),) * 3, r"\(-1, 3, 8, 8\) / .*is refused: .*Give each dynamic input"),
    ],
)
def test_a_profile_that_does_not_fit(name, shapes, said):
    with pytest.raises(ProfileError, match=said):
        build(DYNAMIC, profiles={name: shapes})


@needs_rtx
@pytest.mark.parametrize(
    ("model", "target", "said"),
    [
        (models.matmul(), ["SM75", "SM89"], "SM75 has no FP32 GEMM"),
        (models.fp8_matmul(), "SM86", "HW-specific datatypes: fp8"),
        (models.pointwise(), ["SM89", "SM53"], r"'SM53'\. Expected one of SM75, .*'portable'"),
    ],
    ids=["FP32 GEMM", "FP8", "unknown"],
)
def test_a_target_that_cannot(model, target, said):
    with pytest.raises(UnsupportedTarget, match=said) as caught:
        build(model, target)
    assert "cuda" not in f"{caught.value} {caught.value.log}".lower()


@needs_rtx
def test_too_small_a_workspace_and_a_flag_of_another_age():
    with pytest.raises(BuildError, match=r"workspace.*Raise workspace_bytes"):
        build(models.parallel_convs(branches=4, channels=64, kernel=3), workspace_bytes=1)
    with pytest.raises(BuildError, match=r"no builder flag 'FP16'\. It has .*TF32.*type the model instead"):
        build(models.pointwise(), set_flags=["FP16"])


# --- the compiler itself, and the types ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "installed", "why_not", "chosen"),
    [
        (None, machine.COMPILERS, None, "tensorrt"),
        (None, machine.COMPILERS, "no driver", "tensorrt_rtx"),
        ("tensorrt_rtx", machine.COMPILERS, None, "tensorrt_rtx"),
        ("tvm", machine.COMPILERS, None, "'tvm'.*tensorrt, tensorrt_rtx"),
        (None, (), None, "tensorrt: not inst.*tensorrt_rtx: not inst.*pip install tensorrt-rtx"),
        ("tensorrt", ["tensorrt_rtx"], None, r"\(tensorrt: not installed\).*Leave compiler out"),
    ],
)
def test_tensorrt_is_chosen_where_a_driver_loads_and_what_is_not_there_is_said(
    monkeypatch, wanted, installed, why_not, chosen
):
    monkeypatch.setattr(machine, "is_installed", installed.__contains__)
    monkeypatch.setattr(machine, "cuda_driver", lambda: machine.Driver(version=None, gpus=(), why_not=why_not))
    refused = pytest.raises(CompilerMissing, match=chosen) if " " in chosen or "'" in chosen else nullcontext()
    with refused:
        assert choose_compiler(wanted) == chosen


def test_errors_survive_the_process_border_whole():
    error = ParseError("What.", hint="Way out.", log=("a", "b"), node="n", op="Op", index=3, code="C", description="d")
    error.details["phase"] = "parse"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (ParseError, "What. Way out.")
    assert (again.log, again.details) == (error.log, error.details)
