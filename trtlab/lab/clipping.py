"""lab/clipping: what the clipping of one activation costs a network, in images: the part behind it runs again.

In: a model with one input and one output, the name of a tensor in the middle, labelled images. Out: the tensor's
values, and a function from a threshold to how many images are right. ONNX Runtime runs both parts.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import onnx.utils

from trtlab.engine.ort import OrtSession

Array = npt.NDArray[np.float32]


def cut(model: onnx.ModelProto, tensor: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The model up to `tensor`, and from there on. ValueError when the rest needs more than that tensor."""
    inferred = onnx.shape_inference.infer_shapes(model)
    known = sorted({name for node in model.graph.node for name in node.output})
    if tensor not in known:
        raise ValueError(f"no tensor {tensor!r} in the model: expected one of {', '.join(known)}")
    fed, given = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    extractor = onnx.utils.Extractor(inferred)
    head, tail = extractor.extract_model(fed, [tensor]), extractor.extract_model([tensor], given)
    made = {name for node in tail.graph.node for name in node.output} | {i.name for i in tail.graph.initializer}
    if missing := {name for node in tail.graph.node for name in node.input if name} - made - {tensor}:
        raise ValueError(f"what follows {tensor!r} also reads {', '.join(sorted(missing))}: choose a tensor all pass")
    return head, tail


def accuracy_when_clipped(
    model: onnx.ModelProto, tensor: str, images: Array, labels: npt.ArrayLike
) -> tuple[Array, Callable[[float], tuple[int, int]]]:
    """The values of `tensor` for these images; and threshold -> (images that are right, of how many) when it is
    quantised to symmetric INT8 with that threshold, and all else stays as it is."""
    head, tail = cut(model, tensor)
    values = OrtSession(head).run({model.graph.input[0].name: images})[tensor]
    behind, wanted = OrtSession(tail), np.asarray(labels)

    def right(threshold: float) -> tuple[int, int]:
        step = np.float32(threshold / 127)
        clipped = np.clip(np.rint(values / step), -128, 127) * step
        (logits,) = behind.run({tensor: clipped}).values()
        return int((logits.argmax(axis=1) == wanted).sum()), wanted.size

    return values, right
