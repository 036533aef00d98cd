"""teach/fusion and two pictures: what is drawn is what was counted, and names cannot inject markup."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import merged
from trtlab.engine.recordings import fusions
from trtlab.graph import cost, optimize
from trtlab.graph.models import TEACHING_MODELS
from trtlab.lab.compare import OurGroup, Outcome, Row, Verdict, compare_groups, compare_optimizers
from trtlab.study.curriculum import LESSONS
from trtlab.teach import diagrams_fusion
from trtlab.teach.diagrams import DIAGRAMS, draw_diagram
from trtlab.teach.diagrams_acceleration import TECHNIQUES
from trtlab.teach.drawing import Drawing
from trtlab.teach.fusion import draw_agreement, draw_optimizers

from .markup import EVIL, read, said_by_both

MADE = recordings.load("fusion-gelu-SM89").provenance


@pytest.fixture(scope="module")
def gelu():
    return compare_optimizers(TEACHING_MODELS["gelu"]())


@pytest.fixture(scope="module")
def inception():
    return compare_groups(TEACHING_MODELS["inception"]())


def _words(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.text]


# --- optimisers -------------------------------------------------------------------------------------------------------


def test_one_model_in_detail(gelu):
    page = said_by_both(
        draw_optimizers(gelu), "gelu", "ONNX Runtime DISABLE_ALL", "Gelu", "Mul ×2", "Div_Erf_Add_Mul_Mul"
    )
    said_by_both(draw_optimizers(gelu), *(part.line() for part in merged(gelu.provenance)))
    assert page.count("tr") == 1 + len(gelu.outcomes)
    for outcome in gelu.outcomes:
        assert str(outcome.kernels) in page.words


def test_several_models_a_line_each_with_the_fewest_marked(gelu):
    drawing = draw_optimizers([gelu, replace(gelu, model="twin")])
    page = said_by_both(drawing, "gelu", "twin", "ORT ALL", "every result that ran agrees", "✓ fewest of the row")
    fewest = min(outcome.kernels for outcome in gelu.outcomes)
    marked = sum(outcome.kernels == fewest for outcome in gelu.outcomes)
    assert 0 < marked < len(gelu.outcomes)
    assert page.words.count("✓ 1") == 2 * marked
    numbers = drawing.text.splitlines()[1].split()
    assert numbers == ["gelu", *(str(outcome.kernels) for outcome in gelu.outcomes)]


def test_a_failure_is_told_instead_of_agreement(gelu):
    wrong = replace(gelu.outcomes[1], kernels=None, note="y: differs by 3")
    page = said_by_both(draw_optimizers([replace(gelu, outcomes=(gelu.outcomes[0], wrong))]), "y: differs by 3")
    assert "agrees" not in page.words
    with pytest.raises(ValueError, match="no rows to draw"):
        draw_optimizers([])


def test_where_nothing_could_be_built_the_rest_still_agrees(gelu):
    none = Outcome(optimizer="TensorRT", note="no compiler here")
    rows = [replace(gelu, model=name, outcomes=(*gelu.outcomes[:2], none)) for name in ("first", "second")]
    page = said_by_both(
        draw_optimizers(rows), "first, second: TensorRT: no compiler here", "every result that ran agrees"
    )
    assert page.words.count("–") == 2


def test_names_cannot_inject_markup(gelu, inception):
    outcome = Outcome(optimizer=EVIL, kernels=1, added=((EVIL, 2),), note=EVIL)
    row = Row(model=EVIL, outcomes=(outcome,), provenance=gelu.provenance)
    said_by_both(draw_optimizers(row), EVIL)
    said_by_both(draw_optimizers([row]), EVIL)
    match = inception.matches[0]
    group = OurGroup(op=EVIL, nodes=(EVIL,), is_kernel=True, in_place=False)
    kernel = replace(match.nvidia[0], name=EVIL, onnx_nodes=(EVIL,), type=EVIL)
    evil = replace(match, ours=(group,), nvidia=(kernel,), notes=(EVIL,))
    said_by_both(draw_agreement(replace(inception, model=EVIL, matches=(evil,), gone=(EVIL,))), EVIL)


# --- kernel by kernel -------------------------------------------------------------------------------------------------


def test_every_group_and_kernel_stands_in_the_card_with_its_verdict(inception):
    page = said_by_both(
        draw_agreement(inception), "inception", inception.report.provenance.line(), "1 × NVIDIA declined"
    )
    for match in inception.matches:
        said_by_both(draw_agreement(inception), match.verdict.value, *match.notes)
        for name in [n for group in match.ours for n in group.nodes]:
            assert name in page.words
    assert page.words.count("added by the compiler") == 4
    assert page.words.count("strides 1536, 64, 8, 1") == 3
    assert page.count("tr") == 1 + len(inception.matches)


def test_streams_are_told_and_a_model_is_taken_too():
    page = said_by_both(
        draw_agreement(fusions.model("wide_inception")), "stream 0", "stream 1", "stream 2", "on 3 streams"
    )
    assert page.words.count("strides 602112, 1, 10752, 192") == 3


def test_in_a_large_model_groups_that_agree_are_folded(inception):
    page = read(draw_agreement(inception, most=2))
    assert page.count("details") == 1
    assert f"{inception.count(Verdict.SAME)} groups that agree" in page.words
    assert read(draw_agreement(inception)).count("details") == 0


# --- pictures ---------------------------------------------------------------------------------------------------------

SO_FAR = [], ["vertical_fusion"], ["vertical_fusion", "horizontal_fusion"]
SO_FAR = *SO_FAR, ["vertical_fusion", "horizontal_fusion", "concat_elimination"]


def test_the_numbers_in_the_picture_of_fusion_are_those_of_the_rewriter():
    words, squares = _words(DIAGRAMS["fusion"]()), DIAGRAMS["fusion"]().count('width="18"')
    counts = [cost.model_cost(optimize(TEACHING_MODELS["inception"](), rules)[0]) for rules in SO_FAR]
    assert [word for word in words if re.fullmatch(r"\d+ kernels?", word)] == [
        f"{count.kernels} kernel{'s' * (count.kernels > 1)}" for count in counts
    ]
    assert [word for word in words if word.endswith("moved")] == [
        f"{c.bytes_moved / 1024:.1f} KiB moved" for c in counts
    ]
    assert squares == len(counts) * counts[0].kernels
    assert [count.kernels for count in counts] == [7, 4, 2, 1]


def test_the_block_in_the_picture_is_the_teaching_model():
    graph = TEACHING_MODELS[diagrams_fusion.MODEL]().graph
    kinds = [node.op_type for node in graph.node]
    assert (kinds.count("Conv"), kinds.count("Relu"), kinds.count("Concat"), len(kinds)) == (3, 3, 1, 7)
    shapes = {tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 4}
    assert shapes == {(8, 8, 1, 1)}  # the picture says: 1x1, 8 channels each
    assert {"y[0:8]", "y[8:16]", "y[16:24]"} <= set(_words(DIAGRAMS["fusion"]()))


def test_the_aside_in_the_picture_is_what_nvidia_did(inception):
    (aside,) = (word for word in _words(DIAGRAMS["fusion"]()) if "NVIDIA" in word)
    assert "leaves step 3 out" in aside
    assert diagrams_fusion.STEPS[2][1] == "horizontal_fusion"
    assert inception.count(Verdict.DECLINED) == 1


def test_every_technique_and_word_stands_in_the_overview():
    words = _words(DIAGRAMS["acceleration"]())
    for technique in TECHNIQUES:
        lines = {line.strip() for line in (*technique.first, *technique.since)}
        assert {technique.title, technique.notebook, f"saves {technique.saves}", *lines} <= set(words)
    numbers = [technique.notebook for technique in TECHNIQUES]
    assert numbers == ["03", "04", "05", "06", "07"]
    assert all(lesson.question.startswith("Q2") for lesson in LESSONS if lesson.file[:2] in numbers)


@pytest.mark.parametrize("name", ["acceleration", "fusion"])
def test_pictures_bring_no_style_that_leaks_and_load_nothing(name):
    drawing = draw_diagram(name)
    assert isinstance(drawing, Drawing)
    assert "<style" not in drawing.html
    assert "http" not in drawing.html.replace("http://www.w3.org/2000/svg", "")
    read(drawing)
    assert (Path(__file__).parents[2] / f"images/{name}.svg").is_file()
