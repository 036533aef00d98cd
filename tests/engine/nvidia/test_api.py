"""engine/nvidia/api: the names of the installed compiler, asked of the module; recorded ones where there is none."""

import re

import pytest

from trtlab.engine.measure import Origin, live
from trtlab.engine.nvidia import Api, CompilerMissing, installed_api
from trtlab.engine.nvidia import api as api_module
from trtlab.engine.nvidia.api import recorded_api

from .rtx import needs_rtx


@pytest.fixture
def no_compiler(monkeypatch):
    """A machine on which no compiler can be used."""

    def choose(compiler=None):
        raise CompilerMissing(f"No TensorRT compiler can be used here ({compiler}).")

    monkeypatch.setattr(api_module, "choose_compiler", choose)
    installed_api.cache_clear()
    yield
    installed_api.cache_clear()


def test_has_wants_both_the_class_and_the_name():
    api = Api(compiler="c", version="1", names={"Runtime": ("logger",), "Dims": ()}, provenance=live())
    assert api.has("Runtime", "logger")
    assert not api.has("Runtime", "log")
    assert not api.has("Dims", "logger")
    assert not api.has("Nothing", "logger")


@needs_rtx
def test_it_is_what_the_module_itself_says():
    """A fresh interpreter's `dir()` and `__members__`, for classes and enumerations of every kind."""
    import json
    import subprocess
    import sys

    code = """
import json, tensorrt_rtx as trt
public = lambda owner: sorted(name for name in dir(owner) if not name.startswith("_"))
classes = [trt.Builder, trt.IExecutionContext, trt.ICudaEngine, trt.Runtime, trt.OnnxParser, trt.IBuilderConfig]
print(json.dumps([trt.__version__, {c.__name__: public(c) for c in classes}, sorted(trt.BuilderFlag.__members__)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    version, classes, flags = json.loads(done.stdout)
    api = installed_api("tensorrt_rtx")
    assert (api.compiler, api.version) == ("tensorrt_rtx", version)
    assert api.provenance.origin is Origin.LIVE
    assert dict(api.provenance.versions) == {"tensorrt-rtx": version}
    assert {name: sorted(api.names[name]) for name in classes} == classes
    assert sorted(api.names["BuilderFlag"]) == flags


@needs_rtx
def test_it_is_asked_once_and_nothing_private_is_listed():
    assert installed_api("tensorrt_rtx") is installed_api("tensorrt_rtx")
    for owner, names in installed_api("tensorrt_rtx").names.items():
        assert re.fullmatch(r"[A-Z]\w*", owner)
        assert not [name for name in names if name.startswith("_")]
        assert len(set(names)) == len(names)


@needs_rtx
def test_the_recording_is_what_the_same_version_says():
    recorded, here = recorded_api(), installed_api("tensorrt_rtx")
    if recorded.version != here.version:
        pytest.skip(f"recorded with {recorded.version}, here is {here.version}")
    assert recorded.names == here.names


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_recording_answers():
    api = installed_api()
    assert api is recorded_api()
    assert api.provenance.origin is Origin.RECORDED
    assert api.provenance.command == "python -m trtlab.lab.record"
    assert api.has("IExecutionContext", "execute_async_v3")
    assert not api.has("IExecutionContext", "execute_async_v2")
    with pytest.raises(CompilerMissing, match="tensorrt"):
        installed_api("tensorrt")
