"""teach/graph/picture: a graph reduced to what can be drawn: nodes, tensors between them, a count of the constants.

In: an ONNX model. Out: a frozen `Picture`. Shapes come from the file, and
from onnx's shape inference where it has gaps; nothing is executed. Nothing here knows pixels or colours.
tests/teach/test_graph_picture.py checks edges against a search by hand.
"""

import contextlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import onnx
import onnx_ir as ir

from trtlab.graph.fused import origins
from trtlab.graph.load import infer_shapes
from trtlab.graph.onnxfile import OnnxModel, source_from_model
from trtlab.graph.ops import OPERATORS, Kind
from trtlab.graph.order import reads, subgraphs
from trtlab.graph.rule import FUSED, is_data, is_in_place_concat, is_op

ENDS, OTHER = "input, output", "other"
FAMILIES = {
    "convolution, matrix product": "Attention CausalConvWithState ConvInteger DeformConv Einsum GRU LSTM "
    "LinearAttention MatMulInteger QLinearConv QLinearMatMul RNN",
    "pointwise": "Swish",
    "normalisation, softmax": "Hardmax LpNormalization MeanVarianceNormalization RMSNormalization",
    "pooling, reduction": "CumProd CumSum LpPool MaxRoiPool MaxUnpool RoiAlign TopK",
    "shape, data movement": "CenterCropPad Compress ReverseSequence Scatter ScatterElements ScatterND Upsample",
    "type, quantisation": "BitCast Cast CastLike DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
    "control flow": "If Loop Scan",
}
"""Operators by what they cost: arithmetic, memory traffic, or nothing. These names, and all of the kinds below."""
_OF_KIND = {
    Kind.PRODUCT: "convolution, matrix product", Kind.POINTWISE: "pointwise",
    Kind.NORMALIZATION: "normalisation, softmax", Kind.POOLING: "pooling, reduction",
    Kind.REDUCTION: "pooling, reduction",
} | dict.fromkeys((Kind.MOVE, Kind.PICK, Kind.VIEW, Kind.QUERY), "shape, data movement")  # fmt: skip
_FAMILY_OF = {op: _OF_KIND.get(known.kind, OTHER) for op, known in OPERATORS.items()}
_FAMILY_OF |= {op: family for family, ops in FAMILIES.items() for op in ops.split()}
DTYPES = {"float": "float32", "double": "float64", "undefined": ""}
TEXT_LIMIT = 160


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor on an edge. `shape_text` is `batch×32×8×8`, `?` for an unknown dimension, `scalar`, or nothing where
    even the rank is unknown."""

    name: str
    shape_text: str = ""
    dtype: str = ""

    @property
    def type_text(self) -> str:
        """`float32 batch×32×8×8`."""
        return f"{self.dtype} {self.shape_text}".strip() or "unknown"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node. `home` is the dotted name that says which modules it stands in, empty for those of the node before it;
    `weights` are its constant inputs; `facts` are (label, text) pairs to show; `kernel` is what it was merged into;
    `line` is a second line for its box; `apart` says why the compiler treats it unlike the others. A rewritten node
    `stands_for` nodes of the original and may have operators (`members`) inside; `mark` is the word on its flag."""

    op: str
    name: str
    key: str = ""
    family: str = OTHER
    home: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Tensor, ...] = ()
    weights: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    kernel: str = ""
    line: str = ""
    apart: str = ""
    stands_for: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    mark: str = ""

    @property
    def is_end(self) -> bool:
        """Whether it is an input or output of the graph and not an operator."""
        return self.family == ENDS


@dataclass(frozen=True, kw_only=True)
class Edge:
    """From node number `source` to node number `target`."""

    source: int
    target: int
    tensor: Tensor


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A graph to draw. `constants` counts initializers and constant nodes, which are data and not drawn; `kernels`
    those of a report of which its nodes know; `foot` says where the figures come from."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    constants: int = 0
    kernels: int = 0
    foot: str = ""

    @property
    def operators(self) -> tuple[Node, ...]:
        """The nodes that are neither inputs nor outputs of the graph."""
        return tuple(node for node in self.nodes if not node.is_end)


def picture_of(
    title: str, inputs: Iterable[Tensor], operators: Iterable[Node], outputs: Iterable[Tensor], constants: int = 0
) -> Picture:
    """The operators between the graph's ends, connected by their tensors. They get keys n0, n1, ...: names may be
    missing, repeated, or hold anything at all."""
    first = [Node(op="input", name=t.name, family=ENDS, line=f"input {t.shape_text}", outputs=(t,)) for t in inputs]
    last = [Node(op="output", name=t.name, family=ENDS, line=f"output {t.shape_text}", inputs=(t,)) for t in outputs]
    nodes = tuple(replace(node, key=f"n{number}") for number, node in enumerate([*first, *operators, *last]))
    # an edge for each tensor that a node reads, from the node that writes it; ONNX files are not always sorted
    writers = {tensor.name: number for number, node in enumerate(nodes) for tensor in node.outputs}
    read = [(number, tensor) for number, node in enumerate(nodes) for tensor in node.inputs if tensor.name in writers]
    edges = tuple(Edge(source=writers[tensor.name], target=number, tensor=tensor) for number, tensor in read)
    return Picture(title=title, nodes=nodes, edges=edges, constants=constants)


def module_path(name: str, separators: str = "./") -> tuple[str, ...]:
    """The modules a name stands in: `layer1.0.conv1/Conv` -> (`layer1`, `layer1.0`, `layer1.0.conv1`)."""
    name = name.lstrip("/")
    ends = (match.start() for match in re.finditer(f"[{re.escape(separators)}]+", name))
    return tuple(name[:end] for end in ends if end)


def family_of(op: str) -> str:
    """The family of an ONNX operator, in words; `other` for one that is not known."""
    return _FAMILY_OF.get(op, OTHER)


# --- ONNX -----------------------------------------------------------------------------------------------------------


def picture_from_onnx(model: OnnxModel) -> Picture:
    """The model's main graph; weights kept in separate files are not read. A fused node is one box with its operators
    inside. TypeError for another type, ValueError for bytes that are no model or an empty graph."""
    source = source_from_model(model)
    proto = source.proto()
    name = source.name if source.path else proto.graph.name or source.name
    if not (proto.graph.node or proto.graph.input or proto.graph.output):
        raise ValueError(f"the graph of {name!r} has no nodes, so there is nothing to draw: expected an operator")
    loaded = ir.from_proto(proto)
    with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        infer_shapes(loaded, proto)  # where it fails, the file alone speaks: a picture without shapes is a picture
    constants: set[ir.Value | None] = set(loaded.graph.initializers.values())
    operators: list[Node] = []
    for node in loaded.graph:
        if is_op(node, "Constant", "ConstantOfShape") and constants.issuperset(node.inputs):
            constants.update(node.outputs)
        else:
            operators.append(_node(node, loaded.functions.get(node.op_identifier()), constants))
    if not any(module_path(node.name) for node in operators):
        operators = [replace(node, home=node.weights[0].name if node.weights else "") for node in operators]
    inputs = _tensors(value for value in loaded.graph.inputs if value not in constants)
    return picture_of(name, inputs, operators, _tensors(loaded.graph.outputs), len(constants))


def _node(node: ir.Node, inside: ir.Function | None, constants: Collection[ir.Value | None]) -> Node:
    name = node.name or next((str(value.name) for value in node.outputs if value.name), "")
    made = _made_inside(node)
    read = dict.fromkeys(value for value in reads(node) if value.name and value not in made)
    drawn = Node(
        op=node.op_type,
        name=name,
        home=name,
        family=family_of(node.op_type),
        attributes=tuple(sorted((a.name, attribute_text(a)) for a in node.attributes.values())),
        inputs=_tensors(value for value in read if value not in constants),
        weights=_tensors(value for value in read if value in constants),
        outputs=_tensors(value for value in node.outputs if value.name),
        facts=(("domain", node.domain),) if node.domain else (),
        stands_for=tuple(origins(node)),
    )
    return _fused(drawn, node, inside) if node.domain == FUSED and inside is not None else drawn


def _fused(drawn: Node, node: ir.Node, inside: ir.Function) -> Node:
    members = tuple(inner.op_type for inner in inside if not is_data(inner))
    if is_in_place_concat(node):
        return replace(drawn, op="Concat in place", apart="no kernel", members=members)
    family, line = family_of(members[0]) if members else drawn.family, ", ".join(drawn.stands_for)
    return replace(drawn, op="one fused kernel", line=line, family=family, members=members)


def _made_inside(node: ir.Node) -> set[ir.Value]:
    """The values that the branches of a node make for themselves: they are no inputs of the node."""
    branches = subgraphs(node)
    found = {value for graph in branches for value in (*graph.inputs, *graph.initializers.values())}
    for inner in (inner for graph in branches for inner in graph):
        found |= {*inner.outputs, *_made_inside(inner)}
    return found


def _tensors(values: Iterable[ir.Value]) -> tuple[Tensor, ...]:
    return tuple(map(_tensor, values))


def _tensor(value: ir.Value | ir.TensorProtocol) -> Tensor:
    held = value.type if isinstance(value, ir.Value) else ir.TensorType(value.dtype)
    word = held.dtype.name.lower() if isinstance(held, ir.TensorType) else str(held or "").lower()
    sizes = [size if isinstance(size, int) else size.value for size in value.shape or ()]
    words = ("?" if size in (None, "", -1) or str(size).startswith("unk__") else str(size) for size in sizes)
    shape = "" if value.shape is None else "×".join(words) or "scalar"
    return Tensor(name=value.name or "", shape_text=shape, dtype=DTYPES.get(word, word))


def attribute_text(attribute: ir.Attr) -> str:
    """An attribute's value in one short line: `[3, 3]`, `same_upper`, `graph of 4 nodes`, `int64 3`."""
    text = f"@{attribute.ref_attr_name}" if attribute.is_ref() else _value_text(attribute.value)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value_text, value))}]"
    if isinstance(value, ir.Graph):
        return f"graph of {len(value)} nodes"
    if isinstance(value, ir.TensorProtocol):
        return _tensor(value).type_text
    return f"{value:g}" if isinstance(value, float) else str(value)
