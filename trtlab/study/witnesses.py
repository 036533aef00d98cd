"""study/witnesses: whom claims and quizzes ask: the installed API, NVIDIA's builder, our rules, and what was recorded.

In: names. Out: frozen values of the rooms below, which are opened when they are asked. Callers say `witnesses.api()`,
so that a test can put another world in place of one witness. Where no compiler can be installed, recordings answer.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trtlab.study.found import Found, computed, read_back, seen

if TYPE_CHECKING:
    from trtlab.engine.nvidia import Api, BuildReport, Kernel
    from trtlab.graph.cost import Cost
    from trtlab.graph.rewrite import Report
    from trtlab.lab.support import Support
    from trtlab.lab.workflow import Workflow


class NoTruth(ValueError):
    """A truth that cannot be found: what was asked, and what was seen instead."""


def api() -> "Api":
    """Classes and names of the installed compiler."""
    from trtlab.engine.nvidia import installed_api

    return installed_api()


@functools.cache
def support(name: str, target: str) -> "Support":
    """What NVIDIA's parser and builder make of one product in that format."""
    from trtlab.lab.support import matrix

    return matrix([name], target)


@functools.cache
def report_on(name: str) -> "BuildReport":
    """What NVIDIA's builder made of a teaching model."""
    from trtlab.lab import builds

    return builds.report(name)


@functools.cache
def rewritten(name: str, *rules: str) -> "tuple[Cost, Cost, Report]":
    """The cost of a model before and after our rules, and what they did. Both were run on the same numbers."""
    from trtlab.graph import optimize
    from trtlab.graph.cost import model_cost
    from trtlab.graph.oracle import check_same, sample_inputs
    from trtlab.lab import builds

    model = builds.model(name)
    result, report = optimize(model, rules or None)
    check_same(model, result, next(sample_inputs(model)))
    return model_cost(model), model_cost(result), report


@functools.cache
def flow() -> "Workflow":
    """The digits network through all stages once: with tensorrt_rtx, whose figures and phases are read, or recorded."""
    from trtlab.lab.workflow import Workflow

    found = Workflow("digits", compiler="tensorrt_rtx")
    list(found.run())
    return found


# --- what only a compiler tells ---------------------------------------------------------------------------------------

RECORDED = "truths"
"""The recording of what the functions found that are given to `built`; tools/truths.py makes it."""


def built(find: Callable[[], Found]) -> Found:
    """What `find` finds with the compiler here; where there is none, what it found when it was recorded."""
    from trtlab.engine.nvidia import CompilerMissing

    try:
        return find()
    except CompilerMissing:
        return recorded(getattr(find, "func", find).__name__)


def recorded(name: str) -> Found:
    """A truth read back from its recording."""
    from trtlab.engine import recordings

    return read_back(recordings.load(dict, RECORDED)[name])


def told(model: Any, *, compiler: str = "tensorrt_rtx", **options: Any) -> Found:
    """`built`, `parse error` or `build error`, with the compiler's words as evidence."""
    from trtlab.engine import machine
    from trtlab.engine.nvidia import ParseError, ProfileError, explain

    try:
        value, said = "built", f"{len(explain(model, compiler=compiler, **options).kernels)} kernels"
    except (ParseError, ProfileError) as error:
        value, said = "parse error" if isinstance(error, ParseError) else "build error", error.what
    return replace(computed(value, referees=(machine.DISTRIBUTIONS[compiler], "onnx")), evidence=said)


# --- what is read off them --------------------------------------------------------------------------------------------


def told_bytes(witness: Any, what: str) -> int:
    """The bytes of `weights` or `activation` that the builder told, 0 too. NoTruth where it told none."""
    if (size := getattr(witness, f"{what}_bytes")) is None:
        raise NoTruth(f"the builder told no {what} bytes: {witness!r}; expected a build with its memory figures")
    return int(size)


def homes(report: "BuildReport", *nodes: str) -> "list[Kernel]":
    """The kernels that hold any of these ONNX nodes."""
    return [kernel for kernel in report.kernels if set(nodes) & set(kernel.onnx_nodes)]


def is_fused(report: "BuildReport", *nodes: str) -> bool:
    """Whether one kernel holds all of these nodes, and no other kernel any."""
    found = homes(report, *nodes)
    return len(found) == 1 and set(nodes) <= set(found[0].onnx_nodes)


def says(report: "BuildReport", words: str) -> str:
    """The first line of the builder's log with these words; empty if there is none."""
    return next((line.text.strip("* -") for line in report.log if words in line.text), "")


def listed(words: Iterable[Any]) -> str:
    """`a, b, c`; `none` of nothing."""
    return ", ".join(map(str, words)) or "none"


def sizes(numbers: Mapping[str, float], form: str = ".2f") -> str:
    """`a: 1.50, b: 2.00`, each number in that form."""
    return ", ".join(f"{name}: {number:{form}}" for name, number in numbers.items())


def most(witness: Any, numbers: Mapping[str, float], form: str = ".2f") -> Found:
    """The name of the largest number; `numbers` as a fact is all of them."""
    return seen(witness, max(numbers, key=numbers.__getitem__), numbers=sizes(numbers, form))


def arrows(needs: Mapping[str, Sequence[str]]) -> str:
    """`parse ← export; build ← parse, configure`: who needs what."""
    return "; ".join(f"{key} ← {', '.join(needed)}" for key, needed in needs.items() if needed)
