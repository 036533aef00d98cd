"""engine/glassbox/lower: from a rewritten ONNX graph to steps, each a kernel of our library.

In: an onnx_ir model as graph/rewrite leaves it (fused nodes hold their operators). Out: steps without tactics, and the
weights as torch tensors. The rules have decided what is one kernel: here each node is said in other words. What the
library lacks is an UnsupportedError that names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from trtlab.engine.codegen.pointwise import POINTWISE
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.operators import OPERATORS, dequantize_linear, takes
from trtlab.engine.glassbox.plan import DTYPES, Step
from trtlab.graph.fused import body, origins, parts
from trtlab.graph.ops import JOINING
from trtlab.graph.order import topological_order
from trtlab.graph.rule import is_data, is_in_place_concat, opset

PRECISIONS = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}
"""What float32 tensors of the model become inside the engine."""
_DTYPE_OF_IR = {"FLOAT": "float32", "DOUBLE": "float64", "BFLOAT16": "bfloat16"}
_IGNORED = set("saturate round_mode consumed_inputs stash_type seed is_test ratio momentum storage_order".split())


@dataclass(frozen=True, kw_only=True)
class Op:
    """One ONNX operator with plain values."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int


@dataclass(kw_only=True)
class Lowered:
    """Steps in order, weights, and what is known of every tensor: dtype, and shape where it is static."""

    steps: list[Step] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def claims(kind: str) -> bool:
    """Whether the glass box has the operator."""
    return kind in OPERATORS or kind in POINTWISE or kind == "Constant"


CLAIMED = ", ".join(sorted({*OPERATORS, *POINTWISE, "Constant"}))


def dtype_of(word: str) -> str:
    """ONNX's word for a type as torch's."""
    return _DTYPE_OF_IR.get(word, word.lower())


def lower(model: ir.Model, precision: str = "FP32") -> Lowered:
    """The model's steps. UnsupportedError names an operator, attribute or type that the library lacks."""
    if precision not in PRECISIONS:
        raise UnsupportedError(f"There is no precision {precision!r}: expected one of {', '.join(PRECISIONS)}.")
    return _Lowering(model, PRECISIONS[precision]).done


class _Lowering:
    def __init__(self, model: ir.Model, float_type: str) -> None:
        self.done = Lowered()
        self._float, self._prefix = float_type, ""
        self._names: dict[ir.Value, str] = {}
        self._codes: dict[str, tuple[str, torch.Tensor, int]] = {}  # of what is dequantised: INT8 codes, scales, axis
        graph, floats = model.graph, [v for v in model.graph.outputs if v.dtype == ir.DataType.FLOAT]
        self._aside = {str(v.name) for v in floats if float_type != "float32"}  # names that their casts will have
        given = [v for v in graph.inputs if not v.is_initializer()]
        for value in given:
            self._known(value, str(value.name), own=True)
        for value in graph.initializers.values():
            self._weight(value)
        self.done.inputs = tuple(str(v.name) for v in given)
        self.done.outputs = tuple(str(v.name) for v in graph.outputs)
        self._cast_inputs(given)
        for node in topological_order(graph):  # rules put nodes anywhere
            self._node(node)
        self._cast_outputs(graph.outputs)
        read = {name for step in self.done.steps for name in step.inputs} | set(self.done.outputs)
        lazy = [
            s
            for s in self.done.steps
            if s.attributes.get("operator") == "DequantizeLinear" and s.outputs[0] not in read
        ]
        self.done.steps = [step for step in self.done.steps if step not in lazy]  # their readers took the codes

    # names and values

    def _known(self, value: ir.Value, name: str, *, own: bool = False) -> str:
        """Remember a value under a name of the plan. `own`: its type is the model's, not the engine's."""
        name = f"{name} as {self._float}" if name in self._aside and not own else name
        self._names[value] = name
        dtype = "" if value.dtype is None and not own else self._dtype(value.dtype, f"tensor {name!r}")
        self.done.dtypes[name] = dtype if own else self._inner(dtype)
        shape = value.shape
        self.done.shapes[name] = None if shape is None or not shape.is_static() else tuple(shape.numpy())
        return name

    def _dtype(self, dtype: ir.DataType | None, what: str) -> str:
        word = "" if dtype is None else dtype_of(dtype.name)
        if word not in DTYPES:
            raise UnsupportedError(f"{what} is {word or 'of no type'}: the glass box knows {', '.join(DTYPES)}.")
        return word

    def _inner(self, dtype: str) -> str:
        return self._float if dtype == "float32" else dtype

    def _weight(self, value: ir.Value) -> None:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None:
            raise UnsupportedError(f"weight {value.name!r} has no values: the glass box reads dense tensors only.")
        name = self._known(value, str(value.name))
        self._add_weight(name, tensor.numpy())

    def _add_weight(self, name: str, array: np.ndarray) -> str:
        own = (
            torch.from_numpy(np.array(array, order="C"))
            if array.dtype.name != "bfloat16"
            else torch.from_numpy(array.astype(np.float32)).bfloat16()
        )
        return self._derived(name, own.to(getattr(torch, self._inner(str(own.dtype)[6:]))))

    def _cast_inputs(self, values: Sequence[ir.Value]) -> None:
        """In another precision, inputs are cast first, and outputs last."""
        for value in values:
            name = str(value.name)
            if self._inner(self.done.dtypes[name]) != self.done.dtypes[name]:
                self._names[value] = self._cast(name, f"{name} as {self._float}", self._float)

    def _cast(self, name: str, new: str, to: str) -> str:
        self.done.dtypes[new], self.done.shapes[new] = to, self.done.shapes[name]
        self._emit("pointwise", [name], [new], {"program": [["Cast", [0], {"to": to}]], "results": [1]})
        return new

    def _cast_outputs(self, outputs: Sequence[ir.Value]) -> None:
        """Outputs get the model's names and types."""
        for value in outputs:
            name, have = str(value.name), self._names[value]
            want = self._dtype(value.dtype, f"output {name!r}")
            if have != name and name not in self.done.dtypes:  # once, though one tensor may be two outputs
                self._cast(have, name, want)

    # nodes

    def _node(self, node: ir.Node) -> None:
        """One kernel for a node that a rule made; a Split behind it, or what fits no kernel, is an operator."""
        inside, self._prefix = body(node), ""
        if inside is not None:
            self._prefix = f"{node.name}/"
            for inner, outer in zip(inside.inputs, node.inputs, strict=True):
                self._names[inner] = self._names[outer] if outer is not None else ""
            for inner, outer in zip(inside.outputs, node.outputs, strict=True):
                self._names[outer] = self._known(inner, str(outer.name))
        for inner_node in filter(is_data, [node] if inside is None else inside):
            self._constant(inner_node)
        what, nodes = parts(node), tuple(origins(node))
        if what.heavy is not None:
            self._heavy(self._op(what.heavy), [self._op(n) for n in what.epilogue], nodes)
        elif what.epilogue:
            ops = [self._op(n) for n in what.epilogue]
            self._pointwise(ops, {self._names[v] for v in node.outputs if v in self._names}, nodes)
        for behind in what.rest:
            self._operator(self._op(behind), nodes, {"in_place": 1} if is_in_place_concat(node) else {})

    def _op(self, node: ir.Node) -> Op:
        inputs = tuple(self._names[v] if v is not None else "" for v in node.inputs)
        outputs = tuple(
            (self._names.get(v) or self._known(v, f"{self._prefix}{v.name}")) if v.name else "" for v in node.outputs
        )
        version = opset(node) if node.graph is not None else 13
        return Op(kind=node.op_type, inputs=inputs, outputs=outputs, attributes=self._attributes(node), opset=version)

    def _constant(self, node: ir.Node) -> None:
        value = node.outputs[0]
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            raise UnsupportedError(
                f"Constant {value.name!r} holds no dense numbers: the glass box has no other constants."
            )
        self._dtype(tensor.dtype, f"constant {value.name!r}")
        name = self._names.get(value) or self._known(value, f"{self._prefix}{value.name}")
        self._add_weight(name, tensor.numpy())

    def _attributes(self, node: ir.Node) -> dict[str, Any]:
        return {name: self._plain(node, a) for name, a in node.attributes.items() if name not in _IGNORED}

    def _plain(self, node: ir.Node, attribute: ir.Attr) -> Any:
        value = attribute.value
        what = f"Attribute {attribute.name} of the {node.op_type} that makes {node.outputs[0].name!r}"
        if node.op_type == "Cast" and attribute.name == "to":
            return self._inner(self._dtype(ir.DataType(value), what))
        if attribute.type == ir.AttributeType.TENSOR and value.size == 1:
            dtype = self._inner(self._dtype(value.dtype, what))
            return {"number": value.numpy().reshape(()).item(), "dtype": dtype}
        if attribute.type in (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING):
            return value
        if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
            return list(value)
        raise UnsupportedError(f"{what} is a {attribute.type}: use numbers.")

    # steps

    def _emit(
        self, kernel: str, inputs: Sequence[str], results: Sequence[str], attributes: Mapping[str, Any],
        nodes: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        inputs, outputs = tuple(inputs), tuple(results)
        self.done.steps.append(
            Step(
                name=self._title(kernel, inputs, attributes), kernel=kernel, tactic="", inputs=inputs, outputs=outputs,
                attributes=attributes, nodes=nodes,
            )
        )  # fmt: skip

    def _title(self, kernel: str, inputs: tuple[str, ...], attributes: Mapping[str, Any]) -> str:
        """What the kernel does, in ONNX's words; a bias or a constant factor is not worth one."""
        if kernel == "pointwise":
            return " ".join(kind for kind, _, _ in attributes["program"])
        words, chain = {"operator": attributes.get("operator"), "maxpool": "MaxPool"}, attributes.get("epilogue", [])
        others = inputs[-max((r or 0 for _, reads, _ in chain for r in reads), default=0) :]
        named = [
            kind
            for kind, reads, _ in chain
            if kind not in JOINING or any(others[r - 1] not in self.done.weights for r in reads if r)
        ]
        return " ".join([words.get(kernel) or kernel, *named])

    def _operator(self, op: Op, nodes: tuple[str, ...], decided: Mapping[str, Any] = MappingProxyType({})) -> None:
        training = op.inputs[2] if op.kind == "Dropout" and len(op.inputs) > 2 else ""
        if training and (training not in self.done.weights or self.done.weights[training].item()):
            raise UnsupportedError(
                "Dropout may be in training mode: the glass box only infers; make training_mode a false constant."
            )
        attributes = dict(op.attributes) | ({"opset": op.opset} if takes(op.kind, "opset") else {})
        if strange := sorted(name for name in attributes if not takes(op.kind, name)):
            raise UnsupportedError(f"{op.kind} has attribute {strange[0]!r}, which the glass box does not know.")
        outputs = op.outputs if op.kind == "Split" else [name for name in op.outputs if name]
        if outputs[1:] and op.kind != "Split":
            raise UnsupportedError(f"{op.kind} is asked for {len(outputs)} results: the glass box makes the first.")
        if op.kind == "DequantizeLinear" and self._dequantized(op):
            return
        if op.kind == "MaxPool":
            self._emit("maxpool", op.inputs, outputs, attributes, nodes)
        else:
            self._emit("operator", op.inputs, outputs, {"operator": op.kind, **attributes, **decided}, nodes)

    def _dequantized(self, op: Op) -> bool:
        """Note symmetric INT8 codes, for products to read in place of floats. Whether all is constant, and done."""
        (codes, scale, zero), weights = (*op.inputs, "")[:3], self.done.weights
        is_symmetric = not zero or (zero in weights and not weights[zero].any())
        is_plain = self.done.dtypes[codes] == "int8" and not op.attributes.get("block_size")
        if is_plain and is_symmetric and scale in weights:
            self._codes[op.outputs[0]] = codes, weights[scale], op.attributes.get("axis", 1)
        if is_constant := all(name in weights for name in op.inputs if name):
            made = dequantize_linear(*(weights[name] for name in op.inputs if name), **op.attributes)
            self._derived(op.outputs[0], made)
        return is_constant

    def _in_codes(self, kernel: str, operands: Sequence[str], result: str) -> tuple[str, Sequence[str], dict[str, Any]]:
        """The product of INT8 codes instead, where both operands have them, with scales that can leave the sum: one of
        x, one of each output channel of w."""
        found = [held for name in operands if (held := self._codes.get(name))]
        if (len(operands), len(found)) != (2, 2) or kernel == "operator":
            return kernel, operands, {}
        (x, s, _), (w, t, axis), is_conv = *found, kernel == "conv"
        rank = len(self.done.shapes[w] or ())
        if s.numel() > 1 or (t.numel() > 1 and axis % rank != (0 if is_conv else rank - 1)):
            return kernel, operands, {}
        if is_conv and w not in self.done.weights:
            return kernel, operands, {}
        scale = (s.float() * t.float()).reshape(-1, *[1] * (rank - 2 if is_conv else 0))
        codes = [x, w, self._derived(f"scale of {result}", scale)]
        return f"int8 {kernel}", codes, {"dtype": self.done.dtypes[result] or self._float}

    def _heavy(self, op: Op, epilogue: Sequence[Op], nodes: tuple[str, ...]) -> None:
        """A convolution or product, and its epilogue as a chain: 0 is the number so far, 1 the first other tensor."""
        kernel, operands, bias, attributes = self._product(op)
        kernel, operands, more = self._in_codes(kernel, operands, op.outputs[0])
        attributes = attributes | more
        others, chain, result = ({bias: 1}, [["Add", [0, 1], {}]], op.outputs[0]) if bias else ({}, [], op.outputs[0])
        for then in epilogue:
            reads = [0 if n == result else others.setdefault(n, len(others) + 1) if n else None for n in then.inputs]
            chain.append([then.kind, reads, self._checked(then)])
            result = then.outputs[0]
        self._emit(kernel, [*operands, *others], [result], attributes | ({"epilogue": chain} if chain else {}), nodes)

    def _product(self, op: Op) -> tuple[str, Sequence[str], str, dict[str, Any]]:
        """(kernel, operands, a bias to add first or "", attributes)."""
        inputs, attributes, weights = (*op.inputs, "", "")[:3], dict(op.attributes), self.done.weights
        if op.kind == "MatMul":
            return "matmul", inputs[:2], "", {}
        if op.kind == "Conv":
            rank = len(self.done.shapes[inputs[1]] or ())
            if inputs[2] not in weights or not rank:
                return "conv", [name for name in inputs if name], "", attributes
            bias = weights[inputs[2]].reshape(-1, *[1] * (rank - 2))
            return "conv", inputs[:2], self._derived(f"{inputs[2]} of rank {rank}", bias), attributes
        scaled = attributes.get("alpha", 1.0) != 1.0 or (inputs[2] and attributes.get("beta", 1.0) != 1.0)
        if scaled or attributes.get("transA") or (attributes.get("transB") and inputs[1] not in weights):
            return "operator", op.inputs, "", {"operator": "Gemm", **attributes}
        turned = attributes.get("transB") and self._derived(f"{inputs[1]} transposed", weights[inputs[1]].t())
        if turned and (held := self._codes.get(inputs[1])):
            codes = self._derived(f"{held[0]} transposed", weights[held[0]].t())
            self._codes[turned] = codes, held[1], 1 - held[2] % 2
        return "matmul", [inputs[0], turned or inputs[1]], inputs[2], {}

    def _derived(self, name: str, weight: torch.Tensor) -> str:
        """A weight, perhaps made from others, once."""
        if name not in self.done.weights:
            self.done.weights[name] = weight.contiguous()
            self.done.dtypes[name], self.done.shapes[name] = str(weight.dtype)[6:], tuple(weight.shape)
        return name

    def _pointwise(self, ops: Sequence[Op], outputs: set[str], nodes: tuple[str, ...]) -> None:
        """Elementwise operators as one program: inputs are its first registers, each instruction writes the next."""
        lines = [(op.outputs[0], line) for op in ops for line in self._instructions(op)]
        made = {op.outputs[0] for op in ops}
        inputs = list(dict.fromkeys(n for _, (_, reads, _) in lines for n in reads if n and n not in made))
        register, program = {name: number for number, name in enumerate(inputs)}, list[Any]()
        for name, (kind, reads, attributes) in lines:
            program.append([kind, [register[n] if n else None for n in reads], attributes])
            register[name] = len(inputs) + len(program) - 1
        results = [op.outputs[0] for op in ops if op.outputs[0] in outputs]
        self._emit("pointwise", inputs, results, {"program": program, "results": [register[r] for r in results]}, nodes)

    def _instructions(self, op: Op) -> list[tuple[str, Sequence[str], dict[str, Any]]]:
        """The operator; a batch normalisation of constants is a factor and a sum for each channel."""
        shape = self.done.shapes.get(op.inputs[0])
        if op.kind != "BatchNormalization" or shape is None or any(n not in self.done.weights for n in op.inputs[1:]):
            return [(op.kind, op.inputs, self._checked(op))]
        self._checked(op)
        scale, shift, mean, var = (self.done.weights[n].double() for n in op.inputs[1:])
        factor = scale / torch.sqrt(var + op.attributes.get("epsilon", 1e-5))
        to = getattr(torch, self.done.dtypes[op.inputs[0]])
        column = lambda v: v.to(to).reshape(-1, *[1] * (len(shape) - 2))  # noqa: E731
        key = f"{' '.join(op.inputs[1:])} of rank {len(shape)}"
        a = self._derived(f"factor of {key}", column(factor))
        b = self._derived(f"summand of {key}", column(shift - mean * factor))
        return [("Mul", (op.inputs[0], a), {}), ("Add", (op.outputs[0], b), {})]

    def _checked(self, op: Op) -> dict[str, Any]:
        attributes = {k: v for k, v in op.attributes.items() if k not in ("momentum", "axis", "broadcast")}
        if op.kind == "BatchNormalization":
            training = attributes.pop("training_mode", 0) or not attributes.pop("spatial", 1)
            if training or len([name for name in op.outputs if name]) > 1:
                raise UnsupportedError("BatchNormalization in training mode: the glass box only infers.")
        return attributes
