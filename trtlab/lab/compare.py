"""lab/compare: one ONNX model through several optimisers, and our kernels beside NVIDIA's, node by node.

In: a model. Out: a frozen `Row`: what each optimiser left, counted by one rule for all, and how far its results are
from those of the model as it was; a frozen `Agreement`: our fused nodes beside NVIDIA's kernels, each difference with a
verdict and a note. Checked by tests/lab/test_compare.py: ONNX Runtime with all optimisation off runs every model before
and after; every kernel and every node stands in exactly one place. Nothing is guessed from the names of kernels.
"""

import copy
import enum
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx

from trtlab.engine.measure import Provenance, live
from trtlab.engine.nvidia.errors import CompilerError
from trtlab.engine.nvidia.report import BuildReport, Kernel, TensorInfo
from trtlab.engine.ort import OptimizationLevel, OrtError, OrtSession
from trtlab.graph import optimize
from trtlab.graph.cost import model_cost, node_cost
from trtlab.graph.fused import origins
from trtlab.graph.load import load, read
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.oracle import Arrays, Mismatch, check_same, sample_inputs
from trtlab.graph.rewrite import Report, Rules
from trtlab.graph.rule import is_data, is_in_place_concat
from trtlab.lab.builds import TARGET, built

CONSTANTS = "Constant", "ConstantOfShape"
NVIDIA = "TensorRT"
Optimizer = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one optimiser left of a model. `kernels` counts launches by one rule for all (graph/cost): a fused node is
    one, a view none; None where it failed, and `note` says why. `error` is the largest difference of an output from
    what it was, relative to its largest number; None where nothing ran: an engine runs on its GPU alone."""

    optimizer: str
    kernels: int | None = None
    error: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model through all optimisers. `outcomes[0]` is the model as it was."""

    model: str
    outcomes: tuple[Outcome, ...]
    provenance: tuple[Provenance, ...]


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    slim: onnx.ModelProto = onnxslim.slim(copy.deepcopy(model))  # which works in place
    return slim


def _ort(level: OptimizationLevel, model: onnx.ModelProto) -> onnx.ModelProto:
    return OrtSession(model, level=level).optimized_model()


OPTIMIZERS: Mapping[str, Optimizer] = {
    "trtlab": lambda model: optimize(model)[0],
    "onnxslim": _slim,
    **{f"ONNX Runtime {level.name}": functools.partial(_ort, level) for level in OptimizationLevel},
}
"""Name -> function that returns the optimised model. NVIDIA's builder is the one more: it returns an engine."""


def compare_optimizers(model: onnx.ModelProto, name: str = "") -> Row:
    """The model through every optimiser. Each result runs on the same seeded inputs as the model as it was.

    >>> compare_optimizers(TEACHING_MODELS["gelu"]()).outcomes[4]
    Outcome(optimizer='ONNX Runtime BASIC', kernels=1, error=1.2e-07, note='')
    """
    inputs = next(sample_inputs(model))
    answers = referee(model, inputs)
    outcomes = [Outcome(optimizer="as written", kernels=model_cost(model).kernels)]
    for title, optimizer in OPTIMIZERS.items():
        try:
            after = optimizer(model)
            error = _error(model, after, inputs, answers)
            outcomes.append(Outcome(optimizer=title, kernels=model_cost(after).kernels, error=error))
        except (OrtError, ValueError, Mismatch) as refused:  # of this optimiser; the others go on
            outcomes.append(Outcome(optimizer=title, note=str(refused)))
    parts = [live(["onnx", "onnxslim", "onnxruntime"])]
    try:
        report = _report(model)
        outcomes.insert(2, Outcome(optimizer=NVIDIA, kernels=len(report.kernels)))
        parts.append(report.provenance)
    except CompilerError as error:
        outcomes.insert(2, Outcome(optimizer=NVIDIA, note=error.what))
    return Row(model=name or model.graph.name, outcomes=tuple(outcomes), provenance=tuple(parts))


def compare_teaching_models() -> tuple[Row, ...]:
    """All of TEACHING_MODELS, in seconds."""
    return tuple(compare_optimizers(make(), name) for name, make in TEACHING_MODELS.items())


def referee(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """The referee: ONNX Runtime with all optimisation off."""
    return OrtSession(model, level=OptimizationLevel.DISABLE_ALL).run(inputs)


def _error(before: onnx.ModelProto, after: onnx.ModelProto, inputs: Arrays, answers: Arrays) -> float:
    """The largest relative difference of an output; Mismatch if it is more than the oracle's RTOL."""
    found = check_same(
        before, after, inputs, run=lambda model, feeds: answers if model is before else referee(model, feeds)
    )
    return max((one.error / one.size for one in found if one.size), default=0.0)


def _report(model: onnx.ModelProto, target: str = TARGET) -> BuildReport:
    return built(model.SerializeToString(), f"fusion-{model.graph.name}", target)


# --- our kernels beside NVIDIA's --------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """How our kernels for some nodes compare with NVIDIA's. DECLINED: nodes on one input that we put side by side stay
    apart. ADDED: kernels that stand for no node of the model."""

    SAME = "same group"
    NVIDIA_MORE = "NVIDIA merged more"
    WE_MORE = "we merged more"
    DECLINED = "NVIDIA declined"
    OTHERWISE = "cut elsewhere"
    ADDED = "NVIDIA added"


@dataclass(frozen=True, kw_only=True)
class OurGroup:
    """A node of our optimised model: the original nodes it stands for, and whether it is a kernel (a view is none)."""

    op: str
    nodes: tuple[str, ...]
    is_kernel: bool
    in_place: bool


@dataclass(frozen=True, kw_only=True)
class Match:
    """Kernels of both sides that share nodes. `notes` say in words what differs."""

    verdict: Verdict
    ours: tuple[OurGroup, ...]
    nvidia: tuple[Kernel, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Our kernels beside NVIDIA's. `gone` are nodes that neither side has any more."""

    model: str
    matches: tuple[Match, ...]
    gone: tuple[str, ...]
    our_kernels: int
    report: BuildReport

    def count(self, verdict: Verdict) -> int:
        """How many matches got that verdict."""
        return sum(match.verdict is verdict for match in self.matches)


def compare_groups(
    model: OnnxModel, target: str = TARGET, *, report: BuildReport | None = None, rules: Rules = None
) -> Agreement:
    """Which nodes share a kernel with us, by all `rules` or these, and with NVIDIA, in the build of `report`: without
    one, a build for `target`, or its recording; CompilerMissing where there is none.

    >>> compare_groups(TEACHING_MODELS["inception"]()).count(Verdict.DECLINED)
    1
    """
    named = _named(read(model))
    optimized, steps = optimize(named, rules)
    report, groups = report or _report(named, target), tuple(_our_groups(optimized))
    left = {name for group in groups for name in group.nodes}
    left |= {name for kernel in report.kernels for name in kernel.onnx_nodes}
    return Agreement(
        model=named.graph.name,
        matches=tuple(_matches(groups, named, report, steps)),
        gone=tuple(n.name for n in named.graph.node if n.op_type not in CONSTANTS and n.name not in left),
        our_kernels=sum(group.is_kernel for group in groups),
        report=report,
    )


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name, by which both sides know it."""
    named = copy.deepcopy(model)
    for node in named.graph.node:
        node.name = node.name or node.output[0]
    return named


def _our_groups(optimized: onnx.ModelProto) -> Iterator[OurGroup]:
    for node in load(optimized).graph:
        in_place = is_in_place_concat(node)
        op = "Concat in place" if in_place else re.sub(r"_\d+$", "", node.op_type).replace("_", " + ")
        if not is_data(node):
            is_kernel = node_cost(node).kernels > 0
            yield OurGroup(op=op, nodes=tuple(origins(node)), is_kernel=is_kernel, in_place=in_place)


def _matches(
    groups: tuple[OurGroup, ...], model: onnx.ModelProto, report: BuildReport, steps: Report
) -> Iterator[Match]:
    """Groups and kernels that hang together by common nodes, in our order. A node that we merged with its twin counts
    as that twin; what is in no group of ours any more ties nothing together."""
    twins = {step.where[1]: step.where[0] for step in steps.steps if step.rule == "common_subexpressions"}
    home = {name: number for number, group in enumerate(groups) for name in group.nodes}
    touched = [{home[n] for n in (twins.get(n, n) for n in k.onnx_nodes) if n in home} for k in report.kernels]
    first = list(range(len(groups)))  # for each group the first one that it hangs together with
    for numbers in touched:
        joined = {first[number] for number in numbers}
        first = [min(joined) if number in joined else number for number in first]
    for root in sorted(set(first)):
        ours = tuple(group for group, number in zip(groups, first, strict=True) if number == root)
        pairs = zip(report.kernels, touched, strict=True)
        theirs = tuple(kernel for kernel, numbers in pairs if any(first[number] == root for number in numbers))
        if not theirs and ours[0].in_place:
            verdict, notes = _concat(ours[0], model, report)
        else:
            verdict, notes = _judged(ours, theirs)
        yield Match(verdict=verdict, ours=ours, nvidia=theirs, notes=(*_kept_copies(ours, theirs, steps), *notes))
    if alone := tuple(kernel for kernel, numbers in zip(report.kernels, touched, strict=True) if not numbers):
        yield Match(verdict=Verdict.ADDED, ours=(), nvidia=alone, notes=tuple(_why_added(alone)))


def _kept_copies(ours: tuple[OurGroup, ...], theirs: tuple[Kernel, ...], steps: Report) -> Iterator[str]:
    nodes = {name for group in ours for name in group.nodes}
    for refusal in steps.refusals:
        if refusal.rule == "concat_elimination" and theirs and set(refusal.where) <= nodes:
            yield f"a copy stays on both sides: {refusal.reason}"


def _judged(ours: tuple[OurGroup, ...], theirs: tuple[Kernel, ...]) -> tuple[Verdict, list[str]]:
    launches, in_place = max(1, sum(group.is_kernel for group in ours)), any(group.in_place for group in ours)
    if not theirs and ours[0].is_kernel:
        return Verdict.NVIDIA_MORE, ["no kernel names it: its neighbours read or write with other strides"]
    if not theirs or (len(theirs) == launches == 1 and not in_place):
        return Verdict.SAME, []
    if len(theirs) == 1:
        several = [f"{launches} kernels of ours are one of NVIDIA's"] * (launches > 1)
        inside = ["it does the concatenation too; with us those do that write the parts"] * in_place
        return Verdict.NVIDIA_MORE, several + inside
    if launches > 1:
        return Verdict.OTHERWISE, [f"{launches} kernels against {len(theirs)}, along other lines"]
    written = {tensor.name for kernel in theirs for tensor in kernel.outputs}
    if any(tensor.name in written for kernel in theirs for tensor in kernel.inputs):
        return Verdict.WE_MORE, [_behind(theirs)]
    return Verdict.DECLINED, [_apart(theirs)]


def _behind(kernels: tuple[Kernel, ...]) -> str:
    """What the kernels after the first one do."""
    late = [name for kernel in kernels[1:] for name in kernel.onnx_nodes if name not in kernels[0].onnx_nodes]
    if not late:
        return f"{', '.join(kernels[0].onnx_nodes)} takes {len(kernels)} kernels"
    return f"{', '.join(late)}: in {'a kernel' if len(kernels) == 2 else 'kernels'} of their own"


def _apart(kernels: tuple[Kernel, ...]) -> str:
    streams = len({kernel.stream for kernel in kernels})
    kind = "convolutions" if kernels[0].type == "correlation" else "products"
    lanes = f"on {streams} streams" if streams > 1 else "one after another on one stream"
    wide = [" + ".join(kernel.onnx_nodes) for kernel in kernels if kernel.type == "gemm" and len(kernel.onnx_nodes) > 1]
    rest = f"; {', '.join(wide)} share one" if wide else ""
    return f"parallel {kind}: {len(kernels)} kernels {lanes} instead of one wider kernel{rest}"


def _concat(group: OurGroup, model: onnx.ModelProto, report: BuildReport) -> tuple[Verdict, list[str]]:
    """What NVIDIA made of a concatenation without a kernel: who writes the parts, and with whose strides."""
    node = next(node for node in model.graph.node if node.name in group.nodes and node.op_type == "Concat")
    makers = {maker.name for maker in model.graph.node if set(maker.output) & set(node.input)}
    slices = [(kernel, tensor) for kernel in report.kernels for tensor in kernel.outputs if is_slice(tensor)]
    if direct := [tensor for kernel, tensor in slices if makers & set(kernel.onnx_nodes)]:
        return Verdict.SAME, [f"no copy: {len(direct)} kernels write with the strides {direct[0].strides} of the whole"]
    placed = [(kernel, tensor) for kernel, tensor in slices if tensor.name in node.output and not kernel.onnx_nodes]
    if not placed:
        return Verdict.SAME, []
    strides = f"with the strides {placed[0][1].strides} of {placed[0][1].name}"
    if all(changes_layout(kernel) for kernel, _ in placed):
        return Verdict.SAME, [f"no copy of its own: {len(placed)} added copies between layouts write {strides}"]
    return Verdict.DECLINED, [f"a copy stays: {len(placed)} added kernels move the parts into place, {strides}"]


def is_slice(tensor: TensorInfo) -> bool:
    """Whether it lies inside a larger buffer: its strides span more numbers than it has."""
    sizes = zip(tensor.shape, tensor.strides or (), strict=False)
    return max((size * stride for size, stride in sizes), default=0) > math.prod(tensor.shape)


def is_channels_last(tensor: TensorInfo) -> bool:
    """Whether numbers of one pixel lie side by side: NHWC in memory for a tensor that is N×C×H×W in the model."""
    return len(tensor.shape) == 4 and tensor.shape[1] > 1 and (tensor.strides or ())[1:2] == (1,)


def changes_layout(kernel: Kernel) -> bool:
    """Whether it reads channels last and writes channels first, or the other way round."""
    return {is_channels_last(tensor) for tensor in (*kernel.inputs, *kernel.outputs)} == {True, False}


def _why_added(kernels: tuple[Kernel, ...]) -> Iterator[str]:
    """Copies between layouts, told by the strides on their two sides."""
    if copies := sum(map(changes_layout, kernels)):
        yield f"copies between layouts ({copies}): NVIDIA's convolutions here read and write channels last"
    if others := len(kernels) - copies:
        yield f"other kernels that name no node of the model ({others})"
