"""teach/door: what notebook 00 opens with: the map of the sheet's three questions, bits to flip, a quiz, a build; and
three pictures laid out by hand: the workflow, what makes an inference compiler fast, layer fusion.

In: the folder of the notebooks, the report of a build; trtlab/data/NAME.svg, which is edited as it is, and NAME.png.
Out: `Drawing`s that answer with no kernel: the values of the codes are found here, and the page (static/tongue.js) only
looks them up. tests/teach/test_diagrams.py counts again what the pictures claim.
"""

import re
import xml.etree.ElementTree as ElementTree
from importlib import resources
from pathlib import Path

import numpy as np

from trtlab.engine.nvidia.report import BuildReport
from trtlab.numeric import FORMATS, exact
from trtlab.numeric.formats import Format
from trtlab.study.bank import Words, said
from trtlab.study.curriculum import lessons_in, planned_in
from trtlab.teach import card as ui
from trtlab.teach import svg
from trtlab.teach.bitwords import hex_text, number_text
from trtlab.teach.card import Cell, Drawing, SvgDrawing, apart, bilingual, block, bold, both, join, tag
from trtlab.teach.quizcard import quiz
from trtlab.teach.tables import merged_nodes

DIAGRAMS = ("workflow", "acceleration", "fusion")
SMALLEST_PX = 10
"""Words in a diagram are never smaller: it scrolls before that."""
_QUESTIONS = ("Q1", "Q2", "Q3")


def draw_door(folder: Path, report: BuildReport, asked: str) -> Drawing:
    """The map of `folder`; beside it a code of FP8 to flip, the quiz `asked`, and how many kernels a build made."""
    beside = block([draw_flips(FORMATS["FP8_E4M3"], 2.0), quiz(asked).drawn(), draw_build(report)])
    return ui.styled("door", block([draw_map(folder), beside], "door"))


def draw_map(folder: Path) -> Drawing:
    """The notebooks that lie in `folder`, below the question of the sheet that they answer, with honest minutes; and
    those that are planned. FileNotFoundError when there is no such folder."""
    rows, outcomes = list[tuple[str, str, Cell]](), []
    for one in lessons_in(folder):
        address = f"{one.name}.ipynb"
        rows.append((one.name, *_row(one.name, one.question, said("minutes", n=one.minutes), address)))
        outcomes.append((ui.link(one.name, address), both(one.outcome)))
    rows += [(name, *_row(name, question, said("planned"))) for name, question in planned_in(folder).items()]
    parts = []
    for asked in (*_QUESTIONS, "around"):
        lines = [row for _, question, row in sorted(rows, key=lambda one: one[0]) if question == asked]
        parts.append(block([bold(both(said(f"sheet_{asked.lower()}"))), *lines], "asks"))
    header = [both(said(f"column_{column}")) for column in ("notebook", "afterwards")]
    table = ui.details(both(said("afterwards")), ui.table(header, outcomes))
    return bilingual(ui.card(block(parts, "sheet"), table, head=[bold(both(said("sheet")))]))


def _row(name: str, question: Words, note: Words, address: str = "") -> tuple[str, Cell]:
    """The question of the sheet that a notebook answers, and its line."""
    english = question.en.split(": ", 1)[-1]
    words = Words(en=english[:1].upper() + english[1:], zh=question.zh.split("：", 1)[-1])
    title = ui.link(both(words), address) if address else ui.dim(both(words))
    line = block(join([tag("span", name[:2], "mono"), title, ui.dim(both(note))], apart()), "lesson")
    return question.en[:2] if question.en[:2] in _QUESTIONS else "around", line


def draw_flips(fmt: Format, value: float) -> Drawing:
    """A code of `fmt`, of at most 8 bits, as bits that flip on the page, with its value in decimal."""
    codes = [number_text(exact.decode(fmt, code).value, 10) for code in range(2**fmt.bits)]
    code, boxes = int(fmt.encode(np.float64(value))), ""
    for at, kind in enumerate(kind for kind, width in fmt.fields for _ in range(width)):
        place = fmt.bits - 1 - at
        checked = " checked" if code >> place & 1 else ""
        boxes += f'<label class="{kind}"><input type="checkbox" aria-label="bit {place}, {kind}"{checked}></label>'
    words = [tag("span", hex_text(fmt, code), "mono trt-code"), tag("b", codes[code], "trt-value")]
    now = tag("div", join(words, " = "))
    parts = Cell(html=f'<div class="flips">{boxes}</div>{now.html}', text=now.text)
    flips = tag("div", parts, "trt-flips", data_values=" ".join(codes))
    head = [bold(both(said("flip_a_bit"))), ui.dim(fmt.name.replace("_", " "))]
    return bilingual(ui.card(flips, head=head, foot=[both(said("flip_more"))]))


def draw_build(report: BuildReport) -> Drawing:
    """How many kernels the builder made of how many nodes: to be guessed, then opened."""
    asks = bold(both(said("nodes_to_kernels", model=report.model_name, n=report.onnx_nodes)))
    rows = [(ui.code(kernel.name), merged_nodes(kernel)) for kernel in report.kernels]
    answer = bold(both(said("kernels", n=len(report.kernels))))
    opened = ui.details(both(said("guess_then_open")), answer, ui.table(("kernel", "ONNX nodes"), rows))
    made, head = [report.provenance], [bold(both(said("real_build"))), ui.dim(report.compiler)]
    return bilingual(ui.card(block(asks), opened, head=head, made=made))


def draw_diagram(name: str) -> SvgDrawing:
    """A diagram by name, with its words. KeyError names the known ones."""
    if name not in DIAGRAMS:
        raise KeyError(f"no diagram {name!r}; there are {', '.join(DIAGRAMS)}")
    folder = resources.files("trtlab") / "data"
    picture = (folder / f"{name}.svg").read_text("utf-8")
    words = ui.details("The picture in words", *diagram_lines(picture))
    smallest = min(map(float, re.findall(r'font-size="(.*?)"', picture)))
    narrowest = f'<svg style="min-width: {svg.size_of(picture)[0] * SMALLEST_PX / smallest:.0f}px" '
    said = ui.stack([svg.shown(picture.replace("<svg ", narrowest, 1), "diagram"), words])
    return svg.drawing(said, picture, (folder / f"{name}.png").read_bytes())


def diagram_lines(picture: str) -> list[str]:
    """The words of a picture: a line for each group of the file, its texts apart by a point."""
    group, text = (f"{{http://www.w3.org/2000/svg}}{name}" for name in ("g", "text"))
    groups = [list(each.iter(text)) for each in ElementTree.fromstring(picture).findall(group)]
    return [" · ".join(" ".join("".join(one.itertext()).split()) for one in texts) for texts in groups if texts]
