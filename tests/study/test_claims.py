"""study/claims: every claim holds, with the compiler and with recordings, and every proof can fail.

A proof that cannot fail proves nothing. So each is run again in worlds that differ from ours in one fact: the API has
lost or gained a name that was asked for, a name never changed in NVIDIA's headers, the builder took or fused what it
does not, a format has other bits, our rules did nothing, a copy costs the same either way. There it must not hold.
"""

import copy
import importlib.metadata
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from trtlab.engine import planfile
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import CompilerMissing, Kernel, Phase
from trtlab.engine.nvidia import api as nvidia_api
from trtlab.graph.rewrite import Report
from trtlab.lab import builds, compare, history, support
from trtlab.lab.history import Declared
from trtlab.lab.support import Cell, Support
from trtlab.numeric import FORMATS, CodeBook, FloatFormat, IntegerFormat, quantize
from trtlab.study import bank, claims, witnesses
from trtlab.study.claims import KINDS, Claim, Verdict, find_claim
from trtlab.study.found import Found
from trtlab.study.proofs import formats, fusion
from trtlab.study.truths import builds as truths

ALL = claims.claims()
PROVED = [name for name, claim in ALL.items() if claim.proof]
HISTORY = {"C18", "C21"}
TRANSFERS, REPORT_ON, REWRITTEN = witnesses.transfers, witnesses.report_on, witnesses.rewritten


def missing(name):
    def find():
        raise CompilerMissing("none here")

    find.__name__ = name
    return find


@pytest.fixture
def world(monkeypatch):
    """A machine without a compiler, whose witnesses are recordings, to be changed. The workflow is the one of here."""
    recorded = support.recorded()
    monkeypatch.setattr(witnesses, "api", nvidia_api.recorded_api)
    monkeypatch.setattr(witnesses, "history", history.load)
    monkeypatch.setattr(witnesses, "support", lambda fmt, target: recorded.only([fmt], [target]))
    monkeypatch.setattr(witnesses, "report_on", lambda name: builds.recorded(f"fusion-{name}-SM89"))
    monkeypatch.setattr(witnesses, "light_report", lambda name: builds.recorded(f"light-{name}-SM89"))
    for name in ("training_dropout", "workspace_limits", "build_without_profile"):
        monkeypatch.setattr(truths, name, missing(name))
    return monkeypatch


def holds(name):
    return find_claim(name).prove().holds


def asked(world, witness, name):
    """What the proof of a claim asks one witness for."""
    seen, real = [], getattr(witnesses, witness)
    with world.context() as inner:
        inner.setattr(witnesses, witness, lambda *args: (seen.append(args), real(*args))[1])
        assert holds(name)
    return list(dict.fromkeys(seen))


# --- as it is --------------------------------------------------------------------------------------------------------


def test_all_items_of_the_sheet_are_there_and_nothing_else():
    assert list(ALL) == [f"C{number:02}" for number in (*range(1, 48), *range(70, 92))]
    assert {name for name, claim in ALL.items() if not claim.proof} == HISTORY


@pytest.mark.parametrize("name", ALL)
def test_a_claim_says_what_was_said_what_is_true_and_where_in_both_languages(name):
    claim = ALL[name]
    assert type(claim.verdict) is Verdict
    assert claim.source.startswith("https://")
    for words in (claim.said, claim.today):
        assert words.en.endswith((".", ":"))
        assert words.zh.endswith(("。", "："))
        assert len(words.en) <= 165
    assert claim.said != claim.today


@pytest.mark.parametrize("name", PROVED)
def test_it_holds_now_and_shows_its_evidence(name):
    claim, found = ALL[name], ALL[name].prove()
    assert found.holds
    assert found.provenance.origin in (Origin.LIVE, Origin.RECORDED)
    assert all(len(row) == len(found.header or claim.header) for row in found.rows)
    said = claim.shown.filled(found.facts)
    assert said.en
    assert said.zh
    if found.provenance.origin is Origin.RECORDED:
        assert found.provenance.command


@pytest.mark.parametrize("name", PROVED)
@pytest.mark.usefixtures("world")
def test_it_holds_where_no_compiler_can_be_installed(name):
    assert holds(name)


def test_an_unknown_claim_names_the_close_ones():
    with pytest.raises(bank.UnknownEntry, match=r"no claim 'C7'; did you mean .*C7\d"):
        find_claim("C7")


def test_every_kind_of_proof_is_used_and_nothing_else():
    used = {kind for claim in ALL.values() for part in claim.proof for kind in part}
    assert used == {*KINDS, "call"}


def test_history_cannot_be_proved():
    with pytest.raises(ValueError, match="C18 is a date or an author"):
        find_claim("C18").prove()


# --- worlds in which the API has lost or gained a name ---------------------------------------------------------------


def names_asked(name, world):
    """The (class, name) pairs that the proof asks the API about."""
    seen, api = [], nvidia_api.recorded_api()
    spy = copy.copy(api)
    has = lambda owner, which: (seen.append((owner, which)), which in api.names.get(owner, ()))[1]  # noqa: E731
    object.__setattr__(spy, "has", has)
    with world.context() as inner:
        inner.setattr(witnesses, "api", lambda: spy)
        assert holds(name)
    return list(dict.fromkeys(seen))


ASK_THE_API = "C04 C05 C23 C70 C73 C74 C76 C79 C80 C82 C83 C84 C87 C91".split()


def test_these_and_no_others_ask_the_api(world):
    assert [name for name in PROVED if names_asked(name, world)] == ASK_THE_API


@pytest.mark.parametrize("name", ASK_THE_API)
def test_every_answer_of_the_api_matters(name, world):
    api = nvidia_api.recorded_api()
    for owner, which in names_asked(name, world):
        names = api.names[owner]
        flipped = tuple(n for n in names if n != which) if which in names else (*names, which)
        changed = replace(api, names=api.names | {owner: flipped})
        world.setattr(witnesses, "api", lambda changed=changed: changed)
        assert not holds(name), f"{owner}.{which} makes no difference"


@pytest.mark.parametrize("name", [*ASK_THE_API, "C01", "C89"])
def test_an_api_without_classes_proves_nothing(name, world):
    world.setattr(witnesses, "api", lambda: replace(nvidia_api.recorded_api(), names={}))
    assert not holds(name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("C01", lambda names: names | {"DataType": (*names["DataType"], "FP64")}),
        ("C89", lambda names: names | {"CaffeParser": ()}),
        ("C89", lambda names: {n: v for n, v in names.items() if n != "OnnxParser"}),
    ],
)
def test_a_stray_name_of_the_api_refutes_the_claim(name, change, world):
    api = nvidia_api.recorded_api()
    world.setattr(witnesses, "api", lambda: replace(api, names=change(api.names)))
    assert not holds(name)


# --- worlds with another history -------------------------------------------------------------------------------------

READ_HISTORY = "C01 C14 C75 C76 C77 C80 C81 C83 C86 C87".split()


def names_read(name, world):
    """The names whose history the proof looks at."""
    seen, state = [], history.ApiHistory.state
    with world.context() as inner:
        spy = lambda self, which, tag: (seen.append(which), state(self, which, tag))[1]  # noqa: E731
        inner.setattr(history.ApiHistory, "state", spy)
        assert holds(name)
    return list(dict.fromkeys(seen))


def test_these_and_no_others_read_the_history(world):
    assert [name for name in PROVED if names_read(name, world)] == READ_HISTORY


@pytest.mark.parametrize("name", READ_HISTORY)
def test_a_name_that_never_changed_refutes_the_claim(name, world):
    """Of three worlds in which a name was always declared, deprecated or absent, at most one is what the claim says."""
    known = history.load()
    for which in names_read(name, world):
        right = []
        for state in Declared:
            changed = replace(known, names=known.names | {which: dict.fromkeys(known.tags, state)})
            world.setattr(witnesses, "history", lambda changed=changed: changed)
            right += [state] if holds(name) else []
        assert right in ([], [Declared.YES]), f"{which} makes no difference"


def turned(known):
    """Time runs backwards: what was new is old."""
    times = dict(zip(known.tags, reversed(known.tags), strict=True))
    names = {name: {tag: states[times[tag]] for tag in states} for name, states in known.names.items()}
    return replace(known, names=names, headers={tag: known.headers[times[tag]] for tag in known.headers})


@pytest.mark.parametrize(
    "name", ["C70", *(n for n in READ_HISTORY if n not in ("C80", "C87"))]
)  # nothing changed there
def test_time_has_a_direction(name, world):
    changed = turned(history.load())
    world.setattr(witnesses, "history", lambda: changed)
    assert not holds(name)


@pytest.mark.parametrize("tag", ["v8.6.1", "v11.1"])
def test_c70_sees_headers_leave(tag, world):
    known = history.load()
    same = replace(known, headers=dict.fromkeys(known.headers, known.headers[tag]))
    world.setattr(witnesses, "history", lambda: same)
    assert not holds("C70")


# --- worlds with another parser or builder ---------------------------------------------------------------------------

BUILT = "C01 C03 C04 C06 C08 C09 C10 C11 C14 C20 C23".split()


def test_these_and_no_others_ask_for_one_product(world):
    assert [name for name in PROVED if asked(world, "support", name)] == BUILT


@pytest.mark.parametrize("name", BUILT)
def test_every_word_about_a_product_matters(name, world):
    recorded = support.recorded()
    for fmt, target in asked(world, "support", name):
        was = recorded.cell(fmt, target)
        refused = Cell(format=fmt, target=target, refusal="not today", by="builder")
        other = replace(was, stored="Odd", reads=("Odd", "Odd"), kernels=("odd",), weights_bytes=2**20, refusal="")
        for changed in [refused] if (name, was.is_accepted) == ("C14", True) else [refused, other]:
            cells = lambda f, t, changed=changed: Support(  # noqa: E731
                cells=(changed if (f, t) == (changed.format, changed.target) else recorded.cell(f, t),),
                provenance=recorded.provenance,
            )
            world.setattr(witnesses, "support", cells)
            counted = name == "C10" and fmt == "FP16" and changed is other  # only its bytes are looked at
            assert counted or not holds(name), f"{fmt} on {target}: {changed.said} makes no difference"


@pytest.mark.parametrize("flags", [(), ("TF32", "FP16")])
def test_c20_asks_for_the_default_flags(flags, world):
    world.setattr(formats, "default_flags", lambda: flags)
    assert not holds("C20")


def unfused(report):
    """Every node a kernel of its own, launched twice, on one stream; nothing was dropped or logged."""
    steps = [
        Kernel(
            name="k", type="kgen", tactic="", stream=0, onnx_nodes=(node,), inputs=layer.inputs, outputs=layer.outputs
        )
        for layer in report.layers
        for node in layer.onnx_nodes
    ]
    return replace(report, steps=(*steps, *steps), log=(), memory=replace(report.memory, activation_bytes=1))


def with_report(world, which, change):
    known = witnesses.report_on
    world.setattr(witnesses, "report_on", lambda name: change(known(name)) if name == which else known(name))


COMPUTED = {"C35", "C36", "C38", "C39"}  # by NumPy and our rules alone
FUSED = [f"C{number}" for number in range(24, 48) if f"C{number}" not in COMPUTED]


def test_these_and_no_others_look_at_nvidias_builds(world):
    assert [name for name in PROVED if asked(world, "report_on", name)] == FUSED


@pytest.mark.parametrize("name", FUSED)
def test_a_builder_that_fuses_nothing_refutes_the_claim(name, world):
    for (which,) in asked(world, "report_on", name):
        with world.context() as inner:
            with_report(inner, which, unfused)
            assert not holds(name), f"the build of {which} makes no difference"


def memory(**figures):
    return lambda report: replace(report, memory=replace(report.memory, **figures))


def one_stream(report):
    return replace(report, steps=tuple(replace(step, stream=0) for step in report.steps))


def renamed(report):
    log = tuple(replace(line, text=line.text.replace("tensor merging", "tensor fusion")) for line in report.log)
    return replace(report, log=log)


def packed(report):
    tensors = [tuple(replace(t, strides=(1, 1, 1, 64)) for t in step.outputs) for step in report.steps]
    steps = tuple(replace(step, outputs=outputs) for step, outputs in zip(report.steps, tensors, strict=True))
    return replace(report, steps=steps)


@pytest.mark.parametrize(
    ("name", "which", "change"),
    [
        ("C24", "wide_inception", memory(activation_bytes=0)),
        ("C24", "wide_inception", one_stream),
        ("C24", "wide_inception", lambda report: replace(report, flags=())),
        ("C26", "matmul_relu", memory(activation_bytes=8_454_144)),
        ("C26", "matmul_two_readers", memory(activation_bytes=8_192_000)),
        ("C28", "conv_relu", lambda report: replace(report, layers=(*report.layers, report.layers[0]))),
        ("C31", "chain_128", memory(activation_bytes=16_384)),
        ("C33", "wide_inception", one_stream),
        ("C34", "multiply_add_relu", renamed),
        ("C44", "constant_subgraph", memory(weights_bytes=8)),
        ("C46", "wide_inception", packed),
        *((name, which, lambda report: replace(report, log=())) for name, which in (
            ("C24", "wide_inception"), ("C27", "residual"), ("C34", "multiply_add_relu"), ("C42", "dead_branch"),
        )),
    ],
)  # fmt: skip
def test_another_build_of_a_model_refutes_the_claim(name, which, change, world):
    with_report(world, which, change)
    assert not holds(name)


@pytest.mark.parametrize("owner", ["DataType", "INetworkDefinition", "IRuntimeConfig"])
def test_c24_asks_for_what_came_since(owner, world):
    api = nvidia_api.recorded_api()
    world.setattr(nvidia_api, "recorded_api", lambda: replace(api, names=api.names | {owner: ()}))
    assert not holds("C24")


TRUTHS = [
    ("C43", "training_dropout", {"value": "built"}),
    ("C43", "training_dropout", {"evidence": "Plugin not found."}),
    ("C91", "build_without_profile", {"value": "batch 1"}),
    ("C91", "build_without_profile", {"evidence": "The digits model, built: “The profile does not fit.”"}),
    ("C75", "workspace_limits", {"1 MiB": "built, with 9,764,864 bytes of activations"}),
    ("C75", "workspace_limits", {"1 MiB": "refused: OutOfMemory"}),
    ("C75", "workspace_limits", {"8 MiB": "refused: no tactics"}),
    ("C75", "workspace_limits", {"the default": "refused: OutOfMemory (Requested size was 99999999 bytes.)"}),
    ("C75", "workspace_limits", {"the default": "built, with 8,000,000 bytes of activations"}),
]


@pytest.mark.parametrize(("name", "find", "change"), TRUTHS)
def test_another_answer_of_the_builder_refutes_the_claim(name, find, change, world):
    truth = truths.recorded(find)
    changed = {"value": dict(truth.value) | change} if name == "C75" else change
    world.setattr(truths, find, lambda: replace(truth, **changed))
    assert not holds(name)


# --- worlds in which the stages of the digits network went otherwise -------------------------------------------------


def with_records(**changes):
    """The workflow as it ran here, with other values in some stages' records."""
    flow = copy.copy(witnesses.flow())
    flow.records = flow.records | {name: replace(flow.records[name], **values) for name, values in changes.items()}
    return flow


def with_stage(stage, **values):
    return with_records(**{stage: {"artefact": replace(witnesses.flow().artefact(stage), **values)}})


def with_recording(**values):
    """As on a machine without a compiler: a report without plan, and no file."""
    report = replace(witnesses.flow().report.without_plan(), **values)
    return with_records(build={"artefact": report}, serialise={"artefact": None})


def no_nodes():
    graph = copy.deepcopy(witnesses.flow().artefact("check"))
    del graph.graph.node[:]
    return with_records(check={"artefact": graph})


def parsed():
    return witnesses.flow().artefact("parse").layers


def calibrating():
    phase = Phase(name="Calibrating INT8", parent="build", start_s=0.0, seconds=1.0)
    return with_stage("build", phases=(*witnesses.flow().report.phases, phase))


def without_phase(name):
    return with_stage("build", phases=tuple(p for p in witnesses.flow().report.phases if p.name != name))


def without_figure(name):
    return with_stage("build", memory=replace(witnesses.flow().report.memory, **{name: None}))


STAGES = {
    "the checker complains": ("C71", lambda: with_records(check={"came_out": "invalid"})),
    "an export without nodes": ("C71", no_nodes),
    "a parser that reads nothing": ("C71", lambda: with_stage("parse", layers=())),
    "fewer layers than nodes": (
        "C73",
        lambda: with_stage("parse", layers=witnesses.flow().artefact("parse").layers[:3]),
    ),
    "no nodes": ("C73", lambda: with_stage("parse", onnx_nodes=0)),
    "no flag on by default": ("C76", lambda: with_stage("build", flags=())),
    "a precision flag on by default": ("C76", lambda: with_stage("build", flags=("FP16", "TF32"))),
    "the builder calibrates": ("C77", calibrating),
    "the builder does not optimise": ("C77", lambda: without_phase("Optimizing graph")),
    "the builder does not time tactics": ("C77", lambda: without_phase("Timing tactics")),
    "a builder that plans no memory": ("C77", lambda: without_figure("activation_bytes")),
    "a build without a plan": ("C74", lambda: with_recording(plan_size_bytes=0)),
    "a build of no network": ("C74", lambda: with_stage("build", layers=())),
    "another plan in memory": ("C78", lambda: with_stage("build", plan=b"another")),
    "a recording of no plan": ("C78", lambda: with_recording(plan_size_bytes=0)),
    "a recording without a hash": ("C78", lambda: with_recording(recorded_plan_sha256="?")),
    "no figure for weights": ("C84", lambda: without_figure("weights_bytes")),
    "no figure for activations": ("C84", lambda: without_figure("activation_bytes")),
}


@pytest.mark.parametrize("what", STAGES)
def test_another_outcome_of_a_stage_refutes_the_claim(what, world):
    name, make = STAGES[what]
    flow = make()
    world.setattr(witnesses, "flow", lambda: flow)
    assert not holds(name)


@pytest.mark.parametrize("name", ["C78", "C79"])
def test_a_recording_is_enough(name, world):
    flow = with_recording()
    world.setattr(witnesses, "flow", lambda: flow)
    assert holds(name)


@pytest.mark.parametrize(
    ("what", "does"), [("_check_version", lambda *_: None), ("load_plan", lambda *_, **__: (b"", None))]
)
def test_c79_fails_where_another_version_or_other_bytes_are_accepted(what, does, world):
    world.setattr(planfile, what, does)
    assert not holds("C79")


# --- worlds with other rules -----------------------------------------------------------------------------------------

RULES = "C25 C27 C29 C30 C31 C32 C33 C37 C38 C41 C42 C43 C44 C46 C47".split()


@pytest.mark.parametrize("name", FUSED + sorted(COMPUTED))
def test_rules_that_find_nothing_to_do_refute_what_rests_on_them_and_nothing_else(name, world):
    def idle(*asked):
        before, *_ = REWRITTEN(*asked)
        return before, before, Report(steps=(), refusals=(), counts=())

    world.setattr(witnesses, "rewritten", idle)
    assert holds(name) is (name not in RULES)


def test_c25_fails_where_fusion_changes_the_arithmetic(world):
    before, after, report = REWRITTEN("multiply_add_relu")
    world.setattr(witnesses, "rewritten", lambda _: (before, replace(after, flops=before.flops // 3), report))
    assert not holds("C25")


@pytest.mark.parametrize("title", ["onnxslim", "ONNX Runtime BASIC", "trtlab"])
def test_c45_fails_where_one_of_them_folds_nothing(title, world):
    world.setattr(compare, "OPTIMIZERS", dict(compare.OPTIMIZERS) | {title: lambda model: model})
    assert not holds("C45")


# --- worlds with other numbers ---------------------------------------------------------------------------------------


def other(name, **facts):
    return replace(FORMATS[name], **facts)


UNIFORM = CodeBook(name="NF4", entries=[k / 8 for k in range(-8, 8)])
OTHER_BITS = [
    ("C02", "TF32", other("TF32", mantissa_bits=11)),
    ("C03", "FP64", other("FP64", mantissa_bits=51)),
    ("C04", "FP32", other("FP32", mantissa_bits=22)),
    ("C05", "FP16", other("FP16", exponent_bits=6, mantissa_bits=9)),
    ("C06", "BF16", other("BF16", mantissa_bits=8)),
    ("C07", "FP8_E4M3", other("FP8_E4M3", has_infinity=True)),
    ("C07", "FP8_E4M3_IEEE", other("FP8_E4M3_IEEE", bias=8)),
    ("C08", "FP8_E5M2", other("FP8_E5M2", top_nans=1)),
    ("C09", "INT8", IntegerFormat(bits=8, is_signed=False)),
    ("C10", "INT4", IntegerFormat(bits=4, is_signed=False)),
    ("C11", "FP4_E2M1", other("FP4_E2M1", bias=2)),
    ("C11", "FP4_E2M1", FloatFormat(exponent_bits=2, mantissa_bits=1)),
    ("C12", "NF4", FORMATS["FP4_E2M1"]),
    ("C13", "TF32", other("TF32", mantissa_bits=9)),
    ("C13", "FP16", FORMATS["BF16"]),
    ("C15", "BF16", FORMATS["FP16"]),
    ("C16", "BF16", FORMATS["FP16"]),
    ("C17", "BF16", FORMATS["FP16"]),
    ("C17", "FP16", other("FP16", mantissa_bits=9)),
    ("C19", "TF32", other("TF32", padding_bits=12, mantissa_bits=11)),
    ("C19", "TF32", FORMATS["FP32"]),
    ("C20", "TF32", other("TF32", mantissa_bits=9)),
    ("C20", "FP32", FORMATS["FP16"]),
    ("C22", "NF4", UNIFORM),
    ("C22", "INT4", FORMATS["NF4"]),
]


@pytest.mark.parametrize(("name", "fmt", "changed"), OTHER_BITS)
def test_other_bits_refute_the_claim(name, fmt, changed, world):
    known = FORMATS | {fmt: changed}
    for module in (claims, formats, witnesses):
        world.setattr(module, "fmt", known.__getitem__)
    assert not holds(name)


def test_c10_knows_which_half_comes_first(world):
    pack = quantize.pack
    world.setattr(quantize, "pack", lambda codes: pack(codes[::-1]))
    assert not holds("C10")


@pytest.mark.parametrize("counts", [{"a": 256, "x": 8}, {"a": 1, "x": 1}])
def test_c35_tells_elementwise_from_softmax(counts, world):
    world.setattr(fusion, "changed", lambda _model, given, _result: counts[given])
    assert not holds("C35")


@pytest.mark.parametrize("name", ["C36", "C38"])
def test_an_array_of_another_size_refutes_the_claim(name, world):
    wide = [(op, [each.astype(float) for each in read], made.astype(float)) for op, read, made in fusion.passes()]
    world.setattr(fusion, "passes", lambda: wide)
    assert not holds(name)


def test_c39_compares_bits_and_sees_the_rounding(world):
    passes = fusion.passes()
    last = (*passes[-1][:2], np.nextafter(passes[-1][2], np.float32(9)))
    with world.context() as inner:
        inner.setattr(fusion, "passes", lambda: [*passes[:-1], last])
        assert not holds("C39")
    world.setattr(fusion, "numbers", lambda: [np.ones((16, 16), np.float32)] * 3)  # nothing to round
    assert not holds("C39")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("C37", {"call_s": 1.0}),
        ("C37", {"call_s": 1e-9}),
        ("C37", {"total_s": 1e-5}),
        *(("C88", change) for change in ({"stale_reads": 0}, {"fresh_reads": 20}, {"call_s": 1.0}, {"total_s": 1e-9})),
    ],
)
def test_other_times_on_a_gpu_refute_the_claim(name, change, world):
    changed = replace(TRANSFERS(), **change)
    world.setattr(witnesses, "transfers", lambda: changed)
    assert not holds(name)


def test_c85_needs_every_copy_to_be_faster_from_pinned_memory(world):
    known = TRANSFERS()
    for one in [each for each in known.copies if each.direction == "host_to_device" and each.pinned]:
        slow = known.bandwidth("host_to_device", pinned=False, size_bytes=one.size_bytes)
        copies = tuple(replace(c, bytes_per_s=slow) if c == one else c for c in known.copies)
        world.setattr(witnesses, "transfers", lambda copies=copies: replace(known, copies=copies))
        assert not holds("C85")


def test_c72_reads_the_name(world):
    world.setattr(importlib.metadata, "metadata", lambda _package: {"Summary": "Open Neural Exchange"})
    assert not holds("C72")


@pytest.mark.parametrize("network", ["vgg19", "inception_v1", "resnet50"])
@pytest.mark.parametrize("steps", [lambda steps: steps * 5, lambda _: ()])
def test_c90_needs_fewer_kernels_than_nodes_in_every_network(network, steps, world):
    known = witnesses.light_report
    changed = replace(known(network), steps=steps(known(network).steps))
    world.setattr(witnesses, "light_report", lambda name: changed if name == network else known(name))
    assert not holds("C90")


@pytest.mark.usefixtures("world")
def test_c90_counts_the_textbook_numbers():
    """ResNet-50 has 53 convolutions, each with a BatchNormalization; weights in disguise are not counted."""
    assert [row[:2] for row in find_claim("C90").prove().rows] == [
        ("vgg19", "46"), ("inception_v1", "144"), ("resnet50", "176")
    ]  # fmt: skip


def test_every_claim_has_a_world_that_refutes_it():
    """The tables above, and the tests named after one claim, leave none out."""
    named = {name.split("_")[1].upper() for name in globals() if name.startswith("test_c")}
    tables = {*ASK_THE_API, *READ_HISTORY, *BUILT, *FUSED, *RULES, *(name for name, *_ in (*OTHER_BITS, *TRUTHS))}
    assert named | tables | {name for name, _ in STAGES.values()} | {"C36", "C88", "C89"} >= set(PROVED)


# --- a claim of one's own --------------------------------------------------------------------------------------------


def test_a_proof_is_a_list_of_kinds_and_calls():
    made = {"said": "a.", "today": "b.", "source": "https://c.example", "verdict": "right"}
    text = bank.yaml.safe_dump({"X1": made | {"shown": "{one}", "proof": [{"fields": ["FP16", 1, 5, 10]}]}})
    (claim,) = bank.entries_in(text, "x.yaml", Claim).values()
    assert isinstance(claim.prove(), Found)
    assert claim.prove().facts["one"] == "0 01111 0000000000"
    unknown = replace(claim, proof=({"call": "no_such_proof"},))
    with pytest.raises(KeyError, match="no function 'no_such_proof' in study/proofs"):
        unknown.prove()


# --- no compiler -----------------------------------------------------------------------------------------------------

BLOCKED = """
    import sys

    class Blind:
        # A finder that does not see NVIDIA's compilers: as if they were not installed.
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx"):
                return None
            return self.finder.find_spec(name, path, target)

        def __getattr__(self, name):
            return getattr(self.finder, name)

    sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
    from trtlab.study.claims import claims
    for name, claim in claims().items():
        if claim.proof:
            found = claim.prove()
            print(name, found.holds, found.provenance.origin.value)
"""


@pytest.mark.slow
def test_where_no_compiler_can_be_installed_recordings_prove_all_of_it():
    code = textwrap.dedent(BLOCKED)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = {name: rest for name, *rest in (line.split() for line in done.stdout.splitlines())}
    assert list(said) == PROVED
    assert {holds for holds, _ in said.values()} == {"True"}
    assert {"C71", "C72"} <= {name for name, (_, origin) in said.items() if origin == "LIVE"}  # torch and onnx are here
