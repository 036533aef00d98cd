"""Every operator with an expression, as a case for a generated kernel, of numba or of Triton."""

import torch

from trtlab.engine.codegen import pointwise

NAMES = [n for n, o in pointwise.POINTWISE.items() if o.text]
TWO = {"Add", "Div", "Mul", "Sub"}


def case(name):
    """(inputs, program, what torch computes), with borders, NaN and infinity among the inputs."""
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 1.0, 7.5, float("nan"), float("inf"), -float("inf")])
    inputs = [x, x.flip(0)][: 2 if name in TWO else 1]
    program = [[name, list(range(len(inputs))), {}]]
    (want,) = pointwise.run_with_torch(program, [len(inputs)], inputs)
    return inputs, program, want
