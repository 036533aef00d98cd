"""teach/card: what everything shown in a notebook is made of, said once and shown as HTML and as text.

In: plain values and cells. Out: `Cell`s, and `Drawing`s that a notebook shows. Text is escaped here, so that no name
in an ONNX file can inject markup. Pieces stand apart by marks (class `sep`) that are hidden where the style sheet makes
boxes of the pieces, and show where a page drops style sheets. tests/teach/markup.py compares both forms.
`Words` in English and Chinese are both in a card, which shows one, English where no script runs; all cards of a
notebook share a switch.
"""

import base64
import functools
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from trtlab.engine.measure import Provenance, merged
from trtlab.numeric.units import counted
from trtlab.study.bank import Words

_NUMBER = re.compile(
    r"(✓ )?[-+−]?[\d.,]+([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+|e[-+]?\d+| of \d+| · [\d.]+)?( ?(%|×|[mµn]?s|[KMG]?i?B|dB|bits))?"
    r"|[-–]?|[-+−]?(inf|[Nn]a[Nn]|∞)|exact|[\dA-F]{1,4}"
)
"""A cell that stands at the right of its column."""
LONG = 60
"""Rows of a table that are shown at once."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A piece of a card: `html`, which is markup, and `text`, the same words for terminals, diffs, screen readers."""

    html: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Drawing(Cell):
    """Something to look at: a cell that a notebook shows by itself."""

    def _repr_mimebundle_(self, **_what_ipython_asks: Any) -> dict[str, str]:
        return {
            "text/html": f'<style>{asset("cards.css")}</style><div class="trt">{self.html}</div>',
            "text/plain": self.text,
        }

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True, repr=False)
class SvgDrawing(Drawing):
    """A drawing that is also an image, for pages that remove SVG from HTML; `png` for those that show no SVG at all."""

    svg: str
    png: bytes = b""

    def _repr_mimebundle_(self, **what_ipython_asks: Any) -> dict[str, str]:
        png = {"image/png": base64.b64encode(self.png).decode()} if self.png else {}
        return super()._repr_mimebundle_(**what_ipython_asks) | {"image/svg+xml": self.svg} | png


@functools.cache
def asset(file: str) -> str:
    """The text of static/`file`."""
    return resources.files("trtlab.teach").joinpath(f"static/{file}").read_text(encoding="utf-8")


def styled(name: str, drawing: Cell) -> "Drawing":
    """The drawing with a style sheet of its own."""
    return Drawing(html=f"<div><style>{asset(f'{name}.css')}</style>{drawing.html}</div>", text=drawing.text)


def escape(value: Any) -> str:
    """Text safe to put between tags and in attributes."""
    return html.escape(str(value), quote=True)


# --- pieces of a line -------------------------------------------------------------------------------------------------


def cell(value: Any) -> Cell:
    """A plain value as a cell: whole numbers with thousands apart, a dash for None. A cell stays as it is."""
    if isinstance(value, Cell):
        return value
    is_count = isinstance(value, int) and not isinstance(value, bool)
    text = "–" if value is None else f"{value:,}" if is_count else str(value)
    return Cell(html=escape(text), text=text)


def tag(name: str, value: Any, kind: str = "", **attributes: str) -> Cell:
    """The value inside an HTML element with the class `kind`; the text is that of the value."""
    inner = cell(value)
    named = ({"class": kind} if kind else {}) | attributes
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"' for key, text in named.items())
    return Cell(html=f"<{name}{written}>{inner.html}</{name}>", text=inner.text)


def bold(value: Any) -> Cell:
    return tag("b", value)


def code(value: Any) -> Cell:
    return tag("code", value)


def dim(value: Any) -> Cell:
    return tag("span", value, "dim")


def push(value: Any) -> Cell:
    """What stands at the right end of a card's head."""
    return tag("span", value, "dim push")


def link(value: Any, address: str) -> Cell:
    return tag("a", value, href=address)


def badge(word: Any, kind: str = "") -> Cell:
    """A small pill. The word is always written: colour never carries the meaning alone."""
    return tag("span", word, f"badge {kind or word}")


def apart(mark: str = " · ") -> Cell:
    """What keeps two pieces apart; hidden where the style sheet does."""
    return Cell(html=f'<span class="sep">{escape(mark)}</span>', text=mark)


def join(values: Iterable[Any], mark: Any = " · ") -> Cell:
    """The values in one line, with `mark` between them: text, or a cell such as `apart()`."""
    cells = [found for found in map(cell, values) if found.text]
    between = cell(mark)
    return Cell(html=between.html.join(c.html for c in cells), text=between.text.join(c.text for c in cells))


def labelled(label: Any, value: Any) -> Cell:
    """A value behind a small label."""
    return join([tag("small", label), value], apart(": "))


def chips(words: Iterable[Any], *, kind: str = "", mark: str = " + ") -> Cell:
    """Each word in a box of its own; names of nodes are easier to tell apart so."""
    return join([tag("span", word, f"chip {kind}".strip()) for word in words], apart(mark))


# --- blocks -----------------------------------------------------------------------------------------------------------


def stack(values: Iterable[Any]) -> Drawing:
    """Blocks below each other; words that are no block yet become one."""
    cells = [found for found in map(cell, values) if found.html]
    return Drawing(
        html="".join(c.html if c.html.startswith("<div") else f"<div>{c.html}</div>" for c in cells),
        text="\n".join(c.text for c in cells if c.text),
    )


def block(value: Any, kind: str = "") -> Cell:
    """The value, or a list of values below each other, as a block with the class `kind`."""
    return tag("div", stack(value) if isinstance(value, list) else value, kind)


def callout(value: Any, *, bad: bool = False) -> Cell:
    """A marked paragraph: what is not possible and why, or an error."""
    return block(value, "why bad" if bad else "why")


def pre(text: Any) -> Cell:
    """Text whose lines and spaces count."""
    return block(tag("pre", text, "mono"))


def details(summary: Any, *values: Any) -> Cell:
    """A part that opens on demand."""
    head, body = tag("summary", summary), stack(values)
    return Cell(html=f"<div><details>{head.html}{body.html}</details></div>", text=f"{head.text}\n{body.text}")


def listed(values: Iterable[Any], name: str = "ul") -> Cell:
    """A list; `ol` is numbered where it is drawn."""
    items = [tag("li", value) for value in values]
    html_of = "".join(item.html for item in items)
    return Cell(html=f"<div><{name}>{html_of}</{name}></div>", text="\n".join(item.text for item in items))


def facts(*found: Sequence[Any]) -> Cell:
    """Numbers in boxes: (label, value), (label, value, note) or (label, value, note, kind) each."""
    boxes = []
    for label, value, *more in found:
        note, kind = (*more, "", "")[:2]
        boxes.append(block(labelled(label, join([tag("b", value, kind), dim(note)], apart())), "box fact"))
    return block(boxes, "grid")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, fold: bool = False, bare: bool = False) -> Cell:
    """Rows of cells and plain values; columns of numbers stand at the right. Raises ValueError for a ragged row.

    `fold` keeps a long table short: what is behind `LONG` rows opens on demand. `bare` hides its header.
    """
    rows = [*rows]
    if fold and len(rows) > LONG:
        first, rest = (table(header, part, bare=bare) for part in (rows[:LONG], rows[LONG:]))
        more = details(counted(len(rows) - LONG, "more row"), rest)
        return Cell(html=first.html + more.html, text=f"{first.text}\n{more.text}")
    top, body = [*map(cell, header)], [[*map(cell, row)] for row in rows]
    if ragged := [row for row in body if len(row) != len(top)]:
        raise ValueError(f"a row of {len(ragged[0])} cells under a header of {len(top)}: {[c.text for c in ragged[0]]}")
    numeric = [bool(body) and all(_NUMBER.fullmatch(c.text) for c in column) for column in zip(*body, strict=True)]

    def line(cells: Sequence[Cell], name: str) -> str:
        looks = numeric or [False] * len(top)
        return "".join(tag(name, c, "num" if num else "").html for c, num in zip(cells, looks, strict=True))

    lines = "".join(f"<tr>{line(row, 'td')}</tr>" for row in body)
    head = "" if bare else f"<thead><tr>{line(top, 'th')}</tr></thead>"
    return Cell(
        html=f'<div class="scroll"><table>{head}<tbody>{lines}</tbody></table></div>',
        text=_columns([*([] if bare else [top]), *body]),
    )


def _columns(rows: Sequence[Sequence[Cell]]) -> str:
    """The same table for places without HTML: columns padded with spaces; blocks in a cell stand side by side."""
    lines = [[c.text.replace("\n", " | ") for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def card(*parts: Any, head: Iterable[Any] = (), foot: Iterable[Any] = (), made: Iterable[Provenance] = ()) -> Drawing:
    """A frame with pieces of a line in its head, blocks in its body, and lines at its foot.

    `made` says where its numbers come from: a badge for each origin behind the title, and a line each at the foot.
    """
    sources, (title, *rest) = merged(made), [*head] or [""]
    badges = [badge(word) for word in dict.fromkeys(one.origin.value for one in sources if title)]
    top, bottom = join([title, *badges, *rest], apart()), stack([*foot, *(one.line() for one in sources)])
    pieces = (("head", top), ("body", stack(parts)), ("foot", bottom))
    return stack([block([block(inside, kind) for kind, inside in pieces if inside.html], "card")])


# --- two languages in one card, of which it shows one -----------------------------------------------------------------


def rich(text: str) -> Cell:
    """Escaped text in which `backticks` became code; each line a paragraph of its own."""
    lines = [re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line)) for line in text.splitlines()]
    inside = lines[0] if len(lines) == 1 else "".join(f"<p>{line}</p>" for line in lines)
    return Cell(html=inside, text=text.replace("`", ""))


def both(words: Words | str, name: str = "span", facts: Mapping[str, Any] | None = None) -> Cell:
    """Both languages, with facts in their places: English in an element of that name, Chinese in its attribute, out of
    which the page makes an element (static/tongue.js). So pages that drop scripts keep one language."""
    if isinstance(words, str):
        words = Words(en=words, zh=words)
    if facts is not None:
        words = words.filled(facts)
    english, chinese = rich(words.en), rich(words.zh)
    if words.en == words.zh:
        return tag(name, english)
    between = " / " if name == "span" else "\n"
    text = f"{english.text}{between}{chinese.text}"
    return Cell(html=tag(name, english, data_zh=chinese.html).html, text=text)


def live(markup: str, kind: str) -> Cell:
    """What works with scripts alone waits in an attribute, too."""
    return tag("span", "", kind, data_live=markup)


def stack_of(cells: list[Cell]) -> Cell:
    """Cells behind each other in HTML, below each other as text."""
    return Cell(html="".join(found.html for found in cells), text="\n".join(c.text for c in cells if c.text))


def bilingual(drawing: Cell) -> Drawing:
    """A card in two languages, with the script that puts the switch into its head."""
    return stack([block(stack_of([drawing, alive()]), "bilingual")])


def alive() -> Cell:
    """What cards do on a page that runs scripts."""
    return Cell(html=f"<script>{asset('tongue.js')}</script>", text="")
