"""teach/pipeline: the widget without a page: what Python shows, and what the page may ask for.

Messages of the page come in as the comm delivers them. No test asserts a time, but nobody waits for ever.
"""

import importlib.util
import threading
import time
from dataclasses import replace

import pytest
import traitlets

from tests.teach.flows import finished
from trtlab.engine.nvidia.errors import BuildCancelled, UnsupportedTarget
from trtlab.engine.nvidia.execute import Execution
from trtlab.lab.workflow import STAGES, WORKFLOW, Workflow
from trtlab.teach import PipelineView, draw_artefact, pipeline
from trtlab.teach.card import Drawing

from .markup import EVIL, alike, faults, read

FINAL = {"done", "stood", "not"}
PATIENCE_S = 60
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


@pytest.fixture
def view():
    """A pipeline of its own; whatever still runs afterwards is cancelled and waited for."""
    made = PipelineView()
    yield made
    made.cancel()
    settle(made)
    made.close()


def settle(view):
    if view._thread.ident:
        view._thread.join(PATIENCE_S)
        assert not view._thread.is_alive()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def states(view):
    return {stage["name"]: stage["state"] for stage in view.stages}


def words_of(view):
    """The detail pane and the message, parsed."""
    return read(Drawing(html=view.detail + view.message, text="")).words


def tell(view, **state):
    """What the page does when it saves its model; `choice` holds what it changes."""
    if "choice" in state:
        state["choice"] = view.choice | state["choice"]
    view._handle_msg({"content": {"data": {"method": "update", "state": state, "buffer_paths": []}}, "buffers": []})


def send(view, content):
    """What the page does with model.send(content)."""
    view._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def finish(monkeypatch, **stages):
    """Stages answer at once with the records of a finished run, after what `stages` wants done in them."""
    records = finished().records
    for name in STAGES:

        def stage(flow, name=name):
            stages.get(name, lambda _flow: None)(flow)
            flow.records[name] = records[name]
            return records[name]

        monkeypatch.setattr(Workflow, name, stage)


def failing(error):
    def stage(_flow):
        raise error

    return stage


# --- at rest ---------------------------------------------------------------------------------------------------------


def test_at_rest_every_stage_waits_and_explains_itself(view):
    assert states(view) == dict.fromkeys(STAGES, "waiting")
    assert (view.running, view.records, view.message, view.error) == (False, (), "", None)
    for name, stage in WORKFLOW.items():
        tell(view, selected=name)
        assert f"{stage.title} has not run yet." in words_of(view)
        assert f"{stage.does} It makes {stage.makes}, by {stage.call}" in words_of(view)


def test_the_static_form_before_and_after_a_run(view, monkeypatch):
    titles = [stage.title for stage in WORKFLOW.values()]
    alike(view.static(), "Pipeline", *titles)
    finish(monkeypatch)
    view.run()
    compare = finished().records["compare"]
    page = alike(view.static(), *titles, compare.came_out, compare.provenance.line().split(",")[0])
    assert page.count("tr") == len(STAGES) + 1


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_real_run_reaches_the_end(view):
    notes = []
    view.observe(lambda change: notes.extend(s["note"] for s in change["new"] if s["state"] == "running"), "stages")
    tell(view, choice={"precision": "FP16", "dynamic": True})
    records = view.run()
    assert view.records == records
    assert [record.name for record in records] == list(STAGES)
    assert view.workflow.report.inputs[0].dtype == "HALF"
    assert view.workflow.report.profiles
    assert (view.running, view.message, view.selected) == (False, "", "compare")
    for stage, record in zip(view.stages, records, strict=True):
        assert (stage["state"], stage["note"]) == (pipeline.tables.STATES[record.status], record.executor)
        assert (stage["seconds"], stage["fraction"]) == (record.seconds or 0.0, None)
        assert bool(stage["time"]) is (record.seconds is not None)
    assert "agrees with the reference" in words_of(view)
    for record in records:
        tell(view, selected=record.name)
        assert record.went_in in words_of(view)
        drawing = draw_artefact(record)
        assert (view.detail, faults(drawing.html, drawing.text)) == (drawing.html, [])
    if importlib.util.find_spec("tensorrt_rtx"):
        assert "Optimizing graph" in notes


def test_the_selection_follows_the_run_unless_the_reader_is_elsewhere(view, monkeypatch):
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "selected")
    finish(monkeypatch, build=lambda _flow: tell(view, selected="enqueue"))
    view.run()
    assert view.selected == "compare"
    assert seen[seen.index("enqueue") + 1] == "device_to_host"  # a reader who looks ahead stays until the run is there


def test_an_engine_is_inspected_and_a_stand_in_says_why_not():
    ran = Execution(outputs={}, calls_agree=True, seconds={}, device="", repeats=1, inspector='{"Layers": 1}')
    for artefact, words, folds in ((ran, ran.inspector, 1), ("a session", "EngineInspector needs a deserialised", 0)):
        page = alike(draw_artefact(replace(finished().records["deserialise"], artefact=artefact)), words)
        assert page.words.count("EngineInspector, as JSON") == folds


def test_progress_of_the_builder_is_shown_on_the_running_stage(view, monkeypatch):
    seen = []

    def build(flow):
        for parent, step, done in ((None, 1, False), ("build", 1, False), ("build", 3, False), ("build", 4, True)):
            progress = pipeline.Progress(name="Tactics", parent=parent, step=step, steps=4, done=done, seconds=0.1)
            flow.on_progress(progress)
            (stage,) = [stage for stage in view.stages if stage["state"] == "running"]
            seen.append((stage["name"], stage["note"], stage["fraction"]))

    finish(monkeypatch, build=build)
    view.run()
    now = ("build", "Tactics")
    assert seen == [("build", "", None), (*now, 0.25), (*now, 0.75), (*now, 0.75)]


def test_run_again_starts_from_nothing_and_start_while_running_changes_nothing(view, monkeypatch):
    finish(monkeypatch)
    first, workflow = view.run(), view.workflow
    gate = threading.Event()
    finish(monkeypatch, export=lambda _flow: gate.wait(PATIENCE_S))
    send(view, {"what": "run"})
    assert view.running
    assert set(states(view).values()) <= {"waiting", "running"}
    until(lambda: "Export is running" in words_of(view))  # and no artefact of the run before
    now = view._thread, view.workflow
    view.start()
    send(view, {"what": "run"})
    assert (view._thread, view.workflow) == now
    gate.set()
    settle(view)
    assert view.workflow is not workflow
    assert view.workflow.directory != workflow.directory
    assert [record.name for record in view.records] == [record.name for record in first]


# --- cancel ----------------------------------------------------------------------------------------------------------


@needs_rtx
@pytest.mark.slow
def test_cancel_in_the_middle_of_a_real_build(view):
    """ResNet-18 builds for more than a second; what is seen of the cancel does not wait for the builder."""
    tell(view, choice={"model": "resnet18"})
    view.start()
    until(lambda: states(view)["build"] == "running" and view.stages[4]["note"])
    tell(view, selected="build")
    send(view, {"what": "cancel"})
    assert not view.running
    assert list(states(view).values()) == ["done"] * 4 + ["cancelled"] + ["waiting"] * 7
    assert "Build did not finish." in words_of(view)
    assert "Cancelled. Finished stages keep their artefacts" in words_of(view)
    view._thread.join(10)
    assert not view._thread.is_alive()  # the builder was told, too
    tell(view, choice={"model": "digits"})
    assert [record.name for record in view.run()] == list(STAGES)
    assert set(states(view).values()) <= FINAL
    assert view.message == ""


def test_a_stage_that_cannot_be_stopped_ends_unheard(view, monkeypatch):
    """torch cannot be interrupted: its thread goes on, but nothing it says changes the picture, even of a new run."""
    gate, entered = threading.Event(), threading.Event()

    def export(flow):
        entered.set()
        assert gate.wait(PATIENCE_S)
        flow.on_progress(pipeline.Progress(name="late", parent="x", step=1, steps=2, done=False, seconds=1.0))

    finish(monkeypatch, export=export)
    view.start()
    assert entered.wait(PATIENCE_S)
    old = view._thread
    view.cancel()
    assert states(view)["export"] == "cancelled"
    finish(monkeypatch)
    view.run()
    changes = []
    view.observe(changes.append, ["stages", "selected", "message"])
    gate.set()
    old.join(PATIENCE_S)
    assert changes == []
    assert set(states(view).values()) <= FINAL


def test_cancel_at_any_moment_leaves_no_stage_running(view, monkeypatch):
    """The run's thread and the page's cancel meet at every stage; once it is over, cancel is nothing."""
    finish(monkeypatch)
    for name in STAGES:
        view.start()
        until(lambda name=name: states(view)[name] != "waiting" or not view.running)
        view.cancel()
        settle(view)
        assert (view.running, "running" in states(view).values()) == (False, False)
    before = view.stages, view.message
    send(view, {"what": "cancel"})
    assert (view.stages, view.message) == before


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "state", "words"),
    [
        ("export", ZeroDivisionError(EVIL), "failed", ["ZeroDivisionError", "<script>", "defect of trtlab"]),
        ("compare", UnsupportedTarget(EVIL, hint=EVIL), "failed", ["UnsupportedTarget", "Way out", "<script>"]),
        ("build", BuildCancelled("Somebody else did."), "cancelled", ["Cancelled"]),
        ("parse", ZeroDivisionError("no ink"), "failed", ["no ink"]),
    ],
)
def test_what_a_stage_or_its_drawing_raises_is_shown_and_ends_the_run(view, monkeypatch, name, error, state, words):
    if name == "parse":
        monkeypatch.setattr(pipeline.tables, "draw_layers", failing(error))
    finish(monkeypatch, **({} if name == "parse" else {name: failing(error)}))
    view.run()
    assert (view.running, states(view)[name]) == (False, state)
    assert view.selected == name or state == "cancelled"
    assert "running" not in states(view).values()
    tell(view, selected=name)
    monkeypatch.undo()
    for word in [*words, f"{WORKFLOW[name].title} did not finish."]:
        assert word in words_of(view)
    finish(monkeypatch)
    view.run()
    assert set(states(view).values()) <= FINAL


# --- what the page may say -------------------------------------------------------------------------------------------


def test_a_wrong_choice_names_the_choices_and_a_strange_message_changes_nothing(view):
    before = view.choice
    for name, value in (("model", "vgg"), ("precision", "INT4"), ("dynamic", "yes"), ("major", "9"), ("model", ["x"])):
        known = ", ".join(str(key) for key, _ in view.options[name])
        with pytest.raises(traitlets.TraitError, match=rf"{name} is .+{known}"):
            view.choice = before | {name: value}
    strange = [None, ["run"], {}, {"what": "fly"}, {"what": ["run"]}, {"what": {"run": 1}}]
    choices = [None, [], {}, {"model": "digits"}, before | {"target": "SM90"}]
    for content in [*strange, *({"what": "run", "choice": choice} for choice in choices)]:
        send(view, content)
    assert (view.running, view.choice, view.selected) == (False, before, "export")


def test_a_run_brings_its_choice_along_and_says_when_what_is_shown_is_the_one_before(view, monkeypatch):
    """Where the kernel was busy, the message that starts the run overtakes the one that saves the choice."""
    finish(monkeypatch)
    send(view, {"what": "run", "choice": view.choice | {"precision": "FP16"}})
    settle(view)
    assert view.workflow.precision == view.choice["precision"] == "FP16"
    assert "--onnx=digits-fp16.onnx" in view.command
    assert "Shapes" not in view.command
    tell(view, choice={"precision": "FP32", "dynamic": True})
    assert view.command.count("Shapes=") == 3
    assert "the run before this choice" in words_of(view)
