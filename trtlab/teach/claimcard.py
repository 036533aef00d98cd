"""teach/claimcard: `claim("C74")` shows a sentence, proves it on the spot, and fails the notebook when it is false.

In: the name of a claim in study/claims, or a sentence and a function of your own. Out: a `Drawing`: what the sheet
says, the verdict, what is true today, the evidence, how it is checked, where it came from; in English and Chinese.
"""

import inspect
from collections.abc import Callable, Sequence

from trtlab.engine.measure import live
from trtlab.study.bank import Words
from trtlab.study.claims import Claim, Verdict, find_claim
from trtlab.study.found import Found
from trtlab.teach.bilingual import bilingual, both, switch
from trtlab.teach.card import (
    Cell,
    Drawing,
    apart,
    badge,
    block,
    card,
    code,
    details,
    join,
    link,
    origin_badge,
    pre,
    stack,
    table,
    tag,
)

VERDICTS = {
    Verdict.RIGHT: (Words(en="the sheet is right", zh="原题说得对"), "done"),
    Verdict.IMPRECISE: (Words(en="the sheet is imprecise", zh="原题不够准确"), "stood"),
    Verdict.OUTDATED: (Words(en="the sheet is outdated", zh="原题过时了"), "stood"),
    Verdict.WRONG: (Words(en="the sheet is wrong", zh="原题说错了"), "bad"),
}
HISTORY = Words(
    en="A date or an author: nothing here can run to prove it; read the source.",
    zh="这是日期或作者：没有什么可以运行来证明，请看出处。",
)
CHECKED = Words(en="How it is checked", zh="怎么验证的")
SAYS, SOURCE = Words(en="The sheet:", zh="原题："), Words(en="source", zh="出处")
COLUMNS = (
    "", Words(en="verdict", zh="判断"), Words(en="the sheet, in other words", zh="原题的意思"),
    Words(en="today, proved", zh="如今，可运行的证明"),
)  # fmt: skip
TICK = tag("span", "✓", "tick", role="img", aria_label="proved")


class ClaimFailed(AssertionError):
    """A claim that its own proof refutes."""


def claim(name: str, prove: Callable[[], bool | Found] | None = None) -> Drawing:
    """Prove a claim and draw it. Raises ClaimFailed when the proof does not hold, LookupError for an unknown name.

    >>> claim("C74")                                                  # one of the sheet's
    >>> claim("FP16 halves the weights", lambda: half < 0.6 * full)   # your own
    """
    if prove is not None:
        found = prove()
        if isinstance(found, bool):
            found = Found(value=found, provenance=live())
        _check(name, name, found)
        foot = [found.provenance.line()]
        return card(
            *_evidence(found), head=[TICK, tag("b", name, "claim"), origin_badge(found.provenance.origin)], foot=foot
        )
    known = find_claim(name)
    return bilingual(_card(known, switch()))


def draw_claims(names: Sequence[str]) -> Drawing:
    """Several claims of the sheet as one table, each proved now; the evidence opens on demand."""
    rows = []
    for name in names:
        known = find_claim(name)
        words, kind = VERDICTS[known.verdict]
        today = join(["✓" if known.proof else "·", both(known.today)], " ")
        rows.append((name, badge(both(words), kind), both(known.said), details(today, _card(known))))
    header = [both(column) for column in COLUMNS]
    return bilingual(card(table(header, rows), head=["Claims", switch()]))


def _card(known: Claim, *head: Cell) -> Drawing:
    """What the sheet says, the verdict, the answer, the evidence, how it is checked."""
    words, kind = VERDICTS[known.verdict]
    said = block(both(SAYS.then(known.said)), "said dim")
    today = block(join([badge(both(words), kind), tag("b", both(known.today), "claim")], apart(": ")))
    source = join([known.name, link(both(SOURCE), known.source)])
    if not known.proof:
        foot = [join([source, both(HISTORY)])]
        return card(said, today, head=[known.name, badge("history", "not"), *head], foot=foot)
    found = known.prove()
    _check(known.name, known.today.en, found)
    command = [join(["made by", code(found.provenance.command)], " ")] if found.provenance.command else []
    return card(
        said, today, *_evidence(found, known), _how(known),
        head=[TICK, known.name, origin_badge(found.provenance.origin), *head],
        foot=[join([source, found.provenance.line(), *command])],
    )  # fmt: skip


def _check(name: str, sentence: str, found: Found) -> None:
    if not found.holds:
        label = "" if name == sentence else f"{name}: "
        seen = " ".join(map(str, filter(None, (found.evidence, dict(found.facts), found.rows))))
        raise ClaimFailed(f"{label}{sentence} The proof says no. Seen: {seen}".strip())


def _evidence(found: Found, known: Claim | None = None) -> list[Cell]:
    """A sentence with the facts, and the small table."""
    parts = [both(known.shown, "p", found.facts)] if known and known.shown else []
    parts += [block(found.evidence)] if found.evidence and not known else []
    header = found.header or (known.header if known else ())
    return [*parts, *([table(header, found.rows)] if found.rows else [])]


def _how(known: Claim) -> Cell:
    """The source of the proof, which opens on demand."""
    functions = dict.fromkeys(function for function, _ in known.parts())
    return details(both(CHECKED), stack([pre(inspect.getsource(function).rstrip()) for function in functions]))


__all__ = ["ClaimFailed", "claim", "draw_claims"]
