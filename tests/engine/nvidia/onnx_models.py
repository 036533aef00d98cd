"""Small ONNX graphs, written by hand in ONNX's own text form, for tests of NVIDIA's compilers.

Exporters fold BatchNormalization, constants and dropout before the compiler sees them; these graphs keep them.
`make(text, w=(4, 3, 3, 3))` parses a graph and adds weights: a shape gives seeded random values, an array itself.
"""

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

HEAD = '<ir_version: 10, opset_import: ["": {opset}]>\n'


def make(text, *, opset=21, **weights):
    """A ModelProto from the text of a graph and its weights."""
    model = onnx.parser.parse_model(HEAD.format(opset=opset) + text)
    random = np.random.default_rng(0)
    for name, weight in weights.items():
        if isinstance(weight, tuple):
            weight = random.normal(size=weight, scale=0.1).astype(np.float32)
        tensor = weight if isinstance(weight, TensorProto) else numpy_helper.from_array(np.asarray(weight), name)
        model.graph.initializer.append(tensor)
    return model


def conv_bn_relu(names=("conv1", "bn1", "relu1", "conv2")):
    """Vertical fusion: Conv, BatchNormalization and Relu become one kernel; the second Conv keeps the layout."""
    model = make(
        """g (float[1, 16, 16, 16] x) => (float[1, 16, 16, 16] y) {
            c = Conv<pads = [1, 1, 1, 1]>(x, w)
            b = BatchNormalization(c, scale, bias, mean, var)
            r = Relu(b)
            y = Conv<pads = [1, 1, 1, 1]>(r, w2)
        }""",
        w=(16, 16, 3, 3), w2=(16, 16, 3, 3), scale=(16,), bias=(16,), mean=(16,),
        var=np.linspace(0.5, 1.5, 16, dtype=np.float32),
    )  # fmt: skip
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    return model


def pointwise():
    """Pointwise fusion: relu(a * b + c)."""
    return make(
        """g (float[8, 64] a, float[8, 64] b, float[8, 64] c) => (float[8, 64] y) {
            [mul] m = Mul(a, b)
            [add] s = Add(m, c)
            [relu] y = Relu(s)
        }"""
    )


def parallel_convs(branches=3, size=64, channels=16, kernel=1):
    """Parallel convolutions on one input, joined by a Concat: one stream each."""
    letters = [f"c{i}" for i in range(branches)]
    pads = [kernel // 2] * 4
    body = "\n".join(f"[conv{i}] c{i} = Conv<pads = {pads}>(x, w{i})" for i in range(branches))
    return make(
        f"""g (float[1, {channels}, {size}, {size}] x) => (float[1, {branches * channels}, {size}, {size}] y) {{
            {body}
            [join] y = Concat<axis = 1>({", ".join(letters)})
        }}""",
        **{f"w{i}": (channels, channels, kernel, kernel) for i in range(branches)},
    )


def parallel_matmuls():
    """Horizontal fusion: three products of one input, joined as for query, key and value."""
    return make(
        """g (float[32, 64] x) => (float[32, 192] y) {
            [q] a = MatMul(x, wq)
            [k] b = MatMul(x, wk)
            [v] c = MatMul(x, wv)
            [join] y = Concat<axis = 1>(a, b, c)
        }""",
        wq=(64, 64), wk=(64, 64), wv=(64, 64),
    )  # fmt: skip


def concat_of_inputs():
    """Nothing writes the parts, so a kernel must copy them."""
    return make("g (float[1, 8] a, float[1, 8] b) => (float[1, 16] y) { [join] y = Concat<axis = 1>(a, b) }")


def dynamic_conv():
    """A free batch axis named N."""
    return make(
        """g (float[N, 3, 8, 8] image) => (float[N, 4, 8, 8] y) {
            [conv1] c = Conv<pads = [1, 1, 1, 1]>(image, w)
            [relu1] y = Relu(c)
        }""",
        w=(4, 3, 3, 3),
    )


def matmul():
    """x @ w in FP32."""
    return make("g (float[32, 64] x) => (float[32, 64] y) { [matmul1] y = MatMul(x, w) }", w=(64, 64))


def mixed_types():
    """FP32 times FP16: `onnx.checker` without shape inference lets it pass, a strongly typed network does not."""
    return make("g (float[8, 8] x) => (float[8, 8] y) { [mixed] y = MatMul(x, w) }", w=np.ones((8, 8), np.float16))


def unknown_op():
    """An operator that exists in no standard."""
    return onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "com.example": 1]>
        g (float[1, 8] x) => (float[1, 8] y) { [mystery] y = com.example.Mystery(x) }"""
    )


def single(op, attributes="", inputs="float[1, 8] x", output="float[1, 8] y", arguments="x", **options):
    """One node named `node1`."""
    return make(f"g ({inputs}) => ({output}) {{ [node1] y = {op}{attributes}({arguments}) }}", **options)


def dropout_in_training_mode():
    return make(
        "g (float[1, 8] x) => (float[1, 8] y) { [drop] y = Dropout(x, ratio, training) }",
        ratio=np.float32(0.5), training=np.array(True),
    )  # fmt: skip


def qdq_conv(zero_point=0):
    """INT8 Q/DQ around a convolution; TensorRT wants every zero point 0."""
    return make(
        """g (float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
            [q1] q = QuantizeLinear(x, s, z)
            [dq1] d = DequantizeLinear(q, s, z)
            [dq2] v = DequantizeLinear(w, t, u)
            [conv1] y = Conv<pads = [1, 1, 1, 1]>(d, v)
        }""",
        s=np.float32(0.05), z=np.int8(zero_point), t=np.float32(0.01), u=np.int8(0),
        w=np.random.default_rng(0).integers(-127, 128, size=(16, 16, 3, 3)).astype(np.int8),
    )  # fmt: skip


def qdq_int32_bias():
    """A bias stored as INT32 behind a DequantizeLinear: what ONNX Runtime's quantiser writes by default."""
    model = qdq_conv()
    model.graph.node.insert(3, helper.make_node("DequantizeLinear", ["b", "tb"], ["bias"], name="dq_bias"))
    model.graph.node[4].input.append("bias")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(16, dtype=np.int32), "b"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.0005), "tb"))
    return model


def fp8_matmul():
    """FP8 Q/DQ on both sides of a MatMul: SM89 and newer."""
    weight = helper.make_tensor("w", TensorProto.FLOAT8E4M3FN, [64, 64], np.full(64 * 64, 0.5))
    zero = helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], [0.0])
    return make(
        """g (float16[32, 64] x) => (float16[32, 64] y) {
            [q1] q = QuantizeLinear(x, s, z)
            [dq1] d = DequantizeLinear(q, s, z)
            [dq2] v = DequantizeLinear(w, s, z)
            [matmul1] y = MatMul(d, v)
        }""",
        s=np.float16(0.05), w=weight, z=zero,
    )  # fmt: skip


def attention(same_query_and_key=False):
    """Opset-23 Attention. With one tensor as query and key, FP16, the builder of tensorrt_rtx 1.7 dies of SIGSEGV."""
    shape, key = "float16[1, 4, 64, 64]", "q" if same_query_and_key else "k"
    inputs = ", ".join(f"{shape} {name}" for name in dict.fromkeys(("q", key, "v")))
    return make(f"g ({inputs}) => ({shape} y) {{ [attention1] y = Attention(q, {key}, v) }}", opset=23)


def if_else():
    """A branch per value of a boolean input."""
    return make(
        """g (bool cond, float[1, 8] x) => (float[1, 8] y) {
            [choose] y = If(cond) <
                then_branch = yes () => (float[1, 8] a) { [then_relu] a = Relu(x) },
                else_branch = no () => (float[1, 8] b) { [else_neg] b = Neg(x) }
            >
        }"""
    )


def loop():
    """Four times v = v + v."""
    return make(
        """g (float[1, 8] x) => (float[1, 8] y) {
            [repeat] y = Loop(trips, go, x) <
                body = step (int64 i, bool more, float[1, 8] v) => (bool again, float[1, 8] w) {
                    [keep] again = Identity(more)
                    [twice] w = Add(v, v)
                }
            >
        }""",
        trips=np.int64(4), go=np.array(True),
    )  # fmt: skip


def external_weights():
    """A convolution whose weight lies in `weights.bin`, and the bytes of that file."""
    model = conv_bn_relu()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    onnx.external_data_helper.set_external_data(tensor, location="weights.bin", offset=0, length=len(data))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return model, data


BATCHES = {"x": ((1, 4), (2, 4), (8, 4))}
X, ONE = "float[N, 4] x", np.int64(1)


def corpus():
    """{name: (model, profiles)}: operators that make the builder print other lines than convolutions do: shapes that
    leave the host, branches, recurrences, sizes known at run time only. Loops, sorts, scans print no other forms."""
    return {
        "shape as output": (make(f"g ({X}) => ({X[:-1]}y, int64[2] z) {{ y = Relu(x) z = Shape(x) }}"), BATCHES),
        "two profiles": (make(f"g ({X}) => (int64[2] z) {{ z = Shape(x) }}"), [BATCHES, BATCHES]),
        "branches of other sizes": (
            make(
                f"""g ({X}) => (float[a, b] y) {{
                    s = Shape(x) n = Gather(s, z) c = Equal(n, o)
                    y = If(c) <
                        then_branch = a () => (float[a, b] p) {{ p = Relu(x) }},
                        else_branch = b () => (float[c, d] q) {{ q = Concat<axis = 0>(x, x) }}
                    >
                }}""",
                z=np.int64(0), o=ONE,
            ),
            BATCHES,
        ),
        "sizes given as values": (
            make("g (float[2, 6] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }"),
            {"s": ((1, 1), (3, 4), (12, 12))},
        ),
        "spectra": (
            make(
                "g (float[1, 400] x) => (float[a, b, c, d] y) { y = STFT(x, st, w) }",
                st=np.int64(160), w=(400,), opset=17,
            ),
            None,
        ),
        "LSTM": (
            make(
                """g (float[L, 2, 4] x) => (float[L, 1, 2, 3] y, float[1, 2, 3] h, float[1, 2, 3] c) {
                    y, h, c = LSTM<hidden_size = 3>(x, w, r)
                }""",
                w=(1, 12, 4), r=(1, 12, 3),
            ),
            {"x": ((1, 2, 4), (3, 2, 4), (9, 2, 4))},
        ),
        "If": (if_else(), None),
    }  # fmt: skip
