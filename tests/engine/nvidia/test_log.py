"""engine/nvidia/log: the reader of the builder's log, on lines as NVIDIA prints them and on damaged ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtlab.engine.nvidia import log
from trtlab.engine.nvidia.report import LogLine

TENSOR = (
    "{{ Name: {}, Dimensions: [1,3,8,8], Strides: [192,64,8,1], StrideOrder: [3,2,1,0], "
    "Datatype: {}, Format: (Linear) Row major linear format }}"
)
X, Y = TENSOR.format("x", "Float"), TENSOR.format("y", "Half")
STEP = (
    f"Name: conv1_myl0_1, LayerType: correlation, Inputs: [ {X}, {X}], Constants: [ {X}], Outputs: [ {Y}], "
    "TacticName: __myelin_CASK_STUB, StreamId: 2, "
    "Metadata: [ONNX Layer: conv1]\x1f[ONNX Layer: bn1]\x1e[ONNX Layer: conv1]"
)
SIGNAL = (
    "Name: signal_1, LayerType: signal, Inputs: [], Constants: [], Outputs: [], "
    "TacticName: , StreamId: 0, EventId: 4, Metadata: "
)
JUMP = (
    f"Name: j, LayerType: cjmp, Inputs: [ {X}], Constants: [], Outputs: [], "
    "TacticName: , StreamId: 0, JumpTargetThen: a, "
    "JumpTargetElse: <EXIT>, Metadata: [ONNX Layer: if]"
)


def listing(*steps):
    text = "\n".join(["Layers:", *steps, "", "I/O Tensors:", "", "Name: x, Dimensions: [1]"])
    return [LogLine(severity="VERBOSE", text=text)]


def test_a_step_is_read_whole():
    (step,), unread = log.steps_from_log(listing(STEP))
    assert unread == ()
    assert (step.name, step.type, step.tactic) == ("conv1_myl0_1", "correlation", "__myelin_CASK_STUB")
    assert (step.stream, step.event, step.onnx_nodes, step.dtype) == (2, None, ("conv1", "bn1"), "Half")
    assert [tensor.name for tensor in step.inputs + step.constants + step.outputs] == ["x", "x", "x", "y"]
    x = step.inputs[0]
    assert (x.shape, x.strides, x.format) == ((1, 3, 8, 8), (192, 64, 8, 1), "(Linear) Row major linear format")


COPY = (
    "Name: [ShapeHostToDeviceCopy 0] [profile 1], LayerType: ShapeHostToDevice, Inputs: [], Outputs: [ { Name: z, "
    "Location: Device, Dimensions: [2], Datatype: Int64, Format: Format not available due to dynamic shapes }], "
    "ParameterType: ShapeH2D, shapeValues0: [-4, 4], TacticValue: 0x0000000000000000, StreamId: 0, Metadata: "
)


def test_copies_of_shapes_signals_and_jumps_have_other_fields_and_launch_nothing():
    (copy, signal, jump), unread = log.steps_from_log(listing(COPY, SIGNAL, JUMP))
    assert unread == ()
    assert not any(step.is_launch for step in (copy, signal, jump))
    assert (copy.tactic, copy.constants, copy.outputs[0].strides) == ("", (), None)
    assert (signal.event, signal.dtype, jump.onnx_nodes) == (4, "", ("if",))


UNKNOWN = {
    "a field": COPY.replace("ParameterType", "NobodyKnows"),
    "a field more": STEP.replace(", StreamId", ", Colour: [red], StreamId"),
    "a field twice": STEP.replace("StreamId: 2", "StreamId: 2, StreamId: 3"),
    "a field less": STEP.replace(", StreamId: 2", ""),
    "a form of tensors": STEP.replace("Datatype: Half, ", ""),
    "a form of numbers": STEP.replace("StreamId: 2", "StreamId: two"),
    "a kind of line": "Weights: 12 of 13 are streamed",
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_the_reader_does_not_know_is_kept_and_the_others_are_read(kind):
    steps, unread = log.steps_from_log(listing(SIGNAL, UNKNOWN[kind], STEP))
    assert [step.type for step in steps] == ["signal", "correlation"]
    assert unread == (UNKNOWN[kind],)


def test_a_log_without_a_list_gives_nothing():
    assert log.steps_from_log([LogLine(severity="INFO", text="Layers: none")]) == ((), ())
    assert log.steps_from_log([]) == ((), ())


@settings(max_examples=30)
@given(st.text(max_size=200), st.integers(min_value=0, max_value=len(STEP)))
def test_nothing_in_a_list_raises(noise, position):
    steps, unread = log.steps_from_log(listing(STEP[:position] + noise + STEP[position:]))
    assert steps or unread


@pytest.mark.parametrize(
    ("metadata", "nodes"),
    [
        ("", ()), ("[ONNX Layer: a]", ("a",)), ("[ONNX Layer: a]\x1f[ONNX Layer: b]\x1e[ONNX Layer: a]", ("a", "b")),
        ("[ONNX Layer: a][ONNX Layer: b]", ("a", "b")),
        ("[ONNX Layer: a]b]\x1f[ONNX Layer: c]", ("a]b", "c")), ("[Other: a]", ()),
    ],
)  # fmt: skip
def test_node_names_in_metadata(metadata, nodes):
    assert log.onnx_nodes_from_metadata(metadata) == nodes


def test_memory_figures_are_the_largest():
    texts = [f"Total Activation Memory: {size} bytes" for size in (10, 30, 20)]
    texts += [
        "Total Weights Memory: 7 bytes",
        "Max Scratch Memory: 0 bytes",
        "Total Host Persistent Memory: 1 bytes of 2",
    ]
    figures = log.memory_from_log([LogLine(severity="VERBOSE", text=text) for text in texts])
    assert figures == {"activation_bytes": 30, "weights_bytes": 7, "scratch_bytes": 0, "host_persistent_bytes": 1}


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('creator && "Plugin not found, are the plugin name, version, and namespace correct?"',
         "Plugin not found, are the plugin name, version, and namespace correct"),
        ('(antialias == 0) && "Antialiasing is not supported currently."', "Antialiasing is not supported currently"),
        ("IBuilder::build: Error Code 4: API Usage Error (Network has no outputs.)", "Network has no outputs"),
        ("Something failed. In build at /a/b.cpp:12", "Something failed"),
        ("Real reason\nCUDA driver version is insufficient for CUDA runtime version", "Real reason"),
    ],
)  # fmt: skip
def test_messages_become_readable(text, plain):
    assert log.readable(text) == plain


def test_failures_are_errors_once_and_without_the_spurious():
    said = {
        "broken": "ERROR",
        "[checkMacros.cpp::catchCudaError::231] Error Code 1: Cuda Runtime (cudaError 35)": "ERROR",
        "only a warning": "WARNING",
        "worse": "INTERNAL_ERROR",
    }
    lines = [LogLine(severity=severity, text=text) for text, severity in said.items()]
    assert log.failures(lines * 2) == ("broken", "worse")
