"""engine/calibration: thresholds for a model's activations, from batches that ONNX Runtime runs; and a cache of them.

In: an ONNX model and batches of its inputs. Out: a `Histogram` or `Threshold` for each tensor that
`graph.precision.insert_qdq` quantises. Checked by tests/engine/test_calibration.py.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from trtlab.engine.files import write_atomically
from trtlab.engine.ort import OptimizationLevel, OrtSession
from trtlab.graph.load import read
from trtlab.graph.onnxfile import OnnxModel, sha256_of
from trtlab.graph.precision import quantizable
from trtlab.numeric.calibrate import CALIBRATORS, CalibrationError, Histogram, Threshold

Batch = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]


def collect(model: OnnxModel, batches: Iterable[Batch]) -> dict[str, Histogram]:
    """A histogram for each tensor to quantise, batch by batch: what was collected is the same in any order.

    A batch is an array by input, or, for a model of one input, the array. CalibrationError names the batch and the
    tensor that holds NaN or infinity; OrtRunError says which shapes the model takes.
    """
    proto, names = onnx.ModelProto(), {name: None for read_by in quantizable(model).values() for name in read_by}
    proto.CopyFrom(read(model))
    shown = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in shown)
    session, found = OrtSession(proto, level=OptimizationLevel.BASIC), {name: Histogram.of([]) for name in names}
    for number, batch in enumerate(batches):
        feeds = dict(batch) if isinstance(batch, Mapping) else {proto.graph.input[0].name: batch}
        arrays = session.run(feeds) | feeds
        for name in names:
            try:
                found[name] = found[name].add(arrays[name])
            except CalibrationError as error:
                raise CalibrationError(f"batch {number}, tensor {name!r}: {error}") from error
    return found


def calibrate(model: OnnxModel, batches: Iterable[Batch], calibrator: str = "entropy") -> dict[str, Threshold]:
    """A threshold for each tensor to quantise; `calibrator` is one of numeric.calibrate.CALIBRATORS."""
    if calibrator not in CALIBRATORS:
        raise ValueError(f"calibrators are {', '.join(CALIBRATORS)}: got {calibrator!r}")
    return {name: CALIBRATORS[calibrator](histogram) for name, histogram in collect(model, batches).items()}


# --- a cache ----------------------------------------------------------------------------------------------------------


def fingerprint(model: OnnxModel) -> str:
    """SHA-256 of the whole model, weights included: what a cache belongs to."""
    return sha256_of(read(model).SerializeToString(deterministic=True))


def save_cache(path: str | os.PathLike[str], model: OnnxModel, thresholds: Mapping[str, Threshold]) -> None:
    """Thresholds by tensor, as JSON with the fingerprint of their model."""
    entries = {tensor: {"name": t.name, "value": t.value, "scale": t.scale} for tensor, t in thresholds.items()}
    text = json.dumps({"model": fingerprint(model), "thresholds": entries}, indent=1) + "\n"
    write_atomically(Path(path), text.encode())


def load_cache(path: str | os.PathLike[str], model: OnnxModel) -> dict[str, Threshold]:
    """The saved thresholds, without their curves. CalibrationError for those of another model, or what is no cache."""
    try:
        held = json.loads(Path(path).read_bytes())
        made_for, found = str(held["model"]), {name: Threshold(**entry) for name, entry in held["thresholds"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibrationError(f"{path} is no calibration cache ({error!r}): delete it and calibrate again") from error
    if made_for != (own := fingerprint(model)):
        others = f"{path} holds ranges of the model {made_for[:12]}; this one is {own[:12]}"
        raise CalibrationError(f"{others}, and its weights or tensors differ: calibrate it again")
    return found
