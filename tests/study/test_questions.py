"""The question bank: what is in it, and every way in which a file can break its schema."""

import copy
import dataclasses
import re

import pytest
import yaml

from trtlab.study.claims import find_claim
from trtlab.study.questions import (
    FOLDER,
    BadQuestion,
    Level,
    Text,
    UnknownQuestion,
    chinese_characters,
    english_words,
    load_questions,
    question,
    questions_in,
)

GOOD = {
    "id": "Q9-01",
    "topic": "tests",
    "level": "mid",
    "question": {"en": "Why?", "zh": "为什么？"},
    "answer": {"en": "word " * 120, "zh": "字" * 200},
    "follow_ups": [{"question": {"en": "And?", "zh": "然后？"}, "answer": {"en": "So.", "zh": "如此。"}}],
    "mistakes": [{"said": {"en": "No.", "zh": "不。"}, "why": {"en": "Yes.", "zh": "是。"}}],
    "changes": [{"topic": "A", "trt8": "b", "trt10": "c", "now": {"en": "d", "zh": "丁"}}],
    "sources": ["https://example.org/page"],
    "proofs": ["C74", "workflow/plan-is-bytes"],
}
BANK = load_questions()
EVERY = pytest.mark.parametrize("entry", BANK, ids=lambda entry: entry.id)


def read(change=lambda _: None):
    """The question that GOOD becomes by `change`, read from a file called test.yaml."""
    entry = copy.deepcopy(GOOD)
    change(entry)
    return questions_in(yaml.safe_dump([entry], allow_unicode=True), "test.yaml")[0]


def test_the_questions_are_there_in_order_and_of_every_level():
    for topic in ("Q1", "Q2", "Q3"):
        found = [entry for entry in BANK if entry.id.startswith(f"{topic}-")]
        assert [entry.id for entry in found] == [f"{topic}-{number:02}" for number in range(1, 9)]
        assert {entry.level for entry in found} == set(Level)


@EVERY
def test_a_question_leads_on_and_corrects(entry):
    assert len(entry.follow_ups) >= 3
    assert len(entry.mistakes) >= 3
    assert len(entry.changes) >= 3
    assert len(entry.sources) >= 2


@EVERY
def test_the_spoken_answer_is_spoken(entry):
    """First person, short sentences, no code."""
    assert re.search(r"\bI\b", entry.answer.en)
    assert "我" in entry.answer.zh
    assert "`" not in entry.answer.en + entry.answer.zh
    sentences = re.split(r"[.?!:;]\s", entry.answer.en)
    assert max(len(sentence.split()) for sentence in sentences) <= 28


@EVERY
def test_code_in_a_text_is_the_same_in_both_languages(entry):
    for text in _texts(entry):
        assert text.en.count("`") % 2 == 0, text.en
        assert sorted(re.findall(r"`[^`]+`", text.en)) == sorted(re.findall(r"`[^`]+`", text.zh)), text


@EVERY
def test_both_languages_name_the_same_numbers(entry):
    """A version, a count or an error number that stands in one language only is a slip."""
    for text in _texts(entry):
        assert _numbers(text.en) == _numbers(text.zh), text


def _numbers(text):
    return {
        number for number in re.findall(r"(?<![A-Za-z_.\d])\d+(?:\.\d+)*", text) if "." in number or int(number) > 9
    }


@EVERY
def test_chinese_is_chinese(entry):
    for text in (entry.question, entry.answer, *(rung.question for rung in entry.follow_ups)):
        assert re.search(r"[一-鿿]", text.zh)
        assert not re.search(r"[一-鿿] [一-鿿]", text.zh), "a line break left a gap"
        assert not re.search(r"[一-鿿][,;?!]", text.zh), "ASCII punctuation after a Chinese character"


@EVERY
def test_every_proof_is_a_claim(entry):
    assert [find_claim(name).name for name in entry.proofs] == list(entry.proofs)


@pytest.mark.parametrize(("topic", "claims"), [("Q1-", range(1, 24)), ("Q2-", range(24, 48)), ("Q3-", range(70, 92))])
def test_together_the_questions_of_a_topic_use_every_claim_about_it(topic, claims):
    used = {name for entry in BANK if entry.id.startswith(topic) for name in entry.proofs}
    assert used == {f"C{number:02}" for number in claims}


def _texts(value):
    """Every Text inside a record."""
    if isinstance(value, Text):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _texts(getattr(value, field.name))


# --- finding one ----------------------------------------------------------------------------------------------------


def test_a_question_is_found_by_its_id_and_cannot_be_changed():
    found = question("Q3-01")
    assert found in BANK
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.id = "Q3-02"


def test_an_unknown_id_names_close_ones():
    with pytest.raises(UnknownQuestion, match=r"no question has the id 'q3-9'; close ones are .*Q3-0\d"):
        question("q3-9")
    with pytest.raises(UnknownQuestion, match=r"'caffe'; there are Q1-01, Q1-02"):
        question("caffe")


# --- the schema -----------------------------------------------------------------------------------------------------


def test_a_good_question_is_read_and_a_plain_text_stands_for_both_languages():
    entry = read()
    assert entry.level is Level.MID
    assert entry.changes[0].trt8 == Text(en="b", zh="b")
    assert entry.changes[0].now == Text(en="d", zh="丁")


def test_broken_lines_are_joined_without_gaps_in_chinese_and_blank_lines_part_paragraphs():
    folded = ">-\n      构建器，\n      然后 plan，\n      再\n      运行\n\n      完"
    text = yaml.safe_dump([GOOD], allow_unicode=True).replace("为什么？", folded)
    assert questions_in(text, "test.yaml")[0].question.zh == "构建器，然后 plan，再运行\n完"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(id="3-1"), "test.yaml, 3-1, id: found '3-1'; expected an id such as Q3-01"),
        (lambda e: e.update(level="expert"), "Q9-01, level: found 'expert'; expected one of junior, mid, senior"),
        (lambda e: e.pop("mistakes"), "Q9-01, mistakes: found nothing; expected this field to be there"),
        (lambda e: e.pop("id"), "question 1 of the file, id: found nothing"),
        (lambda e: e.update(mistake=[]), "Q9-01: found the unknown field 'mistake'; expected 'mistakes'"),
        (lambda e: e.update(zzz=1), "found the unknown field 'zzz'; expected only id, topic"),
        (lambda e: e.update(topic=""), "Q9-01, topic: found nothing; expected text that is not empty"),
        (lambda e: e.update(topic=8), "Q9-01, topic: found 8; expected text that is not empty"),
        (lambda e: e.update(question=["a"]), "Q9-01, question: found a list; expected the fields en, zh"),
        (lambda e: e["question"].pop("zh"), "Q9-01, question.zh: found nothing; expected this field"),
        (lambda e: e.update(follow_ups=[]), "Q9-01, follow_ups: found nothing; expected a list with at least one"),
        (
            lambda e: e["follow_ups"][0]["answer"].update(zh=" "),
            r"Q9-01, follow_ups\[1\].answer.zh: found a text; expected",
        ),
        (lambda e: e["changes"][0].pop("now"), r"Q9-01, changes\[1\].now: found nothing"),
        (
            lambda e: e.update(proofs=["see above"]),
            "Q9-01, proofs: found 'see above'; expected names of claims such as",
        ),
        (
            lambda e: e["answer"].update(en="word " * 99),
            "answer.en: found 99 words; expected 100 to 160 words, about 60",
        ),
        (lambda e: e["answer"].update(en="word " * 161), "answer.en: found 161 words; expected 100 to 160 words"),
        (lambda e: e["answer"].update(zh="字" * 20), "answer.zh: found 20 characters; expected 160 to 340 characters"),
    ],
)
def test_a_fault_names_file_question_field_found_and_expected(change, message):
    with pytest.raises(BadQuestion, match=message):
        read(change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "test.yaml: found nothing; expected a list of questions"),
        ("id: Q9-01", "test.yaml: found fields; expected a list of questions"),
        ("- [", "test.yaml: found no readable YAML .*line 1.*; expected a YAML list of questions"),
        ("- just words", "test.yaml, question 1 of the file: found a text; expected the fields id, topic"),
    ],
)
def test_a_file_that_is_no_list_of_questions(text, message):
    with pytest.raises(BadQuestion, match=re.compile(message, re.DOTALL)):
        questions_in(text, "test.yaml")


def test_an_id_stands_once_in_the_bank(tmp_path, monkeypatch):
    text = (FOLDER / "workflow.yaml").read_text(encoding="utf-8")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr("trtlab.study.questions.FOLDER", tmp_path)
    with pytest.raises(
        BadQuestion, match=r"b.yaml, Q3-01, id: found an id that a.yaml has too; expected an id of its own"
    ):
        load_questions.__wrapped__()


def test_how_long_an_answer_takes():
    assert english_words("I call enqueueV3, then I wait.") == 6
    assert chinese_characters("我用 enqueueV3，等 2 秒。") == 4 + 2 + 2
