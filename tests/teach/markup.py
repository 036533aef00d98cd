"""What a drawing's HTML really contains: parsed with the standard library, tag by tag.

`read(drawing)` -> `Page` with the visible words; AssertionError when tags do not balance, or when anything is there
that runs or loads: scripts, event handlers, links that are not https, frames, pictures from elsewhere.
"""

from dataclasses import dataclass
from html.parser import HTMLParser

from trtlab.teach.bilingual import switch

VOID = {"br", "img"}
RUNS = {"script", "iframe", "object", "embed", "link", "base", "form", "meta"}
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\'"&</td></div>'
"""A name that would break out of any tag, attribute or table cell if it were not escaped."""


@dataclass(frozen=True)
class Page:
    """The visible words, with white space made simple, and every (tag, attributes) met."""

    words: str
    tags: tuple[tuple[str, dict[str, str | None]], ...]

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.words, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        assert tag not in RUNS, f"<{tag}> in the markup"
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            assert not name.startswith("on"), f"<{tag} {name}> in the markup"
            if name in ("href", "src"):
                assert value.startswith("https://") or ":" not in value, f'{name}="{value}"'
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> ends what never began"
        assert self.open.pop() == tag, f"</{tag}> ends something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def read(drawing):
    """Parse what a notebook would show of `drawing`."""
    bundle = drawing._repr_mimebundle_()
    assert {"text/html", "text/plain"} <= set(bundle)
    reader = _Reader()
    reader.feed(bundle["text/html"].replace(switch().html, ""))
    reader.close()
    assert reader.open == []
    return Page(words=" ".join(" ".join(reader.words).split()), tags=tuple(reader.tags))


def said_by_both(drawing, *facts):
    """Assert that HTML and plain text both carry every fact; returns the page."""
    page, text = read(drawing), " ".join(drawing.text.split())
    for fact in facts:
        assert " ".join(str(fact).split()) in page.words, f"{fact!r} is not in the HTML"
        assert " ".join(str(fact).split()) in text, f"{fact!r} is not in the text"
    return page
