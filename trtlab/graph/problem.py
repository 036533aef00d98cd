"""graph/problem: one layer by itself, to race its kernels: a convolution or a product of some size.

In: sizes. Out: a `Problem`: its name, its ONNX model with seeded weights, and what it asks of a device.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import onnx.parser

from trtlab.graph.cost import Cost
from trtlab.graph.models import OPSET


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
            made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return made

    @property
    def direct(self) -> Cost:
        """Multiplied directly, bias and Relu in the same kernel: each number read and written once, as float32."""
        m, k, n = self.sizes[:3]
        numbers = m * k
        if self.op == "conv":
            batch, depth, size, n, kernel = self.sizes
            m, k, numbers = batch * size**2, depth * kernel**2, batch * size**2 * depth
        return Cost(flops=2 * m * k * n, bytes_moved=4 * (numbers + k * n) + self.result_bytes, kernels=1)

    @property
    def result_bytes(self) -> int:
        """Of the result, as float32."""
        if self.op == "matmul":
            return 4 * self.sizes[0] * self.sizes[2]
        batch, _, size, filters, _ = self.sizes
        return 4 * batch * size**2 * filters


def conv(depth: int, size: int, filters: int | None = None, *, kernel: int = 3, batch: int = 1) -> Problem:
    """size x size pixels of `depth` channels to as many or to `filters`."""
    return Problem(op="conv", sizes=(batch, depth, size, filters or depth, kernel))


def product(rows: int, depth: int, columns: int) -> Problem:
    """[rows, depth] times weights [depth, columns]."""
    return Problem(op="matmul", sizes=(rows, depth, columns))
