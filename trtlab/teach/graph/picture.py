"""teach/graph/picture: a graph reduced to what can be drawn: nodes, tensors between them, a count of constants.

In: an ONNX model, or nodes made elsewhere (teach/graph/report). Out: a frozen `Picture`. Shapes come from the file, and
from onnx's shape inference where it has gaps; nothing is executed. Nothing here knows pixels or colours.
tests/graph/test_picture.py checks edges against a search by hand.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from trtlab.graph.onnxfile import OnnxModel, source_from_model

ENDS, OTHER = "input, output", "other"
FAMILIES = {
    "convolution, matrix product": "conv|matmul|gemm|einsum|attention|lstm|gru|rnn|matrix",
    "pointwise": "elu$|sigmoid|swish|mish|^(abs|add|and|ceil|clip|cos|div|dropout|equal|erf|exp|floor|greater.*|isnan|"
    "less.*|log|max|mean|min|mod|mul|neg|not|or|pow|reciprocal|round|sign|sin|softplus|softsign|sqrt|sub|sum|tanh|"
    "where|xor|activation|elementwise|unary|select)$",
    "normalisation, softmax": "normaliz|softmax|lrn|^scale$",
    "pooling, reduction": "pool|reduce|^arg|topk|cum",
    "shape, data movement": "compress|concat|depth|expand|flatten|gather|identity|pad|shape|resize|scatter|shuffle|"
    "slice|split|squeeze|tile|transpose|upsample",
    "type, quantisation": "cast|quantize",
    "control flow": "^if$|loop|scan|condition|trip_limit|recurrence|iterator",
}
"""Operators by what they cost: arithmetic, memory traffic, or nothing. The first pattern that fits decides."""
DTYPES = {"float": "float32", "half": "float16", "bf16": "bfloat16", "double": "float64", "undefined": ""}
LARGE_BYTES = 4096
TEXT_LIMIT = 160


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor on an edge. `shape` is None where even the rank is unknown; a dimension is a size, a symbol or None."""

    name: str
    shape: tuple[int | str | None, ...] | None = None
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


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node. `home` is the dotted name that says which modules it stands in, empty for those of the node before it;
    `weights` are its constant inputs; `facts` are (label, text) pairs to show; `kernel` is what it was merged into;
    `line` is a second line for its box; `apart` says why the compiler treats it unlike the others."""

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

    @property
    def is_end(self) -> bool:
        """Whether it is an input or output of the graph and not an operator."""
        return self.family == ENDS


@dataclass(frozen=True, kw_only=True)
class Edge:
    """From node number `source` to node number `target`. An event between streams is an edge without a shape."""

    source: int
    target: int
    tensor: Tensor
    is_event: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A graph to draw. `constants` counts initializers and constant nodes, which are data and not drawn. `word` is
    what its operators are called: node, layer or kernel; `kernels` counts those of a report of which its nodes know;
    `foot` says where the figures come from."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    constants: int = 0
    word: str = "node"
    kernels: int = 0
    foot: str = ""

    @property
    def operators(self) -> tuple[Node, ...]:
        """The nodes that are neither inputs nor outputs of the graph."""
        return tuple(node for node in self.nodes if not node.is_end)


def picture_of(
    title: str, inputs: Iterable[Tensor], operators: Iterable[Node], outputs: Iterable[Tensor], **more: Any
) -> Picture:
    """The operators between the graph's ends, connected by their tensors. They get keys n0, n1, ...: names may be
    missing, repeated, or hold anything at all."""
    first = [Node(op="input", name=t.name, family=ENDS, line=f"input {t.shape_text}", outputs=(t,)) for t in inputs]
    last = [Node(op="output", name=t.name, family=ENDS, line=f"output {t.shape_text}", inputs=(t,)) for t in outputs]
    nodes = tuple(replace(node, key=f"n{number}") for number, node in enumerate([*first, *operators, *last]))
    return Picture(title=title, nodes=nodes, edges=connected(nodes), **more)


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


def dtype_text(word: str) -> str:
    """`float32` for ONNX's `FLOAT` and TensorRT's `Float`; likewise for the other types."""
    return DTYPES.get(word.lower(), word.lower())


def family_of(op: str) -> str:
    """The family of an ONNX operator or of a TensorRT layer type, in words; `other` for one that is not known."""
    return next((family for family, ops in FAMILIES.items() if re.search(ops, op, re.IGNORECASE)), OTHER)


# --- ONNX -----------------------------------------------------------------------------------------------------------


def picture_from_onnx(model: OnnxModel) -> Picture:
    """The model's main graph; weights kept in separate files are not read. TypeError for another type, ValueError for
    bytes that are no model or an empty graph."""
    source = source_from_model(model)
    proto = source.proto()
    graph, name = proto.graph, source.name if source.path else proto.graph.name or source.name
    if not graph.node:
        raise ValueError(f"the graph of {name!r} has no nodes, so there is nothing to draw: expected an operator")
    constants = {weight.name for weight in graph.initializer}
    known = _known_tensors(proto)
    operators = []
    for node in graph.node:
        if node.op_type in {"Constant", "ConstantOfShape"} and constants.issuperset(node.input):
            constants.update(node.output)
        else:
            operators.append(_node(node, known, constants))
    if not any(module_path(node.name) for node in operators):
        operators = [replace(node, home=node.weights[0].name if node.weights else "") for node in operators]
    inputs = [known[value.name] for value in graph.input if value.name not in constants]
    return picture_of(name, inputs, operators, [known[v.name] for v in graph.output], constants=len(constants))


def _known_tensors(model: onnx.ModelProto) -> dict[str, Tensor]:
    """What the file and shape inference say. Inference gets no values of large weights, only their shapes; where it
    fails, the file alone speaks, because a picture without shapes is still a picture."""
    for weight in model.graph.initializer:
        if weight.ByteSize() > LARGE_BYTES:
            weight.ClearField("raw_data")
    with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    known = {value.name: _tensor(value) for value in [*graph.input, *graph.value_info, *graph.output]}
    return known | {weight.name: _weight(weight) for weight in graph.initializer}


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Tensor(name=value.name, dtype=(kind or "").removesuffix("_type"))
    dims, described = value.type.tensor_type.shape.dim, value.type.tensor_type.HasField("shape")
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims)
    return Tensor(name=value.name, shape=shape if described else None, dtype=_dtype(value.type.tensor_type.elem_type))


def _weight(tensor: onnx.TensorProto) -> Tensor:
    return Tensor(name=tensor.name, shape=tuple(tensor.dims), dtype=_dtype(tensor.data_type))


def _dtype(number: int) -> str:
    """`float32` for 1; the number itself where this onnx does not know it."""
    names = onnx.TensorProto.DataType
    return dtype_text(names.Name(number) if number in names.values() else f"type {number}")


def _node(node: onnx.NodeProto, known: Mapping[str, Tensor], constants: set[str]) -> Node:
    def tensors(names: Iterable[str]) -> tuple[Tensor, ...]:
        return tuple(known.get(name) or Tensor(name=name) for name in dict.fromkeys(names) if name)

    reads = [*node.input, *_captured(node)]
    name = node.name or next(filter(None, node.output), "")
    return Node(
        op=node.op_type,
        name=name,
        home=name,
        family=family_of(node.op_type),
        attributes=tuple(sorted((a.name, attribute_text(a)) for a in node.attribute)),
        inputs=tensors(name for name in reads if name not in constants),
        weights=tensors(name for name in reads if name in constants),
        outputs=tensors(node.output),
        facts=(("domain", node.domain),) if node.domain else (),
    )


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the graphs inside a node (If, Loop, Scan) read from outside."""
    for graph in (graph for a in node.attribute for graph in [*a.graphs, *([a.g] if a.HasField("g") else [])]):
        own = {value.name for value in [*graph.input, *graph.initializer]}
        own |= {name for inner in graph.node for name in inner.output}
        read = [name for inner in graph.node for name in [*inner.input, *_captured(inner)]]
        yield from (name for name in [*read, *(value.name for value in graph.output)] if name not in own)


def attribute_text(attribute: onnx.AttributeProto) -> str:
    """An attribute's value in one short line: `[3, 3]`, `same_upper`, `graph of 4 nodes`, `int64 3`."""
    text = _value_text(onnx.helper.get_attribute_value(attribute))
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _value_text(value: Any) -> str:
    match value:
        case onnx.GraphProto():
            return f"graph of {len(value.node)} nodes"
        case onnx.TensorProto():
            return _weight(value).type_text
        case bytes():
            return value.decode(errors="replace")
        case float():
            return f"{value:g}"
        case list():
            return f"[{', '.join(map(_value_text, value))}]"
        case _:
            return str(value)
