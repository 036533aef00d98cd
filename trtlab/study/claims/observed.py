"""study/claims/observed: evidence that proofs share: what the installed API has, what NVIDIA's headers had, a sum.

In: names, or what a proof computed. Out: `Evidence`; of names it holds when each is, or was, what the claim says.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trtlab.study.claims import Evidence

if TYPE_CHECKING:
    from trtlab.engine.nvidia import Api
    from trtlab.lab.history import ApiHistory

SHOWN_TAGS = ("8.4.1", "8.5.1", "v8.6.1", "v10.0.0", "v10.6.0", "v10.7.0", "v11.1")


def api() -> "Api":
    from trtlab.engine.nvidia import installed_api

    return installed_api()


def history() -> "ApiHistory":
    from trtlab.lab import history as recorded

    return recorded.load()


def from_history(expected: dict[tuple[str, str], str], shown: str, tags: tuple[str, ...] = SHOWN_TAGS) -> Evidence:
    """Holds when every (name, tag) is in the expected state; the table shows the names at all of `tags`."""
    known = history()
    holds = all(known.state(name, tag).value == state for (name, tag), state in expected.items())
    names = dict.fromkeys(name for name, _ in expected)
    rows = tuple((name, *(known.state(name, tag).value for tag in tags)) for name in names)
    return Evidence(holds=holds, shown=shown, provenance=known.provenance, header=("name", *tags), rows=rows)


def from_api(has: dict[str, str], lacks: dict[str, str], shown: str) -> Evidence:
    """Holds when the installed compiler has all of `has` and none of `lacks`, written {class: "name name"}."""
    known = api()
    wanted = [(owner, name, True) for owner, names in has.items() for name in names.split()]
    wanted += [(owner, name, False) for owner, names in lacks.items() for name in names.split()]
    rows = tuple((f"{owner}.{name}", "there" if known.has(owner, name) else "not there") for owner, name, _ in wanted)
    holds = all(owner in known.names and known.has(owner, name) is expected for owner, name, expected in wanted)
    header = (f"{known.compiler} {known.version}", "")
    return Evidence(holds=holds, shown=shown, provenance=known.provenance, header=header, rows=rows)


def computed(holds: bool, shown: str, header: Iterable[str] = (), rows: Iterable[Iterable[Any]] = ()) -> Evidence:
    """Evidence of a computation on this machine, by this package."""
    from trtlab.engine.measure import live

    cells = tuple(tuple(map(str, row)) for row in rows)
    return Evidence(holds=holds, shown=shown, provenance=live(["numpy"]), header=tuple(header), rows=cells)
