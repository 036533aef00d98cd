"""teach/tables: what a stage, a machine, a network and an engine look like in a notebook.

In: frozen values of the engine room. Out: `Drawing`s. No figure, no widget, no state; the long lists scroll.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trtlab.engine.measure import merged
from trtlab.engine.nvidia.report import BuildReport, Kernel, TensorInfo
from trtlab.engine.planfile import Manifest, load_plan
from trtlab.lab.workflow import STAGES, Comparison, StageRecord, Status
from trtlab.teach.drawing import (
    Drawing,
    badge,
    bytes_text,
    callout,
    card,
    chips,
    details,
    escape,
    fact,
    origin_badge,
    provenance_line,
    seconds_text,
    table,
    table_card,
    text_table,
)

TITLES = {
    "export": "Export",
    "check": "Check",
    "parse": "Parse",
    "configure": "Configure",
    "build": "Build",
    "serialise": "Serialise",
    "deserialise": "Deserialise",
    "context": "Execution context",
    "host_to_device": "Copy in (host to device)",
    "enqueue": "Enqueue",
    "device_to_host": "Copy out (device to host)",
    "compare": "Compare",
}
STATUS_KIND = {Status.DONE: "done", Status.STOOD_IN: "stood", Status.IMPOSSIBLE: "not"}


# --- stages ---------------------------------------------------------------------------------------------------------


def _by(record: StageRecord) -> str:
    return record.executor + (f" · {seconds_text(record.seconds)}" if record.seconds is not None else "")


def draw_stage(record: StageRecord) -> Drawing:
    """One stage: what went in, what came out, how long, by whom, and what was not possible here."""
    number = STAGES.index(record.name) + 1
    happened = record.status != Status.IMPOSSIBLE
    origin = origin_badge(record.provenance.origin) if happened else ""
    head = (
        f"<b>{number}. {escape(TITLES[record.name])}</b>{badge(record.status.value, STATUS_KIND[record.status])}"
        f'{origin}<span class="by push">{escape(_by(record))}</span>'
    )
    body = (
        f'<div class="flow"><div class="box"><small>in</small>{escape(record.went_in)}</div>'
        '<div class="arrow">→</div>'
        f'<div class="box"><small>out</small>{escape(record.came_out)}</div></div>'
    )
    if record.why_not:
        body += callout(escape(record.why_not))
    if record.log:
        lines = "<br>".join(escape(line) for line in record.log)
        body += details(f"{len(record.log)} lines of the compiler's log", f'<div class="mono">{lines}</div>')
    text = (
        f"{number}. {TITLES[record.name]} [{record.status.value}, {record.provenance.origin.value}] {record.executor}, "
        f"{seconds_text(record.seconds)}\n  in:  {record.went_in}\n  out: {record.came_out}"
        + (f"\n  why: {record.why_not}" if record.why_not else "")
        + (f"\n  {record.provenance.line()}" if happened else "")
    )
    return Drawing(html=card(head, body, foot=provenance_line(record.provenance) if happened else ""), text=text)


def draw_workflow(records: Iterable[StageRecord]) -> Drawing:
    """All stages in one table: the map of Q3, filled in by this machine."""
    records = list(records)
    header = ("", "stage", "status", "by", "time", "out")
    rows = [
        (
            str(STAGES.index(r.name) + 1),
            TITLES[r.name],
            r.status.value,
            r.executor,
            seconds_text(r.seconds),
            r.came_out if r.status != Status.IMPOSSIBLE else r.why_not or "",
        )
        for r in records
    ]
    marked = [
        (n, f"<b>{escape(t)}</b>", badge(s, STATUS_KIND[r.status]), escape(by), escape(time), escape(out))
        for (n, t, s, by, time, out), r in zip(rows, records, strict=True)
    ]
    made = [part.line() for part in merged(r.provenance for r in records if r.status != Status.IMPOSSIBLE)]
    foot = "<br>".join(map(escape, made))
    return Drawing(
        html=table_card(table(header, marked, numeric=(4,)), foot=foot),
        text="\n".join([text_table(header, rows), *made]),
    )


# --- artefacts ------------------------------------------------------------------------------------------------------


def draw_onnx(model: Any) -> Drawing:
    """The nodes of an ONNX model: operator, name, inputs and outputs; initializers are counted apart."""
    rows = [
        (node.op_type, node.name, ", ".join(filter(None, node.input)), ", ".join(node.output))
        for node in model.graph.node
    ]
    header = ("operator", "node", "inputs", "outputs")
    marked = [(f"<b>{escape(op)}</b>", *(f"<code>{escape(part)}</code>" for part in rest)) for op, *rest in rows]
    weights = len(model.graph.initializer)
    counts = f"{len(rows)} nodes, {weights} initializers (weights)"
    head = f'<b>ONNX graph</b><span class="by">{counts}</span>'
    return Drawing(html=card(head, table(header, marked)), text=f"{counts}\n{text_table(header, rows)}")


def draw_layers(report: BuildReport) -> Drawing:
    """The network definition that the parser made: NVIDIA's layers, constants left out and counted."""
    layers, constants = report.layer_counts
    header = ("layer type", "from ONNX node", "output", "dtype")
    rows = [
        (
            layer.type,
            " + ".join(layer.onnx_nodes) or layer.name,
            "; ".join(_shape(t) for t in layer.outputs),
            "; ".join(t.dtype for t in layer.outputs),
        )
        for layer in report.layers
        if not layer.is_constant
    ]
    marked = [(f"<b>{escape(a)}</b>", f"<code>{escape(b)}</code>", escape(c), escape(d)) for a, b, c, d in rows]
    counts = f"{layers} layers, and {constants} constants"
    by = f'<span class="by">{counts}</span>'
    head = f"<b>Network definition</b>{origin_badge(report.provenance.origin)}{by}"
    return Drawing(
        html=card(head, table(header, marked), foot=provenance_line(report.provenance)),
        text=f"{counts}\n{text_table(header, rows)}\n{report.provenance.line()}",
    )


def _shape(tensor: TensorInfo) -> str:
    return "×".join("?" if size < 0 else str(size) for size in tensor.shape) or "scalar"


def draw_configuration(configuration: dict[str, Any]) -> Drawing:
    """Targets, flags and optimisation profiles of a build."""
    rows = [
        ("targets", ", ".join(configuration["targets"]) or "this machine's GPU"),
        ("builder flags that are on", ", ".join(configuration["flags"]) or "none"),
        (
            "optimisation profiles",
            "; ".join(map(_profile_text, configuration["profiles"])) or "none: every shape is static",
        ),
    ]
    return Drawing(
        html=f'<div class="card">{table(("setting", "value"), [(escape(a), escape(b)) for a, b in rows])}</div>',
        text=text_table(("setting", "value"), rows),
    )


def _profile_text(profile: Any) -> str:
    return ", ".join(f"{name}: min {low}, opt {best}, max {high}" for name, low, best, high in profile.shapes)


def draw_engine(report: BuildReport) -> Drawing:
    """The kernels, in order, each with the ONNX nodes it swallowed; a dashed box is a kernel the compiler added."""
    header = ("#", "kernel", "type", "ONNX nodes merged into it", "writes", "dtype", "stream")
    rows = [
        (
            str(i),
            k.name,
            k.type,
            " + ".join(k.onnx_nodes) or "(added by the compiler)",
            _writes(k),
            k.dtype,
            str(k.stream),
        )
        for i, k in enumerate(report.kernels)
    ]
    marked = [
        (n, f"<code>{escape(name)}</code>", escape(kind), _swallowed(k), escape(out), escape(dtype), stream)
        for (n, name, kind, _, out, dtype, stream), k in zip(rows, report.kernels, strict=True)
    ]
    facts = _engine_facts(report)
    waits = len(report.steps) - len(report.kernels)
    remark = f"{waits} more in the engine launch nothing: signals and waits between streams, arithmetic on shapes."
    note = f'<p class="dim">{remark}</p>' if waits else ""
    by = f'<span class="by push">{escape(report.compiler)} {escape(report.compiler_version)}</span>'
    head = f"<b>Engine</b>{origin_badge(report.provenance.origin)}{by}"
    boxes = f'<div class="grid">{"".join(fact(*one) for one in facts)}</div>'
    body = f'{boxes}<div style="height:10px"></div>{table(header, marked, numeric=(0,))}{note}'
    lines = [f"{label}: {value} ({more})" for label, value, more in facts] + [remark] * bool(waits)
    text = "\n".join([*lines, text_table(header, rows), report.provenance.line()])
    return Drawing(html=card(head, body, foot=provenance_line(report.provenance)), text=text)


def _engine_facts(report: BuildReport) -> tuple[tuple[str, str, str], ...]:
    by_profile = report.kernels_by_profile()
    return (
        (
            "ONNX nodes → kernels",
            f"{report.onnx_nodes} → {' or '.join(str(len(kernels)) for kernels in by_profile)}",
            f"{report.onnx_constants} constants counted apart" + ("; by profile" if len(by_profile) > 1 else ""),
        ),
        ("activation memory", bytes_text(report.activation_bytes), "planned once per execution context"),
        ("weights", bytes_text(report.weights_bytes), "inside the plan"),
        ("plan", bytes_text(report.plan_size_bytes), f"SHA-256 {report.plan_sha256[:12]}"),
    )


def _swallowed(kernel: Kernel) -> str:
    return chips(kernel.onnx_nodes) if kernel.onnx_nodes else chips(["added by the compiler"], kind="made")


def _writes(kernel: Kernel) -> str:
    return _shape(kernel.outputs[0]) if kernel.outputs else "–"


def draw_manifest(manifest: Manifest) -> Drawing:
    """What lies beside a plan file."""
    rows = [
        (name, ", ".join(value) if isinstance(value, tuple) else str(value)) for name, value in vars(manifest).items()
    ]
    marked = [(escape(name), f"<code>{escape(value)}</code>") for name, value in rows]
    return Drawing(
        html=f'<div class="card">{table(("manifest", "value"), marked)}</div>',
        text=text_table(("manifest", "value"), rows),
    )


def draw_plan_file(path: Path) -> Drawing:
    """A plan on disk: its size and its manifest, checked while it is read."""
    plan, manifest = load_plan(path)
    shown = draw_manifest(manifest)
    note = f"{path.name}: {len(plan):,} bytes, as the manifest says"
    return Drawing(html=f"<p>{escape(note)}</p>{shown.html}", text=f"{note}\n{shown.text}")


def draw_outputs(outputs: dict[str, Any]) -> Drawing:
    """Output tensors: name, shape, type, and the first few values."""
    header = ("output", "shape", "dtype", "first values")
    rows = [
        (name, "×".join(map(str, array.shape)), str(array.dtype), ", ".join(f"{x:.3g}" for x in array.ravel()[:6]))
        for name, array in outputs.items()
    ]
    marked = [tuple(map(escape, row)) for row in rows]
    return Drawing(html=f'<div class="card">{table(header, marked)}</div>', text=text_table(header, rows))


def draw_scans(result: Comparison) -> Drawing:
    """The verdict, and where the input is images of digits, each scan with its answer beside its label."""
    verdict = draw_comparison(result)
    if result.labels is None:
        return verdict
    words = [
        f"{answer} ✓" if answer == label else f"{answer} ✗ is {label}"
        for answer, label in zip(result.predictions, result.labels, strict=True)
    ]
    figures = "".join(
        f"<figure>{_scan(image[0], str(label))}<figcaption>{escape(word)}</figcaption></figure>"
        for image, label, word in zip(result.inputs, result.labels, words, strict=True)
    )
    markup = f'<div class="scans">{figures}</div>{verdict.html}'
    return Drawing(html=markup, text=f"answers: {', '.join(words)}\n{verdict.text}")


def _scan(pixels: Any, label: str) -> str:
    rows, columns = pixels.shape
    squares = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill="rgb({v},{v},{v})"/>'
        for y in range(rows)
        for x in range(columns)
        if (v := round(255 * float(pixels[y, x])))
    )
    frame = f'viewBox="0 0 {columns} {rows}" width="64" height="64" role="img" aria-label="scan of a {escape(label)}"'
    return f'<svg {frame}><rect width="{columns}" height="{rows}" fill="#000"/>{squares}</svg>'


def draw_comparison(result: Comparison) -> Drawing:
    """The verdict on an answer: error against the reference, and labels where the input has them."""
    verdict = "agrees with the reference" if result.agrees else "DISAGREES with the reference"
    facts = fact("verdict", verdict, kind="yes" if result.agrees else "no")
    facts += fact(
        "largest error",
        f"{result.relative_error:.1e}",
        f"relative to the largest output; accepted: {result.tolerance:g}",
    )
    text = f"{verdict}: {result.relative_error:.1e} of at most {result.tolerance:g}"
    if result.labels is not None:
        right = int((result.predictions == result.labels).sum())
        facts += fact("labels right", f"{right} of {len(result.labels)}")
        text += f"; {right} of {len(result.labels)} labels right"
    made = f"answer of {result.executor}; {result.provenance.line()}"
    markup = f'<div class="grid">{facts}</div><p class="dim">{escape(made)}</p>'
    return Drawing(html=markup, text=f"{text}\n{made}")


def draw_error(error: BaseException) -> Drawing:
    """An error as a reader meets it: type, what happened, the way out."""
    what, hint = getattr(error, "what", str(error)), getattr(error, "hint", "")
    body = f"<b>{escape(type(error).__name__)}</b>: {escape(what)}" + (
        f"<br><span class=dim>Way out:</span> {escape(hint)}" if hint else ""
    )
    return Drawing(html=callout(body, bad=True), text=f"{type(error).__name__}: {what} {hint}".strip())
