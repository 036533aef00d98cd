"""plan/lifetimes: from when to when a tensor must keep its memory.

In: steps in the order in which they run. Out: name -> (start, stop), half-open, in steps. Checked by
tests/engine/glassbox/test_inplace.py on whole plans: what is read later is never written over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a step reads and writes. `may_share`: a result may be a part of an input's memory, seen otherwise."""

    reads: Sequence[str]
    writes: Sequence[str]
    may_share: bool = False


def lifetimes(
    tasks: Sequence[Task], outputs: Sequence[str], homes: Mapping[str, str] | None = None
) -> dict[str, tuple[int, int]]:
    """When each written tensor lives: from its task to behind the last that reads it, outputs to the end. Inputs of a
    task whose results may share their memory live as long as those. `homes` names tensors that lie inside another: that
    one lives from the first of them on."""
    stop = {name: number + 1 for number, task in enumerate(tasks) for name in task.reads}
    stop |= dict.fromkeys(outputs, len(tasks))
    for number, task in reversed([*enumerate(tasks)]):
        until = max((stop.get(name, number + 1) for name in task.writes), default=0)
        stop |= {name: max(stop[name], until) for name in task.reads if task.may_share}
    start = {name: number for number, task in enumerate(tasks) for name in task.writes}
    ends = {name: stop.get(name, number + 1) for name, number in start.items()}
    for part, home in (homes or {}).items():
        start[home] = min(start[home], start[part])
    return {name: (start[name], ends[name]) for name in start}
