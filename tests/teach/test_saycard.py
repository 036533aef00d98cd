"""The "Say it" card without a browser: what it holds, in which order, in both languages, and that nothing gets in."""

import re

import pytest

from trtlab.study import bank
from trtlab.study.bank import BadEntry, UnknownEntry
from trtlab.study.questions import Question, question, questions
from trtlab.teach import say

from .markup import alike, shown

NAMES = ("id", "name", "for")


def markup(name="Q3-01"):
    return say(name)._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("name", questions())
def test_every_card_reads_without_style_and_cannot_disturb_another(name):
    asked = question(name)
    page = alike(
        say(name), *(text.replace("`", "") for rung in asked.follow_ups for text in (rung.question.en, rung.answer.zh))
    )
    assert [attributes for _, attributes in page.tags if set(attributes) & set(NAMES)] == []
    assert not re.search(r"<link|@import|url\(|\ssrc=", markup(name))


def test_without_styles_everything_reads_in_order_and_in_both_languages():
    asked, words = question("Q3-01"), shown(markup())
    parts = [
        "Q3-01 · junior · workflow", asked.question.en, asked.question.zh, "1. The 60-second answer",
        asked.answer.en.splitlines()[0], asked.answer.zh.splitlines()[0], "2. Follow-up questions / 追问 · 3",
        f"1/3: {asked.follow_ups[0].question.en} / {asked.follow_ups[0].question.zh}", asked.follow_ups[0].answer.zh,
        asked.follow_ups[2].answer.en, f"Often said: {asked.mistakes[0].said.en}", f"其实：{asked.mistakes[2].why.zh}",
        "Say now: 11 and RTX 1.7", "create_network(1 << int(EXPLICIT_BATCH))",
        asked.sources[0].removeprefix("https://"), 'claim("C73"), claim("C74")',
    ]  # fmt: skip
    places = [words.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert words.count("execute_async_v2(bindings, stream)") == 2  # its cell differs between the languages


def test_code_in_a_source_is_code():
    assert "<code>__myelin_CASK_STUB</code>" in markup("Q2-38")


def test_steps_are_closed():
    page = re.sub(r"<style>.*?</style>", "", markup(), flags=re.DOTALL)
    assert page.count("<details") == 1 + 5 + 3  # clock, steps, follow-ups
    assert "<details open" not in page


OWN = """
Q9-01:
  topic: my own
  level: mid
  question: {en: Why is a plan tied to one GPU?}
  answer: {en: "%s"}
  mistakes:
    - {said: {en: It is not.}, why: {zh: 它是。}}
""" % ("I say it. " * 40)


def test_ones_own_question_is_shown_without_what_is_not_written_yet():
    for own in (OWN, next(iter(bank.entries_in(OWN, "x", Question).values()))):
        page = alike(say(own), "Why is a plan tied to one GPU?", "（暂无中文）It is not.", "(no English yet) 它是。")
        assert sum(name == "details" for name, _ in page.tags) == 1 + 2  # the clock, the answer and the mistakes
    with pytest.raises(BadEntry, match=r"your text, Q9-01, level: .*junior, mid, senior"):
        say(OWN.replace("mid", "expert"))


def test_an_unknown_question_names_close_ones():
    with pytest.raises(UnknownEntry, match=r"'Q3-11'; did you mean .*Q3-01"):
        say("Q3-11")
    with pytest.raises(UnknownEntry, match="there is no question '3'"):
        say(3)
