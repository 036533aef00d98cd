"""engine/digits: the data and the files of three small networks that were trained on real scans.

In: scikit-learn's bundled digits, 1,797 scans of 8x8 pixels. Out: `DIGITS_ONNX`, the trained network that lessons start
from, `TRAINED`, all three, and the split whose test part none has seen. scikit-learn loads when the split is asked for.
Checked by tests/engine/test_networks.py, which scores the files and compares with what their metadata says.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

DIGITS_ONNX = Path(__file__).parents[1] / "data" / "digits.onnx"
"""Input "image" ["batch", 1, 8, 8], output "logits" ["batch", 10]. BatchNorm nodes are kept, weights have torch's
names, and `metadata_props` tell the data set, seed, epochs, test accuracy and torch version of the training."""

CALIBRATION_IMAGES = 512

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
        name: TrainedNetwork(name=name, title=title, hard=hard, path=DIGITS_ONNX.with_name(file))
        for name, title, hard, file in (
            ("digits", "CNN", "nothing: its weights and activations are all of one size", "digits.onnx"),
            ("depthwise", "depthwise-separable CNN", "weights of some channels, a hundred times as large as of others",
             "digits_depthwise.onnx"),
            ("transformer", "transformer", "two channels of activations, a hundred times as large as the others",
             "digits_transformer.onnx"),
        )
    }
)  # fmt: skip
"""The networks of the quantisation lessons; tools/train_digits makes the last two."""


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
    names = ("train_images", "test_images", "train_labels", "test_labels")
    return DigitsSplit(**dict(zip(names, parts, strict=True)))
