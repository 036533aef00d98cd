"""engine/glassbox on an NVIDIA GPU: the same numbers, one CUDA graph for a run, streams side by side."""

import numpy as np
import pytest
import torch

from tests.engine.glassbox.referee import assert_same, feeds_for, model, referee
from tests.engine.glassbox.test_backend import report
from trtlab.engine import glassbox
from trtlab.engine.glassbox.errors import InputError
from trtlab.graph.models import LIGHT_FOLDER, TEACHING_MODELS, randomized

pytestmark = pytest.mark.gpu
ROUNDING = {"FP32": 1e-4, "FP16": 2e-2, "BF16": 1e-1}


@pytest.fixture(scope="module")
def residual():
    return glassbox.build(TEACHING_MODELS["residual"](), device="cuda")


@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_teaching_models_equal_onnxruntime(name, precision, tmp_path):
    proto = TEACHING_MODELS[name]()
    engine = glassbox.build(proto, device="cuda", precision=precision)
    engine.save(tmp_path / "plan")
    feeds = feeds_for(engine)
    ours = engine.create_execution_context().run(feeds)
    assert_same(ours, referee(proto, feeds), rtol=ROUNDING[precision])
    again = glassbox.load(tmp_path / "plan").create_execution_context().run(feeds)
    assert_same(again, ours, rtol=ROUNDING[precision] / 10)


@pytest.mark.parametrize("name", ["light_resnet50", "light_squeezenet", "light_densenet121", "light_shufflenet"])
def test_architectures_equal_onnxruntime(name):
    import onnx

    proto = randomized(onnx.load(LIGHT_FOLDER / f"{name}.onnx"))
    engine = glassbox.build(proto, device="cuda")
    feeds = feeds_for(engine)
    assert_same(engine.create_execution_context().run(feeds), referee(proto, feeds), rtol=1e-4)


def test_every_claimed_node_test_passes():
    assert not report("cuda")[1]


def test_a_run_is_one_cuda_graph_and_profile_sees_every_kernel(residual):
    context, feeds = residual.create_execution_context(), feeds_for(residual)
    assert context.is_graph
    times = context.profile(feeds)
    assert len(times) == len(residual.inspect())
    assert min(times) > 0


def test_enqueue_returns_results_in_order_on_two_streams(residual):
    feeds = [feeds_for(residual, seed) for seed in range(6)]
    want = [residual.create_execution_context().run(f) for f in feeds]
    contexts = [residual.create_execution_context() for _ in range(2)]
    streams, found = [residual.device.new_stream() for _ in range(2)], [{} for _ in feeds]
    for number, f in enumerate(feeds):
        contexts[number % 2].enqueue(f, found[number], streams[number % 2])
    for stream in streams:
        stream.synchronize()
    for ours, expected in zip(found, want, strict=True):
        assert all(np.array_equal(ours[name], expected[name]) for name in expected)


def test_what_asks_for_values_on_the_way_runs_kernel_by_kernel():
    proto = model("(float[4] x, int64[1] n) => (float[?] y) { z = Constant <value_ints=[0]> () y = Slice (x, z, n) }")
    context = glassbox.build(proto, device="cuda").create_execution_context()
    assert not context.is_graph
    x = np.arange(4, dtype=np.float32)
    for n in (1, 3):
        assert context.run({"x": x, "n": np.array([n])})["y"].tolist() == [*range(n)]


def test_nan_passes_and_a_wrong_shape_is_told(residual):
    context, feeds = residual.create_execution_context(), feeds_for(residual)
    (name, x), *_ = feeds.items()
    with pytest.raises(InputError, match="one engine runs one shape"):
        context.run(feeds | {name: x[..., :1]})
    y = context.run(feeds | {name: np.full_like(x, np.nan)})
    assert all(np.isnan(v).any() for v in y.values())


def test_a_run_allocates_nothing_on_the_gpu(residual):
    """Neither blocks nor segments: activations lie in the arena, what cuDNN brings in a graph's memory (here all)."""
    context, feeds = residual.create_execution_context(), feeds_for(residual)
    assert context._arena.nbytes == residual.memory.arena_bytes
    assert residual.memory.arena_bytes or residual.memory.apart
    for _ in range(3):
        context.run(feeds)
    counts = ["allocation.all.allocated", "segment.all.allocated", "reserved_bytes.all.current"]
    before = torch.cuda.memory_stats()
    for _ in range(100):
        context.run(feeds)
    after = torch.cuda.memory_stats()
    assert {n: after[n] for n in counts} == {n: before[n] for n in counts}


@pytest.mark.parametrize(
    ("op", "x", "w"), [("Conv <pads = [1,1,1,1]>", (1, 3, 7, 7), (5, 3, 3, 3)), ("MatMul", (64, 128), (128, 64))]
)
def test_products_of_int8_codes_equal_onnxruntime(op, x, w):
    rng, text = np.random.default_rng(0), f"(float{[*x]} x) => (float[{', '.join('abcd'[: len(x)])}] y) "
    text += "{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) v = DequantizeLinear (w, s, z) "
    text += f"p = {op} (d, v) y = Relu (p) }}"
    values = {"w": rng.integers(-127, 128, w).astype(np.int8), "s": np.float32(0.02), "z": np.int8(0)}
    proto = model(text, 20, **values)
    engine = glassbox.build(proto, device="cuda")
    feeds = feeds_for(engine)
    assert_same(engine.create_execution_context().run(feeds), referee(proto, feeds), rtol=1e-5)
    assert any(kernel.name.startswith("int8") for kernel in engine.inspect())
