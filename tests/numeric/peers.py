"""The same formats elsewhere: which dtype of NumPy or ml_dtypes is which of ours; and float32 in fractions."""

from fractions import Fraction

import ml_dtypes
import numpy as np

from trtlab.numeric import FORMATS, exact
from trtlab.numeric.exact import Special

_PEERS = {
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP8_E4M3": ml_dtypes.float8_e4m3fn,
    "FP8_E5M2": ml_dtypes.float8_e5m2,
    "FP8_E4M3_IEEE": ml_dtypes.float8_e4m3,
    "FP8_E3M4": ml_dtypes.float8_e3m4,
    "FP8_E4M3_FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FP8_E5M2_FNUZ": ml_dtypes.float8_e5m2fnuz,
    "FP6_E3M2": ml_dtypes.float6_e3m2fn,
    "FP6_E2M3": ml_dtypes.float6_e2m3fn,
    "FP4_E2M1": ml_dtypes.float4_e2m1fn,
    "E8M0": ml_dtypes.float8_e8m0fnu,
}
NAMES_OF_PEERS = tuple(_PEERS)


def peer_dtype(name):
    return np.dtype(_PEERS[name])


def peer_codes(name, values):
    """Their codes for an array, overflow to infinity or NaN."""
    dtype = peer_dtype(name)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype).view(f"u{dtype.itemsize}")


def float32(number):
    """The nearest float32 as a fraction; 2^200 stands for infinity."""
    value = exact.decode(FORMATS["FP32"], exact.encode(FORMATS["FP32"], number, overflow="ieee")).value
    beyond = Fraction(2) ** 200
    others = {Special.INFINITY: beyond, Special.NEGATIVE_INFINITY: -beyond, Special.NEGATIVE_ZERO: Fraction(0)}
    return others.get(value, value)
