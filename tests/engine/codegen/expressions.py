"""Every operator with an expression, as a case for a generated kernel, of numba or of Triton."""

import torch

from trtlab.engine.codegen import pointwise

NAMES = [n for n, o in pointwise.POINTWISE.items() if o.text]
TWO = {"Add", "Div", "Mul", "Sub"}
LAYOUTS = [
    [(4, 5, 6, 7)] * 3, [(4, 5, 6, 7), (5, 1, 1), (1,)], [(4, 5, 6, 7), (7,), (6, 1)],
    [(4, 5, 6, 7), (1, 5, 1, 7), ()], [(1, 1), (1, 1), (1,)], [(3, 1, 8), (1, 5, 8), (3, 5, 1)],
]  # fmt: skip
"""Shapes of three inputs."""
PROGRAM = [["Mul", [0, 1], {}], ["Add", [3, 2], {}], ["LeakyRelu", [4], {"alpha": 0.5}], ["Sub", [5, 3], {}]]
RESULTS = [6, 4]


def drawn(shapes, nhwc):
    """Three inputs, and what torch makes of them by PROGRAM."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(s, generator=generator) for s in shapes]
    if nhwc:
        inputs = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
    return inputs, pointwise.run_with_torch(PROGRAM, RESULTS, inputs)


def case(name):
    """(inputs, program, what torch computes), with borders, NaN and infinity among the inputs."""
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 1.0, 7.5, float("nan"), float("inf"), -float("inf")])
    inputs = [x, x.flip(0)][: 2 if name in TWO else 1]
    program = [[name, list(range(len(inputs))), {}]]
    (want,) = pointwise.run_with_torch(program, [len(inputs)], inputs)
    return inputs, program, want
