"""graph/picture: a graph reduced to what can be drawn: nodes, the tensors between them, and a count of the constants.

In: an ONNX model (graph/onnxpicture), or layers and kernels (teach/reportgraph). Out: a frozen `Picture`. Nothing here
knows pixels or colours. tests/graph/test_picture.py checks edges against a search by hand.
"""

import enum
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

Dimension = int | str | None


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor on an edge. `shape` is None where even the rank is unknown; a dimension is a size, a symbol or None."""

    name: str
    shape: tuple[Dimension, ...] | None = None
    dtype: str = ""

    @property
    def shape_text(self) -> str:
        """`batch×32×8×8`, `?` for an unknown dimension, `scalar`, or nothing where the rank is unknown."""
        if self.shape is None:
            return ""
        return "×".join("?" if size in {None, "", -1} else str(size) for size in self.shape) or "scalar"

    @property
    def type_text(self) -> str:
        """`float32 batch×32×8×8`."""
        return f"{self.dtype} {self.shape_text}".strip() or "unknown"


class Kind(enum.Enum):
    """What a node stands for. ADDED is a kernel that the compiler invented: no node of the model asked for it."""

    OPERATOR = "operator"
    INPUT = "input"
    OUTPUT = "output"
    ADDED = "added"


class Family(enum.Enum):
    """Operators by what they cost: arithmetic, memory traffic, or nothing."""

    COMPUTE = "convolution, matrix product"
    POINTWISE = "pointwise"
    NORMALISE = "normalisation, softmax"
    REDUCE = "pooling, reduction"
    MOVE = "shape, data movement"
    CONVERT = "type, quantisation"
    CONTROL = "control flow"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node: `home` is the dotted name that says which modules it stands in; `weights` are its constant inputs;
    `facts` are (label, text) pairs to show; `line` replaces the second line of its box; `unused` says that nothing of
    it runs."""

    op: str
    name: str
    key: str = ""
    kind: Kind = Kind.OPERATOR
    family: str = Family.OTHER.value
    home: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Tensor, ...] = ()
    weights: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    line: str = ""
    unused: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """From node number `source` to node number `target`. `note` marks an edge that is no tensor (an event)."""

    source: int
    target: int
    tensor: Tensor | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A graph to draw. `constants` counts initializers and constant nodes, which are data and not drawn. `word` is
    what its operators are called: node, layer or kernel. `merged` maps a node's number to the kernel it went into."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    constants: int = 0
    word: str = "node"
    merged: tuple[tuple[int, str], ...] = ()
    foot: str = ""

    @property
    def operators(self) -> tuple[Node, ...]:
        """The nodes that are neither inputs nor outputs of the graph nor kernels that the compiler added."""
        return tuple(node for node in self.nodes if node.kind is Kind.OPERATOR)


def connected(nodes: Sequence[Node]) -> tuple[Edge, ...]:
    """One edge for each tensor that a node reads, from every node that writes it.

    A tensor may have several writers (kernels that each fill a part of a concatenation): those before the reader
    count, or all of them where none is before it, since ONNX files are not always sorted.
    """
    writers: dict[str, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        for tensor in node.outputs:
            writers[tensor.name].append(number)
    edges: dict[tuple[int, int, str], Edge] = {}
    for number, node in enumerate(nodes):
        for tensor in node.inputs:
            others = [writer for writer in writers[tensor.name] if writer != number]
            for source in [writer for writer in others if writer < number] or others:
                edges.setdefault((source, number, tensor.name), Edge(source=source, target=number, tensor=tensor))
    return tuple(edges.values())


def module_path(name: str, separators: str = "./") -> tuple[str, ...]:
    """The modules a name stands in: `layer1.0.conv1/Conv` -> (`layer1`, `layer1.0`, `layer1.0.conv1`)."""
    name = name.lstrip("/")
    ends = (match.start() for match in re.finditer(f"[{re.escape(separators)}]+", name))
    return tuple(name[:end] for end in ends if end)


_OPERATORS = {
    Family.COMPUTE: """Conv ConvInteger ConvTranspose DeformConv QLinearConv MatMul MatMulInteger QLinearMatMul Gemm
        Einsum Attention MultiHeadAttention GroupQueryAttention LSTM GRU RNN CONVOLUTION DECONVOLUTION MATRIX_MULTIPLY
        EINSUM ATTENTION""",
    Family.POINTWISE: """Abs Add And BitShift Ceil Celu Clip Cos Div Dropout Elu Equal Erf Exp FastGelu Floor Gelu
        Greater GreaterOrEqual HardSigmoid HardSwish IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg
        Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Swish Tanh
        ThresholdedRelu Where Xor ACTIVATION ELEMENTWISE UNARY SELECT PARAMETRIC_RELU""",
    Family.NORMALISE: """BatchNormalization GroupNormalization InstanceNormalization LayerNormalization LpNormalization
        LRN LogSoftmax MeanVarianceNormalization RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization
        Softmax NORMALIZATION SCALE SOFTMAX""",
    Family.REDUCE: """ArgMax ArgMin AveragePool CumSum GlobalAveragePool GlobalMaxPool LpPool MaxPool ReduceL1 ReduceL2
        ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum TopK POOLING REDUCE TOPK CUMULATIVE""",
    Family.MOVE: """Compress Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Reshape
        Resize ScatterElements ScatterND Shape Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze Upsample
        CONCATENATION GATHER IDENTITY PADDING RESIZE SCATTER SHAPE SHUFFLE SLICE SQUEEZE UNSQUEEZE""",
    Family.CONVERT: """Cast CastLike DequantizeLinear DynamicQuantizeLinear QuantizeLinear CAST DEQUANTIZE
        DYNAMIC_QUANTIZE QUANTIZE""",
    Family.CONTROL: "If Loop Scan CONDITION LOOP_OUTPUT TRIP_LIMIT RECURRENCE ITERATOR",
}
_FAMILY_OF = {op: family for family, ops in _OPERATORS.items() for op in ops.split()}


def family_of(op: str) -> str:
    """The family of an ONNX operator or of a TensorRT layer type, in words; `other` for one that is not known."""
    return _FAMILY_OF.get(op, Family.OTHER).value


def keyed(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes with keys n0, n1, ...: names may be missing, repeated, or hold anything at all."""
    return tuple(replace(node, key=f"n{number}") for number, node in enumerate(nodes))
