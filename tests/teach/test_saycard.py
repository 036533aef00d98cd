"""The "Say it" card without a browser: what it holds, in which order, in both languages, and that nothing gets in."""

import dataclasses
import html
import re
from html.parser import HTMLParser

import pytest

from trtlab.study.questions import Text, load_questions, question
from trtlab.teach import say, saycard

BANK = load_questions()


def markup(name="Q3-01", **options):
    return say(name, **options)._repr_mimebundle_()["text/html"]


def stripped(page):
    """What is left where styles and scripts are removed, as on GitHub: the words, in order."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


VOID = {"input", "br"}


class Tags(HTMLParser):
    """Every tag is closed in order; the ids and names that could clash are collected."""

    def __init__(self, page):
        super().__init__()
        self.open, self.clashing = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.clashing += [value for name, value in attributes if name in {"id", "name", "for"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("entry", BANK, ids=lambda entry: entry.id)
def test_every_card_is_well_formed_and_cannot_disturb_another(entry):
    page = Tags(markup(entry.id))
    assert page.open == []
    assert page.clashing == []


def test_without_styles_everything_reads_in_order_and_in_both_languages():
    asked, words = question("Q3-01"), stripped(markup())
    parts = [
        "Q3-01",
        "junior",
        asked.question.en,
        asked.question.zh,
        "The 60-second answer",
        asked.answer.en.splitlines()[0],
        asked.answer.zh.splitlines()[0],
        asked.follow_ups[0].question.en,
        asked.follow_ups[0].answer.zh,
        asked.follow_ups[2].answer.en,
        asked.mistakes[0].said.en,
        asked.mistakes[2].why.zh,
        "Say now: 11 and RTX 1.7",
        "create_network(1 << int(EXPLICIT_BATCH))",
        asked.sources[0].removeprefix("https://"),
        'claim("C73")',
    ]
    places = [words.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert words.startswith("Q3-01 junior workflow English / 中文 ")
    assert words.count("execute_async_v2(bindings, stream)") == 2  # its cell differs between the languages
    assert stripped(markup("Q3-04")).count("set_tensor_address(name, ptr)") == 2  # two cells, each once


def test_steps_are_closed_and_each_language_is_marked():
    page = re.sub(r"<style>.*?</style>", "", markup(), flags=re.DOTALL)
    assert page.count("<details") == 1 + 5 + 3  # clock, steps, follow-ups
    assert "<details open" not in page
    languages = re.findall(r'class="(?:spoken )?(en|zh)" lang="(en|zh-CN)"', page)
    assert languages.count(("en", "en")) == languages.count(("zh", "zh-CN")) == len(languages) / 2
    assert len(languages) > 60


def test_the_language_at_first_is_the_caller_s():
    assert " checked>" not in markup()
    assert " checked>" in markup(language="zh")
    assert question("Q3-01").answer.zh in say("Q3-01", language="zh").text
    assert question("Q3-01").answer.en not in say("Q3-01", language="zh").text


def test_the_text_form_has_everything():
    asked, text = question("Q3-03"), say("Q3-03").text
    assert asked.answer.en in text
    for rung in asked.follow_ups:
        assert f"- {rung.question.en}\n    {rung.answer.en}" in text
    for mistake in asked.mistakes:
        assert f"- Often said: {mistake.said.en}\n    In fact: {mistake.why.en}" in text
    assert "Said for TensorRT 8: implicit with `max_batch_size`, or explicit" in text
    assert text.endswith("C83, C91")


def test_nothing_of_the_bank_is_markup(monkeypatch):
    bad = "<img src=x onerror=alert(1)> & `<b>`"
    asked = dataclasses.replace(
        question("Q3-01"), question=Text(en=bad, zh=bad), topic=bad, sources=(f'https://x/"{bad}',), proofs=(bad,)
    )
    monkeypatch.setattr(saycard, "question", lambda _: asked)
    page = markup()
    assert "<img" not in page
    assert "<b>`" not in page
    assert "<code>&lt;b&gt;</code>" in page
    assert Tags(page).open == []


def test_nothing_is_loaded_from_elsewhere():
    page = markup()
    assert not re.search(r"<script|<link|@import|url\(|\ssrc=", page)


def test_clear_errors():
    with pytest.raises(LookupError, match="no question has the id 'Q3-11'; close ones are Q3-01"):
        say("Q3-11")
    with pytest.raises(ValueError, match="the cards speak en and zh: got language='de'"):
        say("Q3-01", language="de")
