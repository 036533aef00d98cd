"""study/quizzes/formats: the quizzes of the first question: number formats, their ranges, steps and special codes.

Each `@asked` pair is a truth function, which computes with trtlab.numeric or asks NVIDIA's builder, and the words
around what it found. tests/study/test_quiz.py grades replies to each.
"""

import numpy as np

from trtlab.study.quiz import Choice, Number, Option, Ordering, Several, Slip, Step, Truth
from trtlab.study.quizzes import asked
from trtlab.study.quizzes.found import ascending, computed, fmt_of

# --- range ------------------------------------------------------------------------------------------------------------


def fp16_largest() -> Truth:
    fmt = fmt_of("FP16")
    return computed(fmt.max, f"The code below infinity, {fmt.max_code:#06x}, decoded.")


@asked("q1-fp16-largest", truth=fp16_largest)
def largest_fp16(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="",
        question="FP16 has 5 exponent bits and 10 mantissa bits. What is its largest finite number?",
        explanation="The highest exponent is kept for infinity and NaN, so the largest binade begins at 2^15, and its "
        "last number is one step of 2^5 below 2^16.",
        slips=(
            Slip(value=65536, why="That is 2^16, where the next binade would begin. The largest is one step below."),
            Slip(value=65535, why="That is the largest 16-bit integer. Up here FP16 goes in steps of 32."),
            Slip(value=32768, why="That is 2^15, the first number of the last binade, not the last one."),
            Slip(value=131008, why="The binade after it: its exponent is all ones, and means infinity or NaN."),
            Slip(value=57344, why="That is the largest of FP8 E5M2: the same exponents, fewer mantissa bits."),
        ),
    )


def seventy_thousand() -> Truth:
    kept = [f"{float(fmt_of(name).decode(fmt_of(name).encode(7e4, overflow='ieee'))):g}" for name in ("FP16", "BF16")]
    return computed(" ".join(kept), f"70000, encoded and decoded: FP16 gives {kept[0]}, BF16 {kept[1]}.")


@asked("q1-seventy-thousand", truth=seventy_thousand)
def store_70000(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="An activation is 70000. A network in FP16 stores it, and one in BF16. What do they read back?",
        explanation="FP16 runs out of range at 65504; BF16 has FP32's exponents, but up there only every 512th number. "
        "That is the trade: a wrong last digit against an infinity that poisons everything after it.",
        options=(
            Option(key="inf 70144", text="infinity and 70144", why="FP16 overflows; BF16 rounds to a multiple of 512."),
            Option(
                key="inf 70000",
                text="infinity and 70000",
                why="Right about FP16. BF16 has 8 significant bits, and 70000 needs more: between 2^16 and 2^17 it "
                "goes in steps of 512.",
            ),
            Option(
                key="65504 70144",
                text="65504 and 70144",
                why="A conversion that saturates would give 65504. IEEE's, which casts use, overflows to infinity.",
            ),
            Option(
                key="70000 70144",
                text="70000 and 70144",
                why="FP16 is the more precise of the two, but 70000 lies beyond its largest number, 65504.",
            ),
            Option(
                key="inf inf", text="infinity, both", why="Both have 16 bits, but BF16 has 8 exponent bits of them."
            ),
        ),
    )


def by_range() -> Truth:
    names = ("FP16", "BF16", "FP8_E4M3", "FP8_E5M2", "FP4_E2M1")
    return ascending({name: fmt_of(name).max for name in names}, "Largest finite numbers")


@asked("q1-order-by-range", truth=by_range)
def order_by_range(name: str, truth: Truth) -> Ordering:
    return Ordering(
        name=name,
        truth=truth,
        question="Order these formats by their largest finite number, the smallest first.",
        explanation="Exponent bits decide. E5M2 has those of FP16 and ends just below it. E4M3 has one exponent bit "
        "less; BF16 has three more than FP16, the 8 of FP32.",
        steps=(
            Step(key="FP4_E2M1", text="FP4 E2M1"),
            Step(key="FP8_E4M3", text="FP8 E4M3", why="4 exponent bits against 2."),
            Step(key="FP8_E5M2", text="FP8 E5M2", why="It gave a mantissa bit for an exponent bit."),
            Step(key="FP16", text="FP16", why="The exponents of E5M2, and a longer mantissa in the last binade."),
            Step(key="BF16", text="BF16", why="8 exponent bits, as FP32 has."),
        ),
    )


# --- precision --------------------------------------------------------------------------------------------------------


def by_precision() -> Truth:
    names = ("FP32", "TF32", "FP16", "BF16", "FP8_E4M3", "FP8_E5M2")
    return ascending({name: 1 / fmt_of(name).epsilon for name in names}, "Numbers from 1 up to 2")


@asked("q1-order-by-precision", truth=by_precision)
def order_by_precision(name: str, truth: Truth) -> Ordering:
    return Ordering(
        name=name,
        truth=truth,
        question="Order these formats by precision (the step from 1 to the next number), the coarsest first. Two are "
        "equal and may come in either order.",
        explanation="Mantissa bits decide: 2, 3, 7, 10, 10 and 23. TF32 is named after 32 bits and has FP16's "
        "mantissa; BF16 has 16 bits and only 7 of mantissa.",
        steps=(
            Step(key="FP8_E5M2", text="FP8 E5M2"),
            Step(key="FP8_E4M3", text="FP8 E4M3", why="3 mantissa bits against 2."),
            Step(key="BF16", text="BF16", why="7 mantissa bits."),
            Step(key="TF32", text="TF32", why="10 mantissa bits, as FP16."),
            Step(key="FP16", text="FP16", why="10 mantissa bits, three more than BF16."),
            Step(key="FP32", text="FP32", why="23 mantissa bits, more than all others here."),
        ),
    )


def bf16_gap() -> Truth:
    from trtlab.numeric import arithmetic

    return computed(
        arithmetic.first_gap(fmt_of("BF16")), "1, 2, 3, ... encoded and decoded until one came back changed."
    )


@asked("q1-bf16-first-gap", truth=bf16_gap)
def first_gap(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="",
        question="Token ids pass through a tensor of BF16, by mistake. Which is the first positive integer that it "
        "cannot hold?",
        explanation="7 stored mantissa bits and the hidden one are 8 significant bits, which reach to 256 = 2^8. "
        "Beyond, only even numbers are left, then multiples of 4. Indices belong into integers.",
        slips=(
            Slip(value=129, why="That counts 7 bits. The leading 1 is not stored and counts as well."),
            Slip(value=256, why="256 is a power of two: one bit. The next number is the one that needs nine."),
            Slip(value=2049, why="That is FP16's, with 11 significant bits."),
            Slip(value=65536, why="That would be a 16-bit integer. Most of BF16's bits are the exponent."),
        ),
    )


def tf32_bytes() -> Truth:
    codes = fmt_of("TF32").encode(np.ones(1000, np.float32))
    evidence = f"A thousand numbers as TF32: {codes.nbytes:,} bytes, of type {codes.dtype}."
    return computed(codes.nbytes / 1000, evidence)


@asked("q1-tf32-bytes", truth=tf32_bytes)
def bytes_of_tf32(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="bytes",
        question="TF32 is switched on. How many bytes of memory does each number of a tensor take?",
        explanation="The tensor stays FP32. Tensor cores round their inputs to 10 mantissa bits on the way in and sum "
        "up in FP32: faster products, no memory saved, nothing to convert.",
        slips=(
            Slip(value=2.375, why="19 bits are what counts, but nobody packs them: the container has 32."),
            Slip(value=2, why="FP16 and BF16 take two. TF32 has their speed in mind, not their size."),
            Slip(value=3, why="19 bits, rounded up to whole bytes, would be three; the container is a float32."),
            Slip(value=19, why="19 is the number of bits that carry the value."),
        ),
    )


def sum_of_ones() -> Truth:
    from trtlab.numeric import arithmetic

    total = float(arithmetic.running_sum(fmt_of("FP16"), np.ones(3000))[-1])
    return computed(total, f"3000 additions, each rounded to FP16: {total:g}.")


@asked("q1-fp16-sum", truth=sum_of_ones)
def fp16_sum(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="",
        question="In FP16, 1 is added to a running sum 3000 times, every result rounded to FP16. What is the sum?",
        explanation="At 2048 = 2^11 the numbers are 2 apart. 2049 lies halfway and rounds to the even code: 2048, "
        "again and again. So products in FP16 are summed up in FP32.",
        slips=(
            Slip(value=3000, why="Each 1 is exact, and so is 3000. But the sum stops growing on its way there."),
            Slip(value=65504, why="That is the largest number; the sum is stuck long before."),
            Slip(value=1024, why="From 1024 on steps are 1 wide: adding 1 still works, up to twice that."),
            Slip(value=2049, why="2049 cannot be held: it lies between two numbers, and rounds to the even one."),
        ),
    )


# --- special codes, and who supports what -----------------------------------------------------------------------------


def e4m3_nans() -> Truth:
    values = fmt_of("FP8_E4M3").decode(np.arange(256))
    return computed(int(np.isnan(values).sum()), "All 256 codes decoded, and the NaNs among them counted.")


@asked("q1-e4m3-nan-codes", truth=e4m3_nans)
def nan_codes(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="codes",
        question="How many of the 256 codes of FP8 E4M3, as TensorRT has it, mean NaN?",
        explanation="Only those with all exponent and mantissa bits set, one for each sign. There is no infinity, so "
        "the rest of the highest exponent is numbers, up to 448.",
        slips=(
            Slip(value=14, why="IEEE's scheme gives the whole highest exponent away: 14 NaNs, 2 infinities."),
            Slip(value=1, why="There is one for each sign. A format with a single NaN is E4M3 FNUZ."),
            Slip(value=6, why="That is E5M2, which follows IEEE's scheme."),
            Slip(value=0, why="FP4 and FP6 have none. E4M3 keeps a NaN, so that errors stay visible."),
            Slip(value=16, why="All codes of the highest exponent, both signs. Most of them are numbers here."),
        ),
    )


def code_7e() -> Truth:
    value = float(fmt_of("FP8_E4M3").decode(0x7E))
    return computed(
        f"{value:g}", f"FP8_E4M3 decodes 0x7e to {value:g}, FP8_E4M3_IEEE to {fmt_of('FP8_E4M3_IEEE').decode(0x7E)}."
    )


@asked("q1-e4m3-code", truth=code_7e)
def e4m3_code(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="The byte 0x7e, in bits 0 1111 110, is an FP8 E4M3 number of TensorRT. Which?",
        explanation="Exponent 15 - 7 = 8, mantissa 1 + 6/8: 1.75 × 256. It is the largest number there is; the byte "
        "after it is NaN.",
        options=(
            Option(key="448", text="448", why="1.75 × 2^8: the highest exponent holds numbers, too."),
            Option(
                key="240",
                text="240",
                why="Where an IEEE-style E4M3 ends, at code 0x77. There, 0x7e would be a NaN.",
            ),
            Option(
                key="nan",
                text="NaN",
                why="By IEEE's scheme it would be: exponent all ones. Here NaN is 0x7f and 0xff alone.",
            ),
            Option(key="inf", text="infinity", why="E4M3 has no infinity; its code became a number."),
            Option(
                key="480",
                text="480",
                why="That would be 1.875 × 2^8, the mantissa 111: the one pattern that is NaN.",
            ),
        ),
    )


def on_turing() -> Truth:
    from trtlab.lab.support import matrix

    found = matrix(["FP32", "FP16", "BF16", "FP8_E4M3", "INT8", "INT4"], "SM75")
    said = "; ".join(f"{cell.format}: {cell.said}" for cell in found.cells)
    taken = tuple(cell.format for cell in found.cells if cell.is_accepted)
    return Truth(value=taken, evidence=f"A product of matrices, built for SM75. {said}.", provenance=found.provenance)


@asked("q1-turing", truth=on_turing)
def turing(name: str, truth: Truth) -> Several:
    return Several(
        name=name,
        truth=truth,
        question="One product of matrices is built with TensorRT for RTX for a Turing GPU (SM75). In which of these "
        "formats does the builder take it?",
        explanation="Turing's tensor cores know FP16 and INT8. BF16 and INT4 weights came with Ampere (SM80), FP8 with "
        "Ada (SM89), FP4 with Blackwell. That FP32 is refused is TensorRT for RTX's own choice.",
        options=(
            Option(key="FP16", text="FP16", why="Tensor cores have had it since Volta."),
            Option(key="INT8", text="INT8, quantised, FP16 around it", why="Turing brought INT8 tensor cores."),
            Option(
                key="FP32",
                text="FP32",
                why="It sounds safest, and every GPU can do it. TensorRT for RTX has no FP32 product for SM75.",
            ),
            Option(key="BF16", text="BF16", why="A 16-bit float as FP16 is, but one generation younger: SM80."),
            Option(key="FP8_E4M3", text="FP8 E4M3, quantised", why="That needs SM89, Ada."),
            Option(key="INT4", text="INT4 weights", why="The product reads FP16 then, and still it takes SM80."),
        ),
    )
