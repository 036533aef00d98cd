"""teach/claimcard: `claim("C74")` shows a sentence, proves it on the spot, and fails the notebook when it is false.

In: the name of a claim in study/claims, or a sentence and a function of your own. Out: a `Drawing`: what the sheet
says, what is true today, the evidence, where it came from, a tick.
"""

from collections.abc import Callable

from trtlab.engine.measure import live
from trtlab.study.claims import Claim, Evidence, Verdict, find_claim
from trtlab.teach.drawing import (
    Drawing,
    badge,
    card,
    details,
    escape,
    origin_badge,
    provenance_line,
    table,
    table_card,
    text_table,
)

VERDICT_WORD = {
    Verdict.RIGHT: "the sheet is right",
    Verdict.IMPRECISE: "the sheet is imprecise",
    Verdict.OUTDATED: "the sheet is outdated",
    Verdict.WRONG: "the sheet is wrong",
}
VERDICT_KIND = {Verdict.RIGHT: "done", Verdict.IMPRECISE: "stood", Verdict.OUTDATED: "stood", Verdict.WRONG: "bad"}
HISTORY = "A date or an author: nothing here can run to prove it; read the source."


class ClaimFailed(AssertionError):
    """A claim that its own proof refutes."""


def claim(name: str, prove: Callable[[], bool | Evidence] | None = None) -> Drawing:
    """Prove a claim and draw it. Raises ClaimFailed when the proof does not hold, KeyError for an unknown name.

    >>> claim("C74")                                                  # one of the sheet's
    >>> claim("FP16 halves the weights", lambda: half < 0.6 * full)   # your own
    """
    if prove is None:
        known = find_claim(name)
        return _draw(known.today, known.prove(), known) if known.prove else _draw_history(known)
    found = prove()
    if isinstance(found, bool):
        found = Evidence(holds=found, shown="", provenance=live())
    return _draw(name, found, None)


def _draw(sentence: str, evidence: Evidence, known: Claim | None) -> Drawing:
    if not evidence.holds:
        label = f"{known.name}: " if known else ""
        raise ClaimFailed(f"{label}{sentence} The proof says no. Seen: {evidence.shown} {evidence.rows or ''}".strip())
    mark = '<span class="tick" role="img" aria-label="proved">✓</span>'
    title = f'{mark}<b class="claim">{escape(sentence)}</b>'
    head = f"{title}{origin_badge(evidence.provenance.origin)}"
    body = f"<p>{escape(evidence.shown)}</p>" if evidence.shown else ""
    if evidence.rows:
        body += table([escape(word) for word in evidence.header], [tuple(map(escape, row)) for row in evidence.rows])
    foot = provenance_line(evidence.provenance)
    if known is not None:
        body, foot = _said(known) + body, f"{_source(known)} · {foot}"
        if evidence.provenance.command:
            foot += f" · made by <code>{escape(evidence.provenance.command)}</code>"
    return Drawing(html=card(head, body, foot=foot), text=_text(sentence, evidence, known))


def _said(known: Claim) -> str:
    verdict = badge(VERDICT_WORD[known.verdict], VERDICT_KIND[known.verdict])
    return f'<p class="said">{verdict} <span class=dim>{escape(known.said)}</span></p>'


def _source(known: Claim) -> str:
    return f'{escape(known.name)} · <a href="{escape(known.source)}">source</a>'


def _draw_history(known: Claim) -> Drawing:
    """A claim about a date or an author: no tick, because nothing that runs here could refute it."""
    head = f'<b class="claim">{escape(known.today)}</b>{badge("history", "not")}'
    text = [
        f"  {known.today} [history]",
        f"  {known.name}, {VERDICT_WORD[known.verdict]}: {known.said}",
        f"  {HISTORY}",
    ]
    foot = f"{_source(known)} · {HISTORY}"
    return Drawing(html=card(head, _said(known), foot=foot), text="\n".join(text))


def _text(sentence: str, evidence: Evidence, known: Claim | None) -> str:
    lines = [f"✓ {sentence} [{evidence.provenance.origin.value}]"]
    if known is not None:
        lines.append(f"  {known.name}, {VERDICT_WORD[known.verdict]}: {known.said}")
    if evidence.shown:
        lines.append(f"  {evidence.shown}")
    if evidence.rows:
        lines.append(text_table(evidence.header, evidence.rows))
    return "\n".join([*lines, f"  {evidence.provenance.line()}"])


def draw_claims(names: tuple[str, ...]) -> Drawing:
    """Several claims of the sheet as one table, each proved now; the evidence opens on demand."""
    rows, texts = [], []
    for name in names:
        known = find_claim(name)
        drawing = claim(name)
        verdict = badge(known.verdict.value, VERDICT_KIND[known.verdict])
        rows.append(
            (
                escape(name),
                verdict,
                escape(known.said),
                details(f"{'✓' if known.prove else '·'} {known.today}", drawing.html),
            )
        )
        texts.append(drawing.text)
    header = ("", "verdict", "the sheet, in other words", "today, proved")
    return Drawing(html=table_card(table(header, rows)), text="\n".join(texts))


__all__ = ["ClaimFailed", "claim", "draw_claims"]
