"""engine/ort: ONNX Runtime answers like onnx's reference evaluator, and every wrong input gets a readable
error."""

import subprocess
import sys
import tempfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from trtlab.engine.digits import DIGITS_ONNX
from trtlab.engine.ort import (
    NodeTime,
    OptimizationLevel,
    OrtError,
    OrtInputError,
    OrtModelError,
    OrtRunError,
    OrtSession,
    TensorSpec,
    check_feeds,
    node_times,
)


@pytest.fixture(scope="module")
def session():
    return OrtSession(DIGITS_ONNX, threads=1)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)


def tiny_model(op_type="Add", axes=("rows", 2), kind=TensorProto.FLOAT):
    """y = op(a, b), both of the given shape."""
    values = [helper.make_tensor_value_info(name, kind, axes) for name in ("a", "b", "y")]
    node = helper.make_node(op_type, ["a", "b"], ["y"], name="only")
    graph = helper.make_graph([node], "tiny", values[:2], values[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_import_is_light():
    code = "import sys, trtlab.engine.ort; print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("level", OptimizationLevel)
def test_every_level_answers_like_the_reference_evaluator(level, images):
    (expected,) = ReferenceEvaluator(str(DIGITS_ONNX)).run(None, {"image": images})
    got = OrtSession(DIGITS_ONNX, level=level).run({"image": images})
    assert got.keys() == {"logits"}
    np.testing.assert_allclose(got["logits"], expected, rtol=1e-4, atol=1e-4)


def test_levels_are_named_as_onnxruntime_names_them():
    import onnxruntime

    for level in OptimizationLevel:
        assert hasattr(onnxruntime.GraphOptimizationLevel, level.value)


def test_path_bytes_and_proto_are_the_same_model(images):
    sources = (DIGITS_ONNX, str(DIGITS_ONNX), DIGITS_ONNX.read_bytes(), onnx.load(DIGITS_ONNX))
    answers = [OrtSession(source).run({"image": images})["logits"] for source in sources]
    assert all(np.array_equal(answers[0], answer) for answer in answers)


def test_inputs_and_outputs_are_described(session):
    assert session.inputs == (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),)
    assert session.outputs == (TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),)
    assert str(session.inputs[0]) == "image float32[batch, 1, 8, 8]"


def test_higher_levels_leave_fewer_nodes():
    def nodes(level):
        return len(OrtSession(DIGITS_ONNX, level=level).optimized_model().graph.node)

    counts = [nodes(level) for level in OptimizationLevel]
    assert counts[0] == len(onnx.load(DIGITS_ONNX).graph.node)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[2]


def test_optimized_model_of_basic_still_passes_the_checker():
    onnx.checker.check_model(OrtSession(DIGITS_ONNX, level=OptimizationLevel.BASIC).optimized_model())


def test_profile_times_every_node_and_leaves_no_files(images, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    session = OrtSession(DIGITS_ONNX, level=OptimizationLevel.DISABLE_ALL, threads=1)
    times = session.profile({"image": images}, repeats=4, warmup=2)
    assert [time.name for time in times] == [node.name for node in onnx.load(DIGITS_ONNX).graph.node]
    assert all(time.runs == 4 and time.provider == "CPUExecutionProvider" for time in times)
    assert all(time.mean_us >= 0 and time.median_us >= 0 for time in times)
    assert {time.op_type for time in times} >= {"Conv", "BatchNormalization", "Gemm"}
    assert not list(tmp_path.iterdir())


def test_node_times_by_hand():
    """Two recorded runs of three: the slow first one is warm-up. The fence and session events are not
    nodes."""

    def event(name, duration_us, category="Node"):
        facts = {"op_name": "Conv", "provider": "CPU", "node_index": "0"}
        return {"cat": category, "name": name, "dur": duration_us, "args": facts}

    events = [event("conv_kernel_time", duration) for duration in (900, 10, 20)]
    events += [event("conv_fence_before", 5), event("model_run", 70, category="Session")]
    assert node_times(events, recorded_share=2 / 3) == (
        NodeTime(name="conv", op_type="Conv", provider="CPU", runs=2, mean_us=15.0, median_us=15.0),
    )


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, "no input 'picture': expected image float32"),
        ({}, "missing input 'image'.*got nothing"),
        ({"image": np.zeros((1, 1, 8, 8))}, "wrong dtype: expected float32, got float64"),
        ({"image": np.zeros((1, 1, 8, 8), ">f4")}, "wrong dtype: expected float32, got >f4"),
        ({"image": np.zeros((1, 8, 8), np.float32)}, r"wrong shape: expected image .* got \[1, 8, 8\]"),
        ({"image": np.zeros((1, 3, 8, 8), np.float32)}, r"wrong shape: .* got \[1, 3, 8, 8\]"),
        ({"image": [[0.0]]}, "takes a numpy array: .* got list"),
        ({"image": None}, "got NoneType"),
    ],
)
def test_wrong_feeds_are_refused_and_the_session_goes_on(session, images, feeds, message):
    with pytest.raises(OrtInputError, match=message):
        session.run(feeds)
    assert session.run({"image": images})["logits"].shape == (3, 10)


def test_arrays_need_not_be_contiguous_or_writable(session, images):
    turned = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    turned.flags.writeable = False
    np.testing.assert_array_equal(session.run({"image": turned})["logits"], session.run({"image": images})["logits"])


def test_failure_while_running_is_typed_and_the_session_goes_on(capfd):
    session = OrtSession(tiny_model())
    with pytest.raises(OrtRunError, match=r"failed while running.*agree on their open axes"):
        session.run({"a": np.ones((3, 2), np.float32), "b": np.ones((5, 2), np.float32)})
    ones = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(session.run({"a": ones, "b": ones})["y"], ones + ones)
    assert capfd.readouterr().err == ""


def test_type_that_numpy_lacks_is_refused_by_name():
    spec = TensorSpec(name="a", dtype="tensor(bfloat16)", shape=("rows", 2))
    with pytest.raises(OrtInputError, match=r"'a' is tensor\(bfloat16\), which numpy cannot hold"):
        check_feeds((spec,), {"a": np.ones((1, 2), np.float32)})


def test_strings_are_accepted_where_the_model_takes_them():
    spec = TensorSpec(name="words", dtype="object", shape=(2,))
    check_feeds((spec,), {"words": np.array(["a", "b"])})


@pytest.mark.parametrize("broken", [b"", b"hello", b"\x08" * 100, DIGITS_ONNX.read_bytes()[:5000], tiny_model("Bogus")])
def test_broken_models_are_refused(broken, capfd):
    with pytest.raises(OrtModelError, match="cannot load this model"):
        OrtSession(broken)
    assert capfd.readouterr().err == ""


def test_missing_file_is_named(tmp_path):
    with pytest.raises(OrtModelError, match=r"no model file at .*absent\.onnx"):
        OrtSession(tmp_path / "absent.onnx")


def test_wrong_kind_of_model():
    with pytest.raises(TypeError, match=r"path, bytes or onnx\.ModelProto: got int"):
        OrtSession(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "ALL"}, "one of DISABLE_ALL, BASIC, EXTENDED, ALL: got 'ALL'"),
        ({"threads": 0}, "got threads=0"),
        ({"providers": ("MoonExecutionProvider",)}, "no provider 'MoonExecutionProvider': expected some of"),
        ({"providers": ()}, "no provider without a name"),
    ],
)
def test_options_it_does_not_have(options, message):
    with pytest.raises(ValueError, match=message):
        OrtSession(DIGITS_ONNX, **options)


def test_profile_needs_a_run(session, images):
    with pytest.raises(ValueError, match="got repeats=0"):
        session.profile({"image": images}, repeats=0)


def test_errors_share_a_base():
    assert all(issubclass(kind, OrtError) for kind in (OrtModelError, OrtInputError, OrtRunError))
