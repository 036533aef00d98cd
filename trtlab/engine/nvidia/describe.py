"""engine/nvidia/describe: reads what the compiler made into plain values: networks, tensors, flags, engines, names.

Runs inside the worker process only. In: objects of the compiler's module. Out: values for a `BuildReport`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from trtlab.engine.nvidia import log as logs
from trtlab.engine.nvidia.inspector import steps_from_inspector
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
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return steps_from_inspector(text)


def public_names(trt: ModuleType) -> dict[str, tuple[str, ...]]:
    """Public names of every class of the module; for an enumeration, its members."""
    classes = {name: value for name, value in vars(trt).items() if isinstance(value, type) and not name.startswith("_")}
    return {name: _names_of(value) for name, value in sorted(classes.items())}


def _names_of(kind: type) -> tuple[str, ...]:
    members = getattr(kind, "__members__", None)
    return tuple(members) if members else tuple(name for name in dir(kind) if not name.startswith("_"))
