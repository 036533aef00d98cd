"""study/truths/fusion: what our rules do to the teaching models, and what NVIDIA's builder makes of them: C24 to C47.

In: build reports, live or recorded, and the arrays of onnx's evaluator. Out: `Found`s. Our own rules stand beside
NVIDIA's where a sentence names them; what they cost is never evidence of a claim. Witnesses are asked, so that a test
can change the world.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from trtlab.engine.nvidia import BuildReport, Kernel
from trtlab.engine.nvidia import api as nvidia_api
from trtlab.graph.cost import Device
from trtlab.graph.oracle import KINDS, reference, sample_inputs
from trtlab.graph.rules.constants import fold
from trtlab.lab import builds, compare, fusion
from trtlab.lab.ways import Way
from trtlab.study import witnesses
from trtlab.study.bank import said
from trtlab.study.found import Found, computed, seen
from trtlab.study.truths.kinds import in_kernels
from trtlab.study.witnesses import arrows, homes, is_fused, listed, says, told_bytes

ONNX = ("numpy", "onnx")
CHAIN = "multiply_add_relu"


# --- quizzes ----------------------------------------------------------------------------------------------------------


FIGURES: dict[str, Callable[[BuildReport, Sequence[Kernel]], Any]] = {
    "layers": lambda report, _: [layer.type for layer in report.layers if not layer.is_constant],
    "weights": lambda report, _: told_bytes(report, "weights"),
    "planned": lambda report, _: told_bytes(report, "activation"),
    "launches": lambda report, _: len(report.kernels),
    "moved": lambda report, _: moved_by_nvidia(report),
    "moving": lambda report, _: sum(not kernel.onnx_nodes for kernel in report.kernels),
    "holding": lambda _, inside: len(inside),
    "tensors": lambda _, inside: sum(len(kernel.inputs) + len(kernel.outputs) for kernel in inside),
    "columns": lambda _, inside: [size for kernel in inside for t in kernel.outputs for size in t.shape[-1:]],
}
"""What is read off a build, or off those of its kernels that hold some nodes."""


def figure(what: str, model: str, nodes: Sequence[str] = ()) -> Found:
    """A figure of NVIDIA's build of a teaching model, or of its kernels that hold some nodes."""
    report = witnesses.report_on(model)
    inside = homes(report, *nodes) if nodes else report.kernels
    held = sorted(node for kernel in inside for node in kernel.onnx_nodes)
    facts = {"all": len(report.kernels), "homes": listed(kernel.name for kernel in inside), "held": listed(held)}
    return in_kernels(report, FIGURES[what](report, inside), **facts)


def build(
    model: str, fused: Sequence[str] = (), gone: Sequence[str] = (), logged: str = "",
    has: Mapping[str, Any] | None = None,
) -> Found:  # fmt: skip
    """Of NVIDIA's build of a model, what is asked for: one kernel alone holds the nodes `fused`, none holds any of
    `gone`, the log has these words, and it `has` these figures."""
    report = witnesses.report_on(model)
    parsed, heard = {node for layer in report.layers for node in layer.onnx_nodes}, says(report, logged)
    holds = parsed >= {*gone} and (not fused or is_fused(report, *fused)) and not homes(report, *gone)
    found = {name: FIGURES[name](report, homes(report, *fused)) for name in has or {}}
    facts = {name: " + ".join(map(str, value)) if isinstance(value, list) else value for name, value in found.items()}
    holds = holds and bool(heard or not logged) and found == (has or {})
    return in_kernels(report, holds, logged=heard, parsed=len(report.layers), **facts)


def folded_weight() -> Found:
    """A weight of 1.5 after the rule that folds BatchNorm."""
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
    moved = alone(model)
    return computed(sum(moved.values()), parts=", ".join(f"{node} {size:,}" for node, size in moved.items()))


def best_speedup(model: str) -> Found:
    """How many times faster a fused model is where memory alone decides."""
    before, after, _ = witnesses.rewritten(model)
    device = Device(name="any that waits for memory", flops=1e15, bandwidth=1e9)
    ratio = before.time_s(device) / after.time_s(device)
    return computed(ratio, before=before.bytes_moved, after=after.bytes_moved)


def middle_as_output() -> Found:
    """Where fusion survives a tensor in the middle as output: in a pointwise chain, behind a convolution, or both."""
    pointwise, convolution = map(witnesses.report_on, ("multiply_add_relu_shown", "conv_relu_shown"))
    fused = is_fused(pointwise, "multiply", "add", "relu"), is_fused(convolution, "conv", "relu")
    keys = {(True, True): "both", (True, False): "pointwise", (False, True): "convolution", (False, False): "neither"}
    return in_kernels(convolution, keys[fused], pointwise=listed(kernel.name for kernel in pointwise.kernels))


def parallel_convolutions(model: str, nodes: Sequence[str]) -> Found:
    """Whether convolutions of one input become `one` kernel, several on `streams` of their own, which wait for each
    other, or several that are `serial`."""
    report = witnesses.report_on(model)
    kernels = homes(report, *nodes)
    streams = sorted({kernel.stream for kernel in kernels})
    waits = sum(step.type in ("signal", "wait") for step in report.steps)
    many = "streams" if len(streams) == len(nodes) == len(kernels) and waits else "serial"
    placed = ", ".join(f"{kernel.name}: {kernel.stream}" for kernel in kernels)
    value = "one" if len(kernels) == 1 else many
    return in_kernels(report, value, placed=placed, streams=listed(streams), waits=waits)


def copied_concats(producers: Mapping[str, Sequence[str]]) -> Found:
    """Models whose Concat costs a copy in NVIDIA's build: {model: the nodes that make what is joined}. A kernel copies
    that computes nothing, and is the Concat itself or reads what its producers wrote."""
    copies = {}
    for name, made in producers.items():
        report = witnesses.report_on(name)
        parts = {tensor.name for kernel in homes(report, *made) for tensor in kernel.outputs}
        idle = [kernel for kernel in report.kernels if set(kernel.onnx_nodes) <= {"concat"}]
        copies[name] = [k.name for k in idle if k.onnx_nodes or parts & {tensor.name for tensor in k.inputs}]
    copied = "; ".join(f"{name}: {listed(found)}" for name, found in copies.items())
    return in_kernels(report, tuple(name for name, found in copies.items() if found), copies=copied)


# --- claims: bytes, on arrays and in builds ---------------------------------------------------------------------------


@functools.cache
def arrays(name: str) -> dict[str, tuple[list[Any], list[Any]]]:
    """For each node of a model the arrays that onnx's evaluator reads and writes, in the model's order."""
    model = builds.model(name)
    inputs = next(sample_inputs(model))
    values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    values |= inputs | dict(reference(model, inputs))
    return {
        node.name: ([values[n] for n in node.input if n], [values[n] for n in node.output]) for node in model.graph.node
    }


def alone(name: str) -> dict[str, int]:
    """Bytes that each node of a model reads and writes as a kernel of its own, counted on those arrays."""
    return {node: sum(array.nbytes for array in (*read, *made)) for node, (read, made) in arrays(name).items()}


def moved_by_nvidia(report: BuildReport) -> int:
    """Bytes that the kernels of a build read and write, constants too, by the float32 tensors that it lists."""
    tensors = [t for kernel in report.kernels for t in (*kernel.inputs, *kernel.outputs, *kernel.constants)]
    return sum(4 * math.prod(tensor.shape) for tensor in tensors)


def launches_and_bytes_saved(names: Sequence[str]) -> Found:
    """NVIDIA's builds move fewer bytes than the nodes alone, in no more kernels, and mostly in fewer."""
    reports = {name: witnesses.report_on(name) for name in names}
    rows = [
        (name, report.onnx_nodes, len(report.kernels), sum(alone(name).values()), moved_by_nvidia(report))
        for name, report in reports.items()
    ]
    holds = all(0 < kernels <= nodes and moved < bytes_alone for _, nodes, kernels, bytes_alone, moved in rows)
    fewer = sum(kernels < nodes for _, nodes, kernels, *_ in rows)
    return seen(reports[names[0]], holds and fewer > len(names) / 2, rows, fewer=fewer, models=len(names))


def eight_n() -> Found:
    size, made = alone(CHAIN), arrays(CHAIN)
    rows = [(name, len(read), len(written), size[name]) for name, (read, written) in made.items()]
    total, middle = sum(size.values()), 2 * sum(written.nbytes for _, (written,) in list(made.values())[:-1])
    holds = [row[1:3] for row in rows] == [(2, 1), (2, 1), (1, 1)] and total == 2 * middle
    return computed(holds and total == 8 * made["relu"][1][0].nbytes, rows, referees=ONNX, total=total, middle=middle)


def planned_memory() -> Found:
    fused, apart = witnesses.report_on("matmul_relu"), witnesses.report_on("matmul_two_readers")
    sizes = [told_bytes(report, "activation") for report in (fused, apart)]
    tensor = 256 * 256 * 4
    holds = is_fused(fused, "matmul", "relu") and not is_fused(apart, "matmul", "relu")
    return in_kernels(apart, holds and sizes[1] - sizes[0] == tensor, fused=sizes[0], apart=sizes[1], tensor=tensor)


# --- claims: kernels, streams, passes ---------------------------------------------------------------------------------


def five_techniques() -> Found:
    report, api = witnesses.report_on("wide_inception"), nvidia_api.recorded_api()
    streams, planned = len({kernel.stream for kernel in report.kernels}), told_bytes(report, "activation")
    stubs = [kernel for kernel in report.kernels if "STUB" in kernel.tactic]
    int8 = witnesses.support("INT8", "SM89").cell("INT8", "SM89").said
    there = {
        "fusion": is_fused(report, "conv1", "relu1"), "precision": int8 == "✓ Int8 × Int8", "tuning": bool(stubs),
        "memory": planned, "streams": streams > 1,
    }  # fmt: skip
    facts = {"stubs": len(stubs), "streams": streams, "planned": planned, "int8": int8}
    rows = [(said(f"technique_{name}"), said(f"seen_{name}", **facts)) for name in there]
    since = {"DataType": "FP4", "INetworkDefinition": "add_attention", "IRuntimeConfig": "cuda_graph_strategy"}
    added = [f"{owner}.{name}" for owner, name in since.items() if api.has(owner, name)]
    holds = all(there.values()) and len(added) == len(since)
    return seen(report, holds, rows, compiler=api.compiler, version=api.version, added=listed(added))


def name_of_pointwise_fusion() -> Found:
    report = witnesses.report_on(CHAIN)
    passes = [line.text for line in report.log if line.text.startswith("After ")]
    names = list(dict.fromkeys(line.removeprefix("After ").partition(":")[0] for line in passes))
    holds = "MulAddRelu" in report.kernels[0].name and "vertical fusions" in names
    return in_kernels(report, holds and not any("tensor fusion" in name for name in names), passes=listed(names))


def kernels_of_chains(expected: Mapping[int, int]) -> Found:
    """{elementwise operators: kernels that NVIDIA's builder makes of them}."""
    reports = [witnesses.report_on(CHAIN if length == 3 else f"chain_{length}") for length in expected]
    rows = [(report.onnx_nodes, len(report.kernels)) for report in reports]
    return seen(reports[-1], rows == [*expected.items()], rows)


def concat_in_place() -> Found:
    report = witnesses.report_on("wide_inception")
    written = [tensor for kernel in homes(report, "conv1", "conv2", "conv3") for tensor in kernel.outputs]
    slices = {(tensor.shape[1], (tensor.strides or (0,))[-1]) for tensor in written}
    raw = homes(witnesses.report_on("raw_concat"), "concat")
    copies = [kernel for kernel in witnesses.report_on("matmul_concat").kernels if not kernel.onnx_nodes]
    steps, refusals = witnesses.rewritten("matmul_concat")[2].steps, witnesses.rewritten("raw_concat")[2].refusals
    ours = [step.what for step in steps if step.rule == "concat_elimination"]
    holds = slices == {(64, 192)} and not homes(report, "concat") and len(raw) == 1 and len(copies) == 2
    facts = {"raw": listed(kernel.name for kernel in raw), "copies": len(copies), "ours": listed(ours)}
    refused = listed(refusal.reason for refusal in refusals)
    return in_kernels(report, holds and len(ours) == 1 == len(refusals), refused=refused, **facts)


# --- claims: on arrays, on a GPU, offered to others -------------------------------------------------------------------


def changed(name: str, given: str, result: str) -> int:
    """How many numbers of a result differ after one number of an input was raised."""
    model = builds.model(name)
    inputs = {key: KINDS["positive"](value) for key, value in next(sample_inputs(model)).items()}
    other = inputs[given].copy()
    other.flat[0] += 1
    outputs = [reference(model, fed)[result] for fed in (inputs, inputs | {given: other})]
    return int(np.count_nonzero(outputs[0] != outputs[1]))


def results_that_change() -> Found:
    elementwise, softmax = changed(CHAIN, "a", "y"), changed("common", "x", "s")
    return computed([elementwise, softmax] == [1, 8], referees=ONNX, elementwise=elementwise, softmax=softmax)


def one_loop() -> Found:
    ((a, b), _), ((_, c), _), (_, (y,)) = arrays(CHAIN).values()
    fused = np.empty_like(a)
    for i in np.ndindex(a.shape):
        x = a[i] * b[i]
        fused[i] = max(x + c[i], np.float32(0))
    once = np.maximum((a.astype(float) * b + c).astype(np.float32), 0)  # the product in full, as FMA has it
    same, differ = bool((fused == y).all()), int(np.count_nonzero(once != fused))
    close = np.allclose(once, fused, rtol=1e-4)
    return computed(same and close and 0 < differ < y.size, referees=ONNX, differ=differ, size=y.size)


def launches_take_time() -> Found:
    sweep, size = fusion.load(), 2**10
    ways = {"three": Way.TORCH_OUT, "one": Way.GENERATED}
    ways |= {"graph": Way.LONG_GRAPH_UNFUSED, "graph_one": Way.LONG_GRAPH_FUSED}
    us = {name: sweep.find(way, size).seconds * 1e6 for name, way in ways.items()}
    holds = us["three"] > 1.5 * us["one"] and us["graph"] > 2 * us["graph_one"] and us["graph_one"] > 0.5
    return seen(sweep, holds and sweep.find(Way.TORCH_OUT, size).kernels == 3, size=size, **us)


def training_dropout() -> Found:
    """What tensorrt_rtx says to a Dropout in training mode."""
    return witnesses.told(builds.model("dropout_training"), target="SM89")


def other_folders() -> Found:
    model, titles = builds.model("constant_subgraph"), ("onnxslim", "ONNX Runtime BASIC", "trtlab")
    left = [(title, len(compare.OPTIMIZERS[title](model).graph.node)) for title in titles]
    holds = len(model.graph.node) == 4 and all(count == 1 for _, count in left)
    return computed(holds, left, referees=("onnx", "onnxslim", "onnxruntime"))
