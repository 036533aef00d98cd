"""engine/nvidia/execute: the refusal without a GPU, and the calls on one, by an engine that computes."""

import contextlib
import ctypes
import types

import ml_dtypes
import numpy as np
import pytest
import torch

from trtlab.engine.machine import cuda_driver
from trtlab.engine.nvidia import minimal
from trtlab.engine.nvidia.errors import ExecutionImpossible
from trtlab.engine.nvidia.execute import _array, _tensor, execute, run_plan
from trtlab.engine.nvidia.report import LogLine

from . import onnx_models as models
from .rtx import build, needs_rtx


@needs_rtx
@pytest.mark.skipif(cuda_driver().why_not is None, reason="this machine has a CUDA driver")
def test_without_a_driver_the_refusal_says_so_and_the_worker_lives():
    plan = build(models.single("Relu")).plan
    for given, said in ((plan, "cudaError 35.*runs on ONNX Runtime"), (b"", ""), (bytes(5000), "")):
        with pytest.raises(ExecutionImpossible, match=f"NVIDIA's runtime refuses the plan here: .*{said}"):
            execute(given, {}, compiler="tensorrt_rtx")
    assert build(models.single("Relu")).kernels


# --- fakes: an engine with outputs of several types, and torch.cuda on the CPU ---------------------------------------

TYPES = {  # what the engine takes and gives: TensorRT's word, NumPy's type, and what is computed from the ids
    "ids": ("INT64", np.dtype("int64"), None),
    "is_even": ("BOOL", np.dtype("bool"), lambda ids: ids % 2 == 0),
    "half": ("HALF", np.dtype("float16"), lambda ids: ids / 2),
}
IDS = np.arange(-3, 5, dtype=np.int64).reshape(2, 4)
ANSWERS = {name: compute(IDS).astype(dtype) for name, (_, dtype, compute) in TYPES.items() if compute}


class FakeContext:
    """Knows tensors by address and type, as the real one does; every call is noted."""

    def __init__(self, calls):
        self.calls, self.addresses = calls, {}

    def set_input_shape(self, _name, shape):
        self.calls.append("set_input_shape")
        self.shape = tuple(shape)

    def get_tensor_shape(self, _name):
        return self.shape

    def set_tensor_address(self, name, address):
        self.calls.append("set_tensor_address")
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        assert stream == 77
        self.calls.append("execute_async_v3")
        self._compute(self.addresses)

    def execute_v2(self, bindings):
        self.calls.append("execute_v2")
        self._compute(dict(zip(TYPES, bindings, strict=True)))

    def _compute(self, addresses):
        """Whatever memory it was told of, it reads and writes in its own types."""
        memory = {}
        for name, (_, dtype, _) in TYPES.items():
            raw = (ctypes.c_uint8 * (IDS.size * dtype.itemsize)).from_address(addresses[name])
            memory[name] = np.frombuffer(raw, dtype).reshape(self.shape)
        for name in ANSWERS:
            memory[name][...] = TYPES[name][2](memory["ids"]).astype(TYPES[name][1])


@pytest.fixture
def calls():
    return []


@pytest.fixture
def trt(calls):
    """What runtime.execute needs of tensorrt 10, 11 or tensorrt_rtx."""
    engine = types.SimpleNamespace(
        num_io_tensors=len(TYPES),
        get_tensor_name=[*TYPES].__getitem__,
        get_tensor_mode=lambda name: "out" if name in ANSWERS else "in",
        get_tensor_dtype=lambda name: types.SimpleNamespace(name=TYPES[name][0]),
        create_execution_context=lambda: FakeContext(calls),
        create_engine_inspector=lambda: types.SimpleNamespace(get_engine_information='{{"Layers": "as {}"}}'.format),
    )
    logger = type("Logger", (), {"WARNING": 1, "__init__": lambda _self, _severity: None})
    return types.SimpleNamespace(
        Logger=logger,
        Runtime=lambda _logger: types.SimpleNamespace(deserialize_cuda_engine={b"plan": engine}.get),
        TensorIOMode=types.SimpleNamespace(INPUT="in", OUTPUT="out"),
        LayerInformationFormat=types.SimpleNamespace(JSON="JSON"),
    )


@pytest.fixture
def _torch_on_cpu(monkeypatch, calls):
    """torch.cuda with one stream, number 77, whose device memory is host memory; copies are noted, and so is memory
    without a type of its own."""
    stream = types.SimpleNamespace(cuda_stream=77, synchronize=lambda: calls.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU of paper")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, where, **_: (calls.append(f"to {where}"), self.clone())[1])
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, **options: empty(*args, dtype=options["dtype"]))


def assert_answers(outputs):
    assert list(outputs) == list(ANSWERS)
    for name, answer in ANSWERS.items():
        assert outputs[name].dtype == answer.dtype
        np.testing.assert_array_equal(outputs[name].astype(np.float64), answer.astype(np.float64))


def session_of(trt, *said):
    return types.SimpleNamespace(trt=trt, logger=None, lines=[LogLine(severity="ERROR", text=text) for text in said])


@pytest.mark.usefixtures("_torch_on_cpu")
def test_both_ways_of_running_give_the_answer(trt, calls):
    ran, block = run_plan(session_of(trt), b"plan", {"ids": IDS}, 3)
    assert_answers(ran.outputs)
    stages = {"deserialise", "context", "host_to_device", "enqueue", "enqueue_call", "device_to_host", "execute_v2"}
    assert set(ran.seconds) == stages
    assert all(seconds >= 0 for seconds in ran.seconds.values())
    assert (ran.device, ran.repeats, ran.calls_agree, block) == ("a GPU of paper", 3, True, b"")
    assert ran.inspector == '{"Layers": "as JSON"}'
    assert (calls.count("execute_async_v3"), calls.count("execute_v2")) == (3, 1)
    assert calls.index("set_input_shape") < calls.index("set_tensor_address") < calls.index("execute_async_v3")
    assert calls[calls.index("execute_async_v3") + 1] == "synchronize"
    assert calls[-1] == "synchronize"  # nothing is read before the stream is idle


@pytest.mark.usefixtures("_torch_on_cpu")
def test_the_whiteboard_gives_the_same_answer(trt, calls):
    outputs = minimal.infer(trt, torch, b"plan", {"ids": torch.from_numpy(IDS)})
    assert_answers({name: tensor.numpy() for name, tensor in outputs.items()})
    assert calls[0] == "to cuda"
    copied_out_then_waited_for = ["to cpu"] * len(ANSWERS) + ["synchronize"]
    assert calls[calls.index("execute_async_v3") + 1 :] == copied_out_then_waited_for


@pytest.mark.parametrize(
    ("plan", "said", "words"),
    [
        (b"another", ["IRuntime: Error Code 1: Serialization (of another version)"], "here: of another version. The"),
        (b"another", ["E (cudaError 35: no driver (file))"], "here: cudaError 35: no driver"),
        (b"another", [], "it gave no reason"),
        (b"plan", [], "torch here is a CPU build and has no device memory. Install torch with CUDA"),
    ],
)
def test_what_cannot_run_says_why(trt, monkeypatch, plan, said, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExecutionImpossible) as caught:
        run_plan(session_of(trt, *said), plan, {}, 1)
    assert words in str(caught.value)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
def test_arrays_go_to_torch_and_back_bit_for_bit(dtype, shape):
    array = np.ones(shape).astype(dtype)
    back = _array(torch, _tensor(torch, array))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, shape, array.tobytes())
