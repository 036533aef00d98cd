"""graph/cost: what a model asks of a device: operations, bytes, kernels, and the least time they can take.

In: an ONNX model, or one onnx_ir node; a described `Device`. Out: a frozen `Cost`. Nothing is measured here: it is the
arithmetic of a roofline. Checked by tests/graph/test_cost.py against sums by hand.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from trtlab.graph.fused import body
from trtlab.graph.load import load
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.ops import NO_KERNEL, Kind
from trtlab.graph.rule import is_in_place_concat, is_kind, is_op, operator, source


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a roofline needs to know: arithmetic in FLOP/s and memory traffic in bytes/s, at best."""

    name: str
    flops: float
    bandwidth: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """`flops` counts a multiply-add as 2. `bytes_moved` is what kernels read and write, weights included; what stays
    inside a kernel does not count. `unknown` are tensors and operators that could not be counted, by name."""

    flops: int = 0
    bytes_moved: int = 0
    kernels: int = 0
    unknown: tuple[str, ...] = ()

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            flops=self.flops + other.flops,
            bytes_moved=self.bytes_moved + other.bytes_moved,
            kernels=self.kernels + other.kernels,
            unknown=(*self.unknown, *other.unknown),
        )

    @property
    def intensity(self) -> float:
        """FLOPs for each byte; a device whose flops/bandwidth is larger waits for memory."""
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0

    def time_s(self, device: Device) -> float:
        """The least time if this is one kernel: arithmetic and traffic overlap, the longer one decides."""
        return max(self.flops / device.flops, self.bytes_moved / device.bandwidth)


def node_costs(model: OnnxModel) -> dict[str, Cost]:
    """The cost of every node of the main graph by name. A symbolic size counts as 1: one item of a batch."""
    return {str(node.name): node_cost(node) for node in load(model).graph}


def model_cost(model: OnnxModel) -> Cost:
    """The cost of all nodes together."""
    return sum(node_costs(model).values(), Cost())


def node_cost(node: ir.Node) -> Cost:
    """The cost of one node; a fused node is one kernel that moves what it reads and writes."""
    if is_op(node, *NO_KERNEL) or is_in_place_concat(node):
        return Cost()
    tensors = dict.fromkeys(v for v in (*node.inputs, *node.outputs) if v is not None and v.name)
    sizes = {value: size_bytes(value) for value in tensors}
    if is_kind(node, Kind.PICK) and node.inputs[0] is not None:
        sizes[node.inputs[0]] = sizes[node.outputs[0]]
    flops = _flops(node)
    unknown = [str(v.name) for v, size in sizes.items() if size is None] + [str(node.name)] * (flops is None)
    return Cost(flops=flops or 0, bytes_moved=sum(filter(None, sizes.values())), kernels=1, unknown=tuple(unknown))


def _count(value: ir.Value | None) -> int | None:
    """How many numbers a tensor holds; None where that is not known."""
    return None if value is None or value.shape is None else _product(value.shape)


def _product(sizes: Iterable[int | ir.SymbolicDim]) -> int | None:
    """Symbols count as 1, but not those without a name or with one that onnx's shape inference made up."""
    known = [size if isinstance(size, int) else 1 for size in sizes if not str(size).startswith(("None", "unk__", "?"))]
    return math.prod(known) if len(known) == len(list(sizes)) else None


def size_bytes(value: ir.Value) -> int | None:
    """Bytes of a tensor; None where shape or type is not known, and for strings, which differ."""
    count, dtype = _count(value), value.dtype
    return None if count is None or dtype is None or dtype.is_string() else math.ceil(count * dtype.itemsize)


def _flops(node: ir.Node) -> int | None:
    """Operations of one node; None for an operator or a size that is not known."""
    inside = body(node)
    if inside is not None:
        parts = [_flops(inner) for inner in inside]
        return None if None in parts else sum(filter(None, parts))
    counted = node.inputs[0] if is_kind(node, Kind.REDUCTION) else node.outputs[0]
    each, count = _per_number(node), _count(counted)
    return 0 if each == 0 else None if each is None or count is None else each * count


def _per_number(node: ir.Node) -> int | None:
    """Operations for each number counted: 2 for each multiply-add of a product, and 1 for its bias."""
    known = operator(node)
    if is_kind(node, Kind.POOLING):
        return math.prod(node.attributes["kernel_shape"].as_ints())
    if known is None or not is_op(node, "Conv", "Gemm", "MatMul"):
        return None if known is None else known.flops
    left, right = source(node, 0).shape, source(node, 1).shape
    if left is None or right is None:
        return None
    by_column = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) == 1
    terms = _product(right[1:] if node.op_type == "Conv" else [left[0 if by_column else -1]])
    return None if terms is None else 2 * terms + (len(node.inputs) > 2)
