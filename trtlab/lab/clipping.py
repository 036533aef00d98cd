"""lab/clipping: what clipping one activation costs a network, in images: the whole network runs, one tensor is rounded.

In: a model with one input and one output, the name of a tensor in the middle, labelled images. Out: a function from a
threshold to how many images are right. ONNX Runtime runs it; the step of the tensor is an input of the changed model.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from trtlab.engine.ort import OrtSession

STEP = "trtlab_step"
LEVELS = 127


def with_step(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The model in which `tensor` is rounded to multiples of the new input STEP (float32, scalar) and clipped to -128
    and 127 of them. ValueError where there is no such tensor."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    known = [name for node in made.graph.node for name in node.output]
    if tensor not in known:
        raise ValueError(f"no tensor {tensor!r} in the model: expected one of {', '.join(sorted(known))}")
    for node in made.graph.node:
        node.input[:] = [f"{tensor}_rounded" if name == tensor else name for name in node.input]
    place = 1 + next(n for n, node in enumerate(made.graph.node) if tensor in node.output)
    codes, ends = [f"{tensor}_{part}" for part in ("scaled", "whole", "clipped")], (f"{STEP}_low", f"{STEP}_high")
    rounded = [
        helper.make_node("Div", [tensor, STEP], codes[:1]),
        helper.make_node("Round", codes[:1], codes[1:2]),
        helper.make_node("Clip", [codes[1], *ends], codes[2:]),
        helper.make_node("Mul", [codes[2], STEP], [f"{tensor}_rounded"]),
    ]
    for number, node in enumerate(rounded):
        made.graph.node.insert(place + number, node)
    for name, value in zip(ends, (-1.0 - LEVELS, float(LEVELS)), strict=True):
        made.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    made.graph.input.append(helper.make_tensor_value_info(STEP, TensorProto.FLOAT, []))
    return made


def accuracy_when_clipped(
    model: onnx.ModelProto, tensor: str, images: npt.NDArray[np.float32], labels: npt.ArrayLike
) -> Callable[[float], tuple[int, int]]:
    """threshold -> (images that are right, of how many) when `tensor` alone is rounded to symmetric INT8 with that
    threshold."""
    session, wanted, given = OrtSession(with_step(model, tensor)), np.asarray(labels), model.graph.input[0].name

    def right(threshold: float) -> tuple[int, int]:
        (logits,) = session.run({given: images, STEP: np.array(threshold / LEVELS, np.float32)}).values()
        return int((logits.argmax(axis=1) == wanted).sum()), wanted.size

    return right
