"""study/proofs/memory: C64 to C66: what NVIDIA's builder plans, and what touching new memory costs.

In: builds, and arrays of this machine. Out: `Found`s; the words are in words/claims.
"""

from collections.abc import Callable
from typing import Any

from trtlab.study.found import Found
from trtlab.study.truths import memory as truths
from trtlab.study.truths.builds import built

TENSOR_BYTES, RUNS = 64 * 256 * 256 * 4, 5


def softmax_chain() -> Found:
    found = built(truths.memory_of_chains)
    rows = [(n, f"{int(n) * TENSOR_BYTES:,}", f"{size:,}") for n, size in found.value.items()]
    holds = all(2 <= size / TENSOR_BYTES < 2.1 for size in found.value.values())
    return Found(value=holds, rows=rows, facts={"tensor": TENSOR_BYTES}, provenance=found.provenance)


def auxiliary_streams_cost_memory() -> Found:
    found = built(truths.memory_with_auxiliary_streams)
    rows = [(n, streams, f"{size:,}") for n, (size, streams) in found.value.items()]
    sizes = [size for size, _ in found.value.values()]
    holds = sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]
    return Found(value=holds, rows=rows, facts={"one": sizes[0], "three": sizes[-1]}, provenance=found.provenance)


def new_memory_is_touched_first() -> Found:
    import numpy as np

    from trtlab.engine.measure import live

    a = np.ones(2**24, np.float32)
    kept = np.empty_like(a)
    fresh_faults, kept_faults = page_faults(lambda: np.add(a, a)), page_faults(lambda: np.add(a, a, out=kept))
    holds = fresh_faults > 8 * max(kept_faults, 1)
    facts = {"size": a.nbytes, "fresh": fresh_faults, "kept": kept_faults}
    return Found(value=holds, facts=facts, provenance=live(["numpy"], samples=RUNS))


def page_faults(work: Callable[[], Any], runs: int = RUNS) -> int:
    """Page faults of one run, the least of several, after one that does not count."""
    import resource

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    work()
    found = []
    for _ in range(runs):
        before = faults()
        work()
        found.append(faults() - before)
    return min(found)
