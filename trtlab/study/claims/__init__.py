"""study/claims: sentences with a proof that runs. No answer in this workbook is left as prose.

In: a claim's name. Out: a `Claim` whose `prove()` computes, measures, builds with the real compiler or reads a
recording, and returns `Evidence`. Claims C01 to C91 are the interview sheet's, paraphrased; the verdict is about what
the sheet says, the evidence about what is true today. The sentences lie in .yaml files, the proofs in the .py files
beside them. teach.claim draws them and fails the notebook when one fails.
"""

import difflib
import enum
import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from trtlab.engine.measure import Provenance


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
    read it. A claim about a date or an author has no `prove`: nothing that runs here could refute it."""

    name: str
    verdict: Verdict
    said: str
    today: str
    source: str
    prove: Callable[[], Evidence] | None


CLAIMS: dict[str, Claim] = {}


@functools.cache
def words() -> dict[str, dict[str, Any]]:
    """The sentences by claim: verdict, said, today, source, from the .yaml files beside this one."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(Path(__file__).parent.glob("*.yaml"))]
    return {name: entry for file in files for name, entry in file.items() if name != "sources"}


def proves(name: str) -> Callable[[Callable[[], Evidence]], Claim]:
    """Register the decorated function as the proof of a claim. ValueError when the name is taken, or has no words."""
    return lambda prove: _register(name, prove)


def only_history(*names: str) -> None:
    """Register claims that nothing here can prove or refute; a reader is shown the source instead of a tick."""
    for name in names:
        _register(name, None)


def _register(name: str, prove: Callable[[], Evidence] | None) -> Claim:
    if name in CLAIMS:
        raise ValueError(f"there is a claim {name!r} already: expected a new name")
    if name not in words():
        raise ValueError(f"claim {name!r} has no words: write its verdict, said, today and source into a .yaml file")
    entry = words()[name]
    CLAIMS[name] = Claim(name=name, prove=prove, **(entry | {"verdict": Verdict(entry["verdict"])}))
    return CLAIMS[name]


@functools.cache
def _read_the_files() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def names() -> list[str]:
    """The names of all claims, in the order of the sheet."""
    _read_the_files()
    return sorted(CLAIMS)


def find_claim(name: str) -> Claim:
    """The claim of that name. KeyError names the close ones."""
    _read_the_files()
    if name not in CLAIMS:
        close = difflib.get_close_matches(name, CLAIMS, n=3) or sorted(CLAIMS)[:3]
        raise KeyError(f"there is no claim {name!r}; did you mean {', '.join(close)}?")
    return CLAIMS[name]
