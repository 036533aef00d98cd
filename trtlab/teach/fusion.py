"""teach/fusion: what optimisers left of a model, our kernels beside NVIDIA's, and what fusion was measured to bring.

In: frozen values of lab/compare and of the fusion sweeps, live and recorded, or a model to make them from. Out:
`Drawing`s, and figures: solid lines are one kernel, dashed ones a kernel per operator, dotted is the copy; a panel for
each sweep, and at most five lines at once. Colour never speaks alone: every verdict is written.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import onnx

from trtlab.engine.nvidia.report import Kernel
from trtlab.lab import compare
from trtlab.lab.compare import Agreement, Match, Row, Verdict
from trtlab.lab.fusion import Row as Timed
from trtlab.lab.fusion import Sweep, findings
from trtlab.lab.ways import FUSED, Way
from trtlab.numeric.units import counted, raised
from trtlab.study.bank import said
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, bilingual, both
from trtlab.teach.figure import INK, LOG, finish, new
from trtlab.teach.tables import merged_nodes

KINDS = {
    Verdict.SAME: "done", Verdict.NVIDIA_MORE: "stood", Verdict.WE_MORE: "stood", Verdict.DECLINED: "bad",
    Verdict.OTHERWISE: "not", Verdict.ADDED: "not",
}  # fmt: skip
LAUNCHES = "kernels to launch: a fused node is one, a view or constant none; NVIDIA's are those of its engine"
ORT_ALL = "ONNX Runtime's level ALL knows this processor: what it adds (ReorderOutput) differs between machines"
WAYS = {
    Way.NUMPY: "#cc79a7", Way.NUMPY_OUT: "#b8a600", Way.TORCH: "#e69f00", Way.TORCH_OUT: "#d55e00",
    Way.COMPILED: "#56b4e9", Way.GENERATED: "#009e73", Way.GRAPH_UNFUSED: "#9a6a4f", Way.GRAPH_FUSED: "#9a6a4f",
    Way.LONG_GRAPH_UNFUSED: "#0072b2", Way.LONG_GRAPH_FUSED: "#0072b2", Way.COPY: INK,
}  # fmt: skip
AT_ONCE = (Way.TORCH_OUT, Way.GENERATED, Way.LONG_GRAPH_UNFUSED, Way.LONG_GRAPH_FUSED, Way.COPY)
"""What shows at first; the legend adds the other ways."""
FEWEST = "✓ fewest of the row: a count of launches, not a time"


# --- many optimisers --------------------------------------------------------------------------------------------------


def draw_optimizers(rows: Sequence[Row] | None = None) -> Drawing:
    """A table of what each optimiser left, a line for each model; left out, of all teaching models."""
    rows = compare.compare_teaching_models() if rows is None else rows
    if not rows:
        raise ValueError("no rows to draw: expected at least one from trtlab.lab.compare.compare_optimizers")
    titles = [outcome.optimizer.replace("ONNX Runtime DISABLE_ALL", "ORT off") for outcome in rows[0].outcomes]
    header = ("model", *(title.replace("ONNX Runtime", "ORT") for title in titles))
    return ui.card(
        ui.table(header, [(ui.bold(row.model), *_kernels(row)) for row in rows]),
        head=[ui.bold("Kernels that are left, by optimiser")],
        foot=[LAUNCHES, *_agreed(rows), FEWEST, ORT_ALL],
        made=[part for row in rows for part in row.provenance],
    )


def _kernels(row: Row) -> list[Cell]:
    fewest = min(outcome.kernels for outcome in row.outcomes if outcome.kernels is not None)
    marked = ui.tag("span", ui.join(["✓", ui.bold(fewest)], " "), "yes")
    return [marked if outcome.kernels == fewest else ui.cell(outcome.kernels) for outcome in row.outcomes]


def _agreed(rows: Sequence[Row]) -> list[str]:
    """Which optimiser could not be used on which models, and how far the results of the rest are apart."""
    failed: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for outcome in row.outcomes:
            if outcome.kernels is None:
                failed[f"{outcome.optimizer}: {outcome.note}"].append(row.model)
    lines = [f"{', '.join(models)}: {what}" for what, models in failed.items()]
    if all(what.startswith(compare.NVIDIA) for what in failed):
        worst = max((o.error for row in rows for o in row.outcomes if o.error is not None), default=0.0)
        lines.append(f"every result that ran agrees with the model as written: largest relative difference {worst:.1e}")
    return lines


# --- kernel by kernel -------------------------------------------------------------------------------------------------


def draw_agreement(what: onnx.ModelProto | Agreement, target: str = "SM89") -> Drawing:
    """Our kernels on the left, NVIDIA's on the right, one row for each group of nodes that share a kernel on either
    side, and the difference by name. What differs comes first where the table folds.

    >>> draw_agreement(TEACHING_MODELS["inception"]())
    """
    found = what if isinstance(what, Agreement) else compare.compare_groups(what, target)
    folds = len(found.matches) > ui.LONG
    matches = sorted(found.matches, key=lambda match: folds and match.verdict is Verdict.SAME)
    shown = ui.table(("ours", "NVIDIA's", "compared"), map(_match, matches), fold=True)
    total = f"{counted(found.our_kernels, 'kernel')} of ours, {len(found.report.kernels)} of NVIDIA's"
    counts = [(verdict, found.count(verdict)) for verdict in Verdict if found.count(verdict)]
    verdicts = [ui.badge(f"{count} × {verdict.value}", KINDS[verdict]) for verdict, count in counts]
    gone = [f"in neither: {', '.join(found.gone)}"] * bool(found.gone)
    head = [ui.bold(found.model), ui.dim(total), ui.push(ui.join(verdicts, ui.apart(", ")))]
    return ui.card(shown, head=head, foot=gone, made=[found.report.provenance])


def _match(match: Match) -> tuple[Cell, Cell, Cell]:
    ours = [ui.block([ui.dim(g.op + " · no kernel" * (not g.is_kernel)), ui.chips(g.nodes)], "box") for g in match.ours]
    theirs = [*map(_theirs, match.nvidia)]
    return (
        ui.block(ours, "boxes") if ours else ui.dim("nothing"),
        ui.block(theirs, "boxes") if theirs else ui.dim("no kernel"),
        ui.stack([ui.badge(match.verdict.value, KINDS[match.verdict]), *map(ui.dim, match.notes)]),
    )


def _theirs(kernel: Kernel) -> Cell:
    slices = [tensor for tensor in kernel.outputs if compare.is_slice(tensor)]
    where = [f"strides {', '.join(map(str, slices[0].strides or ()))}"] if slices else []
    name = kernel.name.rsplit("_myl", 1)[0].removeprefix("__myl_")  # __myl_MulAddRelu_myl0_2 -> MulAddRelu
    about = [ui.code(name), *map(ui.dim, (f"stream {kernel.stream}", kernel.type, *where))]
    return ui.block([ui.join(about), merged_nodes(kernel)], "box")


# --- what was measured ------------------------------------------------------------------------------------------------


def draw_fusion_findings(*sweeps: Sweep) -> Drawing:
    """What follows from the numbers, for each sweep: question and answer, and a word where a run did not show it."""
    rows, unseen = [], ui.badge(both(said("finding_not_seen")), "stood")
    for sweep in sweeps:
        for found in findings(sweep):
            name, made = f"finding_{found.name}", ui.badge(sweep.provenance.origin.value)
            lesson = both(said(f"{name}_{found.lesson}")) if found.holds else unseen
            rows.append((made, both(said(name)), both(said(f"{name}_measured", **found.facts)), lesson))
    header = ("", *(both(said(f"finding_column_{column}")) for column in ("question", "measured", "lesson")))
    head = [ui.bold(both(said("findings")))]
    return bilingual(ui.card(ui.table(header, rows), head=head, made=[sweep.provenance for sweep in sweeps]))


def draw_fusion_times(*sweeps: Sweep) -> Any:
    """Time of ReLU(A*B + C) over the number of elements, both logarithmic; a panel for each sweep."""
    up = {"type": "log", "tickformat": ",", "dtick": 1}
    title = "ReLU(A*B + C): flat where launches rule, straight where bytes do"
    return _lines(sweeps, title, Sweep.of, lambda row: row.seconds * 1e6, "microseconds", up)


def draw_fusion_bandwidth(*sweeps: Sweep) -> Any:
    """Bytes by the traffic model over the time taken, beside the copy of the same run; a panel for each sweep."""
    title, up = "Bandwidth reached, by the traffic model", {"rangemode": "tozero"}
    return _lines(sweeps, title, Sweep.of, lambda row: row.bytes_per_s / 1e9, "GB/s", up)


def draw_fusion_chains(*sweeps: Sweep) -> Any:
    """Time over the number of operations on the same three inputs; a panel for each sweep."""
    sizes = ", ".join(f"2{raised(s.chains(Way.COPY)[0].elements.bit_length() - 1)}" for s in sweeps)
    title = f"Longer chains on the same A, B and C ({sizes} elements)"
    return _lines(sweeps, title, Sweep.chains, lambda row: row.seconds * 1e6, "microseconds", LOG)


def _lines(
    sweeps: Sequence[Sweep], title: str, pick: Callable[[Sweep, Way], Sequence[Timed]], y: Callable[[Timed], float],
    unit: str, up: dict[str, Any],
) -> Any:  # fmt: skip
    """A line for each way in each panel; one legend of those that wait to be asked for serves all panels."""
    if not sweeps:
        raise ValueError("no sweep to draw: expected at least one from trtlab.lab.fusion (sweep or load)")
    by_length, known = pick is Sweep.chains, set[Way]()
    titles = [f"{s.provenance.origin.value}:<br>{s.provenance.device}" for s in sweeps]
    figure = new(len(sweeps), titles=titles, horizontal_spacing=0.1)
    for column, sweep in enumerate(sweeps, 1):
        for way in sweep.ways():
            rows, dash = pick(sweep, way), "dot" if way is Way.COPY else "solid" if way in FUSED else "dash"
            figure.add_scatter(
                x=[row.operations if by_length else row.elements for row in rows],
                y=[float(f"{y(row):.4g}") for row in rows], mode="lines+markers", name=way.value,
                legendgroup=way.value, showlegend=way not in known and way not in AT_ONCE,
                visible=None if way in AT_ONCE else "legendonly", marker={"size": 5, "color": WAYS[way]},
                line={"color": WAYS[way], "width": 2, "dash": dash}, row=1, col=column,
            )  # fmt: skip
            known.add(way)
    shown = {2**k: f"2{raised(k)}" for k in range(10, 31, 4)}
    shown, across = ({n: str(n) for n in (2, 4, 8, 16, 32)}, "operations") if by_length else (shown, "elements")
    figure.update_xaxes(type="log", title_text=across, tickvals=[*shown], ticktext=[*shown.values()])
    figure.update_yaxes(**up).update_yaxes(title_text=unit, col=1)
    says = ["solid: one kernel; dashed: one per operator; dotted: the copy", "a click on a name above adds its line"]
    made = [sweep.provenance for sweep in sweeps]
    return finish(figure, title, made, height=430, says=says, legend_px=50, named=True)
