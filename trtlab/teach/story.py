"""teach/story: what happens to a model under rules, in words, numbers and drawings, for any step.

In: a model and rules. Out: `Story`, whose steps come from trtlab.graph and drawings from stepgraph, and `About`, a rule
in the words of its own file. No widget, no state but the frames it keeps.
"""

import inspect
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx

from trtlab.graph.cost import model_cost
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.rewrite import Step, optimize
from trtlab.graph.rule import Rule
from trtlab.teach import source
from trtlab.teach.drawing import bytes_text, callout, details, escape
from trtlab.teach.graph.change import Frame, Panel, draw_change, draw_whole, frame_of
from trtlab.teach.graph.svg import counted

Counts = tuple[int, int, int]
Model = OnnxModel | Callable[[], onnx.ModelProto]
KEPT_NODES = 20_000
"""Nodes in all the frames that are kept, so that a step back is at once there."""
UNITS: dict[str, Callable[[int], str]] = {
    "Nodes": "{:,}".format,
    "Kernels": "{:,}".format,
    "Memory traffic": bytes_text,
}


class Story:
    """A model under rules: its report, and its frame after any number of steps. Frames seen lately are kept."""

    def __init__(self, name: str, offered: Model, rules: tuple[Rule, ...]) -> None:
        self.name, self.offered, self.rules = name, offered, rules
        self.result, self.report = optimize(offered() if callable(offered) else offered, rules)
        self._frames: dict[int, Frame] = {}
        self._lock = threading.RLock()

    def model(self, position: int) -> onnx.ModelProto:
        """The model after the first `position` steps."""
        steps = self.report.steps
        with self._lock:  # all steps share one run of the rules
            return self.result if position == len(steps) else steps[position].model_before

    def frame(self, position: int) -> Frame:
        """The same, to draw. A frame that is not kept may cost all steps from the start."""
        with self._lock:
            found = self._frames.pop(position, None) or frame_of(self.model(position))
            self._frames[position] = found
            while len(self._frames) > max(4, KEPT_NODES // len(found.picture.nodes)):
                del self._frames[next(iter(self._frames))]
            return found

    def panels(self, position: int) -> dict[str, Panel]:
        """What step number `position` changed; for 0, the first graph and the last. Headings with their drawings."""
        steps = self.report.steps
        if not steps:
            return {"Nothing changes": draw_whole(self.frame(0), self.frame(0))[0]}
        if position == 0:
            drawn = draw_whole(self.frame(0), self.frame(len(steps)))
            return dict(zip(("Start", f"End, after {counted(len(steps), 'step')}"), drawn, strict=True))
        drawn = draw_change(self.frame(position - 1), self.frame(position), steps[position - 1].where)
        return dict(zip((f"Before step {position}", f"After step {position}"), drawn, strict=True))

    def counts(self, position: int) -> list[dict[str, Any]]:
        """Nodes, kernels and bytes before and after the step, and how many are gone since the start."""
        steps = self.report.steps
        if steps:
            first, last = _before(steps[0]), _after(steps[-1])
            before, after = (first, last) if position == 0 else _ends(steps[position - 1])
        else:
            cost = model_cost(self.result)
            first = before = after = len(self.frame(0).picture.operators), cost.kernels, cost.bytes_moved
        rows = zip(UNITS.items(), first, before, after, strict=True)
        return [_count(label, unit, position, *numbers) for (label, unit), *numbers in rows]


def _before(step: Step) -> Counts:
    return step.before.nodes, step.before.kernels, step.before.bytes_moved


def _after(step: Step) -> Counts:
    return step.after.nodes, step.after.kernels, step.after.bytes_moved


def _ends(step: Step) -> tuple[Counts, Counts]:
    return _before(step), _after(step)


def _count(
    label: str, unit: Callable[[int], str], position: int, first: int, before: int, after: int
) -> dict[str, Any]:
    def change(since: int) -> str:
        return "±0" if since == after else ("−" if after < since else "+") + unit(abs(after - since))

    total = f"{change(first)} since the start" + (f", {100 * after / first:.0f} % left" if first else "")
    return {
        "label": label,
        "before": unit(before),
        "after": unit(after),
        "step": f"{change(before)} in this step" if position else "",
        "total": total,
        "shares": [100 * number / first if first else 100 for number in (before, after)],
    }


@dataclass(frozen=True, kw_only=True)
class About:
    """A rule in words, from the docstring of its file: title, one line, before -> after, and the algebra."""

    title: str
    meaning: str
    picture: str
    algebra: str


def about(rule: Rule) -> About:
    """What the rule's file says; of a rule made elsewhere, what its `rewrite` says."""
    module = inspect.getmodule(rule.rewrite)
    home = module if module is not None and module.__name__.startswith("trtlab.") else rule.rewrite
    head, *blocks = (inspect.getdoc(home) or rule.name).split("\n\n")
    title, _, meaning = head.partition(":") if home is module else (rule.name, "", head)
    drawn = [block for block in blocks if "->" in block and block.startswith("    ")]
    # a docstring's lines become paragraphs again; formulas, which are indented, keep theirs
    algebra = re.sub(r"(?m)^(\S.*)\n(?=\S)", r"\1 ", "\n\n".join(block for block in blocks if block not in drawn))
    return About(
        title=title.replace("_", " "),
        meaning=" ".join(meaning.split()),
        picture=inspect.cleandoc("\n" + "\n".join(drawn)),
        algebra=algebra,
    )


def draw_about(rule: Rule) -> str:
    """Before -> after, algebra, and on demand the code, as markup."""
    told, code = about(rule), []
    for function in (rule.pattern, rule.check, rule.rewrite):
        try:
            code.append(source.show(function).html)
        except TypeError:  # a lambda of a terminal, a builtin
            code.append(callout(f"{escape(function)} has no Python source"))
    picture = f'<pre class="mono">{escape(told.picture)}</pre>' if told.picture else ""
    algebra = f'<div class="st-algebra">{escape(told.algebra)}</div>' if told.algebra else ""
    sources = details("Source: pattern, check, rewrite", "".join(code))
    return f"<p><b>{escape(told.title)}</b>: {escape(told.meaning)}</p>{picture}{algebra}{sources}"
