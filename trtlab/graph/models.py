"""graph/models: small models in which every rewrite finds something to do, the light_* files of onnx with weights, and
one layer by itself, to race its kernels.

In: teaching/*.onnxtxt and a seed, or the sizes of a layer. Out: checked ModelProtos; tensors that a file names without
values get seeded random weights. Exporters already fold much, so these are written by hand. tests/graph/test_models.py:
each rule finds its own.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
from onnx import numpy_helper

from trtlab.graph.cost import Cost

LIGHT_FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
"""Nine real architectures without real weights: every weight is a ConstantOfShape. See `randomized`."""
OPSET = 20
"""Of the teaching models."""
_FOLDER = Path(__file__).parent / "teaching"
_NAMES = (
    "conv_bn_relu inception qkv dead_branch constant_subgraph dropout common transposes multiply_add_relu residual "
    "layernorm gelu attention"
).split()


def _teaching_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """The model of that name; weights follow from the seed."""
    model = onnx.parser.parse_model((_FOLDER / f"{name}.onnxtxt").read_text("utf-8"))
    rng = np.random.default_rng(seed)
    made = {output for node in model.graph.node for output in node.output}
    for value in [value for value in model.graph.value_info if value.name not in made]:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(_weight(rng, shape, value.name), value.name))
        model.graph.value_info.remove(value)
    return model


TEACHING_MODELS: dict[str, Callable[..., onnx.ModelProto]] = {
    name: functools.partial(_teaching_model, name) for name in _NAMES
}
"""Name -> function(seed=0) that makes the model."""


def randomized(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A copy with seeded random initializers in place of every ConstantOfShape, and of the constants that normalise
    the numbers of other weights. Sizes follow He: no layer blows its input up or lets it fade."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, rng = result.graph, np.random.default_rng(seed)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    fillers = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    shapes = {node.output[0]: numpy_helper.to_array(stored[node.input[0]]) for node in fillers}
    roles = {name: _ROLES.get((node.op_type, at)) for node in graph.node for at, name in enumerate(node.input)}
    added = {name for node in graph.node if node.op_type == "Sum" for name in node.input}
    roles |= {n.input[1]: "small" for n in graph.node if n.op_type == "BatchNormalization" and n.output[0] in added}
    shapes |= {name: np.array(stored[name].dims) for name, role in roles.items() if role and name in stored}
    weights = [
        numpy_helper.from_array(_weight(rng, s.tolist(), roles.get(name) or name), name) for name, s in shapes.items()
    ]
    kept = [tensor for tensor in graph.initializer if tensor.name not in shapes]
    nodes = [node for node in graph.node if node.output[0] not in shapes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *weights])
    result.ir_version = max(result.ir_version, 4)  # from here on a weight need not be listed as an input
    for value in [value for value in graph.input if value.name in stored or value.name in shapes]:
        graph.input.remove(value)
    return result


_ROLES = {("BatchNormalization", at): role for at, role in enumerate(["", "scale", "shift", "mean", "var"])}
"""What a tensor is, by the input it goes into."""


def _weight(rng: np.random.Generator, shape: list[int], role: str) -> npt.NDArray[np.float32]:
    """Random float32: positive scales and variances, small vectors, and matrices after He (Kaiming He et al., 2015):
    standard deviation sqrt(2 / inputs), so that a ReLU network keeps the size of its numbers."""
    if role == "small":  # what residual branches add, so that the sum does not double at every block
        return rng.uniform(0.1, 0.3, shape).astype(np.float32)
    if role in {"scale", "var"}:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) < 2:
        return rng.normal(0, 0.1, shape).astype(np.float32)
    inputs = shape[0] if len(shape) == 2 else math.prod(shape[1:])
    return rng.normal(0, math.sqrt(2 / inputs), shape).astype(np.float32)


# --- one layer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A convolution with sizes (batch, channels, pixels along a side, filters, kernel), of an image that another one
    made; or a product with (rows, depth, columns). Bias and Relu follow."""

    op: str
    sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        if self.op == "matmul":
            return f"product {'x'.join(map(str, self.sizes))}"
        batch, depth, size, filters, kernel = self.sizes
        wide = f" to {filters}" if filters != depth else ""
        return f"conv {kernel}x{kernel}, {size}x{size}x{depth}{wide}, batch {batch}"

    def model(self) -> onnx.ModelProto:
        """As ONNX, with seeded weights."""
        if self.op == "matmul":
            m, k, n = self.sizes
            ends, weights = f"float[{m},{k}] x) => (float[{m},{n}] y", {"w": (k, n), "b": (n,)}
            nodes = "p = MatMul (x, w) q = Add (p, b) y = Relu (q)"
        else:
            batch, depth, size, filters, kernel = self.sizes
            ends = f"float[{batch},8,{size},{size}] x) => (float[{batch},{filters},{size},{size}] y"
            weights = {"v": (depth, 8, 3, 3), "w": (filters, depth, kernel, kernel), "b": (filters,)}
            nodes = f"o = Conv <pads=[1, 1, 1, 1]> (x, v) p = Conv <pads={[kernel // 2] * 4}> (o, w, b) y = Relu (p)"
        made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {OPSET}]> race ({ends}) {{ {nodes} }}')
        rng = np.random.default_rng(0)
        for name, shape in weights.items():
            values = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
            made.graph.initializer.append(numpy_helper.from_array(values, name))
        return made

    @property
    def as_product(self) -> tuple[int, int, int]:
        """Rows, depth and columns of the product that it is."""
        if self.op == "matmul":
            return self.sizes[0], self.sizes[1], self.sizes[2]
        batch, depth, size, filters, kernel = self.sizes
        return batch * size**2, depth * kernel**2, filters

    @property
    def direct(self) -> Cost:
        """Multiplied directly, bias and Relu in the same kernel: each number read and written once, as float32."""
        rows, deep, columns = self.as_product
        numbers = rows * self.sizes[1] + deep * columns
        return Cost(flops=2 * rows * deep * columns, bytes_moved=4 * numbers + self.result_bytes, kernels=1)

    @property
    def result_bytes(self) -> int:
        """Of the result, as float32."""
        return 4 * self.as_product[0] * self.as_product[2]


def conv(depth: int, size: int, filters: int | None = None, *, kernel: int = 3, batch: int = 1) -> Problem:
    """size x size pixels of `depth` channels to as many or to `filters`."""
    return Problem(op="conv", sizes=(batch, depth, size, filters or depth, kernel))


def product(rows: int, depth: int, columns: int) -> Problem:
    """[rows, depth] times weights [depth, columns]."""
    return Problem(op="matmul", sizes=(rows, depth, columns))
