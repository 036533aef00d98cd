"""study/proofs/streams: C68 and C69: what contexts and streams gained on a GPU, as recorded.

In: the recording of lab/streams. Out: `Found`s; the words are in words/claims.
"""

from trtlab.study.found import Found


def contexts_overlap() -> Found:
    from trtlab.lab import streams

    recorded = streams.load()
    one, many = (recorded.case(f"16 requests on {n}") for n in (1, 4))
    facts = {"one": one.median_s * 1e3, "many": many.median_s * 1e3, "contexts": many.streams, "requests": 16}
    return Found(value=one.median_s > 1.5 * many.median_s, facts=facts, provenance=recorded.provenance)


def streams_help_small_batches() -> Found:
    from trtlab.lab import streams

    recorded = streams.load()
    by = {(s.batch, s.contexts): s for s in recorded.servings}
    gain = {b: by[b, 8].samples_per_s / by[b, 1].samples_per_s for b in (1, 32)}
    wait = {b: by[b, 8].percentile(0.5) / by[b, 1].percentile(0.5) for b in (1, 32)}
    rows = [
        (s.batch, s.contexts, f"{s.samples_per_s:,.0f}", *(f"{s.percentile(p) * 1e6:.0f} µs" for p in (0.5, 0.99)),
         f"{s.memory_bytes:,}")
        for s in recorded.servings if s.batch in gain
    ]  # fmt: skip
    facts = {"small": gain[1], "large": gain[32], "small_wait": wait[1], "large_wait": wait[32]}
    holds = gain[1] > 2 and gain[32] < 1.5 and min(wait.values()) > 1.5
    return Found(value=holds, rows=rows, facts=facts, provenance=recorded.provenance)
