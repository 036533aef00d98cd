"""teach/fusion: what optimisers left of a model, our kernels beside NVIDIA's, and what fusion was measured to bring.

In: frozen values of lab/compare and of the fusion sweeps, or a model to make them from. Out: `Drawing`s.
Colour never speaks alone: every verdict is written, and every number carries its provenance.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import onnx

from trtlab.engine.nvidia.report import Kernel
from trtlab.lab import compare
from trtlab.lab.compare import Agreement, Match, OurGroup, Row, Verdict
from trtlab.lab.fusion import Sweep, findings
from trtlab.numeric.units import counted
from trtlab.study.bank import said
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, bilingual, both, switch
from trtlab.teach.tables import merged_nodes

KINDS = {
    Verdict.SAME: "done", Verdict.NVIDIA_MORE: "stood", Verdict.WE_MORE: "stood", Verdict.DECLINED: "bad",
    Verdict.OTHERWISE: "not", Verdict.ADDED: "not",
}  # fmt: skip
LAUNCHES = "kernels to launch: a fused node is one, a view or constant none; NVIDIA's are those of its engine"
ORT_ALL = "ONNX Runtime's level ALL knows this processor: what it adds (ReorderOutput) differs between machines"
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


def draw_agreement(what: onnx.ModelProto | Agreement, target: str = "SM89", *, most: int = 40) -> Drawing:
    """Our kernels on the left, NVIDIA's on the right, one row for each group of nodes that share a kernel on either
    side, and the difference by name. In models of more than `most` groups, groups that agree stand folded.

    >>> draw_agreement(TEACHING_MODELS["inception"]())
    """
    found = what if isinstance(what, Agreement) else compare.compare_groups(what, target)
    folded = len(found.matches) > most
    same = [match for match in found.matches if folded and match.verdict is Verdict.SAME]
    header = ("ours", "NVIDIA's", "compared")
    shown = ui.table(header, [_match(match) for match in found.matches if match not in same])
    alike = f"{counted(len(same), 'group')} that agree{'s' * (len(same) == 1)}"
    fold = [ui.details(alike, ui.table(header, map(_match, same)))] * folded
    total = f"{counted(found.our_kernels, 'kernel')} of ours, {len(found.report.kernels)} of NVIDIA's"
    counts = [(verdict, found.count(verdict)) for verdict in Verdict if found.count(verdict)]
    verdicts = [ui.badge(f"{count} × {verdict.value}", KINDS[verdict]) for verdict, count in counts]
    gone = [f"in neither: {', '.join(found.gone)}"] * bool(found.gone)
    head = [ui.bold(found.model), ui.dim(total), ui.push(ui.join(verdicts, ui.apart(", ")))]
    return ui.card(shown, *fold, head=head, foot=gone, made=[found.report.provenance])


def _match(match: Match) -> tuple[Cell, Cell, Cell]:
    return (
        _boxes(map(_ours, match.ours), "nothing"),
        _boxes(map(_theirs, match.nvidia), "no kernel"),
        ui.stack([ui.badge(match.verdict.value, KINDS[match.verdict]), *map(ui.dim, match.notes)]),
    )


def _boxes(boxes: Iterable[Cell], otherwise: str) -> Cell:
    found = [*boxes]
    return ui.block(found, "boxes") if found else ui.dim(otherwise)


def _ours(group: OurGroup) -> Cell:
    op = group.op if group.is_kernel else f"{group.op} · no kernel"
    return ui.block([ui.dim(op), ui.chips(group.nodes)], "box")


def _theirs(kernel: Kernel) -> Cell:
    slices = [tensor for tensor in kernel.outputs if compare.is_slice(tensor)]
    where = [f"strides {', '.join(map(str, slices[0].strides or ()))}"] if slices else []
    name = kernel.name.rsplit("_myl", 1)[0].removeprefix("__myl_")  # __myl_MulAddRelu_myl0_2 -> MulAddRelu
    about = [ui.code(name), *map(ui.dim, (f"stream {kernel.stream}", kernel.type, *where))]
    return ui.block([ui.join(about), merged_nodes(kernel)], "box")


# --- what was measured ------------------------------------------------------------------------------------------------


def draw_fusion_findings(*sweeps: Sweep) -> Drawing:
    """What follows from the numbers, for each sweep: question and answer, and a word where a run did not show it."""
    rows = [
        (
            ui.origin_badge(sweep.provenance.origin),
            both(said(f"finding_{found.name}")),
            both(said(f"finding_{found.name}_measured", **found.facts)),
            both(said(f"finding_{found.name}_{found.lesson}"))
            if found.holds
            else ui.badge(both(said("finding_not_seen")), "stood"),
        )
        for sweep in sweeps
        for found in findings(sweep)
    ]
    header = ("", *(both(said(f"finding_column_{column}")) for column in ("question", "measured", "lesson")))
    head = [ui.bold(both(said("findings"))), switch()]
    return bilingual(ui.card(ui.table(header, rows), head=head, made=[sweep.provenance for sweep in sweeps]))
