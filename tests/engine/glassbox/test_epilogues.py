"""engine/glassbox: whatever a rule fused behind a product, every tactic that takes it computes the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.engine.glassbox.referee import check, model
from trtlab.engine.glassbox import kernels, products
from trtlab.engine.glassbox.kernels import Epilogue
from trtlab.plan.tactics import prefer

IMAGE = "float[2,8,9,9]"
CONV = f"({IMAGE} image) => ({IMAGE} y) {{ x = Conv <pads=[1,1,1,1]> (image, v) c ="  # x has its channels side by side
BIAS, ONE, THREE = {"b": (8,)}, {"w": (8, 8, 1, 1)}, {"w": (8, 8, 3, 3)}
ROWS, MATRIX = "(float[4,6] x, float[4,5] z) => (float[4,5] y) { m =", {"w": (6, 5), "b": (5,)}
BATCH = "(float[3,4,6] p, float[3,6,5] q, float[3,4,5] r) => (float[3,4,5] y) { m = MatMul (p, q)"
# a graph, its weights, the name of its kernel, the tactics that can do it on a CPU
CASES = [
    (f"{CONV} Conv <pads=[1,1,1,1]> (x, w, b) d = Add (c, x) y = Relu (d) }}", THREE | BIAS,
     "conv Add Relu", "torch onednn winograd im2col planes"),
    (f"{CONV} Conv <pads=[1,1,1,1]> (x, w, b) d = Add (x, c) y = Sigmoid (d) }}", THREE | BIAS,
     "conv Add Sigmoid", "torch winograd im2col planes"),
    (f"{CONV} Conv (x, w) m = Mul (c, k) y = Relu (m) }}", ONE | {"k": (8, 1, 1)},
     "conv Relu", "torch product planes"),
    (f"{CONV} Conv (x, w) d = Add (c, k) e = Add (d, x) f = Add (x, e) y = LeakyRelu <alpha=0.3> (f) }}",
     ONE | {"k": (1, 8, 1, 1)}, "conv Add Add LeakyRelu", "torch product generated planes"),
    (f"{CONV} Conv (x, w, b) d = Mul (c, s) e = Add (d, x) y = Tanh (e) }}", ONE | BIAS | {"s": 0.5},
     "conv Add Tanh", "torch product generated planes"),
    (f"{CONV} Conv (x, w, b) y = Clip (c, s, t) }}", ONE | BIAS | {"s": -0.5, "t": 0.5},
     "conv Clip", "torch product planes"),
    (f"{CONV} Conv (x, w, b) d = Mul (c, t) y = Clip (d, s, t) }}", ONE | BIAS | {"s": -0.5, "t": 0.5},
     "conv Clip", "torch product planes"),
    (f"{CONV} Conv (x, w, image) y = Relu (c) }}".replace(f"({IMAGE} image)", f"(float[8] image, {IMAGE} u)").replace(
        "(image, v)", "(u, v)"), ONE, "conv Relu", "torch"),
    (f"{ROWS} MatMul (x, w) a = Add (b, m) y = Add (a, z) }}", MATRIX, "matmul Add", "torch addmm generated"),
    (f"{ROWS} MatMul (x, w) a = Add (z, m) y = Tanh (a) }}", MATRIX, "matmul Add Tanh", "torch addmm generated"),
    (f'{ROWS} MatMul (x, w) a = Add (m, b) y = Gelu <approximate="tanh"> (a) }}', MATRIX,
     "matmul Gelu", "torch addmm"),
    (f"{ROWS} Gemm <transB=1> (x, w, b) y = HardSwish (m) }}", {"w": (5, 6), "b": (5,)},
     "matmul HardSwish", "torch addmm"),
    (f"{ROWS} Gemm <alpha=0.5, beta=2.0> (x, w, b) y = Relu (m) }}", MATRIX, "Gemm Relu", "torch"),
    (f"{ROWS} Gemm (x, w, z) y = Relu (m) }}", MATRIX, "matmul Add Relu", "torch addmm generated"),
    (f"{ROWS} MatMul (x, w) y = Sum (m, b, b) }}", MATRIX, "matmul", "torch addmm"),
    ("(float[4,6] x, float[5] z) => (float[4,5] y) { m = MatMul (x, w) y = Add (m, z) }", MATRIX,
     "matmul Add", "torch addmm"),
    (f"{BATCH} y = Mul (m, s) }}", {"s": 0.25}, "matmul", "torch batched generated"),
    (f"{BATCH} n = Mul (s, m) y = Add (n, r) }}", {"s": 0.25}, "matmul Add", "torch batched generated"),
    (f"{CONV} Conv <strides=[2,3]> (x, w, b) y = Relu (c) }}".replace(f"({IMAGE} y)", "(float[2,8,5,3] y)"), ONE | BIAS,
     "conv Relu", "torch onednn product generated planes"),
]  # fmt: skip


def with_weights(text, weights):
    """The model; weights are numbers as they are, or drawn in that shape, so that no layer blows its input up."""
    rng, first = np.random.default_rng(0), {"v": (8, 8, 3, 3)} if "v)" in text else {}
    sizes = {n: s for n, s in (first | weights).items() if isinstance(s, tuple)}
    arrays = weights | {n: rng.normal(size=s) / np.sqrt(np.prod(s[1:])) for n, s in sizes.items()}
    return model(text, **{n: np.asarray(a, np.float32) for n, a in arrays.items()})


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize(("text", "weights", "name", "tactics"), CASES, ids=[case[2] for case in CASES])
def test_every_tactic_that_fits_computes_the_same(text, weights, name, tactics):
    pytest.importorskip("numba")
    proto = with_weights(text, weights)
    for tactic in tactics.split():
        asked = []

        def pick(works, *rest, tactic=tactic, asked=asked):
            asked.append(list(works))
            return prefer(tactic if len(asked) > text.count("v)") else "onednn")(works, *rest)

        engine = check(proto, rtol=2e-5, pick=pick)  # the trial leaves out a tactic that disagrees with the first
        assert set(asked[-1]) == set(tactics.split())
        assert (engine.inspect()[-1].name, engine.inspect()[-1].tactic) == (name, tactic)


@pytest.mark.parametrize("tactic", ["epilogue", "product+epilogue"])
@pytest.mark.parametrize(("text", "weights"), [CASES[n][:2] for n in (0, 2, 3, 4, 8, 9)])
def test_one_more_kernel_as_on_a_gpu(text, weights, tactic, monkeypatch):
    """What Triton does there, numba does here from the same program."""
    pytest.importorskip("numba")
    monkeypatch.setattr(products, "_finishes_on_gpu", kernels.fits_epilogue)
    proto = with_weights(text, weights)
    engine = check(proto, rtol=2e-5, pick=prefer(tactic, "torch"))
    wanted = "product" not in tactic or "Conv (x, w" in text
    assert (engine.inspect()[-1].tactic == tactic) == wanted


def test_scores_divided_by_a_number_are_attention_with_its_inverse():
    sizes = "(float[1,2,4,8] q, float[1,2,8,4] k, float[1,2,4,6] v) => (float[1,2,4,6] y)"
    work = "{ s = MatMul (q, k) t = Div (s, c) p = Softmax <axis=3> (t) y = MatMul (p, v) }"
    engine = check(model(f"{sizes} {work}", c=np.float32(4)), rtol=2e-5)
    assert [kernel.name for kernel in engine.inspect()] == ["attention"]


def test_a_branch_is_read_number_by_number_only_where_it_has_the_shape_of_the_result(monkeypatch):
    monkeypatch.setattr(kernels, "generates", lambda _: True)
    for shape, lines in (((4, 5), ["v = v + u"]), ((5,), None)):
        branch = Epilogue(chain=(("Add", [0, 1], {}),), others=(None,), shapes=(shape,))
        found = kernels.ending(SimpleNamespace(result_shape=(4, 5), epilogue=branch), (5,))
        assert (found and found[1]) == lines
