"""What a drawing's HTML really contains, and what a page shows of it that drops style sheets, classes, ids, scripts and
SVG, as GitHub does, untrusted notebooks, and most exports.

`read(drawing)` -> `Page`; AssertionError when tags do not balance, or when anything runs or loads: scripts, event
handlers, links that are not https, frames, pictures from elsewhere. `shown(html)` is the page without style as text.
`faults(html, text)` lists where it says other words than the text form, and where two pieces of a line touch with no
visible mark between them: a table cell, a list item, a new line, or literal text. `alike` asserts that there are none.
"""

import html as entities
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from html.parser import HTMLParser

from trtlab.teach.card import alive

VOID = {"br", "img", "hr", "input", "wbr"}
RUNS = {"script", "iframe", "object", "embed", "link", "base", "form", "meta"}
GONE = {"style", "script", "svg", "template"}
LINES = """address article aside blockquote br caption dd details div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6
header hr li main ol p pre section summary table tbody thead tr ul"""
BORDERS = dict.fromkeys(LINES.split(), "\n") | {"td": "\t", "th": "\t"}
MARK = "·|:;,.+/=→←↔–—()[]?!…✓✗\n\t"
"""What a reader sees between two pieces of a line."""
SPOKEN = re.compile(r'<(\w+) data-zh="([^"]*)">(.*?)</\1>', re.DOTALL)
BETWEEN_WORDS = re.compile(r"[\s·|:;,()\[\]]+")
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\'"&</td></div>'
"""A name that would break out of any tag, attribute or table cell if it were not escaped."""


@dataclass(frozen=True)
class Page:
    """All words with white space made simple, what is `shown` without style, the places where pieces touch, and every
    (tag, attributes) met."""

    words: str
    shown: str
    touching: tuple[str, ...]
    tags: tuple[tuple[str, dict[str, str | None]], ...]

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.words, self.parts, self.touching, self.tags = [], [], [], [], []
        self.pieces = 0  # 1: an element of this line has ended; 2: another has begun, and no word stood between

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self.border(tag, 2 * bool(self.pieces))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> ends what never began"
        assert self.open.pop() == tag, f"</{tag}> ends something else"
        self.border(tag, max(self.pieces, 1))

    def border(self, tag, pieces):
        self.pieces = 0 if tag in BORDERS else pieces
        self.parts += [BORDERS[tag]] if tag in BORDERS else []

    def handle_data(self, data):
        self.words += [data] if "style" not in self.open else []
        if GONE & set(self.open):
            return
        before, word, is_code = "".join(self.parts).rstrip(" "), data.strip(), "pre" in self.open
        if word:
            if self.pieces == 2 and not is_code and before[-1:] not in MARK and word[0] not in MARK:
                self.touching.append(f"{before[-30:]!r} and {word[:30]!r}")
            self.pieces = 0
        self.parts.append(data if is_code else re.sub(r"\s+", " ", data))


def page_of(html):
    """Parse markup; what the page makes of attributes is there."""
    reader = _Reader()
    reader.feed(SPOKEN.sub(_spoken, html))
    reader.close()
    assert reader.open == []
    return Page(
        words=" ".join(" ".join(reader.words).split()),
        shown=re.sub(r"\s*\n\s*", "\n", "".join(reader.parts)).strip(),
        touching=tuple(reader.touching),
        tags=tuple(reader.tags),
    )


def read(drawing):
    """Parse what a notebook would show of `drawing`."""
    bundle = drawing._repr_mimebundle_()
    assert {"text/html", "text/plain"} <= set(bundle)
    page = page_of(bundle["text/html"].replace(alive().html, ""))  # the one thing of ours that runs
    for tag, attributes in page.tags:
        assert tag not in RUNS, f"<{tag}> in the markup"
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}> in the markup"
            if name in ("href", "src"):
                assert value.startswith("https://") or ":" not in value, f'{name}="{value}"'
    return page


def _spoken(found):
    name, chinese, english = found.groups()
    pair = (f"<{name}>{words}</{name}>" for words in (english, entities.unescape(chinese)))
    return (" / " if name == "span" else "").join(pair)


def shown(html):
    return page_of(html).shown


def bare(drawing):
    """What is shown of a drawing where attributes are dropped, too."""
    return shown(re.sub(r' data-[\w-]+="[^"]*"', "", drawing._repr_mimebundle_()["text/html"]))


def faults(html, text):
    """One line for each place where two pieces touch, or where HTML without style and text say different words."""
    page = page_of(html)
    seen, said = ([word for word in BETWEEN_WORDS.split(form) if word] for form in (page.shown, text))
    differing = [part for part in SequenceMatcher(a=seen, b=said, autojunk=False).get_opcodes() if part[0] != "equal"]
    return [f"no mark between {place}" for place in page.touching] + [
        f"HTML says {' '.join(seen[a:b])[:90]!r}, text says {' '.join(said[c:d])[:90]!r}" for _, a, b, c, d in differing
    ]


def alike(drawing, *facts):
    """Assert that HTML and text say the same words, every fact among them, and nothing that runs; returns the page."""
    assert faults(drawing._repr_mimebundle_()["text/html"], drawing.text) == []
    said = " ".join(drawing.text.split())
    for fact in facts:
        assert " ".join(str(fact).split()) in said, f"{fact!r} is not in {said[:400]}"
    return read(drawing)
