"""engine/ort: ONNX Runtime as the referee.

In: an ONNX model (path, bytes or proto) and an optimisation level. Out: its answers, a time for every node,
and the graph as ONNX Runtime rewrote it. onnxruntime loads when a session is made. Checked by
tests/engine/test_ort.py against onnx's reference evaluator, with one test per error.
"""

import contextlib
import enum
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = [
    "NodeTime", "OptimizationLevel", "OrtError", "OrtInputError", "OrtModelError", "OrtRunError",
    "OrtSession", "TensorSpec",
]  # fmt: skip

Feeds = Mapping[str, npt.NDArray]
CPU = ("CPUExecutionProvider",)

# ONNX Runtime's type words (onnxruntime/core/framework/data_types.cc) that numpy has a type for.
_NUMPY_OF_ORT = {
    "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64", "tensor(bool)": "bool", "tensor(string)": "object",
}  # fmt: skip


class OptimizationLevel(enum.Enum):
    """How much ONNX Runtime may rewrite the graph; the value is its own name in `GraphOptimizationLevel`.

    BASIC keeps to standard operators (constant folding, dead nodes, Conv+BN). EXTENDED adds fused operators
    of its own (FusedConv, Attention). ALL adds memory layouts of this processor (NCHWc).
    """

    DISABLE_ALL = "ORT_DISABLE_ALL"
    BASIC = "ORT_ENABLE_BASIC"
    EXTENDED = "ORT_ENABLE_EXTENDED"
    ALL = "ORT_ENABLE_ALL"


class OrtError(Exception):
    """Something between us and ONNX Runtime went wrong; each kind is a subclass."""


class OrtModelError(OrtError, ValueError):
    """ONNX Runtime cannot load this model."""


class OrtInputError(OrtError, ValueError):
    """What was fed does not fit the model's inputs. Nothing ran, and the session can go on."""


class OrtRunError(OrtError, RuntimeError):
    """The model failed while running. The session can go on."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output. `dtype` is numpy's name; each axis of `shape` is a size, a symbol ("batch") or
    None.

    Where numpy has no such type (bfloat16, a sequence), `dtype` is ONNX Runtime's own word for it.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} {self.dtype}[{axes}]"


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """What one node cost over `runs` runs. ONNX Runtime reports whole microseconds, so small nodes read 0 or
    1."""

    name: str
    op_type: str
    provider: str
    runs: int
    mean_us: float
    median_us: float


class OrtSession:
    """One model loaded into ONNX Runtime.

    `model` is a path, serialised bytes or a ModelProto. `threads` is the number inside one operator (None:
    all cores). Raises OrtModelError where ONNX Runtime refuses the model, ValueError for an option it does
    not have.
    """

    def __init__(
        self,
        model: "str | Path | bytes | onnx.ModelProto",
        *,
        level: OptimizationLevel = OptimizationLevel.ALL,
        threads: int | None = None,
        providers: Sequence[str] = CPU,
    ) -> None:
        _check_options(level, threads, providers)
        self._source = _source(model)
        self.level = level
        self.threads = threads
        self.providers = tuple(providers)
        self._session = self._open()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What must be fed, in the model's order."""
        return tuple(_spec(value) for value in self._session.get_inputs())

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What comes back, in the model's order."""
        return tuple(_spec(value) for value in self._session.get_outputs())

    def run(self, feeds: Feeds) -> dict[str, npt.NDArray]:
        """All outputs by name. Raises OrtInputError before running, OrtRunError while."""
        check_feeds(self.inputs, feeds)
        return _run(self._session, feeds)

    def profile(self, feeds: Feeds, *, repeats: int = 20, warmup: int = 3) -> tuple[NodeTime, ...]:
        """One NodeTime per executed node, in order of execution, from `repeats` runs after `warmup`
        unrecorded ones.

        The nodes are those left after optimisation, so names may be ONNX Runtime's. Measured in a session of
        its own; its log goes to a temporary folder that is removed. Errors as `run`.
        """
        if repeats < 1 or warmup < 0:
            raise ValueError(
                f"a profile needs repeats >= 1 and warmup >= 0: got repeats={repeats}, warmup={warmup}; "
                "repeats=20, warmup=3 is a good start"
            )
        check_feeds(self.inputs, feeds)
        with tempfile.TemporaryDirectory(prefix="trtlab-ort-") as folder:
            session = self._open(enable_profiling=True, profile_file_prefix=str(Path(folder) / "profile"))
            try:
                for _ in range(warmup + repeats):
                    _run(session, feeds)
            finally:
                log = Path(session.end_profiling())  # closes the file, so that the folder can go
            events = json.loads(log.read_text(encoding="utf-8"))
        return node_times(events, recorded_share=repeats / (warmup + repeats))

    def optimized_model(self) -> "onnx.ModelProto":
        """The graph as ONNX Runtime rewrote it at this level; above BASIC it may hold operators only it
        knows."""
        import onnx

        with tempfile.TemporaryDirectory(prefix="trtlab-ort-") as folder:
            file = Path(folder) / "optimized.onnx"
            self._open(optimized_model_filepath=str(file))
            return onnx.load(file)

    def _open(self, **options: Any) -> "onnxruntime.InferenceSession":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # its errors come to us as exceptions; no second copy on stderr
        settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, self.level.value)
        settings.intra_op_num_threads = self.threads or 0
        for name, value in options.items():
            setattr(settings, name, value)
        with _as(OrtModelError, "ONNX Runtime cannot load this model", "onnx.checker.check_model says more"):
            return onnxruntime.InferenceSession(self._source, settings, providers=list(self.providers))


def check_feeds(inputs: Sequence[TensorSpec], feeds: Feeds) -> None:
    """Raises OrtInputError unless feeds hold exactly the inputs, each with the right dtype and shape."""
    wanted = ", ".join(str(spec) for spec in inputs) or "no inputs at all"
    unknown = [repr(name) for name in feeds if name not in {spec.name for spec in inputs}]
    missing = [repr(spec.name) for spec in inputs if spec.name not in feeds]
    if unknown:
        raise OrtInputError(f"the model has no input {', '.join(unknown)}: expected {wanted}; remove or rename it")
    if missing:
        got = ", ".join(repr(name) for name in feeds) or "nothing"
        raise OrtInputError(f"missing input {', '.join(missing)}: expected {wanted}, got {got}; feed every input")
    for spec in inputs:
        _check_array(spec, feeds[spec.name])


def _check_array(spec: TensorSpec, value: Any) -> None:
    if not isinstance(value, np.ndarray):
        raise OrtInputError(
            f"input {spec.name!r} takes a numpy array: expected {spec}, got {type(value).__name__}; "
            f"np.asarray(value, dtype={spec.dtype!r}) makes one, tensor.numpy() does for a torch tensor"
        )
    if spec.dtype not in _NUMPY_OF_ORT.values():
        raise OrtInputError(f"input {spec.name!r} is {spec.dtype}, which numpy cannot hold; export the model in FP32")
    if value.dtype != np.dtype(spec.dtype) and not (spec.dtype == "object" and value.dtype.kind in "US"):
        raise OrtInputError(
            f"input {spec.name!r} has the wrong dtype: expected {spec.dtype}, got {value.dtype}; "
            f"array.astype({spec.dtype!r}) converts it"
        )
    sizes = [(axis, size) for axis, size in zip(spec.shape, value.shape, strict=False) if isinstance(axis, int)]
    if value.ndim != len(spec.shape) or any(axis != size for axis, size in sizes):
        raise OrtInputError(
            f"input {spec.name!r} has the wrong shape: expected {spec}, got {list(value.shape)}; "
            "reshape the array, or export the model with a dynamic batch"
        )


def node_times(events: Sequence[Mapping[str, Any]], *, recorded_share: float = 1.0) -> tuple[NodeTime, ...]:
    """One NodeTime per node of ONNX Runtime's profiling events; only the last `recorded_share` of each node's
    counts.

    A node inside a Loop or If runs more or less often than the model: `runs` counts its own executions.
    """
    suffix = "_kernel_time"
    durations_us: dict[tuple[str, str, str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(suffix):
            facts = event["args"]
            name = event["name"].removesuffix(suffix)
            key = (name, facts["op_name"], facts.get("provider", ""), facts.get("node_index", ""))
            durations_us.setdefault(key, []).append(float(event["dur"]))
    return tuple(_node_time(key, all_us, recorded_share) for key, all_us in durations_us.items())


def _node_time(key: tuple[str, str, str, str], all_us: list[float], recorded_share: float) -> NodeTime:
    name, op_type, provider, _ = key
    kept_us = all_us[-max(1, round(len(all_us) * recorded_share)) :]
    return NodeTime(
        name=name, op_type=op_type, provider=provider, runs=len(kept_us),
        mean_us=statistics.fmean(kept_us), median_us=statistics.median(kept_us),
    )  # fmt: skip


def _check_options(level: OptimizationLevel, threads: int | None, providers: Sequence[str]) -> None:
    import onnxruntime

    if level not in tuple(OptimizationLevel):
        names = ", ".join(member.name for member in OptimizationLevel)
        raise ValueError(f"level is an OptimizationLevel, one of {names}: got {level!r}; use OptimizationLevel.ALL")
    if threads is not None and threads < 1:
        raise ValueError(f"a session needs at least one thread: got threads={threads}; None takes all cores")
    available = onnxruntime.get_available_providers()
    absent = [name for name in providers if name not in available]
    if absent or not providers:
        raise ValueError(
            f"this onnxruntime has no provider {', '.join(map(repr, absent)) or 'without a name'}: expected "
            f"some of {', '.join(available)}; install onnxruntime-gpu for CUDAExecutionProvider"
        )


def _source(model: "str | Path | bytes | onnx.ModelProto") -> str | bytes:
    """What InferenceSession takes: a path (external data is found beside it) or bytes."""
    if isinstance(model, bytes):
        return model
    if isinstance(model, str | Path):
        if not Path(model).is_file():
            raise OrtModelError(f"there is no model file at {str(model)!r}; give the path of an .onnx file")
        return str(model)
    if hasattr(model, "SerializeToString"):
        return model.SerializeToString()
    raise TypeError(f"a session takes a path, bytes or onnx.ModelProto: got {type(model).__name__}")


def _spec(value: Any) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int | str) else None for axis in value.shape)
    return TensorSpec(name=value.name, dtype=_NUMPY_OF_ORT.get(value.type, value.type), shape=shape)


def _run(session: "onnxruntime.InferenceSession", feeds: Feeds) -> dict[str, npt.NDArray]:
    names = [value.name for value in session.get_outputs()]
    with _as(OrtRunError, "ONNX Runtime failed while running", "check that all inputs agree on their open axes"):
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))


@contextlib.contextmanager
def _as(kind: type[OrtError], what: str, way_out: str) -> Iterator[None]:
    """Any error of ONNX Runtime as one of ours."""
    try:
        yield
    except _native_errors() as error:
        raise kind(f"{what}: {str(error).strip()}; {way_out}") from error


def _native_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exception classes, which share no base but Exception, and those of its Python
    part."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    classes = [value for value in vars(native).values() if isinstance(value, type)]
    return (RuntimeError, ValueError, *(value for value in classes if issubclass(value, Exception)))
