"""lab/repairs: what helps a network that rounding breaks: alike weights, alike activations, training with rounding.

In: an ONNX model with weights inside. Out: another with other weights; the first two compute the same function. Checked
by tests/lab/test_precision.py: the function is kept, the accuracy comes back.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx

from trtlab.engine.measure import one_thread
from trtlab.engine.networks import load_digits_split
from trtlab.lab.precision import BATCH, Array, Layer, layers, weights_of, with_weights
from trtlab.numeric.quantize import Groups

if TYPE_CHECKING:
    from torch import Tensor


def _largest(array: Array, axis: int) -> Array:
    """The largest magnitude for each index of the axis."""
    return np.abs(Groups(shape=array.shape, axis=axis).rows(array)).max(axis=1)


def _scale(weights: Mapping[str, Array], name: str, axis: int, factors: Array) -> None:
    """Multiply in place, one factor for each index of the axis."""
    array = weights[name]
    array *= Groups(shape=array.shape, axis=axis).spread(factors.astype(np.float32))


def _readers(model: onnx.ModelProto, name: str) -> list[str]:
    """Names of the nodes that read a tensor; "" for the caller of the model."""
    found = [node.name for node in model.graph.node for one in node.input if one == name]
    return found + ["" for value in model.graph.output if value.name == name]


def equalised(model: onnx.ModelProto, sweeps: int = 30) -> onnx.ModelProto:
    """The same function with alike weights: of layers with a ReLU alone between, channel i of the first is divided by
    s_i = sqrt(r1_i / r2_i) and of the second multiplied; r are largest magnitudes (arXiv 1906.04721, section 4.1)."""
    weights, found = weights_of(model), {layer.name: layer for layer in layers(model)}
    relus = {node.name: node.output[0] for node in model.graph.node if node.op_type == "Relu"}
    pairs = list[tuple[Layer, Layer]]()
    for first in found.values():
        after = _readers(model, first.node.output[0])
        behind = _readers(model, relus[after[0]]) if len(after) == 1 and after[0] in relus else []
        pairs += [(first, found[name]) for name in behind if len(behind) == 1 and name in found]
    for _ in range(sweeps):
        for first, second in pairs:
            r1 = _largest(weights[first.weight], first.output_axis)
            r2 = _largest(weights[second.weight], second.input_axis)
            s = np.where((r1 > 0) & (r2 > 0), np.sqrt(r1 / np.where(r2 > 0, r2, 1)), 1)
            for name in first.node.input[1:]:  # weights and biases
                _scale(weights, name, first.output_axis, 1 / s)
            _scale(weights, second.weight, second.input_axis, s)
    return with_weights(model, weights)


def smoothed(model: onnx.ModelProto, images: Array, alpha: float = 0.5) -> onnx.ModelProto:
    """The same function with alike activations: channel j behind a LayerNorm is divided by
    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), and what reads it multiplied (SmoothQuant, arXiv 2211.10438, eq. 4)."""
    import torch

    from trtlab.engine.precision import run_eagerly

    weights, peaks = weights_of(model), dict[str, Array]()

    def seen(name: str, x: "Tensor") -> "Tensor":
        peaks[name] = _largest(x.numpy(), x.ndim - 1)
        return x

    run_eagerly(model, torch.from_numpy(np.array(images)), {k: torch.from_numpy(v) for k, v in weights.items()}, seen)
    for node in model.graph.node:
        readers = [layer for layer in layers(model) if layer.reads == node.output[0] and layer.node.op_type != "Conv"]
        all_turn = len(readers) == len(_readers(model, node.output[0]))
        if node.op_type == "LayerNormalization" and readers and all_turn:
            most = np.max([_largest(weights[one.weight], one.input_axis) for one in readers], axis=0)
            s = np.maximum(peaks[node.output[0]], 1e-5) ** alpha / np.maximum(most, 1e-5) ** (1 - alpha)
            for name in node.input[1:]:
                _scale(weights, name, 0, 1 / s)
            for one in readers:
                _scale(weights, one.weight, one.input_axis, s)
    return with_weights(model, weights)


def fake_quantised(x: "Tensor", most: int, axis: int | None = None) -> "Tensor":
    """x rounded to codes up to `most`, one scale for all or for each index of `axis`; the gradient passes as if nothing
    had been rounded (the straight-through estimator, arXiv 1308.3432)."""
    others = [place for place in range(x.ndim) if place != axis]
    scale = x.detach().abs().amax(others, keepdim=True).clamp(min=1e-12) / most
    return x + ((x.detach() / scale).round() * scale - x.detach())


@one_thread()
def retrained(
    model: onnx.ModelProto, epochs: int = 6, rate: float = 1e-2, *, grain: str = "tensor", most: int = 127
) -> tuple[onnx.ModelProto, tuple[float, ...]]:
    """Quantisation-aware training from FP32: the model after so many epochs of the training part, and the mean loss of
    each. Weights are rounded to codes up to `most`, activations to INT8. Some seconds; seeded."""
    import torch

    from trtlab.engine.precision import run_eagerly

    split, weights = load_digits_split(), {k: torch.from_numpy(v) for k, v in weights_of(model).items()}
    images, labels = torch.from_numpy(np.array(split.train_images)), torch.from_numpy(np.array(split.train_labels))
    axes = {one.weight: one.output_axis if grain == "channel" else None for one in layers(model)}
    trained = [name for one in layers(model) for name in one.node.input[1:]]
    optimiser = torch.optim.Adam([weights[name].requires_grad_() for name in trained], rate)
    steps, generator, losses = epochs * -(-len(images) // BATCH), torch.Generator().manual_seed(0), list[float]()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
            now = {k: fake_quantised(v, most, axes[k]) if k in axes else v for k, v in weights.items()}
            said = run_eagerly(model, images[chosen], now, lambda _, x: fake_quantised(x, 127))
            optimiser.zero_grad()
            (loss := torch.nn.functional.cross_entropy(said, labels[chosen])).backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    made = with_weights(model, {name: weights[name].detach().numpy() for name in trained})
    return made, tuple(float(part.mean()) for part in np.split(np.array(losses), epochs))
