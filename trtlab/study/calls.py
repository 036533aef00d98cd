"""study/calls: what older answers say, and what to say now: names of calls, with NVIDIA's headers as witness.

In: nothing. Out: frozen `Call`s. teach draws them beside the recorded headers and the installed module.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Call:
    """`said` is the old name; `header` its name in NVIDIA's headers (recorded per release), or a header file; `python`
    the (class, name) to look for in the installed module; `now` what replaces it, `python_now` where that is found."""

    said: str
    header: str
    now: str
    python: tuple[str, str] | None = None
    python_now: tuple[str, str] | None = None


CALLS = (
    Call(
        said="enqueueV2(bindings, stream)",
        header="enqueueV2",
        now="setTensorAddress by name, then enqueueV3(stream)",
        python=("IExecutionContext", "execute_async_v2"),
        python_now=("IExecutionContext", "execute_async_v3"),
    ),
    Call(
        said="executeV2(bindings)",
        header="executeV2",
        now="still there; enqueueV3 is preferred",
        python=("IExecutionContext", "execute_v2"),
        python_now=("IExecutionContext", "execute_v2"),
    ),
    Call(
        said="getBindingIndex(name)",
        header="getBindingIndex",
        now="tensors have names: getIOTensorName, getTensorShape",
        python=("ICudaEngine", "get_binding_index"),
        python_now=("ICudaEngine", "get_tensor_name"),
    ),
    Call(
        said="setMaxWorkspaceSize(bytes)",
        header="setMaxWorkspaceSize",
        now="setMemoryPoolLimit(kWORKSPACE, bytes)",
        python=("IBuilderConfig", "max_workspace_size"),
        python_now=("IBuilderConfig", "set_memory_pool_limit"),
    ),
    Call(
        said="setMaxBatchSize(n), implicit batch",
        header="setMaxBatchSize",
        now="a dynamic dimension and an optimisation profile",
        python=("Builder", "max_batch_size"),
        python_now=("Builder", "create_optimization_profile"),
    ),
    Call(
        said="BuilderFlag::kFP16",
        header="BuilderFlag::kFP16",
        now="a typed model: export in FP16, or insert Cast nodes",
        python=("BuilderFlag", "FP16"),
        python_now=("INetworkDefinition", "add_cast"),
    ),
    Call(
        said="BuilderFlag::kINT8",
        header="BuilderFlag::kINT8",
        now="Q/DQ nodes in the model",
        python=("BuilderFlag", "INT8"),
        python_now=("INetworkDefinition", "add_quantize"),
    ),
    Call(
        said="IInt8EntropyCalibrator2",
        header="IInt8EntropyCalibrator2",
        now="Q/DQ nodes in the model, from a quantisation tool",
        python=("IInt8EntropyCalibrator2", "get_batch"),
        python_now=("INetworkDefinition", "add_quantize"),
    ),
    Call(
        said="layer->setPrecision(type)",
        header="setPrecision",
        now="Cast nodes in the model",
        python=("ILayer", "precision"),
        python_now=("INetworkDefinition", "add_cast"),
    ),
    Call(
        said="buildEngineWithConfig",
        header="buildEngineWithConfig",
        now="buildSerializedNetwork for a plan; the old name came back in 10.6",
        python_now=("Builder", "build_serialized_network"),
    ),
    Call(
        said="Caffe parser",
        header="NvCaffeParser.h",
        now="ONNX, Torch-TensorRT, or the network API",
        python=("CaffeParser", "parse"),
        python_now=("OnnxParser", "parse"),
    ),
    Call(
        said="UFF parser (TensorFlow)",
        header="NvUffParser.h",
        now="ONNX through tf2onnx",
        python=("UffParser", "parse"),
        python_now=("OnnxParser", "parse"),
    ),
)
