"""Quizzes: a malformed one is refused when it is made; replies are graded as a patient examiner would."""

import itertools
import math

import pytest

from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.provenance import Origin, live
from trtlab.study import quizzes
from trtlab.study.quiz import (
    Choice,
    NotAnAnswer,
    Number,
    Option,
    Ordering,
    QuizError,
    Several,
    Slip,
    Step,
    Truth,
    Verdict,
)
from trtlab.study.quizzes import found
from trtlab.study.typed import number_text, readings


def truth(value):
    return Truth(value=value, evidence="looked", provenance=live())


def options(*keys, why="because"):
    return tuple(Option(key=key, text=f"text {key}", why=f"{why} {key}".strip()) for key in keys)


def choice(value="b", **changes):
    values = {"name": "t-choice", "question": "Which?", "explanation": "So it is.", "options": options("a", "b", "c")}
    return Choice(truth=truth(value), **(values | changes))


def several(value=("a", "c"), **changes):
    values = {"name": "t-several", "question": "Which?", "explanation": "So it is.", "options": options(*"abcd")}
    return Several(truth=truth(value), **(values | changes))


def number(value=73.5, **changes):
    values = {"name": "t-number", "question": "How many?", "explanation": "So it is.", "unit": "KiB", "tolerance": 1.0}
    slips = (Slip(value=147.0, why="doubled"), Slip(value=75264.0, why="bytes"))
    return Number(truth=truth(value), **({"slips": slips} | values | changes))


STEPS = (
    Step(key="build", text="Build", needs="parse", why="It reads the network."),
    Step(key="parse", text="Parse", needs="export", why="It reads the file."),
    Step(key="export", text="Export"),
)


def ordering(value=("export", "parse", "build"), steps=STEPS):
    return Ordering(name="t-order", question="Order?", explanation="So it goes.", truth=truth(value), steps=steps)


# --- shape ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: choice(options=options("a", "b", "a")), "duplicate option: key 'a' appears twice"),
        (
            lambda: choice(options=(*options("a", "b"), Option(key="c", text=" TEXT  a", why="x"))),
            "duplicate option: text 'text a'",
        ),
        (lambda: choice(None), "no option is right"),
        (lambda: several(()), "no option is right"),
        (lambda: choice("z"), r"the answer 'z' is not among its options \['a', 'b', 'c'\]"),
        (lambda: several(("a", "z")), "the answer 'z' is not among its options"),
        (
            lambda: choice(options=(*options("a", "b"), Option(key="c", text="c", why=" "))),
            "wrong option 'c' is unexplained",
        ),
        (lambda: choice(options=options("b")), "give at least two"),
        (lambda: choice(options=(*options("a", "b"), Option(key="c", text="", why="x"))), "'c' has no key or no text"),
        (lambda: choice(question=" "), "question is empty"),
        (lambda: number(math.nan), "the truth is nan, no number"),
        (lambda: number("73"), "the truth is '73', no number"),
        (lambda: number(slips=()), "explain at least one typical wrong value"),
        (lambda: number(slips=(Slip(value=74.0, why="x"),)), "slip 74.0 would be graded as right"),
        (lambda: number(slips=(Slip(value=7.0, why=""),)), "slip 7.0 is unexplained"),
        (lambda: number(tolerance=-1), "expected zero or more"),
        (lambda: ordering(("export", "build")), "does not order its options"),
        (lambda: ordering(("export", "build", "parse")), "step 'build' needs 'parse', but comes right after 'export'"),
        (lambda: ordering(("parse", "build", "export")), "step 'parse' needs 'export', but comes first"),
        (
            lambda: ordering(steps=(*STEPS[1:], Step(key="build", text="B", needs="parse"))),
            "step 'build' is unexplained",
        ),
    ],
)
def test_a_malformed_quiz_is_refused_when_it_is_made(make, message):
    with pytest.raises(QuizError, match=message) as error:
        make()
    assert "quiz 't-" in str(error.value)


def test_a_quiz_is_frozen():
    with pytest.raises(AttributeError):
        choice().question = "Another?"


# --- grading ----------------------------------------------------------------------------------------------------


def test_a_choice_says_why_the_chosen_option_is_wrong_and_no_more():
    result = choice().grade("a")
    assert (result.correct, result.explanation) == (False, "because a")
    assert [mark.key for mark in result.marks] == ["a"]
    assert choice().grade("b").explanation == "So it is."
    assert choice().grade("text b").correct


@pytest.mark.parametrize("reply", [None, "", "z", 3])
def test_a_reply_that_is_no_option_is_no_attempt(reply):
    with pytest.raises(NotAnAnswer, match="option"):
        choice().grade(reply)


def test_several_counts_wrong_and_missing_without_naming_the_missing():
    result = several().grade(["a", "b"])
    assert not result.correct
    assert result.headline == "Not yet: 1 of 2 ticked wrongly, 1 missing."
    assert result.explanation == "because b"
    assert {mark.key: mark.verdict for mark in result.marks} == {"a": Verdict.RIGHT, "b": Verdict.WRONG}
    assert several().grade(["c", "a", "a"]).correct
    assert several().grade("a").headline == "Not yet: 1 missing."
    for nothing in (None, [], ""):
        with pytest.raises(NotAnAnswer):
            several().grade(nothing)


@pytest.mark.parametrize(
    "reply",
    [
        "73.5",
        "73,5",
        " 73.5 KiB ",
        "73.5kib",
        "~73.5",
        "75,264 bytes",
        "75264B",
        "75.3 kB",
        "0.0718 MiB",
        73.5,
        74,
        "7.35e1",
    ],
)
def test_a_number_is_understood_as_people_type_it(reply):
    assert number().grade(reply).correct


@pytest.mark.parametrize(
    ("reply", "explanation"),
    [
        ("147", "doubled"),
        ("75264", "bytes"),
        ("75,264", "bytes"),
        ("147,0 KiB", "doubled"),
        ("−73.5", "The size is right, the sign is not."),
        ("80", "Close, but too large."),
        ("30", "It is too small."),
        ("9e9", "Far too large: check the unit, and what is counted."),
        ("0", "Far too small: check the unit, and what is counted."),
    ],
)
def test_a_wrong_number_is_explained(reply, explanation):
    result = number().grade(reply)
    assert (result.correct, result.explanation) == (False, explanation)


@pytest.mark.parametrize(
    "reply", [None, "", "  ", "nan", "inf", math.nan, math.inf, "abc", "1e999", "--3", True, [], "1 2 x"]
)
def test_what_is_no_number_is_no_attempt(reply):
    with pytest.raises(NotAnAnswer, match="number"):
        number().grade(reply)


def test_a_unit_of_another_kind_is_refused():
    with pytest.raises(NotAnAnswer, match="“ms” is no unit for this answer: type the number alone, or in KiB"):
        number().grade("73.5 ms")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,5", (1.5,)),
        ("1.234,5", (1234.5,)),
        ("1,234.5", (1234.5,)),
        ("75,328", (75328.0, 75.328)),
        ("0,328", (0.328,)),
        ("1.234.567", (1234567.0,)),
        ("1 234", (1234.0,)),
        ("−3", (-3.0,)),
        (".5", (0.5,)),
    ],
)
def test_readings(text, values):
    assert readings(text, "") == values


def test_numbers_are_written_short():
    assert [number_text(v, "B") for v in (73.5625, 75328.4, 24, 0.01234)] == ["73.6 B", "75,328 B", "24 B", "0.0123 B"]


def test_an_ordering_says_what_the_first_misplaced_step_needs():
    result = ordering().grade(["export", "build", "parse"])
    assert not result.correct
    assert result.headline == "Not yet. The first is in place."
    assert result.explanation == "“Build” comes too early: it needs “Parse” first. It reads the network."
    assert [mark.key for mark in result.marks] == ["build"]
    assert ordering().grade(("export", "parse", "build")).correct


@pytest.mark.parametrize("reply", [None, [], ["export"], ["export", "export", "parse"], ["export", "parse", "x"]])
def test_an_incomplete_order_is_no_attempt(reply):
    with pytest.raises(NotAnAnswer):
        ordering().grade(reply)


def test_options_are_shuffled_the_same_way_every_time_and_an_order_never_starts_solved():
    assert [option.key for option in choice().shown] == [option.key for option in choice().shown]
    for name in "abcdefghij":
        quiz = Ordering(
            name=name, question="?", explanation="!", truth=truth(("export", "parse", "build")), steps=STEPS
        )
        assert tuple(step.key for step in quiz.shown) != quiz.truth.value


# --- the bank ---------------------------------------------------------------------------------------------------


def test_the_bank_covers_every_kind():
    names = [name for name in quizzes.names() if name.startswith("q3-")]
    assert len(names) >= 10
    assert {quizzes.load(name).kind for name in names} == {"choice", "several", "number", "ordering"}


@pytest.mark.parametrize("name", quizzes.names())
def test_every_quiz_of_the_bank_accepts_its_truth_and_explains_the_rest(name):
    quiz = quizzes.load(name)
    assert quiz.name == name
    assert quiz.grade(quiz.truth.value).correct
    for reply in wrong_replies(quiz):
        result = quiz.grade(reply)
        assert not result.correct
        assert len(result.explanation) > 15


def wrong_replies(quiz):
    if isinstance(quiz, Choice):
        return [o.key for o in quiz.options if o.key not in quiz.right_keys]
    if isinstance(quiz, Several):
        keys = [o.key for o in quiz.options]
        subsets = itertools.chain.from_iterable(itertools.combinations(keys, n) for n in range(1, len(keys) + 1))
        return [subset for subset in subsets if set(subset) != quiz.right_keys]
    if isinstance(quiz, Number):
        return [slip.value for slip in quiz.slips]
    order = list(quiz.truth.value)
    return [[*order[:i], order[i + 1], order[i], *order[i + 2 :]] for i in range(len(order) - 1)]


def test_typical_slips_are_told_apart():
    for quiz in map(quizzes.load, quizzes.names()):
        if isinstance(quiz, Number):
            assert [quiz.grade(slip.value).explanation for slip in quiz.slips] == [slip.why for slip in quiz.slips]


def test_an_unknown_name_names_the_close_ones():
    with pytest.raises(quizzes.UnknownQuiz, match=r"no quiz 'q3-stage-oder'\. Did you mean q3-stage-order"):
        quizzes.load("q3-stage-oder")
    with pytest.raises(quizzes.UnknownQuiz, match="The bank has q3-stage-order"):
        quizzes.load("zzzz")


def test_a_name_is_given_once():
    with pytest.raises(QuizError, match="'q3-stage-order' is written twice: by stage_order and "):
        quizzes.asked("q3-stage-order", truth=lambda: truth(1))(lambda _name, _truth: choice())


def test_two_answers_where_one_is_expected_are_an_error():
    with pytest.raises(QuizError, match="expected exactly one"):
        found.api_truth("IExecutionContext", ("execute_v2", "execute_async_v3"), one=True)


def test_without_a_compiler_recordings_answer():
    def missing():
        raise CompilerMissing("none here", hint="")

    for name in ("build_without_profile", "two_targets"):
        missing.__name__ = name
        answer = found.built(missing)
        assert answer.provenance.origin is Origin.RECORDED
        assert answer.provenance.command == found.COMMAND
        assert answer.value == getattr(found, name)().value
