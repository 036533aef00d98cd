"""graph/rewrite: rules applied to a model one at a time, every application on record.

In: an ONNX model and rules. Out: a valid model that does the same with fewer kernels, and a frozen `Report` of steps
and refusals. A stepper goes through `Report.steps`. Checked by graph/oracle, which shares none of this code.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import onnx
import onnx_ir as ir

from trtlab.graph.cost import node_cost
from trtlab.graph.fused import origins
from trtlab.graph.load import export, load
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.order import topological_order
from trtlab.graph.rule import Nodes, Rule, is_data, opset
from trtlab.graph.rules import RULES

OLDEST_OPSET = 7
"""Before it, Add and BatchNormalization meant something else."""
Rules = Iterable[str | Rule] | None
Counts = tuple[int, int, int]
"""Nodes that compute, kernels, bytes moved."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One application of a rule: `what` changed, `where` (names of the nodes it took), and the graph before and after.
    `nodes` leaves constants out."""

    rule: str
    what: str
    where: tuple[str, ...]
    nodes_before: int
    nodes_after: int
    kernels_before: int
    kernels_after: int
    bytes_moved_before: int
    bytes_moved_after: int
    number: int = 0
    _replay: Callable[[int], onnx.ModelProto] = field(repr=False, compare=False)

    @property
    def model_before(self) -> onnx.ModelProto:
        """The model before this step; all steps before it are done again, so a step back costs time."""
        return self._replay(self.number)

    @property
    def model_after(self) -> onnx.ModelProto:
        """The model after this step."""
        return self._replay(self.number + 1)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Nodes that fit the pattern of a rule, and why it left them alone."""

    rule: str
    where: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was done, in order, and what was left alone in the end."""

    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...]


def optimize(model: OnnxModel, rules: Rules = None) -> tuple[onnx.ModelProto, Report]:
    """The model rewritten until no rule applies any more, and the report. `rules` are names of RULES or Rule objects;
    None is all of them. ValueError for a model that is not valid ONNX."""
    run = _Run(model, chosen(rules))
    steps = tuple(run)
    return export(run.model), Report(steps=steps, refusals=tuple(run.refusals))


def apply_next(model: OnnxModel, rules: Rules = None) -> tuple[onnx.ModelProto, Step | None]:
    """The model after the first application that the rules find, and that step; None if there is none."""
    run = _Run(model, chosen(rules))
    step = next(iter(run), None)
    return export(run.model), step


def chosen(rules: Rules) -> tuple[Rule, ...]:
    """Rules by name or as they are."""
    wanted = tuple(RULES) if rules is None else (rules,) if isinstance(rules, str) else tuple(rules)
    if unknown := [rule for rule in wanted if not isinstance(rule, Rule) and rule not in RULES]:
        raise ValueError(f"no rule is called {unknown[0]!r}; there are {', '.join(RULES)}")
    return tuple(rule if isinstance(rule, Rule) else RULES[rule] for rule in wanted)


class _Run:
    """A model on its way through the rules. Iterating makes the steps; the same rules make the same steps again."""

    def __init__(self, model: OnnxModel, rules: tuple[Rule, ...]) -> None:
        self.model = load(model)
        self.rules = rules
        self.refusals: dict[Refusal, None] = {}
        self._now = self._totals()
        self._film = _Film(model, rules)

    def __iter__(self) -> Iterator[Step]:
        """Each rule until it finds nothing more, all rules in turn until none does."""
        done, before = 0, None
        while before != done:
            before = done
            self.refusals.clear()
            for rule in self.rules:
                for step in self._exhaust(rule):
                    yield replace(step, number=done)
                    done += 1

    def _exhaust(self, rule: Rule) -> Iterator[Step]:
        found = True
        while found:
            found = False
            for node in topological_order(self.model.graph):
                nodes = rule.pattern(node) if node.graph is not None else ()
                if nodes and self._allowed(rule, nodes):
                    found = True
                    yield self._apply(rule, nodes)

    def _allowed(self, rule: Rule, nodes: Nodes) -> bool:
        version = opset(nodes[0])
        old = f"opset {version}: the rules know what operators mean from opset {OLDEST_OPSET} on"
        reason = old if version < OLDEST_OPSET else rule.check(nodes)
        if reason:
            self.refusals[Refusal(rule=rule.name, where=_names(nodes), reason=reason)] = None
        return not reason

    def _apply(self, rule: Rule, nodes: Nodes) -> Step:
        where, before = _names(nodes), self._now
        what = rule.rewrite(nodes)
        self._now = after = self._totals()
        return Step(
            rule=rule.name,
            what=what,
            where=where,
            nodes_before=before[0],
            nodes_after=after[0],
            kernels_before=before[1],
            kernels_after=after[1],
            bytes_moved_before=before[2],
            bytes_moved_after=after[2],
            _replay=self._film.model_at,
        )

    def _totals(self) -> Counts:
        """The counts of the whole graph. A node is counted once: rules replace nodes, they never change one."""
        counts = [node.meta.get("counts") or _counts(node) for node in self.model.graph]
        nodes, kernels, moved = (sum(column) for column in zip((0, 0, 0), *counts, strict=True))
        return nodes, kernels, moved


def _counts(node: ir.Node) -> Counts:
    cost = node_cost(node)
    counts: Counts = (0 if is_data(node) else 1, cost.kernels, cost.bytes_moved)
    node.meta["counts"] = counts
    return counts


class _Film:
    """The model after any number of steps. Forward goes on from where we are; back starts again."""

    def __init__(self, model: OnnxModel, rules: tuple[Rule, ...]) -> None:
        self._source, self._rules = model, rules
        self._at = 0
        self._reel: tuple[_Run, Iterator[Step]] | None = None

    def model_at(self, number: int) -> onnx.ModelProto:
        """The model after the first `number` steps."""
        if self._reel is None or number < self._at:
            run = _Run(self._source, self._rules)
            self._at, self._reel = 0, (run, iter(run))
        run, steps = self._reel
        self._at += len(list(itertools.islice(steps, number - self._at)))
        return export(run.model)


def _names(nodes: Nodes) -> tuple[str, ...]:
    return tuple(name for node in nodes for name in origins(node))
