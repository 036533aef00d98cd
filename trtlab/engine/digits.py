"""engine/digits: the data and the file of a small network that was trained on real scans.

In: scikit-learn's bundled digits, 1,797 scans of 8x8 pixels. Out: `DIGITS_ONNX`, the trained network that lessons start
from, and the split whose test part it has never seen. scikit-learn loads when the split is asked for. Checked by
tests/engine/test_networks.py, which scores the file and compares with what its metadata says.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

DIGITS_ONNX = Path(__file__).parents[1] / "data" / "digits.onnx"
"""Input "image" ["batch", 1, 8, 8], output "logits" ["batch", 10]. BatchNorm nodes are kept, weights have torch's
names, and `metadata_props` tell the data set, seed, epochs, test accuracy and torch version of the training."""

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DigitsSplit:
    """Images [N, 1, 8, 8] in 0..1 and labels [N] in 0..9, read-only; 1,347 scans to train on, 450 to test with."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


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
