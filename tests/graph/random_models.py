"""Random models for the rewriter and the glass box: seeded, valid, small, of every shape.

`random_model(seed)` is a model and inputs for it: ranks 0 to 5, empty axes, symbolic sizes, optional inputs left out or
empty, twins, products side by side, If, Loop and Scan whose names shadow outer ones, opsets 7 to 22. Every node runs
alone in ONNX Runtime as it is added, so that shapes are what they are, and what ONNX Runtime refuses is left out.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FLOATS, WHOLE = (np.dtype("float32"),), (np.dtype("int64"), np.dtype("int32"))
LARGEST = 1e6
"""Numbers stay below it, and tensors below 5000 of them."""
UNARY = "Relu Neg Abs Exp Sigmoid Tanh Softplus Identity Dropout Sqrt Sin LeakyRelu Elu HardSigmoid Selu Erf".split()
JUMPS = "Floor Ceil Sign Round Not ArgMax Hardmax Equal Less Greater QuantizeLinear Cast IsNaN Mod Div".split()
"""Operators that turn a rounding error into another number: they read only what is exact."""
INEXACT = "Conv ConvTranspose MatMul Gemm BatchNormalization".split()
FULL = {*INEXACT, "MaxPool", "AveragePool", "LRN", "InstanceNormalization", "LayerNormalization"}
REDUCTIONS = "ReduceSum ReduceMax ReduceMean ReduceMin ReduceProd ReduceL2 ReduceSumSquare ReduceL1".split()
BINARY = "Add Sub Mul Max Min Sum Mean PRelu Div Pow".split()
SINCE = {}
for schema in onnx.defs.get_all_schemas_with_history():
    SINCE[schema.name] = min(schema.since_version, SINCE.get(schema.name, 99)) if schema.domain == "" else 99
ODD_NAMES = ["n", "a + b", "a\nb", "a", "b", "Conv_0", "n + a", "val_1", "Relu_2"]
KINDS = "unary binary binary product product again again constant move move reduce normal pool logic inner".split()


def run(model, feeds):
    """The outputs by name, computed by ONNX Runtime without optimisations of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(None, {v.name: feeds[v.name] for v in opened.get_inputs()}), strict=True))


def is_small(array):
    """Whether it is a tensor, few enough numbers, and none of them large."""
    is_plain = isinstance(array, np.ndarray) and array.dtype.kind in "fib" and array.size <= 5000 and array.ndim <= 6
    return is_plain and (array.dtype.kind != "f" or (np.abs(array) < LARGEST).all())


def random_model(seed, nodes=12, operators=None):
    """(model, feeds). `operators` restricts it to these names."""
    maker = Maker(seed, operators)
    tries = 0
    while len([n for n in maker.nodes if "Constant" not in n.op_type]) < nodes and tries < 8 * nodes:
        tries += 1
        getattr(maker, maker.any(KINDS))()
    return maker.model()


class Maker:
    """A model that grows: the arrays of all its tensors for one run, and which of them carry rounding errors."""

    def __init__(self, seed, operators=None):
        self.rng = np.random.default_rng(seed)
        self.seed, self.operators, self.named = seed, operators, 0
        self.opset = int(self.rng.integers(7, 23))
        self.nodes, self.inputs, self.weights, self.arrays, self.rough = [], [], {}, {}, set()
        self.symbolic = self.rng.random() < 0.4
        self.sizes = [1, 2, 3, 4, 5] + [0] * (self.rng.random() < 0.2)
        for _ in range(int(self.rng.integers(1, 4))):
            self.input(self.draw(FLOATS[0], self.shape()))

    # --- drawing ---
    def any(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def maybe(self, chance=0.5):
        return self.rng.random() < chance

    def shape(self, rank=None):
        rank = int(self.rng.choice(6, p=[0.1, 0.2, 0.2, 0.25, 0.2, 0.05])) if rank is None else rank
        return [int(self.rng.choice(self.sizes)) for _ in range(rank)]

    def draw(self, dtype, shape):
        """Quarters between -3 and 3: sums and products of them are exact in float32."""
        if dtype.kind == "b":
            return self.rng.random(shape) < 0.5
        array = self.rng.integers(-12, 13, shape) / 4 if dtype.kind == "f" else self.rng.integers(-3, 4, shape)
        return np.asarray(array).astype(dtype)

    def name(self):
        self.named += 1
        return f"v{self.named}"

    def input(self, array):
        name = self.name()
        self.arrays[name], _ = np.asarray(array), self.inputs.append(name)
        return name

    def weight(self, array):
        """A constant in one of its forms: an initializer, a node, or a ConstantOfShape."""
        array, name = np.asarray(array), self.name()
        form = self.rng.random()
        if form < 0.1 and self.opset >= 9 and array.size and self.takes("ConstantOfShape"):
            value = numpy_helper.from_array(array.reshape(-1)[:1])
            return self.node("ConstantOfShape", [self.weight(np.array(array.shape, np.int64))], value=value)
        if form < 0.25 and self.takes("Constant") and (self.opset >= 9 or array.dtype.kind == "f"):
            return self.node("Constant", [], value=numpy_helper.from_array(array))
        self.arrays[name] = self.weights[name] = array
        return name

    def pick(self, kind="f", rank=None, least=0, most=6):
        """A tensor that is there, or a new input or constant."""
        fits = [
            n for n, a in self.arrays.items()
            if a.dtype.kind == kind and least <= a.ndim <= most and (rank is None or a.ndim == rank)
        ]  # fmt: skip
        if fits and self.maybe(0.9):
            return fits[-1 - min(int(self.rng.exponential(3)), len(fits) - 1)]
        rank = int(self.rng.integers(least, min(most, 5) + 1)) if rank is None else rank
        dtype = {"f": FLOATS[0], "i": self.any(WHOLE), "b": np.dtype(bool)}[kind]
        array = self.draw(dtype, self.shape(rank))
        return self.input(array) if self.maybe(0.3) else self.weight(array)

    def axis(self, name):
        rank = max(self.arrays[name].ndim, 1)
        return int(self.rng.integers(-rank if self.opset >= 11 else 0, rank))

    def takes(self, op):
        return (self.operators is None or op in self.operators) and SINCE[op] <= self.opset

    # --- adding a node ---
    def node(self, op, inputs, outputs=1, **attributes):
        """The first output of the node, or None if ONNX Runtime refuses it, or it is not for a random model."""
        read = [name for name in inputs if name]
        jumps = op in JUMPS and any(name in self.rough for name in read)
        if jumps or not self.takes(op) or None in inputs:
            return None
        if op in FULL and not all(self.arrays[name].size for name in read):
            return None  # ONNX Runtime's convolution of nothing ends the process
        given = {k: v for k, v in attributes.items() if v is not None and v != []}
        node = helper.make_node(op, inputs, [self.name() for _ in range(outputs)], **given)
        node.name = self.any(["", "", *(n for n in ODD_NAMES if n not in {node.name for node in self.nodes})])
        return self.add(node, read)

    def add(self, node, read):
        feeds = {name: self.arrays[name] for name in read}
        try:
            made = run(self.wrap([node], feeds, list(node.output)), feeds)
        except Exception:  # noqa: BLE001 (its errors have no base of their own)
            return None
        if not all(map(is_small, made.values())):
            return None
        self.nodes.append(node)
        self.arrays |= made
        if node.op_type in INEXACT or any(name in self.rough for name in read):
            self.rough |= made.keys()
        return node.output[0]

    def wrap(self, nodes, feeds, outputs, weights=(), infos=None):
        ends = infos or [onnx.ValueInfoProto(name=name) for name in outputs]
        starts = [self.info(name, array) for name, array in feeds.items()]
        graph = helper.make_graph(nodes, f"random {self.seed}", starts, ends, list(weights))
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8 if self.opset < 20 else 10)

    def info(self, name, array, symbol=None):
        shape = [symbol(size, at) if symbol else size for at, size in enumerate(array.shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    def model(self):
        """What has grown, with one to three outputs; sizes of inputs are symbols in some, of outputs in most."""
        made = [name for node in self.nodes for name in node.output if self.arrays[name].size] or self.inputs[:1]
        ends = list(dict.fromkeys([made[-1], *(self.any(made) for _ in range(int(self.rng.integers(0, 3))))]))
        outputs = [self.info(n, self.arrays[n], lambda _, at, n=n: f"{n}_{at}") for n in ends]
        feeds = {name: self.arrays[name] for name in self.inputs}
        weights = [numpy_helper.from_array(array, name) for name, array in self.weights.items()]
        model = self.wrap(self.nodes, feeds, ends, weights, outputs)
        if self.symbolic:
            for value in model.graph.input:
                for dim in value.type.tensor_type.shape.dim:
                    if self.maybe():
                        dim.dim_param = f"n{dim.dim_value}"
        return model, feeds

    # --- kinds of nodes ---
    def unary(self):
        op, x = self.any([*UNARY, "Clip", "Cast"]), self.pick()
        more = {"alpha": self.any([None, 0.0, -0.0, 0.25])} if op == "LeakyRelu" else {}
        if op == "Clip" and self.opset >= 11:
            ends = [self.any(["", None]), self.any(["", None])]
            ends = [self.weight(np.float32(v)) if end is None else end for end, v in zip(ends, (-1, 2), strict=True)]
            return self.node(op, [x, *ends][: int(self.rng.integers(1, 4))])
        if op == "Cast":
            more = {"to": self.any([TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.BOOL])}
        return self.node(op, [x], outputs=2 if op == "Dropout" and self.maybe(0.3) else 1, **more)

    def binary(self):
        op, x = self.any(BINARY), self.pick(self.any("ffffi"))
        other = self.pick(self.arrays[x].dtype.kind)
        if self.maybe():  # what broadcasts for sure
            shape = [size if self.maybe(0.7) else 1 for size in self.arrays[x].shape]
            other = self.weight(self.draw(self.arrays[x].dtype, shape[int(self.rng.integers(0, len(shape) + 1)) :]))
        if op == "Pow":
            other = self.weight(np.array(2, self.arrays[x].dtype))
        names = [x, other] if self.maybe(0.8) or op in {"PRelu", "Pow", "Sub", "Div"} else [other, x]
        if self.arrays[x].dtype.kind == "i" and op in {"Div", "Pow"}:
            return None  # a division by zero of whole numbers ends the process
        if op == "PRelu" and self.arrays[other].ndim > self.arrays[x].ndim:
            return None  # ONNX Runtime broadcasts the wrong way too
        return self.node(op, names)

    def product(self):
        op = self.any(["Conv", "Conv", "MatMul", "MatMul", "Gemm", "ConvTranspose"])
        if op in {"MatMul", "Gemm"}:
            x = self.pick(least=1) if op == "MatMul" else self.pick(rank=2)
            length, wide = self.arrays[x].shape[-1], int(self.rng.integers(1, 5))
            if op == "MatMul":
                other = self.pick(least=1) if self.maybe(0.2) else self.weight(self.draw(FLOATS[0], [length, wide]))
                return self.node(op, [x, other])
            turned, flat = self.maybe(), self.maybe(0.2)
            length = self.arrays[x].shape[0] if flat else length
            w = self.weight(self.draw(FLOATS[0], [wide, length] if turned else [length, wide]))
            bias = self.weight(self.draw(FLOATS[0], self.any([[wide], [1], [], [1, wide]])))
            bias = self.any([[], [bias], [bias], [w]] + [[""]] * (self.opset >= 11))
            more = {"transB": int(turned), "transA": int(flat), "alpha": self.any([None, 0.5])}
            return self.node(op, [x, w, *bias], **more)
        x = self.pick(least=3, most=5)
        lead, spatial = self.arrays[x].shape[1], self.arrays[x].ndim - 2
        group = lead if self.maybe(0.2) and lead else 1
        kernel = [int(self.rng.integers(1, 4)) for _ in range(spatial)]
        wide = group * int(self.rng.integers(1, 4))
        shape = [wide, lead // group] if op == "Conv" else [lead, wide // group]
        w, b = (self.weight(self.draw(FLOATS[0], s)) for s in (shape + kernel, [wide]))
        bias = self.any([[], [b], [b], [""]])
        more = {"group": group if group > 1 else None, "strides": self.any([None, [2] * spatial])}
        more |= self.any([{}, {"auto_pad": "SAME_UPPER"}, {"pads": [1, 0] * spatial}, {"auto_pad": "VALID"}])
        more["kernel_shape"] = self.any([None, kernel])
        return self.node(op, [x, w, *bias], **more)

    def again(self):
        """A node once more: the same, or with other constants of the same shapes."""
        if not self.nodes or (node := self.any(self.nodes)).op_type in {"If", "Loop", "Scan", "Constant"}:
            return None
        inputs = list(node.input)
        if self.maybe(0.7):
            fresh = lambda a: self.weight(self.draw(a.dtype, a.shape))  # noqa: E731
            floats = [n for n in inputs if n in self.weights and self.weights[n].dtype.kind == "f"]
            new = {n: fresh(self.weights[n]) for n in floats}
            inputs = [new.get(n, n) for n in inputs]
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.input[:], twin.name = inputs, ""
        twin.output[:] = [old and self.name() for old in node.output]
        return None if None in inputs else self.add(twin, [name for name in inputs if name])

    def constant(self):
        """Work on constants alone."""
        x = self.weight(self.draw(self.any([*FLOATS, *WHOLE]), self.shape()))
        kept, self.pick = self.pick, lambda *_, **__: x
        try:
            self.any([self.unary, self.binary, self.move, self.reduce, self.normal, self.logic])()
        finally:
            self.pick = kept

    def move(self):
        op = self.any(
            "Transpose Transpose Reshape Flatten Shape Size Squeeze Unsqueeze Slice Split Pad Gather Concat Concat "
            "Expand Tile Identity Where Range DepthToSpace".split()
        )
        x = self.pick(self.any("fffi"))
        array, axis = self.arrays[x], self.axis(x)
        whole = lambda *values: self.weight(np.array(values, np.int64))  # noqa: E731
        if op == "Transpose":
            return self.node(op, [x], perm=self.any([None, [int(n) for n in self.rng.permutation(array.ndim)]]))
        if op == "Reshape":
            if self.maybe(0.3) and self.takes("Shape"):  # to the shape of something
                return self.node(op, [x, self.node("Shape", [self.any(list(self.arrays))])])
            return self.node(op, [x, whole(*self.any([array.shape[::-1], (-1,), (0, -1), (1, *array.shape)]))])
        if op in {"Squeeze", "Unsqueeze"}:
            axes = [n for n, size in enumerate(array.shape) if size == 1] if op == "Squeeze" else [abs(axis)]
            return self.node(op, [x, whole(*axes)]) if self.opset >= 13 else self.node(op, [x], axes=axes)
        if op == "Slice":
            starts, ends = [int(self.rng.integers(-2, 2))], [int(self.rng.integers(0, 5))]
            if self.opset < 10:
                return self.node(op, [x], starts=starts, ends=ends, axes=[abs(axis)])
            more = [whole(axis), whole(self.any([1, 2, -1]))][: int(self.rng.integers(0, 3))]
            return self.node(op, [x, whole(*starts), whole(*ends), *more])
        if op == "Split" and array.ndim:
            first = int(self.rng.integers(0, array.shape[axis] + 1))
            sizes = [first, array.shape[axis] - first]
            if self.opset < 13:
                return self.node(op, [x], 2, axis=axis, split=sizes)
            return self.node(op, [x, whole(*sizes)], 2, axis=axis)
        if op == "Pad":
            pads = [int(n) for n in self.rng.integers(0, 2, 2 * array.ndim)]
            return self.node(op, [x, whole(*pads)]) if self.opset >= 11 else self.node(op, [x], pads=pads)
        if op == "Gather":
            return self.node(op, [x, self.any([whole(0), whole(), whole(0, 0)])], axis=axis)
        if op == "Concat":
            fits = [n for n, a in self.arrays.items() if (a.dtype, a.ndim) == (array.dtype, array.ndim)]
            return self.node(op, [x, *(self.any(fits) for _ in range(int(self.rng.integers(1, 3))))], axis=axis)
        if op in {"Expand", "Tile"}:
            return self.node(op, [x, whole(*(self.any([1, 1, 2]) for _ in array.shape))])
        if op == "Where":
            return self.node(op, [self.pick("b"), x, self.pick(array.dtype.kind)])
        if op == "Range":
            return self.node(op, [whole()[:0] or self.weight(np.int64(n)) for n in (0, 4, 1)])
        more = {"blocksize": 2} if op == "DepthToSpace" else {"axis": abs(axis)} if op == "Flatten" else {}
        return self.node(op, [x], **more)

    def reduce(self):
        op, x = self.any([*REDUCTIONS, "ArgMax"]), self.pick()
        of_scalar = not self.arrays[x].ndim  # which has no axis, though ONNX Runtime takes -1
        keep, axes = self.any([None, 0, 1]), None if of_scalar else self.any([None, [self.axis(x)]])
        if op == "ArgMax":
            return self.node(op, [x], axis=self.axis(x), keepdims=keep)
        if self.opset >= 18 or (op == "ReduceSum" and self.opset >= 13):
            return self.node(op, [x, *([self.weight(np.array(axes, np.int64))] if axes else [])], keepdims=keep)
        return self.node(op, [x], keepdims=keep, axes=axes)

    def normal(self):
        ops = "Softmax LogSoftmax Hardmax BatchNormalization BatchNormalization InstanceNormalization LRN".split()
        op, x = self.any([*ops, "LayerNormalization"]), self.pick()
        if op in {"Softmax", "LogSoftmax", "Hardmax"}:
            return self.node(op, [x], axis=self.any([None, self.axis(x)]))
        if op == "LRN":
            return self.node(op, [x], size=3)
        if op == "LayerNormalization":
            scale = self.weight(self.draw(FLOATS[0], self.arrays[x].shape[-1:]))
            return self.node(op, [x, scale, *self.any([[], [""], [scale]])])
        if self.maybe():  # behind a convolution
            x = next((n.output[0] for n in reversed(self.nodes) if n.op_type == "Conv"), x)
        channels = self.arrays[x].shape[1:2]
        scale, shift, mean = (self.weight(self.draw(FLOATS[0], channels)) for _ in range(3))
        if op == "InstanceNormalization":
            return self.node(op, [x, scale, shift])
        var = self.weight(np.abs(self.draw(FLOATS[0], channels)) + np.float32(0.5))
        return self.node(op, [x, scale, shift, mean, var], epsilon=self.any([None, 0.5]))

    def pool(self):
        op, x = self.any(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"]), self.pick(least=3, most=5)
        spatial = self.arrays[x].ndim - 2
        if op.startswith("Global"):
            return self.node(op, [x])
        more = {"strides": self.any([None, [2] * spatial, [3] * spatial]), "ceil_mode": 1}
        more |= self.any([{}, {"pads": [1] * 2 * spatial}, {"auto_pad": "SAME_LOWER"}])
        more["ceil_mode"] = self.any([None, 1]) if self.opset >= 10 else None
        return self.node(op, [x], 2 if op == "MaxPool" and self.maybe(0.2) else 1, kernel_shape=[2] * spatial, **more)

    def logic(self):
        op = self.any("Equal Less Greater And Or Not Floor Ceil Sign Round IsNaN Mod QuantizeLinear".split())
        if op in {"And", "Or", "Not"}:
            return self.node(op, [self.pick("b") for _ in range(1 if op == "Not" else 2)])
        x = self.pick()
        if op in {"Equal", "Less", "Greater", "Mod"}:
            return self.node(op, [x, self.any([x, self.pick()])], fmod=1 if op == "Mod" else None)
        if op == "QuantizeLinear":
            scale = self.weight(np.float32(0.25))
            q = self.node(op, [x, scale, *self.any([[], [self.weight(np.int8(3))]])])
            return self.node("DequantizeLinear", [q, scale, *self.nodes[-1].input[2:]]) if q else None
        return self.node(op, [x])

    # --- graphs inside nodes ---
    def inner(self):
        return self.any([self.branch, self.loop, self.scan])()

    def captured(self):
        """Two outer tensors of float32."""
        names = [name for name, array in self.arrays.items() if array.dtype == FLOATS[0]]
        return [self.any(names[-4:]) for _ in range(2)]

    def body(self, op, inputs, outputs, infos, weights=(), extra=()):
        """A graph of one operator; its own names shadow outer ones in many."""
        nodes = [helper.make_node(op, inputs, [outputs[-1]]), *extra]
        ends = [onnx.ValueInfoProto(name=name) for name in outputs]
        for end, like in zip(ends, outputs, strict=True):
            end.type.tensor_type.elem_type = TensorProto.BOOL if like.endswith("go") else TensorProto.FLOAT
        return helper.make_graph(nodes, "inner", infos, ends, list(weights))

    def branch(self):
        a, b = self.captured()
        flag = self.input(np.array(self.maybe())) if self.maybe(0.7) else self.weight(np.array(self.maybe()))
        taken, sides = self.name(), []
        for side, op in (("then", "Add"), ("else", self.any(["Mul", "Sub"]))):
            # may shadow; but what the other branch captures comes before a branch's own in ONNX Runtime
            own = self.any([name for name in [f"w{taken}{side}", *self.arrays] if name not in {a, b}])
            weights = [numpy_helper.from_array(self.draw(FLOATS[0], []), own)]
            inputs = [a, self.any([b, own])]
            sides.append((self.body(op, inputs, [f"b{taken}{side}"], [], weights), inputs, own))
        read = {flag} | {n for _, names, own in sides for n in names if n != own}
        node = helper.make_node("If", [flag], [taken], then_branch=sides[0][0], else_branch=sides[1][0])
        return self.add(node, read) if self.takes("If") else None

    def loop(self):
        (a, _), start = self.captured(), self.pick()
        taken = self.name()
        state, go = self.any([n for n in [f"s{taken}", *self.arrays] if n != a]), f"l{taken}go"
        infos = [helper.make_tensor_value_info(f"i{taken}", TensorProto.INT64, [])]
        infos += [helper.make_tensor_value_info(f"c{taken}go", TensorProto.BOOL, [])]
        infos += [helper.make_tensor_value_info(state, TensorProto.FLOAT, None)]
        extra = [helper.make_node("Identity", [f"c{taken}go"], [go])]
        body = self.body(self.any(["Add", "Sub", "Max"]), [state, a], [go, f"o{taken}"], infos, extra=extra)
        count = self.weight(np.int64(self.rng.integers(0, 4)))
        node = helper.make_node("Loop", [count, "", start], [taken], body=body)
        return self.add(node, {count, start, a}) if self.takes("Loop") else None

    def scan(self):
        (a, _), rows = self.captured(), self.pick(least=1)
        taken = self.name()
        row = self.any([n for n in [f"r{taken}", *self.arrays] if n != a])
        infos = [helper.make_tensor_value_info(row, TensorProto.FLOAT, None)]
        body = self.body(self.any(["Add", "Mul"]), [row, a], [f"o{taken}"], infos)
        node = helper.make_node("Scan", [rows], [taken], body=body, num_scan_inputs=1)
        return self.add(node, {rows, a}) if self.takes("Scan") and self.opset >= 9 else None
