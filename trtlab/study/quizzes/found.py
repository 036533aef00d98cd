"""study/quizzes/found: where the truths of quizzes come from: stages, the compiler's API, build reports, a real build.

In: what to look at. Out: a `Truth` with evidence and provenance. Everything below study is opened inside functions.
Where no compiler can be installed, recordings answer; `python -m trtlab.study.quizzes` records what has no other file.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtlab.study.quizbase import QuizError, Truth

if TYPE_CHECKING:
    from trtlab.engine.measure import Provenance
    from trtlab.engine.nvidia import BuildReport

RECORDED = Path(__file__).with_name("recorded.json")
COMMAND = "python -m trtlab.study.quizzes"


def build_needs() -> Truth:
    """For each stage from export to deserialise the earlier ones that it needs: each was left out once, and missed.

    The parser would read an unchecked file; that the check comes before it is what the question asks for.
    """
    from trtlab.lab.workflow import recorded_needs

    measured = recorded_needs()
    guarded = {"parse": (*measured.needs["parse"], "check")}
    free = [stage for stage, tried in measured.refusals.items() if tried and not any(tried.values())]
    refused = [f"{stage} without {', '.join(needed)}" for stage, needed in measured.needs.items() if needed]
    evidence = f"One thing left out at a time. Refused: {'; '.join(refused)}. Never refused: {', '.join(free)}."
    return Truth(value=measured.needs | guarded, evidence=evidence, provenance=measured.provenance)


_CALLED_ON = {
    "deserialise": ("Runtime", "deserialize_cuda_engine"),
    "context": ("ICudaEngine", "create_execution_context"),
    "enqueue": ("IExecutionContext", "execute_async_v3"),
}
_MAKES = {"ICudaEngine": "deserialise", "IExecutionContext": "context"}


def runtime_needs() -> Truth:
    """For each stage from deserialise to compare the earlier ones that it needs: the object whose method it calls, and
    the data that it reads. Copying in needs neither engine nor context. QuizError when a call is not where it was."""
    from trtlab.engine.nvidia import installed_api

    api = installed_api()
    for owner, call in _CALLED_ON.values():
        if not api.has(owner, call):
            raise QuizError(f"{api.compiler} {api.version} has no {owner}.{call}; expected the stages' own calls")
    data = {"enqueue": ("host_to_device",), "device_to_host": ("enqueue",), "compare": ("device_to_host",)}
    stages = ("deserialise", "context", "host_to_device", *data)
    objects = {stage: (_MAKES[owner],) for stage, (owner, _) in _CALLED_ON.items() if owner in _MAKES}
    calls = ", ".join(".".join(pair) for pair in _CALLED_ON.values())
    return Truth(
        value={stage: objects.get(stage, ()) + data.get(stage, ()) for stage in stages},
        evidence=f"Where {api.compiler} {api.version} has the calls: {calls}; and who reads what another wrote.",
        provenance=api.provenance,
    )


def api_truth(owner: str, names: Sequence[str], *, one: bool = False) -> Truth:
    """Those of `names` that class `owner` of the compiler here has; with `one`, the only one.

    Without an owner each name is `Class.attribute`, or a class. QuizError when `one` is asked and another number found.
    """
    from trtlab.engine.nvidia import installed_api

    api = installed_api()
    asked = {name: f"{owner}.{name}" if owner else name for name in names}
    found = tuple(name for name, path in asked.items() if _has(api.names, path))
    if one and len(found) != 1:
        raise QuizError(f"{api.compiler} {api.version} has {found or 'none'} of {tuple(names)}; expected exactly one")
    evidence = (
        f"Asked of {api.compiler} {api.version} itself: {owner or 'it'} has {', '.join(found) or 'none of these'}."
    )
    return Truth(value=found[0] if one else found, evidence=evidence, provenance=api.provenance)


def _has(api: dict[str, tuple[str, ...]], path: str) -> bool:
    owner, _, name = path.partition(".")
    return name in api.get(owner, ()) if name else owner in api


def recorded_report(name: str) -> "BuildReport":
    """A build report of the package, such as `digits-FP16-SM89-static`; CompilerMissing lists the choices."""
    from trtlab.lab import builds

    return builds.recorded(name)


def memory_bytes(report: "BuildReport") -> tuple[int, int]:
    """(weights, activations) of a report. QuizError when the builder logged none."""
    if report.weights_bytes is None or report.activation_bytes is None:
        raise QuizError(f"the report of {report.model_name!r} has no memory figures; record it again")
    return report.weights_bytes, report.activation_bytes


_DYNAMIC = {"image": ((1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))}


def build_without_profile() -> Truth:
    """What the builder says to the digits model, whose batch is dynamic, when it is given no optimisation profile."""
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import ParseError, ProfileError, choose_compiler, explain

    compiler = choose_compiler()
    try:
        report = explain(DIGITS_ONNX)
    except ProfileError as error:
        value, evidence = "build error", error.what
    except ParseError as error:
        value, evidence = "parse error", error.what
    else:
        value, evidence = "batch 1", f"A plan of {report.plan_size_bytes:,} bytes."
    return Truth(value=value, evidence=f"The digits model, built: “{evidence}”", provenance=_compiled(compiler))


def two_targets() -> Truth:
    """What is the same when the digits model is built for SM86 and for SM89, which tensorrt_rtx alone can do.

    Two builds for one target may differ in a few bytes, too; what counts is the closest pair of three builds each.
    """
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import explain

    def build(target: str) -> "BuildReport":
        return explain(DIGITS_ONNX, target, profiles=_DYNAMIC, compiler="tensorrt_rtx")

    older, newer = ([build(target) for _ in range(3)] for target in ("SM86", "SM89"))
    apart = min(_bytes_apart(a.plan, b.plan) for a in older for b in newer)
    kernels = older[0].kernels == newer[0].kernels
    names = {(True, False): "kernels", (False, True): "bytes", (True, True): "both", (False, False): "neither"}
    evidence = (
        f"{len(older[0].kernels)} and {len(newer[0].kernels)} kernels, {'equal' if kernels else 'different'}; plans of "
        f"{older[0].plan_size_bytes:,} and {newer[0].plan_size_bytes:,} bytes, of which {apart} differ."
    )
    return Truth(value=names[kernels, apart == 0], evidence=evidence, provenance=older[0].provenance)


def _bytes_apart(one: bytes, other: bytes) -> int:
    return abs(len(one) - len(other)) + sum(a != b for a, b in zip(one, other, strict=False))


def workspace_limits() -> Truth:
    """What tensorrt_rtx says to the digits model with little workspace and with the default: {limit: its words}."""
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import BuildError, explain

    said = {}
    for words, limit in (("1 MiB", 2**20), ("8 MiB", 2**23), ("the default", None)):
        try:
            report = explain(DIGITS_ONNX, "SM89", profiles=_DYNAMIC, workspace_bytes=limit, compiler="tensorrt_rtx")
            said[words] = f"built, with {report.activation_bytes:,} bytes of activations"
        except BuildError as error:
            said[words] = "refused: " + re.sub(r"^\[[^]]*\] |; \[.*$", "", error.log[0])
    evidence = "; ".join(f"{limit}: {outcome}" for limit, outcome in said.items())
    return Truth(value=said, evidence=evidence, provenance=_compiled("tensorrt_rtx"))


def training_dropout() -> Truth:
    """What tensorrt_rtx says to a Dropout in training mode."""
    from trtlab.engine.nvidia import ParseError, explain
    from trtlab.lab import builds

    try:
        report = explain(builds.model("dropout_training"), "SM89", compiler="tensorrt_rtx")
        value, evidence = "built", f"{len(report.kernels)} kernels"
    except ParseError as error:
        value, evidence = "parse error", error.what
    return Truth(value=value, evidence=evidence, provenance=_compiled("tensorrt_rtx"))


def _compiled(compiler: str) -> "Provenance":
    from trtlab.engine import machine
    from trtlab.engine.measure import live

    return live([machine.DISTRIBUTIONS[compiler], "onnx"])


# --- what trtlab.numeric computes ------------------------------------------------------------------------------------


def fmt_of(name: str) -> Any:
    """The format of that name."""
    from trtlab.numeric import FORMATS

    return FORMATS[name]


def computed(value: Any, evidence: str) -> Truth:
    """A truth that NumPy computed on this machine, now."""
    from trtlab.engine.measure import live

    return Truth(value=value, evidence=evidence, provenance=live(["numpy"]))


def ascending(sizes: dict[str, float], words: str) -> Truth:
    """An order from the least to the largest; equals may come in either order."""
    keys = sorted(sizes, key=lambda key: sizes[key])
    needs = {key: tuple(other for other in keys if sizes[other] < sizes[key]) for key in keys}
    return computed(needs, f"{words}: {', '.join(f'{key} {sizes[key]:.4g}' for key in keys)}.")


# --- where no compiler can be installed -----------------------------------------------------------------------------


def built(find: Callable[[], Truth]) -> Truth:
    """What `find` finds with the compiler here; where there is none, what it found when it was recorded."""
    from trtlab.engine.nvidia import CompilerMissing

    try:
        return find()
    except CompilerMissing:
        return recorded(find.__name__)


def recorded(name: str) -> Truth:
    """A truth read back from the file beside this one; RECORDED, with the command that made it."""
    from trtlab.engine.measure import Origin, Provenance

    values: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))[name]
    made = values.pop("provenance")
    versions = tuple((package, version) for package, version in made.pop("versions"))
    return Truth(**values, provenance=Provenance(**made, versions=versions, origin=Origin.RECORDED, command=COMMAND))


def record() -> None:
    """Find what only a compiler can tell, and write it to the file that `recorded` reads."""
    values = {
        find.__name__: _plain(find())
        for find in (build_without_profile, two_targets, workspace_limits, training_dropout)
    }
    RECORDED.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _plain(truth: Truth) -> dict[str, Any]:
    made = truth.provenance
    provenance = {"device": made.device, "when": made.when, "versions": made.versions, "samples": made.samples}
    return {"value": truth.value, "evidence": truth.evidence, "provenance": provenance}
