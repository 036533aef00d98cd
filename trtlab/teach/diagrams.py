"""teach/diagrams: three pictures laid out by hand: the workflow, what makes an inference compiler fast, layer fusion.

In: trtlab/data/NAME.svg, which is the source and is edited as it is, and NAME.png, the same picture for pages that drop
SVG. Out: a `Drawing` that also says the picture's words. tests/teach/test_diagrams.py counts again what they claim.
"""

import xml.etree.ElementTree as ElementTree
from importlib import resources

from trtlab.teach.card import Cell, SvgDrawing, block, details, stack

DIAGRAMS = ("workflow", "acceleration", "fusion")
_G, _TEXT = (f"{{http://www.w3.org/2000/svg}}{name}" for name in ("g", "text"))


def draw_diagram(name: str) -> SvgDrawing:
    """A diagram by name. KeyError names the known ones."""
    if name not in DIAGRAMS:
        raise KeyError(f"no diagram {name!r}; there are {', '.join(DIAGRAMS)}")
    folder = resources.files("trtlab") / "data"
    svg = (folder / f"{name}.svg").read_text("utf-8")
    said = stack([block(Cell(html=svg, text=""), "diagram"), details("The picture in words", *diagram_lines(svg))])
    return SvgDrawing(html=said.html, text=said.text, svg=svg, png=(folder / f"{name}.png").read_bytes())


def diagram_lines(svg: str) -> list[str]:
    """The words of a picture: a line for each group of the file, its texts apart by a point."""
    groups = [list(group.iter(_TEXT)) for group in ElementTree.fromstring(svg).findall(_G)]
    return [" · ".join(" ".join("".join(text.itertext()).split()) for text in texts) for texts in groups if texts]
