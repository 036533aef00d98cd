"""teach/graphlabel: names from a model made fit for a small box: short, of known width, escaped.

In: names as they come, with line breaks, markup or 300 characters. Out: text for an SVG. Who checks it:
tests/teach/test_graphview.py, with names that mean harm.
"""

import html
import re
import unicodedata

from trtlab.graph.picture import Node

NAME_LIMIT = 24


def short_name(node: Node, around: str = "") -> str:
    """A node's name without its operator and without the group around it: `attention/Reshape_2` -> `attention (2)`."""
    match = re.fullmatch(rf"(.*?)[/.]?{re.escape(node.op)}(?:_(\d+))?", node.name, re.DOTALL)
    name, number = (match[1], match[2]) if match else (node.name, None)
    name = name.lstrip("/").removeprefix(around).strip("./")
    return f"{name} ({number})".strip() if number else name


def shortened(text: str, limit: int = NAME_LIMIT) -> str:
    """One line of at most `limit` characters; the middle is left out, because names differ at their ends."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2 - 1]}…{text[-(limit - limit // 2) :]}"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide `text` is in pixels, in a sans-serif font of `size`; slightly too wide rather than too narrow."""
    ems = sum(_EMS.get(c, 1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6) for c in text)
    return ems * size * (1.07 if bold else 1.0)


_EMS = dict.fromkeys("iljtf.,:;'|!()[] I/", 0.35)
_EMS |= dict.fromkeys("ABCDEGHKNOPQRUVXY×", 0.74) | dict.fromkeys("mwMW@%…", 0.95)


def xml_text(text: str) -> str:
    """Escaped for XML; characters that it forbids even when escaped become spaces."""
    return html.escape(
        "".join(c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else " " for c in text)
    )
