"""engine/nvidia/explain: one call from a model to everything NVIDIA's compiler says about it.

In: a path, bytes, an ONNX proto, or a torch module with example inputs. Out: a `BuildReport`. The compiler runs in a
warm worker process; while it builds, this process hashes the model and counts its nodes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtlab.engine import machine
from trtlab.engine.measure import live
from trtlab.engine.nvidia.compiler import PORTABLE, BuildRequest
from trtlab.engine.nvidia.errors import BuildError, CompilerMissing, ModelError, ProfileError, UnsupportedTarget
from trtlab.engine.nvidia.report import BuildReport, LogLine, Profile
from trtlab.engine.nvidia.worker import POOL, CancelFlag, Worker
from trtlab.graph.onnxfile import NodeCounts, OnnxSource, count_nodes, sha256_of, source_from_model

DEFAULT_TARGET = "SM89"
Shape = Sequence[int]
ProfileShapes = Mapping[str, tuple[Shape, Shape, Shape]]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One event of a running build. `step` of `steps` where the phase counts; `done` when the phase has ended."""

    name: str
    parent: str | None
    step: int
    steps: int
    done: bool
    seconds: float


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
    _check_options(stop_after, timeout_s, workspace_bytes, max_aux_streams)
    chosen = choose_compiler(compiler)
    source = _source(model, example_inputs, name)
    request = BuildRequest(
        model_path=str(source.path) if source.path else None,
        targets=normalise_targets(target, chosen),
        profiles=normalise_profiles(profiles),
        set_flags=tuple(set_flags),
        clear_flags=tuple(clear_flags),
        workspace_bytes=workspace_bytes,
        max_aux_streams=max_aux_streams,
        stop_after=stop_after,
    )
    identity = _Identity(source)
    with POOL.worker(chosen) as worker:
        message, plan = worker.ask(
            {"kind": "build", "request": request},
            source.data or b"",
            timeout_s=timeout_s,
            cancel=cancel,
            on_event=None if on_progress is None else _progress_adapter(on_progress),
            meanwhile=identity.compute,
        )
        return _report(message["values"], plan, request, source, identity, worker)


def _check_options(stop_after: str, timeout_s: float, workspace_bytes: int | None, max_aux_streams: int | None) -> None:
    if not timeout_s > 0:
        raise BuildError(f"timeout_s is {timeout_s!r}.", hint="Expected a number of seconds above 0.")
    if stop_after not in ("parse", "build"):
        raise BuildError(f"stop_after is {stop_after!r}.", hint="Expected 'parse' or 'build'.")
    for name, value in (("workspace_bytes", workspace_bytes), ("max_aux_streams", max_aux_streams)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise BuildError(
                f"{name} is {value!r}.", hint="Expected a whole number, 0 or more, or None for the default."
            )


def choose_compiler(compiler: str | None = None) -> str:
    """`tensorrt` when it is installed and a CUDA driver loads, else `tensorrt_rtx`; or the one named, if it is usable.

    Raises CompilerMissing with what to install. Imports neither.
    """
    if compiler is not None and compiler not in machine.COMPILERS:
        raise CompilerMissing(
            f"There is no compiler {compiler!r}.", hint=f"Expected one of {', '.join(machine.COMPILERS)}."
        )
    reasons = []
    for name in (compiler,) if compiler else machine.COMPILERS:
        reason = _why_not_usable(name)
        if reason is None:
            return name
        reasons.append(f"{name}: {reason}")
    if compiler is not None and (other := _usable_besides(compiler)):
        raise CompilerMissing(f"{'; '.join(reasons)}.", hint=f"Leave compiler out: {other} can be used here.")
    raise CompilerMissing(
        f"No TensorRT compiler can be used here ({'; '.join(reasons)}).",
        hint="On Linux or Windows x86-64: pip install tensorrt-rtx (needs no GPU)."
        " Elsewhere the notebooks show recordings.",
    )


def _usable_besides(compiler: str) -> str | None:
    return next((name for name in machine.COMPILERS if name != compiler and _why_not_usable(name) is None), None)


def _why_not_usable(name: str) -> str | None:
    if not machine.is_installed(name):
        return "not installed"
    return machine.cuda_driver().why_not if name == "tensorrt" else None


def warm(compiler: str | None = None) -> None:
    """Start the worker in the background, so that the first build answers at once."""
    POOL.warm(choose_compiler(compiler))


def normalise_targets(target: str | Iterable[str] | None, compiler: str) -> tuple[str, ...]:
    """('SM89',) from 'sm_89', '8.9', 'SM89' or a list of such. UnsupportedTarget for anything else."""
    if target is None:
        here = machine.gpu_target()
        return () if compiler == "tensorrt" else (here if here in machine.RTX_EXECUTES else DEFAULT_TARGET,)
    if isinstance(target, (int, float)):
        target = str(target)
    names = re.split(r"[,\s]+", target.strip()) if isinstance(target, str) else list(target)
    if not names:
        raise UnsupportedTarget(
            "The list of targets is empty.", hint="Name one, such as SM89, or pass None.", target=""
        )
    return tuple(dict.fromkeys(_normalise_target(str(name)) for name in names))


def _normalise_target(name: str) -> str:
    if name.lower() == PORTABLE:
        return PORTABLE
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", name.strip(), re.IGNORECASE)
    if match is None:
        raise UnsupportedTarget(
            f"{name!r} is no target.",
            hint="Expected a compute capability such as SM89 or 8.9, or 'portable'.",
            target=name,
        )
    return f"SM{match[1]}{match[2]}"


def normalise_profiles(profiles: ProfileShapes | Sequence[ProfileShapes] | None) -> tuple[Profile, ...]:
    """Frozen profiles from one mapping or several. ProfileError when an entry is not three shapes of integers."""
    if not profiles:
        return ()
    mappings = [profiles] if isinstance(profiles, Mapping) else list(profiles)
    if not all(isinstance(mapping, Mapping) for mapping in mappings):
        raise ProfileError(
            f"profiles is {profiles!r}.", hint="Expected {input: (minimum, optimum, maximum)}, or a list of those."
        )
    return tuple(
        Profile(shapes=tuple(_profile_entry(name, shapes) for name, shapes in mapping.items())) for mapping in mappings
    )


def _profile_entry(name: str, shapes: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    try:
        smallest, optimal, largest = (tuple(int(size) for size in shape) for shape in shapes)
    except (TypeError, ValueError):
        raise ProfileError(
            f"The profile of {name!r} is {shapes!r}.",
            hint="Expected three shapes: ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8)).",
        ) from None
    return name, smallest, optimal, largest


def _source(model: Any, example_inputs: tuple[Any, ...] | None, name: str | None) -> OnnxSource:
    if hasattr(model, "state_dict") and callable(model):
        from trtlab.engine.export import ExportError, export_onnx

        if example_inputs is None:
            raise ModelError(
                f"{type(model).__name__} is a torch module without example inputs.",
                hint="Pass example_inputs=(tensor, ...).",
            )
        try:
            proto = export_onnx(model, example_inputs)
        except ExportError as error:
            raise ModelError(f"{type(model).__name__} cannot be exported: {error}") from None
        return source_from_model(proto, name or type(model).__name__)
    try:
        return source_from_model(model, name)
    except (OSError, TypeError) as error:
        raise ModelError(str(error)) from None


class _Identity:
    """Hash and node counts of a model, computed while the worker builds. An unreadable model leaves zeros: the worker's
    checker will say what is wrong with it."""

    def __init__(self, source: OnnxSource) -> None:
        self._source, self.sha256, self.counts = source, "", NodeCounts(nodes=0, constants=0)

    def compute(self) -> None:
        try:
            data = self._source.read()
            self.sha256 = sha256_of(data)
            self.counts = count_nodes(data)
        except (OSError, ValueError):
            return


def _progress_adapter(on_progress: Callable[[Progress], None]) -> Callable[[dict[str, Any]], None]:
    open_phases: dict[str, tuple[str | None, int]] = {}

    def adapt(event: dict[str, Any]) -> None:
        if event["kind"] == "phase":
            open_phases[event["name"]] = (event["parent"], event["steps"])
        parent, steps = open_phases.get(event["name"], (None, 0))
        done = event["kind"] == "phase_done"
        step = steps if done else event.get("step", 0)
        on_progress(
            Progress(name=event["name"], parent=parent, step=step, steps=steps, done=done, seconds=event["seconds"])
        )

    return adapt


def _report(
    values: dict[str, Any], plan: bytes, request: BuildRequest, source: OnnxSource, identity: _Identity, worker: Worker
) -> BuildReport:
    stray = tuple(LogLine(severity="STDERR", text=line) for line in worker.new_stderr().splitlines() if line.strip())
    return BuildReport(
        **(values | {"log": values["log"] + stray}),
        model_name=source.name,
        model_sha256=identity.sha256,
        onnx_nodes=identity.counts.nodes,
        onnx_constants=identity.counts.constants,
        compiler=worker.compiler,
        compiler_version=worker.version,
        targets=request.targets,
        profiles=request.profiles,
        plan_size_bytes=len(plan),
        plan=plan,
        provenance=live([machine.DISTRIBUTIONS[worker.compiler], "onnx"]),
    )
