"""teach/card: one description, two forms; nothing from a model or a log becomes markup; units."""

import re

import pytest

from trtlab.engine.measure import Origin
from trtlab.numeric.units import bytes_text, counted, number_text, power_text, powers, seconds_text
from trtlab.teach import card as cards
from trtlab.teach.card import apart, badge, bold, callout, card, cell, details, join, stack, table, tag

from .markup import EVIL, alike, faults, shown

WORDS = (bold, cards.code, cards.dim, cards.push, badge, callout, cards.pre, lambda word: cards.link(word, word),
         lambda word: tag("i", word, word), lambda word: cards.chips([word, word]),
         lambda word: cards.labelled(word, word), lambda word: details(word, word),
         lambda word: cards.facts((word, word, word, word)), lambda word: table([word], [[word], [bold(word)]]),
         lambda word: badge("kind", word))  # fmt: skip


@pytest.mark.parametrize("make", WORDS)
def test_every_piece_says_its_words_in_both_forms_and_keeps_them_text(make):
    for word in (EVIL, 'a"b', "a'b", "a&b", "<", 3, "x y"):
        page = alike(stack([make(word)]), *[word] * (make is not WORDS[-1]))
        assert page.count("img") == 0


def test_the_stylesheet_speaks_of_nothing_outside_its_cards_and_loads_nothing():
    rules = re.sub(r"/\*.*?\*/|@container [^{]*{|} }", "}", cards.asset("cards.css")).split("}")[:-1]
    heads = [re.sub(r"\([^()]*\)", "", rule.partition("{")[0]) for rule in rules if rule.strip()]
    assert len(heads) > 20
    assert [one for head in heads for one in head.split(",") if ".trt" not in one and "[data-" not in one] == []
    assert not {"url(", "@import"} & {word for rule in rules for word in ("url(", "@import") if word in rule}


def test_a_card_with_all_its_parts():
    body = table(("name", "bytes"), [("a", 1234), (None, 0)])
    drawn = card(
        body, callout("careful"), head=[bold("T"), badge("yes"), cards.push("")], foot=["made here", "by hand"]
    )
    assert drawn.text == "T · yes\nname  bytes\na     1,234\n–     0\ncareful\nmade here\nby hand"
    kinds = [attributes["class"] for name, attributes in alike(drawn).tags if name == "div" and attributes]
    assert kinds == ["trt", "card", "head", "body", "scroll", "why", "foot"]
    assert repr(drawn) == drawn.text
    assert shown(card(head=["alone"]).html) == "alone"


def test_numbers_stand_at_the_right_of_a_column_of_numbers():
    column = ["✓ 1", "-2.5e-07", "2⁻¹⁴", "19 of 32", "1,234", "3.1 µs", "8.00 KiB", "–", "75%", "inf", "exact", "7F"]
    html = table(("n", "words"), [(value, f"{value} or so") for value in column]).html
    assert html.count('<td class="num">') == len(column)
    assert '<th class="num">n</th><th>words</th>' in html


@pytest.mark.parametrize(("count", "more"), [(cards.LONG, 0), (cards.LONG + 1, 1)])
def test_a_long_table_shows_its_first_rows_and_says_how_many_open_on_demand(count, more):
    folded = stack([table(("n", "twice"), [(n, 2 * n) for n in range(count)], fold=True)])
    page = alike(folded)
    assert page.count("details") == bool(more)
    assert (f"{more:,} more row{'s' * (more != 1)}\n" in folded.text) is bool(more)
    assert folded.html.count("<tbody>") == 1 + bool(more)
    assert folded.html.count("<td") == 2 * count


def test_a_table_of_blocks_of_nothing_and_of_ragged_rows():
    assert table(("a", "b"), [(stack(["x", "y"]), "z")]).text == "a      b\nx | y  z"
    assert alike(stack([table(("a", "b"), [])])).words == "a b"
    assert table([""], [["x"]], bare=True).text == "x"
    with pytest.raises(ValueError, match="1 cells under a header of 2"):
        table(("a", "b"), [("1",)])


def test_pieces_are_apart_empty_ones_leave_no_mark_and_an_origin_is_its_word_in_its_colour():
    assert join(["a", "", 7, None], apart()).text == "a · 7 · –"
    assert cell(True).text == "True"
    assert all(f'badge {origin.value}">{origin.value}<' in badge(origin.value).html for origin in Origin)


@pytest.mark.parametrize(
    ("html", "text", "fault"),
    [
        ("<b>yes</b><span>tensorrt</span>", "yes tensorrt", "HTML says 'yestensorrt'"),
        ("<b>1</b> <b>11</b>", "1 11", "no mark between '1' and '11'"),
        ("<i>1</i><i>11</i>", "111", "no mark between"),
        ("<p>one</p><svg><text>two</text></svg>", "one two", "text says 'two'"),
        ("<style>p{}</style><p>one</p>two", "one two", None),
        ("<table><tr><td>1</td><td>11</td></tr></table>", "1  11", None),
        ("<b>a</b><span> · </span><b>b</b>, <i>c</i>", "a · b, c", None),
        ("<pre><span>def</span> <b>f</b></pre>", "def f", None),
    ],
)
def test_the_reader_without_style_finds_what_touches_and_what_differs(html, text, fault):
    found = faults(html, text)
    assert (found == []) if fault is None else any(fault in line for line in found)


SIZES = {
    None: "unknown", 0: "0 B", 1023: "1,023 B", 444_044: "433.64 KiB", 2**20: "1.00 MiB", 5 * 2**40: "5,120.00 GiB",
}  # fmt: skip
TIMES = {
    None: "–", 0.0: "0 µs", 1e-7: "0.1 µs", 0.1234: "123 ms", 0.0045: "4.5 ms", 0.9999: "1,000 ms", 1.234: "1.23 s",
    1234.5: "1,234 s",
}  # fmt: skip


def test_sizes_times_counts_and_powers():
    assert {size: bytes_text(size) for size in SIZES} == SIZES
    assert {seconds: seconds_text(seconds) for seconds in TIMES} == TIMES
    assert (counted(1, "line"), counted(1234, "line")) == ("1 line", "1,234 lines")
    assert [power_text(value) for value in (2.0**-14, 0.125, 65504.0, 3.4e38)] == ["2⁻¹⁴", "0.125", "65,504", "3.4e+38"]
    assert powers("-(1 + 2^-11 + 2^5)") == "-(1 + 2⁻¹¹ + 2⁵)"
    assert [number_text(value) for value in (65504.0, 0.5, 8388608.0, 3.39e38)] == [
        "65,504",
        "0.5",
        "8,388,608",
        "3.39e+38",
    ]
