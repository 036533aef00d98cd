"""teach/stepper: a model going through the rewriter one step at a time: `RewriteStepper("inception")`.

In: a model (a teaching model, a path, a ModelProto, a file from the page) and rules. Out: `RewriteStepper`. A `Story`
has the steps; their pictures come from teach/graph, the words about a rule from its docstring. static/stepper.js only
shows what is here.
"""

import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import traitlets

from trtlab.engine.nvidia.errors import CompilerError
from trtlab.graph.load import read
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.onnxfile import OnnxModel, count_nodes, source_from_model
from trtlab.graph.rewrite import Report, chosen, optimize
from trtlab.graph.rule import Rule
from trtlab.graph.rules import RULES
from trtlab.lab.compare import compare_groups
from trtlab.numeric.units import counted
from trtlab.teach import card as ui
from trtlab.teach import source, svg
from trtlab.teach.card import Cell, SvgDrawing
from trtlab.teach.fusion import draw_agreement
from trtlab.teach.graph.change import Model, Shown, Story, counts_of
from trtlab.teach.graph.draw import still
from trtlab.teach.widget import Widget, script, styles

OURS = "trtlab's own rewriting, step by step. NVIDIA's builder shows no steps, only its kernels: draw_agreement(model)."
OWN = " (yours)"
"""Ends the names of models that are not offered."""
MOST_NODES = 5000
"""What the page takes; a larger model is rewritten in a cell."""


class RewriteStepper(Widget):
    """A model, the rules to try on it, and every step they make: before and after, counted and explained.

    `position` 0 shows the first graph and the last, 1 the first step, and so on. `go(position)` and `choose(model=,
    rules=)` do from Python what the page does; `report` and `model` are what is shown now. ValueError, KeyError and
    OSError say what was expected.
    """

    _esm = script("stepper")
    _css = styles("cards", "graphview", "stepper")
    models: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    run = traitlets.Dict().tag(sync=True)

    def __init__(self, model: OnnxModel = "conv_bn_relu", rules: Iterable[str | Rule] | None = None) -> None:
        self._models: dict[str, Model] = dict(TEACHING_MODELS)
        self._rules = dict(RULES)
        self._file, self._beside = bytearray(), dict[str, bytes]()
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
        if model is None:
            name, offered = self._story.name, self._story.offered
        elif isinstance(model, str) and model in self._models:
            name, offered = model, self._models[model]
        elif isinstance(model, str) and not Path(model).expanduser().exists():
            raise KeyError(f"no model {model!r}; there are {', '.join(self._models)}, or pass the path of a file")
        else:
            name, offered = source_from_model(model).name + OWN, model
        self._tell(name, offered, chosen(rules))

    def go(self, position: int) -> None:
        """Show step `position`, counted from 1; 0 shows the whole way."""
        if position not in range(len(self.report.steps) + 1):
            raise ValueError(f"no step {position!r}: there are {len(self.report.steps)}, and 0 is the whole way")
        self._show(_told(self._story, int(position)))

    def show_nvidia(self) -> None:
        """Show what NVIDIA's builder makes of the model that is shown, beside the end of these steps. CompilerMissing
        where there is neither a compiler nor a recording, another CompilerError where the model is refused."""
        offered = self._story.offered
        model = offered() if callable(offered) else offered
        theirs = draw_agreement(compare_groups(model, rules=self._story.rules))
        with self.hold_sync():
            self.run = self.run | {"nvidia": theirs.html}
            self._show(self.shown | {"message": ""})

    def static(self) -> SvgDrawing:
        """The first graph and the last, with their counts and the steps between them."""
        story, panels = self._story, self._story.panels(0)
        drawn = svg.side_by_side({f"{panel['head']}: {panel['caption']}": panel["svg"] for panel in panels})
        head = f"{story.name}: {counted(len(story.report.steps), 'step')} of {counted(len(story.rules), 'rule')}"
        counts = [(c["label"], c["before"], c["after"], c["total"]) for c in counts_of(story, 0)]
        steps = [(step.number + 1, about(self._rules[step.rule]).title, step.what) for step in story.report.steps]
        parts = still(drawn, _legend(panels)), ui.table(("", "start", "end", "change"), counts), ui.dim(OURS)
        listed = [ui.details("steps", ui.table(("step", "rule", "what"), steps, fold=True))] if steps else []
        return svg.drawing(ui.card(*parts, *listed, head=[ui.bold(head)]), drawn)

    # --- state ------------------------------------------------------------------------------------------------------

    def _tell(self, name: str, offered: Model, rules: tuple[Rule, ...]) -> None:
        """Another story from its start. Whatever fails does so before anything is changed."""
        result, report = optimize(offered() if callable(offered) else offered, rules)
        story = Story(name=name, offered=offered, rules=rules, result=result, report=report)
        shown = _told(story, 0)
        with self.hold_sync():
            self._story = story
            self._rules |= {rule.name: rule for rule in rules}
            self._models[name] = offered
            self.models = list(self._models)
            self.run = self._listed(story)
            self._show(shown)

    def _show(self, shown: Shown) -> None:
        """The serial number makes the page draw, even what it has drawn before."""
        self.shown = {"message": ""} | shown | {"serial": self.shown["serial"] + 1}

    def _listed(self, story: Story) -> Shown:
        """The rules with their steps, and what was left alone."""
        refusals, on, rows = story.report.refusals, {rule.name for rule in story.rules}, []
        for name, rule in self._rules.items():
            steps = [step.number + 1 for step in story.report.steps if step.rule == name]
            refused, told = sum(refusal.rule == name for refusal in refusals), about(rule)
            row = {"name": name, "title": told.title, "meaning": told.meaning, "on": name in on}
            rows.append(row | {"steps": steps, "refused": refused})
        why = [
            (about(self._rules[r.rule]).title, " + ".join(r.where[:4]) + " …" * (len(r.where) > 4), r.reason)
            for r in refusals
        ]
        left = ui.details(f"Left alone: {len(why)}, and why", ui.table(("rule", "where", "why"), why, fold=True))
        return {
            "model": story.name, "count": len(story.report.steps), "rules": rows, "refusals": left.html if why else "",
        }  # fmt: skip

    def _on_message(self, _widget: Any, content: Any, buffers: Any) -> None:
        """A step, a choice of model and rules, or a piece of a file; anything else is no wish of ours. What fails
        belongs on the page, and all else stays as it was."""
        try:
            self._answer(content, buffers)
        except Exception as error:  # noqa: BLE001 (the page says it)
            words = str(error.args[0] if isinstance(error, KeyError) else error) or type(error).__name__
            if not isinstance(error, ValueError | TypeError | OSError | MemoryError | CompilerError):
                words += f" ({type(error).__name__}: a defect of trtlab; please report it)"
            self._show(self.shown | {"message": f"{words} Still shown: {self._story.name}."})

    def _answer(self, content: Any, buffers: Sequence[memoryview]) -> None:
        match content:
            case {"do": "go", "to": int(to)} if 0 <= to <= len(self.report.steps):
                self.go(to)
            case {"do": "nvidia"}:
                self.show_nvidia()
            case {"do": "choose", "model": str(name), "rules": list(rules)} if name in self._models:
                self._tell(name, self._models[name], self._picked(rules))
            case {"do": "file", "name": str(name), "at": int(at), "size": int(size), "rules": list(rules)}:
                self._file = self._file if at else bytearray()
                for piece in buffers:
                    self._file += piece
                if len(self._file) == size:
                    self._take(name, bytes(self._file), self._picked(rules))

    def _take(self, name: str, data: bytes, rules: tuple[Rule, ...]) -> None:
        """A whole file of the page: a model, which comes last, or weights that stand beside it. ValueError for what is
        no ONNX file, or too large to step through."""
        if not name.endswith(".onnx"):
            self._beside[name] = data
            return
        beside, self._beside = self._beside, {}
        model = _together(name, data, beside) if beside else data
        number = count_nodes(source_from_model(model, name).proto()).nodes
        if number > MOST_NODES:
            raise ValueError(
                f"{name}: {number:,} nodes are too many to step through here: expected at most {MOST_NODES:,}. "
                "Use trtlab.graph.optimize(path) in a cell."
            )
        self._tell(name + OWN, model, rules)

    def _picked(self, names: Sequence[Any]) -> tuple[Rule, ...]:
        return tuple(rule for name, rule in self._rules.items() if name in names)


def _together(name: str, data: bytes, beside: Mapping[str, bytes]) -> onnx.ModelProto:
    """The model with the weights of the files beside it."""
    with tempfile.TemporaryDirectory() as folder:
        for each, content in {**beside, name: data}.items():
            (Path(folder) / Path(each).name).write_bytes(content)
        return read(Path(folder) / Path(name).name)


# --- one step, as the page shows it -----------------------------------------------------------------------------------


def _told(story: Story, position: int) -> Shown:
    steps, panels = story.report.steps, story.panels(position)
    step = steps[position - 1] if position else None
    end = f"{counted(len(steps), 'step')} in all: step forward to see each by itself."
    rule = next((rule for rule in story.rules if step and rule.name == step.rule), None)
    return {
        "position": position,
        "title": f"Step {position} of {len(steps)}: {about(rule).title}" if rule else "From start to end",
        "rule": step.rule if step else "",
        "what": step.what if step else end if steps else "None of the chosen rules finds anything to do here.",
        "counts": counts_of(story, position),
        "panels": panels,
        "legend": _legend(panels),
        "about": draw_about(rule).html if rule else "",
    }


def _legend(panels: Iterable[Shown]) -> list[list[str]]:
    return list({text: [css, text] for panel in panels for css, text in panel["legend"]}.values())


# --- a rule in words --------------------------------------------------------------------------------------------------


class About(NamedTuple):
    """A rule in words, from its docstring: title, one line, before -> after, and the algebra."""

    title: str
    meaning: str
    picture: str
    algebra: str


def about(rule: Rule) -> About:
    """What the rule's docstring says; its name is the title where that has none."""
    head, *blocks = (inspect.getdoc(rule) or "").split("\n\n")
    title, _, meaning = head.rpartition(":")
    drawn = [part for part in blocks if "->" in part and part.startswith("    ")]
    # a docstring's lines become paragraphs again; formulas, which are indented, keep theirs
    algebra = re.sub(r"(?m)^(\S.*)\n(?=\S)", r"\1 ", "\n\n".join(part for part in blocks if part not in drawn))
    return About(
        title=title or rule.name.replace("_", " "),
        meaning=" ".join(meaning.split()),
        picture=inspect.cleandoc("\n" + "\n".join(drawn)),
        algebra=algebra,
    )


def draw_about(rule: Rule) -> Cell:
    """Before -> after, algebra, and on demand the code."""
    told = about(rule)
    functions: tuple[Callable[..., Any], ...] = (rule.pattern, rule.check, rule.rewrite)
    code = ui.details("Source: pattern, check, rewrite", *map(_source, functions))
    head = ui.join([ui.bold(told.title), told.meaning], ": ")
    picture, algebra = ui.pre(told.picture), ui.block(told.algebra, "st-algebra")
    return ui.stack([head, *[picture] * bool(told.picture), *[algebra] * bool(told.algebra), code])


def _source(function: Callable[..., Any]) -> Cell:
    try:
        return source.show(function)
    except TypeError:  # typed into a terminal
        return ui.callout(f"{function.__qualname__} has no Python source")
