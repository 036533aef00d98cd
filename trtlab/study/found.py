"""study/found: what a proof or the truth of a quiz found: one frozen value for both, and for a cell of a lesson.

In: what witnesses said or a computation gave. Out: `Found`. It holds numbers and names; the sentences around them are
in YAML, with a place for each fact: `shown: {en: "The median error is {median:.1f} times as large."}`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from trtlab.study.bank import Words

if TYPE_CHECKING:
    from trtlab.engine.measure import Provenance


@dataclass(frozen=True, kw_only=True)
class Found:
    """`value` is the answer: True or False of a claim's proof, the key, number or order of a quiz. `facts` fill the
    places of sentences; `rows`, with `header`, are a small table; `evidence` is a witness in its own words."""

    value: Any
    provenance: "Provenance"
    facts: Mapping[str, Any] = field(default_factory=dict)
    header: Sequence[str | Words] = ()
    rows: Sequence[Sequence[Any]] = ()
    evidence: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(tuple(map(_written, row)) for row in self.rows))
        object.__setattr__(self, "header", tuple(self.header))

    @property
    def holds(self) -> bool:
        """Whether a claim's proof holds."""
        return self.value is True


def _written(cell: Any) -> str | Words:
    """A cell as it is shown: whole numbers with thousands apart."""
    return cell if isinstance(cell, Words) else f"{cell:,}" if type(cell) is int else str(cell)


def computed(
    value: Any, rows: Iterable[Sequence[Any]] = (), referees: Sequence[str] = ("numpy",), samples: int = 1, **facts: Any
) -> Found:
    """Found by this package and by others, its referees, on this machine, now."""
    from trtlab.engine.measure import live

    return Found(value=value, rows=tuple(rows), facts=facts, provenance=live(referees, samples=samples))


def seen(witness: Any, value: Any, rows: Iterable[Sequence[Any]] = (), /, **facts: Any) -> Found:
    """Found in what a witness said, such as a report or a recording: it has their `provenance`."""
    return Found(value=value, rows=tuple(rows), facts=facts, provenance=witness.provenance)


def all_of(parts: Sequence[Found]) -> Found:
    """One finding of several: it holds when all do. The table and the provenance are those of the first part with rows,
    else of the first."""
    shown = next((part for part in parts if part.rows), parts[0])
    facts = {name: value for part in parts for name, value in part.facts.items()}
    evidence = " ".join(part.evidence for part in parts if part.evidence)
    return replace(shown, value=all(part.holds for part in parts), facts=facts, evidence=evidence)


def read_back(values: Mapping[str, Any]) -> Found:
    """A finding as a recording keeps it, with the command that made it."""
    import cattrs

    from trtlab.engine.measure import Provenance

    return Found(**{**values, "provenance": cattrs.structure(values["provenance"], Provenance)})
