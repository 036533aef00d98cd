"""teach/svg: the one writer of SVG: elements, text, and a whole picture that needs no style sheet.

In: names, numbers, and text that may hold anything. Out: markup, in which all text is escaped.
tests/teach/test_graphview.py draws names that mean harm.
"""

import html
import re
import unicodedata
from collections.abc import Mapping

from trtlab.teach.card import Cell, SvgDrawing, block

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
INK, DIM, LINE, FAINT, PAPER = "#1f2328", "#59636e", "#8c959f", "#d7dce1", "#ffffff"
Point = tuple[float, float]


def tag(name: str, *inside: str, **attributes: str | float) -> str:
    """An element. `inside` is markup, `attributes` are text or numbers; empty ones are left out."""
    shown = {key.rstrip("_"): f"{v:g}" if isinstance(v, float) else str(v) for key, v in attributes.items()}
    words = (f' {key.replace("_", "-")}="{escaped(value)}"' for key, value in shown.items() if value)
    return f"<{name}{''.join(words)}>{''.join(inside)}</{name}>"


def title(words: str) -> str:
    """What a pointer shows, and a screen reader says, of the element around it."""
    return tag("title", escaped(words))


def text(css: str, words: str, at: Point, size: int, fill: str, weight: int = 400, halo: str = "", **look: str) -> str:
    """Text; a `halo` in the colour of the paper keeps it readable on lines."""
    paint = {"stroke": halo, "stroke_width": "3.5", "paint_order": "stroke"} if halo else {}
    place = {"x": at[0], "y": at[1], "font_size": size, "font_weight": weight}
    return tag("text", escaped(words), class_=css, fill=fill, **place, **paint, **look)


def ink(words: str, at: Point, size: int = 13, weight: int = 400, **look: str) -> str:
    """Words of a drawing that a page may turn light on dark paper."""
    return text("tl-ink", words, at, size, INK, weight, **look)


def dim(words: str, at: Point, place: str = "start", size: int = 13) -> str:
    """What stands at an axis."""
    return text("tl-dim", words, at, size, DIM, text_anchor=place)


def grid(a: Point, b: Point) -> str:
    """A line behind what is drawn."""
    return tag("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1], class_="tl-grid", stroke=FAINT)


def key(words: str, colour: str, x: float) -> str:
    """What a colour means, above the picture."""
    return tag("rect", x=x, y=9, width=12, height=12, rx=2, fill=colour) + ink(words, (x + 18, 19))


def whole(about: str, width: int, height: int, *parts: str) -> str:
    """The picture on its paper; `about` is read to those who cannot see it."""
    size = {"width": width, "height": height}
    named = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}", "aria_label": about}
    paper = tag("rect", class_="gv-paper", fill=PAPER, **size)
    return tag("svg", paper, *parts, role="img", font_family=FONT, **named, **size)


def shown(picture: str, kind: str = "") -> Cell:
    """The picture in a card; its words stand beside it."""
    return block(Cell(html=picture, text=""), kind)


def drawing(shown: Cell, picture: str, png: bytes = b"") -> SvgDrawing:
    """A card with the picture in it, which is an image by itself too."""
    return SvgDrawing(html=shown.html, text=shown.text, svg=picture, png=png)


def size_of(svg: str) -> Point:
    """Width and height of a picture made by `whole`, in pixels."""
    width, height = re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0]
    return float(width), float(height)


def side_by_side(drawings: Mapping[str, str]) -> str:
    """Several pictures in one, each under its heading."""
    parts, left, bottom = [], 0.0, 0.0
    for heading, svg in drawings.items():
        width, height = size_of(svg)
        column = max(width, text_width(heading, 14.6) + 20)
        parts.append(text("gv-head", heading, (left + 10, 20), 13, INK, 700))
        parts.append(svg.replace("<svg ", f'<svg x="{left + (column - width) / 2:g}" y="28" ', 1))
        left, bottom = left + column + 30, max(bottom, height + 28)
    return whole(", ".join(drawings), round(left - 30), round(bottom), *parts)


def text_width(words: str, size: float) -> float:
    """About how wide `words` are in pixels, in a sans-serif font of `size`; rather too wide than too narrow."""
    return size * sum(_EMS.get(c, 1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6) for c in words)


_EMS = dict.fromkeys("iljtf.,:;'|!()[] I/", 0.35) | dict.fromkeys("ABCDEGHKNOPQRUVXY×", 0.74)
_EMS |= dict.fromkeys("mwMW@%…", 0.95)


def escaped(words: str) -> str:
    """Characters that XML forbids even when escaped become spaces."""
    return html.escape(re.sub("[\x00-\x1f\ud800-\udfff\ufffe\uffff]", " ", words))
