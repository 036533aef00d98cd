"""study/proofs/fusion: C24 to C47: what NVIDIA's builder and our rules made of the teaching models. Nothing is timed.

In: build reports, live or recorded, and rewritten models. Out: `Found`s; the words are in words/claims.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study import witnesses
from trtlab.study.claims import kernel_rows
from trtlab.study.found import Found, computed
from trtlab.study.witnesses import did, homes, is_fused, layer_types, listed, says

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport


def _built(report: "BuildReport", holds: bool, rows: Any = None, header: Any = (), **facts: Any) -> Found:
    """Found in NVIDIA's build; without rows of its own, the table of its kernels."""
    if rows is None:
        header, rows = kernel_rows(report)
    return Found(value=holds, facts=facts, rows=rows, header=header, provenance=report.provenance)


def five_techniques() -> Found:
    from trtlab.engine.nvidia.api import recorded_api

    report, api = witnesses.report_on("wide_inception"), recorded_api()
    streams = len({kernel.stream for kernel in report.kernels})
    rows = (
        ("layer and tensor fusion", "conv1 and relu1 in one kernel" * is_fused(report, "conv1", "relu1")),
        ("precision", "TF32 for FP32 products, by default" * ("TF32" in report.flags)),
        ("kernel auto-tuning", says(report, "Autotuning format combination")),
        ("dynamic tensor memory", says(report, "Total Activation Memory") if report.activation_bytes else ""),
        ("multi-stream execution", f"kernels on {streams} streams" * (streams > 1)),
    )
    since = {"DataType": "FP4", "INetworkDefinition": "add_attention", "IRuntimeConfig": "cuda_graph_strategy"}
    added = [f"{owner}.{name}" for owner, name in since.items() if api.has(owner, name)]
    holds = all(seen for _, seen in rows) and len(added) == len(since)
    return _built(report, holds, rows, compiler=api.compiler, version=api.version, added=listed(added))


def fewer_kernels_same_work() -> Found:
    before, after, _ = witnesses.rewritten("multiply_add_relu")
    same_work = before.flops == after.flops > 0
    holds = same_work and before.kernels > after.kernels and before.bytes_moved > after.bytes_moved
    rows = [(what, c.kernels, f"{c.bytes_moved:,}", c.flops) for what, c in (("unfused", before), ("fused", after))]
    return _built(witnesses.report_on("multiply_add_relu"), holds, rows)


def planned_memory() -> Found:
    fused, apart = witnesses.report_on("matmul_relu"), witnesses.report_on("matmul_two_readers")
    sizes = [report.activation_bytes or 0 for report in (fused, apart)]
    tensor = 256 * 256 * 4
    holds = is_fused(fused, "matmul", "relu") and not is_fused(apart, "matmul", "relu")
    return _built(apart, holds and sizes[1] - sizes[0] == tensor, fused=sizes[0], apart=sizes[1], tensor=tensor)


def launches_and_bytes_saved() -> Found:
    names = ("conv_bn_relu", "inception", "qkv", "multiply_add_relu", "residual", "gelu", "layernorm", "attention")
    rows, holds = [], True
    for name in names:
        before, after, _ = witnesses.rewritten(name)
        launched = len(witnesses.report_on(name).kernels)
        holds = holds and after.kernels < before.kernels >= launched and after.bytes_moved < before.bytes_moved
        moved = (f"{before.bytes_moved:,}", f"{after.bytes_moved:,}")
        rows.append((name, before.kernels, after.kernels, launched, *moved))
    return _built(witnesses.report_on("conv_bn_relu"), holds, rows)


def a_third_of_the_kernels() -> Found:
    report = witnesses.report_on("conv_relu")
    (naive, one, _), (two, same, _) = (
        witnesses.rewritten(m, "vertical_fusion") for m in ("conv_add_relu", "conv_relu")
    )
    moving = [kernel for kernel in report.kernels if not kernel.onnx_nodes]
    counts = {"naive": naive.kernels, "one": one.kernels, "two": two.kernels, "same": same.kernels}
    counts |= {"nvidia": len(report.kernels), "moving": len(moving)}
    return _built(report, [*counts.values()] == [3, 1, 2, 1, 3, 2], **counts)


def three_products_wide() -> Found:
    report = witnesses.report_on("qkv")
    columns = [t.shape[-1] for kernel in homes(report, "query", "key", "value") for t in kernel.outputs]
    return _built(report, columns == [3 * 16], columns=columns)


def three_streams() -> Found:
    report, (*_, ours) = witnesses.report_on("wide_inception"), witnesses.rewritten("inception")
    found = [homes(report, f"conv{number}", f"relu{number}") for number in (1, 2, 3)]
    alone = all(len(kernels) == 1 and len(kernels[0].onnx_nodes) == 2 for kernels in found)
    streams = sorted(kernel.stream for kernels in found for kernel in kernels)
    merged, waits = did(ours, "horizontal_fusion"), sum(step.type in ("signal", "wait") for step in report.steps)
    holds = alone and streams == [0, 1, 2] and waits > 0 and len(merged) == 1
    return _built(report, holds, streams=streams, waits=waits, merged=listed(merged))


def name_of_pointwise_fusion() -> Found:
    report = witnesses.report_on("multiply_add_relu")
    passes = [line.text for line in report.log if line.text.startswith("After ")]
    names = list(dict.fromkeys(line.removeprefix("After ").partition(":")[0] for line in passes))
    holds = "MulAddRelu" in report.kernels[0].name and "vertical fusions" in names
    return _built(report, holds and not any("tensor fusion" in name for name in names), passes=listed(names))


# --- one chain: A * B + C, then ReLU ----------------------------------------------------------------------------------


def numbers() -> list[Any]:
    """A, B and C of multiply_add_relu."""
    return [np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32) for seed in range(3)]


def passes() -> list[tuple[str, list[Any], Any]]:
    """NumPy's three passes: name, what is read, what is written."""
    a, b, c = numbers()
    x = a * b
    y = x + c
    return [("multiply", [a, b], x), ("add", [x, c], y), ("relu", [y], np.maximum(y, 0))]


def changed(name: str, given: str, result: str) -> int:
    """How many numbers of a result differ after one number of an input was raised."""
    from trtlab.graph.oracle import KINDS, reference, sample_inputs
    from trtlab.lab import builds

    model = builds.model(name)
    inputs = {key: KINDS["positive"](value) for key, value in next(sample_inputs(model)).items()}
    other = inputs[given].copy()
    other.flat[0] += 1
    outputs = [reference(model, fed)[result] for fed in (inputs, inputs | {given: other})]
    return int(np.count_nonzero(outputs[0] != outputs[1]))


def results_that_change() -> Found:
    elementwise, softmax = changed("multiply_add_relu", "a", "y"), changed("common", "x", "s")
    return computed([elementwise, softmax] == [1, 8], elementwise=elementwise, softmax=softmax)


def eight_n() -> Found:
    from trtlab.graph.cost import node_costs
    from trtlab.lab import builds

    costs = node_costs(builds.model("multiply_add_relu"))
    rows = [(name, len(read), 1, f"{costs[name].bytes_moved:,}") for name, read, _ in passes()]
    by_hand = [sum(tensor.nbytes for tensor in read) + written.nbytes for _, read, written in passes()]
    holds = [cost.bytes_moved for cost in costs.values()] == by_hand and sum(by_hand) == 8 * 256 * 4
    return computed(holds, rows, total=sum(by_hand))


def three_launches() -> Found:
    (before, after, _), h100 = witnesses.rewritten("multiply_add_relu"), witnesses.transfers()
    counts = (before.kernels, after.kernels, len(witnesses.report_on("multiply_add_relu").kernels))
    facts = dict(zip(("before", "after", "nvidia"), counts, strict=True)) | {"call_us": h100.call_s * 1e6}
    holds = counts == (3, 1, 1) and 1e-6 < h100.call_s < h100.total_s / 10
    return Found(value=holds, facts=facts, provenance=h100.provenance)


def half_of_the_traffic() -> Found:
    before, after, _ = witnesses.rewritten("multiply_add_relu")
    middle = 2 * sum(written.nbytes for name, _, written in passes() if name != "relu")
    saved = before.bytes_moved - after.bytes_moved
    holds = saved == middle == before.bytes_moved // 2
    return computed(holds, middle=middle, before=before.bytes_moved, saved=saved)


def one_loop() -> Found:
    a, b, c = numbers()
    fused = np.empty_like(a)
    for i in np.ndindex(a.shape):
        x = a[i] * b[i]
        y = x + c[i]
        fused[i] = max(y, np.float32(0))
    once = np.maximum((a.astype(float) * b + c).astype(np.float32), 0)  # the product in full, as FMA has it
    same, differ = bool((fused == passes()[-1][2]).all()), int(np.count_nonzero(once != fused))
    return computed(same and 0 < differ < 256 and np.allclose(once, fused, rtol=1e-4), differ=differ)


def nothing_in_the_middle() -> Found:
    report, (before, after, _) = witnesses.report_on("chain_128"), witnesses.rewritten("chain_128", "pointwise_fusion")
    holds = report.activation_bytes == 0 and len(report.kernels) == after.kernels == 1 and before.kernels == 128
    saved = before.bytes_moved - after.bytes_moved
    return _built(report, holds and saved > 0, saved=saved)


def one_launch() -> Found:
    names = {"multiply_add_relu": 3, "chain_16": 16, "chain_128": 128}
    reports = [witnesses.report_on(name) for name in names]
    rows = [(report.onnx_nodes, len(report.kernels)) for report in reports]
    return _built(reports[-1], rows == [(length, 1) for length in names.values()], rows)


def four_n() -> Found:
    (before, after, _), report = witnesses.rewritten("multiply_add_relu"), witnesses.report_on("multiply_add_relu")
    tensors = [len(kernel.inputs) + len(kernel.outputs) for kernel in report.kernels]
    ratio = before.bytes_moved / after.bytes_moved
    holds = tensors == [4] and ratio == 2 and before.kernels == 3 * after.kernels
    return _built(report, holds, before=before.bytes_moved, after=after.bytes_moved, ratio=ratio)


# --- dead layers, constants, concatenation ----------------------------------------------------------------------------


def dead_layers_go() -> Found:
    report, (*_, ours) = witnesses.report_on("dead_branch"), witnesses.rewritten("dead_branch")
    gone = not homes(report, "dead_matmul", "dead_softmax") and len(report.layers) > 1
    return _built(report, gone and [step.rule for step in ours.steps] == ["dead_layers"], parsed=len(report.layers))


def dropout_is_a_no_op() -> Found:
    from trtlab.study.truths import builds as truths

    report, training = witnesses.report_on("dropout"), truths.built(truths.training_dropout)
    *_, ours = witnesses.rewritten("dropout")
    types = layer_types(report)
    holds = types.count("IDENTITY") == 2 and not homes(report, "dropout", "identity") and len(report.kernels) == 1
    holds = holds and did(ours, "dead_layers") == ["Dropout changes nothing", "Identity changes nothing"]
    refused = training.value == "parse error" and "training mode" in training.evidence
    return _built(report, holds and refused, layers=listed(types), refusal=training.evidence)


def constants_are_folded() -> Found:
    report, (*_, ours) = witnesses.report_on("constant_subgraph"), witnesses.rewritten("constant_subgraph")
    folded = [step.where[0] for step in ours.steps if step.rule == "constant_folding"]
    holds = report.weights_bytes == 2 * 4 * 4 and "__myl_Mul_" in report.kernels[0].name and len(folded) == 3
    return _built(report, holds, weights=report.weights_bytes, folded=listed(folded))


def other_folders() -> Found:
    from trtlab.lab import builds
    from trtlab.lab.compare import OPTIMIZERS

    model, report = builds.model("constant_subgraph"), witnesses.report_on("constant_subgraph")
    titles = ("onnxslim", "ONNX Runtime BASIC", "trtlab")
    left = [(title, len(OPTIMIZERS[title](model).graph.node)) for title in titles]
    left.append(("NVIDIA's builder, kernels", len(report.kernels)))
    return _built(report, len(model.graph.node) == 4 and all(count == 1 for _, count in left), left)


def concat_in_place() -> Found:
    report = witnesses.report_on("wide_inception")
    written = [tensor for kernel in homes(report, "conv1", "conv2", "conv3") for tensor in kernel.outputs]
    slices = {(tensor.shape[1], (tensor.strides or (0,))[-1]) for tensor in written}
    raw = homes(witnesses.report_on("raw_concat"), "concat")
    copies = [kernel for kernel in witnesses.report_on("matmul_concat").kernels if not kernel.onnx_nodes]
    _, after, ours = witnesses.rewritten("raw_concat")
    refused = [refusal.reason for refusal in ours.refusals]
    holds = slices == {(64, 192)} and not homes(report, "concat") and len(raw) == 1 and len(copies) == 2
    facts = {"raw": listed(kernel.name for kernel in raw), "copies": len(copies), "refused": listed(refused)}
    return _built(report, holds and after.kernels == 1 == len(refused), **facts)


def without_the_concat() -> Found:
    before, after, ours = witnesses.rewritten("inception", "concat_elimination")
    kernels, moved = before.kernels - after.kernels, before.bytes_moved - after.bytes_moved
    whole = 24 * 8 * 8 * 4
    report = witnesses.report_on("inception")
    holds = (kernels, moved) == (1, 2 * whole) and not homes(report, "concat")
    facts = {"steps": listed(did(ours, "concat_elimination")), "kernels": kernels, "moved": moved, "whole": whole}
    return _built(report, holds, **facts)
