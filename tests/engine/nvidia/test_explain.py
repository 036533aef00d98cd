"""engine/nvidia/explain on the real tensorrt_rtx: what its compiler does, and that the report says so."""

import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from trtlab.engine.measure import Origin
from trtlab.engine.nvidia.errors import BuildWarning, ModelError, ParseError, ProfileError, UnsupportedTarget
from trtlab.engine.nvidia.explain import normalise_profiles, normalise_targets
from trtlab.engine.nvidia.worker import POOL

from . import onnx_models as models
from .rtx import build, merged, needs_rtx

pytestmark = needs_rtx

IMAGES = {"image": ((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))}


@pytest.fixture(scope="module")
def convs():
    """Conv, BatchNormalization, Relu, Conv: built once, for the tests that only read."""
    return build(models.conv_bn_relu())


@pytest.fixture(scope="module")
def pointwise():
    return build(models.pointwise())


def types_of(report):
    return {kernel.type for kernel in report.kernels}


# --- what the compiler does ------------------------------------------------------------------------------------------


def test_two_builds_give_the_same_bytes(convs):
    second = build(models.conv_bn_relu())
    assert convs.plan == second.plan
    assert convs.plan_size_bytes == len(convs.plan) > 1000
    assert convs.steps == second.steps
    assert len(convs.memory) >= 5
    assert convs.weights_bytes >= 2 * 16 * 16 * 9 * 4
    versions = dict(convs.provenance.versions)
    assert (convs.provenance.origin, versions["onnx"]) == (Origin.LIVE, onnx.__version__)
    assert versions["tensorrt-rtx"].startswith(convs.compiler_version)
    cleared = build(models.conv_bn_relu(), clear_flags=["TF32"])
    assert (convs.flags, cleared.flags) == (("TF32",), ())
    assert cleared.plan != convs.plan


def test_kernels_have_nodes_streams_and_tensors_with_strides_in_elements_and_synchronisation_is_no_kernel(pointwise):
    (whole,) = pointwise.kernels
    assert whole.onnx_nodes == ("mul", "add", "relu")
    assert sorted(tensor.name[0] for tensor in whole.inputs) == ["a", "b", "c"]
    assert {(tensor.shape, tensor.strides) for tensor in whole.inputs + whole.outputs} == {((8, 64), (64, 1))}
    report = build(models.parallel_convs())
    assert {kernel.stream for kernel in report.kernels} == {0, 1, 2}
    assert types_of(report).isdisjoint({"signal", "wait"})
    events = [{step.event for step in report.steps if step.type == kind} for kind in ("signal", "wait")]
    assert events[0] == events[1] != set()
    assert None not in events[0]
    into_y = [tensor for kernel in report.kernels for tensor in kernel.outputs if tensor.name.startswith("y")]
    assert {(t.shape, t.strides[0]) for t in into_y} == {((1, 16, 64, 64), 48 * 64 * 64)}  # the concatenation's stride


def test_dynamic_shapes_with_two_profiles():
    report = build(models.dynamic_conv(), profiles=[IMAGES] * 2)
    assert report.inputs[0].shape == (-1, 3, 8, 8)
    assert [profile.shapes for profile in report.profiles] == [(("image", *IMAGES["image"]),)] * 2
    assert merged(report) == [("conv1", "relu1")] * 2  # each profile has kernels of its own
    assert [len(group) for group in report.kernels_by_profile()] == [len(report.kernels) // 2] * 2
    assert [step.type for step in report.steps].count("shape_call") == 2
    assert "shape_call" not in types_of(report)


CORPUS = models.corpus()
HOST = {"ShapeHostToDevice", "DeviceToShapeHost", "TrainStation"}
WAITS = {
    "shape as output": {"ShapeHostToDevice"},
    "branches of other sizes": {"DeviceToShapeHost", "TrainStation", "cjmp"},
}


@pytest.mark.parametrize("name", CORPUS)
def test_every_line_of_every_kind_is_read(name):
    """A warning of an unread line would fail this test and any other that builds."""
    model, profiles = CORPUS[name]
    report = build(model, profiles=profiles)
    (listing,) = [line.text for line in report.log if line.text.startswith("Layers:\n")]
    steps = listing.split("\nI/O Tensors:")[0].strip().split("\n")[1:]
    assert len(steps) == len(report.steps) > 0
    tensors = [tensor for step in report.steps for tensor in (*step.inputs, *step.constants, *step.outputs)]
    assert len(tensors) == sum(step.count("{ Name: ") for step in steps)
    assert types_of(report).isdisjoint(HOST | {"jmp", "cjmp"})
    if name in WAITS:
        assert {step.type for step in report.steps} >= WAITS[name]


def test_an_unread_line_is_said_at_once(monkeypatch, convs):
    answer = replace(convs, unread_lines=("Name: ?, LayerType: new",)), b"", ()
    monkeypatch.setattr(POOL, "ask", lambda *_arguments, **_options: answer)
    with pytest.warns(BuildWarning, match=r"1 steps .* the first: Name: \?, LayerType: new\. .*report\.unread_lines"):
        build(models.pointwise())


# --- targets and profiles as arguments -------------------------------------------------------------------------------


def test_targets_give_different_plans_and_are_reported(convs):
    others = [build(models.conv_bn_relu(), target) for target in ("portable", ("SM86", "SM89"))]
    assert [report.targets for report in others] == [("portable",), ("SM86", "SM89")]
    assert len({report.plan_sha256 for report in (convs, *others)}) == 3


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sm_89", ("SM89",)), (8.9, ("SM89",)), ("12.0", ("SM120",)), ("Portable", ("portable",)), (None, ("SM89",)),
        (89, ("SM89",)), ("SM86, SM89", ("SM86", "SM89")), (["8.6", "SM86", "SM89"], ("SM86", "SM89")),
    ],
)  # fmt: skip
def test_targets_are_understood(written, meant):
    assert normalise_targets(written, "tensorrt_rtx") == meant
    assert normalise_targets(None, "tensorrt") == ()  # it builds for the GPU that it runs on


@pytest.mark.parametrize("target", ["Ada", "", "SM8999"])
def test_a_target_that_is_none(target):
    with pytest.raises(UnsupportedTarget, match="Expected a compute capability such as SM89"):
        normalise_targets(target, "tensorrt_rtx")


@pytest.mark.parametrize("shapes", [None, ((1,), (2,)), (1, 2, 3), (("a",), ("b",), ("c",))])
def test_a_profile_is_three_shapes(shapes):
    for profiles in ({"x": shapes}, 5):
        with pytest.raises(ProfileError, match=r"profiles is (\{'x': .*|5)\. Expected \{input: \(minimum"):
            normalise_profiles(profiles)
    assert normalise_profiles(None) == normalise_profiles({}) == normalise_profiles([]) == ()


# --- ways in ---------------------------------------------------------------------------------------------------------


def test_path_bytes_and_proto_are_the_same_model_and_a_torch_module_is_exported_first(tmp_path, pointwise):
    path = tmp_path / "three ways.onnx"
    path.write_bytes(models.pointwise().SerializeToString())
    reports = [pointwise, build(str(path)), build(path.read_bytes(), name="mine")]
    assert [report.model_name for report in reports] == ["g", "three ways", "mine"]
    assert len({(report.model_sha256, report.plan_sha256, report.steps) for report in reports}) == 1
    report = build(torch.nn.ReLU(), example_inputs=(torch.ones(2, 2),))
    assert (report.model_name, len(report.kernels)) == ("ReLU", 1)


def test_the_cache_of_hugging_face_is_links(tmp_path, convs):
    """snapshots/1/model.onnx and its weights are links to blobs under other names."""
    model, data = models.external_weights()
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for blob, name, content in (("1f", "model.onnx", model.SerializeToString()), ("2e", "weights.bin", data)):
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    report = build(snapshot / "model.onnx")
    assert (report.model_name, report.steps, report.weights_bytes) == ("model", convs.steps, convs.weights_bytes)
    (blobs / "2e").unlink()
    with pytest.raises(ModelError, match=r"'w' stand in .*weights\.bin, which does not exist.*weight files beside it"):
        build(snapshot / "model.onnx")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (3, "got int"), ([b"a"], "got list"), ("/no/such.onnx", r"/no/such\.onnx does not exist"),
        ("/", "/ is a folder"), (b"", "is empty: 0 bytes"), ("/dev/zero", "is no plain file|no regular file"),
        (np.random.default_rng(0).bytes(1000), r"not valid ONNX; onnx\.checker says"),
        (models.make("g (float[1, 8] x) => () {}"), "computes nothing"),
        (torch.nn.Linear(2, 2), r"Linear .*Pass example_inputs"),
    ],
    ids=["int", "list", "no file", "folder", "empty", "endless", "noise", "no output", "torch"],
)  # fmt: skip
def test_what_is_no_model(model, said):
    with pytest.raises(ModelError, match=said):
        build(model)


def test_a_file_without_an_end_or_content(tmp_path):
    pipe, empty = tmp_path / "pipe.onnx", tmp_path / "empty.onnx"
    os.mkfifo(pipe)
    empty.touch()
    for path, said in ((pipe, "is no plain file|no regular file"), (empty, r"empty\.onnx is empty: 0 bytes")):
        with pytest.raises(ModelError, match=said):
            build(path)


def test_parsing_alone_gives_layers_and_no_plan():
    report = build(models.qdq_conv(), stop_after="parse")
    assert ("conv1",) in [layer.onnx_nodes for layer in report.layers]
    assert (report.onnx_nodes, report.onnx_constants) == (4, 5)  # constants are counted apart
    assert report.layer_counts[1] > 0
    assert (report.plan, report.kernels, report.unread_lines) == (b"", (), ())
    with pytest.raises(KeyError, match=r"'build'.* check, parse, configure"):
        report.phase_seconds("build")


# --- odd names -------------------------------------------------------------------------------------------------------

ODD = {
    "brackets": "][}{]) [ONNX Layer: other], LayerType: x, Inputs: [",
    "the end of the list": "a\n\nI/O Tensors:\n\nName: b",
    "separators": "a\x1fb\x1ec",
    "long unicode": "卷积 🙂" * 1000,
    "empty": "",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_node_names_are_read_like_any_other_and_forge_nothing(kind, convs):
    report = build(models.conv_bn_relu((ODD[kind], "bn1", "relu1", "conv2")))
    name = ODD[kind] or "node_of_c"
    assert report.unread_lines == ()
    assert [step.type for step in report.steps] == [step.type for step in convs.steps]
    assert (name, "bn1", "relu1") in merged(report)
    assert [layer.onnx_nodes[0] for layer in report.layers] == [name, "bn1", "relu1", "conv2"]
    if kind not in ("long unicode", "empty"):  # which the build says as they are
        assert not [line for line in report.log if "Layers:" in line.text and ODD[kind] in line.text.splitlines()]


FORGED = (
    "a\nName: FORGED, LayerType: kgen, Inputs: [], Constants: [], Outputs: [], TacticName: t, StreamId: 7, Metadata: "
)


def test_odd_names_of_tensors_inputs_and_subgraphs_are_put_back():
    """Everywhere at once; names inside an If that shadow nothing must still mean the same."""
    text = models.if_else().SerializeToString()
    for number, old in enumerate((b"then_relu", b"else_neg", b"choose")):
        text = text.replace(old, (f"\n{number}" * 9)[: len(old)].encode())
    forged, name = onnx.load_model_from_string(text), FORGED + "x"
    for holder in (forged.graph, *(a.g for a in forged.graph.node[0].attribute)):
        for names in (side for node in holder.node for side in (node.input, node.output)):
            names[:] = [name if one == "x" else one for one in names]
    forged.graph.input[1].name = name
    with pytest.warns(BuildWarning, match=r"'a\\nName: FORGED.*x' 'trtlab\d_'"):
        report = build(forged)
    found, plain = ([(s.type, s.stream, s.tactic) for s in one.steps] for one in (report, build(models.if_else())))
    assert (found, report.unread_lines) == (plain, ())
    assert [tensor.name for tensor in report.inputs] == ["cond", name]
    assert name in {tensor.name for layer in report.layers for tensor in layer.inputs}


@pytest.mark.filterwarnings("ignore:The plan calls 'im. age' 'trtlab0_'")
def test_a_profile_and_an_error_speak_of_odd_names():
    model = models.dynamic_conv()
    model.graph.input[0].name = model.graph.node[0].input[0] = "im: age"
    assert build(model, profiles={"im: age": IMAGES["image"]}).kernels
    with pytest.raises(ProfileError, match=r"Pass profiles=\{'im: age': \(\(1, 3, 8, 8\)"):
        build(model)
    unknown = models.unknown_op()
    unknown.graph.node[0].name = "two\nlines, in training mode"
    with pytest.raises(ParseError, match=r"'two\\nlines, in training mode' .*no operator of this name") as caught:
        build(unknown)
    assert caught.value.details["node"] == "two\nlines, in training mode"
    data = models.single("Relu").SerializeToString()
    report = build(data.replace(b"node1", b"n\xff\xfee1"))
    assert (merged(report), report.unread_lines) == ([("n\\xff\\xfee1",)], ())


# --- progress, provenance, real networks -----------------------------------------------------------------------------


def test_phases_come_in_order_are_all_closed_and_nested():
    events, stack = [], []
    report = build(models.dynamic_conv(), profiles=IMAGES, on_progress=events.append)
    assert [e.name for e in events if e.parent is None and not e.done] == ["check", "parse", "configure", "build"]
    assert [e.seconds for e in events] == sorted(e.seconds for e in events)
    for event in events:
        if event.done:
            assert (stack.pop(), event.step) == (event.name, event.steps)
        elif event.name not in stack:  # else a step of an open phase
            assert event.parent == (stack[-1] if stack else None)
            stack.append(event.name)
    assert stack == []
    assert {phase.name for phase in report.phases} == {e.name for e in events}
    spans = {phase.name: (phase.start_s, phase.start_s + phase.seconds) for phase in report.phases}
    for phase in report.phases:
        begin, end = spans.get(phase.parent, (0, float("inf")))
        assert begin <= spans[phase.name][0] <= spans[phase.name][1] <= end


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "b\udcff.onnx"
    path.write_bytes(models.pointwise().SerializeToString())
    with pytest.raises(ModelError, match=r"no text in UTF-8\. Rename it"):
        build(path)
