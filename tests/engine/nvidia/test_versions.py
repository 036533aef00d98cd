"""What differs between tensorrt 10, tensorrt 11 and tensorrt_rtx: every call exists in the real library, whose names
are asked of itself, or recorded; and the code on the whiteboard builds what `explain` builds.

Of tensorrt 10 and 11, which need a GPU, only the enumerations that tell them apart are made by hand here, after the
documentation.
"""

import ast
import enum
import importlib.metadata
import inspect
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from trtlab.engine import machine
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import compiler, execute, installed_api, log, minimal
from trtlab.engine.nvidia.api import recorded_api
from trtlab.engine.nvidia.errors import BuildError, CompilerMissing, ParseError, UnsupportedTarget
from trtlab.engine.nvidia.report import LogLine

from . import onnx_models as models
from .rtx import build, needs_rtx

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


@pytest.mark.parametrize(("trt", "flags"), [(TENSORRT_10, 1 << 1), (TENSORRT_11, 0)])
def test_networks_are_strongly_typed_in_each_librarys_way_and_only_rtx_builds_for_other_gpus(trt, flags):
    assert compiler.network_flags(trt) == flags
    compiler._set_targets(trt, None, ())
    with pytest.raises(UnsupportedTarget, match=r"SM89.*Leave target out"):
        compiler._set_targets(trt, None, ("SM89",))


def test_what_fails_for_no_known_reason():
    for reasons, said in ((("something broke",), "something broke"), ((), "no reason")):
        error = compiler._build_error(reasons, None)
        assert (type(error), error.log) == (BuildError, reasons)
        assert said in str(error)
    line = LogLine(severity="ERROR", text="Plugin not found")
    error = compiler._parse_error(SimpleNamespace(num_errors=0), [line], b"")
    assert type(error) is ParseError
    assert "Plugin not found. TensorRT has no operator" in str(error)
    refusing = SimpleNamespace(Runtime=lambda _logger: SimpleNamespace(deserialize_cuda_engine=lambda _plan: None))
    asked = SimpleNamespace(trt=refusing, logger=None, lines=[])  # as for a plan of another GPU
    assert compiler._steps(asked, memoryview(b"plan")) == ((), ("The log brought no kernel list.",))
    assert compiler._steps(asked, memoryview(b"")) == ((), ())


# --- the engine inspector, for compilers whose log has no kernel list ------------------------------------------------

COMMON = {"Name": "conv1 + relu1", "LayerType": "CaskConvolution", "StreamId": 1}
COMMON |= {"Metadata": "[ONNX Layer: conv1]\x1f[ONNX Layer: relu1]"}
X = {"Name": "x", "Dimensions": [1, 3, 8, 8]}
TENSOR_10 = X | {"Format/Datatype": "Channel major FP16 format where C % 8 == 0 Half"}
TENSOR_11 = X | {"Strides": [192, 64, 8, 1], "Format": "Row major linear", "Datatype": "Half"}


def steps_of(*layers):
    return log.steps_from_inspector(json.dumps({"Layers": layers, "Bindings": ["x", "y"]}))


def test_tensorrt_10_joins_format_and_type_and_11_splits_them():
    (step,) = steps_of(COMMON | {"Inputs": [TENSOR_10], "Outputs": [TENSOR_10], "TacticName": "t", "TacticValue": "1"})
    assert (step.name, step.type, step.tactic, step.stream) == ("conv1 + relu1", "CaskConvolution", "t", 1)
    assert (step.onnx_nodes, step.dtype) == (("conv1", "relu1"), "Half")
    (tensor,) = step.inputs
    assert (tensor.dtype, tensor.format, tensor.strides) == ("Half", TENSOR_10["Format/Datatype"], None)
    more = {"Inputs": [TENSOR_11], "Constants": ["w", TENSOR_11], "TacticValue": "7", "EventId": 3}
    (step,) = steps_of(COMMON | more)
    assert (step.tactic, step.event, step.constants) == ("7", 3, step.inputs)
    (tensor,) = step.inputs
    assert (tensor.dtype, tensor.format, tensor.strides) == ("Half", "Row major linear", (192, 64, 8, 1))


def test_a_bare_layer_no_layers_and_names_only():
    for layer in ({"Name": "n"}, {"Name": "n", "EventId": None}):
        (step,) = steps_of(layer)
        assert (step.type, step.tactic, step.stream, step.onnx_nodes, step.inputs) == ("", "", 0, (), ())
        assert step.event is None
    assert log.steps_from_inspector("{}") == ()
    with pytest.raises(ValueError, match=r"ProfilingVerbosity\.DETAILED"):
        steps_of("conv1 + relu1")


# --- the names of the installed compiler ------------------------------------------------------------------------------


@needs_rtx
def test_the_recording_is_what_the_same_version_says():
    recorded, here = recorded_api(), installed_api("tensorrt_rtx")
    assert (here.compiler, here.provenance.origin) == ("tensorrt_rtx", Origin.LIVE)
    assert here.version == importlib.metadata.version("tensorrt_rtx")
    if recorded.version != here.version:
        pytest.skip(f"recorded with {recorded.version}, here is {here.version}")
    assert recorded.names == here.names


def test_without_a_compiler_the_recording_answers(monkeypatch):
    monkeypatch.setattr(machine, "is_installed", lambda _name: False)
    installed_api.cache_clear()
    api = installed_api()
    installed_api.cache_clear()
    assert api is recorded_api()
    assert api.provenance.origin is Origin.RECORDED
    assert api.has("IExecutionContext", "execute_async_v3")
    assert not api.has("IExecutionContext", "execute_async_v2")
    with pytest.raises(CompilerMissing, match="tensorrt"):
        installed_api("tensorrt")


# --- the whiteboard ---------------------------------------------------------------------------------------------------


@needs_rtx
def test_the_whiteboard_builds_the_same_plan_and_raises_what_cannot_be_built(tmp_path):
    code = "import sys, pathlib, tensorrt_rtx; from trtlab.engine.nvidia.minimal import build; source, plan = map("
    code += "pathlib.Path, sys.argv[1:]); plan.write_bytes(build(tensorrt_rtx, source.read_bytes()))"
    source, target = tmp_path / "model.onnx", tmp_path / "model.plan"
    said = []
    for model in (models.conv_bn_relu(), models.unknown_op(), models.dynamic_conv()):
        source.write_bytes(model.SerializeToString())
        command = [sys.executable, "-c", code, source, target]
        said.append(subprocess.run(command, capture_output=True, text=True, check=False).stderr)
    assert ["ValueError: " in each for each in said] == [False, True, True]
    plan, other = target.read_bytes(), build(models.conv_bn_relu()).plan
    assert (plan[:4], len(plan)) == (other[:4], pytest.approx(len(other), rel=0.01))
