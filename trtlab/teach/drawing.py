"""teach/drawing: the small pieces that every card is made of.

In: text and rows. Out: `Drawing`, which a notebook shows as HTML and everything else as text. Everything that came
from a model or a log is escaped here, so that no name in an ONNX file can inject markup.
"""

import functools
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from trtlab.engine.provenance import Origin, Provenance


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Something to look at: HTML for notebooks, `text` for terminals, diffs and screen readers."""

    markup: str
    text: str

    def _repr_mimebundle_(self, **_what_ipython_asks: Any) -> dict[str, str]:
        return {
            "text/html": f'<style>{_stylesheet()}</style><div class="trt">{self.markup}</div>',
            "text/plain": self.text,
        }

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True, repr=False)
class SvgDrawing(Drawing):
    """A drawing that is also an image, for pages that remove SVG from HTML."""

    svg: str

    def _repr_mimebundle_(self, **what_ipython_asks: Any) -> dict[str, str]:
        return super()._repr_mimebundle_(**what_ipython_asks) | {"image/svg+xml": self.svg}


@functools.cache
def _stylesheet() -> str:
    return resources.files("trtlab.teach").joinpath("static/cards.css").read_text(encoding="utf-8")


def escape(value: Any) -> str:
    """Text safe to put between tags and in attributes."""
    return html.escape(str(value), quote=True)


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


def bytes_text(size_bytes: int | None) -> str:
    """`8.19 MiB`, `444 KiB`, `80 B`; `unknown` for None, never zero."""
    if size_bytes is None:
        return "unknown"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= size:
            return f"{size_bytes / size:,.2f} {unit}"
    return f"{size_bytes:,} B"


def seconds_text(seconds: float | None) -> str:
    """`1.23 s`, `4.5 ms`, `12 µs`; a dash for None."""
    if seconds is None:
        return "–"
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * scale
        if value >= 1 or unit == "µs":
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    raise AssertionError(seconds)
