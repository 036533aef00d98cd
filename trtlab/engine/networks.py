"""engine/networks: the networks of the lessons, what to feed them, and the scans that some were trained on.

In: scikit-learn's bundled digits, 1,797 scans of 8x8 pixels; a name. Out: `DIGITS_ONNX`, the trained network that
lessons start from, `TRAINED`, all three, and the split whose test part none has seen; a frozen `TeachingModel`: an
eval-mode module, example inputs, labels where there are any. torch and scikit-learn load when they are used. Checked by
tests/engine/test_networks.py, which scores the files and compares with what their metadata says.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

DATA = Path(__file__).parents[1] / "data"
DIGITS_ONNX = DATA / "digits.onnx"
"""Input "image" ["batch", 1, 8, 8], output "logits" ["batch", 10]. BatchNorm nodes are kept, weights have torch's
names, and `metadata_props` tell the data set, seed, epochs, test accuracy and torch version of the training."""

CALIBRATION_IMAGES = 512
INPUTS_SEED = 1

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A file with input "image" ["batch", 1, 8, 8] and output "logits" ["batch", 10]; its `metadata_props` tell how it
    was trained. `hard`: what INT8 meets there."""

    name: str
    title: str
    hard: str
    path: Path


TRAINED: Mapping[str, TrainedNetwork] = MappingProxyType(
    {
        one["name"]: TrainedNetwork(path=DATA / one.pop("file"), **one)
        for one in json.loads((DATA / "trained.json").read_text("utf-8"))
    }
)
"""The networks of the quantisation lessons; tools/train_digits.py of commit 229f07c made the last two."""


@dataclass(frozen=True, kw_only=True)
class DigitsSplit:
    """Images [N, 1, 8, 8] in 0..1 and labels [N] in 0..9, read-only; 1,347 scans to train on, 450 to test with."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels

    @property
    def calibration_images(self) -> Images:
        """512 scans of the training part, in random order: calibration needs no labels and no test scans."""
        return self.train_images[:CALIBRATION_IMAGES]


@functools.cache
def load_digits_split() -> DigitsSplit:
    """The fixed, stratified split, always the same.

    Network, epochs and learning rate were chosen by cross-validation inside the training part. The test part took no
    part in training or in any choice.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, np.newaxis] / 16).astype(np.float32)  # pixels are counts 0..16
    labels = digits.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    for part in parts:
        part.flags.writeable = False
    train, test, train_labels, test_labels = parts
    return DigitsSplit(train_images=train, train_labels=train_labels, test_images=test, test_labels=test_labels)


# --- the teaching networks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TeachingModel:
    """One network that lessons use.

    `batch` is what lessons use; `sample_shape` is one input without its batch axis, which is axis 0 everywhere.
    `trained` is False where the weights are random: outputs then test arithmetic and mean nothing. A trained network is
    fed scans of digits that it has never seen.
    """

    name: str
    title: str
    what: str
    trained: bool
    sample_shape: tuple[int, ...]
    batch: int
    input_name: str
    output_name: str

    def make(self) -> "nn.Module":
        """A fresh FP32 module in eval mode, always with the same weights."""
        from trtlab.engine.modules import make_network

        return make_network(self.name, DIGITS_ONNX if self.trained else None)

    def example_input(self, batch: int = 1) -> "Tensor":
        """FP32 values [batch, *sample_shape]; sample i is the same on every call and at every batch. For the digits
        scans of the test split, from the beginning again after the last. ValueError for batch < 1."""
        import torch

        if batch < 1:
            raise ValueError(f"{self.name} needs a batch of at least one sample: got batch={batch}; use 1 or more")
        if self.trained:
            return torch.from_numpy(np.resize(load_digits_split().test_images, (batch, *self.sample_shape)))
        return torch.randn(batch, *self.sample_shape, generator=torch.Generator().manual_seed(INPUTS_SEED))

    def labels(self, batch: int = 1) -> Labels | None:
        """What the samples of `example_input(batch)` show; None where the weights are random."""
        return np.resize(load_digits_split().test_labels, batch) if self.trained else None


def teaching_model(name: str) -> TeachingModel:
    """The teaching model of that name. Raises ValueError that lists the names there are."""
    if name not in MODELS:
        own = "for a network of your own pass the torch module and its example inputs"
        raise ValueError(f"there is no teaching model {name!r}: expected one of {', '.join(MODELS)}; {own}")
    return MODELS[name]


MODELS: Mapping[str, TeachingModel] = MappingProxyType(
    {
        one["name"]: TeachingModel(**one | {"sample_shape": tuple(one["sample_shape"])})
        for one in json.loads((DATA / "networks.json").read_text("utf-8"))
    }
)
