"""engine/glassbox/lower: from a rewritten ONNX graph to steps, each a kernel of our library.

In: an onnx_ir model as graph/rewrite leaves it (fused nodes hold their operators). Out: steps without tactics, and the
weights as torch tensors. A fused node becomes one step where a kernel can do all of it, else as few as possible. What
the library lacks is an UnsupportedError that names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from trtlab.engine.codegen.pointwise import POINTWISE
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.finishing import ACTIVATIONS
from trtlab.engine.glassbox.operators import OPERATORS, takes
from trtlab.engine.glassbox.plan import DTYPES, Step
from trtlab.graph.fused import body, origins
from trtlab.graph.rule import opset

PRECISIONS = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}
"""What float32 tensors of the model become inside the engine."""
_DTYPE_OF_IR = {"FLOAT": "float32", "DOUBLE": "float64", "BFLOAT16": "bfloat16"}
_IGNORED = set("saturate round_mode consumed_inputs stash_type seed is_test ratio momentum".split())


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
        self._float = float_type
        self._names: dict[ir.Value, str] = {}
        graph = model.graph
        given = [v for v in graph.inputs if not v.is_initializer()]
        for value in given:
            self._known(value, str(value.name), own=True)
        for value in graph.initializers.values():
            self._weight(value)
        self.done.inputs = tuple(str(v.name) for v in given)
        self.done.outputs = tuple(str(v.name) for v in graph.outputs)
        inner = self._cast_inputs(given)
        for node in graph:
            self._node(node)
        self._cast_outputs(graph.outputs, inner)

    # names and values

    def _known(self, value: ir.Value, name: str, *, own: bool = False) -> str:
        """Remember a value under a name of the plan. `own`: its type is the model's, not the engine's."""
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
        weight = own.to(getattr(torch, self._inner(str(own.dtype)[6:])))
        self.done.weights[name] = weight
        self.done.dtypes[name], self.done.shapes[name] = str(weight.dtype)[6:], tuple(weight.shape)
        return name

    def _cast_inputs(self, values: Sequence[ir.Value]) -> bool:
        """In another precision, inputs are cast first, and outputs last."""
        if self._float == "float32":
            return False
        for value in values:
            name = str(value.name)
            if self.done.dtypes[name] == "float32":
                self._names[value] = self._cast(name, f"{name} as {self._float}", self._float)
        return True

    def _cast(self, name: str, new: str, to: str) -> str:
        self.done.dtypes[new], self.done.shapes[new] = to, self.done.shapes[name]
        self._emit_pointwise([["Cast", [0], {"to": to}]], [0 + 1], [name], [new], ())
        return new

    def _cast_outputs(self, outputs: Sequence[ir.Value], inner: bool) -> None:
        """Outputs get the model's names and types."""
        for value in outputs:
            name, have = str(value.name), self._names[value]
            want = self._dtype(value.dtype, f"output {name!r}")
            if not inner or (self.done.dtypes[have] == want and have == name):
                continue
            if have == name:  # the engine's own tensor steps aside
                have = f"{name} as {self._float}"
                self._rename(name, have)
            self._cast(have, name, want)

    def _rename(self, old: str, new: str) -> None:
        def swap(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(new if n == old else n for n in names)

        self.done.steps = [replace(s, inputs=swap(s.inputs), outputs=swap(s.outputs)) for s in self.done.steps]
        tables: tuple[dict[str, Any], ...] = self.done.dtypes, self.done.shapes, self.done.weights
        for table in tables:
            if old in table:
                table[new] = table.pop(old)

    # nodes

    def _node(self, node: ir.Node) -> None:
        inside = body(node)
        if inside is None:
            ops = self._ops([node], "")
        else:
            for inner, outer in zip(inside.inputs, node.inputs, strict=True):
                self._names[inner] = self._names[outer] if outer is not None else ""
            for inner, outer in zip(inside.outputs, node.outputs, strict=True):
                self._known(inner, str(outer.name))
                self._names[outer] = str(outer.name)
            ops = self._ops(inside, f"{node.name}/")
        outputs = {str(v.name) for v in node.outputs if v.name}
        self._group(ops, outputs, tuple(origins(node)))

    def _ops(self, nodes: Any, prefix: str) -> list[Op]:
        ops = []
        for node in nodes:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self._constant(node, prefix)
                continue
            inputs = tuple(self._names[v] if v is not None else "" for v in node.inputs)
            outputs = tuple(
                (self._names.get(v) or self._known(v, f"{prefix}{v.name}")) if v.name else "" for v in node.outputs
            )
            version = opset(node) if node.graph is not None else 13
            ops.append(
                Op(kind=node.op_type, inputs=inputs, outputs=outputs, attributes=self._attributes(node), opset=version)
            )
        return ops

    def _constant(self, node: ir.Node, prefix: str) -> None:
        value = node.outputs[0]
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            raise UnsupportedError(
                f"Constant {node.name!r} holds no dense numbers: the glass box has no other constants."
            )
        self._dtype(tensor.dtype, f"constant {node.name!r}")
        name = self._names.setdefault(value, f"{prefix}{value.name}")
        self._add_weight(name, tensor.numpy())

    def _attributes(self, node: ir.Node) -> dict[str, Any]:
        return {name: self._plain(node, a) for name, a in node.attributes.items() if name not in _IGNORED}

    def _plain(self, node: ir.Node, attribute: ir.Attr) -> Any:
        value = attribute.value
        if node.op_type == "Cast" and attribute.name == "to":
            return self._inner(self._dtype(ir.DataType(value), f"Cast {node.name!r}"))
        if attribute.type == ir.AttributeType.TENSOR and value.size == 1:
            dtype = self._inner(self._dtype(value.dtype, f"{attribute.name} of {node.name!r}"))
            return {"number": value.numpy().reshape(()).item(), "dtype": dtype}
        if attribute.type in (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING):
            return value
        if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
            return list(value)
        raise UnsupportedError(
            f"Attribute {attribute.name} of {node.op_type} {node.name!r} is a {attribute.type}: use numbers."
        )

    # groups of operators to steps

    def _group(self, ops: list[Op], outputs: set[str], nodes: tuple[str, ...]) -> None:
        while ops:
            op = ops[0]
            taken = 1
            if op.kind == "Conv" and self._is_library_conv(op):
                taken = self._conv(ops, outputs, nodes)
            elif op.kind in ("MatMul", "Gemm"):
                taken = self._product(ops, outputs, nodes)
            elif op.kind == "MaxPool" and self._is_library_pool(op):
                attributes = {k: v for k, v in op.attributes.items() if k != "storage_order"}
                self._emit("maxpool", op.inputs, op.outputs[:1], attributes, nodes)
            elif op.kind in POINTWISE:
                taken = self._pointwise(ops, outputs, nodes)
            else:
                self._operator(op, nodes)
            ops = ops[taken:]

    def _emit(
        self,
        kernel: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: dict[str, Any],
        nodes: tuple[str, ...],
    ) -> None:
        self.done.steps.append(
            Step(
                kernel=kernel,
                tactic="",
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                attributes=attributes,
                nodes=nodes,
            )
        )

    def _operator(self, op: Op, nodes: tuple[str, ...]) -> None:
        if op.kind not in OPERATORS:
            raise UnsupportedError(f"Operator {op.kind} is not one of the glass box's.")
        training = self._optional(op, 2) if op.kind == "Dropout" else ""
        if training and (training not in self.done.weights or self.done.weights[training].item()):
            raise UnsupportedError(
                "Dropout may be in training mode: the glass box only infers; make training_mode a false constant."
            )
        attributes = dict(op.attributes) | ({"opset": op.opset} if takes(op.kind, "opset") else {})
        if strange := sorted(name for name in attributes if not takes(op.kind, name)):
            raise UnsupportedError(f"{op.kind} has attribute {strange[0]!r}, which the glass box does not know.")
        outputs = list(op.outputs)
        while len(outputs) > 1 and not outputs[-1]:
            outputs.pop()
        self._emit("operator", op.inputs, outputs, {"operator": op.kind, **attributes}, nodes)

    def _is_library_conv(self, op: Op) -> bool:
        """Weights and bias constant, the image is not, sizes known."""
        constant = all(name in self.done.weights for name in op.inputs[1:] if name)
        constant &= op.inputs[0] not in self.done.weights
        return constant and self.done.shapes[op.inputs[0]] is not None and self.done.dtypes[op.inputs[0]] != "float64"

    def _is_library_pool(self, op: Op) -> bool:
        """One result, of an image that is not constant, sizes known."""
        (image, *_), results = op.inputs, [o for o in op.outputs if o]
        return len(results) == 1 and image not in self.done.weights and bool(self.done.shapes[image])

    def _conv(self, ops: list[Op], outputs: set[str], nodes: tuple[str, ...]) -> int:
        op, shape = ops[0], self._shape(ops[0].inputs[1])
        operands = [*op.inputs[:2], self._optional(op, 2)]
        channels = (shape[0], *[1] * (len(shape) - 2))
        return self._finished("conv", ops, operands, dict(op.attributes), outputs, nodes, channels)

    def _shape(self, name: str) -> tuple[int, ...]:
        """A shape that has to be known here."""
        shape = self.done.shapes[name]
        if shape is None:
            raise UnsupportedError(f"The size of {name!r} is not known: give the model's inputs static shapes.")
        return shape

    def _optional(self, op: Op, number: int) -> str:
        return op.inputs[number] if number < len(op.inputs) else ""

    def _product(self, ops: list[Op], outputs: set[str], nodes: tuple[str, ...]) -> int:
        op = ops[0]
        a, b, c = (*op.inputs, "")[:3] if op.kind == "Gemm" else (*op.inputs, "")
        attributes, shape = op.attributes, self.done.shapes[b]
        plain = (
            not attributes.get("transA")
            and attributes.get("alpha", 1.0) == 1.0
            and (not c or attributes.get("beta", 1.0) == 1.0)
        )
        result, rows = self.done.shapes[op.outputs[0]], self.done.shapes[a]
        floating = self.done.dtypes[a] in ("float32", "float16", "bfloat16")
        matrix = b in self.done.weights and shape is not None and len(shape) == 2 and 0 not in shape
        matrix &= a not in self.done.weights
        if plain and floating and matrix and result and rows and len(rows) > 1 and 0 not in rows:
            width = result[-1]
            if not c or self._is_row(c, width):
                weight = self._transposed(b) if attributes.get("transB") else b
                operands = [a, weight, self._row(c, width) if c else ""]
                return self._finished("linear", ops, operands, {}, outputs, nodes, (width,))
        if op.kind == "Gemm":
            self._operator(op, nodes)
            return 1
        return self._matmul(ops, outputs, nodes)

    def _is_row(self, name: str, width: int) -> bool:
        shape = self.done.shapes[name]
        return (
            name in self.done.weights
            and shape is not None
            and shape[-1:] == (width,)
            and all(n == 1 for n in shape[:-1])
        )

    def _row(self, name: str, width: int) -> str:
        if self.done.shapes[name] == (width,):
            return name
        return self._derived(f"{name} as a row", self.done.weights[name].reshape(width))

    def _transposed(self, name: str) -> str:
        return self._derived(f"{name} transposed", self.done.weights[name].t())

    def _derived(self, name: str, weight: torch.Tensor) -> str:
        """A weight made from others, once."""
        if name not in self.done.weights:
            self.done.weights[name] = weight.contiguous()
            self.done.dtypes[name], self.done.shapes[name] = str(weight.dtype)[6:], tuple(weight.shape)
        return name

    def _matmul(self, ops: list[Op], outputs: set[str], nodes: tuple[str, ...]) -> int:
        """A product, with a constant factor behind it."""
        op, taken, attributes, result = ops[0], 1, {}, ops[0].outputs[0]
        if len(ops) > 1 and ops[1].kind == "Mul" and result in ops[1].inputs and result not in outputs:
            (factor,) = [n for n in ops[1].inputs if n != result] or [""]
            weight = self.done.weights.get(factor)
            if (
                weight is not None
                and weight.numel() == 1
                and weight.is_floating_point()
                and self._same(result, ops[1].outputs[0])
            ):
                attributes, taken, result = {"scale": weight.item()}, 2, ops[1].outputs[0]
        self._emit("matmul", op.inputs, [result], attributes, nodes)
        return taken

    def _same(self, a: str, b: str) -> bool:
        return self.done.shapes[a] is not None and self.done.shapes[a] == self.done.shapes[b]

    def _finished(
        self,
        kernel: str,
        ops: list[Op],
        operands: list[str],
        attributes: dict[str, Any],
        outputs: set[str],
        nodes: tuple[str, ...],
        channel_shape: tuple[int, ...],
    ) -> int:
        """A convolution or product with what can finish it: bias, then another branch, then an activation."""
        result, taken, other = ops[0].outputs[0], 1, ""
        for op in ops[1:]:
            if result in outputs or "activation" in attributes or result not in op.inputs:
                break
            rest = [n for n in op.inputs if n != result]
            adds = (
                op.kind in ("Add", "Sum")
                and len(op.inputs) == 2
                and len(rest) == 1
                and self._same(result, op.outputs[0])
            )
            if adds and not operands[2] and not other and self._is_channel(rest[0], channel_shape):
                operands[2] = self._derived(f"{rest[0]} as a row", self.done.weights[rest[0]].reshape(-1))
            elif adds and not other and rest[0] not in self.done.weights and self._same(rest[0], result):
                other = rest[0]
            elif (found := self._activation(op, result)) is not None:
                attributes |= {"activation": found[0], "activation_values": found[1]}
            else:
                break
            result, taken = op.outputs[0], taken + 1
        self._emit(kernel, [*operands, other] if other else operands, [result], attributes, nodes)
        return taken

    def _is_channel(self, name: str, channel_shape: tuple[int, ...]) -> bool:
        """A constant with one number for each channel."""
        shape = self.done.shapes.get(name)
        return (
            name in self.done.weights
            and shape is not None
            and shape[-len(channel_shape) :] == channel_shape
            and all(n == 1 for n in shape[: -len(channel_shape)])
        )

    def _activation(self, op: Op, result: str) -> tuple[str, list[float]] | None:
        """The activation that a kernel can finish with, and its numbers."""
        if op.kind not in ACTIVATIONS or op.inputs[0] != result:
            return None
        if op.kind == "Gelu":
            return ("GeluTanh" if op.attributes.get("approximate") == "tanh" else "Gelu"), []
        if op.kind == "LeakyRelu":
            return op.kind, [op.attributes.get("alpha", 0.01)]
        if op.kind == "Clip":
            bounds = [self._bound(op, 1, "min", -np.inf), self._bound(op, 2, "max", np.inf)]
            return None if None in bounds else (op.kind, [float(b) for b in bounds if b is not None])
        return op.kind, []

    def _bound(self, op: Op, number: int, name: str, none: float) -> float | None:
        given = self._optional(op, number)
        if not given:
            return op.attributes.get(name, none)
        return self.done.weights[given].item() if given in self.done.weights else None

    def _pointwise(self, ops: list[Op], outputs: set[str], nodes: tuple[str, ...]) -> int:
        """As many elementwise operators as have results of one shape, as one program."""
        run: list[Op] = []
        for op in ops:
            if op.kind not in POINTWISE or (run and not self._same(op.outputs[0], run[0].outputs[0])):
                break
            run.append(op)
        later = {name for op in ops[len(run) :] for name in op.inputs}
        made = {op.outputs[0] for op in run}
        inputs = list(dict.fromkeys(n for op in run for n in self._reads(op) if n and n not in made))
        program, register = [], {name: number for number, name in enumerate(inputs)}
        for op in run:
            for kind, reads, attributes in self._instructions(op):
                program.append([kind, [(register.get(n)) if n else None for n in reads], attributes])
                register[op.outputs[0]] = len(inputs) + len(program) - 1
                register["\n"] = register[op.outputs[0]]
        results = [op.outputs[0] for op in run if op.outputs[0] in outputs | later]
        self._emit_pointwise(program, [register[r] for r in results], inputs, results, nodes)
        return len(run)

    def _reads(self, op: Op) -> Sequence[str]:
        return [n for _, reads, _ in self._instructions(op) for n in reads if n != "\n"]

    def _instructions(self, op: Op) -> list[tuple[str, Sequence[str], dict[str, Any]]]:
        """The operator; a batch normalisation of constants is a factor and a sum for each channel ("\\n" is the number
        before)."""
        if op.kind != "BatchNormalization" or any(n not in self.done.weights for n in op.inputs[1:]):
            return [(op.kind, op.inputs, self._checked(op))]
        self._checked(op)
        scale, shift, mean, var = (self.done.weights[n].double() for n in op.inputs[1:])
        factor = scale / torch.sqrt(var + op.attributes.get("epsilon", 1e-5))
        rank = len(self.done.shapes[op.inputs[0]] or op.inputs[:3]) - 2
        to = getattr(torch, self.done.dtypes[op.inputs[0]])
        column = lambda v: v.to(to).reshape(-1, *[1] * rank)  # noqa: E731
        key = " ".join(op.inputs[1:])
        a = self._derived(f"factor of {key}", column(factor))
        b = self._derived(f"summand of {key}", column(shift - mean * factor))
        return [("Mul", (op.inputs[0], a), {}), ("Add", ("\n", b), {})]

    def _checked(self, op: Op) -> dict[str, Any]:
        attributes = {k: v for k, v in op.attributes.items() if k not in ("momentum", "axis", "broadcast")}
        if op.kind == "BatchNormalization":
            if (
                op.attributes.get("training_mode")
                or not op.attributes.get("spatial", 1)
                or len([o for o in op.outputs if o]) > 1
            ):
                raise UnsupportedError("BatchNormalization in training mode: the glass box only infers.")
            attributes.pop("spatial", None)
            attributes.pop("training_mode", None)
        return attributes

    def _emit_pointwise(
        self,
        program: list[Any],
        results: list[int],
        inputs: Sequence[str],
        outputs: Sequence[str],
        nodes: tuple[str, ...],
    ) -> None:
        self._emit("pointwise", inputs, outputs, {"program": program, "results": results}, nodes)
