"""teach/diagramparts: the pieces that hand-laid diagrams are made of: text, boxes, arrows, and the frame around them.

In: coordinates and words. Out: SVG as text. Diagrams bring white boxes with dark words in them; what stands outside a
box is of a middle tone, so that a diagram reads on light and dark pages alike. No styles, which would leak into a page.
"""

from collections.abc import Iterable

from trtlab.teach.drawing import escape

FONT = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, Menlo, Consolas, monospace"
INK, DIM, PAPER, LINE, SOFT = "#1f2328", "#59636e", "#ffffff", "#d0d7de", "#7d8590"
GREEN, BLUE, ORANGE, VIOLET = "#4c7a00", "#0969da", "#bc4c00", "#8250df"
HEADLINE = "#5a8f00"
"""A green that reads on white and on black."""
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#7d8590"/></marker></defs>'
)


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    colour: str,
    weight: int = 400,
    family: str = FONT,
    anchor: str = "middle",
) -> str:
    """One line of words; `anchor` is the part of it that stands at x: start, middle or end."""
    return (
        f'<text x="{x}" y="{y}" font-family="{family}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def rect(
    x: float, y: float, width: float, height: float, fill: str, stroke: str = "none", rx: float = 8, dash: str = ""
) -> str:
    """A box with round corners; `dash` as SVG writes it."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    size = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="{rx}"'
    return f'<rect {size} fill="{fill}" stroke="{stroke}" stroke-width="1.6"{dashed}/>'


def line(path: str, colour: str = SOFT, width: float = 1.8) -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'


def arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#7d8590" stroke-width="1.8" marker-end="url(#head)"/>'


def svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """The whole file."""
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return f"{start}<title>{escape(title)}</title>{HEAD}{''.join(parts)}</svg>\n"
