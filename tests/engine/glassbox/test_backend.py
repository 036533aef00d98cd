"""engine/glassbox/backend: every node test of ONNX's own suite passes for the operators that we claim."""

import functools
import unittest
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.runner import Runner

from trtlab.engine.glassbox import backend
from trtlab.engine.glassbox.errors import UnsupportedError

LEAST_PASSED = 600


@functools.cache
def suite_result():
    """(passed names, unclaimed names, failures by name) of the suite's node tests on the CPU."""
    runner = Runner(backend, __name__)
    items = {name: item for name, item in runner._test_items["NodeModel"].items() if name.endswith("_cpu")}
    passed, unclaimed, failures = [], [], {}
    for name, item in items.items():
        try:
            item.func(None)
            passed.append(name)
        except (unittest.SkipTest, UnsupportedError):
            unclaimed.append(name)
        except Exception as error:  # noqa: BLE001 - the report names each
            failures[name] = f"{type(error).__name__}: {str(error)[:200]}"
    return passed, unclaimed, failures


@pytest.mark.slow
def test_every_claimed_node_test_passes(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own
        passed, unclaimed, failures = suite_result()
    with capsys.disabled():
        claimed = len(passed) + len(failures)
        print(f"\nONNX node tests: {len(passed)} passed of {claimed} claimed, {len(unclaimed)} unclaimed")
    assert not failures
    assert len(passed) >= LEAST_PASSED


def test_run_node_and_run_model_are_the_standard_interface():
    x = np.array([-1, 2], np.float32)
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    assert backend.run_node(node, [x])[0].tolist() == [0, 2]
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA") or torch.cuda.is_available()
