"""study/truths/builds: what only a compiler tells, asked now, or read back where none can be installed.

In: nothing. Out: a `Found`; its evidence is what the compiler said. tests/study/record.py records it.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trtlab.study.found import Found, read_back

if TYPE_CHECKING:
    from trtlab.engine.measure import Provenance
    from trtlab.engine.nvidia import BuildReport

RECORDED = "truths"
DYNAMIC = {"image": ((1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))}
"""Optimisation profile of the digits model."""


def build_without_profile() -> Found:
    """What the builder says to the digits model, whose batch is dynamic, when it is given no optimisation profile."""
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import choose_compiler

    return _told(DIGITS_ONNX, compiler=choose_compiler())


def training_dropout() -> Found:
    """What tensorrt_rtx says to a Dropout in training mode."""
    from trtlab.lab import builds

    return _told(builds.model("dropout_training"), target="SM89", compiler="tensorrt_rtx")


def mixed_types() -> Found:
    """What tensorrt_rtx says to a product of a Float and a Half matrix without a Cast."""
    from trtlab.lab import builds

    return _told(builds.model("matmul_mixed"), target="SM89", compiler="tensorrt_rtx")


def _told(model: Any, *, compiler: str, **options: Any) -> Found:
    """`built`, `parse error` or `build error`, with the compiler's words as evidence."""
    from trtlab.engine.nvidia import ParseError, ProfileError, explain

    try:
        value, said = "built", f"{len(explain(model, compiler=compiler, **options).kernels)} kernels"
    except (ParseError, ProfileError) as error:
        value, said = "parse error" if isinstance(error, ParseError) else "build error", error.what
    return Found(value=value, evidence=said, provenance=_compiled(compiler))


def two_targets() -> Found:
    """What is the same when the digits model is built for SM86 and for SM89, which tensorrt_rtx alone can do.

    Two builds for one target may differ in a few bytes, too; what counts is the closest pair of three builds each.
    """
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import explain

    def build(target: str) -> "BuildReport":
        return explain(DIGITS_ONNX, target, profiles=DYNAMIC, compiler="tensorrt_rtx")

    older, newer = ([build(target) for _ in range(3)] for target in ("SM86", "SM89"))
    apart = min(_bytes_apart(a.plan, b.plan) for a in older for b in newer)
    names = {(True, False): "kernels", (False, True): "bytes", (True, True): "both", (False, False): "neither"}
    facts = {
        f"{what}{i}": size for i, report in enumerate((older[0], newer[0]), 1)
        for what, size in (("kernels", len(report.kernels)), ("bytes", report.plan_size_bytes))
    }  # fmt: skip
    value = names[older[0].kernels == newer[0].kernels, apart == 0]
    return Found(value=value, facts=facts | {"apart": apart}, provenance=older[0].provenance)


def _bytes_apart(one: bytes, other: bytes) -> int:
    return abs(len(one) - len(other)) + sum(a != b for a, b in zip(one, other, strict=False))


def workspace_limits() -> Found:
    """What tensorrt_rtx plans for the digits model within so many MiB of workspace, or None where it refuses, with its
    words as facts; `default` is without a limit."""
    from trtlab.engine.digits import DIGITS_ONNX
    from trtlab.engine.nvidia import BuildError, explain

    planned: dict[str, int | None] = {}
    said = {}
    for mib in ("1", "8", "10", "default"):
        limit = None if mib == "default" else int(mib) * 2**20
        try:
            report = explain(DIGITS_ONNX, "SM89", profiles=DYNAMIC, workspace_bytes=limit, compiler="tensorrt_rtx")
            planned[mib] = report.activation_bytes
        except BuildError as error:
            planned[mib], said[mib] = None, re.sub(r"^\[[^]]*\] |; \[.*$", "", error.log[0])
    return Found(value=planned, facts=said, provenance=_compiled("tensorrt_rtx"))


def _compiled(compiler: str) -> "Provenance":
    from trtlab.engine import machine
    from trtlab.engine.measure import live

    return live([machine.DISTRIBUTIONS[compiler], "onnx"])


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
