"""lab/builds: what NVIDIA's builder makes of small models in which there is something to fuse, and of light networks.

In: a name of graph.models.TEACHING_MODELS, PROBES, REWRITTEN or REFUSED. Out: its model, and the `BuildReport` for
SM89: LIVE, or RECORDED where no compiler can be installed. And why an INT8 engine can be slower than the FP16 one: Q/DQ
in several places, a trained network in every format. Nothing runs, so there are no times. Compared with builds by
tests/lab/test_builds.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.report import BuildReport
from trtlab.engine.precision import convert
from trtlab.graph import optimize
from trtlab.graph.load import export, load
from trtlab.graph.models import LIGHT_FOLDER, OPSET, TEACHING_MODELS, randomized
from trtlab.graph.onnxfile import sha256_of
from trtlab.graph.precision import insert_qdq, narrowed, new_node, weight_only
from trtlab.graph.rule import is_op, new_weight
from trtlab.lab import precision

TARGET = "SM89"
PROBES = tuple(
    "conv_relu conv_add_relu conv_relu_shown conv_bn_relu_conv conv_identity_bn_relu matmul_relu matmul_two_readers "
    "multiply_add_relu_shown chain_16 chain_128 chain_448 chain_512 wide_inception raw_concat pointwise_concat "
    "matmul_concat qdq_behind_relu qdq_before_relu".split()
)
"""Files in lab/probes; `shown`: a tensor in the middle is an output of the graph as well."""
REFUSED = ("dropout_training", "matmul_mixed")
"""Files there that NVIDIA's parser does not take."""
REWRITTEN: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "conv_bn_relu_folded": ("conv_bn_relu", ("conv_bn_folding",)),
    **{
        f"{name}_rewritten": (name, None)
        for name in ("conv_bn_relu", "inception", "qkv", "residual", "layernorm", "attention")
    },
}
"""Name -> a model above, and the rules of graph.rules that rewrote it before NVIDIA's builder saw it; None is all."""


def model(name: str, seed: int = 0) -> onnx.ModelProto:
    """The model of that name; its weights follow from the seed. KeyError names what there is."""
    if name in TEACHING_MODELS:
        return TEACHING_MODELS[name](seed)
    if name in REWRITTEN:
        origin, rules = REWRITTEN[name]
        made, _ = optimize(model(origin, seed), rules)
        made.graph.name = name
        return made
    if name not in (*PROBES, *REFUSED):
        raise KeyError(f"no model {name!r}; there are {', '.join((*TEACHING_MODELS, *REWRITTEN, *PROBES, *REFUSED))}")
    return filled(_text(name), seed)


def filled(text: str, seed: int = 0) -> onnx.ModelProto:
    """A model in ONNX's text form; what it declares without a value becomes seeded weights."""
    made, rng = onnx.parser.parse_model(text), np.random.default_rng(seed)
    for value in made.graph.value_info:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        weights = rng.uniform(0.5, 1.5, sizes).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, value.name))
    del made.graph.value_info[:]
    return made


def _text(name: str) -> str:
    """ONNX's text form. A chain of so many operators is too long for a file: Add, Max, Add, ..., each on the result of
    the one before and on a, and a Relu."""
    if not name.startswith("chain_"):
        return (Path(__file__).parent / "probes" / f"{name}.onnxtxt").read_text("utf-8")
    last = int(name.removeprefix("chain_")) - 1
    middle = "".join(f"[n{i}] t{i + 1} = {('Add', 'Max')[i % 2]} (t{i}, a) " for i in range(last))
    head = f'<ir_version: 10, opset_import: ["": {OPSET}]> {name} (float[64,64] t0, float[64,64] a) => (float[64,64] y)'
    return f"{head} {{ {middle} [last] y = Relu (t{last}) }}"


def names() -> tuple[str, ...]:
    """The models as they were written: the teaching models, then the probes."""
    return (*TEACHING_MODELS, *PROBES)


# --- reports ----------------------------------------------------------------------------------------------------------


def report(name: str) -> BuildReport:
    """What tensorrt_rtx makes of the model: LIVE, or RECORDED without a compiler."""
    return built(model(name).SerializeToString(), f"fusion-{name}")


def light_report(name: str) -> BuildReport:
    """The same of one of the onnx package's `light_*` networks, with seeded weights."""
    return built(light_model(name).SerializeToString(), f"light-{name}")


def built(data: bytes, name: str, target: str = TARGET) -> BuildReport:
    """What tensorrt_rtx makes of an ONNX file, LIVE; without a compiler the recording of these very bytes under this
    name. CompilerMissing where there is none."""
    from trtlab.engine.nvidia import explain

    try:
        return explain(data, target, name=name, compiler="tensorrt_rtx")
    except CompilerMissing as missing:
        found = recorded(f"{name}-{target}", missing)
        if found.model_sha256 != sha256_of(data):
            raise CompilerMissing(
                f"The recording '{name}-{target}' is of another model.", hint=missing.hint
            ) from missing
        return found


def recorded(name: str, missing: CompilerMissing | None = None) -> BuildReport:
    """A recorded report. When there is none of that name: CompilerMissing, with the choices and why it was needed."""
    try:
        return recordings.load(BuildReport, name)
    except recordings.RecordingMissing as none:
        why = missing.what if missing is not None else "A report was asked for."
        raise CompilerMissing(f"{why} There is no recording {name!r} to show instead.", hint=str(none)) from none


def key(model: str, precision: str, target: str, *, dynamic_batch: bool) -> str:
    """`digits-FP32-SM89-static`: the name of a workflow's recording, whether or not it exists."""
    return f"{model}-{precision}-{target}-{'dynamic' if dynamic_batch else 'static'}"


# --- the light networks -----------------------------------------------------------------------------------------------


def light_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of the onnx package's `light_*` networks, such as `squeezenet`, whose weights are ConstantOfShape nodes, with
    seeded random weights."""
    return randomized(onnx.load(LIGHT_FOLDER / f"light_{name}.onnx"), seed)


def network(name: str) -> onnx.ModelProto:
    """A network of engine.networks, exported; or one like `light_resnet50`."""
    from trtlab.engine.export import export_onnx

    return light_model(name.removeprefix("light_")) if name.startswith("light_") else export_onnx(name)


# --- why INT8 can be slower, and how large plans are ------------------------------------------------------------------

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
    weights_bytes: int | None
    plan_bytes: int


@dataclass(frozen=True, kw_only=True)
class Builds:
    """The answers to one question."""

    rows: tuple[Build, ...]
    provenance: Provenance


def why_slow() -> Builds:
    """Two residual blocks as ResNet-18 begins with: FP16, Q/DQ where they belong and where not, odd channels."""
    plain, odd = (convert(residual_blocks(channels), "FP16", keep_ends=False) for channels in (64, 63))
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
    return _answered("why-slow", cases)


def engines(name: str) -> Builds:
    """A trained network at batch 1 in every format: kernels, bytes of weights and of the plan."""
    model, at = precision.network(name), precision.thresholds(precision.histograms(name))
    cases = {"FP32": model, "FP16": convert(model, "FP16"), "BF16": convert(model, "BF16")}
    cases |= {fmt: insert_qdq(model, at, activations=fmt) for fmt in ("INT8", "FP8_E4M3")}
    return _answered(f"engines-{name}", cases | {"INT4 weights of matrices": weight_only(model, "INT4", block=32)})


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


def residual_blocks(channels: int = 64) -> onnx.ModelProto:
    """The two blocks, [1, channels, 56, 56], weights seeded."""
    text = (Path(__file__).parent / "probes" / "residual_blocks.onnxtxt").read_text("utf-8")
    return filled(text.replace("64", str(channels)))


def _answered(question: str, models: Mapping[str, onnx.ModelProto]) -> Builds:
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
        made = Build(
            name=name, kernels=len(report.kernels), generated=len(report.kernels) - len(products),
            products=tuple(sorted({f"{one.inputs[0].dtype} → {one.dtype}" for one in products})),
            moved_bytes=sum(BYTES[tensor.dtype] * math.prod(tensor.shape) for tensor in tensors),
            weights_bytes=report.weights_bytes, plan_bytes=report.plan_size_bytes,
        )  # fmt: skip
        rows.append(made)
    return Builds(rows=tuple(rows), provenance=report.provenance)
