"""engine/kernelgroups: which nodes of a model share a kernel, with us and with NVIDIA's builder.

In: an ONNX model. Out: a frozen `Agreement`: our fused nodes beside NVIDIA's kernels, each difference with a verdict
and a note. Nodes are known by name on both sides; nothing is guessed from the names of kernels. Checked by
tests/engine/test_optimizers.py: every kernel and every node stands in exactly one place.
"""

import enum
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from trtlab.engine import recordings
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.report import BuildReport, Kernel, TensorInfo
from trtlab.graph import optimize
from trtlab.graph.cost import node_cost
from trtlab.graph.fused import origins
from trtlab.graph.load import load
from trtlab.graph.onnxfile import sha256_of
from trtlab.graph.rewrite import Report
from trtlab.graph.rule import is_data, is_in_place_concat

TARGET = "SM89"
CONSTANTS = "Constant", "ConstantOfShape"


def nvidia_report(model: onnx.ModelProto, target: str = TARGET) -> BuildReport:
    """What NVIDIA's builder makes of the model; without a compiler the recording of the very same bytes, if there is
    one. CompilerMissing otherwise."""
    from trtlab.engine.nvidia import explain

    try:
        return explain(model, target, compiler="tensorrt_rtx")
    except CompilerMissing as missing:
        key = f"fusion-{model.graph.name}-{target}"
        report = recordings.load(key, missing)
        if report.model_sha256 != sha256_of(model.SerializeToString()):
            raise CompilerMissing(f"The recording {key!r} is of another model.", hint=missing.hint) from missing
        return report


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


def compare_groups(model: onnx.ModelProto, target: str = TARGET, *, name: str = "") -> Agreement:
    """Which nodes share a kernel with us and with NVIDIA. The report may be a recording; CompilerMissing without one.

    >>> compare_groups(TEACHING_MODELS["inception"]()).count(Verdict.DECLINED)
    1
    """
    named = _named(model)
    optimized, steps = optimize(named)
    report = nvidia_report(named, target)
    groups = tuple(_our_groups(optimized))
    matches = tuple(_matches(groups, named, report, steps))
    ours, theirs = _names(groups), {name for kernel in report.kernels for name in kernel.onnx_nodes}
    gone = tuple(n.name for n in named.graph.node if n.op_type not in CONSTANTS and n.name not in ours | theirs)
    kernels = sum(group.is_kernel for group in groups)
    return Agreement(model=name or model.graph.name, matches=matches, gone=gone, our_kernels=kernels, report=report)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model; a copy of it where nodes have no name, with names, by which both sides know them."""
    if all(node.name for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        node.name = node.name or node.output[0]
    return copy


def _our_groups(optimized: onnx.ModelProto) -> Iterator[OurGroup]:
    for node in load(optimized).graph:
        in_place = is_in_place_concat(node)
        if not is_data(node):
            yield OurGroup(
                op="Concat in place" if in_place else re.sub(r"_\d+$", "", node.op_type).replace("_", " + "),
                nodes=tuple(origins(node)),
                is_kernel=node_cost(node).kernels > 0,
                in_place=in_place,
            )


def _names(groups: tuple[OurGroup, ...]) -> set[str]:
    return {name for group in groups for name in group.nodes}


def _matches(
    groups: tuple[OurGroup, ...], model: onnx.ModelProto, report: BuildReport, steps: Report
) -> Iterator[Match]:
    """Groups and kernels that hang together by common nodes, in NVIDIA's order. A node that we merged with its twin
    counts as that twin; what is in no group of ours any more ties nothing together."""
    twins = {step.where[1]: step.where[0] for step in steps.steps if step.rule == "common_subexpressions"}
    home = {name: number for number, group in enumerate(groups) for name in group.nodes}
    touched = [{home[n] for n in (twins.get(n, n) for n in k.onnx_nodes) if n in home} for k in report.kernels]
    clusters: list[tuple[set[int], list[Kernel]]] = [({number}, []) for number in range(len(groups))]
    for kernel, numbers in zip(report.kernels, touched, strict=True):
        joined = [cluster for cluster in clusters if cluster[0] & numbers]
        merged = (set().union(numbers, *(c[0] for c in joined)), [*(k for c in joined for k in c[1]), kernel])
        clusters = [cluster for cluster in clusters if cluster not in joined] + [merged] * bool(joined)
    order = {id(kernel): number for number, kernel in enumerate(report.kernels)}
    for numbers, kernels in sorted(clusters, key=lambda cluster: min(cluster[0])):
        ours = tuple(groups[number] for number in sorted(numbers))
        theirs = tuple(sorted(kernels, key=lambda kernel: order[id(kernel)]))
        yield _judged(ours, theirs, model, report, steps)
    alone = tuple(kernel for kernel, numbers in zip(report.kernels, touched, strict=True) if not numbers)
    if alone:
        yield Match(verdict=Verdict.ADDED, ours=(), nvidia=alone, notes=tuple(_why_added(alone)))


def _judged(
    ours: tuple[OurGroup, ...], theirs: tuple[Kernel, ...], model: onnx.ModelProto, report: BuildReport, steps: Report
) -> Match:
    launches = max(1, sum(group.is_kernel for group in ours))
    copies = (refusal for refusal in steps.refusals if refusal.rule == "concat_elimination")
    nodes = _names(ours)
    notes = [f"a copy stays on both sides: {r.reason}" for r in copies if theirs and set(r.where) <= nodes]
    if not theirs and ours[0].in_place:
        verdict, note = _concat(ours[0], model, report)
        notes = [note] * bool(note)
    elif not theirs:
        verdict = Verdict.NVIDIA_MORE if ours[0].is_kernel else Verdict.SAME
        notes = ["no kernel names it: its neighbours read or write with other strides"] * ours[0].is_kernel
    elif len(theirs) == launches == 1 and not any(group.in_place for group in ours):
        verdict = Verdict.SAME
    elif len(theirs) == 1:
        several = [f"{launches} kernels of ours are one of NVIDIA's"] * (launches > 1)
        inside = ["it does the concatenation too; with us those do that write the parts"] * any(
            g.in_place for g in ours
        )
        verdict, notes = Verdict.NVIDIA_MORE, [*notes, *several, *inside]
    elif launches == 1 and not _feeds(theirs):
        verdict, notes = Verdict.DECLINED, [*notes, _apart(theirs)]
    elif launches == 1:
        verdict, notes = Verdict.WE_MORE, [*notes, _behind(theirs)]
    else:
        verdict, notes = Verdict.OTHERWISE, [*notes, f"{launches} kernels against {len(theirs)}, along other lines"]
    return Match(verdict=verdict, ours=ours, nvidia=theirs, notes=tuple(notes))


def _feeds(kernels: tuple[Kernel, ...]) -> bool:
    """Whether one of the kernels reads what another one writes."""
    written = {tensor.name for kernel in kernels for tensor in kernel.outputs}
    return any(tensor.name in written for kernel in kernels for tensor in kernel.inputs)


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


def _concat(group: OurGroup, model: onnx.ModelProto, report: BuildReport) -> tuple[Verdict, str]:
    """What NVIDIA made of a concatenation without a kernel: who writes the parts, and with whose strides."""
    node = next(node for node in model.graph.node if node.name in group.nodes and node.op_type == "Concat")
    makers = {maker.name for maker in model.graph.node if set(maker.output) & set(node.input)}
    slices = [(kernel, tensor) for kernel in report.kernels for tensor in kernel.outputs if is_slice(tensor)]
    if direct := [tensor for kernel, tensor in slices if makers & set(kernel.onnx_nodes)]:
        return Verdict.SAME, f"no copy: {len(direct)} kernels write with the strides {direct[0].strides} of the whole"
    placed = [(kernel, tensor) for kernel, tensor in slices if tensor.name in node.output and not kernel.onnx_nodes]
    if not placed:
        return Verdict.SAME, ""
    strides = f"with the strides {placed[0][1].strides} of {placed[0][1].name}"
    if all(changes_layout(kernel) for kernel, _ in placed):
        return Verdict.SAME, f"no copy of its own: {len(placed)} added copies between layouts write {strides}"
    return Verdict.DECLINED, f"a copy stays: {len(placed)} added kernels move the parts into place, {strides}"


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
