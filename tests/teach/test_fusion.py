"""teach/fusion: what is drawn is what was counted or measured, and names cannot inject markup."""

from dataclasses import replace

import pytest

from trtlab.engine.measure import Origin
from trtlab.graph.models import TEACHING_MODELS
from trtlab.lab import builds
from trtlab.lab.compare import Verdict, compare_groups, compare_optimizers
from trtlab.lab.fusion import load
from trtlab.teach import draw_agreement, draw_fusion_findings, draw_optimizers
from trtlab.teach.card import LONG

from .markup import EVIL, alike


@pytest.fixture(scope="module")
def gelu():
    return compare_optimizers(TEACHING_MODELS["gelu"]())


@pytest.fixture(scope="module")
def inception():
    return compare_groups(TEACHING_MODELS["inception"]())


# --- optimisers -------------------------------------------------------------------------------------------------------


def test_several_models_a_line_each_with_the_fewest_marked(gelu):
    drawing = draw_optimizers([gelu, replace(gelu, model="twin")])
    page = alike(drawing, "gelu", "twin", "ORT ALL", "every result that ran agrees", "✓ fewest of the row")
    fewest = min(outcome.kernels for outcome in gelu.outcomes)
    marked = sum(outcome.kernels == fewest for outcome in gelu.outcomes)
    assert 0 < marked < len(gelu.outcomes)
    assert page.words.count("✓ 1") == 2 * marked
    numbers = drawing.text.splitlines()[2].replace("✓", "").split()
    assert numbers == ["gelu", *(str(outcome.kernels) for outcome in gelu.outcomes)]


def test_a_failure_is_told_instead_of_agreement(gelu):
    wrong = replace(gelu.outcomes[1], kernels=None, note="y: differs by 3")
    page = alike(draw_optimizers([replace(gelu, outcomes=(gelu.outcomes[0], wrong))]), "y: differs by 3")
    assert "agrees" not in page.words
    with pytest.raises(ValueError, match="no rows to draw"):
        draw_optimizers([])


# --- kernel by kernel -------------------------------------------------------------------------------------------------


def test_every_group_and_kernel_stands_in_the_card_with_its_verdict(inception):
    words = [word for match in inception.matches for word in (match.verdict.value, *match.notes)]
    words += [name for match in inception.matches for group in match.ours for name in group.nodes]
    made = inception.report.provenance
    page = alike(draw_agreement(inception), "inception", made.line(), "1 × NVIDIA declined", *words)
    assert page.words.count("added by the compiler") == 4
    assert page.words.count("strides 1536, 64, 8, 1") == 3
    assert page.count("tr") == 1 + len(inception.matches)
    assert page.count("details") == 0


def test_what_differs_stands_before_the_fold(inception):
    (same,) = (match for match in inception.matches if match.verdict is Verdict.SAME)
    text = draw_agreement(replace(inception, matches=(*[same] * LONG, *inception.matches))).text
    assert text.index(Verdict.DECLINED.value, text.index("compared")) < text.index("more rows")


def test_streams_are_told_and_a_model_is_taken_too():
    page = alike(draw_agreement(builds.model("wide_inception")), "stream 0", "stream 1", "stream 2", "on 3 streams")
    assert page.words.count("strides 602112, 1, 10752, 192") == 3


# --- what was measured ------------------------------------------------------------------------------------------------


def test_findings_are_shown_with_their_numbers_and_their_origin():
    recorded = load("h100")
    words = ["3 times fewer launches, 2 times fewer bytes", "half of the bytes stay", "访存量还剩一半"]
    page = alike(draw_fusion_findings(recorded), *words, recorded.provenance.line())
    assert page.words.count("RECORDED") == 7
    assert "not seen in this run" not in page.words


def test_what_a_run_did_not_show_is_not_taught():
    recorded = load("h100")
    rows = (replace(r, time=replace(r.time, samples_s=(1e-6 * r.kernels,))) for r in recorded.rows)
    made = replace(recorded.provenance, origin=Origin.LIVE, device=EVIL)
    page = alike(draw_fusion_findings(recorded, replace(recorded, rows=tuple(rows), provenance=made)), EVIL)
    assert page.words.count("not seen in this run") > 2
    assert page.words.count("half of the bytes stay") == 1
