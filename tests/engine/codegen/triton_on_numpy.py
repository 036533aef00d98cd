"""A machine for Triton's text without a GPU: numpy runs a generated kernel block by block."""

import math
from types import SimpleNamespace

import numpy as np


class Pointer:
    """What Triton makes of an array: an address to which offsets are added."""

    def __init__(self, array, at=0):
        self.array, self.at = array, at

    def __add__(self, offsets):
        return Pointer(self.array, self.at + offsets)


def run_on_numpy(source, arrays, outs, block):
    """Run it on flat float32 arrays. Reads and writes outside of the mask would raise."""

    def store(pointer, values, mask):
        pointer.array[pointer.at[mask]] = np.broadcast_to(values, mask.shape)[mask]

    def read(pointer, mask=None):
        if mask is None:
            return pointer.array[pointer.at]
        values = np.full(mask.shape, np.nan, np.float32)
        values[mask] = pointer.array[pointer.at[mask]]
        return values

    functions = {
        name: getattr(np, name)
        for name in ("abs", "arange", "ceil", "exp", "floor", "log", "maximum", "minimum", "where")
    }
    count = outs[0].size
    for number in range(math.ceil(count / block)):
        language = SimpleNamespace(
            **functions, constexpr=int, load=read, store=store, sqrt_rn=np.sqrt, program_id=lambda _, n=number: n
        )
        library = SimpleNamespace(tanh=np.tanh, erf=np.vectorize(math.erf, [np.float32]))
        decorator = SimpleNamespace(jit=lambda f: f)
        space = {"triton": decorator, "tl": language, "libdevice": library}
        with np.errstate(all="ignore"):
            exec(source, space)
            space["kernel"](*map(Pointer, arrays), *map(Pointer, outs), count, block)
