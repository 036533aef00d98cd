"""lab/history: how headers are read, and what the shipped recording says."""

import itertools
import json
import subprocess

import pytest

from trtlab.engine.measure import Origin
from trtlab.lab import history as api_history
from trtlab.lab.history import NAMES, TAGS, Declared, declared, load

YES, OLD, NO = Declared.YES, Declared.DEPRECATED, Declared.NO


# --- reading a header ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name", "state"),
    [
        ("virtual bool enqueueV3(cudaStream_t stream) noexcept;", "enqueueV3", YES),
        ("TRT_DEPRECATED bool enqueueV2(void* const* bindings);", "enqueueV2", OLD),
        ("bool enqueueV3(int);", "enqueueV2", NO),
        ("bool myenqueueV2(int); bool enqueueV2Fast(int);", "enqueueV2", NO),
        ("class IPluginV3 : public IVersionedInterface {", "IPluginV3", YES),
        ("class TRT_DEPRECATED IPluginV2DynamicExt : public nvinfer1::IPluginV2Ext {", "IPluginV2DynamicExt", OLD),
        ("class IPluginV3 final {", "IPluginV3", YES),
        ("enum class F : int32_t { kFP16 = 0, kINT8 = 1, kTF32 = 7 };", "kFP16", YES),
        ("enum class F : int32_t { kFP16 TRT_DEPRECATED_ENUM = 0, kTF32 = 7 };", "kFP16", OLD),
        ("enum class F : int32_t { kFP16 TRT_DEPRECATED_ENUM = 0, kTF32 = 7 };", "kTF32", YES),
        ("bool f() { return mImpl->executeV2(bindings); }", "executeV2", NO),
        ("using IPluginV3 = v_1_0::IPluginV3;", "IPluginV3", NO),
        ("bool a(); TRT_DEPRECATED bool setMaxBatchSize(int); void b();", "setMaxBatchSize", OLD),
        ("TRT_DEPRECATED bool f(int); bool f(long);", "f", YES),  # one way to call it is left
        ("", "enqueueV2", NO),
        ("enum class DataType { kINT8 = 2 }; enum class BuilderFlag { kTF32 = 7 };", "BuilderFlag::kINT8", NO),
        ("enum class DataType { kINT8 = 2 }; enum class BuilderFlag { kINT8 = 1 };", "BuilderFlag::kINT8", YES),
        ("enum class DataType { kINT8 = 2 }; enum class BuilderFlag { kINT8 };", "BuilderFlag::kINT8", YES),
        (
            "enum class BuilderFlag : int32_t { kINT8 TRT_DEPRECATED_ENUM = 1, kTF32 }; enum class D { kINT8 = 2 };",
            "BuilderFlag::kINT8",
            OLD,
        ),
        ("enum class BuilderFlag : int32_t; enum class DataType { kINT8 = 2 };", "BuilderFlag::kINT8", NO),
    ],
)
def test_a_declaration_is_read(code, name, state):
    assert declared(code, name) is state


def git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com", *words],
        check=True, capture_output=True,
    )  # fmt: skip


def test_a_clone_is_read_release_by_release(tmp_path, monkeypatch):
    """Comments and `*Impl.h` do not count; a header that left is not listed."""
    clone = tmp_path / "clone"
    include = clone / "include"
    include.mkdir(parents=True)
    git(tmp_path, "init", "-q", str(clone))
    releases = {
        "1.0": {"NvInfer.h": "bool enqueueV2(void**);", "NvCaffeParser.h": "int parse();"},
        "2.0": {"NvInfer.h": "TRT_DEPRECATED bool enqueueV2(void**);\nbool enqueueV3(int);"},
        "3.0": {
            "NvInfer.h": "// bool enqueueV2(void**);\n/* bool enqueueV2(\n); */\nbool enqueueV3(int);",
            "NvInferImpl.h": "bool enqueueV2(void**);",
        },
    }
    for tag, files in releases.items():
        for old in include.iterdir():
            old.unlink()
        for name, text in files.items():
            (include / name).write_text(text)
        (include / "README.md").write_text("enqueueV2(")
        git(clone, "add", "-A")
        git(clone, "commit", "-qm", tag)
        git(clone, "tag", tag)
    monkeypatch.setattr(api_history, "TAGS", tuple(releases))
    monkeypatch.setattr(api_history, "NAMES", ("enqueueV2", "enqueueV3"))
    monkeypatch.setattr(api_history, "FILE", tmp_path / "history.json")
    api_history.record(clone)
    load.cache_clear()
    try:
        history = load()
    finally:
        load.cache_clear()
    assert history.tags == ("1.0", "2.0", "3.0")
    assert [history.state("enqueueV2", tag) for tag in history.tags] == [YES, OLD, NO]
    assert [history.state("enqueueV3", tag) for tag in history.tags] == [NO, YES, YES]
    assert history.headers == {tag: tuple(sorted(files)) for tag, files in releases.items()}
    assert str(tmp_path) not in (tmp_path / "history.json").read_text()


# --- what the package ships ------------------------------------------------------------------------------------------


def test_the_recording_is_complete_and_says_what_it_is():
    history = load()
    assert history.tags == TAGS
    assert tuple(history.names) == NAMES
    assert all(tuple(states) == TAGS for states in history.names.values())
    assert tuple(history.headers) == TAGS
    assert all("NvInfer.h" in headers for headers in history.headers.values())
    made = history.provenance
    assert (made.origin, made.samples) == (Origin.RECORDED, len(TAGS))
    assert made.command == "python -m trtlab.lab.history CLONE"
    assert "github.com/NVIDIA/TensorRT" in made.line()
    assert json.loads(api_history.FILE.read_text())["repository"] == api_history.REPOSITORY


def test_it_is_loaded_once():
    assert load() is load()


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
    history = load()
    states = [(tag, history.state(name, tag)) for tag in TAGS]
    there = next(index for index, (_, state) in enumerate(states) if state is not NO)
    later = states[there:]
    assert next((tag for tag, state in later if state is OLD), None) == first_deprecated
    assert next((tag for tag, state in later if state is NO), None) == first_absent


def test_what_left_has_not_come_back_unless_it_is_known_to():
    """buildEngineWithConfig left in 10.0 and returned in 10.6; nothing else did such a thing."""
    history = load()
    returned = set()
    for name in NAMES:
        there = [history.state(name, tag) is not NO for tag in TAGS]
        changes = sum(a != b for a, b in itertools.pairwise(there))
        if changes > (1 if there[0] else 2) or (there[0] and there[-1] and changes):
            returned.add(name)
    assert returned == {"buildEngineWithConfig"}


@pytest.mark.parametrize(("name", "tag"), [("enqueueV4", "v11.1"), ("enqueueV2", "v12.0")])
def test_what_was_not_recorded_names_what_was(name, tag):
    with pytest.raises(KeyError, match=rf"{name}.*{tag}.*was not recorded; names: .*enqueueV2.*; tags: .*v11\.1"):
        load().state(name, tag)
