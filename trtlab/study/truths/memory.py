"""study/truths/memory: what planners place and NVIDIA's builder plans, for quizzes and claims on memory.

In: small models and buffers. Out: `Found`s; the words are in words/quizzes and words/claims.
"""

import math
import statistics
from typing import TYPE_CHECKING

from trtlab.study.found import Found, computed
from trtlab.study.truths.builds import built

if TYPE_CHECKING:
    import onnx

    from trtlab.plan.memory import Buffer

SIX = "a 4 0 3, b 2 1 4, c 3 2 5, d 4 4 7, e 2 3 6, f 1 5 8"
CHAINS, AUXILIARY = (2, 4, 8, 12), (0, 1, 3)
LENGTHS, RESERVED, PAGE = (100, 200, 400, 1300), 2048, 16


def six_buffers() -> "list[Buffer]":
    """Name, MiB, first step, step behind the last."""
    from trtlab.plan.memory import Buffer

    rows = [row.split() for row in SIX.split(", ")]
    return [Buffer(name, int(size) * 2**20, int(start), int(stop)) for name, size, start, stop in rows]


def six_tensors() -> Found:
    """The smallest arena of the six, in MiB; proved by the bound, and checked."""
    from trtlab.plan.memory import check_placement, lower_bound, place

    buffers = six_buffers()
    placed, bound = place(buffers), lower_bound(buffers)
    least = (
        placed.peak_bytes / 2**20 if placed.peak_bytes == bound and not check_placement(buffers, placed) else math.nan
    )
    return computed(least, bound=bound / 2**20, all=sum(b.size_bytes for b in buffers) / 2**20)


def softmax_chain(length: int) -> "onnx.ModelProto":
    """So many softmaxes of [64, 256, 256] in a chain, along axes 0 and 1 in turn: none can be fused with the next."""
    import onnx.parser

    nodes = [f"t{n + 1} = Softmax <axis={n % 2}> (t{n})" for n in range(length)]
    shape = "float[64,256,256]"
    text = f'<ir_version: 8, opset_import: ["": 17]> chain ({shape} t0) => ({shape} t{length}) {{ {" ".join(nodes)} }}'
    return onnx.parser.parse_model(text)


def memory_of_chains() -> Found:
    """Bytes of activations that tensorrt_rtx plans for each length of the chain: {length: bytes}."""
    from trtlab.engine.nvidia import explain

    reports = {n: explain(softmax_chain(n), "SM89", compiler="tensorrt_rtx") for n in CHAINS}
    found = {str(n): report.activation_bytes for n, report in reports.items()}
    return Found(value=found, provenance=next(iter(reports.values())).provenance)


def memory_with_auxiliary_streams() -> Found:
    """The same for three parallel convolutions: {auxiliary streams: [bytes, streams that kernels are on]}."""
    from trtlab.engine.nvidia import explain
    from trtlab.lab import builds

    model = builds.model("wide_inception")
    reports = {n: explain(model, "SM89", max_aux_streams=n, compiler="tensorrt_rtx") for n in AUXILIARY}
    found = {str(n): [r.activation_bytes, len({k.stream for k in r.kernels})] for n, r in reports.items()}
    return Found(value=found, provenance=next(iter(reports.values())).provenance)


def memory_of_a_chain() -> Found:
    """Whether the longest chain needs about one tensor, two, or all."""
    found = built(memory_of_chains)
    tensors = round(found.value[str(CHAINS[-1])] / 2**24)
    value = {1: "one", 2: "two", CHAINS[-1]: "all"}.get(tensors, f"{tensors} tensors")
    planned = ", ".join(f"{size / 2**20:.1f}" for size in found.value.values())
    return Found(value=value, facts={"planned": planned}, provenance=found.provenance)


def memory_of_auxiliary_streams() -> Found:
    """Whether auxiliary streams need more memory, less, or as much."""
    found = built(memory_with_auxiliary_streams)
    none, *_, most = (size for size, _ in found.value.values())
    planned = ", ".join(f"{size:,}" for size, _ in found.value.values())
    value = "more" if most > none else "less" if most < none else "same"
    return Found(value=value, facts={"planned": planned}, provenance=found.provenance)


def reserved_and_wasted() -> Found:
    """Per cent of a reservation that is never written, and of blocks."""
    mean = statistics.mean(LENGTHS)
    paged = statistics.mean(-n % PAGE for n in LENGTHS)
    wasted = 100 * (1 - mean / RESERVED)
    return computed(wasted, mean=mean, used=100 - wasted, paged=100 * paged / (mean + paged))
