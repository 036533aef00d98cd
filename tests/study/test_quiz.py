"""Quizzes: a malformed one is refused when it is made; replies are graded as a patient examiner would."""

import itertools
import math
from dataclasses import replace

import pytest

from tools.truths import COMMAND
from trtlab.engine.measure import Origin, live
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.nvidia.api import recorded_api
from trtlab.graph import optimize
from trtlab.lab import builds as models
from trtlab.study import bank, witnesses
from trtlab.study import quiz as made_of
from trtlab.study.bank import Words
from trtlab.study.found import Found
from trtlab.study.quiz import (
    Choice,
    NotAnAnswer,
    Number,
    Option,
    Ordering,
    QuizError,
    Several,
    Slip,
    load_quiz,
    quizzes,
)
from trtlab.study.truths import workflow

KIB = Words(en="KiB", zh="KiB")


def same(text):
    return Words(en=text, zh=text)


WORDS = dict.fromkeys(("question", "evidence", "explanation"), same("So it is."))


def options(*keys):
    return tuple(Option(key=key, text=same(f"text {key}"), why=same(f"because {key}")) for key in keys)


def made(kind, value, **changes):
    return kind(**({"name": f"t-{kind.kind}", "truth": Found(value=value, provenance=live())} | WORDS | changes))


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

EXPLAINED = (*STEPS[:3], replace(STEPS[3], why=same("w")))
MALFORMED = [
    (lambda: choice(options=options("a", "b", "a")), "'a' appears twice"),
    (lambda: choice(options=(*options("a", "b"), replace(STEPS[0], text=same("TEXT a")))), "'text a' appears twice"),
    (lambda: choice(None), "no option is right"),
    (lambda: several(()), "no option is right"),
    (lambda: choice("z"), r"'z' is not among its options \['a', 'b', 'c'\]"),
    (lambda: choice(options=(*options("a", "b"), STEPS[2])), "'configure' is unexplained"),
    (lambda: choice(options=options("b")), "at least two"),
    (lambda: choice(question=same("")), "question is empty"),
    (lambda: number(math.nan), "nan, no number"),
    (lambda: number(slips=()), "at least one typical wrong value"),
    (lambda: number(slips=(Slip(value=74.0, why=same("x")),)), "slip 74.0 would be graded as right"),
    (lambda: number(tolerance=-1), "expected zero or more"),
    (lambda: ordering({"export": (), "build": ()}), "does not order its options"),
    (lambda: ordering({**NEEDS, "parse": ("write",)}), "'parse' is before 'write'"),
    (lambda: ordering({"parse": ("export",), "export": (), "configure": (), "build": ()}), "'parse' is before"),
    (lambda: ordering({**NEEDS, "export": ("build",)}, EXPLAINED), "'export' is before 'build'"),
    (lambda: ordering({**NEEDS, "configure": ("export",)}), "'configure' is unexplained"),
    (lambda: made_of.Entry(name="t-x", kind="riddle", truth="", **WORDS).asked(number().truth), "choice, several"),
]


@pytest.mark.parametrize(("make", "message"), MALFORMED)
def test_a_malformed_quiz_is_refused_when_it_is_made(make, message):
    with pytest.raises(QuizError, match=rf"quiz 't-.*{message}"):
        make()


# --- grading ----------------------------------------------------------------------------------------------------------


def test_what_was_chosen_is_explained_and_no_more():
    """What is missing is counted, and not named."""
    result = choice().grade("a")
    assert (result.correct, result.explanation.en) == (False, "because a")
    assert [mark.key for mark in result.marks] == ["a"]
    assert choice().grade("b").explanation.en == "So it is."
    assert choice().grade("text b").correct
    result = several().grade(["a", "b"])
    headline = "Not yet: 1 of 2 ticked wrongly, 1 missing."
    assert (result.correct, result.headline.en, result.explanation.en) == (False, headline, "because b")
    assert "2 个，错 1 个，还漏 1 个" in result.headline.zh
    assert {mark.key: mark.is_right for mark in result.marks} == {"a": True, "b": False}
    assert several().grade(["c", "a", "a"]).correct
    assert several().grade("a").headline.en == "Not yet: 1 missing."


UNREAD = [
    (choice, [None, "", "z", 3]),
    (several, [None, [], "", ["a", "z"]]),
    (
        number,
        [
            None,
            "",
            "  ",
            "nan",
            "inf",
            math.nan,
            math.inf,
            "abc",
            "1e999",
            "--3",
            True,
            [],
            "1 2 x",
            "73.5 ms",
            "1,2.3,4",
        ],
    ),
    (ordering, [None, [], ["export"], ["export", "export", "parse", "build"], ["export", "parse", "build", "x"]]),
]


@pytest.mark.parametrize(("quiz", "replies"), UNREAD)
def test_what_cannot_be_graded_is_no_attempt_and_is_said_in_both_languages(quiz, replies):
    for reply in replies:
        with pytest.raises(NotAnAnswer) as caught:
            quiz().grade(reply)
        assert str(caught.value) == caught.value.words.en != caught.value.words.zh


def test_a_unit_behind_a_number_without_one_is_said_without_naming_a_unit():
    with pytest.raises(NotAnAnswer, match="has no unit: type the number without “ms”"):
        made_of.readings("12 ms", Words())


TYPED = "73.5|73,5| 73.5 KiB |73.5kib|~73.5|75,264 bytes|75264B|75264 字节|75.3 kB|0.0718 MiB|7.35e1".split("|")
READINGS = {
    "1,5": (1.5,), "1.234,5": (1234.5,), "1,234.5": (1234.5,), "75,328": (75328.0, 75.328), "0,328": (0.328,),
    "1.234.567": (1234567.0,), "1 234": (1234.0,), "−3": (-3.0,), ".5": (0.5,),
}  # fmt: skip


def test_a_number_is_understood_as_people_type_it_and_written_short():
    assert [reply for reply in (*TYPED, 73.5, 74) if not number().grade(reply).correct] == []
    assert number(4, unit=Words(en="kernels", zh="个核函数"), tolerance=0.0).grade("4 个核函数").correct
    assert {text: made_of.readings(text, same("")) for text in READINGS} == READINGS
    written = [made_of.number_words(value, same("B")).en for value in (73.5625, 75328.4, 24, 0.01234)]
    assert written == ["73.6 B", "75,328 B", "24 B", "0.0123 B"]
    assert [made_of.number_words(1, same(unit)).en for unit in ("kernels", "ms", "%")] == ["1 kernel", "1 ms", "1%"]


WRONG = {
    "147": "doubled", "75264": "bytes", "75,264": "bytes", "147,0 KiB": "doubled",
    "−73.5": "The size is right, the sign is not.", "80": "It is too large.", "30": "It is too small.",
    "9e9": "Far too large: check the unit, and what is counted.",
    "0": "Far too small: check the unit, and what is counted.",
}  # fmt: skip


def test_a_wrong_number_is_explained_by_the_slip_unless_the_truth_is_nearer():
    results = {reply: number().grade(reply) for reply in WRONG}
    assert {reply: result.explanation.en for reply, result in results.items()} == WRONG
    assert not any(result.correct for result in results.values())
    quiz = load_quiz("q1-fp16-largest")
    assert "16-bit integer" in quiz.grade("65535").explanation.en
    assert "16-bit integer" not in quiz.grade("6.55e4").explanation.en


def test_an_ordering_says_what_the_first_step_that_is_too_early_needs():
    result = ordering().grade(["export", "build", "parse", "configure"])
    assert (result.correct, result.headline.en) == (False, "Not yet. The first is in place.")
    assert result.explanation.en == (
        "“Build” comes too early: it needs “Parse” first. It reads the network and the configuration."
    )
    assert [mark.key for mark in result.marks] == ["build"]
    late = ordering().grade(["export", "parse", "build", "configure"])
    assert late.headline.en == "Not yet. The first 2 are in place."
    assert "it needs “Configure” first" in late.explanation.en


def test_options_are_shuffled_the_same_way_every_time_and_an_order_never_starts_solved():
    assert [option.key for option in choice().shown] == [option.key for option in choice().shown]
    assert len({tuple(option.key for option in choice(name=name).shown) for name in "abcdefghij"}) > 2
    for name in "abcdefghijklmnopqrstuvwxyz":
        started = ordering(name=name)
        assert not started.grade([step.key for step in started.shown]).correct


def works(order, needs):
    """Whether each stage finds what it needs, played through with a set: no code of the quiz."""
    return all(set(needs[stage]) <= set(order[:place]) for place, stage in enumerate(order))


ORDERS = {
    "q3-stage-order": (4, "configure export check parse build serialise deserialise"),
    "q3-inference-order": (3, "host_to_device deserialise context enqueue device_to_host compare"),
}


@pytest.mark.parametrize("name", [*ORDERS, "made here"])
def test_an_order_is_right_exactly_when_it_works(name):
    """Configuring and copying may come first: a profile names inputs before any network exists."""
    quiz = load_quiz(name) if name in ORDERS else ordering()
    (orders, legal), needs = ORDERS.get(name, (3, "export configure parse build")), quiz.truth.value
    right = [order for order in itertools.permutations(needs) if works(order, needs)]
    assert len(right) == orders
    assert tuple(legal.split()) in right
    results = [quiz.grade(order) for order in right]
    assert all(result.correct for result in results)
    assert ["usual" not in result.headline.en for result in results] == [order == (*needs,) for order in right]
    wrong = itertools.islice((order for order in itertools.permutations(needs) if order not in right), 0, None, 7)
    assert not any(quiz.grade(order).correct for order in wrong)


# --- the bank ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", quizzes())
def test_every_quiz_of_the_bank_accepts_its_truth_and_explains_the_rest(name):
    quiz = load_quiz(name)
    assert quiz.grade(quiz.truth.value).correct
    assert "{" not in quiz.question.en + quiz.evidence.en + quiz.evidence.zh
    for reply in wrong_replies(quiz):
        result = quiz.grade(reply)
        assert not result.correct
        assert len(result.explanation.en) > 15
        assert len(result.explanation.zh) > 5
    assert [quiz.grade(slip.value).explanation for slip in quiz.slips] == [slip.why for slip in quiz.slips]


def test_words_name_their_numbers_whole_and_one_is_singular():
    assert load_quiz("q1-seventy-thousand").evidence.en.endswith("FP16 gives ∞, BF16 70,144.")
    one, two = (load_quiz("q1-e4m3-nan-codes").grade(number).headline.en for number in (1, 2))
    assert ("1 code." in one, "2 codes" in two) == (True, True)


def wrong_replies(quiz):
    if isinstance(quiz, Number):
        return [slip.value for slip in quiz.slips]
    keys = [option.key for option in quiz.options]
    if isinstance(quiz, Choice):
        return [key for key in keys if key not in quiz.right_keys]
    if isinstance(quiz, Several):
        subsets = itertools.chain.from_iterable(itertools.combinations(keys, n) for n in range(1, len(keys) + 1))
        return [subset for subset in subsets if set(subset) != quiz.right_keys]
    order = list(quiz.truth.value)
    swapped = [[*order[:i], order[i + 1], order[i], *order[i + 2 :]] for i in range(len(order) - 1)]
    return [order for i, order in enumerate(swapped) if order[i + 1] in quiz.truth.value[order[i]]]


def test_the_bank_has_every_kind_for_each_question_and_a_truth_that_no_function_finds_is_named():
    for topic in ("q1-", "q2-", "q3-"):
        kinds = [entry.kind for name, entry in quizzes().items() if name.startswith(topic)]
        assert (len(kinds) >= 10, set(kinds)) == (True, set(made_of.KINDS))
    with pytest.raises(bank.UnknownEntry, match=r"no function of study/truths 'nibble'; did you mean nibbles"):
        replace(made_of.find_quiz("q1-low-nibble"), truth="nibble").find()


BY_HAND = {
    "q2-fold-by-hand": pytest.approx(1.5 * 2 / math.sqrt(0.24 + 0.01)), "q2-bytes-unfused": (3 + 3 + 2) * 256 * 4,
    "q2-three-to-one": (3 + 3 + 2) / (3 + 1), "q2-folded-weights": 2 * 4 * 4,
    "q2-concat": ("raw_concat", "matmul_concat"), "q2-middle-output": "pointwise",
    "q2-spot-the-refusal": "matmul_two_readers", "q1-turing": ("FP16", "INT8"), "q1-e4m3-nan-codes": 2,
    "q1-nf4-negative": 7, "q1-bf16-first-gap": 2**8 + 1, "q1-fp16-largest": (2 - 2**-10) * 2**15,
    "q1-nvfp4-bits": pytest.approx(4 + 8 / 16, abs=1e-3), "q1-e4m3-code": f"{1.75 * 2**8:g}", "q1-outlier-int8": "28",
    "q2-which-size-gains": "256", "q2-worst-mistake": "pageable", "q2-batch-or-contexts": "batch 32 × 1",
    "q2-one-row": "W4A16", "q2-winograd-stops": "7x7x512", "q2-three-requests": 2 + 3 * 3 + 1,
}  # fmt: skip


def test_answers_by_hand():
    assert {name: load_quiz(name).truth.value for name in BY_HAND} == BY_HAND


def test_the_rules_work_in_that_order_in_one_sweep_each_and_not_in_another():
    order = [*load_quiz("q2-rule-order").truth.value]

    def fused(rules):
        model, steps = models.model("conv_identity_bn_relu"), []
        for rule in rules:
            model, report = optimize(model, [rule])
            steps += report.steps
        return len(model.graph.node), len(steps)

    assert fused(order) == (1, 4)
    assert fused(["constant_folding", "dead_layers", *order[2:]]) == (1, 4)
    assert fused(reversed(order)) == (3, 2)


# --- other worlds -----------------------------------------------------------------------------------------------------

WORLDS = {
    "twice": lambda report: replace(report, steps=report.steps * 2),
    "one": lambda report: replace(report, steps=(replace(report.steps[0], onnx_nodes=("conv1", "conv2", "conv3")),)),
    "idle": lambda report: replace(report, steps=tuple(s for s in report.steps if set(s.onnx_nodes) - {"concat"})),
}
ANSWERS = {
    ("twice", "conv-bn-relu"): 2, ("twice", "middle-output"): "neither", ("one", "parallel-convolutions"): "one",
    ("idle", "concat"): (),
}  # fmt: skip


@pytest.mark.parametrize(("world", "name"), ANSWERS)
def test_another_build_has_another_answer(world, name, monkeypatch):
    monkeypatch.setattr(witnesses, "report_on", lambda model: WORLDS[world](models.recorded(f"fusion-{model}-SM89")))
    assert made_of.find_quiz(f"q2-{name}").find().value == ANSWERS[world, name]


UNTOLD = [
    (name, figure)
    for name in ("q3-fp16-weights", "q3-context-memory", "q2-folded-weights")
    for figure in ("weights", "activation")[: 1 + (name == "q3-context-memory")]
]


@pytest.mark.parametrize(("name", "figure"), UNTOLD)
def test_a_memory_figure_that_the_builder_did_not_tell_is_said_and_is_no_zero(name, figure, monkeypatch):
    def without(asked):
        report = recorded(asked)
        return replace(report, memory=report.memory | {f"{figure}_bytes": None})

    recorded = models.recorded
    monkeypatch.setattr(models, "recorded", without)
    monkeypatch.setattr(witnesses, "report_on", lambda model: without(f"fusion-{model}-SM89"))
    with pytest.raises(witnesses.NoTruth, match=f"told no {figure} bytes: <BuildReport"):
        made_of.find_quiz(name).find()


def test_the_needs_of_a_call_are_those_of_the_api_and_two_answers_where_one_is_expected_are_an_error(monkeypatch):
    with pytest.raises(witnesses.NoTruth, match="exactly one"):
        workflow.there(["execute_v2", "execute_async_v3"], "IExecutionContext", one=True)
    api = recorded_api()
    monkeypatch.setattr(witnesses, "api", lambda: replace(api, names={**api.names, "ICudaEngine": ()}))
    with pytest.raises(witnesses.NoTruth, match=r"ICudaEngine\.create_execution_context"):
        workflow.runtime_needs()


@pytest.mark.parametrize("name", ["build_without_profile", "two_targets"])
def test_without_a_compiler_recordings_answer(name):
    def missing():
        raise CompilerMissing("none here", hint="")

    missing.__name__ = name
    answer = witnesses.built(missing)
    assert (answer.provenance.origin, answer.provenance.command) == (Origin.RECORDED, COMMAND)
    assert answer.value == getattr(workflow, name)().value
