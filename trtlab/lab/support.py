"""lab/support: which number formats the compiler takes for which GPU generation, and what it computes in; and which
names NVIDIA's public headers declared, release by release (tools/headers.py records it).

In: names from numeric.FORMATS and compute capabilities. Out: `Support`: for each pair a `Cell`, from building one
product of matrices: how the weights are stored and what the product reads, or the refusal, word for word. Accepted
means that the builder made a plan for that target; no GPU ran it. tests/lab/test_support.py checks it.
"""

import enum
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance, live
from trtlab.engine.nvidia.errors import BuildError, CompilerMissing, ParseError, UnsupportedTarget
from trtlab.engine.nvidia.explain import explain, normalise_targets
from trtlab.engine.nvidia.report import BuildReport, TensorInfo
from trtlab.lab import find
from trtlab.numeric import FORMATS
from trtlab.numeric.quantize import pack

GENERATIONS = {"SM75": "Turing", "SM80": "Ampere", "SM86": "Ampere", "SM89": "Ada"} | dict.fromkeys(
    ("SM120", "SM121"), "Blackwell"
)
TARGETS = tuple(GENERATIONS)
COMPILER = "tensorrt_rtx"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One format on one target. `stored`: the type of the weights in the plan; `reads`: the types of the two matrices
    that the product's kernel reads; both are empty when refused. `by`: who refused, ONNX, the parser or the builder."""

    format: str
    target: str
    stored: str = ""
    reads: tuple[str, ...] = ()
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
        return find(self.cells, format=fmt, target=target)

    def only(self, formats: Iterable[str], targets: Sequence[str]) -> "Support":
        """The part of it that these name, in their order."""
        return replace(self, cells=tuple(self.cell(fmt, target) for fmt in formats for target in targets))


def matrix(formats: Iterable[str] | None = None, targets: str | Iterable[str] = TARGETS) -> Support:
    """Build every format for every target, now; where the compiler cannot be installed, the recorded matrix.

    KeyError for a format without a network, UnsupportedTarget for what is no target.

    >>> matrix(["BF16"], ["SM75", "SM80"]).cell("BF16", "SM75").refusal
    'Cannot compile for target(s) sm75, because the model contains HW-specific datatypes: b16'
    """
    names, chosen = tuple(_NETWORKS if formats is None else formats), normalise_targets(targets, COMPILER)
    if unknown := [name for name in names if name not in _NETWORKS]:
        raise KeyError(f"no network computes in {unknown[0]!r}; expected some of {', '.join(_NETWORKS)}")
    try:
        cells = tuple(_cell(name, target) for name in names for target in chosen)
    except CompilerMissing:
        return recorded().only(names, chosen)
    return Support(cells=cells, provenance=live(["tensorrt-rtx", "onnx"]))


def recorded() -> Support:
    """The recorded matrix."""
    return recordings.load(Support, "support")


def report(fmt: str, target: str) -> BuildReport:
    """The whole build report of one cell. Raises what `explain` raises, and LookupError where ONNX lacks the type."""
    flags: dict[str, Any] = (
        {"set_flags": ["TF32"]} if fmt == "TF32" else {"clear_flags": ["TF32"]} if fmt == "FP32" else {}
    )
    return explain(network(fmt).SerializeToString(), target, name=fmt, compiler=COMPILER, **flags)


def _cell(fmt: str, target: str) -> Cell:
    try:
        built = report(fmt, target)
    except LookupError as error:
        return Cell(format=fmt, target=target, refusal=str(error.args[0]), by="ONNX")
    except (ParseError, BuildError, UnsupportedTarget) as error:
        by = "parser" if isinstance(error, ParseError) else "builder"  # in NVIDIA's words, without ours and the place
        words = re.sub(r"^[^:]*: (\[[^]]*\] |\w+\.cpp:\d+: )?", "", error.what).rstrip(".")
        return Cell(format=fmt, target=target, refusal=words, by=by)
    product = next(kernel for kernel in reversed(built.kernels) if "product" in kernel.onnx_nodes)
    stored = _matrices(constant for kernel in built.kernels for constant in kernel.constants)[0]
    reads = _matrices(product.inputs + product.constants)
    return Cell(format=fmt, target=target, stored=stored, reads=reads, weights_bytes=built.weights_bytes)


def _matrices(tensors: Iterable[TensorInfo]) -> tuple[str, ...]:
    """Types of those tensors that are x, w or their codes. Scales are smaller, or "folded" ones of w's size."""
    return tuple(t.dtype for t in tensors if math.prod(t.shape) == 256 * 256 and "folded" not in t.name)


# --- the networks: y = x @ w ----------------------------------------------------------------------------------------

# For each row of the matrix: the file in lab/products, ONNX's type of x, the format of w.
_NETWORKS: dict[str, tuple[str, str, str]] = {
    "FP64": ("plain", "double", "FP64"),
    "FP32": ("plain", "float", "FP32"),
    "TF32": ("plain", "float", "FP32"),
    "FP16": ("plain", "float16", "FP16"),
    "BF16": ("plain", "bfloat16", "BF16"),
    "FP8_E4M3": ("per_tensor", "float16", "FP8_E4M3"),
    "FP8_E5M2": ("per_tensor", "float16", "FP8_E5M2"),
    "INT8": ("per_tensor", "float16", "INT8"),
    "INT8 with a zero point": ("zero_point", "float16", "INT8"),
    "UINT8": ("per_tensor", "float16", "UINT8"),
    "UINT8 input": ("cast_input", "uint8", "FP16"),
    "INT4": ("weight_blocks", "float16", "INT4"),
    "UINT4": ("weight_blocks", "float16", "UINT4"),
    "FP4_E2M1": ("weight_blocks", "float16", "FP4_E2M1"),
    "NF4": ("weight_blocks", "float16", "NF4"),
    "MXFP8_E4M3": ("mxfp8", "float16", "FP8_E4M3"),
    "NVFP4": ("nvfp4", "float16", "FP4_E2M1"),
}
_ONNX_TYPES = {"FP64": "double", "FP32": "float", "FP16": "float16", "BF16": "bfloat16"} | {
    "FP8_E4M3": "float8e4m3fn", "FP8_E5M2": "float8e5m2", "FP4_E2M1": "float4e2m1",
}  # fmt: skip
_FORMATS = {word: fmt for fmt, word in _ONNX_TYPES.items()}
_VALUES = {"zero": 0, "three": 3, "scale": 0.5, "scales": 0.5, "powers": 127, "ones": 1}  # 127: E8M0's code of 1


def network(fmt: str) -> onnx.ModelProto:
    """The model that a row of the matrix is built from. LookupError when ONNX has no type for its weights."""
    file, x_type, w_format = _NETWORKS[fmt]
    w_type = _ONNX_TYPES.get(w_format, w_format.lower())
    if w_type.upper() not in onnx.TensorProto.DataType.keys():  # noqa: SIM118 (an enumeration of protobuf, no dict)
        raise LookupError(f"ONNX {onnx.__version__} has no tensor type {w_type.upper()}")
    text = (Path(__file__).parent / "products" / f"{file}.onnxtxt").read_text("utf-8")
    model = onnx.parser.parse_model(re.sub(r"\b[XW]\b", lambda found: {"X": x_type, "W": w_type}[found[0]], text))
    made = {name for node in model.graph.node for name in node.output}
    for value in [value for value in model.graph.value_info if value.name not in made]:
        model.graph.initializer.append(_tensor(value.name, value.type.tensor_type))
        model.graph.value_info.remove(value)
    return model


def _tensor(name: str, kind: Any) -> onnx.TensorProto:
    """The initializer of that name: w is random, the others are full of one value; 4-bit codes lie two to a byte."""
    word, shape = onnx.TensorProto.DataType.Name(kind.elem_type), tuple(dim.dim_value for dim in kind.shape.dim)
    fmt = FORMATS[_FORMATS.get(word.lower(), word)]
    values = np.random.default_rng(0).normal(size=shape) if name == "w" else np.broadcast_to(_VALUES[name], shape)
    codes = fmt.encode(values)
    data = pack(codes) if fmt.bits == 4 else codes
    return onnx.helper.make_tensor(name, kind.elem_type, shape, data.tobytes(), raw=True)


# --- NVIDIA's headers -------------------------------------------------------------------------------------------------


class Declared(enum.Enum):
    """How a header stands to a name."""

    YES = "declared"
    DEPRECATED = "deprecated"
    NO = "absent"


@dataclass(frozen=True, kw_only=True)
class ApiHistory:
    """`names[name][tag]` and `headers[tag]`, oldest tag first."""

    tags: tuple[str, ...]
    names: dict[str, dict[str, Declared]]
    headers: dict[str, tuple[str, ...]]
    provenance: Provenance

    def state(self, name: str, tag: str) -> Declared:
        """Of a name, or of a header file. KeyError names what was recorded when `name` or `tag` was not."""
        if name.endswith(".h"):
            return Declared.YES if name in self.headers[tag] else Declared.NO
        if name not in self.names or tag not in self.tags:
            there = f"names: {', '.join(self.names)}; tags: {', '.join(self.tags)}"
            raise KeyError(f"{name!r} at {tag!r} was not recorded; {there}")
        return self.names[name][tag]


def api_history() -> ApiHistory:
    """The recording `api-history`, read by claims that say "gone since 10.0"."""
    return recordings.load(ApiHistory, "api-history")
