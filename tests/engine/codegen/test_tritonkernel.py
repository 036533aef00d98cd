"""engine/codegen/tritonkernel: the text of a CUDA kernel, run by numpy, computes what torch computes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.engine.codegen.expressions import LAYOUTS, NAMES, PROGRAM, RESULTS, case, drawn
from tests.engine.codegen.triton_on_numpy import run_on_numpy
from trtlab.engine.codegen import pointwise, tritonkernel


@pytest.mark.parametrize("name", NAMES)
def test_every_expression_equals_torch(name):
    inputs, program, want = case(name)
    out = np.full(want.numel(), 99, np.float32)
    text = tritonkernel.source(program, [len(inputs)], [9], [[1]] * len(inputs))
    run_on_numpy(text, [t.numpy() for t in inputs], [out], block=4)
    np.testing.assert_allclose(out, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("shapes", LAYOUTS, ids=str)
@pytest.mark.parametrize("nhwc", [False, True])
def test_any_broadcast_and_layout_is_one_kernel(shapes, nhwc):
    inputs, want = drawn(shapes, nhwc)
    every = [*inputs, want[0]]
    sizes, rows = pointwise.loops([x.shape for x in every], [x.stride() for x in every], want[0].shape)
    outs = [torch.full_like(w, 99) for w in want]
    text = tritonkernel.source(PROGRAM, RESULTS, sizes, rows)
    run_on_numpy(text, [pointwise.flat(x) for x in inputs], [pointwise.flat(o) for o in outs], block=16)
    for out, expected in zip(outs, want, strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


def test_halves_are_computed_in_float32_and_loaded_once():
    text = tritonkernel.source(PROGRAM, [6], [8], [[1], [1], [0]], half=True)
    assert [text.count(f"tl.load(x{i}") for i in range(3)] == [1, 1, 1]
    assert text.count(".to(tl.float32)") == 3
    assert text.count("tl.store") == 1


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="no Triton expression for 'Erf': run its program with torch"):
        tritonkernel.source([("Erf", (0,), {})], [3])
    with pytest.raises(ValueError, match=r"2,147,483,648 elements: the kernel counts in 32 bits; expected at most"):
        tritonkernel.bind("", [], SimpleNamespace(numel=lambda: 2**31))
