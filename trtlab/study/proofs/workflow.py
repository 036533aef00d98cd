"""study/proofs/workflow: C70 to C91: what the stages of the digits network made, what a GPU measured, who refuses what.

In: the workflow as it ran here, recordings. Out: `Found`s; the words are in words/claims.
"""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from trtlab.study import witnesses
from trtlab.study.found import Found
from trtlab.study.witnesses import listed


def export_checked_and_parsed() -> Found:
    flow = witnesses.flow()
    record, parsed = flow.records["export"], flow.records["parse"]
    nodes = len(flow.artefact("check").graph.node)
    holds = nodes > 0 and flow.records["check"].came_out == "valid" and parsed.artefact.layer_counts[0] > 0
    facts = {"module": record.went_in, "onnx": record.came_out, "layers": parsed.came_out}
    return Found(value=holds, facts=facts, provenance=record.provenance)


def name_of_onnx() -> Found:
    import importlib.metadata

    from trtlab.engine.measure import live

    summary = importlib.metadata.metadata("onnx")["Summary"]
    holds = "Open Neural Network Exchange" in summary
    return Found(value=holds, facts={"summary": summary}, provenance=live(["onnx"]))


def nodes_become_layers() -> Found:
    report = witnesses.flow().artefact("parse")
    layers, constants = report.layer_counts
    rows = [(layer.type, " + ".join(layer.onnx_nodes)) for layer in report.layers if not layer.is_constant][:6]
    facts = {"nodes": report.onnx_nodes, "layers": layers, "constants": constants}
    return Found(value=layers >= report.onnx_nodes > 0, facts=facts, rows=rows, provenance=report.provenance)


def network_and_config_become_a_plan() -> Found:
    report = witnesses.flow().report
    facts = {"layers": sum(report.layer_counts), "flags": listed(report.flags), "plan": report.plan_size_bytes}
    holds = report.layer_counts[0] > 0 and report.plan_size_bytes > 0
    return Found(value=holds, facts=facts, provenance=report.provenance)


def workspace_limits() -> Found:
    from trtlab.study.truths import builds as truths

    limits = truths.built(truths.workspace_limits)
    small, medium, default = limits.value.values()
    planned = int(re.sub(r"\D", "", default) or 0) if default.startswith("built") else 0
    holds = "no tactics" in small and "OutOfMemory" in medium and planned > 2**23
    return Found(value=holds, rows=tuple(limits.value.items()), provenance=limits.provenance)


def precision_flags() -> Found:
    api, flags = witnesses.api(), witnesses.flow().report.flags
    gone = [name for name in ("FP16", "INT8", "BF16", "FP8") if not api.has("BuilderFlag", name)]
    installed = (api.compiler == "tensorrt" and api.version.startswith("10.")) or len(gone) == 4
    holds = installed and api.has("BuilderFlag", "TF32") and flags == ("TF32",)
    facts = {"gone": listed(gone), "flags": listed(flags), "compiler": api.compiler, "version": api.version}
    return Found(value=holds, facts=facts, provenance=api.provenance)


def build_phases() -> Found:
    report = witnesses.flow().report
    inner = [(phase.name, phase.parent) for phase in report.phases if phase.parent is not None]
    names, activations = {name for name, _ in inner}, report.activation_bytes or 0
    holds = names >= {"Optimizing graph", "Timing tactics"} and not any("alibrat" in name for name in names)
    facts = {"activations": activations}
    return Found(value=holds and activations > 0, facts=facts, rows=inner[:9], provenance=report.provenance)


def plan_survives_the_disk() -> Found:
    from trtlab.engine import planfile

    path, report = witnesses.flow().artefact("serialise"), witnesses.flow().report
    facts = {"size": report.plan_size_bytes, "sha256": report.plan_sha256[:12]}
    if path is None:  # a recording keeps size and hash alone
        holds = report.plan_size_bytes > 0 and len(report.plan_sha256) == 64
        return Found(value=holds, facts=facts, provenance=report.provenance)
    plan, _ = planfile.load_plan(path)
    return Found(value=plan == report.plan, facts=facts, provenance=report.provenance)


def another_version_is_refused() -> Found:
    from trtlab.engine import planfile
    from trtlab.engine.nvidia import PlanFileError

    report, api, refusal = witnesses.flow().report, witnesses.api(), ""
    if not report.plan:  # a recording: what is refused is the manifest, whatever the bytes
        report = replace(report, plan=b"no plan", recorded_plan_sha256=None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.plan"
        planfile.save_plan(report, path)
        accepted = planfile.load_plan(path, compiler_version=report.compiler_version)[0] == report.plan
        try:
            planfile.load_plan(path, compiler_version="0.0.0")
        except PlanFileError as error:
            refusal = error.what
    own = [name for name in ("get_engine_validity", "engine_header_size") if api.has("Runtime", name)]
    holds = accepted and bool(refusal) and (api.compiler != "tensorrt_rtx" or len(own) == 2)
    facts = {"refusal": refusal, "own": listed(own), "compiler": api.compiler, "version": api.version}
    return Found(value=holds, facts=facts, provenance=report.provenance)


def runtime_in_every_release() -> Found:
    history = witnesses.history()
    states = [history.state("createInferRuntime", tag).value for tag in history.tags]
    facts = {"declared": states.count("declared"), "releases": len(states)}
    return Found(value=set(states) == {"declared"}, facts=facts, provenance=history.provenance)


def contexts_and_memory() -> Found:
    report = witnesses.flow().report
    weights, activations = report.weights_bytes or 0, report.activation_bytes or 0
    rows = [(n, f"{weights:,}", f"{n * activations:,}", f"{weights + n * activations:,}") for n in (1, 2, 4)]
    return Found(value=weights > 0 and activations > 0, rows=rows, provenance=report.provenance)


def pinned_copies() -> Found:
    found = witnesses.transfers()
    sizes = sorted({copy.size_bytes for copy in found.copies})
    rates = {
        size: [found.bandwidth("host_to_device", pinned=pinned, size_bytes=size) for pinned in (True, False)]
        for size in sizes
    }
    rows = [
        (f"{n:,}", f"{fast / 1e9:.1f}", f"{slow / 1e9:.1f}", f"{fast / slow:.1f}x") for n, (fast, slow) in rates.items()
    ]
    return Found(value=all(fast > 2 * slow for fast, slow in rates.values()), rows=rows, provenance=found.provenance)


def read_after_synchronising() -> Found:
    found = witnesses.transfers()
    rows = (
        ("read before synchronising: old data seen", f"{found.stale_reads} of {found.trials}"),
        ("read after synchronising: new data seen", f"{found.fresh_reads} of {found.trials}"),
        ("an asynchronous matrix product returns after", f"{found.call_s * 1e6:.0f} µs"),
        ("its work is done after", f"{found.total_s * 1e6:,.0f} µs"),
    )
    holds = found.stale_reads > 0 and found.fresh_reads == found.trials and found.call_s < found.total_s / 10
    return Found(value=holds, rows=rows, provenance=found.provenance)


def one_parser() -> Found:
    api = witnesses.api()
    parsers = tuple(name for name in api.names if name.endswith("Parser"))
    facts, rows = {"compiler": api.compiler, "version": api.version}, [(name, "a parser class") for name in parsers]
    return Found(value=parsers == ("OnnxParser",), facts=facts, rows=rows, provenance=api.provenance)


def layer_counts_today() -> Found:
    networks = ("vgg19", "inception_v1", "resnet50")
    reports = {name: witnesses.light_report(name) for name in networks}
    rows, holds = [], True
    for name, report in reports.items():
        nodes, named = witnesses.light_nodes(name), [layer for layer in report.layers if layer.onnx_nodes]
        layers = sum(not layer.is_constant for layer in named)
        steps, kernels = len(report.steps), len(report.kernels)
        holds = holds and 0 < kernels < nodes <= layers
        rows.append((name, nodes, layers, steps, steps - kernels, kernels))
    return Found(value=holds, rows=rows, provenance=reports["vgg19"].provenance)


def dynamic_batch_needs_a_profile() -> Found:
    from trtlab.study.truths import builds as truths

    built = truths.built(truths.build_without_profile)
    refused = built.value == "build error" and "no optimization profile" in built.evidence
    return Found(value=refused, facts={"refusal": built.evidence}, provenance=built.provenance)
