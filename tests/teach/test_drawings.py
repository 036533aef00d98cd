"""What holds of all that is drawn: names that mean harm stay text, and a widget without a kernel is whole."""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from trtlab import teach
from trtlab.engine.machine import Driver, Gpu, LibraryState, Machine
from trtlab.engine.measure import KernelTime, live
from trtlab.engine.nvidia.errors import ParseError
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.rule import Rule
from trtlab.lab import builds, fusion, support
from trtlab.lab.compare import OurGroup, Outcome, Row, compare_groups
from trtlab.numeric import FloatFormat
from trtlab.numeric.calibrate import Histogram
from trtlab.study.bank import Words
from trtlab.study.found import Found
from trtlab.study.questions import question
from trtlab.study.quiz import Choice, Option
from trtlab.teach import machine, saycard, tables

from .flows import finished, relus
from .markup import EVIL, alike, bare, page_of

STATIC_BUILD, DYNAMIC_BUILD = (builds.recorded(f"digits-{name}") for name in ("FP32-SM89-static", "FP16-SM89-dynamic"))
BOTH = Words(en=EVIL, zh=EVIL)
TRUE = Found(value=EVIL, evidence=EVIL, header=(EVIL, "b"), rows=[(EVIL, "1")], provenance=live())


def evil(value, keep=()):
    """The same value with every text in it replaced by markup, but for the fields in `keep`."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init and f.name not in keep}
        return replace(value, **{name: evil(found, keep) for name, found in fields.items()})
    if isinstance(value, tuple):
        return tuple(evil(part, keep) for part in value)
    return EVIL if isinstance(value, str) else value


def evil_machine():
    gpu = Gpu(name=EVIL, compute_capability="8.9", memory_bytes=2**34, multiprocessors=128)
    driver = Driver(version=EVIL, gpus=(gpu,), why_not=EVIL)
    library = LibraryState(name=EVIL, version=EVIL, usable=False, why_not=EVIL)
    return Machine(system=EVIL, processor=EVIL, cores=4, isa=(EVIL,), memory_bytes=2**34, python=EVIL, driver=driver,
                   libraries=(library,))  # fmt: skip


def evil_record(name):
    return replace(evil(finished().records[name], ("name", "artefact", "when")), why_not=EVIL, log=(EVIL,))


def evil_report():
    report = replace(DYNAMIC_BUILD, layers=STATIC_BUILD.layers[:3])
    return evil(report, ("plan", "recorded_plan_sha256", "log", "phases", "when"))


def evil_cells():
    cell = support.Cell(format=EVIL, target="SM75", refusal=EVIL, by="builder")
    return support.Support(cells=(cell, replace(cell, target=EVIL)), provenance=evil(STATIC_BUILD.provenance))


def evil_groups():
    found = compare_groups(TEACHING_MODELS["inception"]())
    group, theirs = OurGroup(op=EVIL, nodes=(EVIL,), is_kernel=True, in_place=False), found.matches[0].nvidia[0]
    kernel = replace(theirs, name=EVIL, onnx_nodes=(EVIL,), type=EVIL)
    match = replace(found.matches[0], ours=(group,), nvidia=(kernel,), notes=(EVIL,))
    return replace(found, model=EVIL, matches=(match,), gone=(EVIL,))


def evil_quiz():
    options = (Option(key=EVIL, text=BOTH, why=BOTH), Option(key="b", text=Words(en="b", zh="b"), why=BOTH))
    asked = Choice(name=EVIL, question=BOTH, explanation=BOTH, evidence=BOTH, truth=TRUE, options=options)
    card = teach.QuizCard(asked)
    assert card.check(EVIL).correct
    marked = [card.face, *(card.feedback[key] for key in ("told", "tries", "answer"))]
    assert [page_of(markup).count("img") for markup in marked] == [0] * 4
    return card.static()


def evil_question(monkeypatch):
    evil_words = Words(en=f"{EVIL} `<b>`", zh=EVIL)
    asked = replace(question("Q3-01"), question=evil_words, topic=EVIL, sources=(f'https://x/"{EVIL}',), mistakes=(),
                    proofs=("C74",))  # fmt: skip
    monkeypatch.setattr(saycard, "question", lambda _: asked)
    return teach.say("Q3-01")


class Refuses(Rule):
    name = "refuses"

    def pattern(self, node):
        return [node]

    def check(self, _nodes):
        return EVIL


def evil_steps():
    refused = teach.RewriteStepper(relus(EVIL), rules=[Refuses()]).run["refusals"]
    assert (page_of(refused).count("img"), EVIL in page_of(refused).words) == (0, True)
    return teach.RewriteStepper(relus(EVIL, title=EVIL)).static()


def kernel(text):
    return KernelTime(name=text, onnx_nodes=(text,), tactic=text, inputs=(), outputs=(text,), time_us=1.0)


def named(text):
    return FloatFormat(name=text, exponent_bits=2, mantissa_bits=1, has_infinity=False)


CARDS = {
    "machine": evil_machine, "support": evil_cells, "stage": lambda: evil_record("build"),
    "workflow": lambda: [evil_record("build"), evil_record("context")], "layers": evil_report,
    "configuration": lambda: {"targets": (EVIL,), "flags": (EVIL,), "profiles": evil_report().profiles},
    "engine": evil_report, "build": evil_report, "outputs": lambda: {EVIL: np.zeros(2)},
    "predictions": lambda: evil(finished().artefact("compare")), "error": lambda: ParseError(EVIL, hint=EVIL),
    "codes": lambda: named(EVIL), "agreement": evil_groups,
    "optimizers": lambda: [
        Row(model=EVIL, outcomes=(Outcome(optimizer=EVIL, note=EVIL), Outcome(optimizer="x", kernels=1)),
            provenance=(live(),))],
    "fusion_findings": lambda: (lambda made: replace(made, provenance=replace(made.provenance, device=EVIL)))(
        fusion.load("h100")),
}  # fmt: skip
OTHERS = {
    "kernels": lambda _: teach.draw_kernels([kernel(EVIL)], live()),
    "claim": lambda _: teach.claim(EVIL, lambda: replace(TRUE, value=True)),
    "quiz": lambda _: evil_quiz(), "say": evil_question,
    "bits": lambda _: teach.BitEditor(named(EVIL), 1).static(),
    "quantview": lambda _: teach.QuantView("gaussian", named(EVIL)).static(),
    "graph": lambda _: teach.GraphView(relus(f"{EVIL}/Relu")).static(),
    "stepper": lambda _: evil_steps(),
}  # fmt: skip


@pytest.mark.parametrize("what", [*CARDS, *OTHERS])
def test_a_name_that_means_harm_is_shown_and_does_nothing(what, monkeypatch):
    drawn = OTHERS[what](monkeypatch) if what in OTHERS else getattr(teach, f"draw_{what}")(CARDS[what]())
    page = alike(drawn)
    assert "onerror=alert(1)" in page.words
    assert page.count("img") == page.count("script") == 0


def test_every_card_of_a_machine_or_an_artefact_is_among_them():
    drawn = {name.removeprefix("draw_") for part in (tables, machine) for name in vars(part) if "draw_" in name}
    assert drawn - {"badges", "progress", "plan_file", "rows", "calls", "refusal", "terms"} <= set(CARDS)


WIDGETS = {
    "bits": lambda: teach.BitEditor("TF32", "1.3"), "quantview": lambda: teach.QuantView("trained fc weights", "MXFP4"),
    "graph": lambda: teach.GraphView(relus("a", "b")), "stepper": lambda: teach.RewriteStepper("inception"),
    "pipeline": teach.PipelineView, "noise": teach.NoiseView, "roof": lambda: teach.RooflineView(rows=0),
    "clip": lambda: teach.ClipView(Histogram.of(np.arange(9.0))), "streams": teach.StreamView,
}  # fmt: skip


@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_is_shown_live_and_its_form_without_a_kernel_says_the_same_in_words_and_as_a_picture(name):
    view = WIDGETS[name]()
    drawn, bundle = view.static(), view._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    alike(drawn)
    assert "application/vnd.jupyter.widget-view+json" in data
    assert {kind: data[kind] for kind in drawn._repr_mimebundle_()} == drawn._repr_mimebundle_()
    assert ("image/svg+xml" in data) == (name != "pipeline")
    tags = {e.tag.split("}")[1] for e in ElementTree.fromstring(data.get("image/svg+xml", '<a xmlns="x"/>')).iter()}
    assert not tags & {"script", "foreignObject", "image", "use"}


@pytest.mark.parametrize("name", ["claim('C18')", "draw_claims(['C18'])", "say('Q1-01')", "draw_badges()",
                                  "quiz('q1-e4m3-code').static()", "guess('kernels').bar(3)"])  # fmt: skip
def test_where_scripts_and_attributes_are_dropped_a_card_is_english_and_offers_nothing_that_is_dead(name):
    words = bare(eval(f"teach.{name}"))
    assert len(words) > 20
    assert not re.search("[一-鿿]|Show|English", words)


def test_the_page_renders_markup_only_where_python_escaped_it_and_loads_nothing():
    scripts = "".join(path.read_text("utf-8") for path in (Path(teach.__file__).parent / "static").glob("*.js"))
    made_by_python = ['model.get("detail")', 'model.get("message")', "markup", "run.refusals", 'run.nvidia ?? ""',
                      "shown.about", "node.dataset.live"]  # fmt: skip
    assert sorted(re.findall(r"\.innerHTML = ([^;]+);", scripts)) == sorted(made_by_python)
    assert scripts.count("innerHTML") == len(made_by_python) + 3  # tongue.js: words that Python left in attributes
    assert not re.search(r"outerHTML|insertAdjacentHTML|document\.write|eval\(|src *= *[\"']https?://", scripts)
