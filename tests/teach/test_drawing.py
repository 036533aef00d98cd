"""teach/drawing: the pieces of every card; nothing from a model or a log becomes markup."""

import pytest

from trtlab.engine.measure import Origin, Provenance
from trtlab.teach import drawing
from trtlab.teach.drawing import Drawing, badge, bytes_text, callout, card, chips, details, escape, seconds_text, table

from .markup import EVIL, read, said_by_both


def draw(markup):
    return read(Drawing(html=markup, text=""))


def test_a_drawing_is_html_for_notebooks_and_text_for_everything_else():
    made = Drawing(html="<p>seen</p>", text="read")
    bundle = made._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == repr(made) == "read"
    assert bundle["text/html"].endswith('<div class="trt"><p>seen</p></div>')
    assert ".trt .card" in bundle["text/html"]


def test_the_stylesheet_speaks_of_nothing_outside_its_cards_and_loads_nothing():
    rules = [line for line in card.stylesheet("cards").split("}") if "{" in line]
    assert len(rules) > 20
    for rule in rules:
        for selector in rule.split("{")[0].split(","):
            assert ".trt" in selector, selector
    assert "url(" not in card.stylesheet("cards")
    assert "@import" not in card.stylesheet("cards")


@pytest.mark.parametrize("value", [EVIL, 'a"b', "a'b", "a&b", "<", 3, None])
def test_escaped_text_is_the_same_text(value):
    assert draw(f'<p title="{escape(value)}">{escape(value)}</p>').words == str(value)


@pytest.mark.parametrize(
    "markup",
    [
        badge(EVIL),
        badge("word", EVIL),
        chips([EVIL, EVIL]),
        details(EVIL, "<p>body</p>"),
        card(escape(EVIL), escape(EVIL), foot=escape(EVIL)),
    ],
    ids=["badge", "kind", "chips", "details", "card"],
)
def test_every_piece_keeps_a_hostile_name_as_text(markup):
    page = draw(markup)
    assert page.count("img") == 0


def test_a_badge_says_its_word():
    for origin in Origin:
        assert draw(drawing.origin_badge(origin)).words == origin.value


def test_a_card_without_a_foot_has_none():
    assert draw(card("head", "body")).words == "head body"
    assert draw(card("head", "body", foot="made here")).words == "head body made here"


def test_a_table_in_both_forms():
    header, rows = ("name", "bytes"), [("a", "1"), ("long name", "23")]
    page = said_by_both(Drawing(html=table(header, rows, numeric=(1,)), text=drawing.text_table(header, rows)), *header)
    assert (page.count("tr"), page.count("th"), page.count("td")) == (3, 2, 4)
    assert [attributes for tag, attributes in page.tags if tag in ("th", "td")] == [{}, {"class": "num"}] * 3
    assert drawing.text_table(header, rows).splitlines() == ["name       bytes", "a          1", "long name  23"]


def test_a_table_of_nothing_is_its_header():
    assert draw(table(("a",), [])).words == "a"
    assert drawing.text_table(("a", "b"), []) == "a  b"


def test_rows_that_do_not_fit_are_an_error():
    with pytest.raises((ValueError, IndexError)):
        drawing.text_table(("a", "b"), [("1",)])


def test_a_callout_is_marked_when_it_is_bad():
    assert draw(callout("careful")).tags[-1] == ("div", {"class": "why"})
    assert draw(callout("wrong", bad=True)).tags[-1] == ("div", {"class": "why bad"})


def test_the_provenance_line_is_escaped():
    made = Provenance(origin=Origin.LIVE, device=EVIL, when="2026-11-22", samples=2)
    assert draw(f"<p>{drawing.provenance_line(made)}</p>").words == " ".join(made.line().split())


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "unknown"), (0, "0 B"), (1023, "1,023 B"), (1024, "1.00 KiB"), (444_044, "433.64 KiB"),
        (2**20, "1.00 MiB"), (2**30, "1.00 GiB"), (5 * 2**40, "5,120.00 GiB"),
    ],
)  # fmt: skip
def test_sizes(size, text):
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0, "0 µs"),
        (1e-7, "0.1 µs"),
        (12e-6, "12 µs"),
        (0.1234, "123 ms"),
        (0.0045, "4.5 ms"),
        (1.234, "1.23 s"),
        (0.9999, "1,000 ms"),
        (1234.5, "1,234 s"),
    ],
)
def test_times(seconds, text):
    assert seconds_text(seconds) == text
