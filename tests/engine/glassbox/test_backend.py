"""engine/glassbox: every node test of ONNX's own suite passes for the operators that we claim."""

import functools
import unittest
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
from onnx.backend.base import Backend, BackendRep, Device, DeviceType
from onnx.backend.test.runner import Runner

from trtlab.engine.glassbox import build
from trtlab.engine.glassbox.device import is_here
from trtlab.engine.glassbox.errors import UnsupportedError

LEAST_PASSED = 350


def name_of(device):
    return "cuda" if Device(device).type == DeviceType.CUDA else "cpu"


class Representation(BackendRep):
    """An engine under the interface's word for it: outputs in order, from inputs in order."""

    def __init__(self, engine):
        self.inputs, self.context = engine.inputs, engine.create_execution_context()

    def run(self, inputs, **_):
        values = inputs if isinstance(inputs, tuple | list) else (inputs,)
        return tuple(self.context.run(dict(zip(self.inputs, map(np.asarray, values), strict=True))).values())


class Glassbox(Backend):
    """ONNX's interface to an engine under test. A model is claimed unless `build` says what the glass box lacks."""

    @classmethod
    def is_compatible(cls, model, device="CPU", **_):  # noqa: ARG003
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **_):
        return Representation(build(model, name_of(device)))

    @classmethod
    def supports_device(cls, device):
        return is_here(name_of(device))


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
        items = Runner(Glassbox, __name__)._test_items["NodeModel"]
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
