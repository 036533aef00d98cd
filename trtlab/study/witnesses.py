"""study/witnesses: whom proofs and truths ask: the API, NVIDIA's headers, its builder, our rules, a GPU's record.

In: names. Out: frozen values of the rooms below, which are opened when they are asked. Callers say `witnesses.api()`,
so that a test can put another world in place of one witness. Where no compiler can be installed, recordings answer.
"""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study.found import Found, read_back

if TYPE_CHECKING:
    from trtlab.engine.nvidia import Api, BuildReport, Kernel
    from trtlab.graph.cost import Cost
    from trtlab.graph.rewrite import Report
    from trtlab.lab.support import ApiHistory, Support
    from trtlab.lab.workflow import Workflow


def api() -> "Api":
    """Classes and names of the installed compiler."""
    from trtlab.engine.nvidia import installed_api

    return installed_api()


def history() -> "ApiHistory":
    """Which name NVIDIA's headers declared at which release."""
    from trtlab.lab.support import api_history

    return api_history()


def fmt(name: str) -> Any:
    """The number format of that name."""
    from trtlab.numeric import FORMATS

    return FORMATS[name]


def referee(name: str) -> Any:
    """The dtype in which NumPy, or ml_dtypes, has that format. KeyError when neither does."""
    import ml_dtypes

    native = {"FP64": np.float64, "FP32": np.float32, "FP16": np.float16, "BF16": ml_dtypes.bfloat16}
    small = {"FP8_E4M3": "float8_e4m3fn", "FP8_E4M3_IEEE": "float8_e4m3", "FP8_E5M2": "float8_e5m2"}
    return native.get(name) or (small | {"FP4_E2M1": "float4_e2m1fn"})[name]


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


def transfers() -> Any:
    """Copies and launches as they were measured on a GPU."""
    from trtlab.lab.streams import load_transfers

    return load_transfers()


def tf32() -> Found:
    """What TF32 products of a GPU read and keep, as it was measured."""
    from trtlab.engine import recordings

    return read_back(recordings.load(dict, "tf32-h100"))


# --- what is read off them --------------------------------------------------------------------------------------------


def homes(report: "BuildReport", *nodes: str) -> "list[Kernel]":
    """The kernels that hold any of these ONNX nodes."""
    return [kernel for kernel in report.kernels if set(nodes) & set(kernel.onnx_nodes)]


def is_fused(report: "BuildReport", *nodes: str) -> bool:
    """Whether one kernel holds all of these nodes, and no other kernel any."""
    found = homes(report, *nodes)
    return len(found) == 1 and set(nodes) <= set(found[0].onnx_nodes)


def did(report: "Report", rule: str) -> list[str]:
    """What our rule of that name did, one line a step."""
    return [step.what for step in report.steps if step.rule == rule]


def says(report: "BuildReport", words: str) -> str:
    """The first line of the builder's log with these words; empty if there is none."""
    return next((line.text.strip("* -") for line in report.log if words in line.text), "")


def layer_types(report: "BuildReport") -> list[str]:
    """The types of the parsed layers, constants left out."""
    return [layer.type for layer in report.layers if not layer.is_constant]


def listed(words: Iterable[str]) -> str:
    """`a, b, c`; `none` of nothing."""
    return ", ".join(words) or "none"
