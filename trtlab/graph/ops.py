"""graph/ops: the one table that says what kind of operator this is: rules, costs, kernels and pictures ask here.

In: the name of an operator of the ONNX standard. Out: its `Kind`, what it costs, whether it can end another's kernel.
Nothing but names, so that the light runtime may read it. Checked by tests/graph/test_ops.py against onnx's own schemas.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Kind(enum.Enum):
    """What an operator does with numbers."""

    POINTWISE = "number i of its result needs number i of its inputs alone"
    PRODUCT = "sums of products, worth a kernel of its own"
    POOLING = "one number for each window"
    REDUCTION = "one number for each row"
    NORMALIZATION = "each number in the light of its neighbours"
    MOVE = "moves or makes numbers without arithmetic"
    PICK = "moves, and reads of its first input only as much as it writes"
    VIEW = "reads the same bytes under another shape"
    QUERY = "asks for a shape, not for numbers"
    DATA = "only holds numbers"


@dataclass(frozen=True, kw_only=True)
class Operator:
    """`flops` is for each number of the result (of a reduction: for each number it reads); None where the table does
    not say. `finishes`: it can end the kernel of a product, while each number is still in a register."""

    kind: Kind
    flops: int | None = None
    finishes: bool = False


_NAMES = {
    Kind.POINTWISE: "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor "
    "Cast Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf "
    "IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu "
    "Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor",
    Kind.PRODUCT: "Conv ConvTranspose Gemm MatMul",
    Kind.POOLING: "AveragePool MaxPool",
    Kind.REDUCTION: "ArgMax ArgMin GlobalAveragePool GlobalLpPool GlobalMaxPool ReduceL1 ReduceL2 ReduceLogSum "
    "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare",
    Kind.NORMALIZATION: "BatchNormalization DequantizeLinear GroupNormalization InstanceNormalization LRN "
    "LayerNormalization LogSoftmax QuantizeLinear Softmax",
    Kind.MOVE: "Concat ConstantOfShape DepthToSpace Dropout Expand Identity Pad Range Resize SpaceToDepth Split Tile "
    "Transpose",
    Kind.PICK: "Gather GatherElements GatherND Slice",
    Kind.VIEW: "Flatten Reshape Squeeze Unsqueeze",
    Kind.QUERY: "Shape Size",
    Kind.DATA: "Constant",
}
_FLOPS = {"BatchNormalization": 2, "DequantizeLinear": 2, "QuantizeLinear": 3, "Softmax": 5, "LogSoftmax": 5}
"""A softmax: max, subtract, exp, sum, divide. Any pointwise operator counts 1, an Exp like an Add; moving counts 0."""
_FLOPS_OF_KIND = dict.fromkeys(Kind, 0) | {Kind.POINTWISE: 1, Kind.REDUCTION: 1}
_UNKNOWN = {Kind.PRODUCT, Kind.POOLING, Kind.NORMALIZATION}
"""Kinds whose cost follows from more than the size of the result."""
JOINING = frozenset("Add Mul Sum".split())
"""What joins another tensor to each number of a product's result, or a constant."""
_FINISHING = JOINING | set(
    "Clip Elu Gelu HardSigmoid HardSwish LeakyRelu PRelu Relu Selu Sigmoid Softplus Tanh".split()
)

OPERATORS: Mapping[str, Operator] = {
    name: Operator(
        kind=kind,
        flops=_FLOPS.get(name, None if kind in _UNKNOWN else _FLOPS_OF_KIND[kind]),
        finishes=name in _FINISHING,
    )
    for kind, names in _NAMES.items()
    for name in names.split()
}
NO_KERNEL = frozenset(n for n, o in OPERATORS.items() if o.kind in (Kind.VIEW, Kind.QUERY, Kind.DATA))
"""Operators for which nothing runs."""
RANDOM = frozenset(
    "Bernoulli Dropout Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
"""Operators that may give something else every time."""
