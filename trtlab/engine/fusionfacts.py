"""engine/fusionfacts: what the times of fused and unfused kernels teach, each number taken from a `Sweep`.

In: a sweep, live or recorded. Out: `Finding`s: a question, what was measured, what follows, and whether the measurement
bears it out. And the ratios of `trtlab bench fusion`.
"""

from dataclasses import dataclass

from trtlab.engine import fusionways
from trtlab.engine.fusiontimes import PACKAGES, Row, Sweep, load, one_thread, sweep
from trtlab.engine.fusionways import Arrays, Way, chain
from trtlab.engine.measure import Ratio, measure_in_turns


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`measured` says what was measured; `lesson` what follows, if it `holds`: a busy machine may not show it."""

    question: str
    measured: str
    lesson: str
    holds: bool


def findings(found: Sweep) -> tuple[Finding, ...]:
    """The lessons of a sweep. ValueError if it has not enough sizes or lengths for a lesson."""
    if len(found.sizes()) < 3 or len(found.chains(Way.GENERATED)) < 2:
        raise ValueError(
            f"a sweep over sizes {found.sizes()} and {len(found.chains(Way.GENERATED))} lengths teaches nothing:"
            " expected three sizes and two lengths at least"
        )
    lessons = [_two_not_three(found), _launches(found), _cache(found), _length(found)]
    if Way.LONG_GRAPH_FUSED in found.ways():
        lessons.insert(2, _graph(found))
    return tuple(lessons)


def _pair(found: Sweep) -> tuple[Way, Way]:
    """One kernel per operator, and ours: as the device alone takes them where it is known, without the host."""
    if Way.LONG_GRAPH_FUSED in found.ways():
        return Way.LONG_GRAPH_UNFUSED, Way.LONG_GRAPH_FUSED
    return Way.TORCH_OUT, Way.GENERATED


def _power(elements: int) -> str:
    return f"2^{elements.bit_length() - 1}"


def _us(row: Row) -> str:
    us = row.seconds * 1e6
    return f"{us:,.0f} us" if us >= 100 else f"{us:.3g} us"


def _ps(value: float) -> str:
    return f"{value:,.0f} ps" if value >= 100 else f"{value:.3g} ps"


def _two_not_three(found: Sweep) -> Finding:
    size = found.sizes()[-1]
    three, one = (found.find(way, size) for way in _pair(found))
    gain, fewer = found.ratio(three.way, one.way, size), three.bytes_moved / one.bytes_moved
    array = size * fusionways.ITEM_BYTES
    return Finding(
        question="Why are three kernels in one 2x as fast, and not 3x?",
        measured=f"On {_power(size)} elements three kernels read and write {three.bytes_moved // array} arrays, one"
        f" {one.bytes_moved // array}: {three.kernels} times fewer launches, {fewer:.3g} times fewer bytes. It is"
        f" {gain:.2f} times as fast: {_us(one)} instead of {_us(three)}.",
        lesson="Time follows the bytes, and half of the bytes stay.",
        holds=abs(gain - fewer) < abs(gain - three.kernels),
    )


def _launches(found: Sweep) -> Finding:
    rows = found.of(Way.TORCH_OUT)
    least = min(row.seconds for row in rows)
    flat = [row for row in rows if row.seconds < 1.5 * least]
    more = rows[-1].elements // flat[-1].elements
    return Finding(
        question="Where do launches rule?",
        measured=f"Up to {_power(flat[-1].elements)} elements three calls of torch take {_us(rows[0])} to"
        f" {_us(flat[-1])}, about {least / 3 * 1e6:.2g} us a call whatever the size. From there {more:,} times as many"
        f" elements take {rows[-1].seconds / flat[-1].seconds:,.0f} times as long.",
        lesson="In small tensors each call pays for itself and not for its data: fewer calls is all that helps.",
        holds=flat == list(rows[: len(flat)]) and 1 < len(flat) < len(rows),
    )


def _graph(found: Sweep) -> Finding:
    small, large = found.sizes()[0], found.sizes()[-1]
    called, graph, long = (found.find(w, small) for w in (Way.TORCH_OUT, Way.GRAPH_UNFUSED, Way.LONG_GRAPH_UNFUSED))
    fused, gain = found.find(Way.GRAPH_FUSED, small), found.ratio(*_pair(found), small)
    same = found.ratio(Way.TORCH_OUT, Way.LONG_GRAPH_UNFUSED, large)
    return Finding(
        question="What does a CUDA graph change?",
        measured=f"On {_power(small)} elements three kernels take {_us(called)} when the host launches each,"
        f" {_us(graph)} as a graph of their own, {_us(long)} inside a long graph. One kernel as a graph takes"
        f" {_us(fused)}. In the long graph one is {gain:.2f} times as fast as three. On {_power(large)} elements the"
        f" graph gains {same - 1:.1%}.",
        lesson="A graph takes the launches from the host: a long one leaves what a kernel costs the GPU, a short"
        " one mostly its own start. It moves the same bytes, and it does not replace fusion.",
        holds=called.seconds > 1.5 * graph.seconds > 1.5 * long.seconds and gain > 2.5 and abs(same - 1) < 0.05,
    )


def _cache(found: Sweep) -> Finding:
    unfused, fused = _pair(found)
    sizes = found.sizes()
    saved = {n: (found.find(unfused, n).seconds - found.find(fused, n).seconds) / n * 1e12 for n in sizes}
    size = min(saved, key=lambda n: saved[n])
    here, memory = found.find(unfused, size), found.find(unfused, sizes[-1])
    return Finding(
        question="Where does fusion save least?",
        measured=f"On {_power(size)} elements, {size * fusionways.ITEM_BYTES / 2**20:.3g} MiB an array:"
        f" it saves {_ps(saved[size])} an element, against {_ps(saved[sizes[-1]])} on {_power(sizes[-1])}. By the"
        f" traffic model three kernels reach {here.bytes_per_s / 1e9:,.0f} GB/s there, and"
        f" {memory.bytes_per_s / 1e9:,.0f} on the large ones. The gain is {found.ratio(unfused, fused, size):.2f}x.",
        lesson="The next kernel finds X and Y in the cache: the traffic that fusion saves is the cheap kind.",
        holds=sizes[0] < size < sizes[-1] and here.bytes_per_s > memory.bytes_per_s,
    )


def _length(found: Sweep) -> Finding:
    (first, *_, last), (first_one, *_, last_one) = (found.chains(way) for way in _pair(found))
    grew, grew_one = last.seconds / first.seconds, last_one.seconds / first_one.seconds
    if grew_one < 1.1:
        lesson = "While memory is waited for, arithmetic is free."
    else:
        lesson = "So long a chain keeps the processor busier than memory: fusion saves the traffic, not the arithmetic."
    return Finding(
        question="What does one more operation cost?",
        measured=f"{last.operations} operations instead of {first.operations} on {_power(last.elements)} elements take"
        f" {grew:.2f} times as long as kernels of their own, {grew_one:.2f} times as long in one kernel:"
        f" {_us(last_one)} instead of {_us(first_one)}, for the same bytes.",
        lesson=lesson,
        holds=grew_one < grew / 3,
    )


# --- trtlab bench fusion ----------------------------------------------------------------------------------------------

COPY_PEER = "a copy of as many bytes"


def fusion_ratios(sizes: tuple[int, ...] = (2**20, 2**22, 2**24), samples: int = 21) -> list[Ratio]:
    """Our kernel against a copy and against numpy, one thread; the GPU's kernel live or as recorded."""
    return [ratio for size in sizes for ratio in _on_cpu(size, samples)] + [_on_gpu()]


def _on_cpu(elements: int, samples: int) -> list[Ratio]:
    arrays, short, long = Arrays("cpu", elements), chain(3), chain(16)
    works = {
        "copy": fusionways.build(Way.COPY, short, arrays),
        "short": fusionways.build(Way.GENERATED, short, arrays),
        "long": fusionways.build(Way.GENERATED, long, arrays),
        "numpy": fusionways.build(Way.NUMPY_OUT, long, arrays),
    }
    with one_thread():
        taken = measure_in_turns(works, samples=samples, packages=PACKAGES["cpu"])
    rows = [
        ("short", "copy", f"ReLU(A*B + C), {_power(elements)}", 1 / 0.9, COPY_PEER, False),
        ("long", "short", f"16 operations, {_power(elements)}", 1.3, "3 operations", False),
        ("numpy", "long", f"16 operations, {_power(elements)}", 8.0, "numpy, out=", True),
    ]
    return [
        Ratio(
            name="fusion", what=what, value=taken[above].ratio_to(taken[below]), bound=round(bound, 3), peer=peer,
            provenance=taken[above].provenance, larger_is_better=larger,
        )
        for above, below, what, bound, peer, larger in rows
    ]  # fmt: skip


def _on_gpu(elements: int = 2**26) -> Ratio:
    import torch

    ways = (Way.GENERATED, Way.COPY)
    found = sweep("cuda", sizes=(elements,), lengths=(), ways=ways) if torch.cuda.is_available() else load("h100")
    return Ratio(
        name="fusion", what=f"Triton kernel's bandwidth, {_power(elements)}", bound=0.97, peer=COPY_PEER,
        value=found.of_copy(Way.GENERATED, elements), provenance=found.provenance, larger_is_better=True,
    )  # fmt: skip
