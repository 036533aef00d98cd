"""study/claims/workflow: the sheet's third question, C70 to C91: how the workflow goes.

In: the installed compiler's API, NVIDIA's headers release by release, builds of the digits network, recordings.
Out: a proof per item of the sheet; the sentences are in workflow.yaml. Each must be able to fail: it compares.
"""

import functools
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtlab.study.claims import Evidence, observed, proves
from trtlab.study.claims.observed import from_api, from_history

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport
    from trtlab.lab.workflow import Workflow


@functools.cache
def _flow() -> "Workflow":
    """The digits network through all stages once, shared by the proofs: with tensorrt_rtx, whose figures and phases
    they read, or its recording."""
    from trtlab.lab.workflow import Workflow

    flow = Workflow("digits", compiler="tensorrt_rtx")
    list(flow.run())
    return flow


# --- where models come from -----------------------------------------------------------------------------------------


@proves("C70")
def _caffe() -> Evidence:
    history = observed.history()
    tags = ("8.2.1", "v8.6.1", "v9.3.0", "v10.0.0", "v11.1")
    files = ("NvCaffeParser.h", "NvUffParser.h", "NvInfer.h")
    rows = tuple((file, *("there" if file in history.headers[tag] else "not there" for tag in tags)) for file in files)
    vanished = [row[1:] for row in rows] == [("there", "there") + ("not there",) * 3] * 2 + [("there",) * 5]
    api = observed.api()
    holds = vanished and api.has("OnnxParser", "parse")
    shown = f"Two headers vanish between 8.6.1 and 9.3.0; {api.compiler} {api.version} has OnnxParser.parse."
    return Evidence(holds=holds, shown=shown, provenance=history.provenance, header=("header", *tags), rows=rows)


@proves("C71")
def _onnx_export() -> Evidence:
    flow = _flow()
    record, parsed = flow.records["export"], flow.records["parse"]
    nodes = len(flow.artefact("check").graph.node)
    return Evidence(
        holds=nodes > 0 and flow.records["check"].came_out == "valid" and parsed.artefact.layer_counts[0] > 0,
        shown=f"{record.went_in} became {record.came_out}; the parser made {parsed.came_out} of it.",
        provenance=record.provenance,
    )


@proves("C72")
def _onnx_name() -> Evidence:
    import importlib.metadata

    from trtlab.engine.measure import live

    summary = importlib.metadata.metadata("onnx")["Summary"]
    shown = f"The onnx package says of itself: {summary}."
    return Evidence(holds="Open Neural Network Exchange" in summary, shown=shown, provenance=live(["onnx"]))


# --- the build phase ------------------------------------------------------------------------------------------------


@proves("C73")
def _parser() -> Evidence:
    report, api = _flow().artefact("parse"), observed.api()
    layers, constants = report.layer_counts
    rows = tuple((layer.type, " + ".join(layer.onnx_nodes)) for layer in report.layers if not layer.is_constant)[:6]
    return Evidence(
        holds=layers >= report.onnx_nodes > 0 and api.has("OnnxParser", "parse") and not api.has("Runtime", "parse"),
        shown=f"{report.onnx_nodes} nodes became {layers} layers and {constants} constants. The first six:",
        provenance=report.provenance,
        header=("layer", "from node"),
        rows=rows,
    )


@proves("C74")
def _builder() -> Evidence:
    made = "create_network create_builder_config create_optimization_profile build_serialized_network"
    lacks = {"INetworkDefinition": "create_builder_config", "IBuilderConfig": "create_network build_serialized_network"}
    found, report = from_api({"Builder": made, "IHostMemory": "nbytes"}, lacks, ""), _flow().report
    parts = f"{sum(report.layer_counts)} layers and the flags {', '.join(report.flags)}"
    return replace(
        found,
        holds=found.holds and report.layer_counts[0] > 0 and report.plan_size_bytes > 0,
        shown=f"From a network of {parts}, {report.compiler} {report.compiler_version} built a plan of {report.plan_size_bytes:,} bytes.",
    )


@proves("C75")
def _workspace() -> Evidence:
    from trtlab.study.quizzes import found

    gone = {("setMaxWorkspaceSize", "8.4.1"): "deprecated", ("setMaxWorkspaceSize", "v10.0.0"): "absent"}
    new = ("setMemoryPoolLimit", "MemoryPoolType::kWORKSPACE")
    there = {(name, tag): "declared" for name in new for tag in ("8.4.1", "v11.1")}
    headers, limits = from_history(gone | there, ""), found.built(found.workspace_limits)
    small, medium, default = limits.value.values()
    planned = int(re.sub(r"\D", "", default) or 0) if default.startswith("built") else 0
    return Evidence(
        holds=headers.holds and "no tactics" in small and "OutOfMemory" in medium and planned > 2**23,
        shown="NVIDIA's headers (recorded) have both calls at 8.4.1. The digits network, built with three limits:",
        provenance=limits.provenance,
        header=("limit", "the builder"),
        rows=tuple(limits.value.items()),
    )


@proves("C76")
def _precision_flags() -> Evidence:
    api, history = observed.api(), observed.history()
    flags = _flow().report.flags
    gone = [name for name in ("FP16", "INT8", "BF16", "FP8") if not api.has("BuilderFlag", name)]
    ended = all(
        [history.state(f"BuilderFlag::k{name}", tag).value for tag in ("v10.12.0", "v11.0")] == ["deprecated", "absent"]
        for name in ("FP16", "INT8")
    )
    installed = (api.compiler == "tensorrt" and api.version.startswith("10.")) or len(gone) == 4
    return Evidence(
        holds=ended and installed and api.has("BuilderFlag", "TF32") and flags == ("TF32",),
        shown=f"Not among the flags of {api.compiler} {api.version}: {', '.join(gone) or 'none missing'}. On by default: {', '.join(flags)}.",
        provenance=api.provenance,
    )


@proves("C77")
def _build_phases() -> Evidence:
    report, history = _flow().report, observed.history()
    names = dict.fromkeys(phase.name for phase in report.phases if phase.parent is not None)
    left = ("IInt8EntropyCalibrator2", "BuilderFlag::kFP16", "BuilderFlag::kINT8")
    states = [[history.state(name, tag).value for tag in ("v10.12.0", "v11.0")] for name in left]
    return Evidence(
        holds={"Optimizing graph", "Timing tactics"} <= set(names)
        and not any("alibrat" in name for name in names)
        and (report.activation_bytes or 0) > 0
        and states == [["deprecated", "absent"]] * 3,
        shown=f"The phases that the builder reported; it planned {report.activation_bytes or 0:,} bytes of activations:",
        provenance=report.provenance,
        header=("phase", "inside"),
        rows=tuple((phase.name, phase.parent or "") for phase in report.phases if phase.parent is not None)[:9],
    )


# --- the plan -------------------------------------------------------------------------------------------------------


@proves("C78")
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


@proves("C79")
def _portability() -> Evidence:
    from trtlab.engine import planfile
    from trtlab.engine.nvidia import PlanFileError

    report, api = _flow().report, observed.api()
    if not report.plan:  # a recording: what is refused is the manifest, whatever the bytes
        report = replace(report, plan=b"no plan", recorded_plan_sha256=None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.plan"
        planfile.save_plan(report, path)
        accepted = planfile.load_plan(path, compiler_version=report.compiler_version)[0] == report.plan
        try:
            planfile.load_plan(path, compiler_version="0.0.0")
            refusal = ""
        except PlanFileError as error:
            refusal = error.what
    own = [name for name in ("get_engine_validity", "engine_header_size") if api.has("Runtime", name)]
    return Evidence(
        holds=accepted and bool(refusal) and (api.compiler != "tensorrt_rtx" or len(own) == 2),
        shown=f"{refusal or 'It was accepted.'} {api.compiler} {api.version} itself has {' and '.join(own) or 'no check'}.",
        provenance=report.provenance,
    )


# --- the runtime phase ----------------------------------------------------------------------------------------------


@proves("C80")
def _runtime() -> Evidence:
    found, history = from_api({"Runtime": "logger", "ILogger": "log"}, {}, ""), observed.history()
    states = [history.state("createInferRuntime", tag).value for tag in history.tags]
    return replace(
        found,
        holds=found.holds and set(states) == {"declared"},
        shown=f"createInferRuntime is declared at {states.count('declared')} of {len(states)} recorded releases.",
    )


@proves("C81")
def _deserialise() -> Evidence:
    expected = {
        ("deserializeCudaEngine", "8.4.1"): "declared",
        ("deserializeCudaEngine", "v11.1"): "declared",
        ("IStreamReaderV2", "v10.6.0"): "absent",
        ("IStreamReaderV2", "v10.7.0"): "declared",
        ("IStreamReaderV2", "v11.1"): "declared",
    }
    return from_history(expected, "The call has stayed; the reader is newer.")


@proves("C82")
def _context() -> Evidence:
    state = "set_input_shape set_tensor_address set_optimization_profile_async"
    return from_api(
        {"ICudaEngine": "create_execution_context", "IExecutionContext": state},
        {"ICudaEngine": state},
        "State lives in contexts.",
    )


@proves("C83")
def _context_state() -> Evidence:
    history = observed.history()
    state = "set_optimization_profile_async set_input_shape set_tensor_address device_memory"
    found = from_api({"IExecutionContext": state}, {"IExecutionContext": "batch_size max_batch_size"}, "")
    batch = [history.state("setMaxBatchSize", tag).value for tag in ("v8.6.1", "v10.0.0")]
    shown = f"setMaxBatchSize: {batch[0]} at 8.6.1, {batch[1]} at 10.0.0."
    return Evidence(
        holds=found.holds and batch == ["deprecated", "absent"],
        shown=shown,
        provenance=found.provenance,
        header=found.header,
        rows=found.rows,
    )


@proves("C84")
def _contexts() -> Evidence:
    report, api = _flow().report, observed.api()
    weights, activations = report.weights_bytes or 0, report.activation_bytes or 0
    rows = tuple((str(n), f"{weights:,}", f"{n * activations:,}", f"{weights + n * activations:,}") for n in (1, 2, 4))
    owned = api.has("IExecutionContext", "device_memory") and not api.has("ICudaEngine", "device_memory")
    made = api.has("ICudaEngine", "create_execution_context")
    return Evidence(
        holds=weights > 0 and activations > 0 and owned and made,
        shown="The first row is what the builder said of the digits engine; the others are derived, not measured:",
        provenance=report.provenance,
        header=("contexts", "weights, once", "activations, n times", "bytes together"),
        rows=rows,
    )


@proves("C85")
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
        holds=all(pinned > 2 * pageable for pinned, pageable in rates),
        shown="Host to device, in GB/s:",
        provenance=found.provenance,
        header=("bytes", "pinned", "pageable", "ratio"),
        rows=rows,
    )


@proves("C86")
def _enqueue_v2() -> Evidence:
    expected = {
        ("enqueueV2", "8.4.1"): "declared",
        ("enqueueV2", "8.5.1"): "deprecated",
        ("enqueueV2", "v10.0.0"): "absent",
        ("enqueueV3", "8.5.1"): "declared",
        ("setTensorAddress", "8.5.1"): "declared",
        ("enqueueV3", "v11.1"): "declared",
    }
    return from_history(expected, "V3 arrived in the release that deprecated V2.")


@proves("C87")
def _execute_v2() -> Evidence:
    state = observed.history().state("executeV2", "v11.1").value
    found = from_api(
        {"IExecutionContext": "execute_v2 execute_async_v3"}, {"IExecutionContext": "execute_async_v2"}, ""
    )
    return Evidence(
        holds=found.holds and state == "declared", shown=f"executeV2 in the headers of 11.1: {state}.", provenance=found.provenance,
        header=found.header, rows=found.rows,
    )  # fmt: skip


@proves("C88")
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


@proves("C89")
def _diagram() -> Evidence:
    api = observed.api()
    parsers = tuple(name for name in api.names if name.endswith("Parser"))
    rows = tuple((name, "a parser class") for name in parsers)
    shown = f"Parser classes of {api.compiler} {api.version}:"
    return Evidence(
        holds=parsers == ("OnnxParser",), shown=shown, provenance=api.provenance, header=("class", ""), rows=rows
    )


@proves("C90")
def _layer_counts() -> Evidence:
    from trtlab.engine.recordings import light_nodes, light_report

    reports = {name: light_report(name) for name in ("vgg19", "inception_v1", "resnet50")}
    counts = {
        name: (light_nodes(name), sum(bool(layer.onnx_nodes) for layer in report.layers if not layer.is_constant))
        for name, report in reports.items()
    }
    return Evidence(
        holds=all(0 < len(reports[name].kernels) < nodes <= layers for name, (nodes, layers) in counts.items()),
        shown="Inception v1 stands in for v3, ResNet-50 for ResNet-152: the onnx package has those. Constants are left out.",
        provenance=reports["vgg19"].provenance,
        header=("network", "ONNX nodes", "network layers", "steps", "signals and waits", "kernels"),
        rows=tuple((name, *map(str, (*counts[name], *_launches(report)))) for name, report in reports.items()),
    )


def _launches(report: "BuildReport") -> tuple[int, int, int]:
    """(steps, steps that launch nothing, kernels)."""
    steps, kernels = len(report.steps), len(report.kernels)
    return steps, steps - kernels, kernels


@proves("C91")
def _missing_steps() -> Evidence:
    from trtlab.study.quizzes import found

    built = found.built(found.build_without_profile)
    calls = from_api({"Builder": "create_optimization_profile", "IExecutionContext": "set_tensor_address"}, {}, "")
    refused = built.value == "build error" and "no optimization profile" in built.evidence
    return replace(calls, holds=calls.holds and refused, shown=built.evidence, provenance=built.provenance)
