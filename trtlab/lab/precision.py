"""lab/precision: what a number format costs a trained network: accuracy and bytes, and which layers are to blame.

In: a trained network, formats, a calibrator. Out: frozen `Row`s: how many of 450 unseen scans are right, with
an interval, and how many answers are still those of FP32. FP16, INT8 and FP8 run in ONNX Runtime; of formats that it
lacks the rounded values run in FP32, and the row says `simulated`. Checked by tests/lab/test_precision.py.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from trtlab.engine.measure import one_thread
from trtlab.engine.networks import TRAINED, load_digits_split
from trtlab.engine.ort import OptimizationLevel, OrtSession
from trtlab.engine.precision import collect, convert
from trtlab.graph import optimize
from trtlab.graph.precision import insert_qdq, quantizable
from trtlab.numeric import FORMATS
from trtlab.numeric.calibrate import CALIBRATORS, Histogram, Threshold
from trtlab.numeric.units import counted

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]
BATCH, INT4_BLOCK = 64, 32
FLOATS, SCALED, BLOCKS = ("FP32", "FP16", "BF16"), ("INT8", "FP8_E4M3"), ("NVFP4", "MXFP4")


@functools.cache
def network(name: str) -> onnx.ModelProto:
    """A trained network with its BatchNorms folded, as TensorRT folds them before anything is rounded."""
    if name not in TRAINED:
        raise ValueError(f"there is no trained network {name!r}: expected one of {', '.join(TRAINED)}")
    return optimize(onnx.load(TRAINED[name].path), ("conv_bn_folding",))[0]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A product with weights: its node and its name, the tensor of activations it reads, its initializer, and which
    axes of the weights count outputs and inputs: one and the same if depthwise."""

    node: onnx.NodeProto
    name: str
    reads: str
    weight: str
    output_axis: int
    input_axis: int


def layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Convolutions and matrix products with weights, in order."""
    found, weights = [], {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            ints = {a.name: a.i for a in node.attribute}
            out = 0 if node.op_type == "Conv" or ints.get("transB") else 1
            axes = {"output_axis": out, "input_axis": 0 if ints.get("group", 1) > 1 else 1 - out}
            found.append(Layer(node=node, name=node.name, reads=node.input[0], weight=node.input[1], **axes))
    return tuple(found)


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    """Every initializer by name, as arrays of one's own."""
    return {tensor.name: np.array(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}


def with_weights(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """A copy of the model with these values in its initializers of those names."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in made.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    return made


@functools.cache
def histograms(name: str) -> dict[str, Histogram]:
    """Of a trained network, from all 512 scans of the calibration part."""
    images = load_digits_split().calibration_images
    return collect(network(name), np.split(images, range(BATCH, len(images), BATCH)))


def thresholds(histograms: Mapping[str, Histogram], calibrator: str = "max") -> dict[str, Threshold]:
    """Where the calibrator of that name clips each tensor. ValueError for another name."""
    if calibrator not in CALIBRATORS:
        raise ValueError(f"there is no calibrator {calibrator!r}: expected one of {', '.join(CALIBRATORS)}")
    return {name: CALIBRATORS[calibrator](histogram) for name, histogram in histograms.items()}


# --- accuracy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a network answers in some formats: `right` of `total` scans, `same` as in FP32; `how` says what ran."""

    name: str
    how: str
    right: int
    same: int
    total: int
    weights_bytes: int

    @property
    def accuracy(self) -> float:
        """The share that is right."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, 95 times of 100."""
        return wilson(self.right, self.total)


def wilson(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (JASA 22, 1927); right near 0 and 1, where p +- z sqrt(pq/n) is not.

    >>> wilson(10, 10)
    (0.7224..., 1.0)
    """
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"a share is of at least one: got {right} of {total}")
    p, n = right / total, total
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def _rounded(fmt: str, array: Array, **how: Any) -> tuple[Array, int]:
    """Values as they come back from the format, and bits."""
    kind: Any = FORMATS[fmt]
    if fmt in FLOATS:
        return kind.decode(kind.encode(array)), kind.bits * array.size
    made = kind.quantize(array, **how)
    return made.values, made.size_bits


def rounded_weights(
    model: onnx.ModelProto, formats: Mapping[str, str], grain: str = "channel"
) -> tuple[dict[str, Array], int]:
    """The weights of layers as they come back from their formats, and how many bytes all weights take then.

    `grain`: one scale for a `tensor`, for each output `channel`, or for each `block` of 32 along what is summed over;
    MXFP4 and NVFP4 have blocks of their own. What is not named stays FP32. ValueError for a name that is not there.
    """
    weights, changed, known = weights_of(model), dict[str, Array](), {layer.name for layer in layers(model)}
    for given, there in ((formats, known), (formats.values(), FORMATS), ([grain], ("tensor", "channel", "block"))):
        if wrong := [one for one in given if one not in there]:
            raise ValueError(f"there is no {wrong[0]!r}: expected one of {', '.join(there)}")
    size = sum(array.nbytes for array in weights.values() if array.dtype == np.float32)
    for layer in layers(model):
        array, axis, fmt = weights[layer.weight], layer.output_axis, formats.get(layer.name, "FP32")
        block = {"axis": 1 - axis, "partial": True} | ({} if fmt in BLOCKS else {"block": INT4_BLOCK})
        how = {"tensor": {}, "channel": {"axis": axis}, "block": block}["block" if fmt in BLOCKS else grain]
        values, bits = _rounded(fmt, array.reshape(len(array), -1), **how)
        changed[layer.weight] = values.reshape(array.shape)
        size += -(-bits // 8) - array.nbytes
    return changed, size


def logits(
    model: onnx.ModelProto, images: Array, formats: Mapping[str, str], grain: str = "channel",
    reads: str = "FP32", at: Mapping[str, Threshold] | None = None,
) -> Array:  # fmt: skip
    """[N, 10] with weights of the named layers in those formats, and what these layers read in the format `reads`.

    INT8 and FP8_E4M3 are Q/DQ with the thresholds `at`, run by ONNX Runtime, weights in one format; CalibrationError
    says which tensor has none. Else values are rounded, NVFP4 and MXFP4 in blocks of channels as they come.
    """
    if reads in SCALED and formats:
        leave = quantizable(model).keys() - formats.keys() if len(formats) < len(layers(model)) else ()
        kinds: Any = {"activations": reads, "weights": max(formats.values()), "per_channel": grain == "channel"}
        return _answers(insert_qdq(model, at or {}, leave=leave, **kinds), images)
    if set(formats.values()) <= {"FP32"} or {*formats.values(), reads} == {"FP16"}:
        return _answers(convert(model, "FP16") if reads == "FP16" else model, images)
    return _simulated(model, images, formats, grain, reads)


def _answers(model: onnx.ModelProto, images: Array) -> Array:
    """By ONNX Runtime, its own fusions off: with them, version 1.32 loses a ReLU before a QuantizeLinear to FP8."""
    feeds = {model.graph.input[0].name: images}
    return OrtSession(model, level=OptimizationLevel.BASIC, threads=1).run(feeds)[model.graph.output[0].name]


def _simulated(model: onnx.ModelProto, images: Array, formats: Mapping[str, str], grain: str, reads: str) -> Array:
    """By torch, node by node, in FP32."""
    import torch

    from trtlab.engine.precision import run_eagerly

    kept = {layer.reads for layer in layers(model) if layer.name in formats}
    weights = weights_of(model) | rounded_weights(model, formats, grain)[0]

    def rounded(name: str, x: "Tensor") -> "Tensor":
        how = {"axis": 1 if x.ndim == 4 else -1, "partial": True} if reads in BLOCKS else {}
        return torch.from_numpy(_rounded(reads, x.numpy(), **how)[0]) if name in kept else x

    with torch.no_grad(), one_thread():
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        return run_eagerly(model, torch.from_numpy(np.array(images)), tensors, rounded).numpy()


def row(model: onnx.ModelProto, name: str, formats: str | Mapping[str, str], **how: Any) -> Row:
    """The model on the test part. `formats`: one for all layers, or by a layer's name; the rest as of `logits`."""
    split, reads = load_digits_split(), how.get("reads", "FP32")
    plan = {layer.name: formats for layer in layers(model)} if isinstance(formats, str) else formats
    said = logits(model, split.test_images, plan, **how).argmax(axis=1)
    before = _plain(model.SerializeToString())
    counts = {"right": int((said == split.test_labels).sum()), "same": int((said == before).sum()), "total": len(said)}
    size = rounded_weights(model, plan, how.get("grain", "channel"))[1]
    runs = reads in SCALED or {*plan.values(), reads} in ({"FP32"}, {"FP16"})
    return Row(name=name, how="ONNX Runtime" if runs else "simulated", weights_bytes=size, **counts)


@functools.lru_cache(maxsize=8)
def _plain(model: bytes) -> Array:
    """What a model in FP32 answers on the test part."""
    return _answers(onnx.ModelProto.FromString(model), load_digits_split().test_images).argmax(axis=1)


def accuracy(name: str) -> tuple[Row, ...]:
    """A trained network in every format, INT8 by each calibrator; some seconds."""
    model, seen = network(name), histograms(name)
    cases = [(fmt, fmt, "channel", fmt, "max") for fmt in FLOATS]
    for grain in ("tensor", "channel"):
        cases += [(f"INT8, {kind}, weights per {grain}", "INT8", grain, "INT8", kind) for kind in CALIBRATORS]
    cases.append(("FP8_E4M3, max", "FP8_E4M3", "tensor", "FP8_E4M3", "max"))
    for grain in ("tensor", "channel", "block"):
        cases.append((f"INT4 weights alone, per {grain}", "INT4", grain, "FP32", "max"))
    cases += [(f"{fmt} weights alone", fmt, "block", "FP32", "max") for fmt in BLOCKS]
    cases += [(f"{fmt}, weights and activations", fmt, "block", fmt, "max") for fmt in BLOCKS]
    return tuple(
        row(model, title, fmt, grain=grain, reads=reads, at=thresholds(seen, kind))
        for title, fmt, grain, reads, kind in cases
    )


# --- how much is enough, and who is to blame --------------------------------------------------------------------------


def images_needed(
    name: str, calibrator: str = "max", counts: Iterable[int] = (1, 2, 4, 16, 64, 256), draws: int = 5
) -> dict[int, tuple[float, ...]]:
    """Number of scans -> INT8 accuracies, by thresholds from so many of the calibration part, drawn some times."""
    model, images, rng = network(name), load_digits_split().calibration_images, np.random.default_rng(0)
    found = dict[int, tuple[float, ...]]()
    for count in counts:
        chosen = [images[rng.choice(len(images), count, replace=False)] for _ in range(draws)]
        at = [thresholds(collect(model, [batch]), calibrator) for batch in chosen]
        found[count] = tuple(row(model, calibrator, "INT8", reads="INT8", at=one).accuracy for one in at)
    return found


def sensitivity(name: str, fmt: str = "INT4", grain: str = "channel") -> dict[str, float]:
    """Layer -> signal over noise of the logits in dB where it alone is rounded, most sensitive first: INT8 weights and
    activations, of other formats the weights. On calibration scans: needs no labels."""
    model, images, found = network(name), load_digits_split().calibration_images, dict[str, float]()
    exact, at, reads = logits(model, images, {}), thresholds(histograms(name)), fmt if fmt in SCALED else "FP32"
    for layer in layers(model):
        noise = logits(model, images, {layer.name: fmt}, grain, reads, at) - exact
        found[layer.name] = 10 * math.log10(np.square(exact).sum() / max(np.square(noise).sum(), 1e-30))
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def mixed(name: str, low: str = "INT4", high: str = "INT8", grain: str = "channel") -> tuple[Row, ...]:
    """Weights in `low`, but those of the 0, 1, 2, ... most sensitive layers in `high`."""
    order, found = list(sensitivity(name, low, grain)), []
    for kept in range(len(order) + 1):
        plan = {layer: high if place < kept else low for place, layer in enumerate(order)}
        found.append(row(network(name), f"{counted(kept, 'layer')} in {high}", plan, grain=grain))
    return tuple(found)


# --- one tensor alone -------------------------------------------------------------------------------------------------

LEVELS = 127


def accuracy_when_clipped(
    model: onnx.ModelProto, tensor: str, images: Array, labels: npt.ArrayLike
) -> Callable[[float], tuple[int, int]]:
    """threshold -> (images that are right, of how many) when layers read `tensor` in symmetric INT8 with that
    threshold, and nothing else is rounded. ValueError for what no layer reads."""
    import torch

    from trtlab.engine.precision import run_eagerly

    known = sorted({layer.reads for layer in layers(model)})
    if tensor not in known:
        raise ValueError(f"no layer of the model reads {tensor!r}: expected one of {', '.join(known)}")
    weights = {name: torch.from_numpy(array) for name, array in weights_of(model).items()}
    given, wanted = torch.from_numpy(np.array(images)), np.asarray(labels)

    def right(threshold: float) -> tuple[int, int]:
        step = threshold / LEVELS

        def rounded(name: str, x: "Tensor") -> "Tensor":
            return (x / step).round().clamp(-1 - LEVELS, LEVELS) * step if name == tensor else x

        with torch.no_grad(), one_thread():
            said = run_eagerly(model, given, weights, rounded).argmax(dim=1).numpy()
        return int((said == wanted).sum()), wanted.size

    return right
