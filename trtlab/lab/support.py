"""lab/support: which number formats the compiler takes for which GPU generation, and what it computes in.

In: names from numeric.FORMATS and compute capabilities. Out: `Support`: for each pair a `Cell`, from building one
product of matrices: how the weights are stored and what the product reads, or the refusal, word for word. Accepted
means that the builder made a plan for that target; no GPU ran it. tests/lab/test_support.py checks it.
"""

import functools
import itertools
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance, live
from trtlab.engine.nvidia.errors import BuildError, CompilerError, CompilerMissing, ParseError, UnsupportedTarget
from trtlab.engine.nvidia.explain import explain, normalise_targets
from trtlab.engine.nvidia.report import BuildReport, TensorInfo
from trtlab.numeric import FORMATS
from trtlab.numeric.quantize import pack

TARGETS = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")
GENERATIONS = dict(zip(TARGETS, "Turing Ampere Ampere Ada Blackwell Blackwell".split(), strict=True))
SIZE = 256
COMPILER = "tensorrt_rtx"
FILE = recordings.FOLDER / "support.json"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One format on one target. `stored`: the type of the weights in the plan; `reads`: the types of the two matrices
    that the product's kernel reads; both are empty when refused. `by`: who refused, ONNX, the parser or the builder."""

    format: str
    target: str
    stored: str = ""
    reads: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    weights_bytes: int | None = None
    refusal: str = ""
    by: str = ""

    @property
    def is_accepted(self) -> bool:
        return not self.refusal

    @property
    def said(self) -> str:
        """`✓ Half × Int4`: what the product reads, and how weights are stored where that differs; or `✗ why not`."""
        if not self.is_accepted:
            return f"✗ {self.refusal}"
        return "✓ " + " × ".join(self.reads) + ("" if self.stored in self.reads else f", stored as {self.stored}")


@dataclass(frozen=True, kw_only=True)
class Support:
    """The matrix. `cell("NVFP4", "SM89")`."""

    cells: tuple[Cell, ...]
    provenance: Provenance

    @property
    def formats(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.format for cell in self.cells))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.target for cell in self.cells))

    def cell(self, fmt: str, target: str) -> Cell:
        """KeyError names what the matrix has."""
        for cell in self.cells:
            if (cell.format, cell.target) == (fmt, target):
                return cell
        raise KeyError(f"no {fmt!r} on {target!r}; it has {', '.join(self.formats)} on {', '.join(self.targets)}")

    def only(self, formats: Iterable[str], targets: Iterable[str]) -> "Support":
        """The part of it that these name, in their order."""
        targets = tuple(targets)
        cells = tuple(self.cell(fmt, target) for fmt in formats for target in targets)
        return Support(cells=cells, provenance=self.provenance)


def matrix(formats: Iterable[str] | None = None, targets: str | Iterable[str] = TARGETS) -> Support:
    """Build every format for every target, now; where the compiler cannot be installed, the recorded matrix.

    KeyError for a format without a network, UnsupportedTarget for what is no target.

    >>> matrix(["BF16"], ["SM75", "SM80"]).cell("BF16", "SM75").refusal
    'Cannot compile for target(s) sm75, because the model contains HW-specific datatypes: b16'
    """
    names = tuple(_NETWORKS if formats is None else formats)
    for name in names:
        if name not in _NETWORKS:
            raise KeyError(f"no network computes in {name!r}; expected some of {', '.join(_NETWORKS)}")
    chosen = normalise_targets(targets, COMPILER)
    try:
        cells = tuple(_cell(name, target) for name in names for target in chosen)
    except CompilerMissing:
        return recorded().only(names, chosen)
    return Support(cells=cells, provenance=live(["tensorrt-rtx", "onnx"]))


@functools.cache
def recorded() -> Support:
    """The recorded matrix."""
    from cattrs.preconf.json import make_converter

    return make_converter().structure(json.loads(FILE.read_text(encoding="utf-8")), Support)


def report(fmt: str, target: str, **options: Any) -> BuildReport:
    """The whole build report of one cell. Raises what `explain` raises, and LookupError where ONNX lacks the type."""
    flags = {"set_flags": ["TF32"]} if fmt == "TF32" else {"clear_flags": ["TF32"]} if fmt == "FP32" else {}
    return explain(_network_bytes(fmt), target, name=fmt, compiler=COMPILER, **(flags | options))


@functools.cache
def _network_bytes(fmt: str) -> bytes:
    return bytes(network(fmt).SerializeToString())


def _cell(fmt: str, target: str) -> Cell:
    try:
        built = report(fmt, target)
    except LookupError as error:
        return Cell(format=fmt, target=target, refusal=str(error.args[0]), by="ONNX")
    except (ParseError, BuildError, UnsupportedTarget) as error:
        by = "parser" if isinstance(error, ParseError) else "builder"
        return Cell(format=fmt, target=target, refusal=_words_of(error), by=by)
    product = next(kernel for kernel in reversed(built.kernels) if "product" in kernel.onnx_nodes)
    return Cell(
        format=fmt,
        target=target,
        stored=_matrices(itertools.chain.from_iterable(kernel.constants for kernel in built.kernels))[0],
        reads=_matrices(product.inputs + product.constants),
        kernels=tuple(f"{kernel.name} <- {', '.join(kernel.onnx_nodes)}" for kernel in built.kernels),
        weights_bytes=built.weights_bytes,
    )


def _matrices(tensors: Iterable[TensorInfo]) -> tuple[str, ...]:
    """Types of those tensors that are x, w or their codes. Scales are smaller, or "folded" ones of w's size."""
    return tuple(t.dtype for t in tensors if math.prod(t.shape) == SIZE * SIZE and "folded" not in t.name)


def _words_of(error: CompilerError) -> str:
    """NVIDIA's own words, without ours before them and the place in NVIDIA's source."""
    return re.sub(r"^[^:]*: (\[[^]]*\] |\w+\.cpp:\d+: )?", "", error.what).rstrip(".")


# --- the networks: y = x @ w, in ONNX's text form -------------------------------------------------------------------

_PRODUCT = "[product] y = MatMul (x, w)"
_CAST = """
    [cast] values = Cast <to = 10> (x)
    [product] y = MatMul (values, w)
"""
_PER_TENSOR = """
    [quantise_x] codes = QuantizeLinear (x, scale, zero)
    [dequantise_x] values = DequantizeLinear (codes, scale, zero)
    [dequantise_w] weights = DequantizeLinear (w, scale, zero)
    [product] y = MatMul (values, weights)
"""
_BLOCKS_OF_WEIGHTS = """
    [dequantise_w] weights = DequantizeLinear <axis = 0, block_size = 64> (w, scales_64)
    [product] y = MatMul (x, weights)
"""
_MXFP8 = """
    [quantise_x] codes, s = trt.TRT_MXFP8DynamicQuantize <axis = -1, block_size = 32, output_dtype = 17> (x)
    [dequantise_x] values = trt.TRT_MXFP8DequantizeLinear <axis = -1, block_size = 32, output_dtype = 10> (codes, s)
    [dequantise_w] weights = trt.TRT_MXFP8DequantizeLinear <axis = 0, block_size = 32, output_dtype = 10> (w, powers_32)
    [product] y = MatMul (values, weights)
"""
_NVFP4 = """
    [quantise_x] codes, small = trt.TRT_FP4DynamicQuantize <axis = -1, block_size = 16, scale_type = 17> (x, scale)
    [scales_x] scales = DequantizeLinear (small, scale)
    [dequantise_x] values = DequantizeLinear <axis = -1, block_size = 16> (codes, scales)
    [scales_w] scales_w = DequantizeLinear (scales_16, scale)
    [dequantise_w] weights = DequantizeLinear <axis = 0, block_size = 16> (w, scales_w)
    [product] y = MatMul (values, weights)
"""
# For each row: the nodes, ONNX's type of x, the format of w.
_NETWORKS: dict[str, tuple[str, str, str]] = {
    "FP64": (_PRODUCT, "double", "FP64"),
    "FP32": (_PRODUCT, "float", "FP32"),
    "TF32": (_PRODUCT, "float", "FP32"),
    "FP16": (_PRODUCT, "float16", "FP16"),
    "BF16": (_PRODUCT, "bfloat16", "BF16"),
    "FP8_E4M3": (_PER_TENSOR, "float16", "FP8_E4M3"),
    "FP8_E5M2": (_PER_TENSOR, "float16", "FP8_E5M2"),
    "INT8": (_PER_TENSOR, "float16", "INT8"),
    "INT8 with a zero point": (_PER_TENSOR.replace("zero", "three"), "float16", "INT8"),
    "UINT8": (_PER_TENSOR, "float16", "UINT8"),
    "UINT8 input": (_CAST, "uint8", "FP16"),
    "INT4": (_BLOCKS_OF_WEIGHTS, "float16", "INT4"),
    "UINT4": (_BLOCKS_OF_WEIGHTS, "float16", "UINT4"),
    "FP4_E2M1": (_BLOCKS_OF_WEIGHTS, "float16", "FP4_E2M1"),
    "NF4": (_BLOCKS_OF_WEIGHTS, "float16", "NF4"),
    "MXFP8_E4M3": (_MXFP8, "float16", "FP8_E4M3"),
    "NVFP4": (_NVFP4, "float16", "FP4_E2M1"),
}
_ONNX_TYPES = {"FP64": "DOUBLE", "FP32": "FLOAT", "FP16": "FLOAT16", "BF16": "BFLOAT16"} | {
    "FP8_E4M3": "FLOAT8E4M3FN", "FP8_E5M2": "FLOAT8E5M2", "FP4_E2M1": "FLOAT4E2M1",
}  # fmt: skip
_OTHER_INPUTS = {
    "scale": ("FP16", (), 0.5),
    "scales_64": ("FP16", (SIZE // 64, SIZE), 0.5),
    "powers_32": ("UINT8", (SIZE // 32, SIZE), 127),  # E8M0 codes of 1
    "scales_16": ("FP8_E4M3", (SIZE // 16, SIZE), 1.0),
}


def network(fmt: str) -> Any:
    """The onnx.ModelProto that a row of the matrix is built from. LookupError when ONNX has no type for its weights."""
    import onnx

    nodes, x_type, w_format = _NETWORKS[fmt]
    y_type = x_type if x_type != "uint8" else "float16"
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 23, "trt": 1]> '
        f"g ({x_type}[{SIZE}, {SIZE}] x) => ({y_type}[{SIZE}, {SIZE}] y) {{ {nodes} }}"
    )
    weights = np.random.default_rng(0).normal(size=(SIZE, SIZE))
    inputs = {"w": (w_format, (SIZE, SIZE), weights), "zero": (w_format, (), 0), "three": (w_format, (), 3)}
    inputs |= _OTHER_INPUTS
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(_tensor(name, *facts) for name, facts in inputs.items() if name in used)
    return model


def _tensor(name: str, fmt: str, shape: tuple[int, ...], values: Any) -> Any:
    import onnx

    word = _ONNX_TYPES.get(fmt, fmt)
    if word not in dict(onnx.TensorProto.DataType.items()):
        raise LookupError(f"ONNX {onnx.__version__} has no tensor type {word}")
    codes = FORMATS[fmt].encode(np.broadcast_to(values, shape))
    if FORMATS[fmt].bits == 4:
        codes = pack(codes)
    return onnx.helper.make_tensor(name, onnx.TensorProto.DataType.Value(word), shape, codes.tobytes(), raw=True)
