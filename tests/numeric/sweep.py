"""What takes minutes, so not among the tests: all 2^32 float32 inputs of a format against ml_dtypes and NumPy; every
mode of every format, compiled, against NumPy.

Usage, in the root of the repository: python -m tests.numeric.sweep [FORMAT ...]
"""

import itertools
import sys

import numpy as np

from trtlab.numeric import FORMATS, CodeBook, codec

from .peers import NAMES_OF_PEERS, peer_codes
from .test_codec import ALL, OVERFLOWS, ROUNDINGS, boundaries

CHUNK = 1 << 24


def differences(name):
    """How many inputs become another code than there; NaNs and what E8M0 cannot hold are left out."""
    fmt, count = FORMATS[name], 0
    overflow = "ieee" if fmt.nan_code is not None else "saturate"
    rounding = "nearest_away" if name == "E8M0" else "nearest_even"  # where ml_dtypes differs by choice
    for start in range(0, 1 << 32, CHUNK):
        values = np.arange(start, start + CHUNK, dtype=np.uint32).view(np.float32)
        values = values[values >= 2.0**-126] if name == "E8M0" else values[~np.isnan(values)]
        if values.size:
            count += np.count_nonzero(fmt.encode(values, rounding, overflow) != peer_codes(name, values))
    return count


def modes_that_differ(fmt):
    """(dtype, rounding, overflow) in which numba gives other codes than NumPy at some boundary."""
    found = []
    for dtype, rounding, overflow in itertools.product((np.float32, np.float64), ROUNDINGS, OVERFLOWS):
        if rounding == "stochastic" and isinstance(fmt, CodeBook):
            continue
        values = boundaries(fmt, dtype)
        if overflow == "ieee" and getattr(fmt, "nan_code", None) is None:
            values = values[(values >= fmt.min) & (values <= fmt.max) & (values != 0)]
        results = []
        for codec.COMPILED_FROM in (0, 1 << 62):
            results.append(fmt.encode(values, rounding, overflow, np.random.default_rng(8)))
        found += [] if np.array_equal(*results) else [(dtype.__name__, rounding, overflow)]
    return found


if __name__ == "__main__":
    wrong = {fmt.name: modes for fmt in ALL if (modes := modes_that_differ(fmt))} if not sys.argv[1:] else {}
    print(f"modes in which numba and NumPy differ: {wrong or 'none'}")
    found = {name: differences(name) for name in sys.argv[1:] or NAMES_OF_PEERS}
    for name, count in found.items():
        print(f"{name:14} {count} of 2^32 inputs differ")
    sys.exit(bool(wrong) or any(found.values()))
