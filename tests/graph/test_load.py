"""Models that cannot be rewritten: one test per error; and odd ones that can."""

# ruff: noqa: E501 (a graph reads better on one line)

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtlab.graph import load as load_module
from trtlab.graph import optimize
from trtlab.graph.oracle import check_same

from .random_models import random_model, run
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
        (loop_model(("Add", ["x", "q"], ["y"], "n1")), "not a valid ONNX model: .*input 'q' of node"),
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
    model = written("(float[3000] x) => (float[3000] y) { y = Add(x, w) }", w=np.ones(3000, np.float32))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    with pytest.raises(ValueError, match=r"not a valid ONNX model: .*11996 bytes. is too small"):
        optimize(model)


def test_functions_and_metadata_of_the_model_are_kept():
    text = """<ir_version: 10, opset_import: ["": 20, "mine": 1]> g (float[3] x) => (float[3] y) {
        a = Identity(x) b = mine.Twice(a) y = Relu(b) }
        <domain: "mine", opset_import: ["": 20]> Twice (a) => (b) { b = Add(a, a) }"""
    model = onnx.parser.parse_model(text)
    model.metadata_props.append(onnx.StringStringEntryProto(key="k", value="v"))
    result, _ = proved(model)
    assert (ops(result), result.metadata_props[0].value) == (["Twice", "Relu"], "v")
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


@pytest.mark.parametrize("nodes", [0, 1, 2])
def test_the_standard_may_be_called_by_its_long_name(nodes):
    model = written(GOOD)
    for named in (*model.opset_import, *model.graph.node[:nodes]):
        named.domain = "ai.onnx"
    assert ops(proved(model, run=run)[0]) == ["Relu"]
    assert model.opset_import[0].domain == "ai.onnx", "the original is not changed"


# --- what a file declares is a hint -----------------------------------------------------------------------------------

SHAPE_OF = "(float[N,3] x) => (float[1,3] y, float[2] z) { y = Relu(x) s = Shape(y) z = Cast<to = 1>(s) }"
HINTS = {
    "an output too small": (SHAPE_OF, {"x": np.ones((2, 3), np.float32)}),
    "an output of another rank": ("(float[3] x) => (float[3,1] y) { a = Exp(x) y = Relu(a) }", {"x": np.ones(3, np.float32)}),
    "a stale size inside": ("(float[3] x) => (float[3] y) <float[4] a> { a = Exp(x) y = Relu(a) }", {"x": np.ones(3, np.float32)}),
    "a stale size in a branch": ("""(float[3] x, bool c) => (float[?] y) { a = If(c) <
        then_branch = t () => (float[7] p) { p = Neg(x) }, else_branch = e () => (float[7] q) { q = Abs(x) }>
        s = Shape(a) y = Cast<to = 1>(s) }""", {"x": np.ones(3, np.float32), "c": np.array(True)}),
}  # fmt: skip
POOL = "(float[1,2,N,N] x) => (float[4] y) {{ p = {}<kernel_shape = [2,2], strides = [3,3], ceil_mode = 1{}>(x) s = Shape(p) y = Cast<to = 1>(s) }}"
HINTS |= {
    f"{op} that rounds up,{pads} {size}": (POOL.replace("N", str(size)).format(op, pads), {"x": np.ones((1, 2, size, size), np.float32)})
    for op in ("MaxPool", "AveragePool") for pads in ("", ", pads = [0,0,1,1]", ", pads = [1,1,1,1]") for size in (4, 5, 6, 7)
}  # fmt: skip


@pytest.mark.parametrize(("text", "feeds"), HINTS.values(), ids=HINTS)
@pytest.mark.parametrize("opset", [11, 22])
def test_declared_sizes_are_hints(text, feeds, opset):
    model = written(text, opset=opset, ir=8)
    want, got = run(model, feeds), run(optimize(model)[0], feeds)
    assert want.keys() == got.keys()
    assert all(np.array_equal(want[name], got[name]) for name in want)


def test_sizes_behind_a_pool_that_rounds_up_are_not_written():
    """ONNX Runtime infers another width behind the pool of this model, and refused its If, whose branch reads ours."""
    model, feeds = random_model(2682)
    check_same(model, optimize(model, [])[0], feeds, run=run)


@pytest.mark.parametrize("what", ["shape", "type"])
def test_an_output_without_a_shape_or_type_and_dead_nodes(what):
    model = written("(float[3] x) => (float[3] result) { a = Exp(x) result = Relu(a) d = Neg(x) }")
    (value,) = model.graph.output
    value.ClearField("type") if what == "type" else value.type.tensor_type.ClearField("shape")
    result, _ = proved(model, run=onnxruntime_runs, inputs=[{"x": np.ones(3, np.float32)}])
    assert ops(result) == ["Exp_Relu"]
    all_dead = written("(float[3] x) => (float[3] x) { a = Exp(x) b = Relu(a) }")
    result, report = optimize(all_dead)
    assert (ops(result), len(report.steps)) == ([], 1)


def test_a_sparse_tensor_is_refused_by_name():
    values = helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [1.5])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", onnx.TensorProto.INT64, [1], [1]), [3])
    for where in ("initializer", "attribute"):
        model = written("(float[3] x) => (float[3] y) { y = Relu(x) }")
        if where == "initializer":
            model.graph.sparse_initializer.append(sparse)
        else:
            model.graph.node.insert(0, onnx.NodeProto(op_type="Constant", output=["v"]))
            model.graph.node[0].attribute.append(helper.make_attribute("sparse_value", sparse))
        with pytest.raises(ValueError, match="tensor 'v' is sparse: expected a dense one"):
            optimize(model)


# --- weights in other files -------------------------------------------------------------------------------------------


def outside(tensor, folder, name="w.bin", **more):
    """The tensor with its numbers in a file of the folder, behind eight other bytes."""
    (folder / name).write_bytes(b"\0" * 8 + tensor.raw_data)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": name, "offset": 8, "length": size} | more).items():
        tensor.external_data.add(key=key, value=str(value))


def saved(folder, **more):
    model = written("(float[2,3] x) => (float[2,4] y) { y = MatMul(x, w) }", w=np.ones((3, 4), np.float32))
    outside(model.graph.initializer[0], folder, **more)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def test_weights_may_stand_outside_wherever_there_is_a_tensor(tmp_path):
    text = """(float[3] x, bool c) => (float[3] y) { k = Constant<value = float[3] {1,2,3}>() y = If(c) <
        then_branch = t () => (float[3] p) { j = Constant<value = float[3] {4,5,6}>() p = Add(x, j) },
        else_branch = e () => (float[3] q) <float[3] w = {7,8,9}> { r = Add(x, w) q = Mul(k, r) }> }"""
    model, moved = written(text), written(text)
    yes, no = sorted((a.g for a in moved.graph.node[1].attribute), key=lambda g: len(g.initializer))
    tensors = [moved.graph.node[0].attribute[0].t, yes.node[0].attribute[0].t, no.initializer[0]]
    for number, tensor in enumerate(tensors):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        outside(tensor, tmp_path, f"{number}.bin")
    onnx.save(moved, tmp_path / "m.onnx")
    for flag in (True, False):
        feeds = {"x": np.ones(3, np.float32), "c": np.array(flag)}
        assert run(optimize(tmp_path / "m.onnx")[0], feeds)["y"].tolist() == run(model, feeds)["y"].tolist()


@pytest.mark.parametrize("way", ["links to blobs", "a link to the model alone"])
def test_a_model_behind_a_link(tmp_path, way):
    folder, blobs = tmp_path / "snapshot" / "onnx", tmp_path / "blobs"
    for made in (folder, blobs):
        made.mkdir(parents=True)
    path = saved(blobs)
    if way == "links to blobs":
        (blobs / "w.bin").rename(blobs / "2e")
        (folder / "w.bin").symlink_to("../../blobs/2e")
    (folder / "m.onnx").symlink_to(path)
    (tensor,) = optimize(folder / "m.onnx")[0].graph.initializer
    assert numpy_helper.to_array(tensor).tolist() == np.ones((3, 4)).tolist()


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"location": "gone.bin"}, FileNotFoundError, "weights of 'w' stand in .*gone.bin, which does not exist: put it"),
        ({"location": "../w.bin"}, ValueError, r"weights of 'w' stand in '\.\./w.bin': expected a file beside m.onnx"),
        ({"location": "/etc/passwd"}, ValueError, "weights of 'w' stand in '/etc/passwd': expected a file beside"),
        ({"length": 99}, ValueError, "weights of 'w' are 99 bytes in .*w.bin, which ends after 48: fetch it again"),
    ],
)  # fmt: skip
def test_weights_that_are_not_there(tmp_path, more, error, said):
    with pytest.raises(error, match=said):
        optimize(saved(tmp_path, **more))


def test_weights_without_a_path_and_more_than_a_message_can_hold(tmp_path, monkeypatch):
    path = saved(tmp_path)
    with pytest.raises(ValueError, match="'w' and perhaps other weights stand in another file: pass the model's path"):
        optimize(onnx.load(path, load_external_data=False))
    monkeypatch.setattr(load_module, "LIMIT_BYTES", 100)
    with pytest.raises(ValueError, match="bytes with its weights; one ONNX message holds 100"):
        optimize(path)


# --- one value a name -------------------------------------------------------------------------------------------------

SHADOWS = {
    "the state of a loop": """(float[2] x, float[2] z, int64 n) => (float[2] y) { c = OP(x) d = OP(x) e = Add(c, d)
        l = Loop(n, "", z) <body = b (int64 i, bool k, float[2] x) => (bool k2, float[2] o) {
            o = Add(x, c) k2 = Identity(k) }> y = Add(l, e) }""",
    "the row of a scan": """(float[2] x, float[2,2] z, int64 n) => (float[2,2] y) { c = OP(x) d = OP(x)
        l = Scan<num_scan_inputs = 1, body = b (float[2] x) => (float[2] o) { p = Add(x, c) o = Mul(p, d) }>(z)
        y = Add(l, c) }""",
    "weights of a branch, of another type": """(float[2] x, float[2] z, int64 n, bool t) => (float[2] y) {
        c = OP(x) d = OP(x) e = Add(d, z) l = If(t) <
            then_branch = a () => (float[2] p) <int64[2] x = {50, 60}> { q = Cast<to = 1>(x) p = Add(c, q) },
            else_branch = b () => (float[2] r) <float[2] d = {7, 8}> { r = Sub(c, d) }> y = Mul(l, e) }""",
    "a branch in a branch": """(float[2] x, float[2] z, int64 n, bool t) => (float[2] y) { c = OP(x) d = OP(x)
        y = If(t) <then_branch = a () => (float[2] p) <float[2] x = {5, 6}> { v = Add(c, x) p = If(t) <
            then_branch = f () => (float[2] h) <float[2] x = {9, 9}> { w = Mul(x, c) h = Add(w, v) },
            else_branch = g () => (float[2] j) { j = Neg(d) }> }, else_branch = b () => (float[2] r) { r = Sub(z, d) }> }""",
}  # fmt: skip


@pytest.mark.parametrize("text", SHADOWS.values(), ids=SHADOWS)
@pytest.mark.parametrize("op", ["Identity", "Relu", "Transpose<perm = [0]>"])
def test_an_inner_graph_may_own_the_name_of_an_outer_value(text, op):
    model = written(text.replace("OP", op))
    for node in (node for node in model.graph.node if node.op_type == "Loop"):
        node.input[1] = ""
    for flag in (True, False):
        feeds = {"x": np.array([1, -2], np.float32), "n": np.array(3), "t": np.array(flag)}
        feeds["z"] = np.array([[10, 20], [30, 40]], np.float32)[slice(None) if "Scan" in text else 0]
        feeds = {value.name: feeds[value.name] for value in model.graph.input}
        untouched = model.SerializeToString()
        assert run(optimize(model)[0], feeds)["y"].tolist() == run(model, feeds)["y"].tolist()
        assert model.SerializeToString() == untouched
