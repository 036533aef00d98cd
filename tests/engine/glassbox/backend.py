"""engine/glassbox/backend: the interface by which ONNX runs its own suite against an engine: onnx.backend.base.

In: a ModelProto. Out: a `Representation` with `run`. A model is claimed if every operator and type in it is ours;
`is_compatible` says so, and ONNX's node tests of all claimed models must pass: tests/engine/glassbox/test_backend.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from trtlab.engine.glassbox.builder import build
from trtlab.engine.glassbox.errors import DeviceError, UnsupportedError
from trtlab.engine.glassbox.runtime import Engine

Arrays = Sequence[Any]


class Representation(BackendRep):
    """An engine under the interface's word for it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._context = engine.create_execution_context()

    def run(self, inputs: Any, **_: Any) -> tuple[Any, ...]:
        """Outputs in order, from inputs in order."""
        values = inputs if isinstance(inputs, tuple | list) else (inputs,)
        feeds = dict(zip(self.engine.inputs, map(np.asarray, values), strict=True))
        return tuple(self._context.run(feeds).values())


class GlassboxBackend(Backend):
    """The functions of onnx.backend.base over `build`."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> bool:
        """Whether the glass box claims the model: it builds, or fails for another reason than a missing operator."""
        try:
            build(model, _device_name(device))
        except UnsupportedError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> Representation:
        """The model built; UnsupportedError names what is missing."""
        return Representation(build(model, _device_name(device)))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Any, ...]:
        """Build and run once."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **_: Any  # noqa: ARG003
    ) -> tuple[Any, ...]:  # fmt: skip
        """One node as a model; the types of its outputs follow from ONNX's inference."""
        arrays = [np.asarray(value) for value in (inputs if isinstance(inputs, tuple | list) else [inputs])]
        names = [name for name in node.input if name]
        tensor = onnx.helper.make_tensor_value_info
        ends = [
            tensor(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in zip(names, arrays, strict=True)
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "node", ends, outputs))
        return cls.run_model(onnx.shape_inference.infer_shapes(model), arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether the device is here."""
        from trtlab.engine.glassbox.device import Device as Ours

        try:
            Ours(_device_name(device))
        except DeviceError:
            return False
        return True


def _device_name(device: str) -> str:
    return "cuda" if Device(device).type == DeviceType.CUDA else "cpu"


is_compatible = GlassboxBackend.is_compatible
prepare = GlassboxBackend.prepare
run_model = GlassboxBackend.run_model
run_node = GlassboxBackend.run_node
supports_device = GlassboxBackend.supports_device
