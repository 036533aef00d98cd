"""numeric/formats: the formats by name, and what a notebook calls on them: encode, decode, quantize.

In: the facts of `describe`, the array functions of `codec` and `quantize`. Out: `FloatFormat`, `IntegerFormat`,
`CodeBook`, `BlockFormat`, and `FORMATS`, all that have a name.
"""

from dataclasses import dataclass
from typing import Any

from trtlab.numeric import codec, quantize
from trtlab.numeric.describe import BlockFacts, BookFacts, FloatFacts, FormatFacts, IntegerFacts


@dataclass(frozen=True, kw_only=True)
class Format(FormatFacts):
    """A description with what it does to arrays."""

    encode = codec.encode
    decode = codec.decode
    quantize = quantize.quantize


@dataclass(frozen=True, kw_only=True)
class FloatFormat(FloatFacts, Format):
    """Sign, exponent, mantissa. `FloatFacts` explains each fact: bits, bias, which codes are special.

    >>> FloatFormat(exponent_bits=4, mantissa_bits=3, has_infinity=False, top_nans=1).max
    448.0
    """


@dataclass(frozen=True, kw_only=True)
class IntegerFormat(IntegerFacts, Format):
    """Whole numbers, two's complement where signed; `IntegerFacts` has the facts."""


@dataclass(frozen=True, kw_only=True)
class CodeBook(BookFacts, Format):
    """Any ascending list of float32 values; `BookFacts` has the facts."""


@dataclass(frozen=True, kw_only=True)
class BlockFormat(BlockFacts, Format):
    """Elements that share a scale with their block; `BlockFacts` has the facts.

    >>> BlockFormat(element=FORMATS["INT4"], block_size=128, scale=FORMATS["FP16"]).bits_per_value
    4.125
    """

    element: Format
    scale: FloatFormat
    quantize = quantize.quantize_blocks  # type: ignore[assignment]  # size and scale are in the description


_FNUZ = {"has_infinity": False, "has_negative_zero": False}


def _float(name: str, exponent_bits: int, mantissa_bits: int, **facts: Any) -> FloatFormat:
    return FloatFormat(name=name, exponent_bits=exponent_bits, mantissa_bits=mantissa_bits, **facts)


# FP8: OCP OFP8 1.0. FP6, FP4, E8M0: OCP Microscaling (MX) 1.0. FNUZ: arXiv 2206.02915. The rest: IEEE 754, its scheme.
FLOATS = (
    _float("FP64", 11, 52),
    _float("FP32", 8, 23),
    _float("TF32", 8, 10, padding_bits=13),
    _float("FP16", 5, 10),
    _float("BF16", 8, 7),
    _float("FP8_E4M3", 4, 3, has_infinity=False, top_nans=1),
    _float("FP8_E5M2", 5, 2),
    _float("FP8_E4M3_IEEE", 4, 3),
    _float("FP8_E3M4", 3, 4),
    _float("FP8_E4M3_FNUZ", 4, 3, bias=8, **_FNUZ),
    _float("FP8_E5M2_FNUZ", 5, 2, bias=16, **_FNUZ),
    _float("FP6_E3M2", 3, 2, has_infinity=False),
    _float("FP6_E2M3", 2, 3, has_infinity=False),
    _float("FP4_E2M1", 2, 1, has_infinity=False),
    _float("E8M0", 8, 0, is_signed=False, has_infinity=False, top_nans=1, has_subnormals=False),
)
INTEGERS = (
    IntegerFormat(name="INT8", bits=8),
    IntegerFormat(name="UINT8", bits=8, is_signed=False),
    IntegerFormat(name="INT4", bits=4),
    IntegerFormat(name="UINT4", bits=4, is_signed=False),
)
# Quantiles of N(0, 1), one more above zero than below, divided by the largest: Dettmers et al., QLoRA, section 3
# (arXiv 2305.14314), with the bits of bitsandbytes.
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
CODE_BOOKS = (CodeBook(name="NF4", entries=_NF4),)
ELEMENTS = (*FLOATS, *INTEGERS, *CODE_BOOKS)
_KNOWN: dict[str, Any] = {each.name: each for each in ELEMENTS}


def _blocks(name: str, element: Format, scale: FloatFormat, block_size: int = 32, **facts: Any) -> BlockFormat:
    return BlockFormat(name=name, element=element, scale=scale, block_size=block_size, **facts)


# MX: OCP Microscaling (MX) 1.0, table 1; MXINT8's elements are multiples of 1/64. NVFP4: TensorRT, ModelOpt.
BLOCKS = (
    _blocks("MXFP8_E4M3", _KNOWN["FP8_E4M3"], _KNOWN["E8M0"]),
    _blocks("MXFP8_E5M2", _KNOWN["FP8_E5M2"], _KNOWN["E8M0"]),
    _blocks("MXFP6_E3M2", _KNOWN["FP6_E3M2"], _KNOWN["E8M0"]),
    _blocks("MXFP6_E2M3", _KNOWN["FP6_E2M3"], _KNOWN["E8M0"]),
    _blocks("MXFP4", _KNOWN["FP4_E2M1"], _KNOWN["E8M0"]),
    _blocks("MXINT8", _KNOWN["INT8"], _KNOWN["E8M0"], element_exponent=-6),
    _blocks("NVFP4", _KNOWN["FP4_E2M1"], _KNOWN["FP8_E4M3"], 16, tensor_scale=True),
)

FORMATS: dict[str, Format] = _KNOWN | {each.name: each for each in BLOCKS}
