"""engine/nvidia/compiler: the calls into `tensorrt` 10.x and 11.x or `tensorrt_rtx` 1.x, by feature detection.

Runs inside the worker process only. In: a `Session`, a `BuildRequest`. Out: a `BuildReport` with the plan. The three
libraries differ in `has_targets`, `network_flags` and where the kernels are listed (`_steps`). Verified by execution on
tensorrt_rtx 1.7; the paths for tensorrt 10 and 11 by their documentation and by fakes.
"""

import hashlib
import mmap
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from trtlab.engine import machine
from trtlab.engine.measure import live
from trtlab.engine.nvidia import log as logs
from trtlab.engine.nvidia.describe import describe_network, flag_names, inspect_plan, text_of
from trtlab.engine.nvidia.errors import (
    BuildError,
    CompilerError,
    ModelError,
    ParseError,
    ProfileError,
    UnsupportedTarget,
    hint_for,
)
from trtlab.engine.nvidia.report import BuildReport, Kernel, LogLine, Profile
from trtlab.engine.nvidia.request import PORTABLE, BuildRequest
from trtlab.engine.nvidia.session import Session, make_monitor
from trtlab.graph.onnxfile import NodeCounts, count_nodes, source_from_model

Model = bytes | mmap.mmap
_BESIDE = ThreadPoolExecutor(1)  # hashes the model and counts its nodes while it is built
NO_LIST = "The log brought no kernel list; a name in the model that is not UTF-8 keeps the message from Python."

# --- feature detection ----------------------------------------------------------------------------------------------


def has_targets(trt: ModuleType) -> bool:
    """Whether plans can be built for other GPUs than this machine's (tensorrt_rtx only)."""
    return hasattr(trt, "ComputeCapability")


def network_flags(trt: ModuleType) -> int:
    """Flags for `create_network`: strongly typed in all three libraries. tensorrt 10 needs the flag, 11 ignores it,
    tensorrt_rtx wants 0."""
    members = getattr(getattr(trt, "NetworkDefinitionCreationFlag", None), "__members__", {})
    if has_targets(trt) or "STRONGLY_TYPED" not in members:
        return 0
    return 1 << int(members["STRONGLY_TYPED"])


# --- the stages -----------------------------------------------------------------------------------------------------


def check_onnx(model: Model, path: str | None) -> None:
    """Refuse what `onnx.checker` refuses, before NVIDIA's code sees it. Raises ModelError."""
    import onnx

    what = path or "The model"
    if not model:
        raise ModelError(f"{what} is empty: 0 bytes.", hint="Expected the bytes of an .onnx file.")
    try:
        onnx.checker.check_model(path or bytes(model))
    except (onnx.checker.ValidationError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:600] or type(error).__name__
        hint = hint_for(reason) or "Export the model again, or open it in a viewer such as Netron to see what is wrong."
        raise ModelError(f"{what} is not valid ONNX; onnx.checker says: {reason.rstrip('.')}.", hint=hint) from None


def parse_onnx(trt: ModuleType, builder: Any, logger: Any, model: Model, path: str | None) -> tuple[Any, Any]:
    """(network, parser) for a model. The parser is returned because it must outlive the network. Raises ParseError."""
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model, path):
        raise _parse_error(parser, logger.lines)
    if network.num_outputs == 0:
        raise ModelError(
            "The model computes nothing: the parser found no output.", hint="Expected at least one node and one output."
        )
    return network, parser


def _parse_error(parser: Any, lines: list[LogLine]) -> ParseError:
    if parser.num_errors == 0:
        reason = "; ".join(logs.failures(lines)) or "no reason given"
        return ParseError(f"NVIDIA's parser refused the model: {reason}.", hint=hint_for(reason))
    error = parser.get_error(0)
    node, op = text_of(error.node_name), text_of(error.node_operator)
    code = getattr(error.code(), "name", str(error.code()))
    description = logs.readable(text_of(error.desc))
    logged = "; ".join(logs.failures(lines))
    reason = description if len(description) > len("false") else "this form of the operator is not supported"
    if "Failed to import initializer" in description and logged:
        reason = logs.failures(lines)[0]  # names the weight file and what is wrong with it
    where = f"node {logs.shortened(node)!r} (operator {op})" if op else "the model"
    hint = hint_for(description) or hint_for(logged) or f"Change {where} or replace it before export."
    return ParseError(
        f"NVIDIA's parser refused {where}: {reason.rstrip('.!')}.",
        hint=hint, log=logs.failures(lines), node=node, op=op, index=error.node(), code=code, description=description,
    )  # fmt: skip


def configure(trt: ModuleType, builder: Any, network: Any, request: BuildRequest, monitor: Any) -> Any:
    """A builder configuration for the request. Raises UnsupportedTarget, ProfileError or BuildError."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = monitor
    _set_targets(trt, config, request.targets)
    for name in request.set_flags:
        config.set_flag(_flag(trt, name))
    for name in request.clear_flags:
        config.clear_flag(_flag(trt, name))
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if request.max_aux_streams is not None:
        config.max_aux_streams = request.max_aux_streams
    for profile in request.profiles:
        _add_profile(builder, config, network, profile)
    return config


def _set_targets(trt: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    if not has_targets(trt):
        if targets:
            raise UnsupportedTarget(
                f"{trt.__name__} builds for the GPU it runs on and takes no target: got {', '.join(targets)}.",
                hint="Leave target out, or pass compiler='tensorrt_rtx'.", target=targets[0],
            )  # fmt: skip
        return
    if targets == (PORTABLE,) or not targets:
        return
    known = trt.ComputeCapability.__members__
    for name in targets:
        if name not in known or not name.startswith("SM"):
            choices = ", ".join(n for n in known if n.startswith("SM"))
            raise UnsupportedTarget(
                f"{trt.__name__} {trt.__version__} cannot build for {name!r}.",
                hint=f"Expected one of {choices}, or 'portable'.", target=name,
            )  # fmt: skip
    config.num_compute_capabilities = len(targets)
    for index, name in enumerate(targets):
        config.set_compute_capability(known[name], index)


def _flag(trt: ModuleType, name: str) -> Any:
    members = trt.BuilderFlag.__members__
    if name not in members:
        raise BuildError(
            f"{trt.__name__} {trt.__version__} has no builder flag {name!r}.",
            hint=f"It has {', '.join(members)}. Precision flags such as FP16 and INT8 ended with TensorRT 11:"
            " type the model instead.",
        )
    return members[name]


def _add_profile(builder: Any, config: Any, network: Any, profile: Profile) -> None:
    """Sizes are the builder's to check: it says which one does not fit."""
    inputs = [network.get_input(index).name for index in range(network.num_inputs)]
    native = builder.create_optimization_profile()
    for name, *shapes in profile.shapes:
        if name not in inputs:
            hint = f"The inputs are {', '.join(inputs)}."
            raise ProfileError(f"The profile names {name!r}, which is no input.", hint=hint)
        try:
            native.set_shape(name, *shapes)
        except (RuntimeError, ValueError) as error:
            what = f"The profile of {name!r}, {' / '.join(map(str, shapes))}, is refused: {error}"
            raise ProfileError(what, hint=hint_for("kMIN")) from None
    if config.add_optimization_profile(native) < 0:
        raise ProfileError(f"The builder refused the optimisation profile {profile.shapes}.", hint=hint_for("kMIN"))


def build_plan(builder: Any, network: Any, config: Any, session: Session) -> Any:
    """The serialised plan (IHostMemory). Raises UnsupportedTarget, ProfileError or BuildError."""
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _build_error(logs.failures(session.lines), network)
    return plan


def _build_error(reasons: tuple[str, ...], network: Any) -> CompilerError:
    text = "; ".join(reasons) or "the builder gave no reason"
    what = f"The builder made no plan: {text}."
    if "no optimization profile" in text:
        shapes = _suggested_shapes(network)
        hint = f"Pass profiles={shapes}: minimum, optimum and maximum shapes."
        return ProfileError(what, hint=hint, log=reasons, shapes=shapes)
    kinds = (
        (r"profile", ProfileError),
        (r"HW-specific datatypes|Cannot compile operation", UnsupportedTarget),
    )
    kind = next((kind for pattern, kind in kinds if re.search(pattern, text)), BuildError)
    return kind(what, hint=hint_for(text), log=reasons)


def _suggested_shapes(network: Any) -> dict[str, tuple[tuple[int, ...], ...]]:
    inputs = (network.get_input(i) for i in range(network.num_inputs))
    dynamic = {tensor.name: tuple(tensor.shape) for tensor in inputs if -1 in tuple(tensor.shape)}
    return {
        name: tuple(tuple(n if s == -1 else s for s in shape) for n in (1, 8, 32)) for name, shape in dynamic.items()
    }


def build(session: Session, data: bytes, request: BuildRequest) -> tuple[BuildReport, Any]:
    """(report without its plan, plan) after all stages; no plan when `stop_after` is `parse`. Raises the types of
    nvidia.errors."""
    trt, logger = session.trt, session.logger
    model = data if request.path is None else _read(request.path)
    with session.phase("check"):
        check_onnx(model, request.path)
    identity = _BESIDE.submit(_identity, model, request.path)
    with session.phase("parse"):
        builder = trt.Builder(logger)
        network, parser = parse_onnx(trt, builder, logger, model, request.path)
    facts = describe_network(network)
    with session.phase("configure"):
        config = configure(trt, builder, network, request, make_monitor(session))
    facts["flags"] = flag_names(trt, config)
    plan = None
    if request.stop_after != "parse":
        with session.phase("build"):
            plan = build_plan(builder, network, config, session)
    del config, parser, network, builder
    block, lines, (sha256, counts) = memoryview(plan or b""), tuple(session.lines), identity.result()
    steps, unread = _steps(session, lines, block)
    report = BuildReport(
        **facts,
        model_name=request.name,
        model_sha256=sha256,
        onnx_nodes=counts.nodes,
        onnx_constants=counts.constants,
        compiler=trt.__name__,
        compiler_version=trt.__version__,
        targets=request.targets,
        profiles=request.profiles,
        steps=steps,
        memory=logs.memory_from_log(lines),
        phases=tuple(sorted(session.phases, key=lambda phase: phase.start_s)),
        log=lines,
        unread_lines=unread,
        plan_size_bytes=block.nbytes,
        plan=b"",
        provenance=live([machine.DISTRIBUTIONS[trt.__name__], "onnx"]),
    )
    return report, block


def _identity(model: Model, path: str | None) -> tuple[str, NodeCounts]:
    proto = source_from_model(path or bytes(model)).proto()
    return hashlib.sha256(model).hexdigest(), count_nodes(proto)


def _read(path: str) -> Model:
    """The file as memory, which costs nothing until it is read."""
    try:
        with Path(path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
    except OSError as error:
        what = f"The model file cannot be read: {path}: {error.strerror}."
        raise ModelError(what, hint="Expected an .onnx file.") from None


def _steps(
    session: Session, lines: tuple[LogLine, ...], plan: memoryview
) -> tuple[tuple[Kernel, ...], tuple[str, ...]]:
    """(engine steps, what could not be read of them): from the log, or from the inspector where the log has none."""
    steps, unread = logs.steps_from_log(lines)
    if plan and not steps and not has_targets(session.trt):
        steps = inspect_plan(session.trt, session.logger, plan)
    if plan and not steps and not unread:
        unread = (NO_LIST,)
    return steps, unread
