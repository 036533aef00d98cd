"""teach/stepper: a model going through the rewriter one step at a time: `RewriteStepper("inception")`.

In: a model (a teaching model, a path, a ModelProto, a file from the page) and rules. Out: `RewriteStepper`. A `Story`
has the steps and their drawings; what the page asks for is done in a thread, so that the kernel stays free;
static/stepper.js only shows what is here.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import traitlets

from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.onnxfile import OnnxModel, count_nodes, source_from_model
from trtlab.graph.rewrite import Report, chosen
from trtlab.graph.rule import Rule
from trtlab.graph.rules import RULES
from trtlab.teach.drawing import Drawing, SvgDrawing, card, escape, table, text_table
from trtlab.teach.graph.svg import counted, side_by_side
from trtlab.teach.story import Model, Story, about, draw_about
from trtlab.teach.widget import STATIC, Widget

Shown = dict[str, Any]
OWN = " (yours)"
"""Ends the names of models that are not offered."""
MOST_NODES = 5000
"""What the page takes; a larger model is rewritten in a cell, where it may block."""
ROWS = 40


class RewriteStepper(Widget):
    """A model, the rules to try on it, and every step they make: before and after, counted and explained.

    `position` 0 shows the first graph and the last, 1 the first step, and so on. `go(position)` and `choose(model=,
    rules=)` do from Python what the page does; `report` and `model` are what is shown now. `models` are offered by
    name: functions, protos or paths. ValueError, KeyError and OSError say what was expected.
    """

    _esm = STATIC / "stepper.js"
    _css = "".join((STATIC / f"{name}.css").read_text("utf-8") for name in ("cards", "graphview", "stepper"))
    models: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    run = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        model: OnnxModel = "conv_bn_relu",
        rules: Iterable[str | Rule] | None = None,
        models: Mapping[str, Model] | None = None,
    ) -> None:
        self._models: dict[str, Model] = dict(TEACHING_MODELS if models is None else models)
        self._rules = dict(RULES)
        self._lock = threading.RLock()  # threads answer the page while cells run
        self._request, self._choosing, self._file = 0, False, bytearray()
        self._thread: threading.Thread | None = None
        super().__init__(shown={"serial": 0})
        self.choose(model, rules)
        self.on_msg(self._on_message)

    @property
    def report(self) -> Report:
        """The steps and refusals of the present model and rules."""
        return self._story.report

    @property
    def position(self) -> int:
        """Which step is shown; 0 is the whole way."""
        return int(self.shown["position"])

    @property
    def model(self) -> onnx.ModelProto:
        """The model after the step that is shown; for position 0, the end."""
        return self._story.model(self.position or len(self.report.steps))

    def choose(self, model: OnnxModel | None = None, rules: Iterable[str | Rule] | None = None) -> None:
        """Another model, other rules, or both. None keeps the model; None for rules is all of them."""
        name, offered = self._offered(model)
        self._hold(self._begun(), *self._told(Story(name, offered, chosen(rules)), 0))

    def go(self, position: int) -> None:
        """Show step `position`, counted from 1; 0 shows the whole way."""
        if not 0 <= position <= len(self.report.steps):
            raise ValueError(f"no step {position}: there are {len(self.report.steps)}, and 0 is the whole way")
        self._hold(self._begun(), *self._told(self._story, position))

    def wait(self) -> None:
        """Until what the page asked for is shown."""
        if self._thread is not None:
            self._thread.join()

    def static(self) -> Drawing:
        """The first graph and the last, with their counts and the steps between them."""
        story = self._story
        counts = [(c["label"], c["before"], c["after"], c["total"]) for c in story.counts(0)]
        svg = side_by_side({f"{head}: {panel.caption}": panel.svg for head, panel in story.panels(0).items()})
        head = f"{story.name}: {counted(len(story.report.steps), 'step')} of {counted(len(story.rules), 'rule')}"
        steps = [(str(s.number + 1), self._title(s.rule), s.what) for s in story.report.steps[:ROWS]]
        facts = table(("", "start", "end", ""), [[escape(cell) for cell in row] for row in counts])
        drawn = f'<div class="gv gv-static"><div class="gv-canvas">{svg}</div></div>'
        style = (STATIC / "graphview.css").read_text("utf-8")
        words = [head, text_table(("", "start", "end", ""), counts), text_table(("", "rule", "step"), steps)]
        markup = f"<style>{style}</style>{card(f'<b>{escape(head)}</b>', drawn + facts)}"
        return SvgDrawing(html=markup, text="\n".join(words), svg=svg)

    # --- state ------------------------------------------------------------------------------------------------------

    def _offered(self, model: OnnxModel | None) -> tuple[str, Model]:
        """The name of a model and where it comes from."""
        if model is None:
            return self._story.name, self._story.offered
        if isinstance(model, str) and model in self._models:
            return model, self._models[model]
        if isinstance(model, str) and not Path(model).expanduser().exists():
            raise KeyError(f"no model {model!r}; there are {', '.join(self._models)}, or pass the path of a file")
        return source_from_model(model).name + OWN, model

    def _told(self, story: Story, position: int) -> tuple[Story, Shown]:
        """What the page shows of a story: the work of drawing is done here, and nothing is changed."""
        steps, panels = story.report.steps, story.panels(position)
        step = steps[position - 1] if position else None
        end = f"{counted(len(steps), 'step')} in all: step forward to see each by itself."
        seen = [{**asdict(panel), "head": head} for head, panel in panels.items()]
        rule = next((rule for rule in story.rules if step and rule.name == step.rule), None)
        return story, {
            "position": position,
            "title": f"Step {position} of {len(steps)}: {about(rule).title}" if rule else "From start to end",
            "rule": step.rule if step else "",
            "what": step.what if step else end if steps else "None of the chosen rules finds anything to do here.",
            "counts": story.counts(position),
            "panels": seen,
            "legend": list({text: [css, text] for panel in panels.values() for css, text in panel.legend}.values()),
            "about": draw_about(rule) if rule else "",
        }

    def _title(self, rule: str) -> str:
        return about(self._rules[rule]).title

    def _hold(self, request: int, story: Story, shown: Shown) -> None:
        """The one place where the state changes, unless something else was asked for meanwhile."""
        with self._lock, self.hold_sync():
            if request != self._request:
                return
            self._story, self._choosing = story, False
            self._rules |= {rule.name: rule for rule in story.rules}
            self._models[story.name] = story.offered
            self.models = list(self._models)
            self.run = self._listed(story)
            self.shown = shown | {"message": "", "serial": self.shown["serial"] + 1}

    def _listed(self, story: Story) -> dict[str, Any]:
        """The rules with their steps, and what was left alone."""
        refusals, on = story.report.refusals, {rule.name for rule in story.rules}
        rows = [
            {
                "name": name,
                "title": about(rule).title,
                "meaning": about(rule).meaning,
                "on": name in on,
                "steps": [step.number + 1 for step in story.report.steps if step.rule == name],
                "refused": sum(refusal.rule == name for refusal in refusals),
            }
            for name, rule in self._rules.items()
        ]
        left = [[self._title(r.rule), " + ".join(r.where[:4]) + " …" * (len(r.where) > 4), r.reason] for r in refusals]
        return {
            "model": story.name,
            "count": len(story.report.steps),
            "rules": rows,
            "refusals": left[:ROWS],
            "refused": len(left),
        }

    # --- what the page asks for -------------------------------------------------------------------------------------

    def _begun(self) -> int:
        """The number of a new request: answers to earlier ones are not wanted any more."""
        with self._lock:
            self._request += 1
            return self._request

    def _on_message(self, _widget: Any, content: Any, buffers: Any) -> None:
        """A step, a choice of model and rules, or a piece of a file; anything else is no wish of ours."""
        match content:
            case {"do": "go", "to": int(to)} if not self._choosing and 0 <= to <= len(self.report.steps):
                story = self._story
                self._start(lambda: self._told(story, to))
            case {"do": "choose", "model": str(name), "rules": list(rules)} if name in self._models:
                self._start_choice(name, self._models[name], rules)
            case {"do": "file", "name": str(name), "at": int(at), "size": int(size), "rules": list(rules)}:
                self._file = self._file if at else bytearray()
                for piece in buffers:
                    self._file += piece
                if len(self._file) == size:
                    self._start_choice(name + OWN, bytes(self._file), rules)

    def _start_choice(self, name: str, offered: Model, rules: list[Any]) -> None:
        picked = [rule for known, rule in self._rules.items() if known in rules]

        def work() -> tuple[Story, Shown]:
            if isinstance(offered, bytes):
                _check_file(offered)
            return self._told(Story(name, offered, tuple(picked)), 0)

        self._choosing = True
        self._start(work, name)

    def _start(self, work: Callable[[], tuple[Story, Shown]], name: str = "") -> None:
        self._thread = threading.Thread(target=self._answer, args=(self._begun(), work, name), daemon=True)
        self._thread.start()

    def _answer(self, request: int, work: Callable[[], tuple[Story, Shown]], name: str) -> None:
        try:
            self._hold(request, *work())
        except Exception as error:  # noqa: BLE001 (whatever fails belongs on the page, not in a thread's log)
            words = str(error.args[0] if isinstance(error, KeyError) else error) or type(error).__name__
            if not isinstance(error, ValueError | TypeError | OSError | MemoryError):
                words += f" ({type(error).__name__}: a defect of trtlab; please report it)"
            self._refuse(
                request, f"{name.removesuffix(OWN)}: {words} Still shown: {self._story.name}." if name else words
            )

    def _refuse(self, request: int, words: str) -> None:
        """Say why not; all else stays as it was."""
        with self._lock:
            if request == self._request:
                self._choosing = False
                self.shown = self.shown | {"message": words, "serial": self.shown["serial"] + 1}


def _check_file(data: bytes) -> None:
    """ValueError for what is no ONNX file, or too large to step through."""
    try:
        number = count_nodes(data).nodes
    except ValueError as error:
        raise ValueError(f"this is no ONNX file ({error}). Expected what onnx.save writes.") from error
    if number > MOST_NODES:
        raise ValueError(
            f"{number:,} nodes are too many to step through here: expected at most {MOST_NODES:,}. "
            "Use trtlab.graph.optimize(path) in a cell."
        )
