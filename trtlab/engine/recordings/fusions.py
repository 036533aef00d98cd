"""engine/recordings/fusions: what NVIDIA's builder makes of small models in which there is something to fuse.

In: a name of graph.models.TEACHING_MODELS, PROBES, REWRITTEN or REFUSED. Out: its model, and the `BuildReport` for
SM89: LIVE, or RECORDED where no compiler can be installed. Compared with builds by tests/engine/test_fusions.py.
"""

import numpy as np
import onnx
import onnx.parser

from trtlab.engine import recordings
from trtlab.engine.nvidia.report import BuildReport

_PIXELS = "float[1,64,56,56]"
_IMAGE = "float[1,8,8,8]"


def _chain(length: int) -> str:
    """Add, Max, Add, ... and a Relu at the end, each on the result of the one before and on a."""
    middle = "".join(f"[n{i}] t{i + 1} = {('Add', 'Max')[i % 2]} (t{i}, a) " for i in range(length - 1))
    return f"(float[64,64] t0, float[64,64] a) => (float[64,64] y) {{ {middle} [last] y = Relu (t{length - 1}) }}"


def _quantized(between: str) -> str:
    """Two INT8 convolutions; `between` turns the result c of the first into the input r of the second."""
    return f"""(float[1,32,16,16] x) => (float[1,32,16,16] y) <float[32,32,3,3] w, float[32,32,3,3] w2,
            float s = {{0.05}}, int8 z = {{0}}> {{
        [qx] a = QuantizeLinear (x, s, z)
        [dqx] b = DequantizeLinear (a, s, z)
        [qw] d = QuantizeLinear (w, s, z)
        [dqw] e = DequantizeLinear (d, s, z)
        [conv] c = Conv <pads = [1,1,1,1]> (b, e)
        {between}
        [qw2] i = QuantizeLinear (w2, s, z)
        [dqw2] j = DequantizeLinear (i, s, z)
        [conv2] y = Conv <pads = [1,1,1,1]> (r, j) }}"""


PROBES = {
    "conv_relu": f"""({_IMAGE} x) => ({_IMAGE} y) <float[8,8,3,3] w, float[8] b> {{
        [conv] c = Conv <pads = [1,1,1,1]> (x, w, b)
        [relu] y = Relu (c) }}""",
    "conv_add_relu": f"""({_IMAGE} x) => ({_IMAGE} y) <float[8,8,3,3] w, float[8,1,1] b> {{
        [conv] c = Conv <pads = [1,1,1,1]> (x, w)
        [bias] d = Add (c, b)
        [relu] y = Relu (d) }}""",
    "conv_relu_shown": f"""({_IMAGE} x) => ({_IMAGE} y, {_IMAGE} c) <float[8,8,3,3] w, float[8] b> {{
        [conv] c = Conv <pads = [1,1,1,1]> (x, w, b)
        [relu] y = Relu (c) }}""",
    "conv_bn_relu_conv": f"""({_IMAGE} x) => ({_IMAGE} y) <float[8,8,3,3] w, float[8,8,3,3] w2, float[8] scale,
            float[8] shift, float[8] mean, float[8] var> {{
        [conv] c = Conv <pads = [1,1,1,1]> (x, w)
        [bn] b = BatchNormalization (c, scale, shift, mean, var)
        [relu] r = Relu (b)
        [conv2] y = Conv <pads = [1,1,1,1]> (r, w2) }}""",
    "conv_identity_bn_relu": f"""({_IMAGE} x) => ({_IMAGE} y) <float[8,8,3,3] w, float[8] half, float[8] gain,
            float[8] shift, float[8] mean, float[8] var> {{
        [conv] c = Conv <pads = [1,1,1,1]> (x, w)
        [identity] i = Identity (c)
        [scale] scale = Mul (half, gain)
        [bn] b = BatchNormalization (i, scale, shift, mean, var)
        [relu] y = Relu (b) }}""",
    "matmul_relu": """(float[256,256] x) => (float[256,256] y) <float[256,256] w> {
        [matmul] c = MatMul (x, w)
        [relu] y = Relu (c) }""",
    "matmul_two_readers": """(float[256,256] x) => (float[256,256] y, float[256,256] z) <float[256,256] w> {
        [matmul] c = MatMul (x, w)
        [relu] y = Relu (c)
        [sigmoid] z = Sigmoid (c) }""",
    "multiply_add_relu_shown": """(float[16,16] a, float[16,16] b, float[16,16] c)
            => (float[16,16] y, float[16,16] ab) {
        [multiply] ab = Mul (a, b)
        [add] sum = Add (ab, c)
        [relu] y = Relu (sum) }""",
    "chain_16": _chain(16),
    "chain_128": _chain(128),
    "wide_inception": f"""({_PIXELS} x) => ({_PIXELS} y) <float[64,64,1,1] w1, float[64] b1, float[64,64,1,1] w2,
            float[64] b2, float[64,64,1,1] w3, float[64] b3, float[64,192,1,1] w4> {{
        [conv1] c1 = Conv (x, w1, b1)
        [relu1] r1 = Relu (c1)
        [conv2] c2 = Conv (x, w2, b2)
        [relu2] r2 = Relu (c2)
        [conv3] c3 = Conv (x, w3, b3)
        [relu3] r3 = Relu (c3)
        [concat] k = Concat <axis = 1> (r1, r2, r3)
        [conv4] y = Conv (k, w4) }}""",
    "raw_concat": f"""({_IMAGE} a, {_IMAGE} b) => (float[1,16,8,8] y) {{
        [concat] y = Concat <axis = 1> (a, b) }}""",
    "pointwise_concat": f"""({_IMAGE} a, {_IMAGE} b) => (float[1,16,8,8] y) {{
        [exp] e = Exp (a)
        [relu] r = Relu (b)
        [concat] y = Concat <axis = 1> (e, r) }}""",
    "matmul_concat": """(float[4,16] a, float[4,16] b) => (float[4,32] y) <float[16,16] v, float[16,16] w> {
        [matmul1] c = MatMul (a, v)
        [matmul2] d = MatMul (b, w)
        [concat] y = Concat <axis = 1> (c, d) }""",
    "qdq_behind_relu": _quantized("""[relu] p = Relu (c)
        [qa] q = QuantizeLinear (p, s, z)
        [dqa] r = DequantizeLinear (q, s, z)"""),
    "qdq_before_relu": _quantized("""[qa] p = QuantizeLinear (c, s, z)
        [dqa] q = DequantizeLinear (p, s, z)
        [relu] r = Relu (q)"""),
}  # fmt: skip
"""Name -> graph, in ONNX's text form. `shown`: a tensor in the middle is an output of the graph as well."""


REWRITTEN: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "conv_bn_relu_folded": ("conv_bn_relu", ("conv_bn_folding",)),
    **{
        f"{name}_rewritten": (name, None)
        for name in ("conv_bn_relu", "inception", "qkv", "residual", "layernorm", "attention")
    },
}
"""Name -> a model above, and the rules of graph.rules that rewrote it before NVIDIA's builder saw it; None is all."""


REFUSED = {
    "dropout_training": """(float[2,8] x) => (float[2,8] y) <float ratio = {0.5}, bool training = {1}> {
        [relu] a = Relu (x)
        [dropout] y = Dropout (a, ratio, training) }""",
}
"""Models that NVIDIA's parser does not take."""


def model(name: str, seed: int = 0) -> onnx.ModelProto:
    """The model of that name; its weights follow from the seed. KeyError names what there is."""
    from trtlab.graph.models import OPSET, TEACHING_MODELS

    if name in TEACHING_MODELS:
        return TEACHING_MODELS[name](seed)
    if name in REWRITTEN:
        return _rewritten(name, seed)
    texts = PROBES | REFUSED
    if name not in texts:
        raise KeyError(f"no model {name!r}; there are {', '.join((*TEACHING_MODELS, *REWRITTEN, *texts))}")
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {OPSET}]> {name} {texts[name]}')
    rng = np.random.default_rng(seed)
    for value in made.graph.value_info:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        weights = rng.uniform(0.5, 1.5, sizes).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, value.name))
    del made.graph.value_info[:]
    return made


def _rewritten(name: str, seed: int) -> onnx.ModelProto:
    from trtlab.graph import optimize

    origin, rules = REWRITTEN[name]
    made, _ = optimize(model(origin, seed), rules)
    made.graph.name = name
    return made


def names() -> tuple[str, ...]:
    """The models as they were written: the teaching models, then the probes."""
    from trtlab.graph.models import TEACHING_MODELS

    return (*TEACHING_MODELS, *PROBES)


def recorded_names() -> tuple[str, ...]:
    """Every model there is a report of."""
    return (*names(), *REWRITTEN)


def report(name: str) -> BuildReport:
    """What tensorrt_rtx makes of the model: LIVE, or RECORDED without a compiler."""
    from trtlab.engine.nvidia import CompilerMissing, explain

    try:
        return explain(model(name), "SM89", name=f"fusion-{name}", compiler="tensorrt_rtx")
    except CompilerMissing as missing:
        return recordings.load(f"fusion-{name}-SM89", missing)
