"""Quizzes: a malformed one is refused when it is made; replies are graded as a patient examiner would."""

import itertools
import math
from dataclasses import replace

import pytest

from tests.study.record import COMMAND
from trtlab.engine.measure import Origin, live
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.nvidia.api import recorded_api
from trtlab.graph import optimize
from trtlab.lab import builds as models
from trtlab.study import bank, witnesses
from trtlab.study.bank import Words
from trtlab.study.found import Found
from trtlab.study.quiz import (
    Choice,
    Entry,
    NotAnAnswer,
    Number,
    Option,
    Ordering,
    QuizError,
    Several,
    Slip,
    find_quiz,
    load_quiz,
    number_words,
    quizzes,
    readings,
)
from trtlab.study.truths import workflow

KIB = Words(en="KiB", zh="KiB")


def same(text):
    return Words(en=text, zh=text)


def options(*keys):
    return tuple(Option(key=key, text=same(f"text {key}"), why=same(f"because {key}")) for key in keys)


def made(kind, value, **changes):
    words = {"question": same("Which?"), "explanation": same("So it is."), "evidence": same("Seen.")}
    return kind(**({"name": f"t-{kind.kind}", "truth": Found(value=value, provenance=live())} | words | changes))


def choice(value="b", **changes):
    return made(Choice, value, **({"options": options("a", "b", "c")} | changes))


def several(value=("a", "c"), **changes):
    return made(Several, value, **({"options": options(*"abcd")} | changes))


def number(value=73.5, **changes):
    slips = (Slip(value=147.0, why=same("doubled")), Slip(value=75264.0, why=same("bytes")))
    return made(Number, value, **({"slips": slips, "unit": KIB, "tolerance": 1.0} | changes))


STEPS = (
    Option(key="build", text=same("Build"), why=same("It reads the network and the configuration.")),
    Option(key="parse", text=same("Parse"), why=same("It reads the file.")),
    Option(key="configure", text=same("Configure")),
    Option(key="export", text=same("Export")),
)
NEEDS = {"export": (), "parse": ("export",), "configure": (), "build": ("parse", "configure")}


def ordering(value=NEEDS, steps=STEPS, **changes):
    return made(Ordering, value, **({"options": steps} | changes))


# --- shape ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: choice(options=options("a", "b", "a")), "key 'a' appears twice"),
        (lambda: choice(options=(*options("a", "b"), replace(STEPS[0], text=same("TEXT a")))), "text 'text a'"),
        (lambda: choice(None), "no option is right"),
        (lambda: several(()), "no option is right"),
        (lambda: choice("z"), r"'z' is not among its options \['a', 'b', 'c'\]"),
        (lambda: several(("a", "z")), "'z' is not among its options"),
        (lambda: choice(options=(*options("a", "b"), STEPS[2])), "'configure' is unexplained"),
        (lambda: choice(options=options("b")), "at least two"),
        (lambda: choice(question=same("")), "question is empty"),
        (lambda: number(math.nan), "nan, no number"),
        (lambda: number("73"), "'73', no number"),
        (lambda: number(slips=()), "at least one typical wrong value"),
        (lambda: number(slips=(Slip(value=74.0, why=same("x")),)), "slip 74.0 would be graded as right"),
        (lambda: number(tolerance=-1), "expected zero or more"),
        (lambda: ordering({"export": (), "build": ()}), "does not order its options"),
        (lambda: ordering({**NEEDS, "parse": ("write",)}), "'parse' needs 'write', which is no step"),
        (lambda: ordering({"parse": ("export",), "export": (), "configure": (), "build": ()}), "'parse' is before"),
        (
            lambda: ordering({**NEEDS, "export": ("build",)}, (*STEPS[:3], replace(STEPS[3], why=same("w")))),
            "'export' is before 'build'",
        ),
        (lambda: ordering({**NEEDS, "configure": ("export",)}), "'configure' is unexplained"),
        (lambda: Entry(name="t-x", kind="riddle", truth="nibbles", **WORDS).asked(FOUND), "choice, several"),
    ],
)
def test_a_malformed_quiz_is_refused_when_it_is_made(make, message):
    with pytest.raises(QuizError, match=rf"quiz 't-.*{message}"):
        make()


WORDS = dict.fromkeys(("question", "evidence", "explanation"), same("x"))
FOUND = Found(value=1, provenance=live())


# --- grading ----------------------------------------------------------------------------------------------------------


def test_a_choice_says_why_the_chosen_option_is_wrong_and_no_more():
    result = choice().grade("a")
    assert (result.correct, result.explanation.en) == (False, "because a")
    assert [mark.key for mark in result.marks] == ["a"]
    assert choice().grade("b").explanation.en == "So it is."
    assert choice().grade("text b").correct


def test_several_counts_wrong_and_missing_without_naming_the_missing():
    result = several().grade(["a", "b"])
    assert not result.correct
    assert (result.headline.en, result.explanation.en) == (
        "Not yet: 1 of 2 ticked wrongly, 1 missing.",
        "because b",
    )
    assert "2 个，错 1 个，还漏 1 个" in result.headline.zh
    assert {mark.key: mark.is_right for mark in result.marks} == {"a": True, "b": False}
    assert several().grade(["c", "a", "a"]).correct
    assert several().grade("a").headline.en == "Not yet: 1 missing."


@pytest.mark.parametrize(
    ("quiz", "replies"),
    [
        (choice(), [None, "", "z", 3]),
        (several(), [None, [], "", ["a", "z"]]),
        (number(), [None, "", "  ", "nan", "inf", math.nan, math.inf, "abc", "1e999", "--3", True, [], "1 2 x"]),
        (ordering(), [None, [], ["export"], ["export", "export", "parse", "build"], ["export", "parse", "build", "x"]]),
    ],
)
def test_what_cannot_be_graded_is_no_attempt_and_is_said_in_both_languages(quiz, replies):
    for reply in replies:
        with pytest.raises(NotAnAnswer) as caught:
            quiz.grade(reply)
        assert str(caught.value) == caught.value.words.en != caught.value.words.zh


@pytest.mark.parametrize(
    "reply",
    [
        *"73.5|73,5| 73.5 KiB |73.5kib|~73.5|75,264 bytes|75264B|75264 字节|75.3 kB|0.0718 MiB|7.35e1".split("|"),
        73.5,
        74,
    ],
)
def test_a_number_is_understood_as_people_type_it(reply):
    assert number().grade(reply).correct


def test_a_unit_in_chinese_is_understood():
    assert number(4, unit=Words(en="kernels", zh="个核函数"), tolerance=0.0).grade("4 个核函数").correct


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
    assert (result.correct, result.explanation.en) == (False, explanation)


def test_a_unit_of_another_kind_is_refused():
    with pytest.raises(NotAnAnswer, match=r"“ms” .*KiB"):
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
    assert readings(text, same("")) == values


def test_numbers_are_written_short():
    written = [number_words(value, same("B")).en for value in (73.5625, 75328.4, 24, 0.01234)]
    assert written == ["73.6 B", "75,328 B", "24 B", "0.0123 B"]


def test_an_ordering_says_what_the_first_step_that_is_too_early_needs():
    result = ordering().grade(["export", "build", "parse", "configure"])
    assert not result.correct
    assert result.headline.en == "Not yet. The first is in place."
    assert result.explanation.en == (
        "“Build” comes too early: it needs “Parse” first. It reads the network and the configuration."
    )
    assert [mark.key for mark in result.marks] == ["build"]
    late = ordering().grade(["export", "parse", "build", "configure"])
    assert late.headline.en == "Not yet. The first 2 are in place."
    assert "it needs “Configure” first" in late.explanation.en


def test_every_order_that_keeps_what_each_step_needs_is_right():
    right = {order: result for order in itertools.permutations(NEEDS) if (result := ordering().grade(order)).correct}
    assert list(right) == [
        ("export", "parse", "configure", "build"),
        ("export", "configure", "parse", "build"),
        ("configure", "export", "parse", "build"),
    ]
    assert ["usual" in result.headline.en for result in right.values()] == [False, True, True]


def test_options_are_shuffled_the_same_way_every_time_and_an_order_never_starts_solved():
    assert [option.key for option in choice().shown] == [option.key for option in choice().shown]
    assert len({tuple(option.key for option in choice(name=name).shown) for name in "abcdefghij"}) > 2
    for name in "abcdefghij":
        started = ordering(name=name)
        assert not started.grade([step.key for step in started.shown]).correct


# --- the bank ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["q1-", "q2-", "q3-"])
def test_the_bank_covers_every_kind(topic):
    kinds = [entry.kind for name, entry in quizzes().items() if name.startswith(topic)]
    assert len(kinds) >= 10
    assert set(kinds) == {"choice", "several", "number", "ordering"}


@pytest.mark.parametrize("name", quizzes())
def test_every_quiz_of_the_bank_accepts_its_truth_and_explains_the_rest(name):
    quiz = load_quiz(name)
    assert quiz.name == name
    assert quiz.grade(quiz.truth.value).correct
    assert "{" not in quiz.question.en + quiz.evidence.en + quiz.evidence.zh
    for reply in wrong_replies(quiz):
        result = quiz.grade(reply)
        assert not result.correct
        assert len(result.explanation.en) > 15
        assert len(result.explanation.zh) > 5
    if isinstance(quiz, Number):
        assert [quiz.grade(slip.value).explanation for slip in quiz.slips] == [slip.why for slip in quiz.slips]


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


def test_a_truth_that_no_function_finds_is_named():
    with pytest.raises(bank.UnknownEntry, match=r"no function of study/truths 'nibble'; did you mean nibbles"):
        replace(find_quiz("q1-low-nibble"), truth="nibble").find()


def works(order, needs):
    """Whether each stage finds what it needs, played through with a set: no code of the quiz."""
    done = set()
    for stage in order:
        if not set(needs[stage]) <= done:
            return False
        done.add(stage)
    return True


@pytest.mark.parametrize(
    ("name", "orders", "legal"),
    [
        ("q3-stage-order", 4, "configure export check parse build serialise deserialise"),
        ("q3-inference-order", 3, "host_to_device deserialise context enqueue device_to_host compare"),
    ],
)
def test_an_order_is_right_exactly_when_it_works(name, orders, legal):
    """Configuring and copying may come first: a profile names inputs before any network exists."""
    quiz = load_quiz(name)
    needs = quiz.truth.value
    right = [order for order in itertools.permutations(needs) if works(order, needs)]
    assert len(right) == orders
    assert tuple(legal.split()) in right
    assert all(quiz.grade(order).correct for order in right)
    wrong = itertools.islice((order for order in itertools.permutations(needs) if order not in right), 0, None, 7)
    assert not any(quiz.grade(order).correct for order in wrong)


def test_a_value_nearer_to_the_truth_than_to_a_slip_is_not_that_slip():
    quiz = load_quiz("q1-fp16-largest")
    assert "16-bit integer" in quiz.grade("65535").explanation.en
    assert "16-bit integer" not in quiz.grade("6.55e4").explanation.en


def test_answers_by_hand():
    answers = {name: load_quiz(name).truth.value for name in quizzes()}
    assert answers["q2-fold-by-hand"] == pytest.approx(1.5 * 2 / math.sqrt(0.24 + 0.01))
    assert answers["q2-bytes-unfused"] == (3 + 3 + 2) * 256 * 4
    assert answers["q2-three-to-one"] == (3 + 3 + 2) / (3 + 1)
    assert answers["q2-folded-weights"] == 2 * 4 * 4
    assert answers["q2-concat"] == ("raw_concat", "matmul_concat")
    assert answers["q2-middle-output"] == "pointwise"
    assert answers["q2-spot-the-refusal"] == "matmul_two_readers"
    assert answers["q1-turing"] == ("FP16", "INT8")
    assert [answers[f"q1-{name}"] for name in ("e4m3-nan-codes", "nf4-negative", "bf16-first-gap")] == [2, 7, 2**8 + 1]
    assert answers["q1-fp16-largest"] == (2 - 2**-10) * 2**15
    assert answers["q1-nvfp4-bits"] == pytest.approx(4 + 8 / 16, abs=1e-3)
    assert answers["q1-e4m3-code"] == f"{1.75 * 2**8:g}"
    assert answers["q1-outlier-int8"] == f"{20 * math.log10(100 / 3.6):.0f}"[:1] + "8"


def test_the_rules_work_in_that_order_in_one_sweep_each_and_not_in_another():
    order = [*load_quiz("q2-rule-order").truth.value]

    def fused(rules):
        model = models.model("conv_identity_bn_relu")
        steps = []
        for rule in rules:
            model, report = optimize(model, [rule])
            steps += report.steps
        return len(model.graph.node), len(steps)

    assert fused(order) == (1, 4)
    assert fused(["constant_folding", "dead_layers", *order[2:]]) == (1, 4)
    assert fused(reversed(order)) == (3, 2)


# --- other worlds -----------------------------------------------------------------------------------------------------


def in_world(monkeypatch, change=lambda report: report):
    """A machine without a compiler, on which every recorded build is changed; the truth of a quiz there."""
    monkeypatch.setattr(witnesses, "report_on", lambda name: change(models.recorded(f"fusion-{name}-SM89")))
    return lambda name: find_quiz(name).find()


BUILT = "conv-bn-relu pointwise-chain middle-output parallel-convolutions folded-weights concat".split()


@pytest.mark.parametrize("name", BUILT)
def test_recordings_give_the_same_answer(name, monkeypatch):
    found = in_world(monkeypatch)(f"q2-{name}")
    assert found.value == load_quiz(f"q2-{name}").truth.value
    assert found.provenance.command


def without_idle(report):
    return replace(report, steps=tuple(step for step in report.steps if set(step.onnx_nodes) - {"concat"}))


OTHER = {
    "twice": lambda report: replace(report, steps=report.steps * 2),
    "serial": lambda report: replace(report, steps=tuple(replace(s, stream=0) for s in report.steps)),
    "one": lambda report: replace(report, steps=(replace(report.steps[0], onnx_nodes=("conv1", "conv2", "conv3")),)),
    "weights": lambda report: replace(report, memory=replace(report.memory, weights_bytes=4)),
    "idle": without_idle,
}


@pytest.mark.parametrize(
    ("world", "name", "value"),
    [
        ("twice", "conv-bn-relu", 2),
        ("twice", "pointwise-chain", 2),
        ("twice", "middle-output", "neither"),
        ("serial", "parallel-convolutions", "serial"),
        ("one", "parallel-convolutions", "one"),
        ("weights", "folded-weights", 4),
        ("idle", "concat", ()),
    ],
)
def test_another_build_has_another_answer(world, name, value, monkeypatch):
    assert in_world(monkeypatch, OTHER[world])(f"q2-{name}").value == value


def test_the_needs_of_a_call_are_those_of_the_api(monkeypatch):
    api = recorded_api()
    monkeypatch.setattr(witnesses, "api", lambda: replace(api, names={**api.names, "ICudaEngine": ()}))
    with pytest.raises(workflow.NoTruth, match=r"ICudaEngine\.create_execution_context"):
        workflow.runtime_needs()


def test_two_answers_where_one_is_expected_are_an_error():
    with pytest.raises(workflow.NoTruth, match="exactly one"):
        workflow.there(["execute_v2", "execute_async_v3"], "IExecutionContext", one=True)


@pytest.mark.parametrize("name", ["build_without_profile", "two_targets"])
def test_without_a_compiler_recordings_answer(name):
    def missing():
        raise CompilerMissing("none here", hint="")

    missing.__name__ = name
    answer = witnesses.built(missing)
    assert (answer.provenance.origin, answer.provenance.command) == (Origin.RECORDED, COMMAND)
    assert answer.value == getattr(workflow, name)().value
