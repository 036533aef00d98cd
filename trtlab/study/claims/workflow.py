"""study/claims/workflow: the sheet's third question, C70 to C91: how the workflow goes.

In: the installed compiler's API, NVIDIA's headers release by release, builds of the digits network, recordings.
Out: one registered claim per item of the sheet. Each proof must be able to fail: it compares, it does not print.
"""

import functools
from typing import TYPE_CHECKING

from trtlab.study.claims import Evidence, Verdict, proves

if TYPE_CHECKING:
    from trtlab.engine.nvidia import Api
    from trtlab.engine.recordings.api_history import ApiHistory
    from trtlab.engine.stages import Workflow

HEADERS = "https://github.com/NVIDIA/TensorRT/tree/v11.1/include"
DOCS = "https://docs.nvidia.com/deeplearning/tensorrt/latest/"
_SHOWN_TAGS = ("8.4.1", "8.5.1", "v8.6.1", "v10.0.0", "v10.6.0", "v11.1")


@functools.cache
def _flow() -> "Workflow":
    """The digits network through all stages once, shared by the proofs."""
    from trtlab.engine.stages import Workflow

    flow = Workflow("digits")
    list(flow.run())
    return flow


def _api() -> "Api":
    from trtlab.engine.nvidia import installed_api

    return installed_api()


def _history() -> "ApiHistory":
    from trtlab.engine.recordings import api_history

    return api_history.load()


def _from_history(expected: dict[tuple[str, str], str], shown: str) -> Evidence:
    """Holds when every (name, tag) is in the expected state; the table shows the names at all shown releases."""
    history = _history()
    holds = all(history.state(name, tag).value == state for (name, tag), state in expected.items())
    names = dict.fromkeys(name for name, _ in expected)
    rows = tuple((name, *(history.state(name, tag).value for tag in _SHOWN_TAGS)) for name in names)
    return Evidence(holds=holds, shown=shown, provenance=history.provenance, header=("name", *_SHOWN_TAGS), rows=rows)


def _from_api(has: dict[str, str], lacks: dict[str, str], shown: str) -> Evidence:
    """Holds when the installed compiler has all of `has` and none of `lacks`, written {class: "name name"}."""
    api = _api()
    wanted = [(owner, name, True) for owner, names in has.items() for name in names.split()]
    wanted += [(owner, name, False) for owner, names in lacks.items() for name in names.split()]
    rows = tuple((f"{owner}.{name}", "there" if api.has(owner, name) else "not there") for owner, name, _ in wanted)
    holds = all(owner in api.names and api.has(owner, name) is expected for owner, name, expected in wanted)
    return Evidence(
        holds=holds, shown=shown, provenance=api.provenance, header=(f"{api.compiler} {api.version}", ""), rows=rows
    )


# --- where models come from -----------------------------------------------------------------------------------------


@proves(
    "C70", Verdict.OUTDATED,
    said="Models are exported from PyTorch, TensorFlow or Caffe.",
    today="The Caffe and UFF (TensorFlow) parsers left after 8.6; what remains is ONNX, Torch-TensorRT and the network API.",
    source=HEADERS,
)  # fmt: skip
def _caffe() -> Evidence:
    history = _history()
    tags = ("8.2.1", "v8.6.1", "v9.3.0", "v10.0.0", "v11.1")
    files = ("NvCaffeParser.h", "NvUffParser.h", "NvInfer.h")
    rows = tuple((file, *("there" if file in history.headers[tag] else "not there" for tag in tags)) for file in files)
    holds = [row[1:] for row in rows] == [("there", "there") + ("not there",) * 3] * 2 + [("there",) * 5]
    shown = "Two headers vanish between 8.6.1 and 9.3.0."
    return Evidence(holds=holds, shown=shown, provenance=history.provenance, header=("header", *tags), rows=rows)


@proves(
    "C71", Verdict.RIGHT,
    said="The usual export format is ONNX.",
    today="torch.onnx.export writes an ONNX file that onnx.checker accepts and NVIDIA's parser reads.",
    source="https://pytorch.org/docs/stable/onnx.html",
)  # fmt: skip
def _onnx_export() -> Evidence:
    flow = _flow()
    record, parsed = flow.records["export"], flow.records["parse"]
    nodes = len(flow.artefact("check").graph.node)
    return Evidence(
        holds=nodes > 0 and flow.records["check"].came_out == "valid" and parsed.artefact.layer_counts[0] > 0,
        shown=f"{record.went_in} became {record.came_out}; the parser made {parsed.came_out} of it.",
        provenance=record.provenance,
    )


@proves(
    "C72", Verdict.WRONG,
    said="ONNX is spelled out without the word network.",
    today="ONNX stands for Open Neural Network Exchange.",
    source="https://onnx.ai",
)  # fmt: skip
def _onnx_name() -> Evidence:
    import importlib.metadata

    from trtlab.engine import provenance

    summary = importlib.metadata.metadata("onnx")["Summary"]
    shown = f"The onnx package says of itself: {summary}."
    return Evidence(holds="Open Neural Network Exchange" in summary, shown=shown, provenance=provenance.live(["onnx"]))


# --- the build phase ------------------------------------------------------------------------------------------------


@proves(
    "C73", Verdict.RIGHT,
    said="The parser turns the model file into TensorRT's internal network.",
    today="OnnxParser fills an INetworkDefinition with layers; the runtime has no parser and never sees ONNX.",
    source=HEADERS,
)  # fmt: skip
def _parser() -> Evidence:
    report, api = _flow().artefact("parse"), _api()
    layers, constants = report.layer_counts
    rows = tuple((layer.type, " + ".join(layer.onnx_nodes)) for layer in report.layers if not layer.is_constant)[:6]
    return Evidence(
        holds=layers >= report.onnx_nodes > 0 and api.has("OnnxParser", "parse") and not api.has("Runtime", "parse"),
        shown=f"{report.onnx_nodes} nodes became {layers} layers and {constants} constants. The first six:",
        provenance=report.provenance,
        header=("layer", "from node"),
        rows=rows,
    )


@proves(
    "C74", Verdict.IMPRECISE,
    said="Network, then configuration, then builder, then engine: a chain.",
    today="The builder is the factory: it creates network and config, takes both, and returns the plan as host memory.",
    source=HEADERS,
)  # fmt: skip
def _builder() -> Evidence:
    made = "create_network create_builder_config create_optimization_profile build_serialized_network"
    lacks = {"INetworkDefinition": "create_builder_config", "IBuilderConfig": "create_network build_serialized_network"}
    return _from_api({"Builder": made, "IHostMemory": "nbytes"}, lacks, "Everything is made by the builder.")


@proves(
    "C75", Verdict.OUTDATED,
    said="The configuration holds a maximum workspace size.",
    today="setMaxWorkspaceSize left in 10.0; setMemoryPoolLimit(kWORKSPACE) replaces it: a filter on tactics, not an allocation.",
    source=HEADERS,
)  # fmt: skip
def _workspace() -> Evidence:
    gone = {("setMaxWorkspaceSize", "8.4.1"): "deprecated", ("setMaxWorkspaceSize", "v10.0.0"): "absent"}
    there = {("setMemoryPoolLimit", "8.4.1"): "declared", ("setMemoryPoolLimit", "v11.1"): "declared"}
    return _from_history(gone | there, "One left, the other had come two years before.")


@proves(
    "C76", Verdict.OUTDATED,
    said="The configuration holds the precision mode, FP16 or INT8.",
    today="Those flags ended with TensorRT 11: networks are strongly typed. One precision flag is left, TF32, on by default.",
    source=DOCS,
)  # fmt: skip
def _precision_flags() -> Evidence:
    api, history = _api(), _history()
    flags = _flow().report.flags
    gone = [name for name in ("FP16", "INT8", "BF16", "FP8") if not api.has("BuilderFlag", name)]
    ended = all(
        [history.state(f"BuilderFlag::k{name}", tag).value for tag in ("v10.16", "v11.0")] == ["deprecated", "absent"]
        for name in ("FP16", "INT8")
    )
    installed = (api.compiler == "tensorrt" and api.version.startswith("10.")) or len(gone) == 4
    return Evidence(
        holds=ended and installed and api.has("BuilderFlag", "TF32") and flags == ("TF32",),
        shown=f"Not among the flags of {api.compiler} {api.version}: {', '.join(gone) or 'none missing'}. On by default: {', '.join(flags)}.",
        provenance=api.provenance,
    )


@proves(
    "C77", Verdict.OUTDATED,
    said="Building means graph optimisation, choosing precision (INT8 needs calibration) and tuning.",
    today="Choosing precision and calibrating left the builder with 11.0; optimising, costing tactics and planning memory remain.",
    source=DOCS,
)  # fmt: skip
def _build_phases() -> Evidence:
    report, history = _flow().report, _history()
    names = dict.fromkeys(phase.name for phase in report.phases if phase.parent is not None)
    calibrator = [history.state("IInt8EntropyCalibrator2", tag).value for tag in ("v10.12.0", "v11.0")]
    return Evidence(
        holds={"Optimizing graph", "Timing tactics"} <= set(names)
        and not any("alibrat" in name for name in names)
        and calibrator == ["deprecated", "absent"],
        shown="The phases that the builder itself reported for the digits network:",
        provenance=report.provenance,
        header=("phase", "inside"),
        rows=tuple((phase.name, phase.parent or "") for phase in report.phases if phase.parent is not None)[:9],
    )


# --- the plan -------------------------------------------------------------------------------------------------------


@proves(
    "C78", Verdict.RIGHT,
    said="An engine can be serialised to a file or to memory.",
    today="The builder returns the plan as bytes; written to a file and read back they are the same bytes.",
    source=HEADERS,
)  # fmt: skip
def _plan_file() -> Evidence:
    from trtlab.engine import planfile

    flow = _flow()
    path, report = flow.artefact("serialise"), flow.report
    if path is None:
        return Evidence(
            holds=report.plan_size_bytes > 0 and len(report.plan_sha256) == 64,
            shown=f"A recording: its plan had {report.plan_size_bytes:,} bytes.",
            provenance=report.provenance,
        )
    plan, manifest = planfile.load_plan(path)
    shown = f"{len(plan):,} bytes, SHA-256 {manifest.sha256[:12]}, before and after the disk."
    return Evidence(holds=plan == report.plan, shown=shown, provenance=report.provenance)


@proves(
    "C79", Verdict.IMPRECISE,
    said="A plan is loaded directly, which skips the build.",
    today="Only by the version that built it and on a GPU it was built for; the library offers a check of a plan's validity.",
    source=DOCS,
)  # fmt: skip
def _portability() -> Evidence:
    from trtlab.engine import planfile
    from trtlab.engine.nvidia import PlanFileError

    flow, api = _flow(), _api()
    path, record = flow.artefact("serialise"), flow.records["deserialise"]
    refusal, refused = "A recording has no plan to load.", path is None
    if path is not None:
        try:
            planfile.load_plan(path, compiler=flow.report.compiler, compiler_version="0.0.0")
            refusal = "It was accepted."
        except PlanFileError as error:
            refusal, refused = error.what, True
    here = record.why_not or "this machine's GPU accepted it."
    return Evidence(
        holds=refused and api.has("Runtime", "get_engine_validity"),
        shown=f"Another version: {refusal} This machine: {here}",
        provenance=record.provenance,
    )


# --- the runtime phase ----------------------------------------------------------------------------------------------


@proves(
    "C80", Verdict.IMPRECISE,
    said="An IRuntime is created (with a slip of the pen in the word for instance).",
    today="createInferRuntime(logger) makes it, in every release; the runtime keeps the logger, so the logger must outlive it.",
    source=HEADERS,
)  # fmt: skip
def _runtime() -> Evidence:
    return _from_api({"Runtime": "logger deserialize_cuda_engine", "ILogger": "log"}, {}, "The runtime holds a logger.")


@proves(
    "C81", Verdict.RIGHT,
    said="The runtime deserialises the engine.",
    today="deserializeCudaEngine does, from bytes, or from an IStreamReaderV2 when a plan is too large to hold twice.",
    source=HEADERS,
)  # fmt: skip
def _deserialise() -> Evidence:
    expected = {
        ("deserializeCudaEngine", "8.4.1"): "declared",
        ("deserializeCudaEngine", "v11.1"): "declared",
        ("IStreamReaderV2", "v10.6.0"): "absent",
        ("IStreamReaderV2", "v11.1"): "declared",
    }
    return _from_history(expected, "The call has stayed; the reader for large plans is newer.")


@proves(
    "C82", Verdict.RIGHT,
    said="The engine creates the execution context.",
    today="An engine is immutable: it creates contexts, and everything that changes between requests is set on those.",
    source=HEADERS,
)  # fmt: skip
def _context() -> Evidence:
    state = "set_input_shape set_tensor_address"
    return _from_api(
        {"ICudaEngine": "create_execution_context", "IExecutionContext": state},
        {"ICudaEngine": state},
        "State lives in contexts.",
    )


@proves(
    "C83", Verdict.IMPRECISE,
    said="The context holds the state for a given batch size and dynamic dimensions.",
    today="It holds profile, input shapes, tensor addresses and activation memory. A batch size of its own ended with 10.0.",
    source=HEADERS,
)  # fmt: skip
def _context_state() -> Evidence:
    history = _history()
    state = "set_optimization_profile_async set_input_shape set_tensor_address device_memory"
    found = _from_api({"IExecutionContext": state}, {"IExecutionContext": "batch_size max_batch_size"}, "")
    batch = [history.state("setMaxBatchSize", tag).value for tag in ("v8.6.1", "v10.0.0")]
    shown = f"setMaxBatchSize: {batch[0]} at 8.6.1, {batch[1]} at 10.0.0."
    return Evidence(
        holds=found.holds and batch == ["deprecated", "absent"],
        shown=shown,
        provenance=found.provenance,
        header=found.header,
        rows=found.rows,
    )


@proves(
    "C84", Verdict.RIGHT,
    said="One engine can have several contexts, for concurrent execution.",
    today="Contexts share the engine's weights; each has activation memory of its own. One context for one stream or thread.",
    source=HEADERS,
)  # fmt: skip
def _contexts() -> Evidence:
    report, api = _flow().report, _api()
    weights, activations = report.weights_bytes or 0, report.activation_bytes or 0
    rows = tuple((str(n), f"{weights:,}", f"{n * activations:,}") for n in (1, 2, 4))
    return Evidence(
        holds=weights > 0 and activations > 0 and api.has("ICudaEngine", "device_memory_size_v2"),
        shown="What the digits engine asks for, from the builder's own figures:",
        provenance=report.provenance,
        header=("contexts", "weights, shared (bytes)", "activations, together (bytes)"),
        rows=rows,
    )


@proves(
    "C85", Verdict.RIGHT,
    said="Input is copied from CPU to GPU.",
    today="Yes, on the stream and from pinned memory, which is several times faster; not at all when it is there already.",
    source="https://docs.nvidia.com/cuda/cuda-c-best-practices-guide/",
)  # fmt: skip
def _copy_in() -> Evidence:
    from trtlab.engine.recordings import transfers

    found = transfers.load()
    rates = [
        [found.bandwidth("host_to_device", pinned=pinned, size_bytes=size) for pinned in (True, False)]
        for size in transfers.SIZES_BYTES
    ]
    rows = tuple(
        (f"{size:,}", f"{pinned / 1e9:.1f}", f"{pageable / 1e9:.1f}", f"{pinned / pageable:.1f}x")
        for size, (pinned, pageable) in zip(transfers.SIZES_BYTES, rates, strict=True)
    )
    return Evidence(
        holds=all(pinned > 1.5 * pageable for pinned, pageable in rates),
        shown="Host to device, in GB/s:",
        provenance=found.provenance,
        header=("bytes", "pinned", "pageable", "ratio"),
        rows=rows,
    )


@proves(
    "C86", Verdict.OUTDATED,
    said="enqueueV2 runs asynchronously.",
    today="enqueueV2 was deprecated in 8.5 and left in 10.0: set each tensor's address by name, then call enqueueV3(stream).",
    source=HEADERS,
)  # fmt: skip
def _enqueue_v2() -> Evidence:
    expected = {
        ("enqueueV2", "8.4.1"): "declared",
        ("enqueueV2", "8.5.1"): "deprecated",
        ("enqueueV2", "v10.0.0"): "absent",
        ("enqueueV3", "8.5.1"): "declared",
        ("setTensorAddress", "8.5.1"): "declared",
        ("enqueueV3", "v11.1"): "declared",
    }
    return _from_history(expected, "V3 arrived in the release that deprecated V2.")


@proves(
    "C87", Verdict.RIGHT,
    said="executeV2 runs synchronously.",
    today="It is often believed gone with enqueueV2, but it is still declared, and not even deprecated; enqueueV3 is preferred.",
    source=HEADERS,
)  # fmt: skip
def _execute_v2() -> Evidence:
    state = _history().state("executeV2", "v11.1").value
    found = _from_api(
        {"IExecutionContext": "execute_v2 execute_async_v3"}, {"IExecutionContext": "execute_async_v2"}, ""
    )
    return Evidence(
        holds=found.holds and state == "declared", shown=f"executeV2 in the headers of 11.1: {state}.", provenance=found.provenance,
        header=found.header, rows=found.rows,
    )  # fmt: skip


@proves(
    "C88", Verdict.RIGHT,
    said="Output is copied back from GPU to CPU.",
    today="And the stream is synchronised before anything reads it: an asynchronous call returns long before its work ends.",
    source="https://docs.nvidia.com/cuda/cuda-c-programming-guide/",
)  # fmt: skip
def _copy_out() -> Evidence:
    from trtlab.engine.recordings import transfers

    found = transfers.load()
    rows = (
        ("read before synchronising: old data seen", f"{found.stale_reads} of {found.trials}"),
        ("read after synchronising: new data seen", f"{found.fresh_reads} of {found.trials}"),
        ("an asynchronous matrix product returns after", f"{found.call_s * 1e6:.0f} µs"),
        ("its work is done after", f"{found.total_s * 1e6:,.0f} µs"),
    )
    return Evidence(
        holds=found.stale_reads > 0 and found.fresh_reads == found.trials and found.call_s < found.total_s / 10,
        shown="Measured on a GPU:",
        provenance=found.provenance,
        header=("what", "seen"),
        rows=rows,
    )


# --- the picture ----------------------------------------------------------------------------------------------------


@proves(
    "C89", Verdict.OUTDATED,
    said="The diagram feeds Caffe, TensorFlow and MATLAB models into TensorRT.",
    today="The installed library has one parser, for ONNX; the diagram is redrawn in this repository without the others.",
    source=HEADERS,
)  # fmt: skip
def _diagram() -> Evidence:
    api = _api()
    parsers = tuple(name for name in api.names if name.endswith("Parser"))
    rows = tuple((name, "a parser class") for name in parsers)
    shown = f"Parser classes of {api.compiler} {api.version}:"
    return Evidence(
        holds=parsers == ("OnnxParser",), shown=shown, provenance=api.provenance, header=("class", ""), rows=rows
    )


@proves(
    "C90", Verdict.IMPRECISE,
    said="Fusion takes VGG-19 from 43 layers to 27, Inception v3 from 309 to 113, ResNet-152 from 670 to 159.",
    today="Those are an old release's numbers. Counted today, constants apart, from ONNX nodes to kernels, on comparable nets:",
    source="https://github.com/onnx/onnx/tree/main/onnx/backend/test/data/light",
)  # fmt: skip
def _layer_counts() -> Evidence:
    from trtlab.engine.recordings import light_nodes, light_report

    reports = {name: light_report(name) for name in ("vgg19", "inception_v1", "resnet50")}
    counts = {
        name: (light_nodes(name), sum(bool(layer.onnx_nodes) for layer in report.layers if not layer.is_constant))
        for name, report in reports.items()
    }
    return Evidence(
        holds=all(0 < len(reports[name].kernels) < nodes <= layers for name, (nodes, layers) in counts.items()),
        shown="Same idea, other numbers: a count belongs to a version and to a way of counting.",
        provenance=reports["vgg19"].provenance,
        header=("network", "ONNX nodes", "network layers", "kernels"),
        rows=tuple((name, *map(str, counts[name]), str(len(report.kernels))) for name, report in reports.items()),
    )


@proves(
    "C91", Verdict.IMPRECISE,
    said="The list of steps is complete.",
    today="Missing are optimisation profiles, tensor addresses, synchronising, comparing, and book-keeping of versions.",
    source=DOCS,
)  # fmt: skip
def _missing_steps() -> Evidence:
    from trtlab.engine import provenance
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import CompilerMissing, ProfileError, explain

    try:
        explain(DIGITS_ONNX)
    except ProfileError as error:
        shown = f"A dynamic batch without a profile: {error.what}"
        return Evidence(
            holds="no optimization profile" in error.what, shown=shown, provenance=provenance.live(["onnx"])
        )
    except CompilerMissing:
        api = _api()
        holds = api.has("Builder", "create_optimization_profile") and api.has("IExecutionContext", "set_tensor_address")
        return Evidence(holds=holds, shown="The API has calls the list leaves out.", provenance=api.provenance)
    return Evidence(holds=False, shown="The build went through without a profile.", provenance=provenance.live())
