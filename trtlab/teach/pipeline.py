"""teach/pipeline: the whole workflow as a widget: choose, run, watch each stage light up, look inside, cancel.

In: choices of the learner. Out: `PipelineView`, whose `records` are the stage records of the last run. A daemon thread
runs the stages, so the notebook stays usable; static/pipeline.js only renders what is here.
"""

import contextlib
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import traitlets

from trtlab.engine import nvidia
from trtlab.engine.machine import inspect_machine
from trtlab.engine.nvidia import BuildCancelled, CompilerError, CompilerMissing, Progress
from trtlab.engine.nvidia.execute import Execution
from trtlab.engine.nvidia.request import DEFAULT_TARGET, PORTABLE, normalise_targets
from trtlab.engine.trtexec import MAJORS, trtexec_command
from trtlab.lab.workflow import STAGES, TOLERANCES, WORKFLOW, Precision, StageRecord, Status, Workflow
from trtlab.teach import tables
from trtlab.teach.drawing import Drawing, callout, details, escape, seconds_text
from trtlab.teach.graph.view import GraphView
from trtlab.teach.widget import STATIC, Widget

STATES = {Status.DONE: "done", Status.STOOD_IN: "stood", Status.IMPOSSIBLE: "not"}
WAITING = {"state": "waiting", "note": "", "time": "", "seconds": 0.0, "fraction": None}


class PipelineView(Widget):
    """The workflow of one teaching model. `choice` holds model, precision, target, dynamic and TensorRT major.

    `start()` runs in the background, `run()` waits for the end, `cancel()` stops; the buttons do the same. `records`
    are the finished stages in order, `workflow` the last run itself.
    """

    _esm = STATIC / "pipeline.js"
    _css = (STATIC / "cards.css").read_text("utf-8") + (STATIC / "pipeline.css").read_text("utf-8")
    options = traitlets.Dict().tag(sync=True)
    choice = traitlets.Dict().tag(sync=True)
    stages: Any = traitlets.List().tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    selected = traitlets.Unicode(STAGES[0]).tag(sync=True)
    detail = traitlets.Unicode("").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    command = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        model: str = "digits",
        *,
        precision: Precision = "FP32",
        target: str | None = None,
        dynamic: bool = False,
        major: str = "11",
    ) -> None:
        self.workflow: Workflow | None = None
        self._run_number, self._cancel = 0, threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._lock = threading.RLock()  # a run's thread and the page's messages change the stages
        self._folder = Path(tempfile.mkdtemp(prefix="trtlab-"))  # plans, one folder for each run
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._options = _options()
        super().__init__(options=self._options, stages=[_waiting(name) for name in STAGES])
        self.on_msg(self._on_message)
        self.observe(self._on_choice, "choice")
        self.observe(lambda _change: self._show(), "selected")
        target = self._options["target"][0][0] if target is None else target
        self.choice = {"model": model, "precision": precision, "target": target, "dynamic": dynamic, "major": major}
        self._show()
        threading.Thread(target=_warm_up, daemon=True).start()

    @property
    def records(self) -> tuple[StageRecord, ...]:
        """The finished stages of the last run."""
        return tuple(self.workflow.records.values()) if self.workflow else ()

    @property
    def error(self) -> Exception | None:
        """What ended the last run early, or None."""
        return self._error

    def start(self) -> None:
        """Run all stages in the background. Does nothing while a run is under way."""
        with self._lock:
            if self.running:
                return
            self._run_number += 1
            self._cancel = threading.Event()
            self.workflow = self._new_workflow(self._run_number, self._cancel)
            self.running, self.message, self._error = True, "", None
            self.selected = STAGES[0]
            self.stages = [_waiting(name) for name in STAGES]
            self._show()
            self._thread = threading.Thread(target=self._work, args=(self._run_number, self.workflow), daemon=True)
            self._thread.start()

    def run(self) -> tuple[StageRecord, ...]:
        """Run all stages and wait; returns the records. The widget shows each one as it finishes."""
        self.start()
        if self._thread is not None:
            self._thread.join()
        return self.records

    def cancel(self) -> None:
        """Stop the run at once: the builder is told to stop, anything else is left to end unheard."""
        with self._lock:
            if not self.running:
                return
            self._cancel.set()
            self._run_number += 1  # the running thread is no longer listened to
            self.stages = [stage | _changes_on_cancel(stage) for stage in self.stages]
            self.message = callout("Cancelled. Finished stages keep their artefacts; run again whenever you like.")
            self.running = False
            self._show()

    def static(self) -> Drawing:
        """The stages of the last run, or their names when there was none."""
        if self.records:
            return tables.draw_workflow(self.records)
        names = " → ".join(stage.title for stage in WORKFLOW.values())
        markup = f'<div class="card"><div class="body"><b>Pipeline</b>: {escape(names)}</div></div>'
        return Drawing(html=markup, text=f"Pipeline: {names}")

    # --- the run ----------------------------------------------------------------------------------------------------

    def _new_workflow(self, number: int, cancel: threading.Event) -> Workflow:
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        return Workflow(
            self.choice["model"],
            precision=self.choice["precision"],
            target=self.choice["target"],
            dynamic_batch=self.choice["dynamic"],
            directory=folder,
            cancel=cancel,
            on_progress=lambda progress: self._on_progress(number, progress),
        )

    def _work(self, number: int, workflow: Workflow) -> None:
        for name in STAGES:
            if number != self._run_number:
                return
            try:
                self._begin_stage(number, name)
                self._finish_stage(number, getattr(workflow, name)())
            except BuildCancelled:
                self._end_cancelled(number)
                return
            except Exception as error:  # noqa: BLE001 (whatever fails belongs on the screen, not in a thread's log)
                self._fail(number, name, error)
                return
        with self._lock:
            if number == self._run_number:
                self.running = False

    def _end_cancelled(self, number: int) -> None:
        with self._lock:
            if number == self._run_number:  # somebody else ended the build, not cancel()
                self.cancel()

    def _begin_stage(self, number: int, name: str) -> None:
        self._set_stage(number, name, state="running", note="")
        if name == self.selected:
            self._show()

    def _set_stage(self, number: int, name: str, **values: Any) -> None:
        with self._lock:
            if number == self._run_number:
                self.stages = [stage | values if stage["name"] == name else stage for stage in self.stages]

    def _finish_stage(self, number: int, record: StageRecord) -> None:
        with self._lock:
            if number == self._run_number:
                self._finish(number, record)

    def _finish(self, number: int, record: StageRecord) -> None:
        follows = self.selected == record.name or self.stages[STAGES.index(self.selected)]["state"] != "waiting"
        self._set_stage(
            number,
            record.name,
            state=STATES[record.status],
            note=record.executor,
            time=seconds_text(record.seconds) if record.seconds is not None else "",
            seconds=record.seconds or 0.0,
            fraction=None,
        )
        if follows and self.selected != record.name:
            self.selected = record.name
        else:
            self._show()

    def _fail(self, number: int, name: str, error: Exception) -> None:
        message = tables.draw_error(error).html
        if not isinstance(error, CompilerError):
            message += callout("This is a defect of trtlab; please report it.", bad=True)
        with self._lock:
            if number == self._run_number:
                self._set_stage(number, name, state="failed", note=type(error).__name__, fraction=None)
                self._error = error
                self.message, self.running, self.selected = message, False, name
                self._show()

    def _on_progress(self, number: int, progress: Progress) -> None:
        if progress.parent is None or progress.done:
            return
        fraction = progress.step / progress.steps if progress.steps else None
        running = next((stage["name"] for stage in self.stages if stage["state"] == "running"), None)
        if running is not None:
            self._set_stage(number, running, note=progress.name, fraction=fraction)

    # --- what the page asks and shows -------------------------------------------------------------------------------

    def _on_message(self, _widget: Any, message: Any, _buffers: Any) -> None:
        what = message.get("what") if isinstance(message, dict) else None
        if what == "run":
            with contextlib.suppress(traitlets.TraitError):  # no choice that a page of ours would send
                self.choice = message.get("choice", self.choice)
                self.start()
        elif what == "cancel":
            self.cancel()

    @traitlets.validate("choice")
    def _valid_choice(self, proposal: Any) -> dict[str, Any]:
        choice = dict(proposal["value"])
        for name, values in self._options.items():
            if choice.get(name) not in [key for key, _ in values]:
                known = ", ".join(str(key) for key, _ in values)
                raise traitlets.TraitError(f"{name} is {choice.get(name)!r}; expected one of {known}")
        return choice

    def _on_choice(self, _change: Any) -> None:
        flow = self._new_workflow(0, threading.Event())
        if self.records and not self.running:
            self.message = callout("What you see is the run before this choice. Press Run for the new one.")
        self.command = trtexec_command(
            flow.model.name, precision=flow.precision, major=self.choice["major"], profile=flow.profiles()
        )

    @traitlets.validate("selected")
    def _valid_selected(self, proposal: Any) -> str:
        if proposal["value"] not in STAGES:
            raise traitlets.TraitError(f"selected is {proposal['value']!r}; expected one of {', '.join(STAGES)}")
        return str(proposal["value"])

    def _show(self) -> None:
        record = self.workflow.records.get(self.selected) if self.workflow else None
        state = self.stages[STAGES.index(self.selected)]["state"]
        drawn = record is not None and state in STATES.values()
        self.detail = draw_artefact(record).html if record and drawn else _explain(self.selected, state)


def _options() -> dict[str, list[tuple[Any, str]]]:
    from trtlab.engine.networks import MODELS

    return {
        "model": [
            (name, f"{model.title}{'' if model.trained else ' (random weights)'}") for name, model in MODELS.items()
        ],
        "precision": [(name, name) for name in TOLERANCES],
        "target": _targets(),
        "dynamic": [(False, "static"), (True, "dynamic, with a profile")],
        "major": [(name, f"TensorRT {name}") for name in MAJORS],
    }


def _targets() -> list[tuple[str | None, str]]:
    """What can be built for here, the default first; without a compiler, what was recorded."""
    machine = inspect_machine()
    if machine.compiler == "tensorrt":
        return [(None, "this GPU")]
    if machine.compiler is None:
        return [(DEFAULT_TARGET, DEFAULT_TARGET)]
    default = normalise_targets(None, machine.compiler)[0]
    names = [default, *(name for name in machine.targets if name != default), PORTABLE]
    return [(name, name) for name in names]


def _warm_up() -> None:
    """Start the compiler and import torch while the learner still reads, so that Run answers at once."""
    with contextlib.suppress(CompilerMissing):  # recordings stand in
        nvidia.warm()
    import torch  # noqa: F401


def _waiting(name: str) -> dict[str, Any]:
    return {"name": name, "title": WORKFLOW[name].title, **WAITING}


def _changes_on_cancel(stage: dict[str, Any]) -> dict[str, Any]:
    return {"state": "cancelled", "note": "cancelled", "fraction": None} if stage["state"] == "running" else {}


def _explain(name: str, state: str) -> str:
    happened = {"waiting": "has not run yet", "running": "is running"}.get(state, "did not finish")
    return f'<p class="dim"><b>{escape(WORKFLOW[name].title)}</b> {happened}. {escape(WORKFLOW[name].does)}</p>'


def _draw_inspector(artefact: Any) -> Drawing:
    """What EngineInspector says, where an engine was deserialised; for a stand-in, why there is no inspector."""
    if not isinstance(artefact, Execution):
        note = (
            "EngineInspector needs a deserialised engine. The kernels under Build come from the builder's log instead."
        )
        return Drawing(html=f'<p class="dim">{escape(note)}</p>', text=note)
    return Drawing(
        html=details("EngineInspector, as JSON", f'<pre class="mono">{escape(artefact.inspector)}</pre>'),
        text=artefact.inspector,
    )


def draw_artefact(record: StageRecord) -> Drawing:
    """A stage's card followed by what it made: graph, layers, configuration, kernels, manifest, or predictions."""
    stage = tables.draw_stage(record)
    draw: Any = {
        "check": lambda model: GraphView(model).static(),
        "deserialise": _draw_inspector,
        "parse": tables.draw_layers,
        "configure": tables.draw_configuration,
        "build": tables.draw_engine,
        "serialise": tables.draw_plan_file,
        "enqueue": tables.draw_outputs,
        "compare": tables.draw_scans,
    }.get(record.name)
    if draw is None or record.artefact is None:
        return stage
    artefact = draw(record.artefact)
    return Drawing(html=stage.html + artefact.html, text=f"{stage.text}\n{artefact.text}")


__all__ = ["PipelineView", "draw_artefact"]
