"""lab/slow: why an INT8 engine can be slower than the FP16 one, as NVIDIA's builder tells it; and how large plans are.

In: two residual blocks of a ResNet with Q/DQ in several places, or a trained network in every format. Out: frozen
`Builds`: LIVE, or RECORDED without a compiler. Nothing runs, so there are no times. Checked by tests/lab/test_slow.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from trtlab.engine import recordings
from trtlab.engine.convert import convert
from trtlab.engine.measure import Provenance
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.graph.load import export, load
from trtlab.graph.precision import insert_qdq, narrowed, new_node, weight_only
from trtlab.graph.rule import is_op, new_weight
from trtlab.lab.builds import TARGET, filled
from trtlab.lab.precision import histograms, network, thresholds

BYTES = {"Float": 4, "Half": 2, "BFloat16": 2, "Int8": 1, "FP8": 1, "Int32": 4, "Int64": 8, "Bool": 1}


@dataclass(frozen=True, kw_only=True)
class Build:
    """`generated` kernels hold no product: they convert, requantise, pad. `products`: types that the others read and
    write. `moved_bytes` is what all kernels read and write, weights aside."""

    name: str
    kernels: int
    generated: int
    products: tuple[str, ...]
    moved_bytes: int
    weights_bytes: int
    plan_bytes: int


@dataclass(frozen=True, kw_only=True)
class Builds:
    """The answers to one question."""

    rows: tuple[Build, ...]
    provenance: Provenance


def why_slow() -> Builds:
    """Two residual blocks as ResNet-18 begins with: FP16, Q/DQ where they belong and where not, odd channels."""
    plain, odd = (convert(blocks(channels), "FP16", keep_ends=False) for channels in (64, 63))
    at = dict.fromkeys(("x", "r1", "r2", "r3"), 8.0)
    placed = insert_qdq(plain, at)
    cases = {
        "FP16": plain,
        "INT8, Q/DQ where they belong": placed,
        "the same, weights per tensor": insert_qdq(plain, at, per_channel=False),
        "the same, and between Conv and ReLU": behind_convolutions(placed),
        "Q/DQ between Conv and ReLU alone": behind_convolutions(plain),
        "FP16, 63 channels": odd,
    }
    return _built("why-slow", cases)


def engines(name: str) -> Builds:
    """A trained network at batch 1 in every format: kernels, bytes of weights and of the plan."""
    model, at = network(name), thresholds(histograms(name))
    cases = {"FP32": model, "FP16": convert(model, "FP16"), "BF16": convert(model, "BF16")}
    cases |= {fmt: insert_qdq(model, at, activations=fmt) for fmt in ("INT8", "FP8_E4M3")}
    return _built(f"engines-{name}", cases | {"INT4 weights of matrices": weight_only(model, "INT4", block=32)})


def behind_convolutions(model: onnx.ModelProto, threshold: float = 8.0) -> onnx.ModelProto:
    """INT8 Q/DQ behind every Conv, before its ReLU or Add: where they do not belong."""
    loaded = load(model)
    graph = loaded.graph
    for node in [node for node in graph if is_op(node, "Conv")]:
        (x,), readers = node.outputs, list(node.outputs[0].uses())
        ends = [new_weight(graph, f"{x.name}_step", narrowed(np.asarray(threshold / 127), x.dtype))]
        ends.append(new_weight(graph, f"{x.name}_middle", np.zeros((), np.int8)))
        codes = new_node(graph, "QuantizeLinear", [x, *ends], x, ir.DataType.INT8)
        back = new_node(graph, "DequantizeLinear", [codes, *ends], x, x.dtype)
        for reader, place in readers:
            reader.replace_input_with(place, back)
    return export(loaded)


def blocks(channels: int = 64) -> onnx.ModelProto:
    """The two blocks, [1, channels, 56, 56], weights seeded."""
    text = (Path(__file__).parent / "probes" / "residual_blocks.onnxtxt").read_text("utf-8")
    return filled(text.replace("64", str(channels)))


def _built(question: str, models: Mapping[str, onnx.ModelProto]) -> Builds:
    from trtlab.engine.nvidia import explain

    rows = []
    for name, model in models.items():
        fixed = onnx.ModelProto.FromString(model.SerializeToString())
        for value in (*fixed.graph.input, *fixed.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        try:
            report = explain(fixed.SerializeToString(), TARGET, name=name, compiler="tensorrt_rtx")
        except CompilerMissing:
            return recordings.load(Builds, question)
        products = [kernel for kernel in report.kernels if kernel.type in ("correlation", "gemm", "runtime_fusion")]
        tensors = [tensor for kernel in report.kernels for tensor in (*kernel.inputs, *kernel.outputs)]
        rows.append(
            Build(
                name=name,
                kernels=len(report.kernels),
                generated=len(report.kernels) - len(products),
                products=tuple(sorted({f"{one.inputs[0].dtype} -> {one.dtype}" for one in products})),
                moved_bytes=sum(BYTES[tensor.dtype] * math.prod(tensor.shape) for tensor in tensors),
                weights_bytes=report.weights_bytes or 0,
                plan_bytes=report.plan_size_bytes,
            )
        )
    return Builds(rows=tuple(rows), provenance=report.provenance)
