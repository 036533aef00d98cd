"""study/proofs/fusion: C24 to C47: what NVIDIA's builder made of the teaching models, counted in its kernels.

In: build reports, live or recorded, and the arrays of onnx's evaluator. Out: `Found`s; the words are in words/claims.
Our own rules stand beside NVIDIA's where a sentence names them; what they cost is never evidence here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study import witnesses
from trtlab.study.bank import said
from trtlab.study.found import Found, computed
from trtlab.study.proofs.kinds import kernel_rows
from trtlab.study.witnesses import did, homes, is_fused, layer_types, listed

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport

ONNX = ("numpy", "onnx")
CHAIN = "multiply_add_relu"


def _built(report: "BuildReport", holds: bool, rows: Any = None, header: Any = (), **facts: Any) -> Found:
    """Found in NVIDIA's build; without rows of its own, the table of its kernels."""
    if rows is None:
        header, rows = kernel_rows(report)
    return Found(value=holds, facts=facts, rows=rows, header=header, provenance=report.provenance)


def arrays(name: str) -> dict[str, tuple[list[Any], list[Any]]]:
    """For each node of a model the arrays that onnx's evaluator reads and writes, in the model's order."""
    import onnx

    from trtlab.graph.oracle import reference, sample_inputs
    from trtlab.lab import builds

    model = builds.model(name)
    inputs = next(sample_inputs(model))
    values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    values |= inputs | dict(reference(model, inputs))
    return {
        node.name: ([values[n] for n in node.input if n], [values[n] for n in node.output]) for node in model.graph.node
    }


def moved_alone(name: str) -> int:
    """Bytes that the nodes of a model read and write as kernels of their own, counted on those arrays."""
    return sum(array.nbytes for read, written in arrays(name).values() for array in (*read, *written))


def moved_by_nvidia(report: "BuildReport") -> int:
    """Bytes that the kernels of a build read and write, constants too, by the float32 tensors that it lists."""
    tensors = [t for kernel in report.kernels for t in (*kernel.inputs, *kernel.outputs, *kernel.constants)]
    return sum(4 * math.prod(tensor.shape) for tensor in tensors)


def five_techniques() -> Found:
    from trtlab.engine.nvidia.api import recorded_api

    report, api = witnesses.report_on("wide_inception"), recorded_api()
    streams = len({kernel.stream for kernel in report.kernels})
    stubs = [kernel for kernel in report.kernels if "STUB" in kernel.tactic]
    int8 = witnesses.support("INT8", "SM89").cell("INT8", "SM89").said
    seen = {
        "fusion": is_fused(report, "conv1", "relu1"), "precision": int8 == "✓ Int8 × Int8", "tuning": bool(stubs),
        "memory": report.activation_bytes, "streams": streams > 1,
    }  # fmt: skip
    facts = {"stubs": len(stubs), "streams": streams, "planned": report.activation_bytes, "int8": int8}
    rows = [(said(f"technique_{name}"), said(f"seen_{name}", **facts)) for name in seen]
    since = {"DataType": "FP4", "INetworkDefinition": "add_attention", "IRuntimeConfig": "cuda_graph_strategy"}
    added = [f"{owner}.{name}" for owner, name in since.items() if api.has(owner, name)]
    holds = all(seen.values()) and len(added) == len(since)
    return _built(report, holds, rows, compiler=api.compiler, version=api.version, added=listed(added))


def planned_memory() -> Found:
    fused, apart = witnesses.report_on("matmul_relu"), witnesses.report_on("matmul_two_readers")
    sizes = [report.activation_bytes or 0 for report in (fused, apart)]
    tensor = 256 * 256 * 4
    holds = is_fused(fused, "matmul", "relu") and not is_fused(apart, "matmul", "relu")
    return _built(apart, holds and sizes[1] - sizes[0] == tensor, fused=sizes[0], apart=sizes[1], tensor=tensor)


def launches_and_bytes_saved(names: Sequence[str]) -> Found:
    """NVIDIA's builds move fewer bytes than the nodes alone, in no more kernels, and mostly in fewer."""
    counts = {}
    for name in names:
        report = witnesses.report_on(name)
        counts[name] = (report.onnx_nodes, len(report.kernels), moved_alone(name), moved_by_nvidia(report))
    holds = all(0 < kernels <= nodes and moved < alone for nodes, kernels, alone, moved in counts.values())
    rows = [(name, *found[:2], *(f"{size:,}" for size in found[2:])) for name, found in counts.items()]
    fewer = sum(kernels < nodes for nodes, kernels, *_ in counts.values())
    return _built(witnesses.report_on(names[0]), holds and fewer > len(names) / 2, rows, fewer=fewer, models=len(names))


def a_third_of_the_kernels() -> Found:
    naive, usual = (witnesses.report_on(name) for name in ("conv_add_relu", "conv_relu"))
    work = [[kernel for kernel in report.kernels if kernel.onnx_nodes] for report in (naive, usual)]
    counts = {"naive": naive.onnx_nodes, "one": len(work[0]), "two": usual.onnx_nodes, "same": len(work[1])}
    counts |= {"nvidia": len(usual.kernels), "moving": len(usual.kernels) - len(work[1])}
    return _built(usual, [*counts.values()] == [3, 1, 2, 1, 3, 2], **counts)


def three_streams() -> Found:
    report = witnesses.report_on("wide_inception")
    found = [homes(report, f"conv{number}", f"relu{number}") for number in (1, 2, 3)]
    alone = all(len(kernels) == 1 and len(kernels[0].onnx_nodes) == 2 for kernels in found)
    streams = sorted(kernel.stream for kernels in found for kernel in kernels)
    waits = sum(step.type in ("signal", "wait") for step in report.steps)
    return _built(report, alone and streams == [0, 1, 2] and waits > 0, streams=streams, waits=waits)


def name_of_pointwise_fusion() -> Found:
    report = witnesses.report_on("multiply_add_relu")
    passes = [line.text for line in report.log if line.text.startswith("After ")]
    names = list(dict.fromkeys(line.removeprefix("After ").partition(":")[0] for line in passes))
    holds = "MulAddRelu" in report.kernels[0].name and "vertical fusions" in names
    return _built(report, holds and not any("tensor fusion" in name for name in names), passes=listed(names))


# --- one chain: A * B + C, then ReLU ----------------------------------------------------------------------------------


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
    return computed([elementwise, softmax] == [1, 8], referees=ONNX, elementwise=elementwise, softmax=softmax)


def eight_n() -> Found:
    rows = [
        (name, len(read), len(written), f"{sum(array.nbytes for array in (*read, *written)):,}")
        for name, (read, written) in arrays(CHAIN).items()
    ]
    total, n = moved_alone(CHAIN), arrays(CHAIN)["relu"][1][0].nbytes
    holds = [row[1:3] for row in rows] == [(2, 1), (2, 1), (1, 1)] and total == 8 * n
    return computed(holds, rows, referees=ONNX, total=total)


def launches_take_time() -> Found:
    from trtlab.lab import fusion
    from trtlab.lab.ways import Way

    sweep, size = fusion.load(), 2**10
    ways = {
        "three": Way.TORCH_OUT,
        "one": Way.GENERATED,
        "graph": Way.LONG_GRAPH_UNFUSED,
        "graph_one": Way.LONG_GRAPH_FUSED,
    }
    found = {name: sweep.find(way, size) for name, way in ways.items()}
    facts = {name: row.seconds * 1e6 for name, row in found.items()} | {"size": size, "kernels": found["three"].kernels}
    holds = facts["three"] > 1.5 * facts["one"] and facts["graph"] > 2 * facts["graph_one"] and facts["graph_one"] > 0.5
    return Found(value=holds and facts["kernels"] == 3, facts=facts, provenance=sweep.provenance)


def half_of_the_traffic() -> Found:
    report, alone = witnesses.report_on(CHAIN), arrays(CHAIN)
    middle = 2 * sum(written.nbytes for name, (_, (written,)) in alone.items() if name != "relu")
    before, after = moved_alone(CHAIN), moved_by_nvidia(report)
    tensors = [len(kernel.inputs) + len(kernel.outputs) for kernel in report.kernels]
    holds = tensors == [4] and before - after == middle == after == before // 2
    return _built(report, holds, middle=middle, before=before, after=after)


def one_loop() -> Found:
    given = arrays(CHAIN)
    ((a, b), _), ((_, c), _), (_, (y,)) = given.values()
    fused = np.empty_like(a)
    for i in np.ndindex(a.shape):
        x = a[i] * b[i]
        fused[i] = max(x + c[i], np.float32(0))
    once = np.maximum((a.astype(float) * b + c).astype(np.float32), 0)  # the product in full, as FMA has it
    same, differ = bool((fused == y).all()), int(np.count_nonzero(once != fused))
    close = np.allclose(once, fused, rtol=1e-4)
    return computed(same and close and 0 < differ < y.size, referees=ONNX, differ=differ, size=y.size)


def nothing_in_the_middle() -> Found:
    report, alone = witnesses.report_on("chain_128"), arrays("chain_128")
    between = [written.nbytes for name, (_, (written,)) in alone.items() if name != "last"]
    holds = report.activation_bytes == 0 and len(report.kernels) == 1 and len(between) == 127
    return _built(report, holds, count=len(between), between=sum(between))


def kernels_of_chains(expected: Mapping[int, int]) -> Found:
    """{elementwise operators: kernels that NVIDIA's builder makes of them}."""
    reports = [witnesses.report_on(CHAIN if length == 3 else f"chain_{length}") for length in expected]
    rows = [(report.onnx_nodes, len(report.kernels)) for report in reports]
    return _built(reports[-1], rows == [*expected.items()], rows)


# --- dead layers, constants, concatenation ----------------------------------------------------------------------------


def dropout_is_a_no_op() -> Found:
    from trtlab.study.truths import builds as truths

    report, training = witnesses.report_on("dropout"), truths.built(truths.training_dropout)
    types = layer_types(report)
    holds = types.count("IDENTITY") == 2 and not homes(report, "dropout", "identity") and len(report.kernels) == 1
    refused = training.value == "parse error" and "training mode" in training.evidence
    return _built(report, holds and refused, layers=listed(types), refusal=training.evidence)


def other_folders() -> Found:
    from trtlab.lab import builds
    from trtlab.lab.compare import OPTIMIZERS

    model, titles = builds.model("constant_subgraph"), ("onnxslim", "ONNX Runtime BASIC", "trtlab")
    left = [(title, len(OPTIMIZERS[title](model).graph.node)) for title in titles]
    holds = len(model.graph.node) == 4 and all(count == 1 for _, count in left)
    return computed(holds, left, referees=("onnx", "onnxslim", "onnxruntime"))


def concat_in_place() -> Found:
    report = witnesses.report_on("wide_inception")
    written = [tensor for kernel in homes(report, "conv1", "conv2", "conv3") for tensor in kernel.outputs]
    slices = {(tensor.shape[1], (tensor.strides or (0,))[-1]) for tensor in written}
    raw = homes(witnesses.report_on("raw_concat"), "concat")
    copies = [kernel for kernel in witnesses.report_on("matmul_concat").kernels if not kernel.onnx_nodes]
    ours = did(witnesses.rewritten("matmul_concat")[2], "concat_elimination")
    refused = [refusal.reason for refusal in witnesses.rewritten("raw_concat")[2].refusals]
    holds = slices == {(64, 192)} and not homes(report, "concat") and len(raw) == 1 and len(copies) == 2
    facts = {"raw": listed(kernel.name for kernel in raw), "copies": len(copies)}
    facts |= {"ours": listed(ours), "refused": listed(refused)}
    return _built(report, holds and len(ours) == 1 == len(refused), **facts)


def without_the_concat() -> Found:
    kept, gone = witnesses.report_on("raw_concat"), witnesses.report_on("inception")
    whole = arrays("raw_concat")["concat"][1][0].nbytes
    kernels, moved = len(homes(kept, "concat")), moved_by_nvidia(kept)
    holds = kernels == len(kept.kernels) == 1 and moved == 2 * whole and not homes(gone, "concat")
    return _built(gone, holds and len(homes(gone, "conv1", "conv2", "conv3")) == 3, moved=moved, whole=whole)
