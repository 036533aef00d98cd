"""engine/export: torch to ONNX, quietly, with names that a person can read.

In: a teaching model's name or a `torch.nn.Module` with example inputs. Out: one self-contained `onnx.ModelProto`. torch
and onnx are imported when a function is called. Checked by tests/engine/test_networks.py: onnx.checker, ONNX Runtime
against torch.
"""

import copy
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from trtlab.engine.networks import TeachingModel, teaching_model

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from torch import Tensor, nn

PRECISIONS = ("FP32", "FP16", "INT8")

_ONE_AT_A_TIME = threading.Lock()  # torch's exporter, and the silencing of it, work on state of the whole process


class ExportError(RuntimeError):
    """torch could not turn this module into ONNX; the message says where it stopped and what to try."""


def export_onnx(
    model: "str | TeachingModel | nn.Module",
    example_inputs: "Tensor | Sequence[Tensor] | None" = None,
    *,
    precision: Literal["FP32", "FP16", "INT8"] = "FP32",
    dynamic_batch: bool = False,
    fold_batchnorm: bool = True,
) -> "onnx.ModelProto":
    """An ONNX model of the network in eval mode, weights inside; the module itself is left as it was.

    FP16 is `module.half()` before export: weights, inputs and outputs are all FP16 and no Cast is added, which is what
    a strongly typed TensorRT network wants (it refuses mixed inputs, and no builder flag chooses types any more). A
    BatchNorm is then folded in FP16 too, which rounds twice: 0.15% of the output's spread on the digits CNN, not 0.07%.
    INT8 is FP32 with Q/DQ by `graph.precision.insert_qdq`, where every BatchNorm is folded; the thresholds are those of
    entropy, over the calibration scans of a trained teaching model, else over the example inputs.
    `dynamic_batch` leaves axis 0 of every input open under the name "batch"; else it is that of the example inputs.
    `fold_batchnorm`: torch's exporter folds every BatchNorm into the convolution before it. False keeps those nodes, so
    that a compiler can be seen doing it. Node names are `module.path/OpType`. Raises ValueError or TypeError for bad
    arguments, ExportError where torch cannot export.
    """
    if precision not in PRECISIONS:
        others = "others are made from an exported FP32 model by graph.precision"
        raise ValueError(f"export_onnx writes {' or '.join(PRECISIONS)}: got precision={precision!r}; {others}")
    model = teaching_model(model) if isinstance(model, str) else model
    module, inputs, options = _resolve(model, example_inputs)
    module = copy.deepcopy(module).eval()
    if precision == "FP16":
        module, inputs = module.half(), tuple(x.half() if x.is_floating_point() else x for x in inputs)
    if dynamic_batch:
        import torch

        batch = torch.export.Dim("batch")
        options["dynamic_shapes"] = tuple({0: batch} if x.ndim else None for x in inputs)
        inputs = tuple(torch.cat([x, x]) if x.ndim and len(x) == 1 else x for x in inputs)  # torch fixes an axis of 1
    fold_batchnorm |= precision == "INT8"
    with _ONE_AT_A_TIME:
        exported = _export_quietly(module, inputs, options | {"optimize": fold_batchnorm}).model
    if not fold_batchnorm:
        _tidy(exported)
    made = _finish(exported)
    return _in_int8(made, model, inputs) if precision == "INT8" else made


def _resolve(model: Any, example_inputs: Any) -> "tuple[nn.Module, tuple[Tensor, ...], dict[str, Any]]":
    """The module, its example inputs, and names of input and output where they are known (torch's otherwise)."""
    import torch

    options = {}
    if isinstance(model, TeachingModel):
        options = {"input_names": [model.input_name], "output_names": [model.output_name]}
        example_inputs = model.example_input() if example_inputs is None else example_inputs
        model = model.make()
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"export_onnx takes a teaching model's name or a torch.nn.Module: got {type(model).__name__}")
    given = () if example_inputs is None else example_inputs
    inputs = tuple(given) if isinstance(given, Sequence) else (given,)
    if not inputs or not all(isinstance(x, torch.Tensor) for x in inputs):
        got = ", ".join(type(x).__name__ for x in inputs) or "none at all"
        raise TypeError(f"{type(model).__name__} needs example inputs, a tuple of tensors: got {got}")
    return model, inputs, options


def _in_int8(made: "onnx.ModelProto", model: Any, inputs: "tuple[Tensor, ...]") -> "onnx.ModelProto":
    """With Q/DQ, calibrated in batches of the size that the model was exported for."""
    import torch

    from trtlab.engine.networks import load_digits_split
    from trtlab.engine.precision import calibrate
    from trtlab.graph.precision import insert_qdq

    batches = [inputs]
    if isinstance(model, TeachingModel) and model.trained:
        scans = torch.from_numpy(load_digits_split().calibration_images.copy()).split(len(inputs[0]))
        batches = [(batch,) for batch in scans if len(batch) == len(inputs[0])] or batches
    names = [value.name for value in made.graph.input]
    feeds = [{name: x.numpy() for name, x in zip(names, batch, strict=True)} for batch in batches]
    return insert_qdq(made, calibrate(made, feeds))


def _export_quietly(module: "nn.Module", inputs: "tuple[Tensor, ...]", options: dict[str, Any]) -> Any:
    """torch logs what it does without, and warns of its own deprecated functions: nothing of that is heard."""
    import torch

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.onnx.export(module, inputs, dynamo=True, external_data=False, verbose=False, **options)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        way_out = "try the same call in eager mode, then dynamic_batch=False, then torch operations for Python's ifs"
        raise ExportError(f"torch could not export {type(module).__name__}: {reason}; {way_out}") from error
    finally:
        logging.disable(before)


def _tidy(model: "ir.Model") -> None:
    """Fold constants and drop dead nodes, as torch's own clean-up does, but keep BatchNormalization."""
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common as rules

    kept = [rules.materialize_reshape_shape_rule, rules.remove_optional_bias_from_conv_rule]
    optimizer.fold_constants(model, onnx_shape_inference=True)
    rewriter.rewrite(model, kept)
    passes.RemoveUnusedNodesPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


def _finish(model: "ir.Model") -> "onnx.ModelProto":
    """Names such as layer1.0.conv1/Conv, attention/MatMul, attention/MatMul_1: where in the module, and which operator;
    and no stack traces, whose paths would tell of the exporting machine."""
    import onnx_ir as ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    seen: Counter[str] = Counter()
    for node in model.graph:
        base = "/".join(filter(None, [_module_path(node), node.op_type]))
        node.name = f"{base}_{seen[base]}" if seen[base] else base
        seen[base] += 1
    ClearMetadataAndDocStringPass()(model)
    return ir.to_proto(model)


def _module_path(node: "ir.Node") -> str:
    """The path of the module that the node came from; a node with a weight is named after that."""
    weights = [x.name for x in node.inputs if x is not None and x.name and x.name.endswith(".weight")]
    if weights:
        return weights[0].removesuffix(".weight")
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]")
    path = [part.strip("'\" ") for part in scopes.strip("[]").split(",")]
    return path[-2] if len(path) > 1 else ""
