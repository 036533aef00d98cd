"""teach/drawing: pieces of cards as markup alone; being replaced by teach/card, which gives the text as well.

In: text and rows. Out: `Drawing`, which a notebook shows as HTML and everything else as text. Everything that came
from a model or a log is escaped here, so that no name in an ONNX file can inject markup.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from trtlab.engine.measure import Origin, Provenance
from trtlab.teach.card import Drawing as Drawing
from trtlab.teach.card import SvgDrawing as SvgDrawing
from trtlab.teach.card import escape as escape
from trtlab.teach.units import bytes_text as bytes_text
from trtlab.teach.units import seconds_text as seconds_text


def badge(word: str, kind: str = "") -> str:
    """A small pill. The word is always written: colour never carries the meaning alone."""
    return f'<span class="badge {escape(kind or word)}">{escape(word)}</span>'


def origin_badge(origin: Origin) -> str:
    return badge(origin.value)


def chips(words: Iterable[str], *, kind: str = "") -> str:
    """Each word in a box of its own; names of nodes are easier to tell apart so."""
    return "".join(f'<span class="chip {kind}">{escape(word)}</span>' for word in words)


def card(head: str, body: str, *, foot: str = "") -> str:
    """A framed card; the arguments are markup."""
    tail = f'<div class="foot">{foot}</div>' if foot else ""
    return f'<div class="card"><div class="head">{head}</div><div class="body">{body}</div>{tail}</div>'


def table_card(body: str, *, head: str = "", foot: str = "") -> str:
    """A card that is one table, shown at its full height; the arguments are markup."""
    top = f'<div class="head">{head}</div>' if head else ""
    tail = f'<div class="foot">{foot}</div>' if foot else ""
    return f'<div class="card tall">{top}{body}{tail}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = ()) -> str:
    """A table whose cells are markup (escape text first). `numeric` columns are aligned to the right."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{' class=num' if i in numeric else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells(header, "th")}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def text_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same table for places without HTML: columns padded with spaces."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def fact(label: str, value: str, note: str = "", kind: str = "") -> str:
    """A number in a box, with its label above and a note below; all arguments are text."""
    heading = f'<small>{escape(label)}</small><b class="{kind}">{escape(value)}</b>'
    return f'<div class="box fact">{heading}<span class="dim">{escape(note)}</span></div>'


def provenance_line(provenance: Provenance) -> str:
    return escape(provenance.line())


def details(summary: str, body: str) -> str:
    """A part that opens on demand; `summary` is text, `body` markup."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def callout(text: str, *, bad: bool = False) -> str:
    """A marked paragraph: what is not possible and why, or an error."""
    return f'<div class="why{" bad" if bad else ""}">{text}</div>'
