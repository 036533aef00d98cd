"""lab/race: races, builds, guesses, chances, errors and noise, against what must be so on any machine."""

import numpy as np
import onnx
import pytest

from tests.graph.random_models import run as reference
from trtlab.engine import glassbox
from trtlab.engine.measure import live
from trtlab.graph.cost import Device, model_cost
from trtlab.graph.models import conv, product
from trtlab.lab import race as lab
from trtlab.lab.race import Build, Raced
from trtlab.plan.tactics import Candidate, Race, chances

pytest.importorskip("numba")
PROBLEMS = (conv(8, 6), conv(8, 5, 16, kernel=1, batch=2), product(3, 8, 5))


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_a_race_times_every_tactic_that_fits_in_every_round(problem):
    model = problem.model()
    onnx.checker.check_model(model, full_check=True)
    feeds = {
        "x": np.random.default_rng(0).standard_normal(
            [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim], np.float32
        )
    }
    got = glassbox.build(model).create_execution_context().run(feeds)["y"]
    np.testing.assert_allclose(got, reference(model, feeds)["y"], atol=1e-4)
    found = lab.race(problem)
    assert {len(c.samples_s) for c in found.race.candidates} == {48}
    assert {"torch", "generated" if problem.sizes[-1] != 3 else "onednn"} <= {c.name for c in found.race.candidates}
    assert ("winograd" in {c.name for c in found.race.candidates}) == (problem.sizes[-1] == 3)
    assert found.provenance.samples == 48


def test_the_products_are_the_same_numbers_in_four_ways():
    taken = lab.products(64)
    assert list(taken) == ["number by number", "row by row", "registers", "library"]
    assert all(m.median_s > 0 for m in taken.values())


def raced(problem, **samples):
    candidates = tuple(Candidate(name=n, preference=i, state="slower", samples_s=s, error=0.0)
                       for i, (n, s) in enumerate(samples.items()))  # fmt: skip
    winner = min(samples, key=lambda name: min(samples[name]))
    return Raced(problem=problem, race=Race(winner=winner, candidates=candidates), provenance=live())


def test_the_roofline_guesses_by_operations_and_bytes():
    """Direct: 2 x 9 x 64 x 64 operations a pixel; Winograd 36/16 of 64 x 64 multiply-adds, and its transforms."""
    slow, narrow = Device(name="", flops=1.0, bandwidth=1e30), Device(name="", flops=1e30, bandwidth=1.0)
    found = raced(conv(64, 56), onednn=(3.0,), winograd=(2.0,), torch=(4.0,))
    by_flops, by_bytes = (lab.guess(found, device) for device in (slow, narrow))
    products = 2 * 56 * 56 * 64 * 64
    assert by_flops.predicted_s["onednn"] == 9 * products
    assert 36 / 16 * products < by_flops.predicted_s["winograd"] < 4.5 * products
    assert (by_flops.choice, by_flops.is_right, by_flops.loss) == ("winograd", True, 1.0)
    assert by_bytes.predicted_s["onednn"] == 4 * (56 * 56 * 128 + 9 * 64 * 64)
    assert (by_bytes.choice, by_bytes.is_right, by_bytes.loss) == ("onednn", False, 1.5)
    whole = model_cost(product(128, 256, 1024).model())
    assert lab.guess(raced(product(128, 256, 1024), a=(1.0,)), slow).predicted_s["a"] == whole.flops - 2 * 128 * 1024


def test_chances_grow_with_rounds_and_a_load_spoils_the_median():
    rng = np.random.default_rng(0)
    noise = lambda: 1 + rng.exponential(0.005, 48) + (rng.random(48) < 0.45) * rng.exponential(3, 48)  # noqa: E731
    found = chances(raced(PROBLEMS[0], preferred=tuple(1.1 * noise()), other=tuple(noise())).race)
    assert [*found] == [1, 2, 4, 8, 16, 32]
    for rule in ("least", "median", "spread"):
        assert all(0 <= row[rule] <= 1 for row in found.values())
    assert found[32]["least"] > 0.99 > found[32]["median"]
    assert found[32]["spread"] > 0.9 > found[4]["spread"] > found[1]["spread"] == 0
    equal = chances(raced(PROBLEMS[0], preferred=tuple(noise()), other=tuple(3 * noise())).race)
    assert equal[32]["spread"] == 1  # nobody is ahead of the preferred one


def test_narrower_numbers_cost_accuracy_and_so_does_winograd():
    found = lab.accuracies(16, 12)
    fp32, winograd, tf32, fp16, bf16, summed = found.values()
    assert 0 < fp32 < winograd < 1e-4 < tf32 < bf16 < 2e-2
    assert abs(fp16 / tf32 - 1) < 0.1  # ten bits of fraction both
    assert fp16 < summed < 2e-2


def test_builds_are_compared_kernel_by_kernel():
    def one(*tactics):
        return Build(how="", build_s=1.0, tactics=tuple(zip("abc", tactics, strict=True)), sha256="")

    assert lab.differing([one("x", "y", "z"), one("x", "w", "z")]) == ((1, "b", ("y", "w")),)
    assert lab.differing([one("x", "y", "z")] * 3) == ()


@pytest.mark.slow
def test_a_cache_repeats_a_build():
    none, *filled = lab.cached("digits")
    assert [b.how for b in filled] == ["no cache yet", "from the cache", "from the cache again"]
    assert len({b.sha256 for b in filled}) == 1
    assert len(none.tactics) == len(filled[0].tactics)


def test_noise_only_adds_is_the_same_of_a_seed_and_only_one_rule_settles_a_tie():
    first, second = lab.samples(gap=100, noise=50, spikes=20, rounds=200, seed=3)
    assert (first, second) == lab.samples(gap=100, noise=50, spikes=20, rounds=200, seed=3)
    assert (min(first) >= 100, min(second) >= 90) == (True, True)
    assert sum(value > 115 for value in first) in range(15, 80)  # spikes
    clear = lab.chances(gap=150, noise=20, spikes=0, rounds=12)
    tie = {**lab.chances(gap=0, noise=40, spikes=10, rounds=10)}
    assert list(clear) == list(lab.RULES)
    assert min(clear.values()) > 0.95
    assert tie.pop("ahead of the spread") < 0.2
    assert all(0.3 < share < 0.7 for share in tie.values())
