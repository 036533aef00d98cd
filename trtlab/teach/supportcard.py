"""teach/supportcard: which formats NVIDIA's compiler takes for which GPU generation, as one table.

In: a `Support` of lab/support, built now or recorded. Out: a `Drawing`: what each product reads, or a short
reason; the compiler's own words open below.
"""

import re

from trtlab.lab.support import GENERATIONS, Cell, Support, matrix
from trtlab.teach.drawing import Drawing, details, escape, origin_badge, provenance_line, table, text_table

NOTE = "Taken means: the builder made a plan for that target. No GPU ran it."


def draw_support(support: Support | None = None) -> Drawing:
    """The matrix: rows are formats, columns targets. Builds all of it now when none is given (seconds).

    >>> draw_support(support.matrix(targets=("SM75", "SM89", "SM120")))
    """
    found = matrix() if support is None else support
    header = ("y = x @ w in", *(f"{target} {GENERATIONS.get(target, '')}".strip() for target in found.targets))
    rows = [(fmt, *(_short(found.cell(fmt, target)) for target in found.targets)) for fmt in found.formats]
    marked = [(f"<b>{escape(fmt)}</b>", *map(_mark, cells)) for fmt, *cells in rows]
    words = _words(found)
    refused = details(
        f"{len(words)} refusals, word for word",
        table(
            ("", "who", "said of"),
            [(escape(text), escape(by), escape(", ".join(of))) for (text, by), of in words.items()],
        ),
    )
    foot = (
        f"{escape(NOTE)} Half is FP16, Float FP32. ← names how weights are stored where the product reads another type."
    )
    head = f'<div class="head"><b>What TensorRT stores and computes in</b>{origin_badge(found.provenance.origin)}</div>'
    tail = f'<div class="body">{refused}</div><div class="foot">{foot}<br>{provenance_line(found.provenance)}</div>'
    text = [text_table(header, rows), NOTE, *(f"✗ {by}: {text}" for text, by in words), found.provenance.line()]
    return Drawing(
        html=f'<div class="card tall">{head}{table([escape(word) for word in header], marked)}{tail}</div>',
        text="\n".join(text),
    )


def _short(cell: Cell) -> str:
    """`✓ Half × Half ← FP4E2M1`, `✗ fp4_e2m1`: at most a few words; the rest is in the refusals below."""
    if cell.is_accepted:
        return f"✓ {' × '.join(cell.reads)}" + ("" if cell.stored in cell.reads else f" ← {cell.stored}")
    if cell.by != "builder":
        return {"parser": "✗ parser refuses", "ONNX": "✗ no ONNX type"}[cell.by]
    return f"✗ {re.split(r': ', cell.refusal)[-1].removesuffix(' is not supported')}"


def _mark(word: str) -> str:
    return f'<span class="{"yes" if word[0] == "✓" else "dim"}">{escape(word)}</span>'


def _words(support: Support) -> dict[tuple[str, str], list[str]]:
    """The formats for which each refusal was heard, targets left out of the words."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in support.cells:
        if not cell.is_accepted:
            formats = found.setdefault((cell.refusal.replace(cell.target.lower(), "smNN"), cell.by), [])
            formats += [cell.format] if cell.format not in formats else []
    return found


__all__ = ["draw_support"]
