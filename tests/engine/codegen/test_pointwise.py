"""engine/codegen/pointwise: generated kernels against torch, by numba and, as numpy runs its text, by Triton."""

import numpy as np
import pytest
import torch

from tests.engine.codegen.triton_on_numpy import run_on_numpy
from trtlab.engine.codegen import pointwise
from trtlab.engine.codegen.pointwise import generated, triton_source

NAMES = [n for n, o in pointwise.POINTWISE.items() if o.text]
LAYOUTS = [
    [(4, 5, 6, 7)] * 3, [(4, 5, 6, 7), (5, 1, 1), (1,)], [(4, 5, 6, 7), (7,), (6, 1)],
    [(4, 5, 6, 7), (1, 5, 1, 7), ()], [(1, 1), (1, 1), (1,)], [(3, 1, 8), (1, 5, 8), (3, 5, 1)],
]  # fmt: skip
"""Shapes of three inputs."""
PROGRAM = [["Mul", [0, 1], {}], ["Add", [3, 2], {}], ["LeakyRelu", [4], {"alpha": 0.5}], ["Sub", [5, 3], {}]]
RESULTS = [6, 4]


@pytest.mark.parametrize("name", NAMES)
def test_every_expression_equals_torch(name):
    """At borders, NaN and infinity."""
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 1.0, 7.5, float("nan"), float("inf"), -float("inf")])
    inputs = [x, x.flip(0)][: 2 if name in {"Add", "Div", "Mul", "Sub"} else 1]
    program = [[name, list(range(len(inputs))), {}]]
    (want,) = pointwise.run_with_torch(program, [len(inputs)], inputs)
    if name == "Gelu":  # torch's own makes NaN of infinity
        want = x / 2 * (1 + torch.erf(x / 2**0.5))
    out, triton = torch.empty_like(want), np.full(want.numel(), 99, np.float32)
    generated(program, [len(inputs)])(*inputs, out)
    text = triton_source(program, [len(inputs)], [9], [[1]] * len(inputs))
    run_on_numpy(text, [t.numpy() for t in inputs], [triton], block=4)
    for got in (out, torch.from_numpy(triton)):
        torch.testing.assert_close(got, want, rtol=2e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(("name", "reach"), [("Exp", 87.0), ("Erf", 5.0)])
def test_vector_mathematics_is_as_exact_as_it_says(name, reach):
    """4e-7 of the value, over all of its range; what lies beyond is 0, 1 or infinite, as in float64."""
    x = torch.cat([torch.linspace(-reach, reach, 100_003), torch.logspace(-30, 0, 1000), torch.tensor([-200.0, 200.0])])
    out = torch.empty_like(x)
    generated([[name, [0], {}]], [1])(x, out)
    want = getattr(torch, name.lower())(x.double()).float()
    torch.testing.assert_close(out, want, rtol=4e-7, atol=0)


@pytest.mark.parametrize("shapes", LAYOUTS, ids=str)
@pytest.mark.parametrize("nhwc", [False, True])
def test_any_broadcast_and_layout_is_one_pass(shapes, nhwc):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(s, generator=generator) for s in shapes]
    if nhwc:
        inputs = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
    want = pointwise.run_with_torch(PROGRAM, RESULTS, inputs)
    outs, triton = [torch.empty_like(w) for w in want], [torch.full_like(w, 99) for w in want]
    generated(PROGRAM, RESULTS)(*inputs, *outs)
    text = triton_source(PROGRAM, RESULTS, *pointwise.loops([*inputs, want[0]]))
    run_on_numpy(text, [pointwise.flat(x) for x in inputs], [pointwise.flat(o) for o in triton], block=16)
    for out, expected in zip([*outs, *triton], want * 2, strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


def test_the_source_has_one_load_for_each_input_and_one_store():
    text = pointwise.source([["Mul", [0, 1], {}], ["Add", [3, 2], {}], ["Relu", [4], {}]], [5], [[1], [1], [1]])
    body = text.split("for i in range(n0):")[1]
    assert [body.count(f"a{i}[i]") for i in range(3)] == [1, 1, 1]
    assert body.count("[i] =") == 1
    text = triton_source(PROGRAM, [6], [8], [[1], [1], [0]], half=True)
    assert [text.count(f"tl.load(x{i}") for i in range(3)] == [1, 1, 1]
    assert (text.count(".to(tl.float32)"), text.count("tl.store")) == (3, 1)


def test_where_no_dense_pass_fits_torch_computes():
    x, out = torch.arange(24.0).reshape(4, 6)[:, ::2] - 9, torch.empty(4, 3)
    generated([["Relu", [0], {}]], [1])(x, out)
    assert torch.equal(out, torch.relu(x))
    with pytest.raises(ValueError, match=r"shape \(4, 3\) does not go into \(4, 1\)"):
        generated([["Relu", [0], {}]], [1])(x, torch.empty(4, 1))


def test_what_triton_cannot_do_is_refused():
    with pytest.raises(ValueError, match="no Triton expression for 'Sign': run its program with torch"):
        triton_source([("Sign", (0,), {})], [3])
    with pytest.raises(ValueError, match=r"2,147,483,648 elements: the kernel counts in 32 bits; expected at most"):
        pointwise.launch_triton("", [], 2**31)
