"""study/claims: sentences with a proof that runs. No answer in this workbook is left as prose.

In: a claim's name. Out: a `Claim` whose `prove()` computes, measures, builds with the real compiler or reads a
recording, and returns `Evidence`. Claims C01 to C91 are the interview sheet's, paraphrased; the verdict is about what
the sheet says, the evidence about what is true today. teach.claim draws them and fails the notebook when one fails.
"""

import difflib
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtlab.engine.provenance import Provenance


class Verdict(enum.Enum):
    """What a careful candidate should think of the sheet's sentence."""

    RIGHT = "right"
    IMPRECISE = "imprecise"
    OUTDATED = "outdated"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the proof saw. `rows` (with `header`) is a small table; `holds` is False when today's sentence failed."""

    holds: bool
    shown: str
    provenance: "Provenance"
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`said`: the sheet's sentence in other words. `today`: what is true now, which `prove` shows. `source`: where to
    read it."""

    name: str
    verdict: Verdict
    said: str
    today: str
    source: str
    prove: Callable[[], Evidence]


CLAIMS: dict[str, Claim] = {}


def proves(
    name: str, verdict: Verdict, *, said: str, today: str, source: str
) -> Callable[[Callable[[], Evidence]], Claim]:
    """Register the decorated function as the proof of a claim. ValueError when the name is taken."""

    def register(prove: Callable[[], Evidence]) -> Claim:
        if name in CLAIMS:
            raise ValueError(f"there is a claim {name!r} already: expected a new name")
        CLAIMS[name] = Claim(name=name, verdict=verdict, said=said, today=today, source=source, prove=prove)
        return CLAIMS[name]

    return register


def find_claim(name: str) -> Claim:
    """The claim of that name. KeyError names the close ones."""
    from trtlab.study.claims import workflow  # noqa: F401 (registers its claims)

    if name not in CLAIMS:
        close = difflib.get_close_matches(name, CLAIMS, n=3) or sorted(CLAIMS)[:3]
        raise KeyError(f"there is no claim {name!r}; did you mean {', '.join(close)}?")
    return CLAIMS[name]
