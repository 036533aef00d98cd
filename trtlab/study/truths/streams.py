"""study/truths/streams: what the model of streams predicts, and what an H100 did, for quizzes and claims.

In: plan/streams and the recording of lab/streams. Out: `Found`s; the words are in words/quizzes and words/claims.
"""

from trtlab.study.found import Found, computed


def three_requests() -> Found:
    """When the last of three requests is answered, in milliseconds."""
    from trtlab.lab.streams import Alone, pipeline
    from trtlab.plan.streams import on_one_stream, run

    kernel = Alone(name="kernel", duration_s=3e-3)
    operations = pipeline(2e-3, kernel, 1e-3, chunks=3, streams=3)
    total, serial = (round(run(each).total_s * 1e3, 6) for each in (operations, on_one_stream(operations)))
    return computed(total, serial=serial)


def _recorded(value: object, **facts: object) -> Found:
    from trtlab.lab import streams

    return Found(value=value, facts=facts, provenance=streams.load().provenance)


def size_that_gains() -> Found:
    """The size of product that gained most from four streams."""
    from trtlab.lab import streams

    case = streams.load().case
    taken = {
        size: [case(f"4 branches of products {size} on {n}").median_s for n in (1, 4)] for size in (256, 1024, 4096)
    }
    gains = {str(size): one / four for size, (one, four) in taken.items()}
    said = ", ".join(f"{size}: {gain:.2f}" for size, gain in gains.items())
    return _recorded(max(gains, key=lambda size: gains[size]), gains=said)


def worst_mistake() -> Found:
    """The mistake that took longest."""
    from trtlab.lab import streams

    taken = {c.name.removesuffix(" on 3"): c.median_s * 1e3 for c in streams.load().cases if c.topic == "mistakes"}
    said = ", ".join(f"{name} {ms:.1f}" for name, ms in taken.items())
    return _recorded(max(taken, key=lambda name: taken[name]), taken=said)


def best_throughput() -> Found:
    """Which of three ways answered most samples a second."""
    from trtlab.lab import streams

    rates = {(s.batch, s.contexts): s.samples_per_s for s in streams.load().servings}
    asked = {f"batch {b} × {c}": rates[b, c] for b, c in ((32, 1), (1, 8), (1, 1))}
    said = ", ".join(f"{name}: {rate:,.0f}" for name, rate in asked.items())
    return _recorded(max(asked, key=lambda name: asked[name]), rates=said)
