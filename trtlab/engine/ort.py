"""engine/ort: ONNX Runtime as the referee.

In: an ONNX model (path, bytes or proto) and an optimisation level. Out: its answers, and the graph as ONNX Runtime
rewrote it. onnxruntime loads when a session is made. Checked by tests/engine/test_ort.py against onnx's reference
evaluator.
"""

import contextlib
import enum
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx
    import onnxruntime


class OptimizationLevel(enum.Enum):
    """How much ONNX Runtime may rewrite the graph; the value is its own name in `GraphOptimizationLevel`.

    BASIC keeps to standard operators (constant folding, dead nodes, Conv+BN). EXTENDED adds fused operators of its own
    (FusedConv, Attention). ALL adds memory layouts of this processor (NCHWc).
    """

    DISABLE_ALL = "ORT_DISABLE_ALL"
    BASIC = "ORT_ENABLE_BASIC"
    EXTENDED = "ORT_ENABLE_EXTENDED"
    ALL = "ORT_ENABLE_ALL"


class OrtError(ValueError):
    """ONNX Runtime refused a model, or what it was fed, or failed while running; its session can go on."""


class OrtSession:
    """One model loaded into ONNX Runtime, on the CPU.

    `model` is a path, serialised bytes or a ModelProto. `threads` is the number inside one operator (None: all cores).
    Raises OrtError where ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        model: "str | os.PathLike[str] | bytes | onnx.ModelProto",
        *,
        level: OptimizationLevel = OptimizationLevel.ALL,
        threads: int | None = None,
    ) -> None:
        self._source: Any = model.SerializeToString() if hasattr(model, "SerializeToString") else model
        self._level, self._threads = OptimizationLevel(level), threads
        self._session = self._open()

    def run(self, feeds: Mapping[str, npt.NDArray]) -> dict[str, npt.NDArray]:
        """All outputs by name. Raises OrtError, with ONNX Runtime's reason and what the model takes."""
        names = [value.name for value in self._session.get_outputs()]
        takes = ", ".join(f"{value.name} {value.type} {value.shape}" for value in self._session.get_inputs())
        with _as_ours("ONNX Runtime cannot run the model with these inputs", f"feed numpy arrays {takes}"):
            arrays = {name: np.asarray(value) for name, value in feeds.items()}
            native = {name: a.astype(a.dtype.newbyteorder("="), copy=False) for name, a in arrays.items()}
            return dict(zip(names, self._session.run(names, native), strict=True))

    def optimized_model(self) -> "onnx.ModelProto":
        """The graph as ONNX Runtime rewrote it at this level; above BASIC it may hold operators only it knows."""
        import onnx

        with tempfile.TemporaryDirectory(prefix="trtlab-ort-") as folder:
            file = Path(folder) / "optimized.onnx"
            self._open(str(file))
            return onnx.load(file)

    def _open(self, optimized_model: str = "") -> "onnxruntime.InferenceSession":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # its errors come to us as exceptions; no second copy on stderr
        settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, self._level.value)
        settings.intra_op_num_threads = self._threads or 0
        settings.optimized_model_filepath = optimized_model
        with _as_ours("ONNX Runtime cannot load this model", "onnx.checker.check_model says more"):
            return onnxruntime.InferenceSession(self._source, settings, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _as_ours(what: str, way_out: str) -> Iterator[None]:
    """Any error of ONNX Runtime as one of ours; its classes share no base but Exception."""
    try:
        yield
    except Exception as error:
        raise OrtError(f"{what}: {str(error).strip()}; {way_out}") from error
