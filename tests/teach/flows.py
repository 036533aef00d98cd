"""`finished()`: the digits network through all stages, run once for all tests of cards, figures and widgets."""

import functools

from trtlab.lab.workflow import Workflow


@functools.cache
def finished(precision="FP32", *, dynamic_batch=False):
    """A Workflow whose stages have all run; by recordings where no compiler is installed."""
    flow = Workflow("digits", precision=precision, dynamic_batch=dynamic_batch)
    list(flow.run())
    return flow
