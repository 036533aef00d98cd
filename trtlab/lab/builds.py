"""lab/builds: what NVIDIA's builder makes of small models in which there is something to fuse, and of light networks.

In: a name of graph.models.TEACHING_MODELS, PROBES, REWRITTEN or REFUSED. Out: its model, and the `BuildReport` for
SM89: LIVE, or RECORDED where no compiler can be installed. Compared with builds by tests/lab/test_builds.py.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser

from trtlab.engine import recordings
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.report import BuildReport
from trtlab.graph import optimize
from trtlab.graph.models import LIGHT_FOLDER, OPSET, TEACHING_MODELS, randomized
from trtlab.graph.onnxfile import sha256_of

TARGET = "SM89"
PROBES = tuple(
    "conv_relu conv_add_relu conv_relu_shown conv_bn_relu_conv conv_identity_bn_relu matmul_relu matmul_two_readers "
    "multiply_add_relu_shown chain_16 chain_128 chain_448 chain_512 wide_inception raw_concat pointwise_concat "
    "matmul_concat qdq_behind_relu qdq_before_relu".split()
)
"""Files in lab/probes; `shown`: a tensor in the middle is an output of the graph as well."""
REFUSED = ("dropout_training", "matmul_mixed")
"""Files there that NVIDIA's parser does not take."""
REWRITTEN: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "conv_bn_relu_folded": ("conv_bn_relu", ("conv_bn_folding",)),
    **{
        f"{name}_rewritten": (name, None)
        for name in ("conv_bn_relu", "inception", "qkv", "residual", "layernorm", "attention")
    },
}
"""Name -> a model above, and the rules of graph.rules that rewrote it before NVIDIA's builder saw it; None is all."""


def model(name: str, seed: int = 0) -> onnx.ModelProto:
    """The model of that name; its weights follow from the seed. KeyError names what there is."""
    if name in TEACHING_MODELS:
        return TEACHING_MODELS[name](seed)
    if name in REWRITTEN:
        return _rewritten(name, seed)
    if name not in (*PROBES, *REFUSED):
        raise KeyError(f"no model {name!r}; there are {', '.join((*TEACHING_MODELS, *REWRITTEN, *PROBES, *REFUSED))}")
    return filled(_text(name), seed)


def filled(text: str, seed: int = 0) -> onnx.ModelProto:
    """A model in ONNX's text form; what it declares without a value becomes seeded weights."""
    made, rng = onnx.parser.parse_model(text), np.random.default_rng(seed)
    for value in made.graph.value_info:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        weights = rng.uniform(0.5, 1.5, sizes).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, value.name))
    del made.graph.value_info[:]
    return made


def _text(name: str) -> str:
    """ONNX's text form. A chain of so many operators is too long for a file: Add, Max, Add, ..., each on the result of
    the one before and on a, and a Relu."""
    if not name.startswith("chain_"):
        return (Path(__file__).parent / "probes" / f"{name}.onnxtxt").read_text("utf-8")
    last = int(name.removeprefix("chain_")) - 1
    middle = "".join(f"[n{i}] t{i + 1} = {('Add', 'Max')[i % 2]} (t{i}, a) " for i in range(last))
    head = f'<ir_version: 10, opset_import: ["": {OPSET}]> {name} (float[64,64] t0, float[64,64] a) => (float[64,64] y)'
    return f"{head} {{ {middle} [last] y = Relu (t{last}) }}"


def _rewritten(name: str, seed: int) -> onnx.ModelProto:
    origin, rules = REWRITTEN[name]
    made, _ = optimize(model(origin, seed), rules)
    made.graph.name = name
    return made


def names() -> tuple[str, ...]:
    """The models as they were written: the teaching models, then the probes."""
    return (*TEACHING_MODELS, *PROBES)


def recorded_names() -> tuple[str, ...]:
    """Every model there is a report of."""
    return (*names(), *REWRITTEN)


# --- reports ----------------------------------------------------------------------------------------------------------


def report(name: str) -> BuildReport:
    """What tensorrt_rtx makes of the model: LIVE, or RECORDED without a compiler."""
    return built(model(name).SerializeToString(), f"fusion-{name}")


def light_report(name: str) -> BuildReport:
    """The same of one of the onnx package's `light_*` networks, with seeded weights."""
    return built(light_model(name).SerializeToString(), f"light-{name}")


def built(data: bytes, name: str, target: str = TARGET) -> BuildReport:
    """What tensorrt_rtx makes of an ONNX file, LIVE; without a compiler the recording of these very bytes under this
    name. CompilerMissing where there is none."""
    from trtlab.engine.nvidia import explain

    try:
        return explain(data, target, name=name, compiler="tensorrt_rtx")
    except CompilerMissing as missing:
        found = recorded(f"{name}-{target}", missing)
        if found.model_sha256 != sha256_of(data):
            raise CompilerMissing(
                f"The recording '{name}-{target}' is of another model.", hint=missing.hint
            ) from missing
        return found


def recorded(name: str, missing: CompilerMissing | None = None) -> BuildReport:
    """A recorded report. When there is none of that name: CompilerMissing, with the choices and why it was needed."""
    try:
        return recordings.load(BuildReport, name)
    except recordings.RecordingMissing as none:
        why = missing.what if missing is not None else "A report was asked for."
        raise CompilerMissing(f"{why} There is no recording {name!r} to show instead.", hint=str(none)) from none


def key(model: str, precision: str, target: str, *, dynamic_batch: bool) -> str:
    """`digits-FP32-SM89-static`: the name of a workflow's recording, whether or not it exists."""
    return f"{model}-{precision}-{target}-{'dynamic' if dynamic_batch else 'static'}"


# --- the light networks -----------------------------------------------------------------------------------------------


def light_path(name: str) -> Path:
    """Where one of the onnx package's `light_*` networks lies. Each of their weights is a ConstantOfShape node."""
    return LIGHT_FOLDER / f"light_{name}.onnx"


def light_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of onnx's `light_*` networks, such as `squeezenet`, with seeded random weights."""
    return randomized(onnx.load(light_path(name)), seed)


def network(name: str) -> onnx.ModelProto:
    """A network of engine.networks, exported; or one like `light_resnet50`."""
    from trtlab.engine.export import export_onnx

    return light_model(name.removeprefix("light_")) if name.startswith("light_") else export_onnx(name)
