"""The quiz card: what Python tells the page, and what is left of it where no kernel runs."""

import pytest

from trtlab.engine.measure import live
from trtlab.study import quizzes
from trtlab.study.bank import UnknownEntry, Words
from trtlab.study.found import Found
from trtlab.study.quiz import Choice, NotAnAnswer, Option
from trtlab.teach import QuizCard, quiz

from .markup import EVIL, alike, read, shown

RIGHT, WRONG = "execute_v2", "execute_async_v2"


@pytest.fixture
def card():
    return quiz("q3-sync-call")


def send(card, **message):
    """As the page sends it."""
    card._handle_custom_msg(message, [])


def test_the_page_learns_no_answer_before_the_end(card):
    assert "never removed" not in str(card.face) + str(card.feedback)
    send(card, what="check", reply=WRONG)
    assert card.feedback["answer"] is None
    assert set(card.feedback["marks"]) == {WRONG}


def test_the_page_learns_everything_in_both_languages(card):
    send(card, what="check", reply=RIGHT)
    words = [card.face[key] for key in ("question", "asks", "how")] + [*card.face["words"].values()]
    words += [card.feedback[key] for key in ("headline", "says", "tries")] + [card.feedback["answer"]["evidence"]]
    words += [mark["why"] for mark in card.feedback["marks"].values()]
    assert all(set(found) == {"en", "zh"} and found["en"] != found["zh"] for found in words)


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
    assert "execute_v2" in card.feedback["answer"]["evidence"]["en"]
    assert card.feedback["answer"]["code"].startswith("def there(")
    assert "owner='IExecutionContext'" in card.feedback["answer"]["where"]


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
    assert card.feedback["says"] == {"en": "Choose an option first.", "zh": "请先选一项。"}
    with pytest.raises(NotAnAnswer):
        card.check("nothing of the kind")
    for nonsense in ({}, {"what": "dance"}):
        send(card, **nonsense)
    assert card.attempts == ()


def test_the_same_verdict_twice_is_a_change(card):
    first = card.check(WRONG) and card.feedback
    card.check(WRONG)
    assert card.feedback != first


def test_an_unknown_name_says_which_are_close():
    with pytest.raises(UnknownEntry, match="did you mean q3-workspace"):
        quiz("q3-worksapce")


@pytest.mark.parametrize("name", quizzes.names())
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
    places = [openly.index(plain(option["text"]["en"])) for option in card.face["options"]]
    assert places == sorted(places)


def plain(text):
    return text.replace("`", "")


def test_names_from_models_cannot_inject_markup():
    evil = Words(en=EVIL, zh=EVIL)
    options = (Option(key="a", text=evil, why=evil), Option(key="b", text=Words(en="b", zh="b"), why=evil))
    truth = Found(value="a", provenance=live())
    made = Choice(name=EVIL, question=evil, explanation=evil, evidence=evil, truth=truth, options=options)
    assert read(QuizCard(made).static()).count("img") == 0
    assert quiz(made).check("a").correct
