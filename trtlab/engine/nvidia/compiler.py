"""engine/nvidia/compiler: the calls into `tensorrt` 10.x and 11.x or `tensorrt_rtx` 1.x, by feature detection.

Runs inside the worker process only. In: a `Session`, a `BuildRequest`. Out: a `BuildReport` with the plan. The three
libraries differ in targets (tensorrt_rtx alone has a `ComputeCapability`), `network_flags` and where the kernels are
listed (`_steps`). Verified by execution on tensorrt_rtx 1.7; the paths for tensorrt 10 and 11 by their documentation.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from trtlab.engine import machine
from trtlab.engine.files import read_regular
from trtlab.engine.measure import live
from trtlab.engine.nvidia import errors
from trtlab.engine.nvidia import log as logs
from trtlab.engine.nvidia.errors import CompilerError, ModelError, ParseError, ProfileError, hint_for
from trtlab.engine.nvidia.explain import PORTABLE
from trtlab.engine.nvidia.log import Session, make_monitor
from trtlab.engine.nvidia.names import Names, incomplete, not_taken, where_is
from trtlab.engine.nvidia.report import BuildReport, BuildRequest, Kernel, LogLine, Profile
from trtlab.graph.onnxfile import count_nodes, load_outside, outside, sha256_of, source_from_model

LARGEST_BYTES = 2**31 - 1  # of one ONNX message
_BESIDE = ThreadPoolExecutor(1)  # hashes the model while it is built


def network_flags(trt: ModuleType) -> int:
    """Flags for `create_network`: strongly typed in all three libraries. tensorrt 10 needs the flag, 11 ignores it,
    tensorrt_rtx wants 0."""
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None or hasattr(trt, "ComputeCapability") else 1 << int(strongly_typed)


def check_onnx(model: bytes, path: str | None) -> Any:
    """The ModelProto. What `onnx.checker` refuses is refused before NVIDIA's code sees it. Raises ModelError."""
    import onnx
    from google.protobuf.message import DecodeError

    what, proto = path or "The model", onnx.ModelProto()
    if not model:
        raise ModelError(f"{what} is empty: 0 bytes.", hint="Expected the bytes of an .onnx file.")
    try:
        proto.ParseFromString(model)
        onnx.checker.check_model(path or model)
    except (onnx.checker.ValidationError, DecodeError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:600].rstrip(".") or type(error).__name__
        reason += f": {lacking}" if (lacking := incomplete(proto.graph)) else ""
        hint = hint_for(reason) or "Export the model again, or open it in a viewer such as Netron to see what is wrong."
        raise ModelError(f"{what} is not valid ONNX; onnx.checker says: {reason}.", hint=hint) from None
    return proto


def parse_onnx(trt: ModuleType, builder: Any, logger: Any, model: bytes, path: str | None) -> tuple[Any, Any]:
    """(network, parser) for a model. The parser is returned because it must outlive the network. Raises ParseError."""
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model, path):
        raise _parse_error(parser, logger.lines, model)
    if network.num_outputs == 0:
        hint = "Expected at least one node and one output."
        raise ModelError("The model computes nothing: the parser found no output.", hint=hint)
    return network, parser


def _parse_error(parser: Any, lines: list[LogLine], model: bytes) -> ParseError:
    logged = "; ".join(logs.failures(lines))
    if parser.num_errors == 0:
        reason = logged or "no reason given"
        return ParseError(f"NVIDIA's parser refused the model: {reason}.", hint=hint_for(reason))
    error = parser.get_error(0)
    node, op, code = error.node_name(), error.node_operator(), error.code().name
    description = logs.readable(error.desc())
    reason = description if len(description) > len("false") else "this form of the operator is not supported"
    if "Failed to import initializer" in description and logged:
        reason = logs.failures(lines)[0]  # names the weight file and what is wrong with it
    where = where_is(model, node, op, error.node()) if op else "the model"
    types = not_taken(model)
    hint = hint_for(description) or hint_for(logged)
    hint = hint or (hint_for("must have type") if types else f"Change {where} or replace it before export.")
    return ParseError(
        f"NVIDIA's parser refused {where}: {reason.rstrip('.!')}{types and f' ({types})'}.",
        hint=hint, log=logs.failures(lines), node=node, op=op, index=error.node(), code=code, description=description,
    )  # fmt: skip


def configure(trt: ModuleType, builder: Any, network: Any, request: BuildRequest, monitor: Any) -> Any:
    """A builder configuration for the request. Raises errors.UnsupportedTarget, ProfileError or BuildError."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = monitor
    _set_targets(trt, config, request.targets)
    flags = trt.BuilderFlag.__members__
    for name in (*request.set_flags, *request.clear_flags):
        if name not in flags:
            hint = f"It has {', '.join(flags)}. Precision flags ended with TensorRT 11: type the model instead."
            raise errors.BuildError(f"{trt.__name__} {trt.__version__} has no builder flag {name!r}.", hint=hint)
        (config.set_flag if name in request.set_flags else config.clear_flag)(flags[name])
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if request.max_aux_streams is not None:
        config.max_aux_streams = request.max_aux_streams
    for profile in request.profiles:
        _add_profile(builder, config, network, profile)
    return config


def _set_targets(trt: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    if targets and not hasattr(trt, "ComputeCapability"):
        what = f"{trt.__name__} builds for the GPU it runs on and takes no target: got {', '.join(targets)}."
        hint = "Leave target out, or pass compiler='tensorrt_rtx'."
        raise errors.UnsupportedTarget(what, hint=hint, target=targets[0])
    if targets == (PORTABLE,) or not targets:
        return
    known = {name: number for name, number in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    if unknown := [name for name in targets if name not in known]:
        what = f"{trt.__name__} {trt.__version__} cannot build for {unknown[0]!r}."
        hint = f"Expected one of {', '.join(known)}, or 'portable'."
        raise errors.UnsupportedTarget(what, hint=hint, target=unknown[0])
    config.num_compute_capabilities = len(targets)
    for index, name in enumerate(targets):
        config.set_compute_capability(known[name], index)


def _add_profile(builder: Any, config: Any, network: Any, profile: Profile) -> None:
    """Sizes are the builder's to check: it says which one does not fit."""
    inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    native = builder.create_optimization_profile()
    for name, *shapes in profile.shapes:
        if name not in inputs:
            hint = f"The inputs are {', '.join(inputs)}."
            raise ProfileError(f"The profile names {name!r}, which is no input.", hint=hint)
        try:
            set_it = native.set_shape_input if inputs[name].is_shape_tensor else native.set_shape
            set_it(name, *shapes)
        except (RuntimeError, ValueError) as error:
            what = f"The profile of {name!r}, {' / '.join(map(str, shapes))}, is refused: {error}"
            raise ProfileError(what, hint=hint_for("kMIN")) from None
    if config.add_optimization_profile(native) < 0:
        asked = "; ".join(f"{name} {' / '.join(map(str, shapes))}" for name, *shapes in profile.shapes)
        raise ProfileError(f"The builder refused the optimisation profile: {asked}.", hint=hint_for("kMIN"))


def _build_error(reasons: tuple[str, ...], network: Any) -> CompilerError:
    text = "; ".join(reasons) or "the builder gave no reason"
    what = f"The builder made no plan: {text}."
    if "no optimization profile" in text:
        shapes = _suggested_shapes(network)
        hint = f"Pass profiles={shapes}: minimum, optimum and maximum shapes."
        return ProfileError(what, hint=hint, log=reasons, shapes=shapes)
    hint = hint_for(text)
    kinds = {hint_for("kMIN"): ProfileError, hint_for("Cannot compile operation"): errors.UnsupportedTarget}
    return kinds.get(hint, errors.BuildError)(what, hint=hint or "Parts of the model may be built apart.", log=reasons)


def _suggested_shapes(network: Any) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Minimum, optimum and maximum for each dynamic input: of its sizes, or of its values where they are a shape."""
    found = dict[str, tuple[tuple[int, ...], ...]]()
    for tensor in map(network.get_input, range(network.num_inputs)):
        sizes = (-1,) * math.prod(tensor.shape) if tensor.is_shape_tensor else tuple(tensor.shape)
        if -1 in sizes:
            found[tensor.name] = tuple(tuple(n if size == -1 else size for size in sizes) for n in (1, 8, 32))
    return found


def build(session: Session, data: bytes, request: BuildRequest) -> tuple[BuildReport, Any]:
    """(report without its plan, plan) after all stages; no plan when `stop_after` is `parse`. Raises the types of
    nvidia.errors."""
    with session.phase("check"):
        model, path = (data, None) if request.path is None else _read(request.path)
        proto = check_onnx(model, path)
        sha256, counts, names = _BESIDE.submit(sha256_of, model), count_nodes(proto), Names(proto)
    for end in (value.name for value in (*proto.graph.input, *proto.graph.output) if value.name in names.own):
        what = f"The plan calls {names.own[end]!r} {end!r}, because its name could be read as part of NVIDIA's log."
        session.emit("warning", what)
    profiles = [Profile(shapes=tuple((names.safe(s[0]), *s[1:]) for s in one.shapes)) for one in request.profiles]
    safe = replace(request, path=path, profiles=tuple(profiles))
    try:
        facts, block = _compiled(session, proto.SerializeToString() if names.own else model, safe)
    except CompilerError as error:
        raise names.told(error) from None
    report = BuildReport(
        **names.put_back(facts),
        model_name=request.name,
        model_sha256=sha256.result(),
        onnx_nodes=counts.nodes,
        onnx_constants=counts.constants,
        compiler=session.trt.__name__,
        compiler_version=session.trt.__version__,
        targets=request.targets,
        profiles=request.profiles,
        memory=logs.memory_from_log(session.lines),
        phases=tuple(sorted(session.phases, key=lambda phase: phase.start_s)),
        log=names.put_back(tuple(session.lines), shown=True),
        plan_size_bytes=block.nbytes,
        plan=b"",
        provenance=live([machine.DISTRIBUTIONS[session.trt.__name__], "onnx"]),
    )
    return report, block


def _compiled(session: Session, model: bytes, request: BuildRequest) -> tuple[dict[str, Any], memoryview]:
    """What the compiler says of network and engine, in the names of the build, and the plan."""
    trt, logger, plan = session.trt, session.logger, None
    with session.phase("parse"):
        builder = trt.Builder(logger)
        network, parser = parse_onnx(trt, builder, logger, model, request.path)
    facts = logs.describe_network(network)
    with session.phase("configure"):
        config = configure(trt, builder, network, request, make_monitor(session))
    facts["flags"] = tuple(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag))
    if request.stop_after != "parse":
        with session.phase("build"):
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise _build_error(logs.failures(session.lines), network)
    del config, parser, network, builder
    block = memoryview(plan or b"")
    facts["steps"], facts["unread_lines"] = _steps(session, block)
    return facts, block


def _read(path: str) -> tuple[bytes, str | None]:
    """A model, and its path as long as weights stand in other files: what one message holds is read into it, since
    links may lead there, as in the cache of Hugging Face. Raises ModelError."""
    try:
        model = read_regular(Path(path), LARGEST_BYTES)
        proto = source_from_model(model, path).proto()
        lengths = (int(e.value) for tensor in outside(proto) for e in tensor.external_data if e.key == "length")
        if not outside(proto) or len(model) + sum(lengths) > LARGEST_BYTES:
            return model, path
        load_outside(proto, Path(path))
    except (OSError, ValueError) as error:
        fault = f"cannot be read: {path}" if isinstance(error, OSError) else "is not valid"
        what = f"The model file {fault}: {getattr(error, 'strerror', None) or error}".rstrip(".")
        raise ModelError(f"{what}.", hint="It may have 2 GiB, with its weight files beside it.") from None
    return proto.SerializeToString(), None


def _steps(session: Session, plan: memoryview) -> tuple[tuple[Kernel, ...], tuple[str, ...]]:
    """(engine steps, what could not be read of them): from the log, or from the inspector where the log has none."""
    steps, unread = logs.steps_from_log(session.lines)
    if plan and not steps and not hasattr(session.trt, "ComputeCapability"):
        engine = session.trt.Runtime(session.logger).deserialize_cuda_engine(plan)
        steps = () if engine is None else logs.steps_from_inspector(logs.inspector_json(session.trt, engine))
    return steps, unread if steps or unread or not plan else ("The log brought no kernel list.",)
