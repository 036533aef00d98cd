"""The quiz card: what Python tells the page, and what is left of it where no kernel runs."""

from html.parser import HTMLParser

import pytest

from trtlab.engine.measure import live
from trtlab.study import quizzes
from trtlab.study.quiz import Choice, NotAnAnswer, Option, Truth
from trtlab.teach import QuizCard, quiz
from trtlab.teach.quizcard import code_spans

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


def test_replies_reach_python_and_every_try_is_kept(card):
    assert (card.reply, card.result, card.attempts) == (None, None, ())
    send(card, what="check", reply=WRONG)
    assert (card.reply, card.result.correct, card.feedback["verdict"]) == (WRONG, False, "wrong")
    send(card, what="check", reply="execute")
    assert set(card.feedback["marks"]) == {WRONG, "execute"}
    send(card, what="check", reply=RIGHT)
    assert [result.reply for result in card.attempts] == [WRONG, "execute", RIGHT]
    assert card.result.correct
    assert len(card.feedback["marks"]) == len(card.quiz.options)
    assert "execute_v2" in card.feedback["answer"]["evidence"]
    assert "def calls_that_run" in card.feedback["answer"]["code"]


def test_the_answer_is_shown_only_after_a_try(card):
    send(card, what="answer")
    assert "answer" not in card.feedback
    send(card, what="check", reply=WRONG)
    send(card, what="answer")
    assert card.feedback["verdict"] == "shown"
    assert card.feedback["answer"]["text"] == "`execute_v2(bindings)`"
    assert not card.result.correct
    send(card, what="again")
    assert card.feedback == {"attempts": 0, "serial": card.feedback["serial"]}
    assert len(card.attempts) == 1
    send(card, what="answer")
    assert "answer" not in card.feedback


def test_what_cannot_be_graded_is_said_and_counts_as_no_attempt(card):
    send(card, what="check", reply="")
    assert (card.feedback["verdict"], card.feedback["says"]) == ("unread", "Choose an option first.")
    assert card.attempts == ()
    with pytest.raises(NotAnAnswer):
        card.check("nothing of the kind")
    for nonsense in ({}, {"what": "dance"}):
        send(card, **nonsense)
    assert card.attempts == ()


def test_the_same_verdict_twice_is_a_change(card):
    first = card.check(WRONG) and card.feedback
    card.check(WRONG)
    assert card.feedback != first


def test_an_observer_hears_of_results(card):
    heard = []
    card.observe(lambda change: heard.append(change.new.correct), "result")
    card.check(WRONG)
    card.check(RIGHT)
    assert heard == [False, True]


def test_an_unknown_name_says_which_are_close():
    with pytest.raises(quizzes.UnknownQuiz, match="Did you mean q3-workspace"):
        quiz("q3-worksapce")


class Outline(HTMLParser):
    """Text outside and inside <details>, and whether every tag is closed."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.outside, self.inside = [], "", ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert not (tag == "details" and attrs), "closed at rest"
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "details" in self.open:
            self.inside += data
        elif "style" not in self.open:
            self.outside += data


@pytest.mark.parametrize("name", quizzes.names())
def test_the_static_form_asks_openly_and_answers_inside_details(name):
    card = quiz(name)
    data = card._repr_mimebundle_()
    outline = Outline((data[0] if isinstance(data, tuple) else data)["text/html"])
    assert outline.open == []
    assert card.quiz.question.replace("`", "") in outline.outside
    assert card.quiz.explanation.replace("`", "") in outline.inside
    assert card.quiz.truth.provenance.line() in outline.inside
    for mark in card.quiz.answer_marks:
        assert mark.why.replace("`", "") in outline.inside
        assert mark.why == "" or mark.why.replace("`", "") not in outline.outside
    assert card.quiz.question in card.static().text


@pytest.mark.parametrize("name", [n for n in quizzes.names() if hasattr(quizzes.load(n), "shown")])
def test_static_and_live_forms_show_the_same_order(name):
    card = quiz(name)
    texts = [option["text"].replace("`", "") for option in card.face["options"]]
    places = [Outline(card.static().html).outside.index(text) for text in texts]
    assert places == sorted(places)


def test_names_from_models_cannot_inject_markup():
    nasty = "<img src=x onerror=alert(1)>"
    options = (Option(key="a", text=nasty, why=nasty), Option(key="b", text="b", why="b"))
    truth = Truth(value="a", evidence=nasty, provenance=live())
    made = Choice(name=nasty, question=nasty, explanation=f"`{nasty}`", truth=truth, options=options)
    assert "<img" not in QuizCard(made).static().html
    assert code_spans("a `<b>` c") == "a <code>&lt;b&gt;</code> c"
    assert quiz(made).check("a").correct
