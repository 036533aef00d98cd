"""lab/clipping and lab/noise: one tensor rounded inside a network, and rules that choose between noisy times."""

import numpy as np
import onnx
import pytest

from trtlab.engine.networks import load_digits_split
from trtlab.engine.ort import OrtSession
from trtlab.lab import precision
from trtlab.lab.precision import STEP, accuracy_when_clipped, with_step
from trtlab.lab.race import RULES, chances, samples

SMALL = """<ir_version: 10, opset_import: ["": 20]> small (float[1,4] x) => (float[1,4] y, float[1,4] z) {
    t = Relu (x) y = Add (t, t) z = Neg (t) }"""


def test_every_reader_of_the_tensor_gets_it_rounded_and_clipped():
    x = np.array([[-1.0, 0.26, 1.0, 900.0]], np.float32)
    session = OrtSession(with_step(onnx.parser.parse_model(SMALL), "t"))
    found = session.run({"x": x, STEP: np.array(0.5, np.float32)})
    want = np.array([[0.0, 0.5, 1.0, 63.5]], np.float32)  # 127 steps at most
    assert (found["y"] == 2 * want).all()
    assert (found["z"] == -want).all()


def test_a_tensor_that_is_not_there_is_named_with_the_others():
    with pytest.raises(ValueError, match=r"no tensor 'q' in the model: expected one of t, y, z"):
        with_step(onnx.parser.parse_model(SMALL), "q")


def test_a_wide_threshold_loses_what_the_outliers_take_and_a_tiny_one_all():
    split = load_digits_split()
    right = accuracy_when_clipped(
        precision.network("transformer"), "layer_norm_2", split.test_images, split.test_labels
    )
    (tiny, total), (good, _), (wide, _) = right(0.01), right(190.0), right(1e6)
    assert total == 450
    assert tiny < good - 50
    assert wide < good - 50
    assert right(190.0) == (good, total)


def test_noise_only_adds_and_the_same_seed_gives_the_same_times():
    first, second = samples(gap=100, noise=50, spikes=20, rounds=200, seed=3)
    assert (first, second) == samples(gap=100, noise=50, spikes=20, rounds=200, seed=3)
    assert min(first) >= 100
    assert min(second) >= 90
    assert sum(value > 115 for value in first) in range(15, 80)  # spikes


def test_rules_find_the_faster_one_and_only_one_of_them_settles_a_tie():
    clear, tie = chances(gap=150, noise=20, spikes=0, rounds=12), chances(gap=0, noise=40, spikes=10, rounds=10)
    assert list(clear) == list(RULES)
    assert min(clear.values()) > 0.95
    assert tie["ahead of the spread"] < 0.2
    assert all(0.3 < share < 0.7 for name, share in tie.items() if name != "ahead of the spread")
