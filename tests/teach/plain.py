"""What a page shows of HTML when it drops style sheets, classes, ids, scripts and SVG, as GitHub does, untrusted
notebooks, and most exports; and whether those words are the words of the text form.

`shown(html)` is such a page as text; `faults(html, text)` lists where the two forms say different things, and where two
pieces of a line touch with no visible mark between them: a real table cell, a list item, a new line, or literal text.
"""

import re
from difflib import SequenceMatcher
from html.parser import HTMLParser

from .markup import read

LINES = """address article aside blockquote br caption dd details div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6
header hr li main ol p pre section summary table tbody thead tr ul"""
BORDERS = dict.fromkeys(LINES.split(), "\n") | {"td": "\t", "th": "\t"}
GONE = {"style", "script", "svg", "template"}
MARK = "·|:;,.+/=→←↔–—()[]?!…✓✗\n\t"
"""What a reader sees between two pieces of a line."""
BETWEEN_WORDS = re.compile(r"[\s·|:;,()\[\]]+")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.touching: list[str] = []
        self._gone = self._pre = 0
        self._pieces = 0  # 1: an element of this line has ended; 2: another has begun, and no word stood between

    def handle_starttag(self, tag, _attributes):
        self._gone += tag in GONE
        self._pre += tag == "pre"
        if tag in BORDERS:
            self._border(tag)
        elif self._pieces:
            self._pieces = 2

    def handle_endtag(self, tag):
        self._gone -= tag in GONE
        self._pre -= tag == "pre"
        if tag in BORDERS:
            self._border(tag)
        else:
            self._pieces = max(self._pieces, 1)

    def _border(self, tag: str) -> None:
        self.parts.append(BORDERS[tag])
        self._pieces = 0

    def handle_data(self, data):
        if self._gone:
            return
        self.parts.append(data if self._pre else re.sub(r"\s+", " ", data))
        if word := data.strip():
            before = "".join(self.parts[:-1]).rstrip(" ")
            if self._pieces == 2 and not self._pre and before[-1:] not in MARK and word[0] not in MARK:
                self.touching.append(f"{before[-30:]!r} and {word[:30]!r}")
            self._pieces = 0


def _read(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    page.close()
    return page


def shown(html: str) -> str:
    """The page as text, a line for each block, a tab between cells."""
    return re.sub(r"\s*\n\s*", "\n", "".join(_read(html).parts)).strip()


def words(text: str) -> list[str]:
    return [word for word in BETWEEN_WORDS.split(text) if word]


def faults(html: str, text: str) -> list[str]:
    """One line for each place where two pieces touch, or where HTML and text say different words."""
    page, said = words(shown(html)), words(text)
    found = [f"no mark between {place}" for place in _read(html).touching]
    for what, a, b, c, d in SequenceMatcher(a=page, b=said, autojunk=False).get_opcodes():
        if what != "equal":
            found.append(f"HTML says {' '.join(page[a:b])[:90]!r}, text says {' '.join(said[c:d])[:90]!r}")
    return found


def alike(drawing, *facts):
    """Assert that HTML and text say the same words, every fact among them, and nothing that runs; returns the page."""
    bundle = drawing._repr_mimebundle_()
    assert faults(bundle["text/html"], bundle["text/plain"]) == []
    said = " ".join(drawing.text.split())
    for fact in facts:
        assert " ".join(str(fact).split()) in said, f"{fact!r} is not in {said[:400]}"
    return read(drawing)
