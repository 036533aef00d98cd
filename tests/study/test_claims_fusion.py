"""study/claims/fusion: C24 to C47 hold, with the compiler and with recordings, and every proof can fail.

Each is run again in worlds that differ in one fact: NVIDIA's builder fused nothing, its log is empty, it planned other
memory; our rules did nothing; numbers came out otherwise.
"""

from dataclasses import replace

import numpy as np
import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import CompilerMissing, Kernel
from trtlab.engine.recordings import transfers
from trtlab.graph.rewrite import Report
from trtlab.lab import compare
from trtlab.study.claims import Verdict, find_claim, fusion
from trtlab.study.quizzes import found

EVERY = [f"C{number}" for number in range(24, 48)]
COMPUTED = ["C35", "C36", "C38", "C39"]  # by NumPy and our rules alone
BUILT = [name for name in EVERY if name not in COMPUTED]
REWRITTEN = "C25 C27 C29 C30 C31 C32 C33 C37 C38 C41 C42 C43 C44 C47".split()
READ_THE_LOG = ["C24", "C27", "C34", "C42"]
OURS = fusion.rewritten


@pytest.fixture
def world(monkeypatch):
    """A machine without a compiler, to be changed."""
    monkeypatch.setattr(fusion, "report_on", lambda name: recordings.load(f"fusion-{name}-SM89"))
    monkeypatch.setattr(found, "training_dropout", missing("training_dropout"))
    return monkeypatch


def missing(name):
    def find():
        raise CompilerMissing("none here")

    find.__name__ = name
    return find


def holds(name):
    return find_claim(name).prove().holds


# --- as it is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_claim_says_what_was_said_what_is_true_and_where(name):
    claim = find_claim(name)
    assert type(claim.verdict) is Verdict
    assert claim.prove.__module__ == fusion.__name__
    assert claim.said.endswith(".")
    assert claim.today.endswith(".")
    assert claim.source.startswith("https://")
    assert max(len(claim.said), len(claim.today)) <= 160


@pytest.mark.parametrize("name", EVERY)
def test_it_holds_now_and_shows_its_evidence(name):
    evidence = find_claim(name).prove()
    assert evidence.holds
    assert evidence.shown.endswith((".", ":"))
    assert evidence.provenance.origin in (Origin.LIVE, Origin.RECORDED)
    assert all(len(row) == len(evidence.header) for row in evidence.rows)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", EVERY)
def test_it_holds_where_no_compiler_can_be_installed(name):
    evidence = find_claim(name).prove()
    assert evidence.holds
    assert (evidence.provenance.origin is Origin.LIVE) is (name in COMPUTED)


# --- worlds with another builder -------------------------------------------------------------------------------------


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


def read_by(name, world):
    """The builds that a proof looks at."""
    seen, report = [], fusion.report_on
    world.setattr(fusion, "report_on", lambda which: (seen.append(which), report(which))[1])
    assert holds(name)
    world.setattr(fusion, "report_on", report)
    return list(dict.fromkeys(seen))


def with_report(world, which, changed):
    recorded = fusion.report_on
    world.setattr(fusion, "report_on", lambda name: changed(recorded(name)) if name == which else recorded(name))


def test_these_and_no_others_look_at_nvidias_builds(world):
    assert [name for name in EVERY if read_by(name, world)] == BUILT


@pytest.mark.parametrize("name", BUILT)
def test_a_builder_that_fuses_nothing_refutes_the_claim(name, world):
    for which in read_by(name, world):
        with world.context() as inner:
            with_report(inner, which, unfused)
            assert not holds(name), f"the build of {which} makes no difference"


@pytest.mark.parametrize("name", READ_THE_LOG)
def test_an_empty_log_refutes_the_claim(name, world):
    (which,) = read_by(name, world)
    with_report(world, which, lambda report: replace(report, log=()))
    assert not holds(name)


@pytest.mark.parametrize(
    ("name", "which", "change"),
    [
        ("C24", "wide_inception", {"activation_bytes": 0}),
        ("C26", "matmul_relu", {"activation_bytes": 8_454_144}),
        ("C26", "matmul_two_readers", {"activation_bytes": 8_192_000}),
        ("C31", "chain_128", {"activation_bytes": 16_384}),
        ("C44", "constant_subgraph", {"weights_bytes": 8}),
    ],
)
def test_other_memory_refutes_the_claim(name, which, change, world):
    with_report(world, which, lambda report: replace(report, memory=replace(report.memory, **change)))
    assert not holds(name)


@pytest.mark.parametrize("name", ["C24", "C33"])
def test_one_stream_refutes_the_claim(name, world):
    with_report(
        world,
        "wide_inception",
        lambda report: replace(report, steps=tuple(replace(step, stream=0) for step in report.steps)),
    )
    assert not holds(name)


def test_c24_asks_for_precision_and_for_what_came_since(world):
    api = recordings.load_api()
    for owner in ("DataType", "INetworkDefinition", "IRuntimeConfig"):
        with world.context() as inner:
            inner.setattr(recordings, "load_api", lambda owner=owner: replace(api, names=api.names | {owner: ()}))
            assert not holds("C24")
    with_report(world, "wide_inception", lambda report: replace(report, flags=()))
    assert not holds("C24")


def test_c28_counts_layers(world):
    with_report(world, "conv_relu", lambda report: replace(report, layers=(*report.layers, report.layers[0])))
    assert not holds("C28")


def test_c34_fails_where_a_pass_is_called_tensor_fusion(world):
    def renamed(report):
        log = tuple(replace(line, text=line.text.replace("tensor merging", "tensor fusion")) for line in report.log)
        return replace(report, log=log)

    with_report(world, "multiply_add_relu", renamed)
    assert not holds("C34")


@pytest.mark.parametrize("changes", [{"value": "built"}, {"evidence": "Plugin not found."}])
def test_c43_needs_the_refusal_of_training_mode(changes, world):
    truth = replace(found.recorded("training_dropout"), **changes)
    world.setattr(found, "training_dropout", lambda: truth)
    assert not holds("C43")


def test_c46_looks_at_strides(world):
    def packed(report):
        tensors = [tuple(replace(t, strides=(1, 1, 1, 64)) for t in step.outputs) for step in report.steps]
        steps = tuple(replace(step, outputs=outputs) for step, outputs in zip(report.steps, tensors, strict=True))
        return replace(report, steps=steps)

    with_report(world, "wide_inception", packed)
    assert not holds("C46")


# --- worlds with other rules -----------------------------------------------------------------------------------------


def idle(name, *rules):
    """Rules that find nothing to do."""
    before, *_ = OURS(name, *rules)
    return before, before, Report(steps=(), refusals=())


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", [*REWRITTEN, "C46"])
def test_rules_that_do_nothing_refute_the_claim(name, world):
    world.setattr(fusion, "rewritten", idle)
    assert not holds(name)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in [*REWRITTEN, "C46"]])
def test_the_others_do_not_depend_on_our_rules(name, world):
    world.setattr(fusion, "rewritten", idle)
    assert holds(name)


def test_c25_fails_where_fusion_changes_the_arithmetic(world):
    before, after, report = OURS("multiply_add_relu")
    world.setattr(fusion, "rewritten", lambda _: (before, replace(after, flops=before.flops // 3), report))
    assert not holds("C25")


@pytest.mark.parametrize("title", ["onnxslim", "ONNX Runtime BASIC", "trtlab"])
def test_c45_fails_where_one_of_them_folds_nothing(title, world):
    world.setattr(compare, "OPTIMIZERS", dict(compare.OPTIMIZERS) | {title: lambda model: model})
    assert not holds("C45")


# --- worlds with other numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [{"a": 256, "x": 8}, {"a": 1, "x": 1}])
def test_c35_tells_elementwise_from_softmax(counts, world):
    world.setattr(fusion, "_changed", lambda _model, given, _result: counts[given])
    assert not holds("C35")


@pytest.mark.parametrize("name", ["C36", "C38"])
def test_an_array_of_another_size_refutes_the_claim(name, world):
    passes = [
        (op, [each.astype(float) for each in read], written.astype(float)) for op, read, written in fusion._passes()
    ]
    world.setattr(fusion, "_passes", lambda: passes)
    assert not holds(name)


def test_c39_compares_bits_and_sees_the_rounding(world):
    passes = fusion._passes()
    last = (*passes[-1][:2], np.nextafter(passes[-1][2], np.float32(9)))
    with world.context() as inner:
        inner.setattr(fusion, "_passes", lambda: [*passes[:-1], last])
        assert not holds("C39")
    world.setattr(fusion, "_numbers", lambda: [np.ones((16, 16), np.float32)] * 3)  # nothing to round
    assert not holds("C39")


@pytest.mark.parametrize("change", [{"call_s": 1.0}, {"call_s": 1e-9}, {"total_s": 1e-5}])
def test_c37_needs_a_launch_of_microseconds(change, world):
    h100 = replace(transfers.load(), **change)
    world.setattr(transfers, "load", lambda: h100)
    assert not holds("C37")
