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


def test_neither_the_form_of_a_model_nor_how_an_array_lies_in_memory_makes_a_difference(session, images, expected):
    """Neither strides, nor a lock, nor a byte order that is not this machine's."""
    turned = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    turned.flags.writeable = False
    sources = (str(DIGITS_ONNX), DIGITS_ONNX.read_bytes(), onnx.load(DIGITS_ONNX))
    answers = [session.run({"image": array}) for array in (turned, images.astype(images.dtype.newbyteorder()))]
    for answer in [*answers, *(OrtSession(source, threads=1).run({"image": images}) for source in sources)]:
        np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, "picture"),
        ({}, "missing"),
        ({"image": np.zeros((1, 1, 8, 8))}, "double"),
        ({"image": np.zeros((1, 3, 8, 8), np.float32)}, "Got: 3 Expected: 1"),
    ],
)
def test_wrong_feeds_are_refused_quietly_and_the_session_goes_on(session, images, feeds, said, capfd):
    with pytest.raises(OrtError) as refused:
        session.run(feeds)
    assert said in str(refused.value)
    assert "feed numpy arrays image tensor(float) ['batch', 1, 8, 8]" in str(refused.value)
    assert session.run({"image": images})["logits"].shape == (3, 10)
    assert capfd.readouterr().err == ""


BOGUS = '<ir_version: 10, opset_import: ["": 18]> g (float[2] a) => (float[2] y) { y = Bogus (a) }'


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"", ""), (b"\x08" * 100, ""), (DIGITS_ONNX.read_bytes()[:5000], ""),
        (onnx.parser.parse_model(BOGUS), "Bogus"), ("absent.onnx", "absent.onnx"),
    ],
)  # fmt: skip
def test_broken_models_are_refused_quietly(broken, said, capfd):
    with pytest.raises(OrtError) as refused:
        OrtSession(broken)
    assert said in str(refused.value)
    assert capfd.readouterr().err == ""
