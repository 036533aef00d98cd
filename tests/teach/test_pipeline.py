"""teach/pipeline: the widget without a page: what Python shows, and what the page may ask for.

Messages of the page come in as the comm delivers them. No test asserts a time, but nobody waits for ever.
"""

import importlib.util
import os
import subprocess
import sys
import threading
import time

import pytest
import traitlets

from trtlab.engine import recordings
from trtlab.engine.networks import MODELS
from trtlab.engine.nvidia import BuildCancelled, UnsupportedTarget
from trtlab.engine.trtexec import MAJORS
from trtlab.lab.workflow import STAGES, Workflow
from trtlab.teach import PipelineView, draw_artefact, pipeline
from trtlab.teach.drawing import Drawing
from trtlab.teach.tables import TITLES
from trtlab.teach.widget import Widget

from .flows import finished
from .markup import EVIL, read, said_by_both

FINAL = {"done", "stood", "not"}
PATIENCE_S = 60
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


@pytest.fixture
def view(monkeypatch):
    """A pipeline of its own; whatever still runs afterwards is cancelled and waited for."""
    monkeypatch.setattr(pipeline, "_warm_up", lambda: None)
    made = PipelineView()
    yield made
    made.cancel()
    settle(made)
    made.close()


def settle(view):
    if view._thread is not None:
        view._thread.join(PATIENCE_S)
        assert not view._thread.is_alive()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def states(view):
    return {stage["name"]: stage["state"] for stage in view.stages}


def page_of(view):
    """The detail pane and the message, parsed."""
    return read(Drawing(html=view.detail + view.message, text=""))


def tell(view, **state):
    """What the page does when it saves its model."""
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


# --- at rest ---------------------------------------------------------------------------------------------------------


def test_at_rest_every_stage_waits_and_explains_itself(view):
    assert [stage["name"] for stage in view.stages] == list(STAGES)
    assert [stage["title"] for stage in view.stages] == list(TITLES.values())
    assert set(states(view).values()) == {"waiting"}
    assert (view.running, view.records, view.message) == (False, (), "")
    for name in STAGES:
        tell(view, selected=name)
        words = page_of(view).words
        assert f"{TITLES[name]} has not run yet." in words
        assert " ".join(getattr(Workflow, name).__doc__.split()) in words


def test_it_is_a_widget_with_files_that_exist(view):
    assert isinstance(view, Widget)
    assert pipeline.STATIC.joinpath("pipeline.js").exists()
    script = pipeline.STATIC.joinpath("pipeline.js").read_text("utf-8")
    assert "http" not in script
    for name in ("options", "choice", "stages", "running", "selected", "detail", "message", "command"):
        assert f'"{name}"' in script
        assert view.trait_metadata(name, "sync")


def test_the_page_may_only_render_markup_that_python_escaped():
    """innerHTML twice, for `detail` and `message`; everything else is text."""
    script = pipeline.STATIC.joinpath("pipeline.js").read_text("utf-8")
    assert script.count("innerHTML") == script.count('innerHTML = model.get("detail")') + script.count(
        'innerHTML = model.get("message")'
    )
    assert "insertAdjacentHTML" not in script
    assert "eval(" not in script


def test_the_static_form_before_and_after_a_run(view, monkeypatch):
    said_by_both(view.static(), "Pipeline", *TITLES.values())
    finish(monkeypatch)
    view.run()
    compare = finished().records["compare"]
    page = said_by_both(view.static(), *TITLES.values(), compare.came_out, compare.provenance.line().split(",")[0])
    assert page.count("tr") == len(STAGES) + 1


def test_a_notebook_gets_widget_and_static_form(view):
    bundle = view._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["text/plain"] == view.static().text
    assert data["text/html"] == view.static()._repr_mimebundle_()["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_real_run_reaches_the_end(view):
    records = view.run()
    assert [record.name for record in records] == list(STAGES)
    assert view.records == records
    assert set(states(view).values()) <= FINAL
    assert (view.running, view.message, view.selected) == (False, "", "compare")
    for stage, record in zip(view.stages, records, strict=True):
        assert stage["state"] == pipeline.STATES[record.status]
        assert stage["note"] == record.executor
        assert stage["seconds"] == (record.seconds or 0.0)
        assert bool(stage["time"]) is (record.seconds is not None)
        assert stage["fraction"] is None
    page = page_of(view)
    assert page.count("figure") == 16
    assert "✓" in page.words
    assert "agrees with the reference" in page.words
    for record in records:
        tell(view, selected=record.name)
        assert record.went_in in page_of(view).words
        assert view.detail == draw_artefact(record).html


@needs_rtx
def test_choices_reach_the_compiler(view):
    tell(view, choice=view.choice | {"precision": "FP16", "target": "SM120", "dynamic": True})
    view.run()
    report = view.workflow.report
    assert report.targets == ("SM120",)
    assert report.inputs[0].dtype == "HALF"
    assert report.profiles
    assert set(states(view).values()) <= FINAL


def test_the_selection_follows_the_run_unless_the_reader_is_elsewhere(view, monkeypatch):
    finish(monkeypatch)
    view.run()
    assert view.selected == "compare"
    finish(monkeypatch, build=lambda _flow: tell(view, selected="enqueue"))
    tell(view, selected="export")
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "selected")
    view.run()
    ahead = seen.index("enqueue")
    assert seen[ahead + 1] == "device_to_host"  # a reader who looks ahead stays until the run arrives there


def test_the_artefact_is_drawn_with_its_stage():
    flow = finished()
    drawn = {
        "check": "pointwise", "parse": "Network definition", "configure": "optimisation profiles",
        "build": "merged into it", "enqueue": "first values", "compare": "labels right",
    }  # fmt: skip
    for name, words in drawn.items():
        said_by_both(draw_artefact(flow.records[name]), TITLES[name], flow.records[name].came_out)
        assert words in read(draw_artefact(flow.records[name])).words
    for name in ("export", "context"):
        assert draw_artefact(flow.records[name]).html == pipeline.tables.draw_stage(flow.records[name]).html


def test_progress_of_the_builder_is_shown_on_the_running_stage(view, monkeypatch):
    seen = []

    def build(flow):
        report = pipeline.Progress
        for parent, step, done in ((None, 1, False), ("build", 1, False), ("build", 3, False), ("build", 4, True)):
            flow.on_progress(report(name="Optimizing graph", parent=parent, step=step, steps=4, done=done, seconds=0.1))
            (stage,) = [stage for stage in view.stages if stage["state"] == "running"]
            seen.append((stage["name"], stage["note"], stage["fraction"]))

    finish(monkeypatch, build=build)
    view.run()
    now = ("build", "Optimizing graph")
    assert seen == [("build", "", None), (*now, 0.25), (*now, 0.75), (*now, 0.75)]


@needs_rtx
def test_the_real_builder_reports_progress(view):
    notes = []
    view.observe(lambda change: notes.extend(s["note"] for s in change["new"] if s["state"] == "running"), "stages")
    tell(view, choice=view.choice | {"target": "SM86"})
    view.run()
    assert "Optimizing graph" in notes


def test_run_again_starts_from_nothing(view, monkeypatch):
    finish(monkeypatch)
    first, workflow = view.run(), view.workflow
    gate = threading.Event()
    finish(monkeypatch, export=lambda _flow: gate.wait(PATIENCE_S))
    send(view, {"what": "run"})
    assert view.running
    assert set(states(view).values()) <= {"waiting", "running"}
    assert "has not run yet" in page_of(view).words  # and no artefact of the run before
    gate.set()
    settle(view)
    assert view.workflow is not workflow
    assert [record.name for record in view.records] == [record.name for record in first]


def test_start_while_running_changes_nothing(view, monkeypatch):
    gate = threading.Event()
    finish(monkeypatch, check=lambda _flow: gate.wait(PATIENCE_S))
    view.start()
    thread, workflow = view._thread, view.workflow
    for _ in range(3):
        view.start()
        send(view, {"what": "run"})
    assert (view._thread, view.workflow) == (thread, workflow)
    gate.set()
    settle(view)
    assert set(states(view).values()) <= FINAL


# --- cancel ----------------------------------------------------------------------------------------------------------


@needs_rtx
def test_cancel_in_the_middle_of_a_real_build(view):
    """ResNet-18 builds for more than a second; what is seen of the cancel does not wait for the builder."""
    tell(view, choice=view.choice | {"model": "resnet18"})
    view.start()
    until(lambda: states(view)["build"] == "running" and view.stages[4]["note"])
    tell(view, selected="build")
    send(view, {"what": "cancel"})
    assert not view.running
    assert states(view)["build"] == "cancelled"
    assert [state for name, state in states(view).items() if name != "build"] == ["done"] * 4 + ["waiting"] * 7
    words = page_of(view).words
    assert "Build did not finish." in words
    assert "Cancelled. Finished stages keep their artefacts" in words
    thread = view._thread
    thread.join(10)
    assert not thread.is_alive()  # the builder was told, too
    assert states(view)["build"] == "cancelled"
    tell(view, choice=view.choice | {"model": "digits"})
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
    picture = view.stages
    gate.set()
    old.join(PATIENCE_S)
    assert view.stages == picture
    assert set(states(view).values()) <= FINAL


def test_cancel_at_any_moment_leaves_no_stage_running(view, monkeypatch):
    """The run's thread and the page's cancel meet at every stage, many times."""
    finish(monkeypatch)
    for number in range(60):
        view.start()
        name = STAGES[number % len(STAGES)]
        until(lambda name=name: states(view)[name] != "waiting" or not view.running)
        view.cancel()
        settle(view)
        assert not view.running
        assert "running" not in states(view).values()


def test_cancel_when_nothing_runs_changes_nothing(view):
    before = view.stages
    send(view, {"what": "cancel"})
    assert (view.stages, view.message) == (before, "")


# --- what goes wrong -------------------------------------------------------------------------------------------------


@needs_rtx
def test_a_target_that_cannot_run_the_model(view):
    """SM75 has no FP32 matrix product: the builder refuses, the message says so, and another target works."""
    tell(view, choice=view.choice | {"target": "SM75"})
    records = view.run()
    assert [record.name for record in records] == ["export", "check", "parse", "configure"]
    assert states(view)["build"] == "failed"
    assert (view.running, view.selected) == (False, "build")
    assert next(stage["note"] for stage in view.stages if stage["name"] == "build") == UnsupportedTarget.__name__
    words = page_of(view).words
    assert "UnsupportedTarget" in words
    assert "Way out:" in words
    assert "defect" not in words
    tell(view, choice=view.choice | {"precision": "FP16"})
    view.run()
    assert set(states(view).values()) <= FINAL
    assert view.message == ""


def test_an_error_with_markup_in_it_stays_text(view, monkeypatch):
    def parse(_flow):
        raise UnsupportedTarget(EVIL, hint=EVIL)

    finish(monkeypatch, parse=parse)
    view.run()
    assert page_of(view).words.count("<script>") == 2


@pytest.mark.parametrize("name", ["export", "build", "compare"])
def test_a_defect_in_a_stage_is_shown_and_does_not_stay_running(view, monkeypatch, name):
    def stage(_flow):
        raise ZeroDivisionError(EVIL)

    finish(monkeypatch, **{name: stage})
    tell(view, selected=name)
    view.run()
    assert states(view)[name] == "failed"
    assert "running" not in states(view).values()
    assert (view.running, view.selected) == (False, name)
    words = page_of(view).words
    assert "ZeroDivisionError" in words
    assert "This is a defect of trtlab; please report it." in words
    assert f"{TITLES[name]} did not finish." in words
    finish(monkeypatch)
    view.run()
    assert set(states(view).values()) <= FINAL


def test_a_defect_in_a_drawing_is_shown_too(view, monkeypatch):
    def draw(_report):
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr(pipeline.tables, "draw_layers", draw)
    finish(monkeypatch)
    view.run()
    assert states(view)["parse"] == "failed"
    assert not view.running
    assert "no ink" in page_of(view).words


def test_a_cancel_that_came_from_elsewhere_leaves_no_run_behind(view, monkeypatch):
    def build(_flow):
        raise BuildCancelled("Somebody cancelled it.")

    finish(monkeypatch, build=build)
    view.run()
    assert not view.running
    assert states(view)["build"] == "cancelled"


def test_a_combination_without_recording_says_what_is_recorded(view, monkeypatch):
    """As on a machine without a compiler: portable plans are not among the recordings."""

    def parse(flow):
        return recordings.load(recordings.key("digits", flow.precision, flow.target, dynamic_batch=False))

    finish(monkeypatch, parse=parse)
    tell(view, choice=view.choice | {"target": "portable"})
    view.run()
    assert states(view)["parse"] == "failed"
    assert "Recorded are digits-FP16" in page_of(view).words


# --- what the page may say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("model", "vgg", "digits, resnet18, transformer"), ("precision", "INT8", "FP32, FP16"),
        ("target", "SM90", "SM89, SM75, SM80, SM86, SM120, SM121, portable"), ("dynamic", "yes", "False, True"),
        ("major", "9", "8, 10, 11"), ("model", None, "digits"), ("model", ["digits"], "digits"),
    ],
)  # fmt: skip
def test_a_wrong_choice_names_the_choices(view, name, value, known):
    before = view.choice
    with pytest.raises(traitlets.TraitError, match=rf"{name} is .+; expected one of {known}"):
        view.choice = view.choice | {name: value}
    assert view.choice == before
    if isinstance(value, str) and name != "dynamic":
        with pytest.raises(traitlets.TraitError):
            PipelineView(**{name: value})


def test_a_choice_must_be_whole(view):
    with pytest.raises(traitlets.TraitError, match="precision is None; expected one of FP32, FP16"):
        view.choice = {"model": "digits"}


def test_only_a_stage_can_be_selected(view):
    with pytest.raises(traitlets.TraitError, match="selected is 'fly'; expected one of export, check"):
        view.selected = "fly"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "run",
        3,
        [],
        ["run"],
        {},
        {"what": None},
        {"what": "fly"},
        {"what": ["run"]},
        {"what": {"run": 1}},
        {"run": True},
    ],
    ids=str,
)
def test_a_message_that_makes_no_sense_is_ignored(view, content):
    send(view, content)
    assert not view.running
    assert set(states(view).values()) == {"waiting"}


@pytest.mark.parametrize("choice", [None, "digits", [], {}, {"model": "vgg"}])
def test_a_run_of_a_choice_that_does_not_exist_is_ignored(view, choice):
    before = view.choice
    send(view, {"what": "run", "choice": choice})
    assert (view.running, view.choice) == (False, before)


def test_a_run_brings_its_choice_along(view, monkeypatch):
    """Where the kernel was busy, the message that starts the run overtakes the one that saves the choice."""
    finish(monkeypatch)
    send(view, {"what": "run", "choice": view.choice | {"precision": "FP16"}})
    settle(view)
    assert view.workflow.precision == view.choice["precision"] == "FP16"
    assert "fp16" in view.command


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_follows_every_choice(view):
    assert view.command.startswith("trtexec --onnx=digits-fp32.onnx")
    tell(view, choice=view.choice | {"precision": "FP16", "model": "transformer"})
    assert "--onnx=transformer-fp16.onnx" in view.command
    for major in MAJORS:
        tell(view, choice=view.choice | {"major": major})
        assert ("--fp16" in view.command) is (major == "8")
        assert ("--stronglyTyped" in view.command) is (major == "10")
    assert "Shapes" not in view.command
    tell(view, choice=view.choice | {"model": "digits", "dynamic": True})
    assert "--minShapes=image:1x1x8x8 --optShapes=image:16x1x8x8 --maxShapes=image:64x1x8x8" in view.command


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_batch_and_a_command(view, name):
    tell(view, choice=view.choice | {"model": name, "dynamic": True})
    assert f"--onnx={name}-fp32.onnx" in view.command
    assert view.command.count("Shapes=") == 3
    assert set(MODELS) == {key for key, _ in view.options["model"]}


# --- what stays behind -----------------------------------------------------------------------------------------------


def test_each_run_has_a_folder_of_its_own(view, monkeypatch):
    finish(monkeypatch, serialise=lambda flow: (flow.directory / "x.plan").write_bytes(b"x"))
    view.run()
    view.run()
    assert len(list(view._folder.rglob("x.plan"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "then", ["", "time.sleep(0.5)", "view.run()"], ids=["at once", "while warming up", "after a run"]
)
def test_an_interpreter_that_ends_ends_quietly_and_leaves_no_plans(tmp_path, then):
    """The compiler is warmed up and torch imported in the background; leaving in the middle of that is fine."""
    code = f"import time; from trtlab.teach import PipelineView; view = PipelineView(); {then}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not [path for path in tmp_path.glob("trtlab-*") if path.is_dir()]
