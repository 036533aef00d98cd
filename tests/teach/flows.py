"""`finished()`: the digits network through all stages, run once for all tests that look at one."""

import functools

from trtlab.lab.workflow import STAGES, Workflow


def finished(precision="FP32", *, dynamic_batch=False):
    """A Workflow whose stages have all run; by recordings where no compiler is installed."""
    return _finished(precision, dynamic_batch)


@functools.cache
def _finished(precision, dynamic_batch):
    flow = Workflow("digits", precision=precision, dynamic_batch=dynamic_batch)
    assert [record.name for record in flow.run()] == list(STAGES)
    return flow
