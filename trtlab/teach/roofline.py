"""teach/roofline: what a format buys for one product of matrices: bytes against operations, on three GPUs.

In: lab/gemm's arithmetic, and its recording of one GPU. Out: `RooflineView`: sliders for the sizes, a button for each
GPU, two bars for each format, and a mark where it was measured.
"""

import math

from trtlab.engine.recordings import RecordingMissing
from trtlab.lab import gemm
from trtlab.teach import svg
from trtlab.teach.sliders import SliderView
from trtlab.teach.units import seconds_text

WIDTH, LEFT, RIGHT, ROW = 1000, 90, 800, 46
MEMORY, COMPUTE = "#0072b2", "#d55e00"
SLIDERS = {
    "rows": ("rows at once (batch × tokens), 2 to the", 0, 13, 0), "size": ("columns and terms, 2 to the", 8, 14, 12),
    "gpu": ("", 0, len(gemm.GPUS) - 1, 1),
}  # fmt: skip


class RooflineView(SliderView):
    """The least time of y [m, n] = x [m, k] w [k, n] in every format that a GPU multiplies; n = k."""

    ABOUT = "What a format buys"

    def __init__(self, **setting: int) -> None:
        super().__init__(SLIDERS, setting, buttons={name: {"gpu": n} for n, name in enumerate(gemm.GPUS)})

    @property
    def times(self) -> list[gemm.GemmTime]:
        """One for each format that the chosen GPU multiplies."""
        rows, size, gpu = 2 ** self.setting["rows"], 2 ** self.setting["size"], [*gemm.GPUS][self.setting["gpu"]]
        return [
            gemm.gemm_time(rows, size, size, name, gpu)
            for name, how in gemm.FORMATS.items()
            if how[-1] in gemm.GPUS[gpu]
        ]

    def picture(self) -> str:
        times = self.times
        low = math.floor(math.log10(min(min(t.memory_s, t.compute_s) for t in times)))
        high = math.ceil(math.log10(max(t.seconds for t in times)))
        scale = (RIGHT - LEFT) / max(1, high - low)

        def x(seconds: float) -> float:
            return LEFT + (math.log10(seconds) - low) * scale

        parts = self._axis(low, high, scale, 40 + ROW * len(times))
        for number, one in enumerate(times):
            y = 36 + ROW * number
            parts.append(svg.text("tl-ink", one.format, (8, y + 22), 14, svg.INK, 600))
            for seconds, colour, top in ((one.memory_s, MEMORY, y), (one.compute_s, COMPUTE, y + 17)):
                faint = "1" if seconds == one.seconds else "0.35"
                parts.append(svg.tag("rect", x=LEFT, y=top + 2, width=max(1.0, x(seconds) - LEFT), height=14, rx=2,
                                     fill=colour, opacity=faint))  # fmt: skip
            words = f"{seconds_text(one.seconds)}, {one.limit}"
            parts.append(svg.text("tl-ink", words, (RIGHT + 10, y + 22), 13, svg.INK))
            if (measured := self._measured(one)) is not None:
                at = min(x(measured), RIGHT)
                mark = svg.tag("path", svg.title(f"measured: {seconds_text(measured)}"), fill=svg.INK,
                               d=f"M{at:.1f} {y + 17}l7 -7l7 7l-7 7Z")  # fmt: skip
                parts.append(mark)
        return svg.whole("Least time of a product, by format", WIDTH, 66 + ROW * len(times), *parts)

    def _axis(self, low: int, high: int, scale: float, bottom: float) -> list[str]:
        key = (("bytes over bandwidth", MEMORY, LEFT), ("operations over rate", COMPUTE, LEFT + 190))
        parts = [svg.tag("rect", x=at, y=8, width=12, height=12, rx=2, fill=colour) for _, colour, at in key]
        parts += [svg.text("tl-ink", words, (at + 18, 18), 12, svg.INK) for words, _, at in key]
        if any(self._measured(one) for one in self.times):
            parts.append(svg.text("tl-ink", "◆ measured", (LEFT + 380, 18), 12, svg.INK))
        for power in range(low, high + 1):
            at = LEFT + (power - low) * scale
            parts.append(svg.tag("line", x1=at, x2=at, y1=30, y2=bottom, stroke="#d7dce1"))
            parts.append(
                svg.text("tl-dim", seconds_text(10.0**power), (at, bottom + 16), 12, svg.DIM, text_anchor="middle")
            )
        return parts

    def _measured(self, one: gemm.GemmTime) -> float | None:
        """What such a product took on the GPU that was measured."""
        size = 2 ** self.setting["size"]
        try:
            recorded = gemm.load(one.gpu.lower())
            found = recorded.run(one.format, 2 ** self.setting["rows"], size)
        except (RecordingMissing, KeyError):
            return None
        return found.median_s if found.n == size else None

    def facts(self) -> list[tuple[str, str, str]]:
        times = {one.format: one for one in self.times}
        best, half = min(times.values(), key=lambda t: t.seconds), times["FP16"]
        gpu = gemm.GPUS[half.gpu]
        balance = gpu["FP16"] / gpu["memory"]
        return [
            ("product", f"{2 ** self.setting['rows']:,} × {2 ** self.setting['size']:,}²", f"on {half.gpu}"),
            ("FP16", seconds_text(half.seconds), f"{half.intensity:.0f} operations a byte; balance {balance:.0f}"),
            ("least", best.format, f"{half.seconds / best.seconds:.2f} times as fast as FP16"),
            (
                "INT4 weights",
                seconds_text(times["W4A16"].seconds),
                f"{half.seconds / times['W4A16'].seconds:.2f} times",
            ),
        ]
