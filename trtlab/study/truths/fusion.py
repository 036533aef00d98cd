"""study/truths/fusion: what our rules do to the teaching models, and what NVIDIA's builder makes of them.

In: names of models and nodes. Out: a `Found` whose facts fill the words of a quiz. Witnesses are asked, so that a test
can change the world. Checked by tests/study/test_quiz.py, by other means and in worlds where the answers are others.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study import witnesses
from trtlab.study.found import Found, computed
from trtlab.study.witnesses import homes, is_fused, listed

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport


def read(report: "BuildReport", value: Any, **facts: Any) -> Found:
    """Found in a report; `kernels` are its kernels' names."""
    facts = {"kernels": listed(kernel.name for kernel in report.kernels), "nodes": report.onnx_nodes} | facts
    return Found(value=value, facts=facts, provenance=report.provenance)


def kernels_of_conv_bn_relu() -> Found:
    """How many kernels hold a convolution, its BatchNorm and its ReLU."""
    report = witnesses.report_on("conv_bn_relu_conv")
    kernels = homes(report, "conv", "bn", "relu")
    return read(report, len(kernels), all=len(report.kernels), homes=listed(kernel.name for kernel in kernels))


def folded_weight() -> Found:
    """A weight of 1.5 after the rule that folds BatchNorm."""
    from trtlab.graph.rules.constants import fold

    norm = [np.array([value]) for value in (2.0, 0.3, 0.7, 0.24)]  # scale, bias, mean, variance
    weight, bias = fold(np.array([[1.5]]), np.zeros(1), norm, 0.01)
    return computed(float(weight[0, 0]), bias=float(bias[0]), without_epsilon=3 / 0.24**0.5)


def refused_by_vertical_fusion(models: Sequence[str]) -> Found:
    """The one model of these that the rule refuses."""
    refusals = {name: witnesses.rewritten(name, "vertical_fusion")[2].refusals for name in models}
    ((name, (refusal,)),) = [pair for pair in refusals.items() if pair[1]]
    return computed(name, reason=refusal.reason)


def rules_in_order(model: str, rules: Sequence[str]) -> Found:
    """Which rules a rule needs: each was left out once, and the rules that did nothing then need it."""
    needs: dict[str, tuple[str, ...]] = dict.fromkeys(rules, ())
    for left_out in rules:
        *_, report = witnesses.rewritten(model, *(rule for rule in rules if rule != left_out))
        ran = {step.rule for step in report.steps}
        needs |= {rule: (*needs[rule], left_out) for rule in rules if rule not in ran and rule != left_out}
    return computed(needs, needs=arrows(needs))


def unfused_bytes(model: str) -> Found:
    """Bytes that the kernels of a model read and write, one kernel a node."""
    from trtlab.graph.cost import node_costs
    from trtlab.lab import builds

    moved = {node: cost.bytes_moved for node, cost in node_costs(builds.model(model)).items()}
    return computed(sum(moved.values()), parts=", ".join(f"{node} {size:,}" for node, size in moved.items()))


def best_speedup(model: str) -> Found:
    """How many times faster a fused model is where memory alone decides."""
    from trtlab.graph.cost import Device, roofline_s

    before, after, _ = witnesses.rewritten(model)
    device = Device(name="any that waits for memory", flops=1e15, bandwidth=1e9)
    ratio = roofline_s([before], device) / roofline_s([after], device)
    return computed(ratio, before=before.bytes_moved, after=after.bytes_moved)


def kernels_of(model: str) -> Found:
    """How many kernels NVIDIA's builder makes of a teaching model."""
    report = witnesses.report_on(model)
    return read(report, len(report.kernels))


def middle_as_output() -> Found:
    """Where fusion survives a tensor in the middle as output: in a pointwise chain, behind a convolution, or both."""
    pointwise, convolution = map(witnesses.report_on, ("multiply_add_relu_shown", "conv_relu_shown"))
    fused = is_fused(pointwise, "multiply", "add", "relu"), is_fused(convolution, "conv", "relu")
    keys = {(True, True): "both", (True, False): "pointwise", (False, True): "convolution", (False, False): "neither"}
    return read(convolution, keys[fused], pointwise=listed(kernel.name for kernel in pointwise.kernels))


def parallel_convolutions(model: str, nodes: Sequence[str]) -> Found:
    """Whether convolutions of one input become `one` kernel, several on `streams`, or several that are `serial`."""
    report = witnesses.report_on(model)
    kernels = homes(report, *nodes)
    streams = {kernel.stream for kernel in kernels}
    many = "streams" if len(streams) == len(kernels) else "serial"
    placed = ", ".join(f"{kernel.name}: {kernel.stream}" for kernel in kernels)
    return read(report, "one" if len(kernels) == 1 else many, placed=placed)


def folded_bytes(model: str) -> Found:
    """Bytes of weights in NVIDIA's build of a model of constants."""
    report = witnesses.report_on(model)
    return read(report, report.weights_bytes or 0, held=listed(sorted(report.kernels[0].onnx_nodes)))


def copied_concats(producers: Mapping[str, Sequence[str]]) -> Found:
    """Models whose Concat costs a copy in NVIDIA's build: {model: the nodes that make what is joined}."""
    copies = {name: _copies(witnesses.report_on(name), made) for name, made in producers.items()}
    said = "; ".join(f"{name}: {listed(found)}" for name, found in copies.items())
    report = witnesses.report_on(next(iter(producers)))
    return read(report, tuple(name for name, found in copies.items() if found), copies=said)


def _copies(report: "BuildReport", producers: Sequence[str]) -> list[str]:
    """Kernels that compute nothing, and are the Concat itself or read what its producers wrote."""
    parts = {tensor.name for kernel in homes(report, *producers) for tensor in kernel.outputs}
    idle = [kernel for kernel in report.kernels if set(kernel.onnx_nodes) <= {"concat"}]
    return [kernel.name for kernel in idle if kernel.onnx_nodes or parts & {tensor.name for tensor in kernel.inputs}]


def arrows(needs: Mapping[str, Sequence[str]]) -> str:
    """`parse ← export; build ← parse, configure`: who needs what."""
    return "; ".join(f"{key} ← {', '.join(needed)}" for key, needed in needs.items() if needed)
