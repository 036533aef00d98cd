"""Quizzes: a malformed one is refused when it is made; replies are graded as a patient examiner would."""

import itertools
import math
from dataclasses import replace

import pytest

from trtlab.engine.measure import Origin, live
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.nvidia.api import recorded_api
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
    Step(key="build", text="Build", why="It reads the network and the configuration."),
    Step(key="parse", text="Parse", why="It reads the file."),
    Step(key="configure", text="Configure"),
    Step(key="export", text="Export"),
)
NEEDS = {"export": (), "parse": ("export",), "configure": (), "build": ("parse", "configure")}


def ordering(value=NEEDS, steps=STEPS, name="t-order"):
    return Ordering(name=name, question="Order?", explanation="So it goes.", truth=truth(value), steps=steps)


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
        (lambda: ordering({"export": (), "build": ()}), "does not order its options"),
        (lambda: ordering({**NEEDS, "parse": ("write",)}), "step 'parse' needs 'write', which is no step"),
        (
            lambda: ordering({"parse": ("export",), "export": (), "configure": (), "build": ()}),
            r"does not work: 'parse' is before 'export'",
        ),
        (
            lambda: ordering({**NEEDS, "export": ("build",)}, (*STEPS[:3], Step(key="export", text="E", why="w"))),
            "does not work: 'export' is before 'build'",
        ),
        (lambda: ordering({**NEEDS, "configure": ("export",)}), "step 'configure' is unexplained"),
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


def test_an_ordering_says_what_the_first_step_that_is_too_early_needs():
    result = ordering().grade(["export", "build", "parse", "configure"])
    assert not result.correct
    assert result.headline == "Not yet. The first is in place."
    assert result.explanation == (
        "“Build” comes too early: it needs “Parse” first. It reads the network and the configuration."
    )
    assert [mark.key for mark in result.marks] == ["build"]
    late = ordering().grade(["export", "parse", "build", "configure"])
    assert late.headline == "Not yet. The first 2 are in place."
    assert "it needs “Configure” first" in late.explanation


def test_every_order_that_keeps_what_each_step_needs_is_right():
    right = [order for order in itertools.permutations(NEEDS) if ordering().grade(order).correct]
    assert right == [
        ("export", "parse", "configure", "build"),
        ("export", "configure", "parse", "build"),
        ("configure", "export", "parse", "build"),
    ]
    assert [ordering().grade(order).headline for order in right] == [
        "Right, all in order.",
        *["Right: yours works too. Below, the usual one."] * 2,
    ]


@pytest.mark.parametrize(
    "reply",
    [None, [], ["export"], ["export", "export", "parse", "build"], ["export", "parse", "build", "x"]],
)
def test_an_incomplete_order_is_no_attempt(reply):
    with pytest.raises(NotAnAnswer):
        ordering().grade(reply)


def test_options_are_shuffled_the_same_way_every_time_and_an_order_never_starts_solved():
    assert [option.key for option in choice().shown] == [option.key for option in choice().shown]
    for name in "abcdefghij":
        started = ordering(name=name)
        assert not started.grade([step.key for step in started.shown]).correct


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
    swapped = [[*order[:i], order[i + 1], order[i], *order[i + 2 :]] for i in range(len(order) - 1)]
    return [order for i, order in enumerate(swapped) if order[i + 1] in quiz.truth.value[order[i]]]


def works(order, needs):
    """Whether each stage finds what it needs, played through with a set: no code of the quiz."""
    made = set()
    for stage in order:
        if not set(needs[stage]) <= made:
            return False
        made.add(stage)
    return True


def test_configuring_first_and_copying_first_are_right():
    """Both are legal: a profile names inputs before any network exists, and a copy needs no engine."""
    built = ["configure", "export", "check", "parse", "build", "serialise", "deserialise"]
    ran = ["host_to_device", "deserialise", "context", "enqueue", "device_to_host", "compare"]
    for name, order in (("q3-stage-order", built), ("q3-inference-order", ran)):
        assert quizzes.load(name).grade(order).correct


@pytest.mark.parametrize(("name", "orders"), [("q3-stage-order", 4), ("q3-inference-order", 3)])
def test_an_order_is_right_exactly_when_it_works(name, orders):
    quiz = quizzes.load(name)
    needs = quiz.truth.value
    right = [order for order in itertools.permutations(needs) if works(order, needs)]
    assert len(right) == orders
    assert all(quiz.grade(order).correct for order in right)
    wrong = itertools.islice((order for order in itertools.permutations(needs) if order not in right), 0, None, 7)
    assert not any(quiz.grade(order).correct for order in wrong)


def test_the_needs_of_a_call_are_those_of_the_api(monkeypatch):
    api = recorded_api()
    names = {**api.names, "ICudaEngine": ()}
    monkeypatch.setattr("trtlab.engine.nvidia.installed_api", lambda: replace(api, names=names))
    with pytest.raises(QuizError, match=r"has no ICudaEngine\.create_execution_context"):
        found.runtime_needs()


def test_typical_slips_are_told_apart():
    for quiz in map(quizzes.load, quizzes.names()):
        if isinstance(quiz, Number):
            assert [quiz.grade(slip.value).explanation for slip in quiz.slips] == [slip.why for slip in quiz.slips]


def test_an_unknown_name_names_the_close_ones():
    with pytest.raises(quizzes.UnknownQuiz, match=r"no quiz 'q3-stage-oder'\. Did you mean q3-stage-order"):
        quizzes.load("q3-stage-oder")
    with pytest.raises(quizzes.UnknownQuiz, match="The bank has q1-"):
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


def test_a_value_nearer_to_the_truth_than_to_a_slip_is_not_that_slip():
    quiz = quizzes.load("q1-fp16-largest")
    assert "16-bit integer" in quiz.grade("65535").explanation
    assert "16-bit integer" not in quiz.grade("6.55e4").explanation
