"""engine/digits: it really trains, the shipped file scores what it says, and the test split stays unseen."""

import numpy as np
import onnx
import pytest
import torch

from trtlab.engine import digits
from trtlab.engine.ort import OrtSession


@pytest.fixture(scope="module")
def split():
    return digits.load_digits_split()


@pytest.fixture(scope="module")
def trained():
    return digits.train(seed=0)


def shipped_logits(images):
    return OrtSession(digits.DIGITS_ONNX, threads=1).run({"image": images})["logits"]


def test_split_is_the_whole_data_set_in_two_disjoint_parts(split):
    assert split.train_images.shape == (1347, 1, 8, 8)
    assert split.test_images.shape == (450, 1, 8, 8)
    assert split.train_images.dtype == np.float32
    assert split.train_images.min() == 0.0
    assert split.train_images.max() == 1.0
    train_scans = {image.tobytes() for image in split.train_images}
    assert not any(image.tobytes() in train_scans for image in split.test_images)
    assert np.bincount(split.test_labels).min() >= 40  # stratified: every digit is there about equally often


def test_split_is_read_only(split):
    with pytest.raises(ValueError, match="read-only"):
        split.test_images[0] = 0


def test_training_reaches_97_percent_on_unseen_scans(trained, split):
    model, history = trained
    assert digits.accuracy(digits.predict_with(model), split) >= 0.97
    assert len(history) == digits.EPOCHS
    assert history[-1].loss < history[0].loss
    assert not model.training


def test_training_again_gives_the_same_weights_and_keeps_the_callers_random_state():
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    first, _ = digits.train(seed=5, epochs=1)
    assert torch.equal(torch.rand(3), expected)
    second, _ = digits.train(seed=5, epochs=1)
    other, _ = digits.train(seed=6, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.fc.weight, other.fc.weight)


def test_training_never_reads_the_test_part(split, trained):
    nothing = np.full_like(split.test_images, np.nan)
    blind = digits.DigitsSplit(
        train_images=split.train_images, train_labels=split.train_labels,
        test_images=nothing, test_labels=np.zeros_like(split.test_labels),
    )  # fmt: skip
    model, _ = digits.train(seed=0, split=blind)
    assert torch.equal(model.fc.weight, trained[0].fc.weight)


def test_training_needs_an_epoch():
    with pytest.raises(ValueError, match="got epochs=0"):
        digits.train(epochs=0)


def test_accuracy_refuses_labels_in_place_of_logits(split):
    with pytest.raises(ValueError, match="return the logits, not the labels"):
        digits.accuracy(lambda images: np.zeros(len(images)), split)


def test_accuracy_counts_by_hand(split):
    """Always answering 3 is right exactly as often as a 3 is in the test part."""
    only_three = np.zeros(10)
    only_three[3] = 1
    share = (split.test_labels == 3).mean()
    assert digits.accuracy(lambda images: np.tile(only_three, (len(images), 1)), split) == share


def test_shipped_file_is_valid_small_and_self_contained():
    assert digits.DIGITS_ONNX.stat().st_size < 400_000
    model = onnx.load(digits.DIGITS_ONNX, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert {"dataset", "seed", "epochs", "test_accuracy", "torch_version"} <= facts.keys()


def test_shipped_file_scores_what_its_metadata_says(split):
    facts = {entry.key: entry.value for entry in onnx.load(digits.DIGITS_ONNX).metadata_props}
    score = digits.accuracy(shipped_logits, split)
    assert score >= 0.97
    assert float(facts["test_accuracy"]) == pytest.approx(score, abs=0.0023)  # one scan of 450


def test_torch_twin_of_the_shipped_file_agrees_with_onnx_runtime(split):
    twin = digits.predict_with(digits.load_digits_model())(split.test_images)
    np.testing.assert_allclose(twin, shipped_logits(split.test_images), rtol=1e-4, atol=1e-4)


def test_remade_file_scores_as_well(tmp_path, split):
    path = tmp_path / "digits.onnx"
    proto = digits.save_digits_onnx(path)
    session = OrtSession(path)
    assert digits.accuracy(lambda images: session.run({"image": images})["logits"], split) >= 0.97
    shipped = onnx.load(digits.DIGITS_ONNX)
    assert [node.name for node in proto.graph.node] == [node.name for node in shipped.graph.node]
