"""graph/rewrite: rules applied to a model one at a time, every application on record.

In: an ONNX model and rules. Out: a valid model that does the same with fewer kernels, and a frozen `Report` of steps
and refusals. A stepper goes through `Report.steps`. Checked by graph/oracle, which shares none of this code.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx
import onnx_ir as ir

from trtlab.graph.cost import node_cost
from trtlab.graph.fused import origins
from trtlab.graph.load import export, infer_shapes, load
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.order import numbered
from trtlab.graph.rule import Nodes, Rule, is_data, opset
from trtlab.graph.rules import RULES

OLDEST_OPSET = 7
"""Before it, Add and BatchNormalization meant something else."""
Rules = Iterable[str | Rule] | Rule | None


class Counts(NamedTuple):
    """What a graph asks for: nodes that compute (constants do not), kernels, bytes that they read and write."""

    nodes: int = 0
    kernels: int = 0
    bytes_moved: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One application of a rule: `what` changed, `where` (names of the nodes it took), and the graph before and after.
    `number` counts from 0."""

    rule: str
    what: str
    where: tuple[str, ...]
    before: Counts
    after: Counts
    number: int


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Nodes that fit the pattern of a rule, and why it left them alone."""

    rule: str
    where: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was done, in order, what was left alone in the end, and what the result asks for. `model_at(number)` is the
    model after the first `number` steps; they are done again, and a step back is all of them from the start."""

    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...]
    counts: Counts
    model_at: Callable[[int], onnx.ModelProto] = field(repr=False, compare=False)


def optimize(model: OnnxModel, rules: Rules = None) -> tuple[onnx.ModelProto, Report]:
    """The model rewritten until no rule applies any more, and the report. `rules` are names of RULES or Rule objects;
    None is all of them. ValueError for a model that is not valid ONNX."""
    rewritten, report = rewrite(model, rules)
    return export(rewritten), report


def rewrite(model: OnnxModel, rules: Rules = None) -> tuple[ir.Model, Report]:
    """The same, before it becomes a file again: shapes are known, and fused nodes carry what is inside them."""
    picked = chosen(rules)
    run = _Run(model, picked)
    steps, film = tuple(run.steps), _film(model, picked)
    return run.model, Report(steps=steps, refusals=tuple(run.refusals), counts=run.counts, model_at=film)


def _film(model: OnnxModel, rules: tuple[Rule, ...]) -> Callable[[int], onnx.ModelProto]:
    """The model after any number of steps. Forward goes on from where we are; back starts again."""
    runs: list[_Run] = []

    def model_at(number: int) -> onnx.ModelProto:
        if not runs or number < runs[-1].done:
            runs[:] = [_Run(model, rules)]
        for _ in itertools.islice(runs[-1].steps, number - runs[-1].done):
            pass
        return export(runs[-1].model)

    return model_at


def chosen(rules: Rules) -> tuple[Rule, ...]:
    """Rules by name or as they are."""
    given = RULES if rules is None else rules
    wanted = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if unknown := [rule for rule in wanted if not isinstance(rule, Rule) and rule not in [*RULES]]:
        raise ValueError(f"no rule is called {unknown[0]!r}; there are {', '.join(RULES)}")
    return tuple(rule if isinstance(rule, Rule) else RULES[rule] for rule in wanted)


class _Run:
    """A model on its way through the rules: going through `steps` does them; the same rules do the same again."""

    def __init__(self, model: OnnxModel, rules: tuple[Rule, ...]) -> None:
        self.model, self.rules, self.steps = load(model), rules, self._all()
        self.refusals: dict[Refusal, None] = {}
        self.counts, self.done = _sum(Counts(), self.model.graph), 0

    def _all(self) -> Iterator[Step]:
        """Each rule until it finds nothing more, all rules in turn until none does."""
        graph, inferred, folded = self.model.graph, 0, False
        while True:
            before = self.done
            self.refusals.clear()
            for rule in self.rules:
                for step in self._exhaust(rule):
                    yield step
                    folded = folded or rule.name == "constant_folding"
            if before < self.done:
                continue
            unknown = any(value.shape is None for node in graph for value in node.outputs)
            if inferred == self.done or not (folded or unknown):
                return
            # constants may tell more shapes, and these more constants; so may an input that stands in for a result
            infer_shapes(self.model, export(self.model))
            for node in graph:
                node.meta.pop("counts", None)
            self.counts, inferred, folded = _sum(Counts(), graph), self.done, False

    def _exhaust(self, rule: Rule) -> Iterator[Step]:
        before = -1
        while before < self.done:
            before, places = self.done, numbered(self.model.graph)
            self.model.graph.meta.update(places=places, work={})  # what patterns know of the whole graph
            for node in list(places):
                nodes = rule.pattern(node) if node.graph is not None else ()
                if nodes and not self._refused(rule, nodes):
                    yield self._apply(rule, nodes)

    def _refused(self, rule: Rule, nodes: Nodes) -> str:
        version = opset(nodes[0])
        old = f"opset {version}: the rules know what operators mean from opset {OLDEST_OPSET} on"
        if reason := old if version < OLDEST_OPSET else rule.check(nodes):
            self.refusals[Refusal(rule=rule.name, where=_names(nodes), reason=reason)] = None
        return reason

    def _apply(self, rule: Rule, nodes: Nodes) -> Step:
        """The step. Counts change by what `replace` wrote down: nodes that came and are there, nodes that went."""
        where, before, changes = _names(nodes), self.counts, list[tuple[Nodes, Nodes]]()
        graph = self.model.graph
        graph.meta["changes"] = changes
        what = rule.rewrite(nodes)
        gone = dict.fromkeys(node for old, _ in changes for node in old if "counts" in node.meta)
        came = dict.fromkeys(node for _, new in changes for node in new if node.graph is graph)
        number, self.counts, self.done = self.done, _sum(_sum(before, gone, -1), came), self.done + 1
        return Step(rule=rule.name, what=what, where=where, before=before, after=self.counts, number=number)


def _sum(start: Counts, nodes: Iterable[ir.Node], sign: int = 1) -> Counts:
    rows = [tuple(sign * number for number in _counts(node)) for node in nodes]
    return Counts(*(sum(column) for column in zip(start, *rows, strict=True)))


def _counts(node: ir.Node) -> Counts:
    """Of one node, worked out once: rules replace nodes, they never change one."""
    if "counts" not in node.meta:
        cost = node_cost(node)
        node.meta["counts"] = Counts(0 if is_data(node) else 1, cost.kernels, cost.bytes_moved)
    found: Counts = node.meta["counts"]
    return found


def _names(nodes: Nodes) -> tuple[str, ...]:
    return tuple(name for node in nodes for name in origins(node))
