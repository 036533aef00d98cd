"""Timelines of streams: by hand, against the checker, against limits, and against what an H100 did."""

import statistics
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtlab.lab import streams as lab
from trtlab.plan.streams import (
    COPY_IN,
    COPY_OUT,
    DEFAULT_STREAM,
    ENGINES,
    Extent,
    Operation,
    ScheduleError,
    Timeline,
    dependencies,
    find_timeline_faults,
    lanes,
    limits,
    on_one_stream,
    run,
)

A, B = Operation(name="a", duration_s=2, stream="1"), Operation(name="b", duration_s=2, stream="2")


def spans(*operations: Operation) -> dict[str, tuple[float, float]]:
    timeline = run(operations)
    assert find_timeline_faults(operations, timeline) == []
    return {name: (span.start_s, span.stop_s) for name, span in timeline.spans.items()}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param((A, B), {"a": (0, 2), "b": (2, 4)}, id="kernels that fill the GPU gain nothing"),
        pytest.param((B, A), {"b": (0, 2), "a": (2, 4)}, id="first issued, first served"),
        pytest.param((replace(A, share=0.5), replace(B, share=0.5)), {"a": (0, 2), "b": (0, 2)}, id="halves fit"),
        pytest.param(  # b has a quarter at first: 0.5 s of its work in 2 s, then all it can fill
            (replace(A, share=0.75), B), {"a": (0, 2), "b": (0, 3.5)}, id="the later gets what is left"
        ),
        pytest.param((A, replace(B, stream="1", share=0.1)), {"a": (0, 2), "b": (2, 4)}, id="a stream is a queue"),
        pytest.param((A, replace(B, engine=COPY_IN)), {"a": (0, 2), "b": (0, 2)}, id="copies overlap kernels"),
        pytest.param(
            (replace(A, engine=COPY_OUT), replace(B, engine=COPY_OUT)), {"a": (0, 2), "b": (2, 4)}, id="one at a time"
        ),
        pytest.param(
            (replace(A, engine=COPY_IN), replace(B, after=("a",), delay_s=1)), {"a": (0, 2), "b": (3, 5)}, id="an event"
        ),
        pytest.param(
            (replace(A, engine=COPY_IN, host_waits=True), replace(B, issue_s=1)), {"a": (0, 2), "b": (3, 5)},
            id="the host waits",
        ),
        pytest.param(
            (replace(A, share=0.1, issue_s=3), replace(B, share=0.1, issue_s=3)), {"a": (3, 5), "b": (6, 8)},
            id="the host is the limit",
        ),
        pytest.param(
            (replace(A, engine=COPY_IN), replace(B, stream=DEFAULT_STREAM), replace(A, name="c", engine=COPY_OUT)),
            {"a": (0, 2), "b": (2, 4), "c": (4, 6)}, id="the default stream is a wall",
        ),
        pytest.param((replace(A, duration_s=0), replace(B, after=("a",))), {"a": (0, 0), "b": (0, 2)}, id="no time"),
        pytest.param((), {}, id="nothing"),
    ],
)  # fmt: skip
def test_by_hand(operations, expected):
    assert spans(*operations) == expected


@st.composite
def operations(draw):
    found = list[Operation]()
    for number in range(draw(st.integers(0, 12))):
        names = [one.name for one in found]
        found.append(
            Operation(
                name=f"o{number}",
                duration_s=draw(st.sampled_from((0.0, 1e-6, 1e-5)) | st.floats(0, 1e-4)),
                stream=draw(st.sampled_from(("1", "2", "3", DEFAULT_STREAM))),
                engine=draw(st.sampled_from(ENGINES)),
                share=draw(st.sampled_from((1.0, 0.5, 0.3)) | st.floats(1e-3, 1)),
                after=tuple(draw(st.lists(st.sampled_from(names), max_size=2))) if names else (),
                delay_s=draw(st.sampled_from((0.0, 2e-6))),
                issue_s=draw(st.sampled_from((0.0, 5e-6))),
                host_waits=draw(st.sampled_from((False, False, True))),
            )
        )
    return tuple(found)


@given(operations())
def test_a_timeline_breaks_nothing_and_stays_over_its_limits(drawn):
    timeline = run(drawn)
    assert find_timeline_faults(drawn, timeline) == []
    assert timeline.total_s >= max(limits(drawn).values()) - 1e-12


def test_the_checker_sees_what_is_broken():
    ops = (replace(A, share=0.5), replace(B, after=("a",), issue_s=1), replace(A, name="c", stream="2", engine=COPY_IN))
    good = run(ops)

    def moved(name: str, by: float, work: float = 1.0) -> Timeline:
        span = good.spans[name]
        pieces = tuple((start + by, stop + by, share * work) for start, stop, share in span.pieces)
        return Timeline(spans={**good.spans, name: replace(span, pieces=pieces)})

    assert find_timeline_faults(ops, good) == []
    for broken, fault in [
        (moved("b", -0.5), "before 'a' ends"),
        (moved("b", -1.5), "before the host issues it"),
        (moved("c", -1), "before 'b' ends"),
        (moved("b", 0, work=0.5), "does 1 s of 2 s"),
        (moved("b", 0, work=2), "more of compute than it can fill"),
        (Timeline(spans={"a": good.spans["a"]}), "'b' is not in both"),
    ]:
        assert any(fault in found for found in find_timeline_faults(ops, broken)), fault
    both = (replace(A, engine=COPY_IN), replace(B, engine=COPY_IN))
    at_once = Timeline(spans={**run(both[:1]).spans, **run(both[1:]).spans})
    assert find_timeline_faults(both, at_once) == ["copy in serves 2 times what it can at 0 s"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"duration_s": -1.0}, "'b' has duration_s=-1.0"),
        ({"duration_s": float("nan")}, "duration_s=nan"),
        ({"issue_s": float("inf")}, "issue_s=inf"),
        ({"delay_s": -1e-9}, "delay_s=-1e-09"),
        ({"engine": "tensor core"}, "'tensor core': expected one of copy in, compute, copy out"),
        ({"share": 0.0}, "share=0.0"),
        ({"share": 1.5}, "share=1.5"),
        ({"name": "a"}, "two operations are called 'a'"),
        ({"after": ("b",)}, "waits for 'b', which is not issued before it"),
        ({"after": ("later",)}, "no cycles"),
    ],
)
def test_what_cannot_be(wrong, words):
    with pytest.raises(ScheduleError) as caught:
        run((A, replace(B, **wrong)))
    assert words in str(caught.value)


def test_time_grows_with_the_number_of_operations():
    def seconds(count: int) -> float:
        ops = [
            replace(A, name=str(i), stream=str(i % 9), share=0.3, after=(str(i - 7),) if i % 3 and i > 7 else ())
            for i in range(count)
        ]
        started = time.process_time()
        run(ops)
        return time.process_time() - started

    assert min(seconds(1_600) for _ in range(3)) < 8 * 3 * min(seconds(200) for _ in range(3))


def test_what_an_h100_did_was_predicted():
    recorded = lab.load()
    errors = {case.name: abs(case.error) for case in recorded.cases}
    assert statistics.median(errors.values()) < 0.1, errors
    assert max(errors.values()) < 0.2, errors
    for case in recorded.cases:
        assert find_timeline_faults(case.operations, case.timeline) == []
    full = {n: recorded.case(f"4 branches of products 4096 on {n}").median_s for n in (1, 4)}
    assert full[4] > 0.95 * full[1]  # kernels that fill the GPU
    one, many = (recorded.case(f"16 requests on {n}") for n in (1, 8))
    assert one.median_s > 2.5 * many.median_s
    assert on_one_stream(many.operations)[0].stream == "0"


def bytes_of(extent):
    step = extent.step or extent.span or 1
    return {extent.offset + n for n in range(extent.span) if not extent.step or n % step < extent.run}


def slices(offset, run, gap, rows):
    step = run + gap if rows > 1 and gap else 0
    return Extent(offset=offset, span=(rows - 1) * (run + gap) + run, run=run if step else 0, step=step)


extents = st.builds(slices, st.integers(0, 12), st.integers(1, 4), st.sampled_from([0, 0, 2, 4]), st.integers(1, 4))


@given(st.lists(st.tuples(st.lists(extents, max_size=2), st.lists(extents, max_size=2)), max_size=9), st.integers(1, 4))
def test_whoever_uses_the_same_bytes_is_ordered_by_streams_and_events(uses, count):
    """By sets of bytes, and by what is truly behind what: the step before on the stream, and each event waited for."""
    before, turns = dependencies(uses), lanes(dependencies(uses), count)
    behind = []
    for number, (lane, waits) in enumerate(turns):
        there = [m for m in range(number) if turns[m][0] == lane] + waits
        behind.append(set(there).union(*(behind[m] for m in there)))
    for n, (reads, writes) in enumerate(uses):
        for m, (read, written) in enumerate(uses[:n]):
            pairs = [(a, b) for a in writes for b in (*read, *written)] + [(a, b) for a in reads for b in written]
            clash = any(bytes_of(a) & bytes_of(b) for a, b in pairs)
            assert not clash or (m in before[n] and m in behind[n])
    assert all(need in behind[n] for n, needs in enumerate(before) for need in needs)


def test_independent_chains_take_a_stream_each_and_wait_for_nobody():
    rows = [[Extent(offset=10 * n, span=4)] for n in range(3)]
    chains = [(rows[n % 3] if n > 2 else [], rows[n % 3]) for n in range(9)]
    assert lanes(dependencies(chains), 3) == [(n % 3, []) for n in range(9)]
    assert [waits for _, waits in lanes(dependencies(chains), 1)] == [[]] * 9
    slices = [Extent(offset=4 * n, span=28, run=4, step=12) for n in range(3)]
    assert not any(a.meets(b) for a in slices for b in slices if a != b)
    with pytest.raises(ScheduleError, match="0 streams"):
        lanes([set()], 0)
