"""engine/nvidia/explain: one call from a model to everything NVIDIA's compiler says about it.

In: a path, bytes, an ONNX proto, or a torch module with example inputs. Out: a `BuildReport`, made by the compiler in a
warm worker process.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from trtlab.engine import machine
from trtlab.engine.nvidia.errors import BuildWarning, CompilerMissing, ModelError
from trtlab.engine.nvidia.report import BuildReport, Progress
from trtlab.engine.nvidia.request import BuildRequest, ProfileShapes, normalise_profiles, normalise_targets
from trtlab.engine.nvidia.worker import POOL, CancelFlag
from trtlab.graph.onnxfile import OnnxSource, source_from_model


def explain(
    model: Any,
    target: str | Iterable[str] | None = None,
    *,
    profiles: ProfileShapes | Sequence[ProfileShapes] | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    name: str | None = None,
    compiler: str | None = None,
    set_flags: Iterable[str] = (),
    clear_flags: Iterable[str] = (),
    workspace_bytes: int | None = None,
    max_aux_streams: int | None = None,
    timeout_s: float = 600.0,
    cancel: CancelFlag | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop_after: str = "build",
) -> BuildReport:
    """The report of building `model` with NVIDIA's own compiler; on Linux and Windows x86-64 no GPU is needed.

    `model`: path, bytes, onnx.ModelProto, or a torch.nn.Module with `example_inputs`. `target`: `SM89`, a list of
    such, or `portable`; left out it is this machine's GPU, or SM89 where there is none. `profiles`: for dynamic inputs,
    {name: (minimum, optimum, maximum)} or a list of those. `set_flags` / `clear_flags`: names of
    builder flags (TF32 is on by default). `cancel`: an object with is_set(); `on_progress` is called with `Progress`.
    `stop_after="parse"` stops before the builder. Raises the types of nvidia.errors (each says the way out).

    >>> report = explain("resnet18.onnx", target="SM89")
    >>> [kernel.name for kernel in report.kernels if "node_relu" in kernel.onnx_nodes]
    """
    chosen = choose_compiler(compiler)
    source = _source(model, example_inputs, name)
    request = BuildRequest(
        name=source.name,
        path=str(source.path) if source.path else None,
        targets=normalise_targets(target, chosen),
        profiles=normalise_profiles(profiles),
        set_flags=tuple(set_flags),
        clear_flags=tuple(clear_flags),
        workspace_bytes=workspace_bytes,
        max_aux_streams=max_aux_streams,
        stop_after=stop_after,
    )
    with POOL.worker(chosen) as worker:
        report, plan = worker.ask(
            "build", request, block=source.data or b"", timeout_s=timeout_s, cancel=cancel, on_progress=on_progress
        )
        made: BuildReport = replace(report, plan=plan, log=report.log + worker.new_lines())
    if made.unread_lines:
        what = f"{len(made.unread_lines)} steps of the engine could not be read, the first: {made.unread_lines[0]}"
        warnings.warn(f"{what}. They are in report.unread_lines; please report them.", BuildWarning, stacklevel=2)
    return made


def choose_compiler(compiler: str | None = None) -> str:
    """`tensorrt` when it is installed and a CUDA driver loads, else `tensorrt_rtx`; or the one named, if it is usable.

    Raises CompilerMissing with what to install. Imports neither.
    """
    names = machine.COMPILERS
    if compiler not in (None, *names):
        raise CompilerMissing(f"There is no compiler {compiler!r}.", hint=f"Expected one of {', '.join(names)}.")
    reasons = {name: _why_not_usable(name) for name in names}
    usable = [name for name in names if reasons[name] is None]
    if chosen := next((name for name in usable if compiler in (None, name)), None):
        return chosen
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if compiler in (None, name))
    hint = "On Linux or Windows x86-64: pip install tensorrt-rtx (needs no GPU). Elsewhere notebooks show recordings."
    hint = f"Leave compiler out: {usable[0]} can be used here." if usable else hint
    raise CompilerMissing(f"No TensorRT compiler can be used here ({why}).", hint=hint)


def _why_not_usable(name: str) -> str | None:
    if not machine.is_installed(name):
        return "not installed"
    return machine.cuda_driver().why_not if name == "tensorrt" else None


def warm(compiler: str | None = None) -> None:
    """Start the worker in the background, so that the first build answers at once."""
    POOL.warm(choose_compiler(compiler))


def _source(model: Any, example_inputs: tuple[Any, ...] | None, name: str | None) -> OnnxSource:
    if hasattr(model, "state_dict") and callable(model):
        from trtlab.engine.export import ExportError, export_onnx

        if example_inputs is None:
            what = f"{type(model).__name__} is a torch module without example inputs."
            raise ModelError(what, hint="Pass example_inputs=(tensor, ...).")
        try:
            proto = export_onnx(model, example_inputs)
        except ExportError as error:
            raise ModelError(f"{type(model).__name__} cannot be exported: {error}") from None
        return source_from_model(proto, name or type(model).__name__)
    try:
        source = source_from_model(model, name)
        str(source.path).encode()
    except UnicodeEncodeError:
        raise ModelError(f"The name of {str(model)!r} is no text in UTF-8.", hint="Rename it.") from None
    except (OSError, TypeError) as error:
        raise ModelError(str(error)) from None
    return source
