"""engine/nvidia/inspector: engine steps from EngineInspector JSON, for compilers whose log carries no kernel list.

In: the JSON text of `get_engine_information(LayerInformationFormat.JSON)` of an engine built with DETAILED verbosity.
Out: the same `Kernel` values that log.py makes. TensorRT 10 joins `Format/Datatype` in one field, 11 splits them.
Written from the documentation and tested on hand-made JSON; not yet run against tensorrt 10 or 11 on a GPU.
"""

import json
from typing import Any

from trtlab.engine.nvidia.log import onnx_nodes_from_metadata
from trtlab.engine.nvidia.report import Kernel, TensorInfo


def steps_from_inspector(text: str) -> tuple[Kernel, ...]:
    """Engine steps in order. ValueError when the engine was not built with ProfilingVerbosity.DETAILED."""
    layers = json.loads(text).get("Layers", [])
    if any(isinstance(layer, str) for layer in layers):
        raise ValueError("the inspector returned names only: expected an engine built with ProfilingVerbosity.DETAILED")
    return tuple(_step(layer) for layer in layers)


def _step(layer: dict[str, Any]) -> Kernel:
    event = layer.get("EventId")
    return Kernel(
        name=layer["Name"],
        type=layer.get("LayerType", ""),
        tactic=str(layer.get("TacticName") or layer.get("TacticValue") or ""),
        stream=int(layer.get("StreamId", 0)),
        event=None if event is None else int(event),
        onnx_nodes=onnx_nodes_from_metadata(layer.get("Metadata") or ""),
        inputs=tuple(_tensor(tensor) for tensor in layer.get("Inputs", [])),
        outputs=tuple(_tensor(tensor) for tensor in layer.get("Outputs", [])),
        constants=tuple(_tensor(tensor) for tensor in layer.get("Constants", []) if isinstance(tensor, dict)),
    )


def _tensor(tensor: dict[str, Any]) -> TensorInfo:
    joined = tensor.get("Format/Datatype", "")
    strides = tensor.get("Strides")
    return TensorInfo(
        name=tensor["Name"],
        shape=tuple(int(size) for size in tensor.get("Dimensions", [])),
        dtype=tensor.get("Datatype") or joined.rpartition(" ")[2] or "?",
        strides=None if strides is None else tuple(int(stride) for stride in strides),
        format=tensor.get("Format") or joined or None,
    )
