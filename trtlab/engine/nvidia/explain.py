"""engine/nvidia/explain: one call from a model to everything NVIDIA's compiler says about it.

In: a path, bytes, an ONNX proto, or a torch module with example inputs. Out: a `BuildReport`, made by the compiler in a
warm worker process.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trtlab.engine import machine
from trtlab.engine.nvidia.api import choose_compiler
from trtlab.engine.nvidia.errors import BuildWarning, ModelError, ProfileError, UnsupportedTarget
from trtlab.engine.nvidia.report import BuildReport, BuildRequest, Profile, Progress
from trtlab.engine.nvidia.worker import POOL, CancelFlag
from trtlab.graph.onnxfile import OnnxSource, source_from_model

DEFAULT_TARGET, PORTABLE = "SM89", "portable"
Shape = Sequence[int]
ProfileShapes = Mapping[str, tuple[Shape, Shape, Shape]]


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


# --- targets and profiles as people write them ------------------------------------------------------------------------


def normalise_targets(target: str | Iterable[str] | None, compiler: str) -> tuple[str, ...]:
    """('SM89',) from 'sm_89', '8.9', 'SM89' or a list of such. UnsupportedTarget for anything else."""
    if target is None:
        here = machine.gpu_target()
        return () if compiler == "tensorrt" else (here if here in machine.RTX_EXECUTES else DEFAULT_TARGET,)
    if isinstance(target, (int, float)):
        target = str(target)
    names = re.split(r"[,\s]+", target.strip()) if isinstance(target, str) else list(target)
    if not names:
        hint = "Name one, such as SM89, or pass None."
        raise UnsupportedTarget("The list of targets is empty.", hint=hint, target="")
    return tuple(dict.fromkeys(_normalise_target(str(name)) for name in names))


def _normalise_target(name: str) -> str:
    if name.lower() == PORTABLE:
        return PORTABLE
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", name.strip(), re.IGNORECASE)
    if match is None:
        hint = "Expected a compute capability such as SM89 or 8.9, or 'portable'."
        raise UnsupportedTarget(f"{name!r} is no target.", hint=hint, target=name)
    return f"SM{match[1]}{match[2]}"


def normalise_profiles(profiles: ProfileShapes | Sequence[ProfileShapes] | None) -> tuple[Profile, ...]:
    """Frozen profiles from one mapping or several. ProfileError when an entry is not three shapes of integers."""
    mappings = [profiles] if isinstance(profiles, Mapping) else list(profiles or ())
    if not all(isinstance(mapping, Mapping) for mapping in mappings):
        hint = "Expected {input: (minimum, optimum, maximum)}, or a list of those."
        raise ProfileError(f"profiles is {profiles!r}.", hint=hint)
    return tuple(
        Profile(shapes=tuple(_profile_entry(name, shapes) for name, shapes in mapping.items()))
        for mapping in mappings
        if mapping
    )


def _profile_entry(name: str, shapes: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    try:
        smallest, optimal, largest = (tuple(int(size) for size in shape) for shape in shapes)
    except (TypeError, ValueError):
        hint = "Expected three shapes: ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))."
        raise ProfileError(f"The profile of {name!r} is {shapes!r}.", hint=hint) from None
    return name, smallest, optimal, largest
