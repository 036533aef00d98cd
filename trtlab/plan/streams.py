"""plan/streams: when each operation runs, if several streams share a GPU: what overlaps, and what limits the rest.

In: `Operation`s in the order in which the host issues them. Out: a `Timeline`. Checked by `find_timeline_faults`, which
shares none of the code, and by `limits`, under none of which a timeline gets.

The model: a stream is a queue. Each copy engine serves one copy at a time. A kernel occupies `share` of the GPU where
it can; what an earlier kernel leaves free, a later one gets, and with less it takes longer in proportion. So kernels
that fill the GPU alone gain nothing from streams. The host issues one operation after another, `issue_s` for each:
where that is longer than the kernels, more streams do not help either, and a CUDA graph does.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

COPY_IN, COMPUTE, COPY_OUT = "copy in", "compute", "copy out"
ENGINES = (COPY_IN, COMPUTE, COPY_OUT)
DEFAULT_STREAM = "default"
"""CUDA's legacy default stream: what is in it waits for all that was issued before; all that follows waits for it."""
EPSILON = 1e-9


class ScheduleError(ValueError):
    """Operations that cannot be: the message names the operation, its value and what is expected."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A kernel or a copy. `duration_s` is what it takes alone; `share` (0, 1] is how much of the GPU a kernel can fill.
    `after` names operations issued earlier whose event it waits for; `delay_s` is the pause between the last end that
    it waits for and its start, in which it holds nothing. The host takes `issue_s` to issue it; `host_waits`: it issues
    nothing more until this is done, as in `synchronize()` or a copy from pageable memory."""

    name: str
    duration_s: float
    stream: str = "0"
    engine: str = COMPUTE
    share: float = 1.0
    after: tuple[str, ...] = ()
    delay_s: float = 0.0
    issue_s: float = 0.0
    host_waits: bool = False

    @property
    def wanted(self) -> float:
        """How much of its engine it can fill."""
        return self.share if self.engine == COMPUTE else 1.0


@dataclass(frozen=True, kw_only=True)
class Span:
    """When an operation ran. `pieces` are (start_s, stop_s, share of its engine) in order."""

    pieces: tuple[tuple[float, float, float], ...]

    @property
    def start_s(self) -> float:
        return self.pieces[0][0]

    @property
    def stop_s(self) -> float:
        return self.pieces[-1][1]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Spans by operation, in the order of issue."""

    spans: Mapping[str, Span]

    @property
    def total_s(self) -> float:
        """From the first issue to the last end."""
        return max((span.stop_s for span in self.spans.values()), default=0.0)


def run(operations: Sequence[Operation]) -> Timeline:
    """The timeline of those operations. ScheduleError for what cannot be."""
    check_operations(operations)
    return _Machine(operations).run()


def on_one_stream(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The same operations one after another: what several streams are compared with."""
    return tuple(replace(operation, stream="0") for operation in operations)


def limits(operations: Sequence[Operation]) -> dict[str, float]:
    """What no timeline gets under, in seconds, by what sets it: each engine's work, the longest chain of operations
    that wait for each other, the host's issuing. The largest says why there is no more to gain."""
    ends, loads = dict[str, float](), dict.fromkeys(ENGINES, 0.0)
    for operation, before in zip(operations, _all_before(operations), strict=True):
        ends[operation.name] = max((ends[name] for name in before), default=0.0)
        ends[operation.name] += operation.delay_s + operation.duration_s
        loads[operation.engine] += operation.duration_s * operation.wanted
    return loads | {"longest chain": max(ends.values(), default=0.0), "host": sum(one.issue_s for one in operations)}


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Bytes of an arena: `span` from `offset` on, of which those are used that lie in rows of `run`, `step` apart; a
    step of 0 means all."""

    offset: int
    span: int
    run: int = 0
    step: int = 0

    def meets(self, other: "Extent") -> bool:
        """Whether both use a byte; slices of one concatenation lie between each other."""
        apart = other.offset - self.offset
        if apart >= self.span or -apart >= other.span:
            return False
        alike = self.step and self.step == other.step
        return not alike or apart % self.step < self.run or -apart % self.step < other.run


def dependencies(uses: Sequence[tuple[Sequence[Extent], Sequence[Extent]]]) -> list[set[int]]:
    """For each step, given by what it reads and what it writes, the earlier ones that it must come after: who wrote
    what it reads, and who used the bytes that it writes. Memory that is used again forbids what could run at once."""

    def meet(ones: Sequence[Extent], others: Sequence[Extent]) -> bool:
        return any(a.meets(b) for a in ones for b in others)

    return [
        {m for m, (read, written) in enumerate(uses[:n]) if meet(writes, [*read, *written]) or meet(reads, written)}
        for n, (reads, writes) in enumerate(uses)
    ]


def lanes(before: Sequence[set[int]], count: int) -> list[tuple[int, list[int]]]:
    """For each step its stream, of `count`, and the steps on other streams whose event it waits for: those only that
    no earlier wait implies. It follows what it depends on, if that is a stream's last; else it takes the stream that
    has rested longest. ScheduleError for no stream."""
    if not isinstance(count, int) or count < 1:
        raise ScheduleError(f"{count!r} streams: expected a whole number, 1 or more")
    last, turns, seen = [-1] * count, list[tuple[int, list[int]]](), list[list[int]]()
    for number, needs in enumerate(before):
        lane = max(range(count), key=lambda c: (last[c] in needs, last[c] if last[c] in needs else -last[c]))
        known, waits = list(seen[last[lane]]) if last[lane] >= 0 else [-1] * count, list[int]()
        for need in sorted(needs, reverse=True):
            if known[turns[need][0]] < need:
                waits.append(need)
                known = [max(pair) for pair in zip(known, seen[need], strict=True)]
        known[lane] = last[lane] = number
        turns.append((lane, waits))
        seen.append(known)
    return turns


def check_operations(operations: Sequence[Operation]) -> None:
    """ScheduleError for the first operation that cannot be."""
    seen = set[str]()
    for one in operations:
        if one.name in seen:
            raise ScheduleError(f"two operations are called {one.name!r}: give each a name of its own")
        if one.engine not in ENGINES:
            raise ScheduleError(f"{one.name!r} runs on engine {one.engine!r}: expected one of {', '.join(ENGINES)}")
        for what in ("duration_s", "delay_s", "issue_s"):
            seconds = getattr(one, what)
            if not 0 <= seconds < float("inf"):
                raise ScheduleError(f"{one.name!r} has {what}={seconds}: expected seconds, 0 or more")
        if not 0 < one.share <= 1:
            raise ScheduleError(f"{one.name!r} has share={one.share}: expected a part of the GPU, above 0 and up to 1")
        if unknown := [name for name in one.after if name not in seen]:
            raise ScheduleError(
                f"{one.name!r} waits for {unknown[0]!r}, which is not issued before it: expected an operation that"
                " stands earlier in the list (an event is recorded before it is waited for, so there are no cycles)"
            )
        seen.add(one.name)


def _all_before(operations: Sequence[Operation]) -> Iterator[set[str]]:
    """For each operation those it waits for: its events, its stream's last, and what the default stream adds."""
    last, barrier = dict[str, str](), dict[str, str]()
    for one in operations:
        before = set(one.after) | {last[s] for s in (one.stream,) if s in last} | set(barrier.values())
        if one.stream == DEFAULT_STREAM:
            before |= set(last.values())
            barrier = {DEFAULT_STREAM: one.name}
        last[one.stream] = one.name
        yield before


class _Machine:
    """The GPU and its host at one moment. What runs stands in the order of admission: of its engine each has all it can
    fill, but for the last, which has what is left."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = {one.name: one for one in operations}
        self.waiting_for, self.then = dict[str, set[str]](), {name: list[str]() for name in self.operations}
        for one, before in zip(operations, _all_before(operations), strict=True):
            self.waiting_for[one.name] = {"", *before}  # "" is the host, until it has issued it
            for other in before:
                self.then[other].append(one.name)
        self.order = {name: number for number, name in enumerate(self.operations)}
        self.now, self.to_issue, self.host_is_free, self.host_waits_for = 0.0, deque(operations), 0.0, ""
        self.ready = list[tuple[float, int, str]]()  # from when on they may start, ascending
        self.left = dict[str, float]()  # seconds of work, of what runs
        self.pieces = {name: list[tuple[float, float, float]]() for name in self.operations}

    def run(self) -> Timeline:
        while self.to_issue or self.ready or self.left:
            while self._next_issue() <= self.now:
                one = self.to_issue.popleft()
                self.host_is_free += one.issue_s
                self.host_waits_for = one.name if one.host_waits else ""
                self._done("", one.name)
            self._advance(self._shares())
        return Timeline(spans={name: Span(pieces=tuple(pieces)) for name, pieces in self.pieces.items()})

    def _next_issue(self) -> float:
        is_busy = not self.to_issue or self.host_waits_for
        return math.inf if is_busy else self.host_is_free + self.to_issue[0].issue_s

    def _done(self, name: str, *then: str) -> None:
        """Who waited for that; who then waits for nobody waits for its own delay."""
        for other in then:
            self.waiting_for[other].discard(name)
            if not self.waiting_for[other]:
                bisect.insort(self.ready, (self.now + self.operations[other].delay_s, self.order[other], other))

    def _shares(self) -> dict[str, float]:
        """What each has of its engine; whoever is ready starts as long as something is free."""
        free, shares = dict.fromkeys(ENGINES, 1.0), dict[str, float]()
        for name in [*self.left, *(name for moment, _, name in self.ready if moment <= self.now + 1e-15)]:
            one = self.operations[name]
            if name in self.left or free[one.engine] > EPSILON:
                self.left.setdefault(name, one.duration_s)
                shares[name] = min(one.wanted, free[one.engine])
                free[one.engine] -= shares[name]
        self.ready = [entry for entry in self.ready if entry[2] not in shares]
        return shares

    def _advance(self, shares: dict[str, float]) -> None:
        """On to the next moment at which something ends, is ready or is issued."""
        rates = {name: share / self.operations[name].wanted for name, share in shares.items()}
        ends = {name: self.now + left / rates[name] for name, left in self.left.items()}
        later = (moment for moment, _, _ in self.ready if moment > self.now + 1e-15)
        before, self.now = self.now, max(self.now, min([*ends.values(), *later, self._next_issue()]))
        for name, end in ends.items():
            pieces = self.pieces[name]
            start = pieces.pop()[0] if pieces and pieces[-1][2] == shares[name] else before
            pieces.append((start, self.now, shares[name]))
            self.left[name] -= (self.now - before) * rates[name]
            if end <= self.now + 1e-15:
                del self.left[name]
                if self.host_waits_for == name:
                    self.host_waits_for, self.host_is_free = "", self.now
                self._done(name, *self.then[name])


def find_timeline_faults(operations: Sequence[Operation], timeline: Timeline) -> list[str]:
    """What a timeline breaks, one line each: every operation, pair of a stream and moment of an engine is looked at."""
    spans, slack = timeline.spans, 1e-9 * max(1e-6, timeline.total_s) + 1e-12
    if missing := {one.name for one in operations} ^ set(spans):
        return [f"{name!r} is not in both" for name in sorted(missing)]
    faults = list[str]()
    held_until = 0.0
    for number, one in enumerate(operations):
        span, wanted = spans[one.name], one.wanted
        done = sum((stop - start) * share / wanted for start, stop, share in span.pieces)
        if abs(done - one.duration_s) > slack + 1e-6 * one.duration_s:
            faults.append(f"{one.name!r} does {done:g} s of {one.duration_s:g} s")
        if any(share > wanted + 1e-6 for _, _, share in span.pieces):
            faults.append(f"{one.name!r} has more of {one.engine} than it can fill")
        if span.start_s < held_until + one.issue_s - slack:
            faults.append(f"{one.name!r} starts before the host issues it")
        held_until = max(held_until + one.issue_s, span.stop_s if one.host_waits else 0.0)
        for earlier in operations[:number]:
            ordered = earlier.stream == one.stream or earlier.name in one.after
            ordered |= DEFAULT_STREAM in (earlier.stream, one.stream)
            if ordered and spans[earlier.name].stop_s + one.delay_s > span.start_s + slack:
                faults.append(f"{one.name!r} starts before {earlier.name!r} ends")
    for engine in ENGINES:  # only where something begins can an engine begin to serve more than it can
        pieces = [p for one in operations if one.engine == engine for p in spans[one.name].pieces]
        for moment, _, _ in pieces:
            used = sum(share for start, stop, share in pieces if start <= moment + slack and stop > moment + 2 * slack)
            if used > 1 + 1e-6:
                faults.append(f"{engine} serves {used:.3g} times what it can at {moment:g} s")
    return [*dict.fromkeys(faults)]
