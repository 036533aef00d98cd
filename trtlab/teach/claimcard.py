"""teach/claimcard: `claim("C74")` shows a sentence, proves it on the spot, and fails the notebook when it is false.

In: the name of a claim in study/claims, or a sentence and a function of your own. Out: a `Drawing`: what the sheet
says, the verdict, what is true today, the evidence, how it is checked, where it came from; in English and Chinese. A
tick says what stands behind it, and is named "proved" only where a proof could fail.
"""

from collections.abc import Callable, Iterable, Sequence

from trtlab.engine.measure import live, merged
from trtlab.study.bank import Words, said
from trtlab.study.claims import CAN_FAIL, Behind, Claim, Verdict, counted, find_claim
from trtlab.study.found import Found, all_of
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, apart, badge, bilingual, block, both, join, tag
from trtlab.teach.source import call_and_code

LOOKS = {Verdict.RIGHT: "done", Verdict.IMPRECISE: "stood", Verdict.OUTDATED: "stood", Verdict.WRONG: "bad"}


class ClaimFailed(AssertionError):
    """A claim that its own proof refutes."""


def claim(name: str, prove: Callable[[], bool | Found] | None = None) -> Drawing:
    """Prove a claim and draw it. Raises ClaimFailed when the proof does not hold, LookupError for an unknown name.

    >>> claim("C74")                                                  # one of the sheet's
    >>> claim("FP16 halves the weights", lambda: half < 0.6 * full)   # your own
    """
    if prove is None:
        return bilingual(_card(find_claim(name)))
    found = prove()
    if not isinstance(found, Found):
        if found not in (True, False):
            raise TypeError(f"the proof of {name!r} gave {found!r}: expected True, False or a Found")
        found = Found(value=bool(found), provenance=live())
    _check("", name, found)
    head = [_tick(), tag("b", name, "claim"), badge(found.provenance.origin.value)]
    return ui.card(*_evidence(found), head=head, foot=[found.provenance.line()])


def draw_claims(names: Sequence[str]) -> Drawing:
    """Several claims of the sheet as one table, each proved now; the evidence opens on demand. The head counts what
    stands behind them."""
    rows = []
    for name in names:
        known = find_claim(name)
        today = join([_tick(known), both(known.today)], " ") if known.proof else both(known.today)
        opened = ui.details(join([today, *_chips(known)], apart()), _card(known, alone=False))
        rows.append((name, both(known.said), _verdict(known), opened))
    header = [both(said(f"column_{column}")) for column in ("claim", "sheet", "verdict", "today")]
    counts = [badge(join([both(_kinds([kind])), f" × {n}"], ""), "not") for kind, n in counted(names).items()]
    table = block(ui.table(header, rows), "below claims")
    return bilingual(ui.card(table, head=[ui.bold(both(said("claims"))), *counts]))


def _card(known: Claim, *, alone: bool = True) -> Drawing:
    """What the sheet says, the verdict, the answer, unless they stand beside it; the evidence, how it is checked."""
    sheet = block(both(said("sheet_says").then(known.said)), "said dim")
    today = block(join([_verdict(known), tag("b", both(known.today), "claim")], apart(": ")))
    source = join([known.name, ui.link(both(said("source")), known.source)])
    kinds, first = _chips(known), [sheet, today] if alone else []
    if not known.proof:
        return ui.card(*first, head=[known.name, *kinds], foot=[join([source, both(said("no_proof"))])])
    parts = [call() for _, call in known.parts()]
    found, made = all_of(parts), [part.provenance for part in parts]
    _check(f"{known.name}: ", known.today.en, found)
    commands = [join([both(said("made_by")), ui.code(one.command)], ": ") for one in merged(made) if one.command]
    return ui.card(
        *first, *_evidence(found, known), _how(known),
        head=[join([_tick(known), known.name], " "), *kinds],
        foot=[join([source, *commands])], made=made,
    )  # fmt: skip


def _verdict(known: Claim) -> Cell:
    return badge(both(said(f"verdict_{known.verdict.value}")), LOOKS[known.verdict])


def _chips(known: Claim) -> list[Cell]:
    """What stands behind its tick, a chip for each kind."""
    return [badge(both(_kinds([kind])), "not") for kind in known.behind]


def _kinds(behind: Iterable[Behind]) -> Words:
    """What stands behind a tick, a phrase for each kind."""
    phrases = [said(f"behind_{kind.value}") for kind in behind]
    return Words(en=", ".join(phrase.en for phrase in phrases), zh="、".join(phrase.zh for phrase in phrases))


def _tick(known: Claim | None = None) -> Cell:
    """Green, and named proved, where what is behind it could fail; else it is named after what is. Green on a claim of
    one's own, too, which held here."""
    proved = known is None or set(known.behind) <= set(CAN_FAIL)
    label = said("holds_here") if known is None else said("proved") if proved else _kinds(known.behind)
    return tag("span", "✓", "tick" if proved else "tick not", role="img", aria_label=f"{label.en} / {label.zh}")


def _check(name: str, sentence: str, found: Found) -> None:
    if not found.holds:
        seen = " ".join(map(str, filter(None, (found.evidence, dict(found.facts), found.rows))))
        raise ClaimFailed(f"{name}{sentence.rstrip('.')}. The proof says no.{' Seen: ' * bool(seen)}{seen}")


def _evidence(found: Found, known: Claim | None = None) -> list[Cell]:
    """A sentence with the facts, and the small table."""
    parts = [both(known.shown, "p", found.facts)] if known and known.shown else []
    parts += [block(found.evidence)] if found.evidence and not known else []
    header = found.header or (known.header if known else ())
    rows = [[both(cell) for cell in row] for row in found.rows]
    return [*parts, *([ui.table([both(cell) for cell in header], rows)] if rows else [])]


def _how(known: Claim) -> Cell:
    """The calls of the proof with their arguments, each with the source of its function, once; opens on demand."""
    shown: dict[str, list[str]] = {}
    for asked, source in map(call_and_code, known.calls()):
        shown.setdefault(source.rstrip(), []).append(asked)
    return ui.details(both(said("how_checked")), *(ui.pre("\n".join([*calls, code])) for code, calls in shown.items()))
