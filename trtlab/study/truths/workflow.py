"""study/truths/workflow: stages and what they need, what they made of the digits network, who refuses what, what a GPU
measured: C70 to C91.

In: the workflow as it ran here, names of calls, builds live or recorded. Out: `Found`s.
"""

import functools
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trtlab.engine import machine, planfile
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.engine.nvidia import BuildError, choose_compiler, explain
from trtlab.lab import builds, streams
from trtlab.lab.workflow import WORKFLOW, recorded_needs
from trtlab.study import witnesses
from trtlab.study.bank import said
from trtlab.study.found import Found, computed, seen
from trtlab.study.truths.kinds import in_kernels
from trtlab.study.witnesses import NoTruth, arrows, listed, says, told_bytes

DYNAMIC = {"image": ((1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))}
"""Optimisation profile of the digits model."""


# --- quizzes ----------------------------------------------------------------------------------------------------------


def build_needs() -> Found:
    """For each stage from export to deserialise the earlier ones that it needs: each was left out once, and missed.

    The parser would read an unchecked file; that the check comes before it is what the question asks for.
    """
    measured = recorded_needs()
    guarded = {"parse": (*measured.needs["parse"], "check")}
    free = [stage for stage, tried in measured.refusals.items() if tried and not any(tried.values())]
    return seen(measured, measured.needs | guarded, refused=arrows(measured.needs), free=", ".join(free))


def runtime_needs() -> Found:
    """For each stage from deserialise to compare the earlier ones that it needs: the object whose method it calls, and
    the data that it reads. Copying in needs neither engine nor context. NoTruth when a call is not where it was."""
    api = witnesses.api()
    called = {stage: WORKFLOW[stage].call.split(".") for stage in ("deserialise", "context", "enqueue")}
    maker = {stage.makes: name for name, stage in WORKFLOW.items()}
    for owner, call in called.values():
        if not api.has(owner, call):
            raise NoTruth(f"{api.compiler} {api.version} has no {owner}.{call}; expected the stages' own calls")
    data = {"enqueue": ("host_to_device",), "device_to_host": ("enqueue",), "compare": ("device_to_host",)}
    stages = ("deserialise", "context", "host_to_device", *data)
    objects = {stage: (maker[owner],) for stage, (owner, _) in called.items() if owner in maker}
    needs = {stage: objects.get(stage, ()) + data.get(stage, ()) for stage in stages}
    calls = ", ".join(WORKFLOW[stage].call for stage in called)
    return seen(api, needs, compiler=api.compiler, version=api.version, calls=calls)


def there(names: Sequence[str], owner: str = "", one: bool = False) -> Found:
    """Those of `names` that class `owner` of the compiler here has; with `one`, the only one.

    Without an owner each name is `Class.attribute`, or a class. NoTruth when `one` is asked and another number found.
    """
    api = witnesses.api()
    known = {*api.names, *(f"{each}.{name}" for each, attributes in api.names.items() for name in attributes)}
    found = tuple(name for name in names if (f"{owner}.{name}" if owner else name) in known)
    if one and len(found) != 1:
        raise NoTruth(f"{api.compiler} {api.version} has {found or 'none'} of {names}; expected exactly one")
    facts = {"compiler": api.compiler, "version": api.version, "owner": owner, "found": listed(found)}
    return seen(api, found[0] if one else found, **facts)


def weights_saved(wide: str, narrow: str) -> Found:
    """KiB of weights that a recorded build in FP16 has less than one in FP32."""
    before, after = (told_bytes(builds.recorded(name), "weights") for name in (wide, narrow))
    saved = (before - after) / 1024
    shares = {"all": 2, "bytes": 1024, "quarter": 1 / 2, "int8": 3 / 2, "bits": 8, "mib": 1 / 1024}
    wrong = {name: saved * share for name, share in shares.items()}
    return seen(builds.recorded(narrow), saved, before=before, after=after, **wrong)


def recorded_kernels(name: str) -> Found:
    """How many kernels a recorded build has."""
    report = builds.recorded(name)
    return in_kernels(report, len(report.kernels))


def memory_of_contexts(name: str, contexts: int) -> Found:
    """MiB of weights and activations of one engine with so many contexts. The table is for one, two and four."""
    report = builds.recorded(name)
    weights, activations = told_bytes(report, "weights"), told_bytes(report, "activation")
    rows = [(n, weights, n * activations, weights + n * activations) for n in (1, 2, 4)]
    sizes = {
        "weights": weights, "activations": activations, "engines": contexts * (weights + activations),
        "one": weights + activations, "copied": contexts * weights + activations, "scratch": contexts * activations,
    }  # fmt: skip
    mib = {name: size / 2**20 for name, size in sizes.items()}
    return seen(report, (weights + contexts * activations) / 2**20, rows, **mib)


# --- what a compiler tells of the digits model ------------------------------------------------------------------------


def build_without_profile() -> Found:
    """What the builder says to the digits model, whose batch is dynamic, when it is given no optimisation profile."""
    return witnesses.told(DIGITS_ONNX, compiler=choose_compiler())


@functools.cache
def two_targets() -> Found:
    """What is the same when the digits model is built for SM86 and for SM89, which tensorrt_rtx alone can do.

    Two builds for one target may differ in a few bytes, too; what counts is the closest pair of three builds each.
    """
    how: dict[str, Any] = {"profiles": DYNAMIC, "compiler": "tensorrt_rtx"}
    older, newer = ([explain(DIGITS_ONNX, target, **how) for _ in range(3)] for target in ("SM86", "SM89"))
    apart = min(_bytes_apart(a.plan, b.plan) for a in older for b in newer)
    names = {(True, False): "kernels", (False, True): "bytes", (True, True): "both", (False, False): "neither"}
    facts = {f"kernels{i}": len(report.kernels) for i, report in enumerate((older[0], newer[0]), 1)}
    facts |= {f"bytes{i}": report.plan_size_bytes for i, report in enumerate((older[0], newer[0]), 1)}
    return seen(older[0], names[older[0].kernels == newer[0].kernels, apart == 0], apart=apart, **facts)


def _bytes_apart(one: bytes, other: bytes) -> int:
    return abs(len(one) - len(other)) + sum(a != b for a, b in zip(one, other, strict=False))


@functools.cache
def workspace_limits() -> Found:
    """What tensorrt_rtx plans for the digits model within so many MiB of workspace, or None where it refuses, with its
    words as facts; `default` is without a limit."""
    planned, refusals = dict[str, int | None](), dict[str, str]()
    for mib in ("1", "8", "10", "default"):
        limit = None if mib == "default" else int(mib) * 2**20
        try:
            report = explain(DIGITS_ONNX, "SM89", profiles=DYNAMIC, workspace_bytes=limit, compiler="tensorrt_rtx")
            planned[mib] = told_bytes(report, "activation")
        except BuildError as error:
            planned[mib], refusals[mib] = None, re.sub(r"^\[[^]]*\] |; \[.*$", "", error.log[0])
    found = computed(planned, referees=(machine.DISTRIBUTIONS["tensorrt_rtx"], "onnx"))
    return replace(found, facts=refusals)


def workspace_bounds_the_plan() -> Found:
    found = witnesses.built(workspace_limits)
    limited = dict(found.value)
    planned = limited.pop("default") or 0
    holds = all((size is None) is (int(mib) * 2**20 < planned) for mib, size in limited.items())
    rows: list[tuple[Any, Any]] = [
        (f"{mib} MiB", said("was_built", size=size) if size else found.facts.get(mib)) for mib, size in limited.items()
    ]
    rows.append((said("no_limit"), said("was_built", size=planned)))
    return seen(found, holds and {*limited.values()} == {None, planned}, rows)


# --- claims: what the stages made -------------------------------------------------------------------------------------


def nodes_become_layers() -> Found:
    flow = witnesses.flow()
    record, report = flow.records["export"], flow.artefact("parse")
    nodes, (layers, constants) = len(flow.artefact("check").graph.node), report.layer_counts
    rows = [(layer.type, " + ".join(layer.onnx_nodes)) for layer in report.layers if not layer.is_constant][:6]
    holds = flow.records["check"].came_out == "valid" and layers >= report.onnx_nodes > 0 and nodes > 0
    facts = {"nodes": report.onnx_nodes, "layers": layers, "constants": constants}
    return seen(report, holds, rows, module=record.went_in, onnx=record.came_out, **facts)


def name_of_onnx() -> Found:
    summary = importlib.metadata.metadata("onnx")["Summary"]
    return computed("Open Neural Network Exchange" in summary, referees=("onnx",), summary=summary)


def build_phases() -> Found:
    report = witnesses.flow().report
    inner = [(phase.name, phase.parent) for phase in report.phases if phase.parent is not None]
    names, activations = {name for name, _ in inner}, told_bytes(report, "activation")
    holds = names >= {"Optimizing graph", "Timing tactics"} and not any("alibrat" in name for name in names)
    logged = says(report, "CPU-only mode")
    return seen(report, holds and activations > 0 and bool(logged), inner[:9], activations=activations, logged=logged)


def plan_survives_the_disk() -> Found:
    path, report = witnesses.flow().artefact("serialise"), witnesses.flow().report
    facts = {"size": report.plan_size_bytes, "sha256": report.plan_sha256[:12], "compiler": report.compiler}
    facts |= {"layers": sum(report.layer_counts), "flags": listed(report.flags), "version": report.compiler_version}
    # a recording keeps size and hash alone
    same = len(report.plan_sha256) == 64 if path is None else planfile.load_plan(path)[0] == report.plan
    return seen(report, same and report.plan_size_bytes > 0 < report.layer_counts[0], **facts)


def layer_counts_today() -> Found:
    reports = {name: builds.recorded(f"light-{name}-SM89") for name in ("vgg19", "inception_v1", "resnet50")}
    rows, holds = [], True
    for name, report in reports.items():
        nodes, steps, kernels = report.onnx_nodes, len(report.steps), len(report.kernels)
        layers = sum(not layer.is_constant for layer in report.layers if layer.onnx_nodes)
        holds = holds and 0 < kernels < nodes <= layers
        rows.append((name, nodes, layers, steps, steps - kernels, kernels))
    return seen(reports["vgg19"], holds, rows)


def one_parser() -> Found:
    api = witnesses.api()
    parsers = tuple(name for name in api.names if name.endswith("Parser"))
    rows = [(name, said("there")) for name in parsers]
    return seen(api, parsers == ("OnnxParser",), rows, compiler=api.compiler, version=api.version)


# --- claims: what a GPU measured --------------------------------------------------------------------------------------


def pinned_copies() -> Found:
    found, rates = streams.load_transfers(), {}
    for size in sorted({copy.size_bytes for copy in found.copies}):
        fast, slow = (found.bandwidth("host_to_device", pinned=pinned, size_bytes=size) for pinned in (True, False))
        rates[size] = fast / 1e9, slow / 1e9, fast / slow
    rows = [(size, f"{fast:.1f}", f"{slow:.1f}", f"{ratio:.1f}×") for size, (fast, slow, ratio) in rates.items()]
    return seen(found, all(ratio > 2 for *_, ratio in rates.values()), rows)


def read_after_synchronising() -> Found:
    found = streams.load_transfers()
    rows = (
        (said("stale_reads"), f"{found.stale_reads} / {found.trials}"),
        (said("fresh_reads"), f"{found.fresh_reads} / {found.trials}"),
        (said("product_returns"), f"{found.call_s * 1e6:.0f} µs"),
        (said("product_done"), f"{found.total_s * 1e6:,.0f} µs"),
    )
    holds = found.stale_reads > 0 and found.fresh_reads == found.trials and found.call_s < found.total_s / 10
    return seen(found, holds, rows)
