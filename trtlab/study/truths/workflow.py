"""study/truths/workflow: stages and what they need, names of the installed API, memory and kernels of recorded builds.

In: names of calls and recordings. Out: a `Found` whose facts fill the words of a quiz.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trtlab.study import witnesses
from trtlab.study.found import Found
from trtlab.study.truths.fusion import arrows, read
from trtlab.study.witnesses import listed

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport


class NoTruth(ValueError):
    """A truth that cannot be found: what was asked, and what was seen instead."""


def build_needs() -> Found:
    """For each stage from export to deserialise the earlier ones that it needs: each was left out once, and missed.

    The parser would read an unchecked file; that the check comes before it is what the question asks for.
    """
    from trtlab.lab.workflow import recorded_needs

    measured = recorded_needs()
    guarded = {"parse": (*measured.needs["parse"], "check")}
    free = [stage for stage, tried in measured.refusals.items() if tried and not any(tried.values())]
    facts = {"refused": arrows(measured.needs), "free": ", ".join(free)}
    return Found(value=measured.needs | guarded, facts=facts, provenance=measured.provenance)


def runtime_needs() -> Found:
    """For each stage from deserialise to compare the earlier ones that it needs: the object whose method it calls, and
    the data that it reads. Copying in needs neither engine nor context. NoTruth when a call is not where it was."""
    from trtlab.lab.workflow import WORKFLOW

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
    return Found(value=needs, provenance=api.provenance, facts=_version() | {"calls": calls})


def _version() -> dict[str, str]:
    return {"compiler": witnesses.api().compiler, "version": witnesses.api().version}


def there(names: Sequence[str], owner: str = "", one: bool = False) -> Found:
    """Those of `names` that class `owner` of the compiler here has; with `one`, the only one.

    Without an owner each name is `Class.attribute`, or a class. NoTruth when `one` is asked and another number found.
    """
    api = witnesses.api()
    found = tuple(name for name in names if _has(api.names, f"{owner}.{name}" if owner else name))
    if one and len(found) != 1:
        raise NoTruth(f"{api.compiler} {api.version} has {found or 'none'} of {names}; expected exactly one")
    facts = _version() | {"owner": owner, "found": listed(found)}
    return Found(value=found[0] if one else found, facts=facts, provenance=api.provenance)


def _has(api: Mapping[str, Sequence[str]], path: str) -> bool:
    owner, _, name = path.partition(".")
    return name in api.get(owner, ()) if name else owner in api


def memory_bytes(report: "BuildReport") -> tuple[int, int]:
    """(weights, activations) of a report. NoTruth when the builder logged none."""
    if report.weights_bytes is None or report.activation_bytes is None:
        raise NoTruth(f"the report of {report.model_name!r} has no memory figures; expected one recorded with them")
    return report.weights_bytes, report.activation_bytes


def weights_saved(wide: str, narrow: str) -> Found:
    """KiB of weights that a recorded build in FP16 has less than one in FP32."""
    from trtlab.lab import builds

    before, after = (memory_bytes(builds.recorded(name))[0] for name in (wide, narrow))
    saved = (before - after) / 1024
    shares = {"all": 2, "bytes": 1024, "quarter": 1 / 2, "int8": 3 / 2, "bits": 8, "mib": 1 / 1024}
    facts = {"before": before, "after": after} | {name: saved * share for name, share in shares.items()}
    return Found(value=saved, facts=facts, provenance=builds.recorded(narrow).provenance)


def recorded_kernels(name: str) -> Found:
    """How many kernels a recorded build has."""
    from trtlab.lab import builds

    report = builds.recorded(name)
    return read(report, len(report.kernels))


def memory_of_contexts(name: str, contexts: int) -> Found:
    """MiB of weights and activations of one engine with so many contexts."""
    from trtlab.lab import builds

    report = builds.recorded(name)
    weights, activations = (size / 2**20 for size in memory_bytes(report))
    facts = {
        "weights": weights, "activations": activations, "engines": contexts * (weights + activations),
        "one": weights + activations, "copied": contexts * weights + activations, "scratch": contexts * activations,
    }  # fmt: skip
    return read(report, weights + contexts * activations, **facts)
