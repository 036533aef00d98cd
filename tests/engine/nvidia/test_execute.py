"""engine/nvidia/execute: the refusal without a GPU, and the calls on one, by an engine that computes relu(x)."""

import contextlib
import ctypes
import types

import ml_dtypes
import numpy as np
import pytest
import torch

from trtlab.engine.machine import cuda_driver
from trtlab.engine.nvidia import ExecutionImpossible, minimal
from trtlab.engine.nvidia.execute import _array, _tensor, execute, run_plan
from trtlab.engine.nvidia.report import LogLine

from . import onnx_models as models
from .rtx import build, needs_rtx

no_driver = pytest.mark.skipif(cuda_driver().why_not is None, reason="this machine has a CUDA driver")


@needs_rtx
@no_driver
def test_without_a_driver_the_refusal_says_so():
    plan = build(models.single("Relu")).plan
    with pytest.raises(ExecutionImpossible, match=r"refuses the plan here: .*cudaError 35.*runs on ONNX Runtime"):
        execute(plan, {}, compiler="tensorrt_rtx")
    for broken in (b"", b"hello", bytes(5000)):
        with pytest.raises(ExecutionImpossible, match="NVIDIA's runtime refuses the plan here: "):
            execute(broken, {}, compiler="tensorrt_rtx")
    assert build(models.single("Relu")).kernels  # the worker lives


# --- fakes: an engine with several outputs of several types, and torch.cuda on the CPU -------------------------------

TYPES = {  # what the engine takes and gives: TensorRT's word, NumPy's type, and what is computed from the ids
    "ids": ("INT64", np.dtype("int64"), None),
    "scale": ("FLOAT", np.dtype("float32"), None),
    "logits": ("FLOAT", np.dtype("float32"), lambda ids, scale: ids * scale),
    "best": ("INT32", np.dtype("int32"), lambda ids, **_: ids.max(keepdims=True)),
    "is_even": ("BOOL", np.dtype("bool"), lambda ids, **_: ids % 2 == 0),
    "half": ("BF16", np.dtype(ml_dtypes.bfloat16), lambda ids, **_: ids / 2),
}
FEEDS = {"ids": np.arange(-3, 5, dtype=np.int64).reshape(2, 4), "scale": np.float32(1.5)}
ANSWERS = {name: np.asarray(compute(**FEEDS)).astype(dtype) for name, (_, dtype, compute) in TYPES.items() if compute}


class FakeLogger:
    WARNING = 1

    def __init__(self, _severity):
        pass


class FakeContext:
    """Knows tensors by address and type, as the real one does; every call is noted."""

    def __init__(self, calls):
        self.calls, self.shapes, self.addresses = calls, {}, {}

    def set_input_shape(self, name, shape):
        self.calls.append("set_input_shape")
        self.shapes[name] = tuple(shape)

    def get_tensor_shape(self, name):
        return self.shapes[name] if name in self.shapes else ANSWERS[name].shape

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
            shape = self.get_tensor_shape(name)
            raw = (ctypes.c_uint8 * (int(np.prod(shape)) * dtype.itemsize)).from_address(addresses[name])
            memory[name] = np.frombuffer(raw, dtype).reshape(shape)
        for name in ANSWERS:
            memory[name][...] = np.asarray(TYPES[name][2](ids=memory["ids"], scale=memory["scale"])).astype(
                TYPES[name][1]
            )


@pytest.fixture
def calls():
    return []


@pytest.fixture
def trt(calls):
    """What runtime.execute needs of tensorrt 10, 11 or tensorrt_rtx."""
    modes = types.SimpleNamespace(INPUT="in", OUTPUT="out")
    engine = types.SimpleNamespace(
        num_io_tensors=len(TYPES),
        get_tensor_name=[*TYPES].__getitem__,
        get_tensor_mode=lambda name: "out" if name in ANSWERS else "in",
        get_tensor_dtype=lambda name: types.SimpleNamespace(name=TYPES[name][0]),
        create_execution_context=lambda: FakeContext(calls),
        create_engine_inspector=lambda: types.SimpleNamespace(get_engine_information='{{"Layers": "as {}"}}'.format),
    )
    engines = {b"plan": engine}
    return types.SimpleNamespace(
        Logger=FakeLogger,
        Runtime=lambda _logger: types.SimpleNamespace(deserialize_cuda_engine=engines.get),
        TensorIOMode=modes,
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
    empty = torch.empty

    def to(self, where, **_options):
        calls.append(f"to {where}")
        return self.clone()

    monkeypatch.setattr(torch.Tensor, "to", to)
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
    ran, block = run_plan(session_of(trt), b"plan", FEEDS, 3)
    assert_answers(ran.outputs)
    assert_answers(ran.sync_outputs)
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
    pinned = {name: torch.from_numpy(np.asarray(array)) for name, array in FEEDS.items()}
    outputs = minimal.infer(trt, torch, b"plan", pinned)
    assert {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in outputs.items()} == {
        name: answer.dtype.name for name, answer in ANSWERS.items()
    }
    assert_answers({name: _array(torch, tensor) for name, tensor in outputs.items()})
    ran = calls.index("execute_async_v3")
    assert calls[:2] == ["to cuda"] * len(FEEDS)
    assert calls[ran + 1 :] == ["to cpu"] * len(ANSWERS) + [
        "synchronize"
    ]  # every output is copied out, then waited for


def test_a_type_of_ml_dtypes_goes_over_as_bits_and_a_scalar_stays_one():
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float32, np.bool_):
        for array in (np.array([[0.5, 1.0]]).astype(dtype), np.array(1.0).astype(dtype)):
            tensor = _tensor(torch, array)
            assert (str(tensor.dtype), tuple(tensor.shape)) == (f"torch.{array.dtype.name}", array.shape)
            np.testing.assert_array_equal(_array(torch, tensor), array)


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
        run_plan(session_of(trt, *said), plan, FEEDS, 1)
    assert words in str(caught.value)
