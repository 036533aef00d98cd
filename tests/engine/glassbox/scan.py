"""Models by the hundred through the glass box, against ONNX Runtime, in a process of their own: a crash is seen.

`python -m tests.engine.glassbox.scan graphs 0 20000` runs random models of these seeds, `convolutions` small ones at
the border behind which oneDNN kills the process. Every kernel takes a tactic by lot, so that all are tried. The last
line of the output says what was going on; the exit is 1 after a fault.
"""

import random
import sys

import numpy as np
import onnx
import torch

from tests.engine.glassbox.referee import model
from tests.graph.random_models import random_model, run
from trtlab.engine import glassbox
from trtlab.engine.glassbox import kernels
from trtlab.engine.glassbox.errors import UnsupportedError
from trtlab.engine.glassbox.lower import CLAIMED
from trtlab.plan.tactics import prefer

RTOL = 1e-4
"""Of the largest number, or of 1 where all are smaller: inputs are, and differences of sums may cancel."""


def fault_of(proto, feeds, rng, **how):
    """(what is wrong or "", the tactics that were offered): types, shapes and numbers of every output, of two runs."""
    offered = []

    def by_lot(works, *rest):
        offered.extend(works)
        return prefer(*rng.sample(list(works), len(works)))(works, *rest)

    try:
        want = run(proto, feeds)
    except Exception:  # noqa: BLE001 - of no base of their own; what it refuses is no model
        return "", []
    engine = glassbox.build(proto, pick=by_lot, **how)
    context = engine.create_execution_context()
    for _ in range(2):
        got = context.run({name: feeds[name] for name in engine.inputs})
        for name, a in want.items():
            b = got[name]
            if (a.dtype, a.shape) != (b.dtype, b.shape):
                return f"{name} is {b.dtype}{b.shape}, not {a.dtype}{a.shape}", offered
            room = RTOL * max(1, np.abs(a).max(initial=0)) if a.dtype.kind == "f" else 0
            if not np.allclose(a.astype(float), b.astype(float), rtol=0, atol=room, equal_nan=True):
                return f"{name} is {b.ravel()[:4]}, not {a.ravel()[:4]}", offered
    return "", offered


def graphs(seeds):
    """Random models of the operators that the glass box claims; sizes of inputs fixed where they are symbols."""
    faults, refused = 0, 0
    for seed in seeds:
        rng, (proto, feeds) = random.Random(seed), random_model(seed, operators=CLAIMED)
        print("at", seed, [node.op_type for node in proto.graph.node], flush=True)
        given = {name: array.shape for name, array in feeds.items()}
        for value in proto.graph.input if rng.random() < 0.5 else ():  # a symbol that another input tells
            known = {d.dim_param: n for v in proto.graph.input if v.name in given and v.name != value.name
                     for d, n in zip(v.type.tensor_type.shape.dim, given[v.name], strict=True)}  # fmt: skip
            dims = zip(value.type.tensor_type.shape.dim, given[value.name], strict=True)
            if all(known.get(d.dim_param) == n for d, n in dims if d.dim_param):
                del given[value.name]
        kernels.has_numba = lambda seed=seed: seed % 4 == 0  # most without, which would compile a kernel for each
        try:
            fault, _ = fault_of(proto, feeds, rng, shapes=given, rules=[] if seed % 3 == 0 else None)
        except UnsupportedError:  # the second result of a MaxPool, say
            fault, refused = "", refused + 1
        except Exception as error:  # noqa: BLE001 - whatever it is, a valid model met it
            fault = f"{type(error).__name__}: {error}"[:400]
        if fault:
            faults += 1
            print("FAULT", seed, fault, flush=True)
    print("end", len(seeds), faults, refused)
    return faults


def convolution(rng, seed):
    """(a model of one small convolution, its input, whether some window sees nothing but pads)."""
    axes = [[rng.randint(1, 3), rng.randint(0, 3), rng.randint(1, 3), rng.randint(1, 3), rng.choice([1, 1, 2, 5])]
            for _ in range(rng.choice([1, 2, 2, 2, 3]))]  # fmt: skip
    axes = axes if seed else [[1, 1, 1, 1, 1], [1, 1, 2, 2, 1]]
    if any(n + 2 * p < (k - 1) * d + 1 for k, p, _, d, n in axes):
        return convolution(rng, seed)
    kernel, pads, strides, dilations, sizes = map(list, zip(*axes, strict=True))
    group, depth, wide = rng.choice([1, 1, 2]), rng.choice([1, 3, 8]), rng.choice([1, 3, 8])
    shape, n = [rng.randint(1, 2), depth * group, *sizes], wide * group
    how = f"pads = {pads * 2}, strides = {strides}, dilations = {dilations}, group = {group}"
    proto = model(f"(float{shape} x) => (float[{', '.join('abcde'[: len(shape)])}] y) <float{[n, depth, *kernel]} w, "
                  f"float[{n}] b> {{ c = Conv <{how}> (x, w, b) y = Relu (c) }}", 17)  # fmt: skip
    feeds = {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}
    return proto, feeds, any(p >= (k - 1) * d + 1 for k, p, _, d, _ in axes)


def convolutions(seeds):
    """oneDNN is offered none of those that would kill the process, and some of the others."""
    faults, padded, offers = 0, 0, 0
    for seed in seeds:
        rng = random.Random(seed)
        proto, feeds, hidden = convolution(rng, seed)
        print("at", seed, onnx.printer.to_text(proto.graph.node[0]).strip(), feeds["x"].shape, flush=True)
        fault, offered = fault_of(proto, feeds, rng)
        fault = fault or "oneDNN" * (hidden and any("onednn" in tactic for tactic in offered))
        padded, offers = padded + hidden, offers + ("onednn" in offered)
        if fault:
            faults += 1
            print("FAULT", seed, fault, flush=True)
    print("end", len(seeds), faults, padded, offers)
    return faults


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, first, last = sys.argv[1:]
    sys.exit({"graphs": graphs, "convolutions": convolutions}[what](range(int(first), int(last))) > 0)
