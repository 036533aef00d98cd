"""teach/claimcard: a claim is shown with its evidence, or it fails the notebook."""

import pytest

from trtlab.engine.measure import Origin, Provenance
from trtlab.study.claims import CLAIMS, Claim, Evidence, Verdict, find_claim
from trtlab.teach.claimcard import HISTORY, VERDICT_KIND, VERDICT_WORD, ClaimFailed, claim, draw_claims

from .markup import EVIL, read, said_by_both

MADE = Provenance(
    origin=Origin.RECORDED,
    device="an RTX 4090",
    when="2026-11-22",
    versions=(("trt", "11.0"),),
    samples=3,
    command="make it",
)
SEEN = Evidence(
    holds=True, shown="Half of it.", provenance=MADE, header=("what", "bytes"), rows=(("FP32", "8"), ("FP16", "4"))
)


@pytest.mark.parametrize("name", ["C70", "C72", "C75", "C85", "C87", "C88"])  # without a build; one of each verdict
def test_a_claim_of_the_sheet_shows_sentence_verdict_evidence_and_provenance(name):
    known, seen = find_claim(name), find_claim(name).prove()
    facts = [known.today, known.said, known.name, VERDICT_WORD[known.verdict], seen.shown, "✓"]
    facts += [seen.provenance.origin.value, seen.provenance.line(), *(cell for row in seen.rows for cell in row)]
    page = said_by_both(claim(name), *facts)
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == [known.source]
    assert ("made by" in page.words) is (seen.provenance.command is not None)


def test_every_verdict_has_a_word_and_a_look():
    assert set(VERDICT_WORD) == set(VERDICT_KIND) == set(Verdict)


def test_a_claim_of_your_own_with_a_bool():
    page = said_by_both(claim("FP16 halves the weights", lambda: True), "FP16 halves the weights", "✓", "LIVE on ")
    assert "the sheet" not in page.words
    assert not any(line.strip() == "" for line in claim("it is so", lambda: True).text.splitlines())


def test_a_claim_of_your_own_with_evidence():
    said_by_both(claim("FP16 halves the weights", lambda: SEEN), "Half of it.", "FP32", "bytes", MADE.line())


@pytest.mark.parametrize(
    "found", [False, Evidence(holds=False, shown="Nine tenths.", provenance=MADE, rows=(("FP16", "7"),))]
)
def test_a_false_claim_fails_the_notebook_and_says_what_was_seen(found):
    with pytest.raises(ClaimFailed, match=r"^FP16 halves the weights The proof says no\. Seen:") as caught:
        claim("FP16 halves the weights", lambda: found)
    assert isinstance(caught.value, AssertionError)
    if found:
        assert "Nine tenths." in str(caught.value)
        assert "('FP16', '7')" in str(caught.value)


def test_a_false_claim_of_the_sheet_is_named(monkeypatch):
    false = Claim(
        name="X1", verdict=Verdict.RIGHT, said="Said.", today="True.", source="https://x.example", prove=lambda: refuted
    )
    refuted = Evidence(holds=False, shown="Seen.", provenance=MADE)
    monkeypatch.setitem(CLAIMS, "X1", false)
    with pytest.raises(ClaimFailed, match=r"^X1: True\. The proof says no\. Seen: Seen\.$"):
        claim("X1")
    with pytest.raises(ClaimFailed, match=r"^X1: "):
        draw_claims(("C72", "X1"))


def test_an_error_in_a_proof_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        claim("one over zero", lambda: 1 / 0)


def test_an_unknown_claim_names_the_close_ones():
    with pytest.raises(KeyError, match=r"there is no claim 'C7O'; did you mean C\d\d, "):
        claim("C7O")


def test_several_claims_are_one_table_whose_evidence_opens():
    names = ("C70", "C72", "C85")
    facts = [word for name in names for word in (name, find_claim(name).said, find_claim(name).today)]
    page = said_by_both(draw_claims(names), *facts, find_claim("C85").prove().provenance.line())
    assert page.count("details") == len(names)


def test_markup_in_evidence_stays_text():
    seen = Evidence(
        holds=True, shown=EVIL, header=(EVIL, "b"), rows=((EVIL, "1"),),
        provenance=Provenance(origin=Origin.LIVE, device=EVIL, when="2026-11-22"),
    )  # fmt: skip
    page = read(claim(EVIL, lambda: seen))
    assert page.words.count("<script>") == 5
    assert page.count("img") == 0


def test_markup_in_a_claim_of_the_sheet_stays_text(monkeypatch):
    made = Claim(
        name=EVIL, verdict=Verdict.WRONG, said=EVIL, today=EVIL, source="https://x.example/?" + EVIL, prove=lambda: SEEN
    )
    monkeypatch.setitem(CLAIMS, EVIL, made)
    for drawing in (claim(EVIL), draw_claims((EVIL,))):
        assert read(drawing).count("img") == 0


def test_history_has_a_source_and_no_tick():
    for name in ("C18", "C21"):
        known = find_claim(name)
        assert known.prove is None
        page = said_by_both(claim(name), known.today, known.said, known.name, "history", HISTORY)
        assert "✓" not in page.words
        assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == [known.source]
        assert "✓" not in said_by_both(draw_claims((name,)), known.today).words
