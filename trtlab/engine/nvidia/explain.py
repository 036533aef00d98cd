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
    timeout_s: float = 600.0,
    cancel: CancelFlag | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> BuildReport:
    """The report of building `model` with NVIDIA's own compiler; on Linux x86-64 no GPU is needed.

    `model`: path, bytes, onnx.ModelProto, or a torch.nn.Module with `example_inputs`. `target`: `SM89`, a list of
    such, or `portable`; left out it is this machine's GPU, or SM89 where there is none. `profiles`: for dynamic inputs,
    {name: (minimum, optimum, maximum)} or a list of those. `cancel`: an object with is_set(); `on_progress` is called
    with `Progress`. `options`: `set_flags` and `clear_flags`, names of builder flags (TF32 is on by default),
    `workspace_bytes`, `max_aux_streams`; `stop_after="parse"` stops before the builder. Raises the types of
    nvidia.errors (each says the way out).

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
        **options,
    )
    how: dict[str, Any] = {"timeout_s": timeout_s, "cancel": cancel, "on_progress": on_progress}
    report, plan, printed = POOL.ask(chosen, "build", request, block=source.data or b"", **how)
    made: BuildReport = replace(report, plan=plan, log=report.log + printed)
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
        why = getattr(error, "strerror", None)
        raise ModelError(f"{model} cannot be read: {why}." if why else str(error)) from None
    return source


def normalise_targets(target: str | Iterable[str] | None, compiler: str) -> tuple[str, ...]:
    """('SM89',) from 'sm_89', '8.9', 'SM89' or a list of such. UnsupportedTarget for anything else."""
    if target is None:
        here = machine.gpu_target()
        return () if compiler == "tensorrt" else (here if here in machine.RTX_EXECUTES else DEFAULT_TARGET,)
    names = re.split(r"[,\s]+", str(target).strip()) if isinstance(target, str | float | int) else [*map(str, target)]
    found = [re.sub(r"(?:sm_?)?(\d{1,2})\.?(\d)", r"SM\1\2", name.lower()) for name in names]
    if wrong := [name for name in found or [""] if not re.fullmatch(rf"SM\d{{2,3}}|{PORTABLE}", name)]:
        hint = "Expected a compute capability such as SM89 or 8.9, a list of such, or 'portable'."
        raise UnsupportedTarget(f"{wrong[0]!r} is no target.", hint=hint, target=wrong[0])
    return tuple(dict.fromkeys(found))


def normalise_profiles(profiles: ProfileShapes | Sequence[ProfileShapes] | None) -> tuple[Profile, ...]:
    """Frozen profiles from one mapping or several. ProfileError when an entry is not three shapes of integers."""
    try:
        mappings = [profiles] if isinstance(profiles, Mapping) else list(profiles or ())
        return tuple(Profile(shapes=tuple(map(_profile_entry, one.items()))) for one in mappings if one)
    except (TypeError, ValueError, AttributeError):
        hint = "Expected {input: (minimum, optimum, maximum)} of shapes such as (8, 3, 32, 32), or a list of those."
        raise ProfileError(f"profiles is {profiles!r}.", hint=hint) from None


def _profile_entry(entry: tuple[str, Any]) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    smallest, optimal, largest = (tuple(int(size) for size in shape) for shape in entry[1])
    return entry[0], smallest, optimal, largest
