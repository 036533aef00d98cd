"""teach/tables: what a stage, a network, an engine and its runs look like in a notebook.

In: frozen values of the engine and the lab. Out: `Drawing`s, in HTML and text from one description. No state.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtlab.engine.measure import Provenance
from trtlab.engine.nvidia.report import BuildReport, Kernel, TensorInfo
from trtlab.engine.planfile import load_plan
from trtlab.lab.workflow import STAGES, WORKFLOW, Comparison, StageRecord, Status
from trtlab.numeric.units import bytes_text, counted, seconds_text
from trtlab.teach import card as ui
from trtlab.teach import svg
from trtlab.teach.card import Cell, Drawing

STATES = {Status.DONE: "done", Status.STOOD_IN: "stood", Status.IMPOSSIBLE: "not"}


def draw_rows(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], title: str = "", made: Iterable[Provenance] = ()
) -> Drawing:
    """A small table of a cell's own results."""
    return ui.card(ui.table(header, rows), head=[ui.bold(title)] if title else [], made=[*made])


def draw_error(error: BaseException) -> Drawing:
    """An error as a reader meets it: type, what happened, the way out."""
    what, hint = getattr(error, "what", str(error)), getattr(error, "hint", "")
    said = [ui.join([ui.bold(type(error).__name__), what], ": ")]
    return ui.stack([ui.callout(said + [ui.join([ui.dim("Way out"), hint], ": ")] * bool(hint), bad=True)])


# --- stages ---------------------------------------------------------------------------------------------------------


def _named(record: StageRecord) -> tuple[int, str, Cell]:
    """Its number, its title, its status."""
    status = ui.badge(record.status.value, STATES[record.status])
    return STAGES.index(record.name) + 1, WORKFLOW[record.name].title, status


def draw_stage(record: StageRecord) -> Drawing:
    """One stage: what went in, what came out, how long, by whom, and what was not possible here."""
    took = "" if record.seconds is None else seconds_text(record.seconds)
    number, title, status = _named(record)
    ways = [ui.block(ui.labelled("in", record.went_in), "box"), ui.block(ui.labelled("out", record.came_out), "box")]
    parts: list[Any] = [ui.block(ways, "flow"), *([ui.callout(record.why_not)] if record.why_not else [])]
    if record.log:
        title_of_log = f"{counted(len(record.log), 'line')} of the compiler's log"
        parts.append(ui.details(title_of_log, ui.pre("\n".join(record.log))))
    head = [ui.bold(f"{number}. {title}"), status, ui.push(ui.join([record.executor, took]))]
    return ui.card(*parts, head=head, made=[record.provenance] * (record.status is not Status.IMPOSSIBLE))


def draw_workflow(records: Iterable[StageRecord]) -> Drawing:
    """All stages in one table: the map of Q3, filled in by this machine."""
    records = list(records)
    done = [record for record in records if record.status is not Status.IMPOSSIBLE]
    rows = []
    for record in records:
        number, title, status = _named(record)
        out = record.came_out if record in done else record.why_not or ""
        rows.append((number, ui.bold(title), status, record.executor, seconds_text(record.seconds), out))
    return draw_rows(("", "stage", "status", "by", "time", "out"), rows, made=[record.provenance for record in done])


# --- artefacts ------------------------------------------------------------------------------------------------------


def draw_layers(report: BuildReport) -> Drawing:
    """The network definition that the parser made: NVIDIA's layers, constants left out and counted."""
    layers, constants = report.layer_counts
    rows = [
        (ui.bold(layer.type), ui.code(" + ".join(layer.onnx_nodes) or layer.name),
         "; ".join(map(_shape, layer.outputs)), "; ".join(tensor.dtype for tensor in layer.outputs))
        for layer in report.layers if not layer.is_constant
    ]  # fmt: skip
    body = ui.table(("layer type", "from ONNX node", "output", "dtype"), rows, fold=True)
    counts = ui.dim(f"{counted(layers, 'layer')}, and {counted(constants, 'constant')}")
    return ui.card(body, head=[ui.bold("Network definition"), counts], made=[report.provenance])


def _shape(tensor: TensorInfo) -> str:
    return "×".join("?" if size < 0 else str(size) for size in tensor.shape) or "scalar"


def draw_configuration(configuration: dict[str, Any]) -> Drawing:
    """Targets, flags and optimisation profiles of a build."""
    profiles = [
        ", ".join(f"{name}: min {low}, opt {best}, max {high}" for name, low, best, high in profile.shapes)
        for profile in configuration["profiles"]
    ]
    rows = [
        ("targets", ", ".join(configuration["targets"]) or "this machine's GPU"),
        ("builder flags that are on", ", ".join(configuration["flags"]) or "none"),
        ("optimisation profiles", "; ".join(profiles) or "none: every shape is static"),
    ]
    return draw_rows(("setting", "value"), rows)


def draw_engine(report: BuildReport) -> Drawing:
    """The kernels, in order, each with the ONNX nodes it swallowed; a dashed box is a kernel the compiler added."""
    rows, by_profile = [], report.kernels_by_profile()
    for number, k in enumerate(report.kernels):
        writes = ui.tag("span", _shape(k.outputs[0]), "one") if k.outputs else "–"
        rows.append((number, ui.code(k.name), k.type, merged_nodes(k), writes, k.dtype, k.stream))
    constants = f"{counted(report.onnx_constants, 'constant')} counted apart{'; by profile' * (len(by_profile) > 1)}"
    kernels = " or ".join(str(len(found)) for found in by_profile)
    facts = ui.facts(
        ("ONNX nodes → kernels", f"{report.onnx_nodes} → {kernels}", constants),
        ("activation memory", bytes_text(report.activation_bytes), "planned once per execution context"),
        ("weights", bytes_text(report.weights_bytes), "inside the plan"),
        ("plan", bytes_text(report.plan_size_bytes), f"SHA-256 {report.plan_sha256[:12]}"),
    )
    body = ui.table(("#", "kernel", "type", "ONNX nodes merged into it", "writes", "dtype", "stream"), rows, fold=True)
    waits = len(report.steps) - len(report.kernels)
    more = "more in the engine launch nothing: signals and waits between streams, arithmetic on shapes."
    head = [ui.bold("Engine"), ui.push(f"{report.compiler} {report.compiler_version}")]
    return ui.card(facts, body, *[ui.dim(f"{waits} {more}")] * bool(waits), head=head, made=[report.provenance])


def merged_nodes(kernel: Kernel) -> Cell:
    """The ONNX nodes in one of NVIDIA's kernels, or a dashed box where the compiler added it."""
    return ui.chips(kernel.onnx_nodes) if kernel.onnx_nodes else ui.chips(["added by the compiler"], kind="made")


def draw_plan_file(path: Path) -> Drawing:
    """A plan on disk: its size and its manifest, checked while it is read."""
    plan, manifest = load_plan(path)
    values = ((name, value if isinstance(value, tuple) else (value,)) for name, value in vars(manifest).items())
    rows = [(name, ui.code(ui.join(value, ", "))) for name, value in values]
    return ui.stack([f"{path.name}: {len(plan):,} bytes, as the manifest says", draw_rows(("manifest", "value"), rows)])


def draw_outputs(outputs: dict[str, Any]) -> Drawing:
    """Output tensors: name, shape, type, and the first few values."""
    rows = [
        (name, "×".join(map(str, array.shape)), str(array.dtype), ", ".join(f"{x:.3g}" for x in array.ravel()[:6]))
        for name, array in outputs.items()
    ]
    return draw_rows(("output", "shape", "dtype", "first values"), rows)


# --- answers --------------------------------------------------------------------------------------------------------


def draw_predictions(result: Comparison) -> Drawing:
    """The verdict on an answer: error against the reference; where the input is images with labels, each scan too."""
    verdict = "agrees with the reference" if result.agrees else "DISAGREES with the reference"
    error = f"relative to the largest output; accepted: {result.tolerance:g}"
    facts: list[tuple[str, ...]] = [
        ("verdict", verdict, "", "yes" if result.agrees else "no"),
        ("largest error", f"{result.relative_error:.1e}", error),
    ]
    made = ui.dim(f"answer of {result.executor}; {result.provenance.line()}")
    if result.labels is None:
        return ui.stack([ui.facts(*facts), made])
    pairs = [*zip(result.predictions, result.labels, strict=True)]
    right = sum(answer == label for answer, label in pairs)
    facts.append(("labels right", f"{right} of {len(pairs)}", "scans of the held-out test split"))
    answers = [f"{answer} ✓" if answer == label else f"{answer} ✗ is {label}" for answer, label in pairs]
    picture, said = _scans(result.inputs[:, 0], answers), ui.details("Answers", ui.join(answers))
    return svg.drawing(ui.stack([svg.shown(picture, "scans"), ui.facts(*facts), said, made]), picture)


def _scans(images: Any, answers: Sequence[str]) -> str:
    """What the network saw, eight in a row, each under what it said. Pixels are from 0 to 1."""
    words, frames, side = [], [], 76 / len(images[0])
    squares = dict[int, list[str]]()  # by brightness: one path each, a fourth of the bytes that a box for each takes
    for number, (image, answer) in enumerate(zip(images, answers, strict=True)):
        left, top = 8 + 92 * (number % 8), 26 + 110 * (number // 8)
        words.append(svg.text("", answer, (left + 38, top - 7), 14, svg.INK, 600, text_anchor="middle"))
        frames.append(svg.tag("rect", x=left, y=top, width=76, height=76, fill="#000"))
        for (y, x), value in np.ndenumerate(image):
            if level := round(255 * float(value)):
                square = f"M{left + x * side:g} {top + y * side:g}h{side:g}v{side:g}h-{side:g}z"
                squares.setdefault(level, []).append(square)
    lit = (svg.tag("path", d="".join(each), fill=f"rgb({n},{n},{n})") for n, each in squares.items())
    drawn = svg.tag("g", *frames, *lit, shape_rendering="crispEdges")
    return svg.whole("what the network saw, and what it said", 744, 2 + 110 * -(-len(answers) // 8), *words, drawn)
