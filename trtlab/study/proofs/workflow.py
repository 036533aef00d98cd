"""study/proofs/workflow: C70 to C91: what the stages of the digits network made, what a GPU measured, who refuses what.

In: the workflow as it ran here, recordings. Out: `Found`s; the words are in words/claims.
"""

from typing import Any

from trtlab.study import witnesses
from trtlab.study.bank import said
from trtlab.study.found import Found
from trtlab.study.witnesses import listed


def nodes_become_layers() -> Found:
    flow = witnesses.flow()
    record, report = flow.records["export"], flow.artefact("parse")
    nodes, (layers, constants) = len(flow.artefact("check").graph.node), report.layer_counts
    rows = [(layer.type, " + ".join(layer.onnx_nodes)) for layer in report.layers if not layer.is_constant][:6]
    holds = flow.records["check"].came_out == "valid" and layers >= report.onnx_nodes > 0 and nodes > 0
    facts = {"module": record.went_in, "onnx": record.came_out, "nodes": report.onnx_nodes, "layers": layers}
    return Found(value=holds, facts=facts | {"constants": constants}, rows=rows, provenance=report.provenance)


def name_of_onnx() -> Found:
    import importlib.metadata

    from trtlab.engine.measure import live

    summary = importlib.metadata.metadata("onnx")["Summary"]
    holds = "Open Neural Network Exchange" in summary
    return Found(value=holds, facts={"summary": summary}, provenance=live(["onnx"]))


def workspace_limits() -> Found:
    from trtlab.study.truths import builds as truths

    limits = truths.built(truths.workspace_limits)
    limited = dict(limits.value)
    planned = limited.pop("default") or 0
    holds = all((size is None) is (int(mib) * 2**20 < planned) for mib, size in limited.items())
    rows: list[tuple[Any, Any]] = [
        (f"{mib} MiB", said("was_built", size=size) if size else limits.facts.get(mib)) for mib, size in limited.items()
    ]
    rows.append((said("no_limit"), said("was_built", size=planned)))
    return Found(value=holds and {*limited.values()} == {None, planned}, rows=rows, provenance=limits.provenance)


def build_phases() -> Found:
    report = witnesses.flow().report
    inner = [(phase.name, phase.parent) for phase in report.phases if phase.parent is not None]
    names, activations = {name for name, _ in inner}, report.activation_bytes or 0
    holds = names >= {"Optimizing graph", "Timing tactics"} and not any("alibrat" in name for name in names)
    facts = {"activations": activations, "logged": witnesses.says(report, "CPU-only mode")}
    holds = holds and activations > 0 and bool(facts["logged"])
    return Found(value=holds, facts=facts, rows=inner[:9], provenance=report.provenance)


def plan_survives_the_disk() -> Found:
    from trtlab.engine import planfile

    path, report = witnesses.flow().artefact("serialise"), witnesses.flow().report
    facts = {"size": report.plan_size_bytes, "sha256": report.plan_sha256[:12], "compiler": report.compiler}
    facts |= {"layers": sum(report.layer_counts), "flags": listed(report.flags), "version": report.compiler_version}
    # a recording keeps size and hash alone
    same = len(report.plan_sha256) == 64 if path is None else planfile.load_plan(path)[0] == report.plan
    holds = same and report.plan_size_bytes > 0 < report.layer_counts[0]
    return Found(value=holds, facts=facts, provenance=report.provenance)


def plans_of_two_targets() -> Found:
    from trtlab.study.truths import builds as truths

    found = truths.built(truths.two_targets)
    return Found(
        value=found.value == "kernels" and found.facts["apart"] > 0, facts=found.facts, provenance=found.provenance
    )


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
        (said("stale_reads"), f"{found.stale_reads} / {found.trials}"),
        (said("fresh_reads"), f"{found.fresh_reads} / {found.trials}"),
        (said("product_returns"), f"{found.call_s * 1e6:.0f} µs"),
        (said("product_done"), f"{found.total_s * 1e6:,.0f} µs"),
    )
    holds = found.stale_reads > 0 and found.fresh_reads == found.trials and found.call_s < found.total_s / 10
    return Found(value=holds, rows=rows, provenance=found.provenance)


def one_parser() -> Found:
    api = witnesses.api()
    parsers = tuple(name for name in api.names if name.endswith("Parser"))
    facts, rows = {"compiler": api.compiler, "version": api.version}, [(name, said("there")) for name in parsers]
    return Found(value=parsers == ("OnnxParser",), facts=facts, rows=rows, provenance=api.provenance)


def layer_counts_today() -> Found:
    from trtlab.lab import builds

    networks = ("vgg19", "inception_v1", "resnet50")
    reports = {name: builds.recorded(f"light-{name}-SM89") for name in networks}
    rows, holds = [], True
    for name, report in reports.items():
        nodes = report.onnx_nodes
        layers = sum(not layer.is_constant for layer in report.layers if layer.onnx_nodes)
        steps, kernels = len(report.steps), len(report.kernels)
        holds = holds and 0 < kernels < nodes <= layers
        rows.append((name, nodes, layers, steps, steps - kernels, kernels))
    return Found(value=holds, rows=rows, provenance=reports["vgg19"].provenance)


def dynamic_batch_needs_a_profile() -> Found:
    from trtlab.study.truths import builds as truths

    built = truths.built(truths.build_without_profile)
    refused = built.value == "build error" and "no optimization profile" in built.evidence
    return Found(value=refused, facts={"refusal": built.evidence}, provenance=built.provenance)
