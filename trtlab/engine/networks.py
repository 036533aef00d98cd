"""engine/networks: three teaching networks, from torch to ONNX.

In: a name (`MODELS` lists them), or your own `torch.nn.Module` with example inputs. Out: an eval-mode module,
example inputs, an `onnx.ModelProto`. Importing this file loads neither torch nor onnx; using it does. Checked
by tests/engine/test_networks.py: same weights each time, outputs worth comparing, ONNX Runtime agrees.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_SEED = 0
INPUTS_SEED = 1
BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class TeachingModel:
    """One network that lessons use: what it is, how to make it, what to feed it.

    `batch` is what lessons use; `sample_shape` is one input without its batch axis, which is axis 0 everywhere.
    `trained` is False where the weights are random: outputs then test arithmetic and mean nothing.
    """

    name: str
    title: str
    what: str
    trained: bool
    sample_shape: tuple[int, ...]
    batch: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    maker: "Callable[[], nn.Module]"
    sampler: "Callable[[int, tuple[int, ...]], Tensor]"

    def make(self) -> "nn.Module":
        """A fresh FP32 module in eval mode; every call gives the same weights and leaves torch's random state
        alone."""
        return self.maker().eval()

    def example_inputs(self, batch: int = 1) -> "tuple[Tensor, ...]":
        """One FP32 tensor [batch, *sample_shape], the same on every call. Raises ValueError for batch < 1."""
        if batch < 1:
            raise ValueError(f"{self.name} needs a batch of at least one sample: got batch={batch}; use 1 or more")
        return (self.sampler(batch, self.sample_shape),)

    def input_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Each input's shape at that batch, as an optimisation profile wants it: {"image": (8, 1, 8, 8)}."""
        return dict.fromkeys(self.input_names, (batch, *self.sample_shape))

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The axes that `export_onnx(..., dynamic_batch=True)` leaves open: {"image": {0: "batch"}, ...}."""
        return {name: {0: BATCH} for name in (*self.input_names, *self.output_names)}


def teaching_model(name: str) -> TeachingModel:
    """The teaching model of that name. Raises ValueError that lists the names there are."""
    if name not in MODELS:
        raise ValueError(
            f"there is no teaching model {name!r}: expected one of {', '.join(MODELS)}; "
            "for a network of your own pass the torch module and its example inputs"
        )
    return MODELS[name]


def _make_digits() -> "nn.Module":
    from trtlab.engine.digits import load_digits_model

    return load_digits_model()


def _make_resnet18() -> "nn.Module":
    from trtlab.engine import modules

    return _seeded(modules.ResNet18)


def _make_transformer() -> "nn.Module":
    from trtlab.engine import modules

    return _seeded(modules.TransformerBlock)


def _seeded(network: "Callable[[], nn.Module]") -> "nn.Module":
    """The network with random but sensible weights from `WEIGHTS_SEED`; the caller's random state is kept."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(WEIGHTS_SEED)
        module = network()
        with torch.no_grad():
            for layer in module.modules():
                _randomise(layer)
    return module


def _randomise(layer: "nn.Module") -> None:
    """He initialisation for convolutions; norms far enough from the identity that folding one wrongly would
    show."""
    from torch import nn

    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
        nn.init.uniform_(layer.weight, 0.4, 1.0)
        nn.init.normal_(layer.bias, std=0.1)
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
        nn.init.normal_(layer.running_mean, std=0.1)
        nn.init.uniform_(layer.running_var, 0.5, 1.5)


def _normal_samples(batch: int, shape: tuple[int, ...]) -> "Tensor":
    """Standard normal values [batch, *shape]; sample i is the same whatever the batch."""
    import torch

    generator = torch.Generator().manual_seed(INPUTS_SEED)
    return torch.randn(batch, *shape, generator=generator)


def _digit_scans(batch: int, _shape: tuple[int, ...]) -> "Tensor":
    """The first `batch` scans of the test split, from the beginning again after the last."""
    import numpy as np
    import torch

    from trtlab.engine.digits import load_digits_split

    images = load_digits_split().test_images
    return torch.from_numpy(images[np.arange(batch) % len(images)])


_ALL = (
    TeachingModel(
        name="digits",
        title="Digits CNN",
        what="A convolutional network of 38,122 parameters with one residual block. It reads real 8x8 scans "
        "of handwritten digits (scikit-learn's bundled set); trained, at least 97 of 100 unseen scans right.",
        trained=True,
        sample_shape=(1, 8, 8),
        batch=16,
        input_names=("image",),
        output_names=("logits",),
        maker=_make_digits,
        sampler=_digit_scans,
    ),
    TeachingModel(
        name="resnet18",
        title="ResNet-18",
        what="The 18-layer residual network of He et al. 2015, 11,689,512 parameters. Random weights: "
        "its structure and cost are real, its answers mean nothing.",
        trained=False,
        sample_shape=(3, 224, 224),
        batch=1,
        input_names=("image",),
        output_names=("logits",),
        maker=_make_resnet18,
        sampler=_normal_samples,
    ),
    TeachingModel(
        name="transformer",
        title="Transformer encoder block",
        what="One pre-LN encoder block as in ViT: 128 tokens of 256 channels, 4 heads, a GELU MLP. "
        "Random weights: its structure and cost are real, its answers mean nothing.",
        trained=False,
        sample_shape=(128, 256),
        batch=1,
        input_names=("tokens",),
        output_names=("features",),
        maker=_make_transformer,
        sampler=_normal_samples,
    ),
)
MODELS: Mapping[str, TeachingModel] = MappingProxyType({model.name: model for model in _ALL})
