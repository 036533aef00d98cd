"""All 2^32 float32 inputs of a format against ml_dtypes and NumPy: minutes for all of them, so not among the tests.

Usage, in the root of the repository: python -m tests.numeric.sweep [FORMAT ...]
"""

import sys

import numpy as np

from trtlab.numeric import FORMATS

from .peers import NAMES_OF_PEERS, peer_codes

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


if __name__ == "__main__":
    found = {name: differences(name) for name in sys.argv[1:] or NAMES_OF_PEERS}
    for name, count in found.items():
        print(f"{name:14} {count} of 2^32 inputs differ")
    sys.exit(any(found.values()))
