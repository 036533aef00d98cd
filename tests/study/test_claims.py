"""study/claims: every claim of the sheet's third question holds, and every proof can fail.

A proof that cannot fail proves nothing. So each one is run again in worlds that differ from ours in one fact: the API
has lost or gained a name that was asked for, a name never changed in NVIDIA's headers, the build reported something
else, copies cost the same either way. In such a world the evidence must not hold.
"""

import copy
import functools
import importlib.metadata
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from trtlab.engine import planfile, recordings
from trtlab.engine.measure import Origin, live
from trtlab.engine.nvidia import CompilerMissing, Phase, ProfileError, UnsupportedTarget
from trtlab.engine.recordings import transfers
from trtlab.lab import history as api_history
from trtlab.lab.history import Declared
from trtlab.study import claims, quizzes
from trtlab.study.claims import (
    CLAIMS,
    Claim,
    Evidence,
    Verdict,
    find_claim,
    formats,
    fusion,
    observed,
    only_history,
    proves,
    workflow,
)
from trtlab.study.quizzes import found

LIGHT_REPORT = recordings.light_report

NAMES = [f"C{number}" for number in range(70, 92)]
READ_HISTORY = ["C70", "C75", "C76", "C77", "C80", "C81", "C83", "C86", "C87"]
ASK_THE_API = ["C70", "C73", "C74", "C76", "C79", "C80", "C82", "C83", "C84", "C87", "C91"]


@pytest.fixture
def world(monkeypatch):
    """Ours, to be changed: the recorded API, history and light networks, the workflow as it ran here."""
    monkeypatch.setattr(observed, "api", recordings.load_api)
    monkeypatch.setattr(observed, "history", api_history.load)
    monkeypatch.setattr(recordings, "light_report", lambda name: recordings.load(f"light-{name}-SM89"))
    return monkeypatch


def holds(name):
    evidence = find_claim(name).prove()
    assert isinstance(evidence, Evidence)
    return evidence.holds


# --- the claims themselves -------------------------------------------------------------------------------------------


def test_all_items_of_the_question_are_there_and_nothing_else():
    assert find_claim("C70").prove.__module__ == workflow.__name__
    assert [
        name for name, claim in CLAIMS.items() if claim.prove and claim.prove.__module__ == workflow.__name__
    ] == NAMES
    assert set(CLAIMS) == set(claims.words())


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_says_what_was_said_what_is_true_and_where(name):
    claim = find_claim(name)
    assert (claim.name, type(claim.verdict)) == (name, Verdict)
    assert claim.said.endswith(".")
    assert claim.today.endswith((".", ":"))
    assert claim.said != claim.today
    assert claim.source.startswith("https://")
    assert max(len(claim.said), len(claim.today)) <= 160


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_now_and_shows_its_evidence(name):
    evidence = find_claim(name).prove()
    assert evidence.holds
    assert evidence.shown
    assert evidence.provenance.origin in (Origin.LIVE, Origin.RECORDED)
    assert all(len(row) == len(evidence.header) for row in evidence.rows)
    if evidence.provenance.origin is Origin.RECORDED:
        assert evidence.provenance.command


def test_an_unknown_claim_names_the_close_ones():
    with pytest.raises(KeyError, match=r"no claim 'C7'; did you mean .*C7\d"):
        find_claim("C7")
    with pytest.raises(KeyError, match=r"no claim 'xyz'; did you mean C\d\d, C\d\d, C\d\d"):
        find_claim("xyz")


WORDS = {"verdict": "right", "said": "a.", "today": "b.", "source": "https://c.example"}


def test_a_name_is_taken_once_and_has_words(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", {})
    monkeypatch.setattr(claims, "words", lambda: {"X1": WORDS, "X2": WORDS})
    made = proves("X1")(lambda: Evidence(holds=True, shown="d", provenance=live()))
    assert (type(made), made.verdict, made.today) == (Claim, Verdict.RIGHT, "b.")
    assert list(claims.CLAIMS.values()) == [made]
    with pytest.raises(ValueError, match="there is a claim 'X1' already: expected a new name"):
        proves("X1")(made.prove)
    with pytest.raises(ValueError, match="claim 'X3' has no words: write its verdict, said, today and source into a"):
        proves("X3")(made.prove)
    only_history("X2")
    assert claims.CLAIMS["X2"].prove is None


# --- worlds in which the API has lost or gained a name ---------------------------------------------------------------


def ask(name, world):
    """The (class, name) pairs that the proof asks the API about."""
    asked, api = [], recordings.load_api()

    def has(owner, attribute):
        asked.append((owner, attribute))
        return attribute in api.names.get(owner, ())

    spy = copy.copy(api)
    object.__setattr__(spy, "has", has)
    world.setattr(observed, "api", lambda: spy)
    assert holds(name)
    return list(dict.fromkeys(asked))


def with_flipped(api, owner, name):
    """The same API, but what it has it lacks, and the other way round."""
    names = api.names[owner]
    flipped = tuple(n for n in names if n != name) if name in names else (*names, name)
    return replace(api, names=api.names | {owner: flipped})


def test_these_and_no_others_ask_the_api(world):
    assert [name for name in NAMES if ask(name, world)] == ASK_THE_API


@pytest.mark.parametrize("name", ASK_THE_API)
def test_every_answer_of_the_api_matters(name, world):
    api = recordings.load_api()
    for owner, attribute in ask(name, world):
        world.setattr(observed, "api", lambda pair=(owner, attribute): with_flipped(api, *pair))
        assert not holds(name), f"{owner}.{attribute} makes no difference"


@pytest.mark.parametrize("name", [*ASK_THE_API, "C89"])
def test_an_api_without_classes_proves_nothing(name, world):
    world.setattr(observed, "api", lambda: replace(recordings.load_api(), names={}))
    assert not holds(name)


@pytest.mark.parametrize(
    "change",
    [lambda names: names | {"CaffeParser": ()}, lambda names: {n: v for n, v in names.items() if n != "OnnxParser"}],
)
def test_c89_counts_parsers(change, world):
    api = recordings.load_api()
    world.setattr(observed, "api", lambda: replace(api, names=change(api.names)))
    assert not holds("C89")


# --- worlds with another history -------------------------------------------------------------------------------------


def with_states(**states):
    """The recorded history with some names in one state at all times."""
    history = api_history.load()
    changed = {name: dict.fromkeys(history.tags, state) for name, state in states.items()}
    return replace(history, names=history.names | changed)


def ask_history(name, world):
    """The names whose history the proof looks at."""
    asked, state = [], api_history.ApiHistory.state
    world.setattr(
        api_history.ApiHistory, "state", lambda self, which, tag: (asked.append(which), state(self, which, tag))[1]
    )
    assert holds(name)
    world.setattr(api_history.ApiHistory, "state", state)
    return list(dict.fromkeys(asked))


def test_these_and_no_others_read_the_history(world):
    assert [name for name in NAMES if ask_history(name, world)] == [name for name in READ_HISTORY if name != "C70"]


@pytest.mark.parametrize("name", [name for name in READ_HISTORY if name != "C70"])
def test_a_name_that_never_changed_refutes_the_claim(name, world):
    """Of three worlds in which a name was always declared, deprecated or absent, at most one is what the claim says."""
    for which in ask_history(name, world):
        right = []
        for state in Declared:
            world.setattr(observed, "history", lambda which=which, state=state: with_states(**{which: state}))
            right += [state] if holds(name) else []
        assert right in ([], [Declared.YES]), f"{which} makes no difference"


def turned(history):
    """Time runs backwards: what was new is old."""
    times = dict(zip(history.tags, reversed(history.tags), strict=True))
    names = {name: {tag: states[times[tag]] for tag in states} for name, states in history.names.items()}
    return replace(history, names=names, headers={tag: history.headers[times[tag]] for tag in history.headers})


@pytest.mark.parametrize("name", [name for name in READ_HISTORY if name not in ("C80", "C87")])  # nothing changed there
def test_time_has_a_direction(name, world):
    history = turned(api_history.load())
    world.setattr(observed, "history", lambda: history)
    assert not holds(name)


@pytest.mark.parametrize("tag", ["v8.6.1", "v11.1"])
def test_c70_sees_headers_leave(tag, world):
    history = api_history.load()
    same = replace(history, headers=dict.fromkeys(history.headers, history.headers[tag]))
    world.setattr(observed, "history", lambda: same)
    assert not holds("C70")


# --- worlds in which the build went otherwise ------------------------------------------------------------------------


def with_records(**changes):
    """The workflow as it ran here, with other values in some stages' records."""
    flow = copy.copy(workflow._flow())
    flow.records = flow.records | {name: replace(flow.records[name], **values) for name, values in changes.items()}
    return flow


def with_report(stage, **values):
    return with_records(**{stage: {"artefact": replace(workflow._flow().artefact(stage), **values)}})


def no_nodes():
    graph = copy.deepcopy(workflow._flow().artefact("check"))
    del graph.graph.node[:]
    return with_records(check={"artefact": graph})


def calibrating():
    phase = Phase(name="Calibrating INT8", parent="build", start_s=0.0, seconds=1.0)
    return with_report("build", phases=(*workflow._flow().report.phases, phase))


def without_phase(name):
    return with_report("build", phases=tuple(p for p in workflow._flow().report.phases if p.name != name))


def without_figure(name):
    return with_report("build", memory=replace(workflow._flow().report.memory, **{name: None}))


BUILDS = {
    "the checker complains": ("C71", lambda: with_records(check={"came_out": "invalid"})),
    "an export without nodes": ("C71", no_nodes),
    "a parser that reads nothing": ("C71", lambda: with_report("parse", layers=())),
    "fewer layers than nodes": (
        "C73",
        lambda: with_report("parse", layers=workflow._flow().artefact("parse").layers[:3]),
    ),
    "no nodes": ("C73", lambda: with_report("parse", onnx_nodes=0)),
    "no flag on by default": ("C76", lambda: with_report("build", flags=())),
    "a precision flag on by default": ("C76", lambda: with_report("build", flags=("FP16", "TF32"))),
    "the builder calibrates": ("C77", calibrating),
    "the builder does not optimise": ("C77", lambda: without_phase("Optimizing graph")),
    "the builder does not time tactics": ("C77", lambda: without_phase("Timing tactics")),
    "a builder that plans no memory": ("C77", lambda: without_figure("activation_bytes")),
    "a build without a plan": ("C74", lambda: with_recording(plan_size_bytes=0)),
    "a build of no network": ("C74", lambda: with_report("build", layers=())),
    "another plan in memory": ("C78", lambda: with_report("build", plan=b"another")),
    "a recording of no plan": ("C78", lambda: with_recording(plan_size_bytes=0)),
    "a recording without a hash": ("C78", lambda: with_recording(recorded_plan_sha256="?")),
    "no figure for weights": ("C84", lambda: without_figure("weights_bytes")),
    "no figure for activations": ("C84", lambda: without_figure("activation_bytes")),
}


def with_recording(**values):
    """As on a machine without a compiler: a report without plan, and no file."""
    report = replace(workflow._flow().report.without_plan(), **values)
    return with_records(build={"artefact": report}, serialise={"artefact": None})


@pytest.mark.parametrize("what", BUILDS)
def test_another_build_refutes_the_claim(what, world):
    name, make = BUILDS[what]
    assert holds(name)
    flow = make()
    world.setattr(workflow, "_flow", lambda: flow)
    assert not holds(name)


@pytest.mark.parametrize("name", ["C78", "C79"])
def test_a_recording_is_enough(name, world):
    flow = with_recording()
    world.setattr(workflow, "_flow", lambda: flow)
    assert holds(name)


def test_c79_fails_where_a_plan_of_another_version_is_accepted(world):
    world.setattr(planfile, "_check_version", lambda *_values: None)
    assert not holds("C79")


def test_c79_fails_where_a_plan_of_the_same_version_is_altered(world):
    world.setattr(planfile, "load_plan", lambda *_paths, **_versions: (b"", None))
    assert not holds("C79")


def test_c79_names_the_compiler(world):
    for flow in (workflow._flow(), with_recording()):
        world.setattr(workflow, "_flow", lambda flow=flow: flow)
        assert "tensorrt-rtx" in dict(find_claim("C79").prove().provenance.versions)


def limits(**changes):
    said = dict(found.recorded("workspace_limits").value)
    return said | {key.replace("_", " "): words for key, words in changes.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"1_MiB": "built, with 9,764,864 bytes of activations"},
        {"1_MiB": "refused: OutOfMemory"},
        {"8_MiB": "built, with 9,764,864 bytes of activations"},
        {"8_MiB": "refused: no tactics"},
        {"the_default": "refused: OutOfMemory (Requested size was 99999999 bytes.)"},
        {"the_default": "built, with 8,000,000 bytes of activations"},
    ],
)
def test_c75_needs_both_refusals_and_a_build_that_plans_more(changes, world):
    truth = found.recorded("workspace_limits")
    world.setattr(found, "workspace_limits", lambda: truth)
    assert holds("C75")
    world.setattr(found, "workspace_limits", lambda: replace(truth, value=limits(**changes)))
    assert not holds("C75")


# --- worlds with other numbers ---------------------------------------------------------------------------------------


def test_c72_reads_the_name(world):
    world.setattr(importlib.metadata, "metadata", lambda _package: {"Summary": "Open Neural Exchange"})
    assert not holds("C72")


def test_c85_needs_every_copy_to_be_faster_from_pinned_memory(world):
    found = transfers.load()
    for size in transfers.SIZES_BYTES:
        slow = found.bandwidth("host_to_device", pinned=False, size_bytes=size)
        copies = tuple(
            replace(c, bytes_per_s=slow)
            if (c.direction, c.pinned, c.size_bytes) == ("host_to_device", True, size)
            else c
            for c in found.copies
        )
        world.setattr(transfers, "load", lambda copies=copies: replace(found, copies=copies))
        assert not holds("C85")


@pytest.mark.parametrize("change", [{"stale_reads": 0}, {"fresh_reads": 20}, {"call_s": 1.0}, {"total_s": 1e-9}])
def test_c88_needs_stale_reads_fresh_reads_and_an_early_return(change, world):
    found = replace(transfers.load(), **change)
    world.setattr(transfers, "load", lambda: found)
    assert not holds("C88")


@pytest.fixture
def light(world):
    """The recorded reports of the light networks, to be changed."""
    reports = {name: recordings.load(f"light-{name}-SM89") for name in ("vgg19", "inception_v1", "resnet50")}
    world.setattr(recordings, "light_report", reports.__getitem__)
    return reports


@pytest.mark.parametrize("network", ["vgg19", "inception_v1", "resnet50"])
def test_c90_needs_fewer_kernels_than_nodes_in_every_network(network, light):
    assert holds("C90")
    report = light[network]
    light[network] = replace(report, steps=report.steps * 5)
    assert not holds("C90")
    light[network] = replace(report, steps=())
    assert not holds("C90")


def test_c90_counts_the_textbook_numbers(light):
    """ResNet-50 has 53 convolutions, each with a BatchNormalization; weights in disguise are not counted."""
    rows = {name: counts for name, *counts in find_claim("C90").prove().rows}
    assert set(rows) == set(light)
    assert [rows[name][0] for name in ("vgg19", "inception_v1", "resnet50")] == ["46", "144", "176"]


@pytest.mark.parametrize(
    "changes", [{"value": "batch 1"}, {"evidence": "The digits model, built: “The profile does not fit.”"}]
)
def test_c91_fails_where_a_dynamic_model_builds_or_another_complaint_is_made(changes, world):
    truth = found.recorded("build_without_profile")
    world.setattr(found, "build_without_profile", lambda: truth)
    assert holds("C91")
    world.setattr(found, "build_without_profile", lambda: replace(truth, **changes))
    assert not holds("C91")


def test_every_claim_has_a_world_that_refutes_it():
    """The tables above, and the tests named after one claim, leave none out."""
    named = {name.split("_")[1].upper() for name in globals() if name.startswith("test_c")}
    assert named | set(ASK_THE_API) | set(READ_HISTORY) | {name for name, _ in BUILDS.values()} == set(NAMES)


# --- the compilers of other people -----------------------------------------------------------------------------------

RTX_ALONE = {
    "Runtime": "get_engine_validity engine_header_size",
    "IBuilderConfig": "get_compute_capability set_compute_capability num_compute_capabilities",
    "ICudaEngine": "create_runtime_config",
    "IExecutionContext": "get_runtime_config",
}
GONE_IN_11 = {
    "BuilderFlag": "FP16 INT8 BF16 FP8 OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS",
    "ICudaEngine": "device_memory_size",
    "ILayer": "precision",
    "ITensor": "set_dynamic_range",
    "IInt8EntropyCalibrator2": "get_batch",
}
PLUGINS = {"INetworkDefinition": "add_plugin_v2 add_plugin_v3"}


def full_tensorrt(version):
    """A fake `tensorrt`: the recorded names with those that the bindings of its releases have or lack."""
    api = recordings.load_api()
    names = {owner: set(values) for owner, values in api.names.items() if owner != "ComputeCapability"}
    for owner, values in RTX_ALONE.items():
        names[owner] -= set(values.split())
    for owner, values in (PLUGINS | (GONE_IN_11 if version.startswith("10.") else {})).items():
        names[owner] = names.get(owner, set()) | set(values.split())
    known = {owner: tuple(sorted(values)) for owner, values in names.items()}
    return replace(api, compiler="tensorrt", version=version, names=known)


@pytest.fixture(params=["10.0.1", "10.16.0", "11.1.0"])
def gpu_owner(request, world):
    """A machine with a GPU and `tensorrt` alone: it takes no target, and tensorrt_rtx cannot be chosen."""
    api = full_tensorrt(request.param)

    def choose(compiler=None):
        if compiler == "tensorrt_rtx":
            raise CompilerMissing("No TensorRT compiler can be used here (tensorrt_rtx: not installed).")
        return "tensorrt"

    def explain(_model, target=None, *, compiler=None, **_options):
        choose(compiler)
        if target is not None:
            raise UnsupportedTarget("tensorrt builds for the GPU it runs on and takes no target.")
        raise ProfileError("Network has dynamic or shape inputs, but no optimization profile has been defined.")

    for where in ("trtlab.engine.nvidia", "trtlab.lab.workflow"):
        world.setattr(f"{where}.choose_compiler", choose)
        world.setattr(f"{where}.explain", explain)
    world.setattr("trtlab.lab.support.explain", explain)
    world.setattr(recordings, "light_report", LIGHT_REPORT)
    world.setattr("trtlab.engine.nvidia.installed_api", lambda: api)
    world.setattr(observed, "api", lambda: api)
    world.setattr(workflow, "_flow", functools.cache(workflow._flow.__wrapped__))
    quizzes.load.cache_clear()
    yield world
    quizzes.load.cache_clear()


@pytest.mark.usefixtures("gpu_owner")
def test_every_claim_holds_and_every_quiz_opens_where_tensorrt_is_installed_and_rtx_is_not():
    find_claim("C70")
    formats._support.cache_clear()
    fusion.report_on.cache_clear()
    refuted = [name for name, claim in CLAIMS.items() if claim.prove and not holds(name)]
    assert refuted == []
    for name in quizzes.names():
        quiz = quizzes.load(name)
        assert quiz.grade(quiz.truth.value).correct


@pytest.mark.usefixtures("gpu_owner")
def test_precision_flags_that_are_there_are_right_answers_there():
    flags = set(quizzes.load("q3-builder-flags").truth.value)
    assert flags >= {"TF32", "REFIT", "WEIGHT_STREAMING"}
    assert ({"FP16", "INT8"} <= flags) is observed.api().version.startswith("10.")


# --- no compiler -----------------------------------------------------------------------------------------------------

BLOCKED = """
    import sys

    class Blind:
        # A finder that does not see NVIDIA's compilers: as if they were not installed.
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx"):
                return None
            return self.finder.find_spec(name, path, target)

        def __getattr__(self, name):
            return getattr(self.finder, name)

    sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
    from trtlab.study.claims import CLAIMS, find_claim
    find_claim("C70")
    for name, claim in CLAIMS.items():
        if claim.prove:
            found = claim.prove()
            print(name, found.holds, found.provenance.origin.value)
"""


@pytest.mark.slow
def test_where_no_compiler_can_be_installed_recordings_prove_all_of_it():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BLOCKED)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = {name: rest for name, *rest in (line.split() for line in done.stdout.splitlines())}
    assert set(found) == {name for name, claim in CLAIMS.items() if claim.prove} >= set(NAMES)
    assert {holds for holds, _ in found.values()} == {"True"}
    live_still = {name for name, (_, origin) in found.items() if origin == "LIVE"}
    computed = set("C02 C05 C07 C12 C13 C15 C16 C17 C19 C22 C35 C36 C38 C39".split())
    assert live_still == computed | {"C71", "C72"}  # torch and onnx are here
