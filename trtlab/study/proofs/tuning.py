"""study/proofs/tuning: C59 to C63: where kernels come from, and races of tactics run here.

In: builds, and the glass box. Out: `Found`s; the words are in words/claims.
"""

from collections import Counter

from trtlab.study.found import Found

STUB = "__myelin_CASK_STUB"
NETWORK = "resnet18-FP32-SM89-static"


def library_and_generated() -> Found:
    from trtlab.lab import builds

    report = builds.recorded(NETWORK)
    counts = Counter(kernel.type for kernel in report.kernels)
    first = {kernel.type: kernel.name for kernel in reversed(report.kernels)}
    rows = [(kind, count, first[kind]) for kind, count in counts.most_common()]
    holds = counts["kgen"] > 0 and any(kernel.tactic == STUB for kernel in report.kernels)
    return Found(value=holds, rows=rows, facts={"network": report.model_name}, provenance=report.provenance)


def chosen_later() -> Found:
    from trtlab.lab import builds

    report = builds.recorded(NETWORK)
    left = [kernel for kernel in report.kernels if kernel.tactic in ("", STUB)]
    facts = {"open": len(left), "kernels": len(report.kernels), "stub": STUB}
    return Found(value=2 * len(left) > len(report.kernels), facts=facts, provenance=report.provenance)


def candidates_are_timed() -> Found:
    from trtlab.engine import glassbox
    from trtlab.engine.measure import live, one_thread
    from trtlab.lab import builds

    with one_thread():
        races = glassbox.build(builds.model("conv_relu")).inspect(tactics=True)
    race = max((one.race for one in races if one.race), key=lambda race: len(race.candidates))
    timed = [one for one in race.candidates if one.samples_s]
    rows = [(one.name, f"{one.best_s * 1e6:.1f}", len(one.samples_s), one.state) for one in race.candidates]
    taken = sum(len(one.samples_s) for one in timed)
    facts = {"timed": len(timed), "samples": taken, "winner": race.winner}
    return Found(value=len(timed) > 1, rows=rows, facts=facts, provenance=live(["torch", "numba"], samples=taken))


def winner_depends_on_shape() -> Found:
    from trtlab.lab import race

    recorded = race.load("h100")
    rows, winners = [], set()
    for one in recorded.races:
        times = sorted(c.best_s for c in one.race.candidates if c.samples_s)
        if one.problem.op == "conv" and len(times) > 1:
            rows.append((one.problem.name, one.race.winner, f"{times[1] / times[0]:.2f}"))
            winners.add(one.race.winner)
    return Found(value=len(winners) > 1, rows=rows, provenance=recorded.provenance)
