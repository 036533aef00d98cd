"""The quiz card: what Python tells the page, and what is left of it where no kernel runs."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime

import nbformat
import pytest

from trtlab import teach
from trtlab.study import curriculum
from trtlab.study.bank import BadEntry, UnknownEntry
from trtlab.study.found import computed
from trtlab.study.quiz import NotAnAnswer, QuizError, quizzes
from trtlab.teach import guess, quiz

from .markup import EVIL, alike, shown

RIGHT, WRONG = "execute_v2", "execute_async_v2"


@pytest.fixture
def card():
    return quiz("q3-sync-call")


def test_the_bar_of_a_guess_says_the_same_in_both_forms_and_the_measured_value_once_it_is_known():
    asked = guess("kernels")
    assert "Answer" not in alike(asked.bar(), "kernels", "先猜一猜").words
    alike(asked.bar(7), "kernels", "Answer", 7)
    alike(guess().bar(EVIL), EVIL)


def send(card, **message):
    """As the page sends it."""
    card._handle_custom_msg(message, [])


def test_the_page_learns_no_answer_before_the_end_and_then_all_of_it_in_both_languages(card):
    assert "never removed" not in card.face + str(card.feedback)
    send(card, what="check", reply=WRONG)
    assert card.feedback["answer"] == ""
    assert set(card.feedback["marks"]) == {WRONG}
    send(card, what="check", reply=RIGHT)
    whys = [mark["why"] for mark in card.feedback["marks"].values()]
    for markup in (card.face, *(card.feedback[key] for key in ("told", "tries", "answer")), *whys):
        assert re.search(r'data-zh="[^"]*[一-鿿]', markup)


def test_replies_reach_python_and_every_try_is_kept(card):
    heard = []
    card.observe(lambda change: heard.append(change.new.correct), "result")
    assert (card.reply, card.result, card.attempts) == (None, None, ())
    send(card, what="check", reply=WRONG)
    assert (card.reply, card.result.correct, card.feedback["verdict"]) == (WRONG, False, "wrong")
    send(card, what="check", reply="execute")
    assert set(card.feedback["marks"]) == {WRONG, "execute"}
    send(card, what="check", reply=RIGHT)
    assert [result.reply for result in card.attempts] == [WRONG, "execute", RIGHT]
    assert heard == [False, False, True]
    assert len(card.feedback["marks"]) == len(card.quiz.options)
    answer = shown(card.feedback["answer"])
    assert all(words in answer for words in ("has execute_v2", "\ndef there(", "owner='IExecutionContext'"))


def test_the_answer_is_shown_only_after_a_try(card):
    send(card, what="answer")
    assert "answer" not in card.feedback
    send(card, what="check", reply=WRONG)
    send(card, what="answer")
    assert card.feedback["verdict"] == "shown"
    assert [key for key, mark in card.feedback["marks"].items() if mark["verdict"] == "right"] == [RIGHT]
    assert not card.result.correct
    send(card, what="again")
    assert (card.feedback["attempts"], len(card.attempts)) == (0, 1)
    send(card, what="answer")
    assert "answer" not in card.feedback


def test_what_cannot_be_graded_is_said_and_counts_as_no_attempt(card):
    send(card, what="check", reply="")
    assert card.feedback["verdict"] == "unread"
    assert shown(card.feedback["told"]) == "Choose an option first. / 请先选一项。"
    with pytest.raises(NotAnAnswer):
        card.check("nothing of the kind")
    for nonsense in ({}, {"what": "dance"}):
        send(card, **nonsense)
    assert card.attempts == ()


def test_the_same_verdict_twice_is_a_change_and_an_unknown_name_says_which_are_close(card):
    first = card.check(WRONG) and card.feedback
    card.check(WRONG)
    assert card.feedback != first
    with pytest.raises(UnknownEntry, match="did you mean q3-workspace"):
        quiz("q3-worksapce")


@pytest.mark.parametrize("name", [*quizzes()][3::6])
def test_the_static_form_asks_openly_and_answers_inside_details(name):
    card = quiz(name)
    asked = card.quiz
    alike(card.static(), asked.truth.provenance.line())
    data = card._repr_mimebundle_()
    page = (data[0] if isinstance(data, tuple) else data)["text/html"]
    assert "<details open" not in page
    openly, inside = shown(page).split("Answer and explanations", 1)
    for language in ("en", "zh"):
        assert plain(asked.question[language]) in openly
        assert plain(asked.explanation[language]) in inside
        for mark in asked.answer_marks:
            assert mark.why is None or plain(mark.why[language]) in inside
            assert mark.why is None or plain(mark.why[language]) not in openly
    lines = [line.split(" / ")[0].strip() for line in openly.splitlines()]
    places = [lines.index(plain(option.text.en)) for option in asked.shown]
    assert places == sorted(places)
    assert re.findall(r'<li class="qz-row" data-key="([^"]*)"', card.face) == [option.key for option in asked.shown]


def plain(text):
    return text.replace("`", "")


OWN = """
my-largest:
  kind: choice
  truth: largest
  question: {en: Which is larger?}
  evidence: {en: "{name} reaches {value_of}."}
  explanation: {zh: 指数位多的那个。}
  options:
    - {key: FP16, text: FP16, why: {en: Five exponent bits.}}
    - {key: BF16, text: BF16, why: {en: Eight of them.}}
"""


def largest():
    return computed("BF16", name="BF16", value_of="3.4e38")


def test_a_quiz_is_written_in_a_cell_as_it_would_be_in_the_bank():
    card = quiz(OWN, largest)
    missing = ("（暂无中文）Which is larger?", "(no English yet) 指数")
    alike(card.static(), "Which is larger?", "BF16 reaches 3.4e38.", *missing)
    send(card, what="check", reply="BF16")
    assert (card.quiz.name, card.feedback["verdict"]) == ("my-largest", "right")
    assert "\ndef largest(" in shown(card.feedback["answer"])
    with pytest.raises(BadEntry, match=r"your text, my-largest: .*'explanations'"):
        quiz(OWN.replace("explanation:", "explanations:"), largest)
    for truth, said in (
        (lambda: computed("Float", name="", value_of=""), "'Float' is not among its options"),
        (lambda: computed("BF16", name="BF16"), "no fact fills a place, 'value_of'; the facts are name='BF16'"),
        (lambda: "BF16", r"gave 'BF16'; expected a Found: computed\('BF16'\)"),
    ):
        with pytest.raises(QuizError, match=rf"quiz 'my-largest': .*{said}"):
            quiz(OWN, truth)
    with pytest.raises(TypeError, match=r"the function that finds its answer: quiz\(text, function\)"):
        quiz(OWN)
    with pytest.raises(BadEntry, match="found my-largest, another; expected one entry"):
        quiz(OWN + OWN.replace("my-largest", "another"), largest)


def test_replies_on_the_page_are_kept_and_scored_per_lesson(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTLAB_DATA", str(tmp_path / "new" / "folder"))
    cell = """teach.quiz("q3-sync-call")\nteach.quiz('q3-workspace')\nteach.quiz("q3-two-targets")"""
    for name, cells in (
        ("08_workflow", [nbformat.v4.new_code_cell(cell)]),
        ("00_start_here", [nbformat.v4.new_markdown_cell('`quiz("x")`')]),
    ):
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    assert [*curriculum.scores(tmp_path)] == [("08_workflow", 3, 0, 0, 0)]
    for name, replies in (("q3-sync-call", [WRONG, "", RIGHT, WRONG]), ("q3-two-targets", ["kernels"])):
        for reply in replies:
            send(quiz(name), what="check", reply=reply)
    quiz("q3-workspace").check(quiz("q3-workspace").quiz.shown[0].key)  # by Python: a test, or a cell that is run again
    assert [*curriculum.scores(tmp_path)] == [("08_workflow", 3, 2, 2, 1)]
    alike(teach.draw_progress(tmp_path), "08_workflow", "at once", "一次答对")
    lines = [json.loads(line) for line in curriculum.progress_file().read_text("utf-8").split("\n") if line]
    assert [(line["quiz"], line["right"]) for line in lines][:3] == [
        ("q3-sync-call", False), ("q3-sync-call", True), ("q3-sync-call", False),
    ]  # fmt: skip
    assert datetime.fromisoformat(lines[0]["when"]).tzinfo is not None


def test_no_state_of_the_file_disturbs_a_quiz_or_loses_a_reply(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTLAB_DATA", str(tmp_path))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('teach.quiz("q3-sync-call")')])
    nbformat.write(notebook, tmp_path / "08_workflow.ipynb")
    torn = b'{"quiz": "q3-sync-call", "right": tr'
    curriculum.progress_file().write_bytes(b"\xff\x00 [1]\n[]\n3\n{}\nnull\n" + torn)
    send(quiz("q3-sync-call"), what="check", reply=RIGHT)
    assert curriculum.progress_file().read_bytes().startswith(b"\xff\x00 [1]")
    assert [*curriculum.scores(tmp_path)] == [("08_workflow", 1, 1, 1, 1)]
    curriculum.progress_file().unlink()
    curriculum.progress_file().mkdir()  # nothing can be written or read there
    card = quiz("q3-sync-call")
    send(card, what="check", reply=RIGHT)
    assert card.feedback["verdict"] == "right"
    assert [*curriculum.scores(tmp_path)] == [("08_workflow", 1, 0, 0, 0)]


def test_two_notebooks_that_answer_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTLAB_DATA", str(tmp_path))
    code = "from trtlab.study import curriculum\nfor n in range(300): curriculum.keep_reply(f'q{n}', True)"
    kernels = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [kernel.wait(60) for kernel in kernels] == [0, 0, 0]
    lines = [json.loads(line)["quiz"] for line in curriculum.progress_file().read_text("utf-8").split("\n") if line]
    assert Counter(lines) == {f"q{n}": 3 for n in range(300)}
