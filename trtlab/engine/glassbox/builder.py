"""engine/glassbox/builder: from an ONNX model to an engine: rewrite, lower, and tune if the device is here.

In: a model and what to build for. Out: an `Engine` whose plan can be saved. What fuses is decided here, ahead of time;
which tactic is fastest only the device can tell, so trial.py does that, here or where the plan is loaded.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

import onnx
import onnx.inliner

from trtlab.engine.glassbox.device import is_here
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.lower import lower
from trtlab.engine.glassbox.runtime import Engine
from trtlab.engine.glassbox.timing import Cache
from trtlab.engine.glassbox.trial import QUICK, tune
from trtlab.graph.load import read
from trtlab.graph.onnxfile import OnnxModel
from trtlab.graph.rewrite import Rules, rewrite
from trtlab.plan import memory, tactics


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
    if strange := [name for name in shapes if name not in given] if isinstance(shapes, Mapping) else [shapes]:
        raise ValueError(f"shapes has {strange[0]!r}: the model's inputs are {', '.join(given)}; give sizes by name")
    symbols = {"?": 1}
    for name in dict.fromkeys((*shapes, *given)):  # first those that say what a symbol is
        _fix_shape(given[name], shapes.get(name), symbols)
    del proto.graph.value_info[:]
    for value in proto.graph.output:  # what it is now follows from the inputs, whatever was declared
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
        if value.name in given:
            value.CopyFrom(given[value.name])
    return proto


def _fix_shape(value: onnx.ValueInfoProto, wanted: Sequence[int] | None, symbols: dict[str, int]) -> None:
    """A size for every axis: the one wanted, that of its symbol elsewhere, or 1."""
    if not value.type.tensor_type.HasField("shape"):
        raise UnsupportedError(f"Input {value.name!r} is no tensor of known rank: the glass box takes nothing else.")
    dims = value.type.tensor_type.shape.dim
    have = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
    told = [symbols.get(n, 1) if isinstance(n, str) else n for n in have]
    sizes = told if wanted is None else list(wanted) if isinstance(wanted, Iterable) else [wanted]
    whole = all(type(n) is not bool and isinstance(n, Integral) and 0 <= int(n) < 2**48 for n in sizes)
    fixed = [(n, size) for n, size in zip(have, sizes, strict=False) if not isinstance(n, str)]
    if not whole or len(sizes) != len(have) or any(n != size for n, size in fixed):
        raise ValueError(f"shapes[{value.name!r}] is {sizes}: the model says {have}, sizes are whole numbers")
    for dim, name, size in zip(dims, have, sizes, strict=True):
        if isinstance(name, str):
            symbols.setdefault(name, int(size))
            dim.dim_value = int(size)
