"""teach/tuning: races of tactics, with every sample of every candidate, its state and the winner; noise to play with.

In: a `Race` of plan/tactics. Out: drawings, and `NoiseView`, in which made-up tactics are raced by several rules.
"""

import math
from collections.abc import Sequence
from typing import Any

from trtlab.engine.measure import Provenance
from trtlab.lab.race import RULES, TRIALS, chances, samples
from trtlab.plan import tactics
from trtlab.plan.tactics import Race
from trtlab.teach import svg
from trtlab.teach.figure import INK, PALETTE, finish, new
from trtlab.teach.sliders import SliderView
from trtlab.teach.units import counted

WIDTH, LEFT, RIGHT, ROW = 1000, 210, 960, 70


def draw_race(race: Race, title: str, made: Sequence[Provenance] = ()) -> Any:
    """A row for each candidate, preferred ones first: a mark for each sample, a diamond at the best one, its state."""
    figure, rows = new(), [c for c in race.candidates if c.samples_s]
    for number, one in enumerate(rows):
        won = one.name == race.winner
        colour = PALETTE[2] if won else PALETTE[number % 8] if one.state == tactics.WITHIN else INK
        name, micro = f"{one.name} ", [1e6 * s for s in one.samples_s]
        look = {"symbol": "line-ns-open", "size": 20, "color": colour, "line": {"width": 1.6}}
        figure.add_scatter(x=micro, y=[name] * len(micro), mode="markers", marker=look, hovertemplate="%{x:.4g} µs")
        best, words = {"symbol": "diamond", "size": 10, "color": colour}, f"{one.best_s * 1e6:,.4g} µs · {one.state}"
        figure.add_scatter(x=[one.best_s * 1e6], y=[name], mode="markers", marker=best, hoverinfo="skip")
        figure.add_annotation(
            text=f"<b>{words}</b>" if won else words, x=math.log10(one.best_s * 1e6), y=name, yshift=18, xanchor="left",
            xshift=-5, showarrow=False, font={"color": colour},
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont={"size": 13})
    marks = {"tickvals": [m * 10**k for k in range(8) for m in (1, 2, 5)], "tickformat": ","}
    figure.update_xaxes(title_text="microseconds, logarithmic", type="log", **marks)
    never = [f"{c.name}: {c.state}" for c in race.candidates if not c.samples_s]
    return finish(figure, title, made, height=110 + 56 * max(1, len(rows)), says=never)


# --- noise ------------------------------------------------------------------------------------------------------------

SLIDERS = {
    "gap": ("the second one is faster by, ‰", 0, 200, 30), "noise": ("spread of a sample, ‰", 0, 200, 40),
    "spikes": ("samples hit by a spike, %", 0, 50, 10), "rounds": ("rounds", 1, 40, 10),
}  # fmt: skip


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
