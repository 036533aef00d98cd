"""lab/slow: what is recorded is what the builder says today; the lessons' claims about INT8 engines hold in it."""

import numpy as np
import onnx
import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.ort import OptimizationLevel, OrtSession
from trtlab.lab.builds import Builds, behind_convolutions, engines, residual_blocks, why_slow

pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def cases() -> Builds:
    return why_slow()


def test_int8_in_the_right_places_takes_more_kernels_and_moves_more_bytes_than_fp16(cases):
    rows = {one.name: one for one in cases.rows}
    half, right = rows["FP16"], rows["INT8, Q/DQ where they belong"]
    assert (half.products, right.products) == (("Half -> Half",), ("Int8 -> Float",))
    assert right.weights_bytes < 0.6 * half.weights_bytes
    assert right.kernels > half.kernels
    assert right.moved_bytes > half.moved_bytes
    assert rows["the same, weights per tensor"].moved_bytes < right.moved_bytes


def test_what_is_misplaced_splits_kernels_and_leaves_convolutions_as_they_were(cases):
    rows = {one.name: one for one in cases.rows}
    wrong, odd, half = rows["Q/DQ between Conv and ReLU alone"], rows["FP16, 63 channels"], rows["FP16"]
    assert wrong.products == ("Half -> Half",)
    assert min(wrong.generated, odd.generated) > half.generated
    assert min(wrong.moved_bytes, odd.moved_bytes) > half.moved_bytes


def test_the_recordings_say_what_the_builder_says(cases):
    assert recordings.load(Builds, "why-slow").rows == cases.rows
    found = engines("digits")
    assert recordings.load(Builds, "engines-digits").rows == found.rows
    sizes = {one.name: one.weights_bytes for one in found.rows}
    assert sizes["INT8"] < sizes["FP16"] < sizes["FP32"]


def test_without_a_compiler_the_recording_answers(monkeypatch):
    def missing(*_, **__):
        raise CompilerMissing("None is installed.", hint="install one")

    monkeypatch.setattr("trtlab.engine.nvidia.explain", missing)
    assert why_slow() == recordings.load(Builds, "why-slow")
    assert engines("depthwise").provenance.origin == Origin.RECORDED


def test_pairs_behind_convolutions_are_all_that_reads_them_and_round_as_numpy_does():
    made = behind_convolutions(residual_blocks(8), threshold=0.5)
    convolutions = {node.output[0] for node in made.graph.node if node.op_type == "Conv"}
    assert len(convolutions) == 4
    assert {n.op_type for n in made.graph.node if convolutions & set(n.input)} == {"QuantizeLinear"}
    (relu,) = (node for node in made.graph.node if node.name == "block1_relu")
    made.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in ("c1", relu.input[0]))
    x = np.random.default_rng(0).standard_normal((1, 8, 56, 56)).astype(np.float32) / 50
    _, exact, rounded = OrtSession(made, level=OptimizationLevel.BASIC).run({"x": x}).values()
    step = np.float32(0.5 / 127)
    np.testing.assert_allclose(rounded, np.clip(np.rint(exact / step), -128, 127) * step, atol=1e-6)
    assert np.abs(exact).max() > 0.5
