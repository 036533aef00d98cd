"""What constant folding computes is what ONNX Runtime computes at the model's opset, or the node is left alone."""

import numpy as np
import onnx
import pytest

from trtlab.graph import optimize
from trtlab.graph.oracle import check_same
from trtlab.graph.rules.constants import FOLDS

from .random_models import Maker, run
from .written import written

SPECIAL = [0.0, -0.0, 1.0, -1.5, 2.5, np.inf, -np.inf, np.nan, 1e-42, 3e38, -3e38, 1e10, 0.5, -0.5]
WHOLE_SPECIAL = [0, 1, -1, 2, -7, 7, 2**31 - 1, -(2**31)]


class Constants(Maker):
    """Models of one operator on constants, special numbers among them."""

    def draw(self, dtype, shape):
        if dtype.kind == "b" or self.maybe():
            return super().draw(dtype, shape)
        array = self.rng.choice(SPECIAL if dtype.kind == "f" else WHOLE_SPECIAL, shape).astype(dtype)
        return array.astype(np.float64) if dtype.kind == "f" and self.maybe(0.2) else array

    def single(self):
        """A model whose outputs are those of one operator on constants, and a Reshape or Identity behind them."""
        self.inputs, self.arrays, self.rough = [], {}, set()
        self.input, self.inner, self.again = self.weight, lambda: None, lambda: None
        while not self.nodes or self.nodes[-1].op_type in {"Constant", "ConstantOfShape"}:
            self.constant()
        ends = [name for name in self.nodes[-1].output if name]
        for name in ends:
            self.nodes.append(onnx.helper.make_node("Identity", [name], [f"{name}_end"]))
            self.arrays[f"{name}_end"] = self.arrays[name]
        return self.wrap(
            self.nodes, {}, [], [onnx.numpy_helper.from_array(a, n) for n, a in self.weights.items()],
            [self.info(f"{name}_end", self.arrays[name], lambda _, at, n=name: f"{n}_{at}") for name in ends],
        )  # fmt: skip

    def add(self, node, read):
        feeds = {name: self.arrays[name] for name in read}
        try:
            made = run(self.wrap([node], feeds, list(node.output)), feeds)
        except Exception:  # noqa: BLE001 (ONNX Runtime's errors have no base of their own)
            return None
        self.nodes.append(node)
        self.arrays |= made
        return node.output[0]


def folded_wrong(seed):
    """What differs between ONNX Runtime and the folded model, and the operators that were folded."""
    with np.errstate(all="ignore"):
        model = Constants(seed).single()
        try:
            want = run(model, {})
        except Exception:  # noqa: BLE001 (of a node that runs alone ONNX Runtime may still say that it is not valid)
            return "", set()
        result, report = optimize(model, ["constant_folding"])
        got = run(result, {})
    kinds = {node.name: node.op_type for node in model.graph.node}
    done = {step.what.split()[0] for step in report.steps}
    for name, array in want.items():
        close = np.allclose(array, got[name], rtol=3e-7, atol=0, equal_nan=True)
        signs = np.signbit(array) == np.signbit(got[name]) if array.dtype.kind == "f" else np.True_
        if not close or array.dtype != got[name].dtype or not (signs | np.isnan(array)).all():
            return f"{kinds}: {array.ravel()[:6]} became {got[name].ravel()[:6]}", done
    return "", done


@pytest.mark.parametrize("first", [0, 100, *(pytest.param(n, marks=pytest.mark.sweep) for n in range(200, 600, 100))])
def test_what_is_folded_is_what_onnx_runtime_computes(first):
    """Models of one operator over opsets 7 to 22, special numbers among the constants; a hundred at a time."""
    done = set()
    for seed in range(first, first + 100):
        fault, folded = folded_wrong(seed)
        assert not fault, (seed, fault)
        done |= folded
    assert len(done & FOLDS) > 15


@pytest.mark.parametrize("opset", [7, 12, 13, 22])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax", "BatchNormalization"])
@pytest.mark.parametrize("behind", ["an initializer", "ConstantOfShape"])
def test_an_operator_whose_meaning_changed_is_left_to_the_runtime(op, opset, behind):
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    fill = "a = ConstantOfShape(shape)" if behind == "ConstantOfShape" and opset > 8 else "a = Identity(given)"
    more = ", v, v, v, v" if op == "BatchNormalization" else ""
    text = f"(float[2,3,4] x) => (float[2,3,4] y) {{ {fill} s = {op}(a{more}) y = Add(s, x) }}"
    model = written(text, opset=opset, ir=7, given=array, v=array[0, :, 0] ** 2, shape=np.array([2, 3, 4]))
    check_same(model, optimize(model)[0], {"x": array}, run=run)
    _, report = optimize(model, ["constant_folding"])
    assert any(f"{op} of these numbers is left to the runtime" in refusal.reason for refusal in report.refusals)
