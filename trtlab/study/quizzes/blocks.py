"""study/quizzes/blocks: the quizzes of the first question, continued: INT8, four bits and blocks with shared scales.

Each `@asked` pair is a truth function, which computes with trtlab.numeric, and the words around what it found.
tests/study/test_quiz.py grades replies to each.
"""

import numpy as np

from trtlab.study.quiz import Choice, Number, Option, Ordering, Slip, Step, Truth
from trtlab.study.quizzes import asked
from trtlab.study.quizzes.found import ascending, computed, fmt_of


def nvfp4_bits() -> Truth:
    values = np.random.default_rng(0).normal(size=(512, 512))
    quantized = fmt_of("NVFP4").quantize(values)
    evidence = f"512 × 512 numbers quantised, with all scales: {quantized.size_bits:,} bits."
    return computed(quantized.bits_per_value, evidence)


@asked("q1-nvfp4-bits", truth=nvfp4_bits)
def bits_of_nvfp4(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="bits",
        tolerance=0.01,
        question="A large matrix is quantised to NVFP4. How many bits does a value take on average, scales included?",
        explanation="4 bits for the element, and an 8-bit E4M3 scale for every 16 of them: half a bit more. The one "
        "FP32 scale of the tensor vanishes in the average.",
        slips=(
            Slip(value=4, why="That is the element alone. Every 16 values share a scale of 8 bits."),
            Slip(value=4.25, why="That is MXFP4: one 8-bit scale for 32 values. NVFP4's blocks are half as long."),
            Slip(value=5, why="One bit more would be a 16-bit scale for 16 values; it is FP8 E4M3, 8 bits."),
            Slip(value=6, why="Two bits more would be an FP32 scale per block. There is one FP32 scale per tensor."),
            Slip(value=12, why="An own scale for every value would be no saving at all; 16 share it."),
        ),
    )


def nibbles() -> Truth:
    from trtlab.numeric.quantize import pack

    (byte,) = pack([1, 2])
    return computed(f"{byte:#04x}", f"pack([1, 2]) is {byte:#04x}.")


@asked("q1-low-nibble", truth=nibbles)
def low_nibble(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="Two INT4 weights, first 1, then 2, are stored in one byte for TensorRT. Which byte is it?",
        explanation="The first element goes into the low half. Written in hexadecimal, pairs look swapped. The other "
        "order is valid, too, and gives a model of noise: nothing can notice it.",
        options=(
            Option(key="0x21", text="`0x21`", why="The first in the low half, as in ONNX and TensorRT."),
            Option(
                key="0x12",
                text="`0x12`",
                why="The order in which we write. The first element lies in the low half, though.",
            ),
            Option(
                key="0x0102", text="`0x01 0x02`", why="A byte each: then INT4 would save no memory. Two share a byte."
            ),
            Option(
                key="0x84", text="`0x84`", why="Bits within a half are not mirrored; only the halves have an order."
            ),
        ),
    )


def _with_outlier(fmt: str) -> tuple[float, float]:
    """SQNR in dB of 4095 values of N(0, 1) on one scale per tensor: alone, and beside a value of 100."""
    from trtlab.numeric.quantize import sqnr_db

    values = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    before = sqnr_db(values[1:], fmt_of(fmt).quantize(values[1:]).values)
    values[0] = 100
    return before, sqnr_db(values[1:], fmt_of(fmt).quantize(values).values[1:])


def int8_outlier() -> Truth:
    before, after = _with_outlier("INT8")
    nearest = min((41, 28, 13, 0), key=lambda loss: abs(before - after - loss))
    return computed(str(nearest), f"The 4095 values keep {before:.1f} dB alone, {after:.1f} dB beside the outlier.")


@asked("q1-outlier-int8", truth=int8_outlier)
def outlier_int8(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="4095 values of N(0, 1) in INT8 with one scale for the tensor. Now one more value joins them: 100. "
        "How many decibels of SQNR do the others lose?",
        explanation="The scale grows from about 3.6 / 127 to 100 / 127, a factor of 28, and so does every rounding "
        "error: 20 log10(28) dB. Nearly five of the eight bits serve a single value.",
        options=(
            Option(key="28", text="about 28 dB", why="Nearly five bits, at 6 dB each."),
            Option(
                key="0",
                text="next to nothing",
                why="One in 4096 sounds harmless, and in a mean it would be. The scale is a maximum.",
            ),
            Option(key="13", text="about 13 dB", why="That is what is left, not what is lost."),
            Option(key="41", text="everything, 41 dB", why="Nearly: the values fall on about ten levels, not on one."),
        ),
    )


def e4m3_outlier() -> Truth:
    before, after = _with_outlier("FP8_E4M3")
    lost = "nothing" if abs(before - after) < 1 else "half" if before - after < 20 else "as INT8"
    return computed(lost, f"The 4095 values keep {before:.1f} dB alone, {after:.1f} dB beside the outlier.")


@asked("q1-outlier-fp8", truth=e4m3_outlier)
def outlier_fp8(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="The same outlier, 100 among values of N(0, 1), in FP8 E4M3 with one scale per tensor. How many "
        "decibels do the others lose?",
        explanation="A float's step grows with the value. A larger scale moves the small values a few binades down, "
        "where the relative step is the same, until subnormals begin. INT8 is better without outliers, FP8 with them.",
        options=(
            Option(key="nothing", text="less than 1 dB", why="Relative error does not depend on the scale."),
            Option(
                key="as INT8",
                text="about as many as in INT8",
                why="8 bits in both. But INT8's levels are evenly spaced, and a float's are not.",
            ),
            Option(
                key="half",
                text="about half as many as in INT8",
                why="It has half an exponent, so to say. But within its range a float loses nothing at all.",
            ),
        ),
    )


def four_bits() -> Truth:
    from trtlab.numeric.quantize import sqnr_db

    values = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    kept = {
        name: sqnr_db(values, fmt_of(name).quantize(values, block=16).values) for name in ("INT4", "FP4_E2M1", "NF4")
    }
    return ascending(kept, "SQNR in dB, N(0, 1), blocks of 16 with exact scales")


@asked("q1-four-bit-order", truth=four_bits)
def four_bit_order(name: str, truth: Truth) -> Ordering:
    return Ordering(
        name=name,
        truth=truth,
        question="Normally distributed weights, blocks of 16, a float scale for each block. Order the three 4-bit "
        "element types by SQNR, the worst first.",
        explanation="In so short a block the largest value is not far from the others, and even steps use it well: "
        "INT4 passes FP4. Over a whole tensor it is the other way round. NF4 was made for this distribution.",
        steps=(
            Step(key="FP4_E2M1", text="FP4 E2M1"),
            Step(key="INT4", text="INT4", why="15 even steps; FP4 leaves a wide gap between 4 and 6."),
            Step(key="NF4", text="NF4", why="Its 16 levels are quantiles of the normal distribution itself."),
        ),
    )


def nf4_negative() -> Truth:
    values = fmt_of("NF4").decode(np.arange(16))
    return computed(int((values < 0).sum()), f"Its table: {', '.join(f'{value:.2f}' for value in values)}.")


@asked("q1-nf4-negative", truth=nf4_negative)
def negative_nf4(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="codes",
        question="How many of NF4's 16 codes stand for negative numbers?",
        explanation="One code is an exact 0, so 15 are left for two sides: 7 below, 8 above. An exact 0 matters: "
        "padding and pruned weights must stay 0.",
        slips=(
            Slip(value=8, why="Half of 16, if there were no 0 or two of them. One code is an exact 0."),
            Slip(value=15, why="That is all but the 0."),
            Slip(value=6, why="The negative quantiles, without -1 itself."),
        ),
    )
