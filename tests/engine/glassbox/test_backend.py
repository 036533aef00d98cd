"""engine/glassbox/backend: every node test of ONNX's own suite passes for the operators that we claim."""

import functools
import unittest
import warnings
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.runner import Runner

from tests.engine.glassbox import backend
from trtlab.engine.glassbox.errors import UnsupportedError

LEAST_PASSED = 600


@dataclass
class Report:
    """Names of the suite's node tests that passed, that we do not claim, and why others failed."""

    passed: list[str] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@functools.cache
def report(device):
    """The suite's node tests on "cpu" or "cuda"."""
    found = Report()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own, which it makes its cases with
        items = Runner(backend, __name__)._test_items["NodeModel"]
        for name, item in items.items():
            if not name.endswith(f"_{device}"):
                continue
            try:
                item.func(None)
                found.passed.append(name)
            except (unittest.SkipTest, UnsupportedError):
                found.unclaimed.append(name)
            except Exception as error:  # noqa: BLE001 - the report names each
                found.failures[name] = f"{type(error).__name__}: {str(error)[:200]}"
    claimed = len(found.passed) + len(found.failures)
    print(f"\nONNX node tests on {device}: {len(found.passed)} passed of {claimed} claimed,"
          f" {len(found.unclaimed)} unclaimed")  # fmt: skip
    return found


@pytest.mark.slow
def test_every_claimed_node_test_passes(capsys):
    with capsys.disabled():
        found = report("cpu")
    assert not found.failures
    assert len(found.passed) >= LEAST_PASSED


def test_run_node_and_run_model_are_the_standard_interface():
    x = np.array([-1, 2], np.float32)
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    assert backend.run_node(node, [x])[0].tolist() == [0, 2]
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA") or torch.cuda.is_available()
