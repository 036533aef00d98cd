"""graph/onnxfile: any form of a model becomes one source, and constants are counted apart from work."""

import hashlib

import onnx
import onnx.parser
import pytest

from trtlab.graph import optimize
from trtlab.graph.onnxfile import NodeCounts, count_nodes, sha256_of, source_from_model

from .written import nested

MODEL = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["": 21, "local": 1]>
    net (bool cond, float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
        one = Constant <value = float {1}> ()
        a = Add(x, w)
        y = If(cond) <
            then_branch = yes () => (float[2] t) { two = Constant <value = float {2}> () t = Mul(a, two) },
            else_branch = no () => (float[2] e) { e = If(cond) <
                then_branch = b () => (float[2] d) { d = local.twice(a) },
                else_branch = c () => (float[2] f) { f = Neg(a) }
            > }
        >
    }
    <domain: "local", opset_import: ["": 21]>
    twice (v) => (r) { r = Add(v, v) }"""
)
DATA = MODEL.SerializeToString()


def test_every_form_becomes_one_source(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "some net.onnx"
    path.write_bytes(DATA)
    for form in (path, str(path), "~/some net.onnx"):
        source = source_from_model(form)
        assert (source.name, source.path, source.data, source.read()) == ("some net", path.resolve(), None, DATA)
    for kind in (bytes, bytearray, memoryview):
        source = source_from_model(kind(DATA))
        assert (source.name, source.path, source.read(), source.proto()) == ("model", None, DATA, MODEL)
    assert source_from_model(MODEL).name == "net"
    assert source_from_model(onnx.ModelProto()).name == "model"
    assert source_from_model(MODEL, "mine").name == "mine"
    assert sha256_of(source.read()) == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        ("none.onnx", FileNotFoundError, r"none\.onnx does not exist. Expected the path of an \.onnx file"),
        (".", FileNotFoundError, r"is a folder. Expected the path of an \.onnx file"),
        *((wrong, TypeError, f"got {type(wrong).__name__}") for wrong in (3, None)),
        *((wrong, ValueError, r"is no ONNX model: .* Expected what onnx.save") for wrong in (b"hello", DATA[:-3])),
    ],
)  # fmt: skip
def test_what_is_no_model(model, error, said):
    with pytest.raises(error, match=said):
        count_nodes(model)


def test_nodes_of_subgraphs_and_functions_count_and_constants_apart():
    """Add, If, Mul, If, local.twice and the Add inside it, Neg; one initializer and two Constant nodes."""
    assert count_nodes(MODEL) == count_nodes(DATA) == NodeCounts(nodes=7, constants=3)
    assert count_nodes(onnx.ModelProto()) == NodeCounts(nodes=0, constants=0)


@pytest.mark.parametrize("opened", [count_nodes, optimize, lambda data: source_from_model(data).proto()])
@pytest.mark.parametrize("depth", [40, 400, 20_000])
def test_what_is_nested_too_deep_is_refused_with_a_way_out(depth, opened):
    assert count_nodes(nested(30)).nodes == 30
    with pytest.raises(ValueError, match=r"'model' nests deeper than .* 33 Ifs: choose with Where"):
        opened(nested(depth))
