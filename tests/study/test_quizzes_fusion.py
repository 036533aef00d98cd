"""study/quizzes/fusion: the answers again by other means, and worlds in which they are others."""

import math
from dataclasses import replace

import pytest

from trtlab.graph import optimize
from trtlab.lab import builds, record
from trtlab.study import quizzes

NAMES = [name for name in quizzes.names() if name.startswith("q2-")]
fusion = quizzes.fusion  # after the bank was read, which keeps its order


def test_there_are_quizzes_of_every_kind():
    assert len(NAMES) == 11
    assert {quizzes.load(name).kind for name in NAMES} == {"choice", "several", "number", "ordering"}


def test_numbers_by_hand():
    answers = {name: quizzes.load(name).truth.value for name in NAMES}
    assert answers["q2-fold-by-hand"] == pytest.approx(1.5 * 2 / math.sqrt(0.24 + 0.01))
    assert answers["q2-bytes-unfused"] == (3 + 3 + 2) * 256 * 4
    assert answers["q2-three-to-one"] == (3 + 3 + 2) / (3 + 1)
    assert answers["q2-folded-weights"] == 2 * 4 * 4


def test_the_rules_work_in_that_order_in_one_sweep_each_and_not_in_another():
    order = [*quizzes.load("q2-rule-order").truth.value]

    def fused(rules):
        model = builds.model("conv_identity_bn_relu")
        steps = []
        for rule in rules:
            model, report = optimize(model, [rule])
            steps += report.steps
        return len(model.graph.node), len(steps)

    assert fused(order) == (1, 4)
    assert fused(["constant_folding", "dead_layers", *order[2:]]) == (1, 4)
    assert fused(reversed(order)) == (3, 2)


@pytest.fixture
def recorded(monkeypatch):
    """A machine without a compiler."""
    monkeypatch.setattr(fusion, "report_on", lambda name: builds.recorded(f"fusion-{name}-SM89"))
    return monkeypatch


BUILT = ["kernels_of_conv_bn_relu", "kernels_of_a_chain", "middle_as_output", "parallel_convolutions", "folded_bytes"]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", [*BUILT, "copied_concats"])
def test_recordings_give_the_same_answer(name):
    source = next(source for source in map(quizzes.source, NAMES) if source.truth.__name__ == name)
    assert source.truth().value == quizzes.load(source.name).truth.value
    assert source.truth().provenance.command == record.COMMAND


def changed(recorded, change):
    recorded.setattr(fusion, "report_on", lambda name: change(builds.recorded(f"fusion-{name}-SM89")))


def test_another_build_has_other_answers(recorded):
    changed(recorded, lambda report: replace(report, steps=report.steps * 2))
    assert fusion.kernels_of_conv_bn_relu().value == 2
    assert fusion.kernels_of_a_chain().value == 2
    assert fusion.middle_as_output().value == "neither"
    changed(recorded, lambda report: replace(report, steps=tuple(replace(s, stream=0) for s in report.steps)))
    assert fusion.parallel_convolutions().value == "serial"
    one = ("conv1", "conv2", "conv3")
    changed(recorded, lambda report: replace(report, steps=(replace(report.steps[0], onnx_nodes=one),)))
    assert fusion.parallel_convolutions().value == "one"
    changed(recorded, lambda report: replace(report, memory=replace(report.memory, weights_bytes=4)))
    assert fusion.folded_bytes().value == 4


def test_a_concat_is_copied_where_a_kernel_does_nothing_else(recorded):
    def without_idle(report):
        return replace(report, steps=tuple(step for step in report.steps if set(step.onnx_nodes) - {"concat"}))

    changed(recorded, without_idle)
    assert fusion.copied_concats().value == ()
