"""engine/glassbox/lower: from a rewritten ONNX graph to a plan without tactics: steps, each a kernel of our library.

In: an onnx_ir model as graph/rewrite leaves it (fused nodes hold their operators). Out: steps, shapes without places,
and the weights as torch tensors. The rules have decided what is one kernel: here each node is said in other words. What
the library lacks is an UnsupportedError that names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from trtlab.engine.codegen.pointwise import POINTWISE
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.operators import OPERATORS, dequantize_linear, takes
from trtlab.engine.glassbox.plan import DTYPES, Plan, Step, TensorSpec, made_with
from trtlab.graph.fused import body, origins, parts
from trtlab.graph.ops import JOINING
from trtlab.graph.order import topological_order
from trtlab.graph.rule import is_data, is_in_place_concat, opset

PRECISIONS = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}
"""What float32 tensors of the model become inside the engine."""
CLAIMED = frozenset({*OPERATORS, *POINTWISE, "Constant"})
"""The operators that the glass box has."""
_DTYPE_OF_IR = {"FLOAT": "float32", "DOUBLE": "float64", "BFLOAT16": "bfloat16"}
_IGNORED = set("saturate round_mode stash_type seed ratio momentum storage_order".split())
"""Attributes that change nothing here."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One ONNX operator with plain values."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int


def dtype_of(word: str) -> str:
    """ONNX's word for a type as torch's."""
    return _DTYPE_OF_IR.get(word, word.lower())


def lower(model: ir.Model, device: str = "cpu", precision: str = "FP32") -> Plan:
    """The model as a plan: kernels without tactics. UnsupportedError names an operator, attribute or type that the
    library lacks."""
    if precision not in PRECISIONS:
        raise UnsupportedError(f"There is no precision {precision!r}: expected one of {', '.join(PRECISIONS)}.")
    done = _Lowering(model.graph, PRECISIONS[precision])
    read = {name for step in done.steps for name in step.inputs} | set(done.outputs)
    steps = [
        step
        for step in done.steps  # who reads codes needs no floats that were made of them
        if step.attributes.get("operator") != "DequantizeLinear" or step.outputs[0] in read
    ]
    used = {name for step in steps for name in step.inputs} | set(done.outputs)
    made = sorted({name for step in steps for name in step.outputs if name})
    return Plan(
        device=device,
        precision=precision,
        inputs=done.inputs,
        outputs=done.outputs,
        tensors={name: done.specs[name] for name in dict.fromkeys((*done.inputs, *made, *done.outputs))},
        weights={name: weight for name, weight in done.weights.items() if name in used},
        steps=tuple(steps),
        made_with=made_with(),
    )


class _Lowering:
    """Steps in order, weights, and what is known of every tensor: its type, and its shape where that is static."""

    def __init__(self, graph: ir.Graph, float_type: str) -> None:
        self.steps, self.weights, self.specs = list[Step](), dict[str, torch.Tensor](), dict[str, TensorSpec]()
        self._float, self._prefix = float_type, ""
        self._names: dict[ir.Value, str] = {}
        self._codes: dict[str, tuple[str, torch.Tensor, int]] = {}  # of what is dequantised: INT8 codes, scales, axis
        floats = [v for v in graph.outputs if v.dtype == ir.DataType.FLOAT]
        self._aside = {str(v.name) for v in floats if float_type != "float32"}  # names that their casts will have
        given = [v for v in graph.inputs if not v.is_initializer()]
        self.inputs, self.outputs = (tuple(str(v.name) for v in values) for values in (given, graph.outputs))
        for value in given:
            self._known(value, str(value.name), own=True)
        for value in graph.initializers.values():
            self._constant(value)
        for name, value in zip(self.inputs, given, strict=True):
            if self._inner(self.specs[name].dtype) != self.specs[name].dtype:
                self._names[value] = self._cast(name, f"{name} as {self._float}", self._float)
        for node in topological_order(graph):  # rules put nodes anywhere
            self._node(node)
        for name, value in zip(self.outputs, graph.outputs, strict=True):
            want = self._dtype(value.dtype, f"output {name!r}")
            if self._names[value] != name and name not in self.specs:  # once, though one tensor may be two outputs
                self._cast(self._names[value], name, want)

    # names and values

    def _known(self, value: ir.Value, name: str, *, own: bool = False) -> str:
        """Remember a value under a name of the plan. `own`: its type is the model's, not the engine's."""
        name = f"{name} as {self._float}" if name in self._aside and not own else name
        self._names[value] = name
        dtype = "" if value.dtype is None and not own else self._dtype(value.dtype, f"tensor {name!r}")
        shape = value.shape
        self.specs[name] = TensorSpec(
            dtype=dtype if own else self._inner(dtype),
            shape=None if shape is None or not shape.is_static() else tuple(shape.numpy()),
        )
        return name

    def _dtype(self, dtype: ir.DataType | None, what: str) -> str:
        word = "" if dtype is None else dtype_of(dtype.name)
        if word not in DTYPES:
            raise UnsupportedError(f"{what} is {word or 'of no type'}: the glass box knows {', '.join(DTYPES)}.")
        return word

    def _inner(self, dtype: str) -> str:
        return self._float if dtype == "float32" else dtype

    def _constant(self, value: ir.Value) -> None:
        """An initializer, or what a Constant holds."""
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            raise UnsupportedError(
                f"Constant {value.name!r} holds no dense numbers: the glass box has no other constants."
            )
        self._dtype(tensor.dtype, f"constant {value.name!r}")
        name, array = self._names.get(value) or self._known(value, f"{self._prefix}{value.name}"), tensor.numpy()
        is_wide = array.dtype.name == "bfloat16"  # which numpy has not
        own = torch.from_numpy(np.array(array, np.float32 if is_wide else None, order="C"))
        self._derived(name, own.to(getattr(torch, "bfloat16" if is_wide else self._inner(str(own.dtype)[6:]))))

    def _derived(self, name: str, weight: torch.Tensor) -> str:
        """A weight, perhaps made from others, once."""
        if name not in self.weights:
            self.weights[name] = weight.contiguous()
            self.specs[name] = TensorSpec(dtype=str(weight.dtype)[6:], shape=tuple(weight.shape))
        return name

    def _rank(self, name: str) -> int:
        return len(self.specs[name].shape or ())

    def _cast(self, name: str, new: str, to: str) -> str:
        """In another precision, inputs are cast first, and outputs last."""
        self.specs[new] = TensorSpec(dtype=to, shape=self.specs[name].shape)
        self._emit("pointwise", [name], [new], {"program": [["Cast", [0], {"to": to}]], "results": [1]})
        return new

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
            self._constant(inner_node.outputs[0])
        what, nodes = parts(node), tuple(origins(node))
        heavy = None if what.heavy is None else self._op(what.heavy)
        ops = [self._op(n) for n in what.epilogue]
        if heavy is not None:
            self._heavy(heavy, ops, nodes)
        elif ops:
            self._pointwise(ops, {self._names[v] for v in node.outputs if v in self._names}, nodes)
        for behind in what.rest:
            self._operator(self._op(behind), nodes, {"in_place": 1} if is_in_place_concat(node) else {})

    def _op(self, node: ir.Node) -> Op:
        inputs = tuple(self._names[v] if v is not None else "" for v in node.inputs)
        outputs = tuple(
            (self._names.get(v) or self._known(v, f"{self._prefix}{v.name}")) if v.name else "" for v in node.outputs
        )
        attributes = {name: self._plain(node, a) for name, a in node.attributes.items() if name not in _IGNORED}
        version = opset(node) if node.graph is not None else 13
        return Op(kind=node.op_type, inputs=inputs, outputs=outputs, attributes=attributes, opset=version)

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
        name = self._title(kernel, inputs, attributes)
        self.steps.append(
            Step(name=name, kernel=kernel, inputs=inputs, outputs=outputs, attributes=attributes, nodes=nodes)
        )

    def _title(self, kernel: str, inputs: tuple[str, ...], attributes: Mapping[str, Any]) -> str:
        """What the kernel does, in ONNX's words; a bias or a constant factor is not worth one."""
        if kernel == "pointwise":
            return " ".join(kind for kind, _, _ in attributes["program"])
        words, chain = {"operator": attributes.get("operator"), "maxpool": "MaxPool"}, attributes.get("epilogue", [])
        others = inputs[-max((r or 0 for _, reads, _ in chain for r in reads), default=0) :]
        named = [
            kind
            for kind, reads, _ in chain
            if kind not in JOINING or any(others[r - 1] not in self.weights for r in reads if r)
        ]
        return " ".join([words.get(kernel) or kernel, *named])

    def _operator(self, op: Op, nodes: tuple[str, ...], decided: Mapping[str, Any] = MappingProxyType({})) -> None:
        training = op.inputs[2] if op.kind == "Dropout" and len(op.inputs) > 2 else ""
        if training and (training not in self.weights or self.weights[training].item()):
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
        (codes, scale, zero), weights = (*op.inputs, "")[:3], self.weights
        is_symmetric = not zero or (zero in weights and not weights[zero].any())
        is_plain = self.specs[codes].dtype == "int8" and not op.attributes.get("block_size")
        if is_plain and is_symmetric and scale in weights:
            self._codes[op.outputs[0]] = codes, weights[scale], op.attributes.get("axis", 1)
        if is_constant := all(name in weights for name in op.inputs if name):
            made = dequantize_linear(*(weights[name] for name in op.inputs if name), **op.attributes)
            self._derived(op.outputs[0], made)
        return is_constant

    def _heavy(self, op: Op, epilogue: Sequence[Op], nodes: tuple[str, ...]) -> None:
        """A convolution or product, and its epilogue as a chain: 0 is the number so far, 1 the first other tensor."""
        kernel, operands, bias, attributes = self._product(op)
        kernel, operands, more = self._in_codes(kernel, operands, op.outputs[0])
        others, chain, result = ({bias: 1}, [["Add", [0, 1], {}]], op.outputs[0]) if bias else ({}, [], op.outputs[0])
        for then in epilogue:
            reads = [0 if n == result else others.setdefault(n, len(others) + 1) if n else None for n in then.inputs]
            chain.append([then.kind, reads, self._checked(then)])
            result = then.outputs[0]
        more |= {"epilogue": chain} if chain else {}
        self._emit(kernel, [*operands, *others], [result], attributes | more, nodes)

    def _product(self, op: Op) -> tuple[str, Sequence[str], str, dict[str, Any]]:
        """(kernel, operands, a bias to add first or "", attributes)."""
        inputs, attributes, weights = (*op.inputs, "", "")[:3], dict(op.attributes), self.weights
        if op.kind == "MatMul":
            return "matmul", inputs[:2], "", {}
        if op.kind == "Conv":
            rank = self._rank(inputs[1])
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

    def _in_codes(self, kernel: str, operands: Sequence[str], result: str) -> tuple[str, Sequence[str], dict[str, Any]]:
        """The product of INT8 codes instead, where both operands have them, with scales that can leave the sum: one of
        x, one of each output channel of w."""
        found = [held for name in operands if (held := self._codes.get(name))]
        if (len(operands), len(found)) != (2, 2) or kernel == "operator":
            return kernel, operands, {}
        (x, s, _), (w, t, axis), is_conv = *found, kernel == "conv"
        rank = self._rank(w)
        leaves = s.numel() == 1 and (t.numel() == 1 or axis % rank == (0 if is_conv else rank - 1))
        if not leaves or (is_conv and w not in self.weights):
            return kernel, operands, {}
        scale = (s.float() * t.float()).reshape(-1, *[1] * (rank - 2 if is_conv else 0))
        codes = [x, w, self._derived(f"scale of {result}", scale)]
        return f"int8 {kernel}", codes, {"dtype": self.specs[result].dtype or self._float}

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
        checked, spec = self._checked(op), self.specs.get(op.inputs[0])
        constant = op.kind == "BatchNormalization" and all(n in self.weights for n in op.inputs[1:])
        if not constant or spec is None or spec.shape is None:
            return [(op.kind, op.inputs, checked)]
        scale, shift, mean, var = (self.weights[n].double() for n in op.inputs[1:])
        factor, shape = scale / torch.sqrt(var + checked.get("epsilon", 1e-5)), (-1, *[1] * (len(spec.shape) - 2))
        numbers = {"factor": factor, "summand": shift - mean * factor}
        key, dtype = f"{' '.join(op.inputs[1:])} of rank {len(spec.shape)}", getattr(torch, spec.dtype)
        a, b = (self._derived(f"{what} of {key}", v.to(dtype).reshape(shape)) for what, v in numbers.items())
        return [("Mul", (op.inputs[0], a), {}), ("Add", (op.outputs[0], b), {})]

    def _checked(self, op: Op) -> dict[str, Any]:
        """The attributes of an elementwise operator."""
        attributes = dict(op.attributes)
        if op.kind == "BatchNormalization":
            training = attributes.pop("training_mode", 0) or not attributes.pop("spatial", 1)
            if training or len([name for name in op.outputs if name]) > 1:
                raise UnsupportedError("BatchNormalization in training mode: the glass box only infers.")
        return attributes
