"""engine/nvidia/minimal: the whole workflow in NVIDIA's own calls and nothing else: what fits on a whiteboard.

In: the module (`tensorrt` or `tensorrt_rtx`), a model, arrays. Out: a plan; outputs. No checks, no worker, no report:
notebook 08 shows this code, execute.py runs plans with it, and a test builds with it what `explain` builds.
"""

from types import ModuleType
from typing import Any

TORCH_WORDS = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8_e4m3fn"}  # else the same word


def build(trt: ModuleType, model: bytes, shapes: dict[str, Any] | None = None) -> bytes:
    """From ONNX bytes to a plan. `shapes`: {input: (minimum, optimum, maximum)} for dynamic inputs."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # TensorRT 10 wants 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) instead of 0
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise ValueError(parser.get_error(0).desc())
    config = builder.create_builder_config()
    if shapes:
        profile = builder.create_optimization_profile()
        for name, three in shapes.items():
            profile.set_shape(name, *three)
        config.add_optimization_profile(profile)
    if hasattr(trt, "ComputeCapability"):  # tensorrt_rtx builds for other GPUs than this machine's
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError("the builder made no plan; its logger has said why")
    return bytes(plan)


def bind(trt: ModuleType, torch: Any, engine: Any, context: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Shapes in, memory for the outputs, all addresses told: tensors on the GPU, in the engine's order."""
    for name, tensor in inputs.items():
        context.set_input_shape(name, tuple(tensor.shape))
    tensors = {}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
            word = engine.get_tensor_dtype(name).name
            dtype = getattr(torch, TORCH_WORDS.get(word, word.lower()))
            tensors[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype, device="cuda")
        else:
            tensors[name] = inputs[name]
        context.set_tensor_address(name, tensors[name].data_ptr())
    return tensors


def infer(trt: ModuleType, torch: Any, plan: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
    """From a plan and tensors in pinned memory to outputs on the host, on a GPU of the plan's target."""
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context()  # one for each thread and stream
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        on_gpu = {name: tensor.to("cuda", non_blocking=True) for name, tensor in inputs.items()}
        tensors = bind(trt, torch, engine, context, on_gpu)
        context.execute_async_v3(stream.cuda_stream)
        results = {name: tensor for name, tensor in tensors.items() if name not in inputs}
        outputs = {name: tensor.to("cpu", non_blocking=True) for name, tensor in results.items()}
    stream.synchronize()  # before anything reads the outputs
    return outputs
