"""engine/nvidia/compiler: what differs between tensorrt 10, tensorrt 11 and tensorrt_rtx, on small fakes.

The fakes stand for what the documentation says of each library: which names exist, and what they accept. They hold
nothing else, so a call that a library does not have is an AttributeError here too.
"""

import enum
import types

import pytest

from trtlab.engine.nvidia import (
    BuildCancelled,
    BuildError,
    ModelError,
    ParseError,
    UnsupportedTarget,
    compiler,
    describe,
)
from trtlab.engine.nvidia.report import Profile

STATIC = (1, 8)


class Severity(enum.Enum):
    ERROR = 1
    VERBOSE = 4


class Tensor:
    def __init__(self, name="x", shape=STATIC):
        self.name, self.shape, self.dtype = name, shape, types.SimpleNamespace(name="FLOAT")


class Network:
    """One Relu from x to y."""

    def __init__(self, flags):
        self.flags, self.num_inputs, self.num_outputs, self.num_layers = flags, 1, 1, 1

    def get_input(self, _index):
        return Tensor("x")

    def get_output(self, _index):
        return Tensor("y")

    def get_layer(self, _index):
        layer_type = types.SimpleNamespace(name="ACTIVATION")
        return types.SimpleNamespace(
            name="relu", type=layer_type, metadata="[ONNX Layer: relu]", num_inputs=1, num_outputs=1,
            get_input=lambda _i: Tensor("x"), get_output=lambda _i: Tensor("y"),
        )  # fmt: skip


class Config:
    """Remembers what was set; TF32 is on by default."""

    def __init__(self):
        self.flags, self.capabilities, self.limits, self.profiles = {"TF32"}, {}, {}, []

    def set_flag(self, flag):
        self.flags.add(flag.name)

    def clear_flag(self, flag):
        self.flags.discard(flag.name)

    def get_flag(self, flag):
        return flag.name in self.flags

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def set_compute_capability(self, capability, index):
        self.capabilities[index] = capability.name

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1


class Builder:
    plan = b"plan"

    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        self.network = Network(flags)
        return self.network

    def create_builder_config(self):
        self.config = Config()
        return self.config

    def create_optimization_profile(self):
        profile = {}
        return types.SimpleNamespace(set_shape=lambda name, *shapes: profile.update({name: shapes}), shapes=profile)

    def build_serialized_network(self, _network, config):
        config.progress_monitor.phase_start("Building engine", None, 2)
        go_on = config.progress_monitor.step_complete("Building engine", 1)
        config.progress_monitor.phase_finish("Building engine")
        self.logger.log(Severity.VERBOSE, "Total Activation Memory: 512 bytes")
        return self.plan if go_on else None


class Parser:
    def __init__(self, network, logger):
        self.network, self.logger, self.num_errors = network, logger, 0

    def parse(self, _model, _path):
        return True


def library(name, version, **extra):
    """A module with the names that all three libraries have, and `extra`."""
    module = types.ModuleType(name)
    common = {
        "__version__": version,
        "ILogger": type("ILogger", (), {}),
        "IProgressMonitor": type("IProgressMonitor", (), {}),
        "Builder": Builder,
        "OnnxParser": Parser,
        "ProfilingVerbosity": enum.Enum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "NONE", "DETAILED"]),
        "MemoryPoolType": enum.Enum("MemoryPoolType", ["WORKSPACE"]),
        "BuilderFlag": enum.Enum("BuilderFlag", ["TF32"]),
    }
    vars(module).update(common | extra)
    return module


def tensorrt_10():
    flags = enum.IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
    return library(
        "tensorrt", "10.13.0", NetworkDefinitionCreationFlag=flags,
        BuilderFlag=enum.Enum("BuilderFlag", ["FP16", "INT8", "BF16", "FP8", "TF32"]),
    )  # fmt: skip


def tensorrt_11():
    flags = enum.IntEnum("NetworkDefinitionCreationFlag", {"PREFER_AOT_PYTHON_PLUGINS": 2})
    return library("tensorrt", "11.4.0", NetworkDefinitionCreationFlag=flags)


def tensorrt_rtx():
    flags = enum.IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
    capability = enum.Enum("ComputeCapability", ["NONE", "CURRENT", "SM75", "SM89"])
    return library("tensorrt_rtx", "1.7.1", NetworkDefinitionCreationFlag=flags, ComputeCapability=capability)


EVERY = [tensorrt_10, tensorrt_11, tensorrt_rtx]


@pytest.fixture
def session():
    return compiler.Session(lambda _event: None, lambda: False)


@pytest.fixture(autouse=True)
def _no_checker(monkeypatch):
    monkeypatch.setattr(compiler, "check_onnx", lambda _model, _path: None)


def run(trt, session, **request):
    return compiler.run(trt, compiler.make_logger(trt), compiler.BuildRequest(**request), b"model", session)


@pytest.mark.parametrize(("make", "flags"), [(tensorrt_10, 1 << 1), (tensorrt_11, 0), (tensorrt_rtx, 0)])
def test_networks_are_strongly_typed_in_each_librarys_way(make, flags):
    trt = make()
    network, _ = compiler.parse_onnx(trt, Builder(None), compiler.make_logger(trt), b"", None)
    assert network.flags == compiler.network_flags(trt) == flags


@pytest.mark.parametrize(("make", "has"), [(tensorrt_10, False), (tensorrt_11, False), (tensorrt_rtx, True)])
def test_only_rtx_builds_for_other_gpus(make, has, session):
    trt = make()
    assert compiler.has_targets(trt) is has
    if has:
        config = compiler.configure(
            trt, Builder(None), Network(0), compiler.BuildRequest(targets=("SM89", "SM75")), None
        )
        assert config.num_compute_capabilities == 2
        assert config.capabilities == {0: "SM89", 1: "SM75"}
    else:
        with pytest.raises(UnsupportedTarget, match=r"takes no target: got SM89\. Leave target out, or pass compiler="):
            run(trt, session, targets=("SM89",))


@pytest.mark.parametrize("targets", [("portable",), ()])
def test_a_portable_plan_sets_no_capability(targets):
    trt = tensorrt_rtx()
    config = compiler.configure(trt, Builder(None), Network(0), compiler.BuildRequest(targets=targets), None)
    assert config.capabilities == {}


@pytest.mark.parametrize("target", ["SM90", "CURRENT", "NONE"])
def test_a_target_that_rtx_does_not_list(target, session):
    with pytest.raises(UnsupportedTarget, match=rf"cannot build for '{target}'\. Expected one of SM75, SM89, or"):
        run(tensorrt_rtx(), session, targets=(target,))


@pytest.mark.parametrize("make", EVERY)
def test_a_whole_build(make, session):
    facts, plan = run(make(), session, workspace_bytes=64, max_aux_streams=2)
    assert plan == b"plan"
    assert facts["flags"] == ("TF32",)
    assert [layer.onnx_nodes for layer in facts["layers"]] == [("relu",)]
    assert (facts["inputs"][0].name, facts["outputs"][0].shape) == ("x", STATIC)
    assert [phase.name for phase in session.phases] == ["check", "parse", "configure", "Building engine", "build"]
    assert [phase.parent for phase in session.phases] == [None, None, None, "build", None]
    assert session.lines[-1].severity == "VERBOSE"


def test_options_reach_the_configuration():
    trt = tensorrt_10()
    request = compiler.BuildRequest(
        workspace_bytes=64, max_aux_streams=2, set_flags=("FP16",), clear_flags=("TF32",),
        profiles=(Profile(shapes=(("x", STATIC, STATIC, STATIC),)),),
    )  # fmt: skip
    config = compiler.configure(trt, Builder(None), Network(0), request, "monitor")
    assert config.limits == {trt.MemoryPoolType.WORKSPACE: 64}
    assert config.max_aux_streams == 2
    assert config.profiling_verbosity is trt.ProfilingVerbosity.DETAILED
    assert config.progress_monitor == "monitor"
    assert describe.flag_names(trt, config) == ("FP16",)
    assert config.profiles[0].shapes == {"x": (STATIC, STATIC, STATIC)}


@pytest.mark.parametrize("make", [tensorrt_11, tensorrt_rtx])
def test_precision_flags_ended_with_tensorrt_11(make, session):
    with pytest.raises(BuildError, match=r"has no builder flag 'FP16'\. It has TF32\..*type the model instead"):
        run(make(), session, set_flags=("FP16",))


def test_cancelling_stops_the_builder(session):
    session.is_cancelled = lambda: bool(session.phases and session.phases[-1].name == "Building engine") or building
    building = False

    class Slow(Builder):
        def build_serialized_network(self, network, config):
            nonlocal building
            building = True
            return super().build_serialized_network(network, config)

    trt = tensorrt_rtx()
    trt.Builder = Slow
    with pytest.raises(BuildCancelled, match="was cancelled"):
        run(trt, session)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("something broke", BuildError),
        ("Cannot compile operation 'n' for Turing (SM75): FP32 GEMM is not supported", UnsupportedTarget),
        (None, BuildError),
    ],
)
def test_a_builder_that_gives_no_plan(session, said, kind):
    class Failing(Builder):
        def build_serialized_network(self, _network, _config):
            if said:
                self.logger.log(Severity.ERROR, said)

    trt = tensorrt_rtx()
    trt.Builder = Failing
    with pytest.raises(kind, match="The builder made no plan: ") as caught:
        run(trt, session)
    assert (said or "gave no reason") in str(caught.value)


def test_a_parser_that_gives_no_error(session):
    class Mute(Parser):
        def parse(self, _model, _path):
            self.logger.log(Severity.ERROR, "Plugin not found")
            return False

    trt = tensorrt_rtx()
    trt.OnnxParser = Mute
    with pytest.raises(ParseError, match=r"refused the model: Plugin not found\. TensorRT has no operator"):
        run(trt, session)


def test_a_parser_that_accepts_nonsense(session):
    """`parse(b"hello")` returns True on the real library, with a network of nothing."""

    class Empty(Parser):
        def parse(self, _model, _path):
            self.network.num_outputs = 0
            return True

    trt = tensorrt_rtx()
    trt.OnnxParser = Empty
    with pytest.raises(ModelError, match="The model computes nothing"):
        run(trt, session)


def test_tensorrt_tells_its_kernels_through_the_inspector():
    trt = tensorrt_11()
    trt.LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE", "JSON"])

    class Engine:
        def create_engine_inspector(self):
            return self

        def get_engine_information(self, form):
            assert form is trt.LayerInformationFormat.JSON
            return '{"Layers": [{"Name": "relu", "Metadata": "[ONNX Layer: relu]"}]}'

    trt.Runtime = lambda _logger: types.SimpleNamespace(deserialize_cuda_engine={b"plan": Engine()}.get)
    assert [step.onnx_nodes for step in describe.inspect_plan(trt, None, b"plan")] == [("relu",)]
    assert describe.inspect_plan(trt, None, b"of another GPU") == ()
