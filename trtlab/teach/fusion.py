"""teach/fusion: what optimisers left of a model, and our kernels beside NVIDIA's.

In: frozen values of lab/compare, or a model to make them from. Out: `Drawing`s.
Colour never speaks alone: every verdict is written, and every number carries its provenance.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import onnx

from trtlab.engine.measure import merged
from trtlab.engine.nvidia.report import Kernel
from trtlab.lab.compare import (
    NVIDIA,
    Agreement,
    Match,
    OurGroup,
    Outcome,
    Row,
    Verdict,
    compare_groups,
    compare_optimizers,
    compare_teaching_models,
    is_slice,
)
from trtlab.teach.drawing import (
    Drawing,
    badge,
    chips,
    details,
    escape,
    origin_badge,
    table,
    table_card,
    text_table,
)

KINDS = {
    Verdict.SAME: "done",
    Verdict.NVIDIA_MORE: "stood",
    Verdict.WE_MORE: "stood",
    Verdict.DECLINED: "bad",
    Verdict.OTHERWISE: "not",
    Verdict.ADDED: "not",
}
LAUNCHES = "kernels to launch: a fused node is one, a view or constant none; NVIDIA's are those of its engine"
ORT_ALL = "ONNX Runtime's level ALL knows this processor: what it adds (ReorderOutput) differs between machines"


# --- one model, many optimisers ---------------------------------------------------------------------------------------


def draw_optimizers(what: onnx.ModelProto | Row | Sequence[Row] | None = None) -> Drawing:
    """A table of what each optimiser left: of one model in detail, of several models one line each; left out, of all
    teaching models.

    >>> draw_optimizers(TEACHING_MODELS["gelu"]())
    """
    if isinstance(what, onnx.ModelProto | Row):
        return _one_model(compare_optimizers(what) if isinstance(what, onnx.ModelProto) else what)
    return _many_models(compare_teaching_models() if what is None else what)


def _many_models(rows: Sequence[Row]) -> Drawing:
    if not rows:
        raise ValueError("no rows to draw: expected at least one from trtlab.lab.compare.compare_optimizers")
    titles = [outcome.optimizer for outcome in rows[0].outcomes]
    header = (
        "model",
        *(title.replace("ONNX Runtime DISABLE_ALL", "ORT off").replace("ONNX Runtime", "ORT") for title in titles),
    )
    cells = [(row.model, *(_kernels_text(outcome) for outcome in row.outcomes)) for row in rows]
    marked = [(f"<b>{escape(row.model)}</b>", *_marked(row)) for row in rows]
    worst = max((o.error for row in rows for o in row.outcomes if o.error is not None), default=0.0)
    same = f"every result that ran agrees with the model as written: largest relative difference {worst:.1e}"
    failed: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for outcome in row.outcomes:
            if outcome.kernels is None:
                failed[f"{outcome.optimizer}: {outcome.note}"].append(row.model)
    wrong = [f"{', '.join(models)}: {what}" for what, models in failed.items()]
    agree = all(what.startswith(NVIDIA) for what in failed)
    lines = [LAUNCHES, *wrong, *[same] * agree, "✓ fewest of the row: a count of launches, not a time", ORT_ALL]
    made = merged(part for row in rows for part in row.provenance)
    lines += [part.line() for part in made]
    origins = "".join(origin_badge(origin) for origin in dict.fromkeys(part.origin for part in made))
    return Drawing(
        html=table_card(
            table([escape(word) for word in header], marked, numeric=range(1, len(header))),
            head=f"<b>Kernels that are left, by optimiser</b>{origins}",
            foot="<br>".join(map(escape, lines)),
        ),
        text="\n".join([text_table(header, cells), *lines]),
    )


def _kernels_text(outcome: Outcome) -> str:
    return "–" if outcome.kernels is None else str(outcome.kernels)


def _marked(row: Row) -> list[str]:
    fewest = min(outcome.kernels for outcome in row.outcomes if outcome.kernels is not None)
    return [
        f'<span class="yes">✓ <b>{text}</b></span>' if text == str(fewest) else text
        for text in map(_kernels_text, row.outcomes)
    ]


def _one_model(row: Row) -> Drawing:
    header = ("optimiser", "kernels", "nodes", "constants", "gone", "new", "results")
    cells = [(o.optimizer, _kernels_text(o), *map(_or_dash, (o.nodes, o.constants)), *_types(o)) for o in row.outcomes]
    marked = [(f"<b>{escape(name)}</b>", *map(escape, rest)) for name, *rest in cells]
    lines = [LAUNCHES, "results: largest difference from the model as written, relative to its largest number"]
    lines += [ORT_ALL, *(part.line() for part in merged(row.provenance))]
    return Drawing(
        html=table_card(
            table(header, marked, numeric=(1, 2, 3)),
            head=f"<b>{escape(row.model)}</b> through every optimiser",
            foot="<br>".join(map(escape, lines)),
        ),
        text="\n".join([f"{row.model} through every optimiser", text_table(header, cells), *lines]),
    )


def _or_dash(number: int | None) -> str:
    return "–" if number is None else str(number)


def _types(outcome: Outcome) -> tuple[str, str, str]:
    """Operator types that went and came, and how the results compare."""
    error = "same" if outcome.error == 0 else outcome.note if outcome.error is None else f"within {outcome.error:.1e}"
    return _counts(outcome.removed), _counts(outcome.added), error or "the measure"


def _counts(types: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{op} ×{count}" if count > 1 else op for op, count in types)


# --- kernel by kernel -------------------------------------------------------------------------------------------------


def draw_agreement(what: onnx.ModelProto | Agreement, target: str = "SM89", *, most: int = 40) -> Drawing:
    """Our kernels on the left, NVIDIA's on the right, one row for each group of nodes that share a kernel on either
    side, and the difference by name. In models of more than `most` groups, groups that agree stand folded.

    >>> draw_agreement(TEACHING_MODELS["inception"]())
    """
    found = what if isinstance(what, Agreement) else compare_groups(what, target)
    apart = [match for match in found.matches if match.verdict is not Verdict.SAME]
    same = [match for match in found.matches if match.verdict is Verdict.SAME]
    folded = len(found.matches) > most
    counts = [(verdict, found.count(verdict)) for verdict in Verdict if found.count(verdict)]
    header = ("ours", "NVIDIA's", "compared")
    body = table(header, map(_row, apart if folded else found.matches))
    if folded:
        body += f'<div class="body">{details(f"{len(same)} groups that agree", table(header, map(_row, same)))}</div>'
    lines = [f"in neither: {', '.join(found.gone)}"] * bool(found.gone) + [found.report.provenance.line()]
    total = f"{found.our_kernels} kernels of ours, {len(found.report.kernels)} of NVIDIA's"
    pills = "".join(badge(f"{count} × {verdict.value}", KINDS[verdict]) for verdict, count in counts)
    head = f'<b>{escape(found.model)}</b>{origin_badge(found.report.provenance.origin)}<span class="by">{total}</span>'
    said = ", ".join(f"{count} × {verdict.value}" for verdict, count in counts)
    return Drawing(
        html=table_card(body, head=f'{head}<span class="push"></span>{pills}', foot="<br>".join(map(escape, lines))),
        text="\n".join([f"{found.model}: {total}: {said}", *map(_line, found.matches), *lines]),
    )


def _row(match: Match) -> tuple[str, str, str]:
    notes = "".join(f'<div class="dim">{escape(note)}</div>' for note in match.notes)
    return (
        _stack(map(_ours, match.ours)) or '<span class="dim">nothing</span>',
        _stack(map(_theirs, match.nvidia)) or '<span class="dim">no kernel</span>',
        badge(match.verdict.value, KINDS[match.verdict]) + notes,
    )


def _stack(boxes: Iterable[str]) -> str:
    inside = "".join(boxes)
    return inside and f'<div style="display:grid;gap:5px">{inside}</div>'


def _ours(group: OurGroup) -> str:
    op = group.op if group.is_kernel else f"{group.op} · no kernel"
    return f'<div class="box"><span class="dim">{escape(op)}</span><br>{chips(group.nodes)}</div>'


def _theirs(kernel: Kernel) -> str:
    slices = [tensor for tensor in kernel.outputs if is_slice(tensor)]
    where = f" · strides {', '.join(map(str, slices[0].strides or ()))}" if slices else ""
    about = f"stream {kernel.stream} · {kernel.type}{where}"
    name = f'<code>{escape(_short(kernel.name))}</code> <span class="dim">{escape(about)}</span>'
    nodes = chips(kernel.onnx_nodes) if kernel.onnx_nodes else chips(["added by the compiler"], kind="made")
    return f'<div class="box">{name}<br>{nodes}</div>'


def _short(name: str) -> str:
    """`__myl_MulAddRelu_myl0_2` -> `MulAddRelu`."""
    return name.rsplit("_myl", 1)[0].removeprefix("__myl_")


def _line(match: Match) -> str:
    ours = " | ".join(" + ".join(group.nodes) for group in match.ours) or "nothing"
    theirs = " | ".join(
        f"{_short(k.name)} ({' + '.join(k.onnx_nodes) or 'added'}; stream {k.stream})" for k in match.nvidia
    )
    notes = f" ({'; '.join(match.notes)})" if match.notes else ""
    return f"  {match.verdict.value}: {ours}  <->  {theirs or 'no kernel'}{notes}"
