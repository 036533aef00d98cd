"""teach/pipeline: the whole workflow as a widget: choose, run, watch each stage light up, look inside, cancel.

In: choices of the learner. Out: `PipelineView`, whose `records` are the stage records of the last run. A daemon thread
runs the stages, so the notebook stays usable; static/pipeline.js only renders what is here.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import traitlets

from trtlab.engine.machine import inspect_machine
from trtlab.engine.networks import MODELS
from trtlab.engine.nvidia.errors import BuildCancelled, CompilerError
from trtlab.engine.nvidia.explain import DEFAULT_TARGET, PORTABLE, normalise_targets, warm
from trtlab.engine.nvidia.report import Progress
from trtlab.lab import workflow
from trtlab.lab.workflow import STAGES, WORKFLOW, Precision, StageRecord, Workflow
from trtlab.numeric.units import seconds_text
from trtlab.teach import tables
from trtlab.teach.card import Cell, Drawing, bold, callout, card, code, details, dim, join, pre, stack
from trtlab.teach.graph.view import GraphView
from trtlab.teach.widget import Widget, script, styles

WAITING = {"state": "waiting", "note": "", "time": "", "seconds": 0.0, "fraction": None}


class PipelineView(Widget):
    """The workflow of one teaching model. `choice` holds model, precision, target, dynamic and TensorRT major.

    `start()` runs in the background, `run()` waits for the end, `cancel()` stops; the buttons do the same. `records`
    are the finished stages in order, `workflow` the last run itself, `error` what ended it early.
    """

    _esm = script("pipeline")
    _css = styles("cards", "pipeline")
    options = traitlets.Dict().tag(sync=True)
    choice = traitlets.Dict().tag(sync=True)
    stages: Any = traitlets.List().tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    selected = traitlets.Enum(STAGES, STAGES[0]).tag(sync=True)
    detail = traitlets.Unicode("").tag(sync=True)
    message = traitlets.Unicode("").tag(sync=True)
    command = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, model: str = "digits", *, precision: Precision = "FP32", target: str | None = None,
        dynamic: bool = False, major: str = "11",
    ) -> None:  # fmt: skip
        self.workflow: Workflow | None = None
        self.error: Exception | None = None
        self._cancel, self._thread = threading.Event(), threading.Thread()
        self._lock = threading.RLock()  # a run's thread and the page's messages change the stages
        self._shown: tuple[Any, ...] = ()
        super().__init__(options=_options(), stages=_waiting())
        self.observe(self._on_choice, "choice")
        with contextlib.suppress(CompilerError):
            warm()  # so that the first Run answers at once
        self.observe(self._show, ["stages", "selected"])
        target = self.options["target"][0][0] if target is None else target
        self.choice = {"model": model, "precision": precision, "target": target, "dynamic": dynamic, "major": major}
        self._show()

    @property
    def records(self) -> tuple[StageRecord, ...]:
        """The finished stages of the last run."""
        return tuple(self.workflow.records.values()) if self.workflow else ()

    def start(self) -> None:
        """Run all stages in the background. Does nothing while a run is under way."""
        with self._lock:
            if self.running:
                return
            self._cancel = threading.Event()
            self.workflow = self._new_workflow(self._cancel)
            self.running, self.message, self.error = True, "", None
            self.selected, self.stages = STAGES[0], _waiting()
            self._thread = threading.Thread(target=self._work, args=(self.workflow, self._cancel), daemon=True)
            self._thread.start()

    def run(self) -> tuple[StageRecord, ...]:
        """Run all stages and wait; returns the records. The widget shows each one as it finishes."""
        self.start()
        self._thread.join()
        return self.records

    def cancel(self) -> None:
        """Stop the run at once: the builder is told to stop, anything else is left to end unheard."""
        with self._lock:
            if not self.running:
                return
            self._cancel.set()
            self._set_stage(self._running_stage(), state="cancelled", note="cancelled", fraction=None)
            words = "Cancelled. Finished stages keep their artefacts; run again whenever you like."
            self.message, self.running = callout(words).html, False

    def static(self) -> Drawing:
        """The stages of the last run, or their names when there was none."""
        if self.records:
            return tables.draw_workflow(self.records)
        return card(" → ".join(stage.title for stage in WORKFLOW.values()), head=[bold("Pipeline")])

    # --- the run ----------------------------------------------------------------------------------------------------

    def _new_workflow(self, cancel: threading.Event) -> Workflow:
        model, precision, target, dynamic = (self.choice[name] for name in ("model", "precision", "target", "dynamic"))
        return Workflow(
            model, precision=precision, target=target, dynamic_batch=dynamic, cancel=cancel,
            on_progress=lambda progress: self._on_progress(cancel, progress),
        )  # fmt: skip

    def _work(self, workflow: Workflow, cancel: threading.Event) -> None:
        """Stage after stage, for as long as this run is listened to: until its cancel is set."""
        for name in STAGES:
            if not self._heard(cancel, self._set_stage, name, state="running", note=""):
                return
            try:
                record = getattr(workflow, name)()
                self._heard(cancel, self._finish, record)
            except BuildCancelled:  # by somebody else
                self._heard(cancel, self.cancel)
                return
            except Exception as error:  # noqa: BLE001 (whatever fails belongs on the screen, not in a thread's log)
                self._heard(cancel, self._fail, name, error)
                return
        self._heard(cancel, self.set_trait, "running", False)

    def _heard(self, cancel: threading.Event, change: Callable[..., None], *what: Any, **values: Any) -> bool:
        """Make a change that a run asks for, unless that run was cancelled."""
        with self._lock:
            if not cancel.is_set():
                change(*what, **values)
            return not cancel.is_set()

    def _set_stage(self, name: str | None, **values: Any) -> None:
        self.stages = [stage | values if stage["name"] == name else stage for stage in self.stages]

    @property
    def _state(self) -> str:
        """Of the selected stage."""
        return str(self.stages[STAGES.index(self.selected)]["state"])

    def _finish(self, record: StageRecord) -> None:
        """The selection follows the run, unless the reader looks at a stage that is still to come."""
        follows = self._state != "waiting"
        took, state = "" if record.seconds is None else seconds_text(record.seconds), tables.STATES[record.status]
        how = {"note": record.executor, "fraction": None, "time": took, "seconds": record.seconds or 0}
        self._set_stage(record.name, state=state, **how)
        self.selected = record.name if follows else self.selected

    def _fail(self, name: str, error: Exception) -> None:
        defect = [] if isinstance(error, CompilerError) else ["This is a defect of trtlab; please report it."]
        self._set_stage(name, state="failed", note=type(error).__name__, fraction=None)
        self.message = stack([tables.draw_error(error), *(callout(words, bad=True) for words in defect)]).html
        self.error, self.running, self.selected = error, False, name

    def _on_progress(self, cancel: threading.Event, progress: Progress) -> None:
        if progress.parent is not None and not progress.done:
            fraction = progress.step / progress.steps if progress.steps else None
            self._heard(cancel, self._set_stage, self._running_stage(), note=progress.name, fraction=fraction)

    def _running_stage(self) -> str | None:
        return next((stage["name"] for stage in self.stages if stage["state"] == "running"), None)

    # --- what the page asks and shows -------------------------------------------------------------------------------

    def hear(self, wish: dict[str, Any]) -> None:
        if wish.get("what") == "run":
            with contextlib.suppress(traitlets.TraitError):  # no choice that a page of ours would send
                self.choice = wish.get("choice", self.choice)
                self.start()
        elif wish.get("what") == "cancel":
            self.cancel()

    @traitlets.validate("choice")
    def _valid_choice(self, proposal: Any) -> dict[str, Any]:
        choice = dict(proposal["value"])
        for name, values in self.options.items():
            if choice.get(name) not in [key for key, _ in values]:
                known = ", ".join(str(key) for key, _ in values)
                raise traitlets.TraitError(f"{name} is {choice.get(name)!r}; expected one of {known}")
        return choice

    def _on_choice(self, _change: Any) -> None:
        if self.records and not self.running:
            self.message = callout("What you see is the run before this choice. Press Run for the new one.").html
        flow, major = self._new_workflow(threading.Event()), self.choice["major"]
        self.command = workflow.trtexec_command(
            flow.model.name, precision=flow.precision, major=major, profile=flow.profiles()
        )

    def _show(self, _change: Any = None) -> None:
        """Draw the selected stage, unless it is drawn already."""
        with self._lock:
            state = self._state
            done = self.workflow and state in tables.STATES.values()
            record = self.workflow.records.get(self.selected) if self.workflow and done else None
            if (self.selected, state, record) != self._shown:
                self.detail = (draw_artefact(record) if record else _explained(self.selected, state)).html
                self._shown = (self.selected, state, record)


def _options() -> dict[str, list[tuple[Any, str]]]:
    """What can be chosen. Targets: those that can be built for here, the default first; recorded ones else."""
    titles = {name: f"{model.title}{'' if model.trained else ' (random weights)'}" for name, model in MODELS.items()}
    machine, targets = inspect_machine(), [DEFAULT_TARGET]
    if machine.compiler == "tensorrt_rtx":
        targets = [*dict.fromkeys((*normalise_targets(None, machine.compiler)[:1], *machine.targets, PORTABLE))]
    return {
        "model": list(titles.items()),
        "precision": [(name, name) for name in workflow.TOLERANCES],
        "target": [(None, "this GPU")] if machine.compiler == "tensorrt" else [(name, name) for name in targets],
        "dynamic": [(False, "static"), (True, "dynamic, with a profile")],
        "major": [(name, f"TensorRT {name}") for name in workflow.MAJORS],
    }


def _waiting() -> list[dict[str, Any]]:
    return [{"name": stage.name, "title": stage.title, **WAITING} for stage in WORKFLOW.values()]


def _explained(name: str, state: str) -> Cell:
    happened = {"waiting": "has not run yet", "running": "is running"}.get(state, "did not finish")
    stage = WORKFLOW[name]
    words = f"{happened}. {stage.does} It makes {stage.makes}, by"
    return dim(join([bold(stage.title), words, code(stage.call)], " "))


def _draw_inspector(ran: Any) -> Cell:
    if hasattr(ran, "inspector"):
        return details("EngineInspector, as JSON", pre(ran.inspector))
    return dim("EngineInspector needs a deserialised engine. The kernels under Build are those of the builder's log.")


def draw_artefact(record: StageRecord) -> Drawing:
    """A stage's card followed by what it made: graph, layers, configuration, kernels, manifest, or predictions."""
    draw: Any = {
        "check": lambda model: GraphView(model).static(),
        "parse": tables.draw_layers,
        "configure": tables.draw_configuration,
        "build": tables.draw_engine,
        "serialise": tables.draw_plan_file,
        "deserialise": _draw_inspector,
        "enqueue": tables.draw_outputs,
        "compare": tables.draw_predictions,
    }.get(record.name)
    stage = tables.draw_stage(record)
    return stage if draw is None or record.artefact is None else stack([stage, draw(record.artefact)])
