"""engine/glassbox/lower: from a rewritten ONNX graph to a plan without tactics: steps, each a kernel of our library.

In: an onnx_ir model as graph/rewrite leaves it (fused nodes hold their operators). Out: steps, shapes without places,
and the weights as torch tensors. The rules have decided what is one kernel: here each node is said in other words. What
the library lacks is an UnsupportedError that names it.
"""

import itertools
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import torch

from trtlab.engine.codegen.pointwise import POINTWISE
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.operators import OPERATORS, dequantize_linear, takes
from trtlab.engine.glassbox.plan import DTYPES, Plan, Step, TensorSpec
from trtlab.graph.fused import body, origins, parts
from trtlab.graph.ops import JOINING
from trtlab.graph.order import topological_order
from trtlab.graph.rewrite import OLDEST_OPSET
from trtlab.graph.rule import STANDARD, is_data, is_in_place_concat, opset

PRECISIONS = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}
"""What float32 tensors of the model become inside the engine."""
CLAIMED = frozenset({*OPERATORS, *POINTWISE, "Constant"})
"""The operators that the glass box has."""
OUTSIDE = tuple(dtype for dtype in DTYPES if dtype != "bfloat16")
"""Types of inputs and outputs: those that numpy has."""
_DTYPE_OF_IR = {"FLOAT": "float32", "DOUBLE": "float64", "BFLOAT16": "bfloat16"}
_IGNORED = set("saturate round_mode stash_type seed ratio momentum storage_order".split())
"""Attributes that change nothing here."""


class Op(NamedTuple):
    """One ONNX operator with plain values."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


def lower(model: ir.Model, device: str = "cpu", precision: str = "FP32") -> Plan:
    """The model as a plan: kernels without tactics. UnsupportedError names an operator, attribute or type that the
    library lacks."""
    if precision not in PRECISIONS:
        raise UnsupportedError(f"There is no precision {precision!r}: expected one of {', '.join(PRECISIONS)}.")
    if (version := model.opset_imports.get("", OLDEST_OPSET)) < OLDEST_OPSET:
        what = f"opset {version}: the glass box knows what operators mean from {OLDEST_OPSET} on"
        raise UnsupportedError(f"The model is of {what}. Convert it with onnx.version_converter.")
    done = _Lowering(model.graph, PRECISIONS[precision])
    read = {*done.outputs, *(name for step in done.steps for name in step.inputs)}
    unread = {  # who reads codes needs no floats that were made of them
        s.outputs[0] for s in done.steps if s.attributes.get("operator") == "DequantizeLinear"
    } - read
    steps = tuple(step for step in done.steps if step.outputs[0] not in unread)
    used = {*done.inputs, *done.outputs, *(name for step in steps for name in (*step.inputs, *step.outputs))}
    tensors = used - (done.weights.keys() - {*done.outputs})
    return Plan(
        device=device,
        precision=precision,
        inputs=done.inputs,
        outputs=done.outputs,
        tensors={name: spec for name, spec in done.specs.items() if name in tensors},
        weights={name: weight for name, weight in done.weights.items() if name in used},
        steps=steps,
        made_with={"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
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
        for name, value in zip(self.inputs, given, strict=True):
            dtype, self._names[value] = self._dtype(value.dtype, f"Input {name!r}", OUTSIDE), name
            self.specs[name] = _spec(value, dtype)
            if self._inner(dtype) != dtype:
                self._names[value] = self._cast(name, f"{name} as {self._float}", self._float)
        for value in graph.initializers.values():
            self._constant(value)
        for node in topological_order(graph):  # rules put nodes anywhere
            self._node(node)
        for name, value in zip(self.outputs, graph.outputs, strict=True):
            dtype = self._dtype(value.dtype, f"Output {name!r}", OUTSIDE)
            if self._names[value] != name and name not in self.specs:  # once, though one tensor may be two outputs
                self._cast(self._names[value], name, dtype)

    # names and values

    def _name(self, value: ir.Value | None, name: str = "") -> str:
        """The value's name in the plan, "" for what is left out. A new one is that `name`, or its own."""
        if value is None or not value.name:
            return ""
        if value not in self._names or name:
            name = name or f"{self._prefix}{value.name}"
            name = f"{name} as {self._float}" if name in self._aside else name
            dtype = "" if value.dtype is None else self._inner(self._dtype(value.dtype, f"tensor {name!r}"))
            self._names[value], self.specs[name] = name, _spec(value, dtype)
        return self._names[value]

    def _dtype(self, dtype: ir.DataType | None, what: str, known: Sequence[str] = DTYPES) -> str:
        """torch's word for the type."""
        word = "" if dtype is None else _DTYPE_OF_IR.get(dtype.name, dtype.name.lower())
        if word not in known:
            way_out = "cast it before, or pass float32 and build with precision='BF16'"
            raise UnsupportedError(f"{what} is {word or 'of no type'}: expected {', '.join(known)}; {way_out}.")
        return word

    def _inner(self, dtype: str) -> str:
        return self._float if dtype == "float32" else dtype

    def _constant(self, value: ir.Value) -> None:
        """An initializer, or what a Constant holds."""
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or tensor.dtype == ir.DataType.STRING:
            raise UnsupportedError(f"Constant {value.name!r} holds no dense numbers: there are no others here.")
        dtype = self._inner(self._dtype(tensor.dtype, f"constant {value.name!r}"))
        array = np.array(tensor.numpy(), np.float32 if dtype == "bfloat16" else None, order="C")  # numpy has it not
        self._derived(self._name(value), torch.from_numpy(array).to(getattr(torch, dtype)))

    def _derived(self, name: str, weight: torch.Tensor) -> str:
        """A weight, perhaps made from others, once."""
        if name not in self.weights:
            self.weights[name] = weight.contiguous()
            self.specs[name] = TensorSpec(dtype=str(weight.dtype)[6:], shape=tuple(weight.shape))
        return name

    def _cast(self, name: str, new: str, to: str) -> str:
        """In another precision, inputs are cast first, and outputs last."""
        self.specs[new] = TensorSpec(dtype=to, shape=self.specs[name].shape)
        self._emit("Cast", "pointwise", [name], [new], {"program": [["Cast", [0], {"to": to}]], "results": [1]})
        return new

    # nodes

    def _node(self, node: ir.Node) -> None:
        """One kernel for a node that a rule made; a Split behind it, or what fits no kernel, is an operator."""
        inside, self._prefix = body(node), ""
        if inside is not None:
            self._names |= {inner: self._name(v) for inner, v in zip(inside.inputs, node.inputs, strict=True)}
            for inner, outer in zip(inside.outputs, node.outputs, strict=True):
                self._names[outer] = self._name(inner, str(outer.name))
            self._prefix = f"{node.name}/"
        for inner_node in filter(is_data, [node] if inside is None else inside):
            self._constant(inner_node.outputs[0])
        (first, epilogue, rest), nodes = parts(node), tuple(origins(node))
        heavy = None if first is None else self._op(first)
        ops = [op for n in epilogue for op in self._spread(self._op(n))]
        if heavy is not None and [n.op_type for n in rest] == ["Softmax", "MatMul"]:
            softmax, mix = map(self._op, rest)
            if self._attention([heavy, *ops, softmax, mix], nodes):
                return
        if heavy is not None:
            self._heavy(heavy, ops, nodes)
        elif ops:
            self._pointwise(ops, {self._names[v] for v in node.outputs if v in self._names}, nodes)
        for behind in rest:
            self._operator(self._op(behind), nodes, {"in_place": 1} if is_in_place_concat(node) else {})

    def _op(self, node: ir.Node) -> Op:
        if node.domain not in STANDARD or node.op_type not in CLAIMED:
            name, known = f"{node.domain}.{node.op_type}".removeprefix("."), ", ".join(sorted(CLAIMED))
            raise UnsupportedError(
                f"Operator {name} is not one of the glass box's: {known}. It makes {node.outputs[0].name!r}."
            )
        inputs, outputs = (tuple(self._name(v) for v in values) for values in (node.inputs, node.outputs))
        attributes = {name: self._plain(node, a) for name, a in node.attributes.items() if name not in _IGNORED}
        if node.op_type in OPERATORS and takes(node.op_type, "opset"):
            attributes["opset"] = opset(node) if node.graph is not None else 13
        flag = self.weights.get(inputs[2]) if node.op_type == "Dropout" and any(inputs[2:]) else torch.zeros(1)
        trains = flag is None or flag.item()
        if node.op_type == "BatchNormalization":
            trains = attributes.pop("training_mode", 0) or not attributes.pop("spatial", 1) or any(outputs[1:])
        if trains:
            way_out = "the glass box only infers; make training_mode a false constant"
            raise UnsupportedError(f"{node.op_type} may be in training mode: {way_out}.")
        return Op(node.op_type, inputs, outputs, attributes)

    def _plain(self, node: ir.Node, attribute: ir.Attr) -> Any:
        value = attribute.value
        what = f"Attribute {attribute.name} of the {node.op_type} that makes {node.outputs[0].name!r}"
        if node.op_type == "Cast" and attribute.name == "to":
            return self._inner(self._dtype(ir.DataType(value), what))
        if attribute.type == ir.AttributeType.TENSOR and value.size == 1:
            dtype = self._inner(self._dtype(value.dtype, what))
            return {"number": value.numpy().reshape(()).item(), "dtype": dtype}
        if attribute.type.name in ("INT", "FLOAT", "STRING", "INTS", "FLOATS"):
            return [*value] if attribute.type.name.endswith("S") else value
        raise UnsupportedError(f"{what} is a {attribute.type}: use numbers.")

    # steps

    def _emit(
        self, name: str, kernel: str, inputs: Sequence[str], results: Sequence[str], attributes: Mapping[str, Any],
        nodes: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        ends: dict[str, Any] = {"inputs": tuple(inputs), "outputs": tuple(results)}
        self.steps.append(Step(name=name, kernel=kernel, **ends, attributes=attributes, nodes=nodes))

    def _operator(self, op: Op, nodes: tuple[str, ...], decided: Mapping[str, Any]) -> None:
        if strange := sorted(name for name in op.attributes if not takes(op.kind, name)):
            raise UnsupportedError(f"{op.kind} has attribute {strange[0]!r}, which the glass box does not know.")
        outputs = op.outputs if op.kind == "Split" else [name for name in op.outputs if name]
        if outputs[1:] and op.kind != "Split":
            raise UnsupportedError(f"{op.kind} is asked for {len(outputs)} results: the glass box makes the first.")
        if op.kind == "MaxPool":
            self._emit(op.kind, "maxpool", op.inputs, outputs, op.attributes, nodes)
        elif op.kind != "DequantizeLinear" or not self._dequantized(op):
            attributes = {"operator": op.kind, **op.attributes, **decided}
            self._emit(op.kind, "operator", op.inputs, outputs, attributes, nodes)

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
        """A convolution or product, and its epilogue as a chain: 0 is the number so far, 1 the first other tensor. Its
        name leaves out a bias and constant factors."""
        kernel, operands, bias, attributes = self._product(op)
        kernel, operands, more = self._in_codes(kernel, operands, op.outputs[0])
        words, others, chain = [attributes.get("operator", kernel)], dict[str, int](), list[Any]()
        result = op.outputs[0]
        for then in [Op("Add", (result, bias), op.outputs, {})] * bool(bias) + [*epilogue]:
            reads = [0 if n == result else others.setdefault(n, len(others) + 1) if n else None for n in then.inputs]
            chain.append([then.kind, reads, then.attributes])
            if then.kind not in JOINING or not self.weights.keys() >= {*then.inputs} - {result}:
                words.append(then.kind)
            result = then.outputs[0]
        attributes |= more | ({"epilogue": chain} if chain else {})
        self._emit(" ".join(words), kernel, [*operands, *others], [result], attributes, nodes)

    def _attention(self, ops: Sequence[Op], nodes: tuple[str, ...]) -> bool:
        """Scores, their scale and a mask, softmax and the mean of values as one kernel, where that is what they are."""
        (scores, *between, softmax, mix), scale, masks = ops, 1.0, list[str]()
        axis = softmax.attributes.get("axis", 1 if softmax.attributes["opset"] < 13 else -1)
        rank = len(self.specs[softmax.inputs[0]].shape or ())
        known = scores.kind == "MatMul" and axis in (-1, rank - 1) and rank > 0
        for before, op in itertools.pairwise(ops):
            reads = before.outputs[0]
            other = op.inputs[-1] if op.inputs[0] == reads else op.inputs[0] if op.kind in ("Add", "Mul") else ""
            weight, known = self.weights.get(other), known and op.inputs.count(reads) == 1
            number = weight.item() if weight is not None and weight.numel() == 1 else 0.0
            if op.kind == "Add" and not masks:
                masks.append(other)
            elif op in between and op.kind in ("Div", "Mul") and not masks and number:
                scale = scale / number if op.kind == "Div" else scale * number
            else:
                known = known and op in (softmax, mix) and op.inputs[0] == reads
        if known:
            operands = [*scores.inputs, mix.inputs[1], *masks]
            self._emit("attention", "attention", operands, mix.outputs, {"scale": scale}, nodes)
        return known

    def _product(self, op: Op) -> tuple[str, Sequence[str], str, dict[str, Any]]:
        """(kernel, operands, a bias to add first or "", attributes)."""
        inputs, attributes, weights = (*op.inputs, "", "")[:3], dict(op.attributes), self.weights
        if op.kind == "MatMul":
            return "matmul", inputs[:2], "", {}
        if op.kind == "Conv":
            rank = len(self.specs[inputs[1]].shape or ())
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
        rank = len(self.specs[w].shape or ())
        leaves = s.numel() == 1 and (t.numel() == 1 or axis % rank == (0 if is_conv else rank - 1))
        if not leaves or (is_conv and w not in self.weights):
            return kernel, operands, {}
        scale = (s.float() * t.float()).reshape(-1, *[1] * (rank - 2 if is_conv else 0))
        codes = [x, w, self._derived(f"scale of {result}", scale)]
        return f"int8 {kernel}", codes, {"dtype": self.specs[result].dtype or self._float}

    def _pointwise(self, ops: Sequence[Op], outputs: set[str], nodes: tuple[str, ...]) -> None:
        """Elementwise operators as one program: inputs are its first registers, each instruction writes the next."""
        made = {op.outputs[0] for op in ops}
        inputs = list(dict.fromkeys(n for op in ops for n in op.inputs if n and n not in made))
        register, program = {name: number for number, name in enumerate(inputs)}, list[Any]()
        for op in ops:
            program.append([op.kind, [register[n] if n else None for n in op.inputs], op.attributes])
            register[op.outputs[0]] = len(inputs) + len(program) - 1
        results = [name for name in dict.fromkeys(op.outputs[0] for op in ops) if name in outputs]
        attributes = {"program": program, "results": [register[r] for r in results]}
        self._emit(" ".join(op.kind for op in ops), "pointwise", inputs, results, attributes, nodes)

    def _spread(self, op: Op) -> list[Op]:
        """The operator; a batch normalisation of constants is a factor and a sum for each channel."""
        spec = self.specs.get(op.inputs[0])
        constant = op.kind == "BatchNormalization" and all(n in self.weights for n in op.inputs[1:])
        if not constant or spec is None or spec.shape is None:
            return [op]
        scale, shift, mean, var = (self.weights[n].double() for n in op.inputs[1:])
        factor, shape = scale / torch.sqrt(var + op.attributes.get("epsilon", 1e-5)), (-1, *[1] * (len(spec.shape) - 2))
        numbers = {"factor": factor, "summand": shift - mean * factor}
        key, dtype = f"{' '.join(op.inputs[1:])} of rank {len(spec.shape)}", getattr(torch, spec.dtype)
        a, b = (self._derived(f"{what} of {key}", v.to(dtype).reshape(shape)) for what, v in numbers.items())
        return [Op("Mul", (op.inputs[0], a), op.outputs, {}), Op("Add", (op.outputs[0], b), op.outputs, {})]


def _spec(value: ir.Value, dtype: str) -> TensorSpec:
    """What ONNX knows of a value."""
    shape = value.shape
    return TensorSpec(dtype=dtype, shape=tuple(shape.numpy()) if shape is not None and shape.is_static() else None)
