"""study/claims/fusion: the sheet's second question, first part, C24 to C47: graph optimisation.

In: the rules of trtlab.graph, and what NVIDIA's builder made of the same models (engine/recordings/fusions). Out: a
proof per item of the sheet; the sentences are in fusion.yaml. Each must be able to fail: it compares. Kernels and bytes
are counted; nothing here is timed.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study.claims import Evidence, proves
from trtlab.study.claims.observed import computed as _computed

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport, Kernel
    from trtlab.graph.cost import Cost
    from trtlab.graph.rewrite import Report

THREE = "multiply", "add", "relu"
SHOWN_NODES = 6


# --- what proofs share -----------------------------------------------------------------------------------------------


@functools.cache
def report_on(name: str) -> "BuildReport":
    """What NVIDIA's builder made of a model."""
    from trtlab.engine.recordings import fusions

    return fusions.report(name)


@functools.cache
def rewritten(name: str, *rules: str) -> "tuple[Cost, Cost, Report]":
    """The cost of a model before and after our rules, and what they did. Both were run on the same numbers."""
    from trtlab.engine.recordings import fusions
    from trtlab.graph import optimize
    from trtlab.graph.cost import model_cost
    from trtlab.graph.oracle import check_same, sample_inputs

    model = fusions.model(name)
    result, report = optimize(model, rules or None)
    check_same(model, result, next(sample_inputs(model)))
    return model_cost(model), model_cost(result), report


def homes(report: "BuildReport", *nodes: str) -> "list[Kernel]":
    """The kernels that hold any of these ONNX nodes."""
    return [kernel for kernel in report.kernels if set(nodes) & set(kernel.onnx_nodes)]


def is_fused(report: "BuildReport", *nodes: str) -> bool:
    """Whether one kernel holds all of these nodes, and no other kernel any."""
    found = homes(report, *nodes)
    return len(found) == 1 and set(nodes) <= set(found[0].onnx_nodes)


def _table(name: str, holds: bool, shown: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Evidence:
    """Evidence that rests on NVIDIA's build of a model."""
    cells = tuple(tuple(map(str, row)) for row in rows)
    return Evidence(holds=holds, shown=shown, provenance=report_on(name).provenance, header=tuple(header), rows=cells)


def _kernels(name: str, holds: bool, shown: str) -> Evidence:
    """Evidence with a table: what NVIDIA's builder launches, and which ONNX nodes are inside."""
    report = report_on(name)
    order = [node for layer in report.layers for node in layer.onnx_nodes]
    rows = [(k.name, _listed(sorted(k.onnx_nodes, key=order.index)), k.stream) for k in report.kernels]
    return _table(name, holds, shown, ("NVIDIA's kernel", "ONNX nodes in it", "stream"), rows)


def _listed(nodes: Sequence[str]) -> str:
    if len(nodes) > SHOWN_NODES:
        return f"{nodes[0]}, {nodes[1]}, … {nodes[-1]}: {len(nodes)} nodes"
    return ", ".join(nodes) or "none: it changes the layout"


def _did(report: "Report", rule: str) -> list[str]:
    """What our rule of that name did, one line a step."""
    return [step.what for step in report.steps if step.rule == rule]


def _says(report: "BuildReport", words: str) -> str:
    """The first line of the builder's log with these words; empty if there is none."""
    return next((line.text.strip("* -") for line in report.log if words in line.text), "")


# --- the overview ----------------------------------------------------------------------------------------------------


@proves("C24")
def _five() -> Evidence:
    from trtlab.engine import recordings

    report, api = report_on("wide_inception"), recordings.load_api()
    streams = len({kernel.stream for kernel in report.kernels})
    rows = (
        ("layer and tensor fusion", "conv1 and relu1 in one kernel" * is_fused(report, "conv1", "relu1")),
        ("precision", "TF32 for FP32 products, by default" * ("TF32" in report.flags)),
        ("kernel auto-tuning", _says(report, "Autotuning format combination")),
        ("dynamic tensor memory", _says(report, "Total Activation Memory") if report.activation_bytes else ""),
        ("multi-stream execution", f"kernels on {streams} streams" * (streams > 1)),
    )
    since = {"DataType": "FP4", "INetworkDefinition": "add_attention", "IRuntimeConfig": "cuda_graph_strategy"}
    added = [f"{owner}.{name}" for owner, name in since.items() if api.has(owner, name)]
    shown = f"One build of four convolutions. {api.compiler} {api.version} has, besides: {', '.join(added)}."
    holds = all(seen for _, seen in rows) and len(added) == len(since)
    return _table("wide_inception", holds, shown, ("technique", "seen in the build"), rows)


@proves("C25")
def _fewer_kernels() -> Evidence:
    before, after, _ = rewritten("multiply_add_relu")
    holds = (
        before.flops == after.flops > 0 and before.kernels > after.kernels and before.bytes_moved > after.bytes_moved
    )
    rows = [(what, c.kernels, f"{c.bytes_moved:,}", c.flops) for what, c in (("unfused", before), ("fused", after))]
    holds = holds and is_fused(report_on("multiply_add_relu"), *THREE)
    header, shown = ("", "kernels", "bytes moved", "operations"), "A * B + C, then ReLU, on 256 numbers:"
    return _table("multiply_add_relu", holds, shown, header, rows)


@proves("C26")
def _no_allocation() -> Evidence:
    fused, apart = report_on("matmul_relu"), report_on("matmul_two_readers")
    sizes = [report.activation_bytes or 0 for report in (fused, apart)]
    tensor = 256 * 256 * 4
    holds = (
        sizes[1] - sizes[0] == tensor and is_fused(fused, "matmul", "relu") and not is_fused(apart, "matmul", "relu")
    )
    shown = (
        f"Planned for MatMul and ReLU in one kernel: {sizes[0]:,} bytes. Where a Sigmoid reads the product as well, "
    )
    return _kernels("matmul_two_readers", holds, f"{shown}{sizes[1]:,}: {tensor:,} more, the product itself.")


@proves("C30")
def _saves_both() -> Evidence:
    names = ("conv_bn_relu", "inception", "qkv", "multiply_add_relu", "residual", "gelu", "layernorm", "attention")
    rows, holds = [], True
    for name in names:
        before, after, _ = rewritten(name)
        launched = len(report_on(name).kernels)
        holds = holds and after.kernels < before.kernels >= launched and after.bytes_moved < before.bytes_moved
        rows.append(
            (name, before.kernels, after.kernels, launched, f"{before.bytes_moved:,}", f"{after.bytes_moved:,}")
        )
    header = ("model", "kernels", "by our rules", "by NVIDIA", "bytes moved", "by our rules")
    shown = "NVIDIA's count includes kernels that only change the layout. No GPU ran:"
    return _table("conv_bn_relu", holds, shown, header, rows)


# --- vertical --------------------------------------------------------------------------------------------------------


@proves("C27")
def _vertical() -> Evidence:
    report, (*_, ours) = report_on("residual"), rewritten("residual", "vertical_fusion")
    logged = _says(report, "vertical fusions")
    steps = _did(ours, "vertical_fusion")
    holds = bool(logged) and is_fused(report, "conv1", "relu1") and len(steps) == 3
    return _kernels("residual", holds, f"The log: “{logged}”. Our steps: {'; '.join(steps)}.")


@proves("C28")
def _cbr() -> Evidence:
    report = report_on("conv_relu")
    layers = [layer.type for layer in report.layers if not layer.is_constant]
    holds = layers == ["CONVOLUTION", "ACTIVATION"] and is_fused(report, "conv", "relu")
    return _kernels("conv_relu", holds, f"Conv with a bias, then Relu: the parser makes {' and '.join(layers)} of it.")


@proves("C29")
def _a_third() -> Evidence:
    report = report_on("conv_relu")
    (naive, one, _), (two, same, _) = (
        rewritten("conv_add_relu", "vertical_fusion"),
        rewritten("conv_relu", "vertical_fusion"),
    )
    moving = [kernel for kernel in report.kernels if not kernel.onnx_nodes]
    counts = (naive.kernels, one.kernels, two.kernels, same.kernels, len(report.kernels), len(moving))
    shown = "Conv, Add, Relu: {} kernels, fused {}. Conv with bias, Relu: {}, fused {}. NVIDIA's: {}, of which {} move data."
    return _kernels("conv_relu", counts == (3, 1, 2, 1, 3, 2), shown.format(*counts))


# --- horizontal ------------------------------------------------------------------------------------------------------


@proves("C32")
def _horizontal() -> Evidence:
    report, (*_, ours) = report_on("qkv"), rewritten("qkv", "horizontal_fusion")
    products = ("query", "key", "value")
    columns = [tensor.shape[-1] for kernel in homes(report, *products) for tensor in kernel.outputs]
    steps = _did(ours, "horizontal_fusion")
    holds = is_fused(report, *products) and columns == [3 * 16] and len(steps) == 1
    return _kernels("qkv", holds, f"16 columns each; NVIDIA's product writes {columns}. Ours: {', '.join(steps)}.")


@proves("C33")
def _three_streams() -> Evidence:
    report, (*_, ours) = report_on("wide_inception"), rewritten("inception")
    found = [homes(report, f"conv{number}", f"relu{number}") for number in (1, 2, 3)]
    alone = all(len(kernels) == 1 and len(kernels[0].onnx_nodes) == 2 for kernels in found)
    streams = sorted(kernel.stream for kernels in found for kernel in kernels)
    merged = _did(ours, "horizontal_fusion")
    waits = sum(step.type in ("signal", "wait") for step in report.steps)
    shown = f"Streams {streams}, with {waits} signals and waits. Our own rule, on a small one: {', '.join(merged)}."
    return _kernels("wide_inception", alone and streams == [0, 1, 2] and waits > 0 and len(merged) == 1, shown)


# --- pointwise -------------------------------------------------------------------------------------------------------


@proves("C34")
def _its_name() -> Evidence:
    report = report_on("multiply_add_relu")
    passes = [line.text for line in report.log if line.text.startswith("After ")]
    names = list(dict.fromkeys(line.removeprefix("After ").partition(":")[0] for line in passes))
    holds = "MulAddRelu" in report.kernels[0].name and "vertical fusions" in names
    shown = f"The passes in the log: {', '.join(names)}."
    return _kernels("multiply_add_relu", holds and not any("tensor fusion" in name for name in names), shown)


@proves("C35")
def _elementwise() -> Evidence:
    changed = [_changed("multiply_add_relu", "a", "y"), _changed("common", "x", "s")]
    shown = f"One number of A changed: {changed[0]} of 256 results did. In the Softmax of 8: {changed[1]}."
    return _computed(changed == [1, 8], shown)


def _changed(name: str, given: str, result: str) -> int:
    """How many numbers of a result differ after one number of an input was raised."""
    from trtlab.engine.recordings import fusions
    from trtlab.graph.oracle import KINDS, reference, sample_inputs

    model = fusions.model(name)
    inputs = {key: KINDS["positive"](value) for key, value in next(sample_inputs(model)).items()}
    other = inputs[given].copy()
    other.flat[0] += 1
    outputs = [reference(model, fed)[result] for fed in (inputs, inputs | {given: other})]
    return int(np.count_nonzero(outputs[0] != outputs[1]))


def _numbers(seed: int = 0) -> list[Any]:
    """A, B and C of multiply_add_relu."""
    return [np.random.default_rng(seed + i).normal(size=(16, 16)).astype(np.float32) for i in range(3)]


def _passes() -> list[tuple[str, list[Any], Any]]:
    """NumPy's three passes: name, what is read, what is written."""
    a, b, c = _numbers()
    x = a * b
    y = x + c
    return [("multiply", [a, b], x), ("add", [x, c], y), ("relu", [y], np.maximum(y, 0))]


@proves("C36")
def _eight_n() -> Evidence:
    from trtlab.engine.recordings import fusions
    from trtlab.graph.cost import node_costs

    costs = node_costs(fusions.model("multiply_add_relu"))
    rows = [(name, len(read), 1, f"{costs[name].bytes_moved:,}") for name, read, _ in _passes()]
    by_hand = [sum(tensor.nbytes for tensor in read) + written.nbytes for _, read, written in _passes()]
    holds = [cost.bytes_moved for cost in costs.values()] == by_hand and sum(by_hand) == 8 * 256 * 4
    shown = f"256 numbers of 4 bytes: {sum(by_hand):,} bytes in all, counted on NumPy's arrays and from the graph."
    return _computed(holds, shown, ("kernel", "tensors read", "written", "bytes"), rows)


@proves("C37")
def _launches() -> Evidence:
    from trtlab.engine.recordings import transfers

    (before, after, _), h100 = rewritten("multiply_add_relu"), transfers.load()
    counts = (before.kernels, after.kernels, len(report_on("multiply_add_relu").kernels))
    shown = (
        f"{counts[0]} kernels; fused {counts[1]}, and at NVIDIA's {counts[2]}. Measured on a GPU, from PyTorch: the "
    )
    shown += f"call that launches a matrix product returns after {h100.call_s * 1e6:.0f} µs, long before it is done."
    holds = counts == (3, 1, 1) and 1e-6 < h100.call_s < h100.total_s / 10
    return Evidence(holds=holds, shown=shown, provenance=h100.provenance)


@proves("C38")
def _middle() -> Evidence:
    before, after, _ = rewritten("multiply_add_relu")
    middle = 2 * sum(written.nbytes for name, _, written in _passes() if name != "relu")
    saved = before.bytes_moved - after.bytes_moved
    shown = f"X and Y, written and read: {middle:,} bytes. {before.bytes_moved:,} before fusion, {saved:,} less after."
    return _computed(saved == middle == before.bytes_moved // 2, shown)


@proves("C39")
def _one_loop() -> Evidence:
    a, b, c = _numbers()
    fused = np.empty_like(a)
    for i in np.ndindex(a.shape):
        x = a[i] * b[i]
        y = x + c[i]
        fused[i] = max(y, np.float32(0))
    once = np.maximum((a.astype(float) * b + c).astype(np.float32), 0)  # the product in full, as FMA has it
    same, differ = bool((fused == _passes()[-1][2]).all()), int(np.count_nonzero(once != fused))
    shown = f"All 256 results of the loop equal those of the passes. With the product unrounded {differ} differ, "
    return _computed(same and 0 < differ < 256 and np.allclose(once, fused, rtol=1e-4), f"{shown}in the last bits.")


@proves("C31")
def _in_registers() -> Evidence:
    report, (before, after, _) = report_on("chain_128"), rewritten("chain_128", "pointwise_fusion")
    holds = report.activation_bytes == 0 and len(report.kernels) == after.kernels == 1 and before.kernels == 128
    saved = before.bytes_moved - after.bytes_moved
    return _kernels("chain_128", holds and saved > 0, f"Our rule counts {saved:,} bytes that are never moved.")


@proves("C40")
def _one_launch() -> Evidence:
    names = {"multiply_add_relu": 3, "chain_16": 16, "chain_128": 128}
    rows = [(report_on(name).onnx_nodes, len(report_on(name).kernels)) for name in names]
    holds = rows == [(length, 1) for length in names.values()]
    return _table("chain_128", holds, "Built by NVIDIA:", ("operators", "kernels"), rows)


@proves("C41")
def _four_n() -> Evidence:
    (before, after, _), report = rewritten("multiply_add_relu"), report_on("multiply_add_relu")
    tensors = [len(kernel.inputs) + len(kernel.outputs) for kernel in report.kernels]
    ratio = before.bytes_moved / after.bytes_moved
    shown = f"Bytes: {before.bytes_moved:,} and {after.bytes_moved:,}, so {ratio:g} times less. NVIDIA's kernel:"
    return _kernels("multiply_add_relu", tensors == [4] and ratio == 2 and before.kernels == 3 * after.kernels, shown)


# --- dead layers, constants ------------------------------------------------------------------------------------------


@proves("C42")
def _dead() -> Evidence:
    report, (*_, ours) = report_on("dead_branch"), rewritten("dead_branch")
    first = _says(report, "Original: ")
    holds = (
        len(report.layers) > 1 and first == "Original: 1 layers" and not homes(report, "dead_matmul", "dead_softmax")
    )
    holds = holds and [step.rule for step in ours.steps] == ["dead_layers"]
    return _kernels("dead_branch", holds, f"Parsed: {len(report.layers)} layers. The log begins with “{first}”.")


@proves("C43")
def _dropout() -> Evidence:
    from trtlab.study.quizzes import found

    report, training, (*_, ours) = report_on("dropout"), found.built(found.training_dropout), rewritten("dropout")
    types = [layer.type for layer in report.layers if not layer.is_constant]
    holds = types.count("IDENTITY") == 2 and not homes(report, "dropout", "identity") and len(report.kernels) == 1
    holds = holds and _did(ours, "dead_layers") == ["Dropout changes nothing", "Identity changes nothing"]
    refused = training.value == "parse error" and "training mode" in training.evidence
    return _kernels("dropout", holds and refused, f"Parsed: {', '.join(types)}. In training mode: {training.evidence}")


@proves("C44")
def _constants() -> Evidence:
    report, (*_, ours) = report_on("constant_subgraph"), rewritten("constant_subgraph")
    folded = [step.where[0] for step in ours.steps if step.rule == "constant_folding"]
    holds = is_fused(report, "six", "root", "expand", "scaled") and report.weights_bytes == 2 * 4 * 4
    shown = f"The weights: {report.weights_bytes} bytes, the 2 × 4 grid itself. Our rule folded {', '.join(folded)}."
    return _kernels("constant_subgraph", holds and "__myl_Mul_" in report.kernels[0].name and len(folded) == 3, shown)


@proves("C45")
def _other_folders() -> Evidence:
    from trtlab.engine.recordings import fusions
    from trtlab.lab.compare import OPTIMIZERS

    model = fusions.model("constant_subgraph")
    titles = ("onnxslim", "ONNX Runtime BASIC", "trtlab")
    left = [(title, len(OPTIMIZERS[title](model).graph.node)) for title in titles]
    left.append(("NVIDIA's builder, kernels", len(report_on("constant_subgraph").kernels)))
    holds = len(model.graph.node) == 4 and all(count == 1 for _, count in left)
    return _table("constant_subgraph", holds, "Of 4 nodes there are left:", ("after", "nodes"), left)


# --- concatenation ---------------------------------------------------------------------------------------------------


@proves("C46")
def _concat() -> Evidence:
    convolutions = [
        kernel for kernel in report_on("wide_inception").kernels if {"conv1", "conv2", "conv3"} & {*kernel.onnx_nodes}
    ]
    slices = {(tensor.shape[1], (tensor.strides or (0,))[-1]) for kernel in convolutions for tensor in kernel.outputs}
    raw = homes(report_on("raw_concat"), "concat")
    copies = [kernel for kernel in report_on("matmul_concat").kernels if not kernel.onnx_nodes]
    holds = slices == {(64, 192)} and not homes(report_on("wide_inception"), "concat") and len(raw) == 1
    _, after, ours = rewritten("raw_concat")
    refused = [refusal.reason for refusal in ours.refusals]
    shown = f"Each convolution writes 64 channels of 192. Two inputs: {raw[0].name if raw else 'nothing'}; products: "
    shown += f"{len(copies)} copies. Our rule refuses raw inputs: {', '.join(refused)}."
    return _kernels("wide_inception", holds and len(copies) == 2 and after.kernels == 1 == len(refused), shown)


@proves("C47")
def _no_concat() -> Evidence:
    before, after, ours = rewritten("inception", "concat_elimination")
    kernels, moved = before.kernels - after.kernels, before.bytes_moved - after.bytes_moved
    whole = 24 * 8 * 8 * 4
    holds = (kernels, moved) == (1, 2 * whole) and not homes(report_on("inception"), "concat")
    shown = f"{', '.join(_did(ours, 'concat_elimination'))}: {kernels} kernel and {moved:,} bytes less; the result has {whole:,}."
    return _kernels("inception", holds, shown)
