"""What differs between tensorrt 10, tensorrt 11 and tensorrt_rtx, and that every call exists in the real library.

tensorrt_rtx is asked itself. Of tensorrt 10 and 11, which need a GPU, only the enumerations that tell them apart are
made by hand here, after the documentation.
"""

import ast
import enum
import inspect
import json
from types import SimpleNamespace

import pytest

from trtlab.engine.nvidia import (
    BuildError,
    ParseError,
    ProfileError,
    UnsupportedTarget,
    compiler,
    execute,
    installed_api,
    log,
    minimal,
)
from trtlab.engine.nvidia.report import LogLine

from .rtx import needs_rtx

FLAGS_10 = enum.IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
FLAGS_11 = enum.IntEnum("NetworkDefinitionCreationFlag", {"PREFER_AOT_PYTHON_PLUGINS": 2})
TENSORRT_10 = SimpleNamespace(
    __name__="tensorrt", __version__="10.13", NetworkDefinitionCreationFlag=FLAGS_10,
    BuilderFlag=enum.Enum("BuilderFlag", ["FP16", "TF32"]),
)  # fmt: skip
TENSORRT_11 = SimpleNamespace(
    __name__="tensorrt", __version__="11.4", NetworkDefinitionCreationFlag=FLAGS_11,
    BuilderFlag=enum.Enum("BuilderFlag", ["TF32"]),
)  # fmt: skip
RTX = SimpleNamespace(NetworkDefinitionCreationFlag=FLAGS_10, ComputeCapability=enum.Enum("C", ["NONE", "SM89"]))

# What the code calls its objects, and the classes that these are.
CLASSES = {
    "builder": "Builder", "network": "INetworkDefinition", "config": "IBuilderConfig", "parser": "OnnxParser",
    "native": "IOptimizationProfile", "profile": "IOptimizationProfile", "engine": "ICudaEngine",
    "context": "IExecutionContext", "runtime": "Runtime",
}  # fmt: skip
FUNCTIONS = {"__name__", "__version__"}


def calls(module):
    """(owner, name) for each attribute that `module` reads of the library or of an object of its."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
            if owner == "trt" or owner in CLASSES:
                yield owner, node.attr


@needs_rtx
@pytest.mark.parametrize("module", [compiler, execute, log, minimal], ids=lambda m: m.__name__)
def test_every_call_exists_in_the_real_library(module):
    api, found = installed_api("tensorrt_rtx"), set(calls(module))
    known = {("trt", name) for name in {*api.names, *FUNCTIONS}}
    known |= {(owner, name) for owner, kind in CLASSES.items() for name in api.names[kind]}
    assert found
    assert found - known - {("profile", "shapes")} == set()  # our own Profile


@pytest.mark.parametrize(("trt", "flags"), [(TENSORRT_10, 1 << 1), (TENSORRT_11, 0), (RTX, 0)])
def test_networks_are_strongly_typed_in_each_librarys_way(trt, flags):
    assert compiler.network_flags(trt) == flags
    assert compiler.has_targets(trt) is (trt is RTX)


@pytest.mark.parametrize("trt", [TENSORRT_10, TENSORRT_11])
def test_only_rtx_builds_for_other_gpus(trt):
    compiler._set_targets(trt, None, ())
    with pytest.raises(UnsupportedTarget, match=r"SM89.*Leave target out"):
        compiler._set_targets(trt, None, ("SM89",))


def test_precision_flags_ended_with_tensorrt_11():
    assert compiler._flag(TENSORRT_10, "FP16") is TENSORRT_10.BuilderFlag.FP16
    with pytest.raises(BuildError, match=r"no builder flag 'FP16'.*TF32.*type the model"):
        compiler._flag(TENSORRT_11, "FP16")


@pytest.mark.parametrize(
    ("reasons", "kind", "said"),
    [
        (("something broke",), BuildError, "something broke"),
        ((), BuildError, "no reason"),
        (("Cannot compile operation 'n' for Turing (SM75): FP32 GEMM",), UnsupportedTarget, "newer target"),
        (("optimization profile 0 is bad", "kMIN > kMAX"), ProfileError, "minimum <= optimum"),
    ],
)
def test_a_builder_that_gives_no_plan(reasons, kind, said):
    error = compiler._build_error(reasons, None)
    assert type(error) is kind
    assert said in str(error)
    assert error.log == reasons


def test_a_parser_that_refuses_without_an_error():
    line = LogLine(severity="ERROR", text="Plugin not found")
    error = compiler._parse_error(SimpleNamespace(num_errors=0), [line], b"")
    assert type(error) is ParseError
    assert "Plugin not found. TensorRT has no operator" in str(error)


# --- the engine inspector, for compilers whose log has no kernel list ------------------------------------------------

COMMON = {"Name": "conv1 + relu1", "LayerType": "CaskConvolution", "StreamId": 1}
COMMON |= {"Metadata": "[ONNX Layer: conv1]\x1f[ONNX Layer: relu1]"}
TENSOR_10 = {
    "Name": "x",
    "Dimensions": [1, 3, 8, 8],
    "Format/Datatype": "Channel major FP16 format where C % 8 == 0 Half",
}
TENSOR_11 = {"Name": "x", "Dimensions": [1, 3, 8, 8], "Strides": [192, 64, 8, 1]}
TENSOR_11 |= {"Format": "Row major linear", "Datatype": "Half"}


def steps_of(*layers):
    return log.steps_from_inspector(json.dumps({"Layers": layers, "Bindings": ["x", "y"]}))


def test_tensorrt_10_joins_format_and_type():
    (step,) = steps_of(COMMON | {"Inputs": [TENSOR_10], "Outputs": [TENSOR_10], "TacticName": "t", "TacticValue": "1"})
    assert (step.name, step.type, step.tactic, step.stream) == ("conv1 + relu1", "CaskConvolution", "t", 1)
    assert step.onnx_nodes == ("conv1", "relu1")
    assert step.inputs[0].dtype == step.dtype == "Half"
    assert (step.inputs[0].format, step.inputs[0].strides) == (TENSOR_10["Format/Datatype"], None)


def test_tensorrt_11_splits_them():
    (step,) = steps_of(
        COMMON | {"Inputs": [TENSOR_11], "Constants": ["w", TENSOR_11], "TacticValue": "7", "EventId": 3}
    )
    assert (step.tactic, step.event, len(step.constants)) == ("7", 3, 1)
    assert (step.inputs[0].dtype, step.inputs[0].format) == ("Half", "Row major linear")
    assert step.inputs[0].strides == (192, 64, 8, 1)


def test_a_bare_layer_no_layers_and_names_only():
    (step,) = steps_of({"Name": "n"})
    assert (step.type, step.tactic, step.stream, step.onnx_nodes, step.inputs) == ("", "", 0, (), ())
    assert log.steps_from_inspector("{}") == ()
    with pytest.raises(ValueError, match=r"ProfilingVerbosity\.DETAILED"):
        steps_of("conv1 + relu1")


def test_a_plan_of_another_gpu_has_no_steps_and_that_is_said():
    refusing = SimpleNamespace(Runtime=lambda _logger: SimpleNamespace(deserialize_cuda_engine=lambda _plan: None))
    asked = SimpleNamespace(trt=refusing, logger=None, lines=[])
    assert compiler._steps(asked, memoryview(b"plan")) == ((), ("The log brought no kernel list.",))
    assert compiler._steps(asked, memoryview(b"")) == ((), ())
