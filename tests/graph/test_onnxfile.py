"""graph/onnxfile: any form of a model becomes one source, and constants are counted apart from work."""

import hashlib
from pathlib import Path

import onnx
import onnx.parser
import pytest

from trtlab.graph.onnxfile import NodeCounts, count_nodes, sha256_of, source_from_model

MODEL = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["": 21, "local": 1]>
    net (bool cond, float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
        one = Constant <value = float {1}> ()
        a = Add(x, w)
        y = If(cond) <
            then_branch = yes () => (float[2] t) { two = Constant <value = float {2}> () t = Mul(a, two) },
            else_branch = no () => (float[2] e) { e = local.twice(a) }
        >
    }
    <domain: "local", opset_import: ["": 21]>
    twice (v) => (r) { r = Add(v, v) }"""
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some net.onnx"
    path.write_bytes(MODEL.SerializeToString())
    return path


@pytest.mark.parametrize("form", [str, lambda path: path])
def test_a_path_stays_a_path(path, form):
    source = source_from_model(form(path))
    assert (source.name, source.path, source.data) == ("some net", path.resolve(), None)
    assert source.read() == MODEL.SerializeToString()


def test_a_home_folder_is_understood(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    assert source_from_model("~/some net.onnx").path == path.resolve()


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_bytes_are_copied(form):
    source = source_from_model(form(b"model"))
    assert (source.name, source.path, source.read()) == ("model", None, b"model")


def test_a_proto_brings_its_name():
    assert source_from_model(MODEL).name == "net"
    assert source_from_model(onnx.ModelProto()).name == "model"
    assert source_from_model(MODEL, "mine").name == "mine"
    assert onnx.load_model_from_string(source_from_model(MODEL).read()) == MODEL


@pytest.mark.parametrize(("name", "said"), [("none.onnx", r"none\.onnx does not exist"), (".", "is a folder")])
def test_a_path_to_nothing(tmp_path, name, said):
    with pytest.raises(FileNotFoundError, match=rf"{said}\. Expected the path of an \.onnx file"):
        source_from_model(tmp_path / name)


@pytest.mark.parametrize(("model", "kind"), [(3, "int"), (None, "NoneType"), ([], "list"), (object(), "object")])
def test_what_is_no_model(model, kind):
    with pytest.raises(TypeError, match=rf"A model is a path, bytes, .*: got {kind}\."):
        source_from_model(model)


def test_a_file_that_has_gone(path):
    source = source_from_model(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source.read()


def test_nodes_of_subgraphs_and_functions_count_and_constants_apart():
    """Add, If, Mul, local.twice and the Add inside it; one initializer and two Constant nodes."""
    assert count_nodes(MODEL) == NodeCounts(nodes=5, constants=3)
    assert count_nodes(onnx.ModelProto()) == NodeCounts(nodes=0, constants=0)


LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_counting_a_file_counts_what_loading_it_counts(path):
    graph = onnx.load(path).graph
    constant_nodes = sum(node.op_type == "Constant" for node in graph.node)
    expected = NodeCounts(nodes=len(graph.node) - constant_nodes, constants=len(graph.initializer) + constant_nodes)
    assert count_nodes(source_from_model(path).read()) == expected


@pytest.mark.parametrize("data", [b"hello world, no model", MODEL.SerializeToString()[:-3], b"\xff" * 30])
def test_what_is_no_model_is_said(data):
    with pytest.raises(ValueError, match="no ONNX model"):
        count_nodes(data)


def test_an_empty_file_is_no_error_here(tmp_path):
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert source_from_model(tmp_path / "empty.onnx").read() == b""


def test_the_hash_is_sha256():
    assert sha256_of(b"abc") == hashlib.sha256(b"abc").hexdigest()
