"""engine/nvidia/execute: the refusal without a GPU, and the calls on one, by an engine that computes relu(x)."""

import contextlib
import ctypes
import types

import numpy as np
import pytest
import torch

from trtlab.engine.machine import cuda_driver
from trtlab.engine.nvidia import ExecutionImpossible, minimal
from trtlab.engine.nvidia.execute import execute, run_plan
from trtlab.engine.nvidia.report import LogLine

from . import onnx_models as models
from .rtx import build, needs_rtx

FEEDS = {"x": np.arange(8, dtype=np.float32).reshape(1, 8)}
no_driver = pytest.mark.skipif(cuda_driver().why_not is None, reason="this machine has a CUDA driver")


@needs_rtx
@no_driver
def test_without_a_driver_the_refusal_says_so():
    plan = build(models.single("Relu")).plan
    with pytest.raises(ExecutionImpossible, match=r"refuses the plan here: .*cudaError 35.*runs on ONNX Runtime"):
        execute(plan, FEEDS, compiler="tensorrt_rtx")


@needs_rtx
@no_driver
@pytest.mark.parametrize("plan", [b"", b"hello", bytes(5000)], ids=["empty", "text", "zeros"])
def test_a_broken_plan_is_refused_and_the_worker_lives(plan):
    with pytest.raises(ExecutionImpossible, match="NVIDIA's runtime refuses the plan here: "):
        execute(plan, FEEDS, compiler="tensorrt_rtx")
    assert build(models.single("Relu")).kernels


# --- fakes: an engine that computes relu(x), and torch.cuda on the CPU -----------------------------------------------


class FakeLogger:
    WARNING = 1

    def __init__(self, _severity):
        pass


class FakeContext:
    """Knows tensors by address, as the real one does; every call is noted."""

    def __init__(self, calls):
        self.calls, self.shapes, self.addresses = calls, {}, {}

    def set_input_shape(self, name, shape):
        self.calls.append("set_input_shape")
        self.shapes[name] = tuple(shape)

    def get_tensor_shape(self, name):
        return self.shapes["x"] if name == "y" else self.shapes[name]

    def set_tensor_address(self, name, address):
        self.calls.append("set_tensor_address")
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        assert stream == 77
        self.calls.append("execute_async_v3")
        self._relu(self.addresses["x"], self.addresses["y"])

    def execute_v2(self, bindings):
        self.calls.append("execute_v2")
        self._relu(*bindings)

    def _relu(self, source, sink):
        count = int(np.prod(self.shapes["x"]))
        kind = np.ctypeslib.as_array
        floats = ctypes.POINTER(ctypes.c_float)
        kind(ctypes.cast(sink, floats), (count,))[:] = np.maximum(kind(ctypes.cast(source, floats), (count,)), 0)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def trt(calls):
    """What runtime.execute needs of tensorrt 10, 11 or tensorrt_rtx."""
    modes = types.SimpleNamespace(INPUT="in", OUTPUT="out")
    engine = types.SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=["x", "y"].__getitem__,
        get_tensor_mode={"x": "in", "y": "out"}.get,
        get_tensor_dtype=lambda _name: "FLOAT",
        create_execution_context=lambda: FakeContext(calls),
        create_engine_inspector=lambda: types.SimpleNamespace(get_engine_information='{{"Layers": "as {}"}}'.format),
    )
    engines = {b"plan": engine}
    return types.SimpleNamespace(
        Logger=FakeLogger,
        Runtime=lambda _logger: types.SimpleNamespace(deserialize_cuda_engine=engines.get),
        TensorIOMode=modes,
        LayerInformationFormat=types.SimpleNamespace(JSON="JSON"),
        nptype={"FLOAT": np.float32}.get,
    )


@pytest.fixture
def _torch_on_cpu(monkeypatch, calls):
    """torch.cuda with one stream, number 77, whose device memory is host memory."""
    stream = types.SimpleNamespace(cuda_stream=77, synchronize=lambda: calls.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU of paper")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    empty, to = torch.empty, torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, where, **_options: to(self, where.replace("cuda", "cpu")))
    monkeypatch.setattr(torch, "empty", lambda *args, **options: empty(*args, dtype=options["dtype"]))


def session_of(trt, *said):
    return types.SimpleNamespace(trt=trt, logger=None, lines=[LogLine(severity="ERROR", text=text) for text in said])


@pytest.mark.usefixtures("_torch_on_cpu")
def test_both_ways_of_running_give_the_answer(trt, calls):
    ran, block = run_plan(session_of(trt), b"plan", {"x": FEEDS["x"] - 4}, 3)
    expected = np.maximum(FEEDS["x"] - 4, 0)
    np.testing.assert_array_equal(ran.outputs["y"], expected)
    np.testing.assert_array_equal(ran.sync_outputs["y"], expected)
    stages = {"deserialise", "context", "host_to_device", "enqueue", "enqueue_call", "device_to_host", "execute_v2"}
    assert set(ran.seconds) == stages
    assert all(seconds >= 0 for seconds in ran.seconds.values())
    assert (ran.device, ran.repeats, ran.calls_agree, block) == ("a GPU of paper", 3, True, b"")
    assert ran.inspector == '{"Layers": "as JSON"}'
    assert calls.count("execute_async_v3") == 3
    assert calls.index("set_input_shape") < calls.index("set_tensor_address") < calls.index("execute_async_v3")
    assert calls[calls.index("execute_async_v3") + 1] == "synchronize"
    assert calls.count("execute_v2") == 1
    assert calls.index("execute_v2") > len(calls) - 1 - calls[::-1].index("execute_async_v3")
    assert calls[-1] == "synchronize"  # nothing is read before the stream is idle


@pytest.mark.usefixtures("_torch_on_cpu")
def test_the_whiteboard_gives_the_same_answer(trt, calls):
    outputs = minimal.infer(trt, torch, b"plan", {"x": torch.from_numpy(FEEDS["x"] - 4)})
    np.testing.assert_array_equal(outputs["y"], np.maximum(FEEDS["x"] - 4, 0))
    assert list(outputs) == ["y"]
    assert calls[-2:] == ["execute_async_v3", "synchronize"]


@pytest.mark.parametrize(
    ("plan", "said", "words"),
    [
        (
            b"another",
            ["IRuntime: Error Code 1: Serialization (plan of another version)"],
            "plan of another version. The",
        ),
        (b"another", ["E (cudaError 35: no driver (file))"], "here: cudaError 35: no driver"),
        (b"another", [], "it gave no reason"),
        (b"plan", [], "torch here is a CPU build and has no device memory. Install torch with CUDA"),
    ],
)
def test_what_cannot_run_says_why(trt, monkeypatch, plan, said, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExecutionImpossible) as caught:
        run_plan(session_of(trt, *said), plan, FEEDS, 1)
    assert words in str(caught.value)
