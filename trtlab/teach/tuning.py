"""teach/tuning: races of tactics, with every sample of every candidate, its state and the winner; noise to play with.

In: a `Race` of plan/tactics. Out: drawings, and `NoiseView`, in which made-up tactics are raced by several rules.
"""

import functools
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtlab.engine.measure import Provenance
from trtlab.plan import tactics
from trtlab.plan.tactics import Race, is_ahead
from trtlab.teach import svg
from trtlab.teach.figure import INK, PALETTE, finish, new
from trtlab.teach.sliders import SliderView
from trtlab.teach.units import counted

WIDTH, LEFT, RIGHT, ROW = 1000, 210, 960, 70
TRIALS = 200


def draw_race(race: Race, title: str, made: Sequence[Provenance] = ()) -> Any:
    """A row for each candidate in the order of preference: a mark for each sample, a bar at the median, its state."""
    figure, rows = new(), [c for c in race.candidates if c.samples_s]
    for number, one in enumerate(rows):
        won = one.name == race.winner
        colour = PALETTE[2] if won else PALETTE[number % 8] if one.state == tactics.WITHIN else INK
        name, micro = f"{one.name} ", [1e6 * s for s in one.samples_s]
        look = {"symbol": "line-ns-open", "size": 20, "color": colour, "line": {"width": 1.6}}
        figure.add_scatter(x=micro, y=[name] * len(micro), mode="markers", marker=look, hovertemplate="%{x:.4g} µs")
        median = {"symbol": "diamond", "size": 10, "color": colour}
        words = f"{one.median_s * 1e6:,.4g} µs · {one.state}"
        words = f"<b>{words}</b>" if won else words
        figure.add_scatter(
            x=[one.median_s * 1e6], y=[name], mode="markers+text", marker=median, text=[words],
            textposition="top center", hoverinfo="skip",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont={"size": 13})
    figure.update_xaxes(title_text="microseconds, logarithmic", type="log")
    never = [f"{c.name}: {c.state}" for c in race.candidates if not c.samples_s]
    return finish(figure, title, made, height=110 + 56 * max(1, len(rows)), says=never)


# --- noise ------------------------------------------------------------------------------------------------------------

Rule = Callable[[Sequence[float], Sequence[float]], bool]
"""Samples of the preferred tactic and of the other one -> whether the other one is taken."""
RULES: Mapping[str, Rule] = {
    "first sample": lambda a, b: b[0] < a[0],
    "mean": lambda a, b: statistics.fmean(b) < statistics.fmean(a),
    "minimum": lambda a, b: min(b) < min(a),
    "median": lambda a, b: statistics.median(b) < statistics.median(a),
    "ahead of the spread": lambda a, b: is_ahead(b, a),
}
SLIDERS = {
    "gap": ("the second one is faster by, ‰", 0, 200, 30), "noise": ("spread of a sample, ‰", 0, 200, 40),
    "spikes": ("samples hit by a spike, %", 0, 50, 10), "rounds": ("rounds", 1, 40, 10),
}  # fmt: skip


def samples(gap: int, noise: int, spikes: int, rounds: int, seed: int) -> tuple[list[float], list[float]]:
    """Made-up times of two tactics, in microseconds: 100, and less by `gap` per mille. What disturbs only ever adds: a
    half-normal of `noise` per mille, and now and then a spike of 20 to 80 %. The same seed gives the same times."""
    draw = random.Random(seed)

    def one(true: float) -> float:
        spike = draw.uniform(0.2, 0.8) if draw.random() < spikes / 100 else 0.0
        return true * (1 + abs(draw.gauss(0, noise / 1000)) + spike)

    return tuple([one(true) for _ in range(rounds)] for true in (100.0, 100.0 * (1 - gap / 1000)))  # type: ignore[return-value]


class NoiseView(SliderView):
    """Two made-up tactics and four sliders: how often does each rule take the faster one, and how often does the choice
    change from build to build? `chances` has the numbers of the last setting."""

    ABOUT = "Noise and winners"

    def __init__(self, **setting: int) -> None:
        super().__init__(SLIDERS, setting)

    @property
    def chances(self) -> dict[str, float]:
        return chances(**self.setting)

    def picture(self) -> str:
        a, b = samples(**self.setting, seed=0)
        low, high = min(*a, *b), max(*a, *b)
        scale = (RIGHT - LEFT) / max(1e-9, high - low)
        parts = [svg.text("tl-ink", "one race", (8, 20), 13, svg.INK, 600)]
        for number, (name, row) in enumerate({"preferred, 100 µs": a, "the other": b}.items()):
            y, colour = 34 + 34 * number, PALETTE[number]
            parts.append(svg.text("tl-ink", name, (8, y + 16), 13, svg.INK))
            for value in row:
                x = LEFT + (value - low) * scale
                parts.append(
                    svg.tag("line", x1=x, x2=x, y1=y, y2=y + 22, stroke=colour, stroke_width="2", opacity="0.7")
                )
        parts += [svg.text("tl-dim", f"{v:.1f} µs", (LEFT + (v - low) * scale, 116), 12, svg.DIM, text_anchor=place)
                  for v, place in ((low, "start"), (high, "end"))]  # fmt: skip
        return svg.whole("Samples of two tactics", WIDTH, 128 + 34 * len(RULES) + 24, *parts, *self._bars())

    def _bars(self) -> list[str]:
        """How often each rule took the other one, of `TRIALS` races with times of their own."""
        words = f"of {TRIALS} such races, taken: the other one"
        parts = [svg.text("tl-ink", words, (8, 148), 13, svg.INK, 600)]
        for number, (name, share) in enumerate(self.chances.items()):
            y, width = 160 + 32 * number, (RIGHT - LEFT - 60) * share
            parts.append(svg.text("tl-ink", name, (8, y + 15), 13, svg.INK))
            parts.append(svg.tag("rect", x=LEFT, y=y, width=max(1.0, width), height=20, rx=3, fill=PALETTE[1]))
            parts.append(svg.text("tl-ink", f"{share:.0%}", (LEFT + width + 8, y + 15), 13, svg.INK, 600))
        return parts

    def facts(self) -> list[tuple[str, str, str]]:
        gap, rounds = self.setting["gap"], self.setting["rounds"]
        wanted = 1.0 if gap >= 1000 * tactics.LEAST_AHEAD else 0.0
        right = {name: abs(1 - wanted - share) for name, share in self.chances.items()}
        best = max(right, key=lambda name: right[name])
        repeats = {name: share**2 + (1 - share) ** 2 for name, share in self.chances.items()}
        steady = max(repeats, key=lambda name: repeats[name])
        return [
            ("truly", f"{gap / 10:g} % faster" if gap else "equally fast", "the other one"),
            ("right most often", best, f"{right[best]:.0%} of the races"),
            ("two builds agree", f"{repeats[steady]:.0%}", steady),
            ("samples", counted(2 * rounds, "sample"), f"{rounds} of each"),
        ]


@functools.lru_cache(maxsize=512)
def chances(gap: int, noise: int, spikes: int, rounds: int) -> dict[str, float]:
    """How often each rule takes the other tactic, of `TRIALS` races."""
    races = [samples(gap, noise, spikes, rounds, seed) for seed in range(1, TRIALS + 1)]
    return {name: sum(rule(a, b) for a, b in races) / TRIALS for name, rule in RULES.items()}
