"""engine/nvidia/describe: reads what the compiler made into plain values: networks, tensors, flags, engines.

Runs inside the worker process only. In: objects of the compiler's module. Out: values for a `BuildReport`. An engine's
steps come from EngineInspector where the log carries no kernel list (tensorrt 10 and 11); that reader is written from
the documentation and tested on hand-made JSON, not yet run against tensorrt on a GPU.
"""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

from trtlab.engine.nvidia import log as logs
from trtlab.engine.nvidia.report import Kernel, NetworkLayer, TensorInfo


def describe_network(network: Any) -> dict[str, Any]:
    """Inputs, outputs and layers of a network definition as plain values."""
    return {
        "inputs": tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs)),
        "outputs": tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs)),
        "layers": tuple(_layer(network.get_layer(i)) for i in range(network.num_layers)),
    }


def _layer(layer: Any) -> NetworkLayer:
    inputs = (layer.get_input(i) for i in range(layer.num_inputs))
    outputs = (layer.get_output(i) for i in range(layer.num_outputs))
    return NetworkLayer(
        name=text_of(lambda: layer.name),
        type=layer.type.name,
        onnx_nodes=logs.onnx_nodes_from_metadata(text_of(lambda: layer.metadata)),
        inputs=tuple(_tensor(tensor) for tensor in inputs if tensor is not None),
        outputs=tuple(_tensor(tensor) for tensor in outputs if tensor is not None),
    )


def _tensor(tensor: Any) -> TensorInfo:
    try:
        shape = tuple(int(size) for size in tensor.shape)
    except ValueError:  # the rank itself is not known yet
        shape = ()
    return TensorInfo(name=text_of(lambda: tensor.name), shape=shape, dtype=tensor.dtype.name)


def flag_names(trt: ModuleType, config: Any) -> tuple[str, ...]:
    """Names of the builder flags that are on; by default TF32 alone."""
    return tuple(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag))


def text_of(getter: Callable[[], str]) -> str:
    """What a getter of the bindings returns; bytes that are no UTF-8 come back escaped instead of raising."""
    try:
        return getter()
    except UnicodeDecodeError as error:
        return bytes(error.object).decode("utf-8", "backslashreplace")


def inspect_plan(trt: ModuleType, logger: Any, plan: Any) -> tuple[Kernel, ...]:
    """Engine steps through the engine inspector; for tensorrt, which deserialises on the GPU it built for."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        return ()
    return steps_from_inspector(inspector_json(trt, engine))


def inspector_json(trt: ModuleType, engine: Any) -> str:
    """EngineInspector's JSON about the whole engine: its layers, if it was built with DETAILED verbosity."""
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def steps_from_inspector(text: str) -> tuple[Kernel, ...]:
    """Engine steps in order, from `get_engine_information(LayerInformationFormat.JSON)`. ValueError when the engine was
    not built with ProfilingVerbosity.DETAILED. TensorRT 10 joins `Format/Datatype` in one field, 11 splits them."""
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
        onnx_nodes=logs.onnx_nodes_from_metadata(layer.get("Metadata") or ""),
        inputs=tuple(_inspected(tensor) for tensor in layer.get("Inputs", [])),
        outputs=tuple(_inspected(tensor) for tensor in layer.get("Outputs", [])),
        constants=tuple(_inspected(tensor) for tensor in layer.get("Constants", []) if isinstance(tensor, dict)),
    )


def _inspected(tensor: dict[str, Any]) -> TensorInfo:
    joined, strides = tensor.get("Format/Datatype", ""), tensor.get("Strides")
    return TensorInfo(
        name=tensor["Name"],
        shape=tuple(int(size) for size in tensor.get("Dimensions", [])),
        dtype=tensor.get("Datatype") or joined.rpartition(" ")[2] or "?",
        strides=None if strides is None else tuple(int(stride) for stride in strides),
        format=tensor.get("Format") or joined or None,
    )
