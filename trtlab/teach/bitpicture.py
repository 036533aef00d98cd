"""teach/bitpicture: the bit editor as a picture, for pages where no kernel runs.

In: what the widget tells its page (`face`, `shown`). Out: a `Drawing` that is an SVG and a text. Colours stand in
attributes, since GitHub removes style sheets; the paper is always light.
"""

from collections.abc import Mapping
from typing import Any

from trtlab.teach.drawing import Drawing, SvgDrawing, escape, text_table

COLOURS = {
    "sign": "#a8478c", "exponent": "#0072b2", "mantissa": "#b8500f",
    "value": "#00805c", "index": "#5b4fc4", "padding": "#8c959f",
}  # fmt: skip
_INK, _DIM, _PAPER, _LINE = "#1f2328", "#59636e", "#ffffff", "#d0d7de"
_WIDTH, _LEFT, _CELL, _GAP = 880, 20, 46, 6
_COLUMNS = {"format": 20, "code": 160, "value": 330, "relative error": 500, "": 620}
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


def draw_bits(face: Mapping[str, Any], shown: Mapping[str, Any]) -> Drawing:
    """Bits, value, formula, error and the same number in the other formats."""
    lines = ["".join(text for text, _, _ in line) for line in _plain(shown["formula"])]
    error = shown["error"]
    said = f"{error['target']} → {shown['value']}   {error['words']}, relative error {error['relative']}"
    text = f"{face['name']} {shown['code']}: {shown['value']} ({shown['kind']})\n{shown['bin']}\n"
    text += "\n".join(lines) + "\n" + said + "\n" + text_table(tuple(_COLUMNS), [_cells(row) for row in shown["rows"]])
    top = [_text(20, 26, face["name"], 15, bold=True), _text(20, 44, face["summary"], 12, _DIM)]
    top += [_text(20, 82, shown["value"], 26, bold=True), _text(860, 82, shown["kind"], 13, _DIM, anchor="end")]
    body = [*top, *_strip(face, shown)]
    body += [_text(20, 206 + 22 * i, line, 14, mono=True) for i, line in enumerate(lines)]
    body += [_text(20, 256, said, 13, _DIM), *_table(face, shown["rows"])]
    height = 296 + 18 * len(shown["rows"])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif"><title>{escape(text.splitlines()[0])}</title>'
        f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="{_PAPER}" stroke="{_LINE}"/>{"".join(body)}</svg>'
    )
    return SvgDrawing(html=svg, text=text, svg=svg)


def _plain(formula: list[Any]) -> list[Any]:
    """The formula with ^(…) for what stands raised."""
    found = []
    for line in formula:
        parts, before = [], False
        for text, kind, raised in line:
            bracket = "" if raised == before else "^(" if raised else ")"
            parts.append((bracket + text, kind, raised))
            before = raised
        found.append(parts)
    return found


def _text(
    x: float, y: float, text: str, size: int, fill: str = _INK,
    *, bold: bool = False, mono: bool = False, anchor: str = "start",
) -> str:  # fmt: skip
    more = f' text-anchor="{anchor}"' + ' font-weight="600"' * bold + f' font-family="{_MONO}"' * mono
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}"{more}>{escape(text)}</text>'


def _strip(face: Mapping[str, Any], shown: Mapping[str, Any]) -> list[str]:
    """Every bit as a box in the colour of its field; the field's name above, what it says below."""
    fields, digits = face["fields"], shown["bin"].replace(" ", "")
    cell = min(_CELL, (_WIDTH - 2 * _LEFT - _GAP * (len(fields) - 1)) / len(digits))
    found, x, place = [], float(_LEFT), 0
    for (kind, width), reading in zip(fields, shown["readings"], strict=True):
        colour, middle = COLOURS[kind], x + width * cell / 2
        found.append(_text(middle, 112, kind, 11, colour, anchor="middle"))
        for digit in digits[place : place + width]:
            found.append(
                f'<rect x="{x + 0.75:.2f}" y="120" width="{cell - 1.5:.2f}" height="36" rx="4" stroke="{colour}" '
                f'fill="{colour}" fill-opacity="{1 if digit == "1" else 0.1}"/>'
            )
            ink = _PAPER if digit == "1" else colour
            found.append(_text(x + cell / 2, 144, digit, 16 if cell > 14 else 11, ink, mono=True, anchor="middle"))
            x += cell
        found.append(_text(middle, 174, reading, 12, colour, mono=True, anchor="middle"))
        x, place = x + _GAP, place + width
    return found


def _cells(row: list[str]) -> list[str]:
    name, code, value, relative, _, words = row
    return [name, code, value, relative, words]


def _table(face: Mapping[str, Any], rows: list[list[str]]) -> list[str]:
    found = [_text(x, 284, head, 11, _DIM) for head, x in _COLUMNS.items()]
    for number, row in enumerate(rows):
        is_here = row[0] == face["name"]
        found += [
            _text(x, 302 + 18 * number, cell, 12, mono=x != 620, bold=is_here)
            for cell, x in zip(_cells(row), _COLUMNS.values(), strict=True)
        ]
    return found
