"""engine/glassbox/builder: from an ONNX model to an engine: rewrite, lower, and tune if the device is here.

In: a model and what to build for. Out: an `Engine` whose plan can be saved. What fuses is decided here, ahead of time;
which tactic is fastest only the device can tell, so trial.py does that, here or where the plan is loaded.
"""

import functools
from collections.abc import Mapping, Sequence, Sized
from numbers import Integral
from typing import Any

import onnx
import onnx.inliner

from trtlab.engine.glassbox.device import is_here
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.lower import CLAIMED, dtype_of, lower
from trtlab.engine.glassbox.plan import DTYPES
from trtlab.engine.glassbox.runtime import Engine
from trtlab.engine.glassbox.timing import Cache
from trtlab.engine.glassbox.trial import QUICK, tune
from trtlab.graph.load import read
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.rewrite import OLDEST_OPSET, Rules, rewrite
from trtlab.graph.rule import FUSED, STANDARD
from trtlab.plan import memory, tactics

OUTSIDE = tuple(dtype for dtype in DTYPES if dtype != "bfloat16")
"""Types of inputs and outputs: those that numpy has."""


def build(
    model: OnnxModel,
    device: str = "cpu",
    *,
    precision: str = "FP32",
    rules: Rules = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    pick: tactics.Picker | None = None,
    place: memory.Placer = QUICK,
    optimization_level: int = 3,
    timing_cache: Cache = None,
) -> Engine:
    """An engine for one shape of each input; a symbolic size is 1 unless `shapes` says otherwise.

    `rules` are those of graph.optimize (None: all). `optimization_level` says how hard tactics are raced: 0 (not at
    all) to 5. What a `timing_cache` (a file, made if it is not there, or a TimingCache) knows is not raced again; one
    that is damaged, or of another machine, is left alone, with a TimingCacheWarning. Where the device is not here, the
    engine can be saved, not run: `load` tunes it on a machine that has one.

    Raises UnsupportedError for what the glass box lacks, ValueError for what is no valid model, shape or level,
    DeviceError for a device that nobody has, RunError for inputs that no memory holds.
    """
    here = is_here(device)
    if pick and timing_cache is not None:
        raise ValueError("a picker of your own decides anew each time: leave out pick= or timing_cache=")
    picker = pick or functools.partial(tactics.pick, level=tactics.checked_level(optimization_level))
    rewritten, _ = rewrite(_fixed(model, shapes or {}), rules)
    plan = lower(rewritten, device, precision)
    kind = f"level {optimization_level}"
    return Engine(tune(plan, pick=picker, place=place, timing_cache=timing_cache, kind=kind) if here else plan)


def _fixed(model: OnnxModel, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The model with a size for every axis of its inputs, and without functions of its own."""
    proto = onnx.ModelProto()
    proto.CopyFrom(read(model))
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    weights = {tensor.name for tensor in proto.graph.initializer}
    given = {value.name: value for value in proto.graph.input if value.name not in weights}
    if strange := sorted(set(shapes) - set(given)):
        raise ValueError(f"shapes has {strange[0]!r}: the model's inputs are {', '.join(given)}")
    _check_claimed(proto)
    symbols = {"": 1}
    for name, value in sorted(given.items(), key=lambda pair: pair[0] not in shapes):  # those that say what a symbol is
        _fix_shape(value, shapes.get(name), symbols)
    del proto.graph.value_info[:]
    for value in proto.graph.output:  # what it is now follows from the inputs, whatever was declared
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
        if value.name in given:
            value.CopyFrom(given[value.name])
    return proto


def _check_claimed(proto: onnx.ModelProto) -> None:
    """UnsupportedError for an operator, an opset or a type of tensor that the glass box does not have."""
    old = next((o for o in proto.opset_import if o.domain in STANDARD and o.version < OLDEST_OPSET), None)
    if old is not None:
        raise UnsupportedError(
            f"The model is of opset {old.version}: the glass box knows what operators mean from {OLDEST_OPSET} on. "
            "Convert it with onnx.version_converter."
        )
    for node in proto.graph.node:
        if node.domain != FUSED and (node.domain not in STANDARD or node.op_type not in CLAIMED):
            op = f"{node.domain}{'.' * bool(node.domain)}{node.op_type}"
            raise UnsupportedError(
                f"Operator {op} is not one of the glass box's: {', '.join(sorted(CLAIMED))}. It makes"
                f" {node.output[0]!r}."
            )
    for value in (*proto.graph.input, *proto.graph.output):
        kind, is_tensor = value.type.tensor_type.elem_type, value.type.HasField("tensor_type")
        word = onnx.TensorProto.DataType.Name(kind) if is_tensor else value.type.WhichOneof("value")
        if dtype_of(word or "nothing") not in OUTSIDE:
            way_out = "pass float32 and build with precision='BF16'" if word == "BFLOAT16" else "cast it before"
            raise UnsupportedError(
                f"Tensor {value.name!r} is {word}: the glass box takes {', '.join(OUTSIDE)}; {way_out}."
            )


def _is_size(value: Any) -> bool:
    """A whole number of Python or numpy."""
    return type(value) is not bool and isinstance(value, Integral) and 0 <= int(value) < 2**48


def _fix_shape(value: onnx.ValueInfoProto, wanted: Sequence[int] | None, symbols: dict[str, int]) -> None:
    """A size for every axis: the one wanted, that of its symbol elsewhere, or 1."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise UnsupportedError(f"Input {value.name!r} is no tensor of known rank: the glass box takes nothing else.")
    dims = tensor.shape.dim
    have = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
    told = [symbols.get(d.dim_param, 1) if type(n) is str else n for n, d in zip(have, dims, strict=True)]
    sizes = told if wanted is None else wanted
    is_known = isinstance(sizes, Sized) and len(sizes) == len(dims) and all(map(_is_size, sizes))
    if not is_known or any(type(size) is int and size != n for size, n in zip(have, sizes, strict=True)):
        got = list(wanted) if isinstance(wanted, Sequence) else wanted
        raise ValueError(f"shapes[{value.name!r}] is {got}: the model says {have}, sizes are whole numbers")
    for dim, size in zip(dims, sizes, strict=True):
        if not dim.HasField("dim_value"):
            symbols.setdefault(dim.dim_param, int(size))
            dim.dim_value = int(size)
