"""teach/claimcard: a claim is shown with its evidence in two languages, or it fails the notebook."""

import functools
import re

import numpy as np
import pytest

from trtlab.engine.measure import Origin, Provenance
from trtlab.study import bank, claims
from trtlab.study.bank import UnknownEntry, Words, said
from trtlab.study.claims import Behind, Claim, Verdict, find_claim
from trtlab.study.found import Found
from trtlab.teach.card import alive
from trtlab.teach.claimcard import ClaimFailed, claim, draw_claims

from .markup import faults, read, shown

MADE = Provenance(
    origin=Origin.RECORDED, device="an RTX 4090", when="2026-11-22", versions=(("trt", "11.0"),), samples=3,
    command="make it",
)  # fmt: skip
SEEN = Found(value=True, evidence="Half of it.", provenance=MADE, header=("what", "bytes"), rows=[("FP32", 8)])


def of_ones_own(monkeypatch, found, **words):
    """Put a claim into the bank whose proof finds this."""
    texts = {"said": "Said.", "today": "True.", "shown": "Seen."} | words
    made = Claim(
        name="X1", verdict=Verdict.RIGHT, source="https://x.example", proof={Behind.BUILT: ("x",)},
        **{key: Words(en=text, zh=text) for key, text in texts.items()},
    )  # fmt: skip

    def proof():
        return found

    monkeypatch.setattr(claims, "claims", lambda: {"X1": made})
    monkeypatch.setattr(bank, "call", lambda *_: functools.partial(proof))


@pytest.mark.parametrize("name", ["C18", "C70", "C72", "C80", "C85", "C91"])  # one of each verdict, and history
def test_a_claim_shows_sentence_verdict_answer_evidence_and_check_in_both_languages(name):
    """First what the sheet says, then the verdict, then the answer."""
    known, drawing = find_claim(name), claim(name)
    assert faults(drawing.html, drawing.text) == []
    page, verdict = shown(drawing.html), said(f"verdict_{known.verdict.value}")
    for language in ("en", "zh"):
        places = [page.index(text[language]) for text in (known.said, verdict, known.today)]
        assert places == sorted(places)
        assert all(said(f"behind_{kind.value}")[language] in page for kind in known.behind)
    assert known.source in drawing.html
    if not known.proof:
        assert said("no_proof").en in page
        assert "✓" not in page
        return
    assert "How it is checked" in page
    assert ("def build_without_profile(" in page) is (name == "C91")  # what a shape of a proof asks is shown as well
    for _, call in known.parts():
        found = call()
        assert f"def {call.func.__name__}(" in page
        assert all(repr(value) in page for value in (*call.args, *call.keywords.values()))
        assert found.provenance.device in page
        assert (found.provenance.command or "") in page
    cells = [cell for row in known.prove().rows for cell in row]
    assert all(part in page for cell in cells for part in ([cell.en, cell.zh] if isinstance(cell, Words) else [cell]))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("C85", "proved / 已证明"),
        ("C82", "the name exists / API 里有这个名字"), ("C72", "by definition / 按定义"),
        ("C81", "on record / 有记录可查"),
        ("C06", "proved / 已证明"), ("C91", "built by NVIDIA, the name exists / NVIDIA 构建、API 里有这个名字"),
    ],
)  # fmt: skip
def test_a_tick_is_named_proved_only_where_a_proof_could_fail(name, label):
    (tick,) = re.findall(r'<span class="(tick[^"]*)" role="img" aria-label="([^"]*)">✓', claim(name).html)
    assert tick == ("tick" if label.startswith("proved") else "tick not", label)


def test_a_claim_of_ones_own_is_a_bool_or_a_finding():
    for drawing in (claim("FP16 halves it", lambda: True), claim("FP16 halves it", lambda: SEEN)):
        assert faults(drawing.html, drawing.text) == []
        assert "the sheet" not in drawing.text
        assert drawing.text.startswith("✓ · FP16 halves it")
    assert "Half of it." in drawing.text
    assert MADE.line() in drawing.text


@pytest.mark.parametrize("found", [False, Found(value=False, evidence="Nine tenths.", provenance=MADE, rows=[(7,)])])
def test_a_false_claim_fails_the_notebook_and_says_what_was_seen(found):
    with pytest.raises(ClaimFailed, match=r"FP16 halves it\. The proof says no\.") as caught:
        claim("FP16 halves it", lambda: found)
    assert isinstance(caught.value, AssertionError)
    assert not found or ("Nine tenths." in str(caught.value) and "('7',)" in str(caught.value))


def test_a_false_claim_of_the_sheet_is_named(monkeypatch):
    of_ones_own(monkeypatch, Found(value=False, facts={"copies": 2}, provenance=MADE))
    for draw in (lambda: claim("X1"), lambda: draw_claims(("X1",))):
        with pytest.raises(ClaimFailed, match=r"^X1: True\. The proof says no\. Seen: .*copies"):
            draw()


def test_an_error_in_a_proof_is_not_hidden_and_an_unknown_claim_names_the_close_ones():
    with pytest.raises(ZeroDivisionError):
        claim("one over zero", lambda: 1 / 0)
    with pytest.raises(TypeError, match="the proof of 'halved' gave None: expected True, False or a Found"):
        claim("halved", lambda: None)
    assert claim("halved", lambda: np.float32(1) > 0).text.startswith("✓")
    with pytest.raises(UnknownEntry, match=r"there is no claim 'C7O'; did you mean C\d\d, "):
        claim("C7O")


def test_several_claims_are_one_table_whose_evidence_opens_and_one_switch():
    names = ("C70", "C72", "C85", "C18")
    drawing = draw_claims(names)
    assert "measured / 实测 × 1 · the name exists / API 里有这个名字 × 1 · by definition / 按定义 × 1" in drawing.text
    assert faults(drawing.html, drawing.text) == []
    assert read(drawing).count("details") == 2 * len(names) - 1
    assert drawing.html.count(alive().html) == 1
