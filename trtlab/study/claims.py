"""study/claims: sentences with a proof that runs. No answer in this workbook is left as prose.

In: a claim's name. Out: a `Claim`, whose `prove()` gives a `Found`. Claims C01 to C91 are the interview sheet's, said
in other words in words/claims, with what is true today, in two languages. A proof is written there by what stands
behind its parts, each a function of study/truths. teach.claim draws it, and fails the notebook when it is refuted.
"""

import enum
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trtlab.study import bank
from trtlab.study.bank import Words
from trtlab.study.found import Found, all_of


class Verdict(enum.Enum):
    """What a careful candidate should think of the sheet's sentence."""

    RIGHT = "right"
    IMPRECISE = "imprecise"
    OUTDATED = "outdated"
    WRONG = "wrong"


class Behind(enum.Enum):
    """What stands behind a tick, the strongest first; the tick claims no more. MEASURED on the device that is named;
    COMPUTED, with a library that is not ours as referee; BUILT or parsed by NVIDIA's compiler; API: a name exists,
    and nothing was called; DEFINITION: its owner calls it so; HISTORY: headers of releases, or a source to read."""

    MEASURED = "measured"
    COMPUTED = "computed"
    BUILT = "built"
    API = "api"
    DEFINITION = "definition"
    HISTORY = "history"


CAN_FAIL = (Behind.MEASURED, Behind.COMPUTED, Behind.BUILT)
"""What proves something about numbers or builds; the others say what is written where."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`said`: the sheet's sentence in other words. `today`: what is true now, which the proof shows in a `shown` filled
    with its facts. `source`: where to read it. A claim about a date or an author has no proof: nothing that runs here
    could refute it."""

    name: str
    verdict: Verdict
    said: Words
    today: Words
    source: str
    shown: Words | None = None
    header: tuple[Words, ...] = ()
    proof: Mapping[Behind, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def behind(self) -> tuple[Behind, ...]:
        """What stands behind it, the strongest first."""
        return tuple(kind for kind in Behind if kind in self.proof) or (Behind.HISTORY,)

    def prove(self) -> Found:
        """What the parts of the proof found; it holds when all of them do. ValueError for a claim of history."""
        if not self.proof:
            raise ValueError(f"{self.name} is a date or an author: nothing here can prove it; read {self.source}")
        return all_of([part() for _, part in self.parts()])

    def parts(self) -> Iterator[tuple[Behind, Any]]:
        """Each part of the proof: its kind, and the call that runs it; `func` is the function whose source is shown."""
        for kind, written in self.proof.items():
            for part in written:
                yield kind, bank.call(part)

    def calls(self) -> Iterator[Any]:
        """What runs: the calls of all parts, and behind one that asks a quiz's function by its name, that function."""
        for _, call in self.parts():
            yield call
            if call.func.__name__ == "answers":
                yield bank.call(call.args[0])


def find_claim(name: str) -> Claim:
    """The claim of that name. UnknownEntry names the close ones."""
    return bank.find(claims(), name, "claim")


@functools.cache
def claims() -> dict[str, Claim]:
    """All claims by name, in the order of the sheet."""
    return dict(sorted(bank.read("claims", Claim).items()))


def counted(names: Iterable[str]) -> dict[Behind, int]:
    """How many of these claims have which kind behind them; one with two kinds counts for both."""
    count = Counter(kind for name in names for kind in find_claim(name).behind)
    return {kind: count[kind] for kind in Behind if count[kind]}
