"""The notebooks as files: what every lesson has, and that all items of the sheet are answered. CI executes them too."""

import functools
import json
import pkgutil
import re
from pathlib import Path

import pytest

from tools.publish import SIZE_LIMIT_BYTES
from trtlab.study.claims import claims
from trtlab.study.curriculum import LESSONS
from trtlab.study.questions import questions
from trtlab.study.quiz import quizzes

from .teach.markup import faults

FOLDER = Path(__file__).parents[1] / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CELL = 15


@functools.cache
def parsed(book):
    return json.loads(book.read_text("utf-8"))


def cells(book, kind):
    return ["".join(cell["source"]) for cell in parsed(book)["cells"] if cell["cell_type"] == kind]


every_book = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)


@every_book
def test_anatomy(book):
    code, prose = cells(book, "code"), "\n".join(cells(book, "markdown"))
    assert all(cell.count("\n") < LONGEST_CELL for cell in code)
    assert not any(re.search(r'(?m)^(teach\.)?guess\("', cell) for cell in code)  # a value asked for is measured
    assert not any(re.search(r"\bgo\.Figure|\bpx\.|plotly", cell) for cell in code)
    parts = ("**Ask.**", "Break it", "Takeaway", "Check yourself", "Afterwards you can", "minutes")
    assert [part for part in parts if part not in prose] == []
    assert not any(re.match(r"(import|from) ", line) for cell in code[1:] for line in cell.splitlines())


@every_book
def test_saved_outputs_are_those_of_one_clean_run(book):
    notebook = parsed(book)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not {"error", "stderr"} & {output.get("name", output["output_type"]) for output in outputs}
    assert "widgets" not in notebook["metadata"]
    assert book.stat().st_size < SIZE_LIMIT_BYTES


@every_book
def test_saved_outputs_read_without_style(book):
    """Pages that drop style sheets, classes, scripts and SVG show the words of the text form, each piece apart."""
    cells = parsed(book)["cells"]
    shown = [(n, o.get("data", {})) for n, cell in enumerate(cells) for o in cell.get("outputs", [])]
    both = [(n, *("".join(data.get(f"text/{kind}", "")) for kind in ("html", "plain"))) for n, data in shown]
    found = [(n, faults(html, text)) for n, html, text in both if html]
    assert [(f"cell {n}", some[:3]) for n, some in found if some] == []
    assert [n for n, data in shown if "image/svg+xml" in data and "image/png" not in data] == []


def test_nothing_names_a_notebook_that_is_not_there_and_the_readme_names_all():
    top = FOLDER.parent
    pages = [*top.glob("*.md"), *(top / "trtlab" / "data").glob("*.svg")]
    texts = {path.name: path.read_text("utf-8") for path in pages} | {
        b.stem: "\n".join(cells(b, "markdown")) for b in BOOKS
    }
    named = {(page, name) for page, text in texts.items() for name in re.findall(r"\b(?:0\d|10)_[a-z]\w+", text)}
    assert {(page, name) for page, name in named if not (FOLDER / f"{name}.ipynb").exists()} == set()
    assert {name for page, name in named if page == "README.md"} == {book.stem for book in BOOKS}


LINK = re.compile(r"\]\(((?:\w+\.ipynb)?)(?:#([^)]+))?\)")


@every_book
def test_links_lead_to_notebooks_and_places_that_are_there(book):
    """A place is a heading in plain letters, or `cell-id=` and the id of a cell that begins with one."""
    for name, place in LINK.findall("\n".join(cells(book, "markdown"))):
        target = parsed(FOLDER / (name or book.name))["cells"]
        titles = [line for cell in target for line in cell["source"] if re.match("#+ ", line)]
        named = {f"cell-id={cell['id']}" for cell in target if cell["source"] and cell["source"][0] in titles}
        named |= {title.lstrip("# ").strip().replace(" ", "-") for title in titles if title.isascii()}
        assert not place or place in named, f"{name}#{place}"


WORDS_A_MINUTE, MINUTES_A_CELL, LONGEST_CORE = 180, 0.5, 45
HEADING = re.compile(r"(?m)^(?=#{1,3} )")
PRACTICE = ("Say it", "Check yourself", "On one page", "TensorRT against")


def minutes(book):
    """Honest minutes of the core and of the rest: English words of cells and outputs, cards included, and some time for
    each cell. A part runs from one heading to the next, and says of itself what it is."""
    taken, kind = {"core": 0.0, "deeper": 0.0, "practice": 0.0}, "core"
    for cell in parsed(book)["cells"]:
        texts = [
            HEADING.split("".join(cell["source"])) if cell["cell_type"] == "markdown" else ["".join(cell["source"])]
        ]
        texts += [["".join(o.get("data", {}).get("text/plain", o.get("text", "")))] for o in cell.get("outputs", [])]
        for number, text in enumerate(part for parts in texts for part in parts if part):
            if cell["cell_type"] == "markdown" and (title := re.match(r"#+ (.*)", text)):
                tag = re.search(r" · (core|deeper)$", title[1])
                kind = tag[1] if tag else "practice" if title[1].startswith(PRACTICE) else kind
            latin = re.findall(r"[A-Za-z0-9_'.-]+", text)
            taken[kind] += len(latin) / WORDS_A_MINUTE + (MINUTES_A_CELL if number == 0 else 0)
    return taken


@every_book
def test_the_core_of_a_lesson_is_read_in_45_minutes_and_the_map_says_how_long(book):
    taken = minutes(book)
    print(book.stem, {kind: round(value) for kind, value in taken.items()})
    (lesson,) = (one for one in LESSONS if one.name == book.stem)
    assert taken["core"] <= LONGEST_CORE
    assert abs(lesson.minutes - taken["core"]) <= 5
    assert f"{lesson.minutes} minutes" in cells(book, "markdown")[0]
    parts = [line for cell in cells(book, "markdown")[1:] for line in cell.splitlines() if line.startswith("## ")]
    assert [
        line for line in parts if not line.endswith((" · core", " · deeper")) and not line[3:].startswith(PRACTICE)
    ] == []


def used(pattern, books=BOOKS):
    """What these notebooks' cells use, by a pattern with one group."""
    source = "\n".join(cell for book in books for cell in cells(book, "code"))
    return re.findall(pattern, source)


def test_every_question_and_quiz_stands_in_exactly_one_lesson_and_every_claim_in_one():
    assert sorted(used(r"\bsay\(\"(.*?)\"")) == sorted(questions())
    assert sorted(used(r"\b(?:quiz|draw_door)\([^\"\n]*\"(.*?)\"")) == sorted(quizzes())
    assert sorted(set(used(r"\"(C\d\d)\""))) == list(claims())


@every_book
def test_claims_stand_where_their_thing_is_shown_not_in_walls(book):
    """At most four between two other cells."""
    longest, row = 0, 0
    for cell in parsed(book)["cells"]:
        source = "".join(cell["source"])
        found = re.findall(r"\"C\d\d\"", source) if cell["cell_type"] == "code" and "claim" in source else []
        row = row + len(found) if found else 0
        longest = max(longest, row)
    assert longest <= 4


ROOT = FOLDER.parent
WRITTEN = [*ROOT.glob("*.md"), *(ROOT / "trtlab" / "study" / "words").rglob("*.yaml")]
NAME, FILE = r"\btrtlab(?:\.[A-Za-z_]\w*)+", r"`((?:trtlab|tools|tests|notebooks)/[\w./*]+)`"


def test_names_and_files_of_ours_that_guides_and_words_speak_of_are_there():
    texts = [(path.name, path.read_text("utf-8")) for path in WRITTEN]
    names = {(file, name) for file, text in texts for name in re.findall(NAME, text)}
    files = {(file, name) for file, text in texts for name in re.findall(FILE, text) if "NN_" not in name}
    assert len(names) > 3 < len(files)
    for _, name in sorted(names):
        pkgutil.resolve_name(name)
    assert [pair for pair in sorted(files) if not any(ROOT.glob(pair[1]))] == []
