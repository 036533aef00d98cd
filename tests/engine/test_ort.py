"""engine/ort: ONNX Runtime answers like onnx's reference evaluator, and what it refuses gets a readable error."""

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from trtlab.engine.networks import DIGITS_ONNX
from trtlab.engine.ort import OptimizationLevel, OrtError, OrtSession


@pytest.fixture(scope="module")
def session():
    return OrtSession(DIGITS_ONNX, threads=1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def expected(images):
    return ReferenceEvaluator(str(DIGITS_ONNX)).run(None, {"image": images})[0]


def tiny_model(op_type="Add"):
    """y = op(a, b)."""
    head, inputs = '<ir_version: 10, opset_import: ["": 18]>', "(float[n,2] a, float[n,2] b)"
    text = f"{head} g {inputs} => (float[n,2] y) {{ y = {op_type} (a, b) }}"
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("level", OptimizationLevel)
def test_every_level_answers_like_the_reference_evaluator(level, images, expected):
    import onnxruntime

    assert hasattr(onnxruntime.GraphOptimizationLevel, level.value)
    got = OrtSession(DIGITS_ONNX, level=level).run({"image": images})
    assert got.keys() == {"logits"}
    np.testing.assert_allclose(got["logits"], expected, rtol=1e-4, atol=1e-4)


def test_higher_levels_leave_fewer_nodes():
    left = [OrtSession(DIGITS_ONNX, level=level).optimized_model() for level in OptimizationLevel]
    counts = [len(model.graph.node) for model in left]
    assert counts[0] == len(onnx.load(DIGITS_ONNX).graph.node) > counts[1] > counts[2] >= counts[3]
    onnx.checker.check_model(left[1])  # BASIC keeps to standard operators


def test_any_form_of_a_model_will_do(session, images):
    for source in (str(DIGITS_ONNX), DIGITS_ONNX.read_bytes(), onnx.load(DIGITS_ONNX)):
        got = OrtSession(source, threads=1).run({"image": images})
        np.testing.assert_array_equal(got["logits"], session.run({"image": images})["logits"])


def test_how_an_array_lies_in_memory_makes_no_difference(session, images, expected):
    """Neither strides, nor a lock, nor a byte order that is not this machine's."""
    turned = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    turned.flags.writeable = False
    for array in (turned, images.astype(images.dtype.newbyteorder())):
        np.testing.assert_allclose(session.run({"image": array})["logits"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, "picture"),
        ({}, "missing"),
        ({"image": np.zeros((1, 1, 8, 8), np.float32), "more": np.zeros(1, np.float32)}, "more"),
        ({"image": np.zeros((1, 1, 8, 8))}, "double"),
        ({"image": np.zeros((1, 3, 8, 8), np.float32)}, "Got: 3 Expected: 1"),
    ],
)
def test_wrong_feeds_are_refused_and_the_session_goes_on(session, images, feeds, said):
    with pytest.raises(OrtError) as refused:
        session.run(feeds)
    assert said in str(refused.value)
    assert "feed numpy arrays image tensor(float) ['batch', 1, 8, 8]" in str(refused.value)
    assert session.run({"image": images})["logits"].shape == (3, 10)


def test_a_failure_while_running_is_typed_and_quiet(capfd):
    session, ones = OrtSession(tiny_model()), np.ones((3, 2), np.float32)
    with pytest.raises(OrtError, match=r"a tensor\(float\) \['n', 2\]"):
        session.run({"a": ones, "b": np.ones((5, 2), np.float32)})
    np.testing.assert_array_equal(session.run({"a": ones, "b": ones})["y"], ones + ones)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "broken", [b"", b"hello", b"\x08" * 100, DIGITS_ONNX.read_bytes()[:5000], tiny_model("Bogus"), "absent.onnx"]
)
def test_broken_models_are_refused_quietly(broken, capfd):
    with pytest.raises(OrtError) as refused:
        OrtSession(broken)
    assert isinstance(broken, bytes) or any(word in str(refused.value) for word in ("Bogus", "absent.onnx"))
    assert capfd.readouterr().err == ""
