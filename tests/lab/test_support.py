"""lab/support: the matrix of formats and GPU generations, built with the real compiler and recorded; how headers are
read, and what is recorded of them."""

import numpy as np
import onnx
import pytest

from tests.engine.nvidia.rtx import needs_rtx
from tools import record
from tools.headers import NAMES, TAGS, declared
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia.errors import CompilerMissing, ModelError, UnsupportedTarget
from trtlab.lab import support
from trtlab.lab.support import TARGETS, Declared, api_history, matrix, network, report
from trtlab.numeric import FORMATS

# Which generation is the first that takes a format; None: none does. NVIDIA's support matrix says the same where it
# has the row; SM75 has no FP32 GEMM in TensorRT for RTX.
FIRST = {
    "FP64": "SM80", "FP32": "SM80", "TF32": "SM80", "FP16": "SM75", "BF16": "SM80", "FP8_E4M3": "SM89",
    "FP8_E5M2": None, "INT8": "SM75", "INT8 with a zero point": None, "UINT8": None, "UINT8 input": "SM75",
    "INT4": "SM80", "UINT4": None,
    "FP4_E2M1": "SM120", "NF4": None, "MXFP8_E4M3": "SM89", "NVFP4": "SM120",
}  # fmt: skip
# What is stored and what the product reads; or by whom it is refused, and why.
SAID = [
    ("FP64", "SM89", "Float", ("Float", "Float")),
    ("INT4", "SM86", "Int4", ("Half", "Int4")),
    ("NVFP4", "SM120", "FP4E2M1", ("FP4E2M1", "FP4E2M1")),
    ("FP32", "SM75", "builder", "FP32 GEMM is not supported"),
    ("FP8_E4M3", "SM86", "builder", "HW-specific datatypes: fp8_e4m3"),
    ("FP8_E5M2", "SM120", "parser", "'w' is FLOAT8E5M2"),
    ("INT8 with a zero point", "SM89", "parser", "Non-zero zero point"),
]


@pytest.fixture(scope="module")
def recorded():
    return support.recorded()


def test_the_recording_is_whole_and_says_what_it_is(recorded):
    assert (recorded.formats, recorded.targets) == (tuple(FIRST), TARGETS)
    assert (recorded.provenance.origin, recorded.provenance.command) == (Origin.RECORDED, record.COMMAND)
    for cell in recorded.cells:
        assert cell.is_accepted == bool(cell.stored and cell.reads and cell.weights_bytes)
        assert cell.is_accepted != bool(cell.by)
        assert "/" not in cell.refusal


def test_a_format_is_taken_from_one_generation_on(recorded):
    for fmt, generation in FIRST.items():
        first = TARGETS.index(generation) if generation else len(TARGETS)
        accepted = [recorded.cell(fmt, target).is_accepted for target in TARGETS]
        assert accepted == [at >= first for at in range(len(TARGETS))], fmt


@needs_rtx
@pytest.mark.slow
def test_the_compiler_here_says_what_was_recorded(recorded):
    made = matrix()
    assert made.provenance.origin is Origin.LIVE
    if dict(made.provenance.versions) != dict(recorded.provenance.versions):
        pytest.skip(f"recorded with {recorded.provenance.versions}")
    assert made.cells == recorded.cells


@pytest.mark.parametrize(("fmt", "target", "who", "what"), SAID)
def test_what_is_stored_and_read_or_by_whom_it_is_refused(fmt, target, who, what, recorded):
    cell = recorded.cell(fmt, target)
    assert (cell.stored if cell.is_accepted else cell.by) == who
    assert cell.reads == what if cell.is_accepted else what in cell.refusal


def test_a_cell_says_it_in_a_line(recorded):
    assert recorded.cell("INT4", "SM80").said == "✓ Half × Int4"
    assert recorded.cell("FP4_E2M1", "SM120").said == "✓ Half × Half, stored as FP4E2M1"
    assert recorded.cell("BF16", "SM75").said.startswith("✗ Cannot compile")


@needs_rtx
def test_a_network_of_ours_that_is_broken_is_no_refusal(monkeypatch):
    broken = network("FP16")
    broken.graph.node[0].input[1] = "missing"
    monkeypatch.setattr(support, "network", lambda _fmt: broken)
    with pytest.raises(ModelError, match="missing"):
        matrix(["FP16"], "SM89")


@needs_rtx
def test_tf32_differs_by_a_flag_and_by_nothing_else():
    on, off = report("TF32", "SM89"), report("FP32", "SM89")
    assert (on.flags, off.flags) == (("TF32",), ())
    assert on.kernels == off.kernels
    assert on.plan != off.plan


def test_networks_are_valid_onnx_scales_are_one_half_and_powers_of_two_are_one():
    for fmt in set(FIRST) - {"NF4", "NVFP4", "MXFP8_E4M3"}:
        onnx.checker.check_model(network(fmt), full_check=True)
    stored = {tensor.name: tensor for fmt in ("MXFP8_E4M3", "NVFP4") for tensor in network(fmt).graph.initializer}
    assert set(FORMATS["E8M0"].decode(onnx.numpy_helper.to_array(stored["powers"])).ravel()) == {1}
    assert onnx.numpy_helper.to_array(stored["scale"]) == 0.5


def test_four_bit_codes_lie_two_to_a_byte_the_first_in_the_low_half():
    (weights,) = (tensor for tensor in network("INT4").graph.initializer if tensor.name == "w")
    first, second = np.clip(np.rint(np.random.default_rng(0).normal(size=2)), -8, 7).astype(int)
    assert weights.raw_data[0] == (first & 15) | (second & 15) << 4


def test_without_a_compiler_the_recording_answers(monkeypatch, recorded):
    def missing(*_values, **_options):
        raise CompilerMissing("none here", hint="")

    monkeypatch.setattr(support, "explain", missing)
    found = matrix(["NVFP4", "BF16"], ["SM120", "sm_75"])
    assert (found.formats, found.targets) == (("NVFP4", "BF16"), ("SM120", "SM75"))
    assert found.provenance == recorded.provenance


def test_what_is_unknown_is_named(recorded):
    with pytest.raises(KeyError, match=r"'FP7'.*FP64, FP32"):
        matrix(["FP7"])
    with pytest.raises(UnsupportedTarget, match="ninety"):
        matrix(["FP16"], "ninety")
    with pytest.raises(KeyError, match=r"format='INT8', target='SM80'; there are format='BF16', target='SM75'"):
        recorded.only(["BF16"], ["SM75"]).cell("INT8", "SM80")


# --- NVIDIA's headers -------------------------------------------------------------------------------------------------

YES, OLD, NO = Declared.YES, Declared.DEPRECATED, Declared.NO


FLAGS = "enum class F : int32_t { kFP16 TRT_DEPRECATED_ENUM = 0, kTF32 = 7 }; enum class T { kINT8 = 2 };"


@pytest.mark.parametrize(
    ("code", "name", "state"),
    [
        ("virtual bool enqueueV3(cudaStream_t stream) noexcept;", "enqueueV3", YES),
        ("bool a(); TRT_DEPRECATED bool setMaxBatchSize(int); void b();", "setMaxBatchSize", OLD),
        ("TRT_DEPRECATED bool f(int); bool f(long);", "f", YES),  # one way to call it is left
        ("bool enqueueV3(int); bool myenqueueV2(int); bool enqueueV2Fast(int);", "enqueueV2", NO),
        ("class TRT_DEPRECATED IPluginV2DynamicExt : public nvinfer1::IPluginV2Ext {", "IPluginV2DynamicExt", OLD),
        ("bool f() { return mImpl->executeV2(bindings); }", "executeV2", NO),
        ("using IPluginV3 = v_1_0::IPluginV3;", "IPluginV3", NO),
        (FLAGS, "F::kFP16", OLD), (FLAGS, "F::kTF32", YES), (FLAGS, "F::kINT8", NO), (FLAGS, "T::kINT8", YES),
    ],
)  # fmt: skip
def test_a_declaration_is_read(code, name, state):
    assert declared(code, name) is state


def test_the_history_is_complete():
    history = api_history()
    assert (history.tags, tuple(history.names), tuple(history.headers)) == (TAGS, NAMES, TAGS)
    assert all(tuple(states) == TAGS for states in history.names.values())
    assert all("NvInfer.h" in headers for headers in history.headers.values())
    assert (history.provenance.origin, history.provenance.samples) == (Origin.RECORDED, len(TAGS))
    with pytest.raises(KeyError, match=r"enqueueV2.*v12\.0.*enqueueV3.*v11\.1"):
        history.state("enqueueV2", "v12.0")
