"""`build`: the real tensorrt_rtx, whatever else is installed; `needs_rtx`: the mark of tests that call it."""

import functools
import importlib.util

import pytest

from trtlab.engine.nvidia import explain

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed (it exists for x86-64)",
)
build = functools.partial(explain, compiler="tensorrt_rtx", timeout_s=120)


def merged(report):
    """The ONNX nodes of each kernel that names any, in order."""
    return [kernel.onnx_nodes for kernel in report.kernels if kernel.onnx_nodes]
