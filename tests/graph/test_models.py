"""Teaching models give every rule something to do; the nine light_* architectures, with weights, stay the same."""

import onnx
import pytest

from trtlab.graph import optimize
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS, randomized
from trtlab.graph.oracle import check_same, reference, sample_inputs
from trtlab.graph.rules import RULES

from .written import check_not_degenerate, onnxruntime_runs

LARGE = {"densenet121", "bvlc_alexnet", "resnet50", "vgg19", "zfnet512", "inception_v1", "inception_v2"}
PLAIN = {"bvlc_alexnet", "vgg19", "zfnet512"}
"""Chains of large products: seconds of arithmetic, and nothing for a rule that AlexNet has not."""
LIGHT = sorted(path.stem.removeprefix("light_") for path in LIGHT_FOLDER.glob("*.onnx"))


def light(name):
    return onnx.load(LIGHT_FOLDER / f"light_{name}.onnx")


@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_a_teaching_model_is_valid_seeded_and_says_something(name):
    model = TEACHING_MODELS[name]()
    onnx.checker.check_model(model, full_check=True)
    assert model == TEACHING_MODELS[name](seed=0)
    feeds = next(sample_inputs(model))
    for output in model.graph.output:
        check_not_degenerate(reference(model, feeds)[output.name])
    has_weights = any(tensor.dims for tensor in model.graph.initializer if len(tensor.dims) > 1)
    assert (model != TEACHING_MODELS[name](seed=1)) == (has_weights or name == "layernorm")


def test_every_rule_has_a_teaching_model():
    assert len(LIGHT) == 9
    used = {step.rule for make in TEACHING_MODELS.values() for step in optimize(make())[1].steps}
    assert used == set(RULES)


def marks(name):
    return [*[pytest.mark.slow] * (name in LARGE), *[pytest.mark.sweep] * (name in PLAIN)]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in LIGHT])
def test_an_architecture_computes_the_same(name):
    """ONNX Runtime is the referee: the reference evaluator needs minutes. float32 sums of up to 25088 products in
    another order, through up to 120 layers: 1e-4 of the largest number of each tensor."""
    model = randomized(light(name))
    result, report = optimize(model)
    feeds = next(sample_inputs(model))
    compared = check_same(model, result, feeds, run=onnxruntime_runs, rtol=1e-4)
    assert len(compared) >= len(result.graph.node) - 1
    check_not_degenerate(onnxruntime_runs(model, feeds)[model.graph.output[0].name])
    assert report.counts.kernels < 0.75 * report.steps[0].before.kernels
    if name == "densenet121":
        assert sum(step.rule == "concat_elimination" for step in report.steps) == 58
        assert not [node for node in result.graph.node if node.op_type in {"Concat", "BatchNormalization"}]


def test_random_weights_are_random_everywhere():
    given = randomized(light("squeezenet"), seed=1)
    assert not [node for node in given.graph.node if node.op_type == "ConstantOfShape"]
    assert given == randomized(light("squeezenet"), seed=1) != randomized(light("squeezenet"), seed=2)
    arrays = list(map(onnx.numpy_helper.to_array, given.graph.initializer))
    assert all(array.dtype != "float32" or array.size == 1 or array.std() > 0 for array in arrays)
