"""lab/history: how headers are read, and what the shipped recording says."""

import itertools

import pytest

from tools.headers import NAMES, REPOSITORY, TAGS, declared
from trtlab.engine.measure import Origin
from trtlab.lab.support import Declared
from trtlab.lab.support import api_history as load

YES, OLD, NO = Declared.YES, Declared.DEPRECATED, Declared.NO


@pytest.mark.parametrize(
    ("code", "name", "state"),
    [
        ("virtual bool enqueueV3(cudaStream_t stream) noexcept;", "enqueueV3", YES),
        ("TRT_DEPRECATED bool enqueueV2(void* const* bindings);", "enqueueV2", OLD),
        ("bool enqueueV3(int); bool myenqueueV2(int); bool enqueueV2Fast(int);", "enqueueV2", NO),
        ("class IPluginV3 : public IVersionedInterface {", "IPluginV3", YES),
        ("class TRT_DEPRECATED IPluginV2DynamicExt : public nvinfer1::IPluginV2Ext {", "IPluginV2DynamicExt", OLD),
        ("enum class F : int32_t { kFP16 TRT_DEPRECATED_ENUM = 0, kTF32 = 7 };", "kFP16", OLD),
        ("enum class F : int32_t { kFP16 TRT_DEPRECATED_ENUM = 0, kTF32 = 7 };", "kTF32", YES),
        ("bool f() { return mImpl->executeV2(bindings); }", "executeV2", NO),
        ("using IPluginV3 = v_1_0::IPluginV3;", "IPluginV3", NO),
        ("bool a(); TRT_DEPRECATED bool setMaxBatchSize(int); void b();", "setMaxBatchSize", OLD),
        ("TRT_DEPRECATED bool f(int); bool f(long);", "f", YES),  # one way to call it is left
        ("enum class DataType { kINT8 = 2 }; enum class BuilderFlag { kTF32 = 7 };", "BuilderFlag::kINT8", NO),
        ("enum class DataType { kINT8 = 2 }; enum class BuilderFlag { kINT8 };", "BuilderFlag::kINT8", YES),
        ("enum class BuilderFlag : int32_t { kINT8 TRT_DEPRECATED_ENUM = 1, kTF32 };", "BuilderFlag::kINT8", OLD),
    ],
)
def test_a_declaration_is_read(code, name, state):
    assert declared(code, name) is state


def test_the_recording_is_complete_and_says_what_it_is():
    history = load()
    assert (history.tags, tuple(history.names), tuple(history.headers)) == (TAGS, NAMES, TAGS)
    assert all(tuple(states) == TAGS for states in history.names.values())
    assert all("NvInfer.h" in headers for headers in history.headers.values())
    made = history.provenance
    assert (made.origin, made.samples, made.command) == (
        Origin.RECORDED,
        len(TAGS),
        "python -m tools.headers CLONE",
    )
    assert REPOSITORY in made.line()
    assert load() is history


@pytest.mark.parametrize(
    ("name", "first_deprecated", "first_absent"),
    [
        ("enqueueV2", "8.5.1", "v10.0.0"),  # release notes of 8.5 and 10.0
        ("setMaxWorkspaceSize", "8.4.1", "v10.0.0"),
        ("setMaxBatchSize", "8.4.1", "v10.0.0"),
        ("BuilderFlag::kFP16", "v10.12.0", "v11.0"),
        ("BuilderFlag::kINT8", "v10.12.0", "v11.0"),
        ("executeV2", None, None),
        ("enqueueV3", None, None),
        ("BuilderFlag::kTF32", None, None),
        ("createInferRuntime", None, None),
        ("MemoryPoolType::kWORKSPACE", None, None),
    ],
)
def test_known_dates(name, first_deprecated, first_absent):
    states = [(tag, load().state(name, tag)) for tag in TAGS]
    later = list(itertools.dropwhile(lambda pair: pair[1] is NO, states))
    assert next((tag for tag, state in later if state is OLD), None) == first_deprecated
    assert next((tag for tag, state in later if state is NO), None) == first_absent


def test_what_left_has_not_come_back_unless_it_is_known_to():
    """buildEngineWithConfig left in 10.0 and returned in 10.6; nothing else did such a thing."""
    returned = set()
    for name in NAMES:
        there = [load().state(name, tag) is not NO for tag in TAGS]
        changes = sum(a != b for a, b in itertools.pairwise(there))
        if changes > (1 if there[0] else 2) or (there[0] and there[-1] and changes):
            returned.add(name)
    assert returned == {"buildEngineWithConfig"}


@pytest.mark.parametrize(("name", "tag"), [("enqueueV4", "v11.1"), ("enqueueV2", "v12.0")])
def test_what_was_not_recorded_names_what_was(name, tag):
    with pytest.raises(KeyError, match=rf"{name}.*{tag}.*enqueueV2.*v11\.1"):
        load().state(name, tag)
