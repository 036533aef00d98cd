"""engine/digits: a real network on real data, trained in seconds.

In: scikit-learn's bundled digits, 1,797 scans of 8x8 pixels. Out: the trained `DigitsCNN`, its accuracy, and
the file trtlab/data/digits.onnx that lessons start from. torch, scikit-learn and onnx load when a function is
called. Checked by tests/engine/test_digits.py, which trains, and scores the shipped file through ONNX
Runtime.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx
    import torch

    from trtlab.engine.modules import DigitsCNN

__all__ = [
    "DIGITS_ONNX", "DigitsSplit", "Epoch", "accuracy", "load_digits_model", "load_digits_split",
    "predict_with", "save_digits_onnx", "train",
]  # fmt: skip

DIGITS_ONNX = Path(__file__).parents[1] / "data" / "digits.onnx"
DATASET = "scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits, test part, 1,797 scans"
SPLIT_SEED = 0
TEST_SHARE = 0.25
EPOCHS = 10
BATCH_SIZE = 64
PEAK_LEARNING_RATE = 1e-2

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DigitsSplit:
    """Images [N, 1, 8, 8] in 0..1 and labels [N] in 0..9, read-only; 1,347 scans to train on, 450 to test
    with."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training scans: mean cross-entropy, and the share it got right while still
    learning."""

    number: int
    loss: float
    train_accuracy: float


@functools.cache
def load_digits_split() -> DigitsSplit:
    """The fixed, stratified split, always the same.

    Network, epochs and learning rate were chosen by cross-validation inside the training part. The test part
    took no part in training or in any choice.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, np.newaxis] / 16).astype(np.float32)  # pixels are counts 0..16
    labels = digits.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=labels)
    for part in parts:
        part.flags.writeable = False
    names = ("train_images", "test_images", "train_labels", "test_labels")
    return DigitsSplit(**dict(zip(names, parts, strict=True)))


def train(
    seed: int = 0, epochs: int = EPOCHS, split: DigitsSplit | None = None
) -> "tuple[DigitsCNN, tuple[Epoch, ...]]":
    """A trained network in eval mode and what each epoch did. Only the split's training part is read.

    The same seed and number of threads give the same weights on the same machine (sums follow the threads);
    torch's global random state is left as it was.
    Raises ValueError for epochs < 1.
    """
    import torch

    from trtlab.engine.modules import DigitsCNN

    if epochs < 1:
        raise ValueError(f"training needs at least one epoch: got epochs={epochs}; {EPOCHS} is a good number")
    split = split or load_digits_split()
    images, labels = torch.tensor(split.train_images), torch.tensor(split.train_labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsCNN()
        steps = epochs * -(-len(images) // BATCH_SIZE)
        optimiser = torch.optim.AdamW(model.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
        history = tuple(_epoch(number, model, images, labels, schedule) for number in range(1, epochs + 1))
    return model.eval(), history


def _epoch(
    number: int,
    model: "DigitsCNN",
    images: "torch.Tensor",
    labels: "torch.Tensor",
    schedule: "torch.optim.lr_scheduler.OneCycleLR",
) -> Epoch:
    """One shuffled pass; the weights move."""
    import torch

    model.train()
    loss_sum, right = 0.0, 0
    for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
        logits = model(images[chosen])
        loss = torch.nn.functional.cross_entropy(logits, labels[chosen])
        schedule.optimizer.zero_grad()
        loss.backward()
        schedule.optimizer.step()
        schedule.step()
        loss_sum += loss.item() * len(chosen)
        right += int((logits.argmax(1) == labels[chosen]).sum())
    return Epoch(number=number, loss=loss_sum / len(images), train_accuracy=right / len(images))


def accuracy(predict: Callable[[Images], npt.NDArray], split: DigitsSplit | None = None) -> float:
    """The share of test scans whose largest logit is the label; `predict` maps images [N, 1, 8, 8] to logits
    [N, 10].

    One scan is worth 1/450 = 0.0022.
    """
    split = split or load_digits_split()
    logits = predict(split.test_images)
    if logits.shape != (len(split.test_labels), 10):
        raise ValueError(
            f"predict gives one row of 10 logits per scan: expected shape {(len(split.test_labels), 10)}, "
            f"got {logits.shape}; return the logits, not the labels"
        )
    return float((logits.argmax(axis=1) == split.test_labels).mean())


def predict_with(model: "torch.nn.Module") -> Callable[[Images], npt.NDArray]:
    """The network as a function from images to logits, both numpy: what `accuracy` takes."""
    import torch

    def predict(images: Images) -> npt.NDArray:
        with torch.no_grad():
            return model(torch.tensor(images)).numpy()

    return predict


def load_digits_model(path: Path | str = DIGITS_ONNX) -> "DigitsCNN":
    """The trained network in torch, weights read back from the ONNX file; loads in milliseconds, in eval
    mode."""
    import onnx
    import torch

    from trtlab.engine.modules import DigitsCNN

    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    with torch.random.fork_rng(devices=[]):  # a new network draws weights, which are replaced below
        model = DigitsCNN()
    state = model.state_dict()
    for name in state:
        if not name.endswith("num_batches_tracked"):  # a counter that only training reads
            state[name] = torch.tensor(stored[name])
    model.load_state_dict(state)
    return model.eval()


def save_digits_onnx(path: Path | str = DIGITS_ONNX, seed: int = 0) -> "onnx.ModelProto":
    """Train, score and write the digits network as one ONNX file; returns what was written.

    Input "image" ["batch", 1, 8, 8], output "logits" ["batch", 10]. BatchNorm nodes are kept (torch's
    exporter would fold them away), so that a compiler has something to fold and every weight keeps the name
    it has in torch. `metadata_props` tell seed, epochs, test accuracy, torch version and data set.
    """
    import onnx
    import torch

    from trtlab.engine.export import export_onnx
    from trtlab.engine.networks import MODELS

    model, history = train(seed)
    digits = MODELS["digits"]
    proto = export_onnx(
        model, digits.example_inputs(), dynamic_batch=True, fold_batchnorm=False,
        input_names=digits.input_names, output_names=digits.output_names,
    )  # fmt: skip
    proto.graph.name = "digits"
    facts = {
        "dataset": DATASET,
        "seed": str(seed),
        "epochs": str(len(history)),
        "test_accuracy": f"{accuracy(predict_with(model)):.4f}",
        "torch_version": torch.__version__,
    }
    onnx.helper.set_model_props(proto, facts)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    return proto
