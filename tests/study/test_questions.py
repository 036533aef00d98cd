"""The question bank: what is in it, and every way in which a file of the bank can break its schema."""

import copy
import dataclasses
import itertools
import re

import pytest
import yaml

from trtlab.study import bank
from trtlab.study.bank import BadEntry, UnknownEntry, Words
from trtlab.study.claims import claims, find_claim
from trtlab.study.questions import Level, Question, question, questions, spoken_size
from trtlab.study.quiz import load_quiz, quizzes

GOOD = {
    "topic": "tests",
    "level": "mid",
    "question": {"en": "Why?", "zh": "为什么？"},
    "answer": {"en": "word " * 120, "zh": "字" * 200},
    "follow_ups": [{"question": {"en": "And?", "zh": "然后？"}, "answer": {"en": "So.", "zh": "如此。"}}],
    "mistakes": [{"said": {"en": "No.", "zh": "不。"}, "why": {"en": "Yes.", "zh": "是。"}}],
    "changes": [{"topic": "A", "trt8": "b", "trt10": "c", "now": {"en": "d", "zh": "丁"}}],
    "sources": ["https://example.org/page"],
    "proofs": ["C74", "C75"],
}


def read(change=lambda _: None, name="Q9-01"):
    """The question that GOOD becomes by `change`, read from a file called test.yaml."""
    entry = copy.deepcopy(GOOD)
    change(entry)
    return bank.entries_in(yaml.safe_dump({name: entry}, allow_unicode=True), "test.yaml", Question)[name]


def texts(value):
    """All Words inside a record."""
    if isinstance(value, Words):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name))


@pytest.mark.parametrize("entry", questions().values(), ids=lambda entry: entry.name)
def test_a_question_leads_on_corrects_is_proved_and_its_answer_is_spoken(entry):
    """First person, short sentences, no code; about 60 seconds aloud."""
    assert 100 <= spoken_size(entry.answer.en, "en") <= 160
    assert 160 <= spoken_size(entry.answer.zh, "zh") <= 340
    assert min(map(len, (entry.follow_ups, entry.mistakes, entry.changes))) >= 3
    assert len(entry.sources) >= 2
    assert [find_claim(name).name for name in entry.proofs] == list(entry.proofs)
    assert re.search(r"\bI\b", entry.answer.en)
    assert "我" in entry.answer.zh
    assert "`" not in entry.answer.en + entry.answer.zh
    assert max(len(sentence.split()) for sentence in re.split(r"[.?!:;]\s", entry.answer.en)) <= 28


def test_the_questions_are_there_in_order_of_every_level_and_use_every_claim_of_their_topic():
    for file in sorted((bank.WORDS / "questions").glob("*.yaml")):  # one part of the sheet, numbered on from its first
        names = list(bank.entries_in(file.read_text(encoding="utf-8"), file.name, Question))
        assert names == [f"{names[0][:3]}{int(names[0][3:]) + place:02}" for place in range(len(names))], file.name
    for topic, about in (("Q1-", range(1, 24)), ("Q2-", range(24, 70)), ("Q3-", range(70, 92))):
        asked = [entry for entry in questions().values() if entry.name.startswith(topic)]
        assert {entry.level for entry in asked} == set(Level)
        assert {name for entry in asked for name in entry.proofs} == {f"C{number:02}" for number in about}


def numbers(text):
    """Versions and numbers above nine, which nobody spells out."""
    found = re.findall(r"(?<![A-Za-z_.\d{])\d+(?:[.,]\d+)*", text)
    return {number for number in found if not number.isdigit() or int(number) > 9}


@pytest.mark.parametrize("bank_of", [questions, quizzes, claims])
def test_both_languages_are_there_and_name_the_same_code_facts_and_numbers(bank_of):
    """What stands in one language only is a slip."""
    for text in itertools.chain.from_iterable(map(texts, bank_of().values())):
        assert text.en.count("`") % 2 == 0, text
        for what in (r"`[^`]+`", r"\{[^}]+\}"):
            assert sorted(re.findall(what, text.en)) == sorted(re.findall(what, text.zh)), text
        assert numbers(text.en) == numbers(text.zh), text
        assert not [language for language, mark in bank.MISSING.items() if mark in text[language]], text
        if text.en != text.zh:
            assert not re.search(r"[一-鿿] [一-鿿]", text.zh), f"a line break left a gap: {text}"
            assert not re.search(r"[一-鿿][,;?!]", text.zh), f"ASCII punctuation after a Chinese character: {text}"
    assert all(re.search(r"[一-鿿]", next(texts(entry)).zh) for entry in bank_of().values())


def test_how_long_an_answer_takes():
    assert spoken_size("I call enqueueV3, then I wait.", "en") == 6
    assert spoken_size("我用 enqueueV3，等 2 秒。", "zh") == 4 + 2 + 2


# --- the schema of every file ----------------------------------------------------------------------------------------


def test_a_good_question_is_read_and_a_plain_text_stands_for_both_languages():
    entry = read()
    assert entry.level is Level.MID
    assert entry.changes[0].trt8 == Words(en="b", zh="b")
    assert entry.changes[0].now == Words(en="d", zh="丁")
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "Q3-02"


def test_broken_lines_are_joined_without_gaps_in_chinese_and_blank_lines_part_paragraphs():
    folded = ">-\n      构建器，\n      然后 plan，\n      再\n      运行\n\n      完"
    text = yaml.safe_dump({"Q9-01": GOOD}, allow_unicode=True).replace("为什么？", folded)
    assert bank.entries_in(text, "x.yaml", Question)["Q9-01"].question.zh == "构建器，然后 plan，再运行\n完"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda e: e.update(level="expert"), ["level", "'expert'", "junior, mid, senior"]),
        (lambda e: e.pop("answer"), ["answer", "missing"]),
        (lambda e: e.update(mistake=[]), ["'mistake'", "only topic", "mistakes"]),
        (lambda e: e.update(zzz=1), ["'zzz'", "topic, level"]),
        (lambda e: e.update(topic=8), ["topic", "8", "text"]),
        (lambda e: e.update(question=["a"]), ["question", "a list", "en and zh"]),
        (lambda e: e["question"].update(de="Warum?"), ["question", "de", "en and zh"]),
        (lambda e: e.update(question={}), ["question", "nothing", "en and zh"]),
        (lambda e: e.update(follow_ups=[]), ["follow_ups", "nothing", "at least one"]),
        (lambda e: e["follow_ups"][0]["answer"].update(zh=" "), ["follow_ups[0].answer", "nothing in zh"]),
        (lambda e: e["changes"][0].pop("now"), ["changes[0]", "now", "missing"]),
    ],
)
def test_a_fault_names_file_entry_field_what_was_found_and_what_is_expected(change, parts):
    with pytest.raises(BadEntry) as caught:
        read(change)
    said = str(caught.value)
    assert said.startswith("test.yaml, Q9-01")
    assert [part for part in parts if part not in said] == [], said


@pytest.mark.parametrize(("left_out", "there"), [("zh", "en"), ("en", "zh")])
def test_an_entry_needs_no_second_language_and_what_is_missing_is_shown_as_missing(left_out, there):
    def change(entry):
        for part in (entry["question"], entry["answer"], entry["mistakes"][0]["said"]):
            del part[left_out]

    for words in [read(change).question, read(change).answer, read(change).mistakes[0].said]:
        assert words[left_out] == bank.MISSING[left_out] + words[there]
        assert bank.MISSING[there] not in words[there]
    assert read(change).mistakes[0].why == read().mistakes[0].why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing; expected a table"),
        ("- a", "a list; expected a table"),
        ("sources: {a: b}", "the fields sources; expected a table"),
        ("a: [", r"no readable YAML .*line \d"),
        ("Q9-01: just words", "Q9-01: found 'just words'; expected the fields topic, level"),
        ("a: {}\nb: {}\na: {}", "'a' stands there twice"),
    ],
)
def test_a_file_that_is_no_table_of_entries(text, message):
    with pytest.raises(BadEntry, match=re.compile(rf"^test\.yaml.*{message}", re.DOTALL)):
        bank.entries_in(text, "test.yaml", Question)


def test_a_name_stands_once_in_the_bank(tmp_path, monkeypatch):
    monkeypatch.setattr(bank, "WORDS", tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"Q9-01": GOOD}), encoding="utf-8")
    with pytest.raises(BadEntry, match=r"b\.yaml, Q9-01"):
        bank.read("", Question)


def test_an_entry_is_found_by_its_name_and_an_unknown_one_names_close_ones():
    assert question("q3-01") is question("Q3-01")
    with pytest.raises(UnknownEntry, match=r"'Q3-9'; did you mean .*Q3-0\d"):
        question("q3-9")
    with pytest.raises(UnknownEntry, match="no question 'NONE'"):
        question(None)
    with pytest.raises(UnknownEntry, match=r"'CAFFE'; there are Q1-01, Q1-02"):
        question("caffe")
    with pytest.raises(UnknownEntry, match=r"'q3-stage-oder'; did you mean q3-stage-order"):
        load_quiz("q3-stage-oder")


def test_facts_fill_places_in_each_language():
    words = Words(en="{n} of {what}", zh="{what} {n}")
    assert words.filled({"n": 2, "what": Words(en="kernels", zh="核函数")}) == Words(en="2 of kernels", zh="核函数 2")
    with pytest.raises(KeyError, match="what"):
        words.filled({"n": 2})
