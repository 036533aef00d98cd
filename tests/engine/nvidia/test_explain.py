"""engine/nvidia/explain on the real tensorrt_rtx: what its compiler does, and that the report says so."""

import contextlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import BuildTimeout, BuildWarning, ModelError, ParseError, ProfileError, UnsupportedTarget
from trtlab.engine.nvidia.explain import normalise_profiles, normalise_targets
from trtlab.engine.nvidia.worker import POOL

from . import onnx_models as models
from .rtx import build, merged, needs_rtx

pytestmark = needs_rtx

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
LIGHT = [
    FOLDER / f"light_{name}.onnx" for name in ("bvlc_alexnet", "inception_v2", "shufflenet", "squeezenet", "vgg19")
]
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


def test_the_log_holds_the_kernel_list_and_all_of_it_is_read(convs):
    report = convs
    (listing,) = [line.text for line in report.log if line.text.startswith("Layers:\n")]
    steps = listing.split("I/O Tensors:")[0]
    assert steps.count("\nName: ") == len(report.steps) > 0
    assert sum(len(step.inputs) + len(step.constants) + len(step.outputs) for step in report.steps) == steps.count(
        "{ Name: "
    )
    assert report.unread_lines == ()


def test_two_builds_give_the_same_bytes(convs):
    first, second = convs, build(models.conv_bn_relu())
    assert first.plan == second.plan
    assert first.plan_size_bytes == len(first.plan) > 1000
    assert first.steps == second.steps


@pytest.mark.parametrize(
    ("model", "groups", "start"),
    [
        (models.conv_bn_relu(), [("conv1", "bn1", "relu1"), ("conv2",)], "__myl_CorrMulAddRelu"),
        (models.pointwise(), [("mul", "add", "relu")], "__myl_MulAddRelu"),
        (models.parallel_matmuls(), [("q", "k", "v")], ""),
        (models.concat_of_inputs(), [("join",)], "__myl_Conc"),
        (models.dead_branch(), [("alive",)], ""),
        (models.attention(), [("attention1",)], "_gemm_mha"),
    ],
    ids=["vertical", "pointwise", "horizontal", "a concat of inputs is copied", "dead nodes go", "attention"],
)
def test_what_becomes_one_kernel(model, groups, start):
    report = build(model)
    assert list(dict.fromkeys(merged(report))) == groups
    assert any(kernel.name.startswith(start) for kernel in report.kernels if kernel.onnx_nodes == groups[0])
    assert report.onnx_nodes == len(model.graph.node) <= report.layer_counts[0]  # dead nodes are parsed too


def test_tensors_have_shapes_and_strides_in_elements(pointwise):
    (kernel,) = pointwise.kernels
    assert sorted(tensor.name[0] for tensor in kernel.inputs) == ["a", "b", "c"]
    assert {(tensor.shape, tensor.strides) for tensor in kernel.inputs + kernel.outputs} == {((8, 64), (64, 1))}


def test_a_marked_output_breaks_the_fusion(pointwise):
    model = models.pointwise()
    model.graph.output.append(onnx.helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, [8, 64]))
    (whole,), kernels = pointwise.kernels, build(model).kernels
    assert len(kernels) > 1 or len(kernels[0].outputs) > len(whole.outputs)


def test_parallel_convs_run_on_three_streams_and_synchronisation_is_no_kernel():
    report = build(models.parallel_convs())
    assert {kernel.stream for kernel in report.kernels} == {0, 1, 2}
    assert sorted(nodes for nodes in merged(report)) == [("conv0",), ("conv1",), ("conv2",)]
    counts = Counter(step.type for step in report.steps)
    assert counts["signal"] > 0
    assert counts["wait"] > 0
    assert types_of(report).isdisjoint({"signal", "wait"})
    assert len(report.steps) == len(report.kernels) + counts["signal"] + counts["wait"]
    events = {kind: {step.event for step in report.steps if step.type == kind} for kind in ("signal", "wait")}
    assert events["wait"] == events["signal"]
    assert None not in events["signal"]


def test_branches_write_into_the_concatenation_with_its_stride():
    report = build(models.parallel_convs())
    assert not any("join" in nodes for nodes in merged(report))
    into_y = [tensor for kernel in report.kernels for tensor in kernel.outputs if tensor.name.startswith("y")]
    assert [tensor.shape for tensor in into_y] == [(1, 16, 64, 64)] * 3
    assert {tensor.strides[0] for tensor in into_y} == {48 * 64 * 64}


@pytest.mark.parametrize("count", [1, 2])
def test_dynamic_shapes_with_profiles(count):
    report = build(models.dynamic_conv(), profiles=[IMAGES] * count)
    assert report.inputs[0].shape == (-1, 3, 8, 8)
    assert len(report.profiles) == count
    assert report.profiles[0].shapes == (("image", *IMAGES["image"]),)
    assert merged(report) == [("conv1", "relu1")] * count  # each profile has kernels of its own
    assert [step.type for step in report.steps].count("shape_call") == count
    assert "shape_call" not in types_of(report)


def test_more_auxiliary_streams_need_more_memory():
    model = models.parallel_convs(branches=4, channels=64, kernel=3)
    sizes = [build(model, max_aux_streams=count).activation_bytes for count in (0, 1, 3)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert {kernel.stream for kernel in build(model, max_aux_streams=0).kernels} == {0}


def test_tf32_is_on_until_it_is_cleared():
    kept, cleared = build(models.matmul()), build(models.matmul(), clear_flags=["TF32"])
    assert kept.flags == ("TF32",)
    assert cleared.flags == ()
    assert kept.plan != cleared.plan


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        (models.double_add(), "Float"),
        (models.matmul(), "Float"),
        (models.matmul("float16"), "Half"),
        (models.qdq_conv(), "Int8"),
        (models.fp8_matmul(), "FP8"),
    ],
    ids=["FP64", "FP32", "FP16", "INT8", "FP8"],
)
def test_a_kernel_knows_its_type(model, dtype):
    assert dtype in {kernel.dtype for kernel in build(model, target="SM89").kernels}


@pytest.mark.parametrize("model", [models.if_else(), models.loop()], ids=["If", "Loop"])
def test_control_flow_is_read_and_jumps_are_no_kernels(model):
    report = build(model)
    assert report.unread_lines == ()
    assert [step.type for step in report.steps].count("cjmp") == 1
    assert types_of(report).isdisjoint({"cjmp", "jmp"})


def test_memory_figures_come_from_the_log():
    memory = build(models.parallel_convs(branches=4, channels=64, kernel=3)).memory
    assert memory.weights_bytes >= 4 * 64 * 64 * 9 * 4
    assert memory.activation_bytes > 0
    assert memory.scratch_bytes is not None
    assert memory.host_persistent_bytes is not None
    assert memory.device_persistent_bytes is not None


CORPUS = models.corpus()
HOST = {"ShapeHostToDevice", "DeviceToShapeHost", "TrainStation"}


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
    assert types_of(report).isdisjoint(HOST)


def test_the_corpus_has_every_kind_of_step_on_the_host():
    wanted = ("shape as output", "branches of other sizes")
    found = {step.type for name in wanted for step in build(CORPUS[name][0], profiles=CORPUS[name][1]).steps}
    assert found > HOST


def test_an_unread_line_is_said_at_once(monkeypatch, convs):
    class Silent:
        def ask(self, *_arguments, **_options):
            return replace(convs, unread_lines=("Name: ?, LayerType: new",)), b""

        def new_lines(self):
            return ()

    monkeypatch.setattr(POOL, "worker", lambda _name: contextlib.nullcontext(Silent()))
    with pytest.warns(BuildWarning, match=r"1 steps .* the first: Name: \?, LayerType: new\. .*report\.unread_lines"):
        build(models.pointwise())


def long_chain(count):
    body = "\n".join(f"t{i + 1} = Relu(t{i})" for i in range(count))
    return models.make(f"g (float[4] t0) => (float[4] t{count}) {{ {body} }}")


def test_a_large_model_is_said_before_the_build_and_in_its_failures():
    with pytest.warns(BuildWarning, match=r"2,001 nodes, 0 constants and 1 graphs.* took 45 s"):
        assert build(long_chain(2001), stop_after="parse").onnx_nodes == 2001
    constants = models.make("g (float[4] x) => (float[4] y) { y = Relu(x) }", **{f"w{i}": (1,) for i in range(1001)})
    with pytest.warns(BuildWarning, match="1,001 constants"):
        build(constants, stop_after="parse")
    with (
        pytest.warns(BuildWarning, match="2,500 nodes"),
        pytest.raises(BuildTimeout, match=r"longer than timeout_s=0\.7 .*The model has 2,500 nodes"),
    ):
        build(long_chain(2500), timeout_s=0.7)


# --- targets ---------------------------------------------------------------------------------------------------------


def test_targets_give_different_plans_and_are_reported():
    plans = {}
    for target in ("SM86", "SM89", "portable", ("SM86", "SM89")):
        report = build(models.conv_bn_relu(), target)
        assert report.targets == ((target,) if isinstance(target, str) else target)
        plans[target] = report.plan_sha256
    assert len(set(plans.values())) == len(plans)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SM89", ("SM89",)), ("sm_89", ("SM89",)), ("8.9", ("SM89",)), ("89", ("SM89",)), ("sm120", ("SM120",)),
        ("12.0", ("SM120",)),
        ("SM86, SM89", ("SM86", "SM89")), (["8.6", "SM86", "SM89"], ("SM86", "SM89")), ("Portable", ("portable",)),
        (None, ("SM89",)),
    ],
)  # fmt: skip
def test_targets_are_understood(written, meant):
    assert normalise_targets(written, "tensorrt_rtx") == meant


def test_without_a_target_tensorrt_builds_for_its_own_gpu():
    assert normalise_targets(None, "tensorrt") == ()


@pytest.mark.parametrize("target", ["Ada", "", "SM", "SM8x", "SM8999"])
def test_a_target_that_is_none(target):
    with pytest.raises(UnsupportedTarget, match=r"is no target\. Expected a compute capability such as SM89 or 8\.9"):
        build(models.pointwise(), target)


# --- ways in ---------------------------------------------------------------------------------------------------------


def test_path_bytes_and_proto_are_the_same_model(tmp_path):
    model = models.pointwise()
    path = tmp_path / "three ways.onnx"
    path.write_bytes(model.SerializeToString())
    reports = [build(source) for source in (path, str(path), model.SerializeToString(), model)]
    assert [report.model_name for report in reports] == ["three ways", "three ways", "model", "g"]
    assert len({(report.model_sha256, report.plan_sha256, report.steps) for report in reports}) == 1
    assert build(model, name="mine").model_name == "mine"


def test_a_model_with_external_weights_is_loaded_by_its_path(tmp_path):
    model, data = models.external_weights()
    (tmp_path / "weights.bin").write_bytes(data)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    report = build(tmp_path / "model.onnx")
    whole = build(models.conv_bn_relu())
    assert report.steps == whole.steps
    assert report.weights_bytes == whole.weights_bytes


def test_the_cache_of_hugging_face_is_links(tmp_path):
    """snapshots/1/model.onnx and its weights are links to blobs under other names."""
    model, data = models.external_weights()
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for blob, name, content in (("1f", "model.onnx", model.SerializeToString()), ("2e", "weights.bin", data)):
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    report = build(snapshot / "model.onnx")
    assert (report.model_name, report.steps) == ("model", build(models.conv_bn_relu()).steps)
    (blobs / "2e").unlink()
    with pytest.raises(ModelError, match=r"'w' stand in .*weights\.bin, which does not exist.*weight files beside it"):
        build(snapshot / "model.onnx")


def test_a_torch_module_is_exported_first():
    module = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU())
    report = build(module, example_inputs=(torch.zeros(4, 16),))
    assert report.model_name == "Sequential"
    assert report.outputs[0].shape == (4, 8)
    assert len(report.kernels) > 0
    assert any("Relu" in node for nodes in merged(report) for node in nodes)


def test_a_torch_module_needs_example_inputs():
    with pytest.raises(ModelError, match=r"Linear is a torch module without example inputs\. Pass example_inputs"):
        build(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (3, "got int"), (None, "got NoneType"), ([b"a"], "got list"),
        ("/no/such.onnx", r"/no/such\.onnx does not exist"),
        ("/", "/ is a folder"), (b"", "is empty: 0 bytes"),
        (b"hello", r"not valid ONNX; onnx\.checker says"), (bytes(100), r"not valid ONNX; onnx\.checker says"),
        (np.random.default_rng(0).bytes(1000), r"not valid ONNX; onnx\.checker says"),
    ],
    ids=["int", "None", "list", "no file", "folder", "empty", "text", "zeros", "noise"],
)  # fmt: skip
def test_what_is_no_model(model, said):
    with pytest.raises(ModelError, match=said):
        build(model)


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_may_have_no_end_is_no_model(kind, tmp_path):
    path = tmp_path / "m.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=r"is no plain file|it is no regular file"):
        build(path)


def test_a_name_that_is_no_text_is_said(tmp_path):
    path = tmp_path / "m\udcff.onnx"
    path.write_bytes(models.pointwise().SerializeToString())
    with pytest.raises(ModelError, match=r"m\\udcff\.onnx.* is no text in UTF-8\. Rename it"):
        build(path)


def test_an_empty_file_and_an_empty_graph_are_named(tmp_path):
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match=r"empty\.onnx is empty: 0 bytes"):
        build(tmp_path / "empty.onnx")
    with pytest.raises(ModelError, match="computes nothing"):
        build(models.make("g (float[1, 8] x) => () {}"))


def test_parsing_alone_gives_layers_and_no_plan():
    report = build(models.conv_bn_relu(), stop_after="parse")
    assert report.layer_counts == (4, 0)
    assert [layer.onnx_nodes for layer in report.layers] == [("conv1",), ("bn1",), ("relu1",), ("conv2",)]
    assert report.plan == b""
    assert report.kernels == report.unread_lines == ()
    with pytest.raises(KeyError, match="no phase 'build'; this report has check, parse, configure"):
        report.phase_seconds("build")


def test_constants_are_counted_apart():
    report = build(models.qdq_conv())
    assert (report.onnx_nodes, report.onnx_constants) == (4, 5)
    compute, constants = report.layer_counts
    assert compute == sum(layer.type != "CONSTANT" for layer in report.layers)
    assert constants > 0


# --- odd names -------------------------------------------------------------------------------------------------------

ODD = {
    "commas": "a, LayerType: x, Inputs: [",
    "brackets": "][}{]) [ONNX Layer: other]",
    "newlines": "two\nlines\n",
    "the start of a step": "a\nName: b",
    "the end of the list": "a\n\nI/O Tensors:\n\nName: b",
    "separators": "a\x1fb\x1ec",
    "unicode": "Faltung – 卷积 🙂",
    "quotes": 'it\'s "quoted" \\ % {0} {name}',
    "long": "n" * 4000,
    "empty": "",
}


SAFE = ("unicode", "empty")  # what the build says as it is


@pytest.mark.parametrize("kind", ODD)
def test_odd_node_names_are_read_like_any_other_and_forge_nothing(kind, convs):
    report = build(models.conv_bn_relu((ODD[kind], "bn1", "relu1", "conv2")))
    assert report.unread_lines == ()
    assert [step.type for step in report.steps] == [step.type for step in convs.steps]
    assert (ODD[kind] or "node_of_c", "bn1", "relu1") in merged(report)
    assert [layer.onnx_nodes[:1] for layer in report.layers] == [
        (ODD[kind] or "node_of_c",),
        ("bn1",),
        ("relu1",),
        ("conv2",),
    ]
    assert (report.plan == build(models.conv_bn_relu((f"{kind}!", "bn1", "relu1", "conv2"))).plan) is False
    if kind not in SAFE:
        assert not [line for line in report.log if "Layers:" in line.text and ODD[kind] in line.text.splitlines()]


FORGED = (
    "a\nName: FORGED, LayerType: kgen, Inputs: [], Constants: [], Outputs: [], TacticName: t, StreamId: 7, Metadata: "
)


def test_odd_names_of_tensors_weights_inputs_and_subgraphs_are_put_back():
    """Everywhere at once; names inside an If that shadow nothing must still mean the same."""
    model = models.if_else()
    text = model.SerializeToString()
    names = {b"then_relu": "n", b"else_neg": "e", b"choose": "c"}
    for number, (old, _) in enumerate(names.items()):
        text = text.replace(old, (f"\n{number}" * 9)[: len(old)].encode())
    forged = onnx.load_model_from_string(text)
    for holder in (forged.graph, *(a.g for a in forged.graph.node[0].attribute)):
        for node in holder.node:
            for names_of in (node.input, node.output):
                names_of[:] = [FORGED + name if name == "x" else name for name in names_of]
    forged.graph.input[1].name = FORGED + "x"
    with pytest.warns(BuildWarning, match=r"The plan calls 'a\\nName: FORGED.*x' 'trtlab\d_'"):
        report = build(forged)
    plain = build(model)
    assert report.unread_lines == ()
    assert [(step.type, step.stream, step.tactic) for step in report.steps] == [
        (step.type, step.stream, step.tactic) for step in plain.steps
    ]
    assert [tensor.name for tensor in report.inputs] == ["cond", FORGED + "x"]
    assert FORGED + "x" in {tensor.name for layer in report.layers for tensor in layer.inputs}
    assert not [step for step in report.steps if step.name == "FORGED"]


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


def test_names_that_are_not_utf8_are_read():
    data = models.single("Relu").SerializeToString()
    assert data.count(b"node1") == 1
    report = build(data.replace(b"node1", b"n\xff\xfee1"))
    assert merged(report) == [("n\\xff\\xfee1",)]
    assert report.layers[0].onnx_nodes == ("n\\xff\\xfee1",)
    assert report.unread_lines == ()


# --- progress --------------------------------------------------------------------------------------------------------


def test_phases_come_in_order_are_all_closed_and_nested():
    events = []
    report = build(models.dynamic_conv(), profiles=IMAGES, on_progress=events.append)
    assert [e.name for e in events if e.parent is None and not e.done] == [
        "check",
        "parse",
        "configure",
        "build",
    ]
    assert [e.seconds for e in events] == sorted(e.seconds for e in events)
    stack = []
    for event in events:
        if event.done:
            assert stack.pop() == event.name
        elif event.name not in stack:  # else a step of an open phase
            assert event.parent == (stack[-1] if stack else None)
            stack.append(event.name)
    assert stack == []
    assert all(e.step == e.steps for e in events if e.done)
    assert {phase.name for phase in report.phases} == {e.name for e in events}
    assert sum(phase.parent is None for phase in report.phases) == 4


def test_phases_of_a_report_lie_inside_their_parents(convs):
    report = convs
    spans = {phase.name: (phase.start_s, phase.start_s + phase.seconds) for phase in report.phases}
    for phase in report.phases:
        start, end = spans[phase.name]
        outer_start, outer_end = spans.get(phase.parent, (0, float("inf")))
        assert outer_start <= start <= end <= outer_end
    assert [phase.start_s for phase in report.phases] == sorted(phase.start_s for phase in report.phases)
    assert report.phase_seconds("build") > 0


# --- profiles as arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [None, 3, ((1,), (2,)), (1, 2, 3), (("a",), ("b",), ("c",))])
def test_a_profile_is_three_shapes(shapes):
    with pytest.raises(ProfileError, match=r"The profile of 'x' is .* Expected three shapes"):
        normalise_profiles({"x": shapes})


def test_no_profiles_are_no_profiles():
    assert normalise_profiles(None) == normalise_profiles({}) == normalise_profiles([]) == ()


# --- provenance and real networks ------------------------------------------------------------------------------------


def test_a_build_is_live_and_says_with_what(pointwise):
    assert pointwise.provenance.origin is Origin.LIVE
    versions = dict(pointwise.provenance.versions)
    assert versions["onnx"] == onnx.__version__
    assert versions["tensorrt-rtx"].startswith(pointwise.compiler_version)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if "inception" in p.stem else []) for p in LIGHT],
)
def test_light_networks_of_the_onnx_package(path):
    report = build(path)
    named = {node for kernel in report.kernels for node in kernel.onnx_nodes}
    layers = {node for layer in report.layers for node in layer.onnx_nodes}
    assert len(report.kernels) > 0
    assert report.layer_counts[0] > 0
    assert report.unread_lines == ()
    assert named <= layers
    in_file = {node.name for node in onnx.load(path).graph.node} - {""}
    assert not in_file or named <= in_file
    assert 0 < len(report.kernels) < report.onnx_nodes
