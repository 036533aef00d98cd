"""RewriteStepper without a browser: what is marked, counted and told at every step, and what the page may ask for."""

import re
from xml.etree import ElementTree as ET

import onnx
import pytest

from tests.teach.flows import relus
from trtlab.engine.nvidia import CompilerMissing
from trtlab.graph.fused import ORIGINS
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.rule import Rule, is_op, replace, source
from trtlab.graph.rules import RULES
from trtlab.teach import RewriteStepper
from trtlab.teach.graph.change import MOST, Story
from trtlab.teach.graph.draw import MEMBERS
from trtlab.teach.stepper import about, draw_about

FUSED_LINEAR = "one fused kernel MatMul Relu linear, relu"
SVG = "{http://www.w3.org/2000/svg}"


def flags(panel):
    """The words above the boxes of a drawing."""
    texts = ET.fromstring(panel["svg"]).iter(f"{SVG}text")
    return [text.text for text in texts if text.get("class") == "gv-word"]


def marked(panel):
    """{the word above a box: the lines of text in all boxes with that word}."""
    found = {}
    for box in ET.fromstring(panel["svg"]).iter(f"{SVG}g"):
        lines = [(text.get("class"), text.text) for text in box.iter(f"{SVG}text")]
        if box.get("data-key"):
            for word in (text for css, text in lines if css == "gv-word"):
                found.setdefault(word, []).extend(text for css, text in lines if css != "gv-word")
    return found


def both(stepper, position):
    stepper.go(position)
    return tuple(map(marked, stepper.shown["panels"]))


def ask(stepper, message, *buffers):
    """A message of the page."""
    stepper._on_message(stepper, message, list(buffers))


def send(stepper, name, data, piece=1000):
    """A file as the page sends it."""
    for at in range(0, max(len(data), 1), piece):
        message = {"do": "file", "name": name, "at": at, "size": len(data), "rules": list(RULES)}
        ask(stepper, message, memoryview(data[at : at + piece]))


class DropRelu(Rule):
    """An own rule: ReLU goes.

    x -> Relu -> y   ->   x
    """

    name = "own_rule"

    def pattern(self, node):
        return [node] * is_op(node, "Relu")

    def check(self, _nodes):
        return ""

    def rewrite(self, nodes):
        replace(nodes, [], {nodes[0].outputs[0]: source(nodes[0])})
        return "gone"


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_every_step_marks_what_it_took_and_counts_as_the_report(name):
    stepper = RewriteStepper(name)
    for number, step in enumerate(stepper.report.steps, 1):
        old, new = both(stepper, number)
        before, after = stepper.shown["panels"]
        taken = [n for n in stepper.report.model_at(number - 1).graph.node if set(step.where) & set(origins(n))]
        assert len(flags(before)) == len(taken)
        assert set(old) <= {"replaced", "removed", "kept"} >= {"kept"} != set(old)
        assert set(new) <= {"new", "kept"}
        assert ("replaced" in old) == ("new" in new)
        rows = {row["label"]: (row["before"], row["after"]) for row in stepper.shown["counts"]}
        assert rows["Kernels"] == (str(step.before.kernels), str(step.after.kernels))
        for panel, counts in ((before, step.before), (after, step.after)):
            assert panel["caption"].startswith(f"{counts.nodes} node")
        assert stepper.shown["title"].endswith(
            f" {number} of {len(stepper.report.steps)}: {about(RULES[step.rule]).title}"
        )
        assert stepper.model == stepper.report.model_at(number)


def origins(node):
    return {entry.key: entry.value for entry in node.metadata_props}.get(ORIGINS, node.name).split("\n")


@pytest.mark.parametrize(
    ("name", "position", "before", "after"),
    [
        ("conv_bn_relu", 1, {"replaced": "Conv conv BatchNormalization bn"}, {"new": "Conv conv"}),
        ("conv_bn_relu", 2, {"replaced": "Conv conv Relu relu"}, {"new": "one fused kernel Conv Relu conv, bn, relu"}),
        ("dead_branch", 1, {"removed": "MatMul dead_matmul Softmax dead_softmax"}, {}),
        ("common", 1, {"kept": "Exp exp1", "removed": "Exp exp2"}, {"kept": "Exp exp1"}),
        ("inception", 5, None, {"new": "Concat in place Concat concat · no kernel"}),
        ("dropout", 0, {"removed": "Dropout dropout Identity identity"}, {"new": FUSED_LINEAR}),
    ],
)  # fmt: skip
def test_what_is_replaced_removed_kept_and_new(name, position, before, after):
    drawn = both(RewriteStepper(name), position)
    for panel, expected in zip(drawn, (before, after), strict=True):
        assert expected is None or {word: " ".join(lines) for word, lines in panel.items()} == expected


def test_counts_of_a_step_and_of_the_whole_way():
    stepper = RewriteStepper()
    stepper.go(2)
    nodes, kernels, traffic = stepper.shown["counts"]
    assert (nodes["step"], nodes["total"]) == ("−1 in this step", "−2 since the start, 33% left")
    assert kernels["shares"] == pytest.approx([200 / 3, 100 / 3])
    assert (traffic["before"], traffic["after"]) == ("7.62 KiB", "3.62 KiB")  # 7,808 and 3,712 bytes
    for position in (-1, 3, "'1'"):
        with pytest.raises(ValueError, match=f"{position}.*there are 2"):
            stepper.go(position if isinstance(position, int) else "1")
    (words,) = marked(RewriteStepper(relus(*[""] * 12)).shown["panels"][1]).values()
    assert words[1 : MEMBERS + 1] == ["Relu"] * (MEMBERS - 1) + ["… 4 more"]


# --- rules and models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_told_from_its_docstring_with_its_source(name):
    told = about(RULES[name])
    assert "->" in told.picture
    assert told.algebra.startswith("Algebra:")
    text = draw_about(RULES[name]).text
    assert all(words in text for words in (told.picture.splitlines()[0].strip(), "def check", "rules/"))


def test_rules_can_be_left_out_and_brought_along():
    stepper = RewriteStepper(rules=["vertical_fusion"])
    assert stepper.report.steps == ()
    assert stepper.shown["what"] == "None of the chosen rules finds anything to do here."
    assert len(stepper.shown["panels"]) == 1
    assert [rule["name"] for rule in stepper.run["rules"] if rule["on"]] == ["vertical_fusion"]

    stepper.choose("inception", rules=[DropRelu()])
    assert [rule["steps"] for rule in stepper.run["rules"] if rule["name"] == "own_rule"] == [[1, 2, 3]]
    stepper.go(1)
    assert stepper.shown["title"] == "Step 1 of 3: An own rule"
    assert "ReLU goes." in stepper.shown["about"]
    with pytest.raises(ValueError, match="no rule is called 'fusion'"):
        stepper.choose(rules=["fusion"])
    assert stepper.position == 1, "a refused choice changes nothing"
    typed = {"Rule": Rule}  # into a terminal
    exec("class Typed(Rule):\n    name = 'typed'\n    def check(self, nodes): return ''", typed)
    assert "Typed.check has no Python source" in draw_about(typed["Typed"]()).text


def test_refusals_are_listed_with_their_reasons():
    stepper = RewriteStepper("layernorm")
    where, why = "centre + square + divide + scaled …", "a path between d and y runs outside"
    assert all(said in stepper.run["refusals"] for said in ("Left alone: 2, and why", "Pointwise fusion", where, why))
    assert RewriteStepper("qkv").run["refusals"] == ""
    assert {rule["name"]: rule["refused"] for rule in stepper.run["rules"]}["pointwise_fusion"] == 2


def test_own_models_as_a_proto_and_a_path(tmp_path):
    stepper = RewriteStepper(relus("relu"))
    assert stepper.run["model"] == "own (yours)"
    onnx.save(TEACHING_MODELS["gelu"](), tmp_path / "net.onnx")
    stepper.choose(tmp_path / "net.onnx")
    assert stepper.models == [*TEACHING_MODELS, "own (yours)", "net (yours)"]
    for wrong, error in (("inceptoin", KeyError), (b"hello", ValueError), (17, TypeError)):
        with pytest.raises(error, match=r"there are conv_bn_relu,|is no ONNX model|got int"):
            stepper.choose(wrong)


# --- what the page asks for -----------------------------------------------------------------------------------------


def test_the_page_steps_chooses_and_sends_a_file():
    stepper = RewriteStepper()
    serial = stepper.shown["serial"]
    ask(stepper, {"do": "go", "to": 2})
    assert (stepper.position, stepper.shown["serial"]) == (2, serial + 1)
    ask(stepper, {"do": "choose", "model": "qkv", "rules": ["horizontal_fusion"]})
    assert (stepper.run["model"], stepper.run["count"], stepper.position) == ("qkv", 1, 0)
    for nonsense in ({}, "go", {"do": "go", "to": 9}, {"do": "go", "to": "1"}, {"do": "choose", "model": "?"}):
        ask(stepper, nonsense)
    assert stepper.position == 0
    ask(stepper, {"do": "choose", "model": "qkv", "rules": ["no such rule"]})
    assert stepper.run["count"] == 0
    ask(stepper, {"do": "file", "name": "half", "at": 0, "size": 9, "rules": []}, memoryview(b"given up"))
    send(stepper, "net.onnx", TEACHING_MODELS["inception"]().SerializeToString())
    assert (stepper.run["model"], stepper.run["count"]) == ("net.onnx (yours)", 5)
    ask(stepper, {"do": "choose", "model": "net.onnx (yours)", "rules": []})
    assert stepper.run["count"] == 0


def test_a_model_is_sent_with_the_weights_that_stand_beside_it_and_alone_it_says_every_way_out(tmp_path):
    model = TEACHING_MODELS["conv_bn_relu"]()
    names = {"location": "net.onnx.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, **names)
    whole, data = ((tmp_path / name).read_bytes() for name in ("net.onnx", "net.onnx.data"))
    stepper = RewriteStepper("qkv")
    send(stepper, "net.onnx", whole)
    assert "choose both files" in stepper.shown["message"]
    send(stepper, "net.onnx.data", data)
    assert stepper.run["model"] == "qkv"
    send(stepper, "net.onnx", whole)
    assert (stepper.run["model"], stepper.shown["message"]) == ("net.onnx (yours)", "")
    send(stepper, "net.onnx", whole)  # the weights were of the file before
    assert "choose both files" in stepper.shown["message"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "'bad.onnx' is no ONNX model"),
        (b"", "not a valid ONNX model"),
        (relus("relu").SerializeToString()[:-7], "'bad.onnx' is no ONNX model"),
        (relus(*"abcdefgh").SerializeToString(), "8 nodes are too many to step through here: expected at most 7"),
    ],
)
def test_a_bad_file_says_why_and_leaves_the_old_model(data, words, monkeypatch):
    monkeypatch.setattr("trtlab.teach.stepper.MOST_NODES", 7)
    stepper = RewriteStepper("qkv")
    stepper.go(2)
    send(stepper, "bad.onnx", data)
    assert words in stepper.shown["message"]
    assert "defect" not in stepper.shown["message"]
    assert (stepper.run["model"], stepper.position) == ("qkv", 2)
    ask(stepper, {"do": "go", "to": 3})
    assert stepper.shown["message"] == ""


def test_nvidias_kernels_for_the_same_model_are_one_message_away_and_a_refusal_is_no_defect(monkeypatch):
    stepper = RewriteStepper("inception")
    ask(stepper, {"do": "nvidia"})
    theirs = stepper.run["nvidia"]
    # NVIDIA's builder was seen to make five kernels of it, and seven
    assert re.search(r"inception</b>.*1 kernel of ours, \d of NVIDIA&#x27;s", theirs)
    ask(stepper, {"do": "go", "to": 1})
    assert (stepper.position, stepper.run["nvidia"]) == (1, theirs)
    ask(stepper, {"do": "choose", "model": "inception", "rules": ["vertical_fusion"]})
    assert "nvidia" not in stepper.run
    ask(stepper, {"do": "nvidia"})
    assert "4 kernels of ours" in stepper.run["nvidia"]  # by the rules that are chosen
    ask(stepper, {"do": "choose", "model": "qkv", "rules": []})
    monkeypatch.setattr("trtlab.lab.compare.built", refused)
    ask(stepper, {"do": "nvidia"})
    assert stepper.shown["message"] == "No compiler. Install one. Still shown: qkv."
    assert "trtlab's own rewriting" in stepper.static().text


def refused(*_):
    raise CompilerMissing("No compiler.", hint="Install one.")


def test_an_error_nobody_foresaw_is_told_as_a_defect(monkeypatch):
    stepper = RewriteStepper()
    monkeypatch.setattr(Story, "panels", lambda *_: 1 / 0)
    ask(stepper, {"do": "go", "to": 1})
    assert "ZeroDivisionError: a defect of trtlab" in stepper.shown["message"]


# --- large models, drawings -----------------------------------------------------------------------------------------


def test_of_a_large_model_the_groups_around_the_change_are_open():
    rows = "".join(f"p{n} = MatMul(t{n}, w) d{n} = Identity(p{n}) t{n + 1} = Relu(d{n}) " for n in range(24))
    head = '<ir_version: 10, opset_import: ["": 20]> long (float[2,2] t0) => (float[2,2] t24)'
    stepper = RewriteStepper(onnx.parser.parse_model(f"{head} <float[2,2] a = {{1,2,3,4}}> {{ w = Add(a, a) {rows} }}"))
    number_of = {step.rule: step.number + 1 for step in reversed(stepper.report.steps)}
    for rule, word in (("dead_layers", "removed"), ("vertical_fusion", "replaced")):
        stepper.go(number_of[rule])
        panel, after = stepper.shown["panels"]
        assert set(flags(panel)) == {word}
        boxes, left = (one["svg"].count('class="gv-box') for one in (panel, after))
        assert abs(left - boxes) < 3 < boxes < MOST, "around what is gone too"
    stepper.go(0)
    panel = stepper.shown["panels"][0]
    assert "too large to draw every node" in panel["notice"]
    assert panel["svg"].count('class="gv-box') < 41
    names = [*(f"big/relu{n}" for n in range(MOST)), *(f"m{n}/relu" for n in range(12))]
    stepper = RewriteStepper(relus(*names), rules=[DropRelu()])
    stepper.go(1)
    assert stepper.shown["panels"][0]["svg"].count('class="gv-box') < 41, "one that is too large stays folded"


def test_the_static_form_is_one_image_with_both_graphs_counts_and_steps():
    drawing = RewriteStepper("inception").static()
    root = ET.fromstring(drawing.svg)
    assert len(root.findall(f"{SVG}svg")) == 2
    words = " ".join(root.itertext())
    assert all(said in words for said in ("7 nodes, 6 constants", "2 nodes, 2 constants"))
    assert re.search(r"Memory traffic\s+36.84 KiB\s+8.84 KiB", drawing.text)
    assert "r1, r2, r3 are written into y" in drawing.text


def test_a_model_of_dead_nodes_ends_with_none():
    """Its input is its output: every node goes, and what is left is drawn."""
    head = '<ir_version: 10, opset_import: ["": 20]> g (float[2] x) => (float[2] x)'
    stepper = RewriteStepper(onnx.parser.parse_model(f"{head} {{ a = Relu(x) b = Exp(a) }}"))
    stepper.go(1)
    assert [ET.fromstring(panel["svg"]) is None for panel in stepper.shown["panels"]] == [False, False]
    assert len(stepper.model.graph.node) == 0 == stepper.report.counts.nodes
    assert re.search(r"Nodes +2 +0 ", stepper.static().text)
