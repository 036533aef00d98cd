"""engine/slidecounts: the layer counts of an old NVIDIA slide, and what the same kind of network comes to today.

In: a `light_*` network of onnx with seeded random weights. Out: `LayerCounts`, made now or recorded, beside `SLIDE`.
Make the recording again with `python -m trtlab.engine.slidecounts` (3 GB of memory: VGG19 has 0.6 GB of weights).
Checked by tests/engine/test_optimizers.py: the slide's own figures come out where its way of counting is known.
"""

import functools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trtlab.engine.optimizers import compare_groups, constants, light_model, operators
from trtlab.engine.provenance import Origin, Provenance, live, merged

FILE = Path(__file__).parent / "recordings/slide-counts.json"
COMMAND = "python -m trtlab.engine.slidecounts"
NETWORKS = "vgg19", "inception_v1", "inception_v2", "resnet50", "densenet121"
SOURCE = "NVIDIA's slide on layer and tensor fusion (about 2017; the copies that go round bear no date)"
CAFFE = dict.fromkeys("AveragePool Concat Conv Gemm GlobalAveragePool LRN MaxPool Relu Softmax Sum".split(), 1)
CAFFE |= {"BatchNormalization": 2, "Dropout": 0, "Flatten": 0, "Reshape": 0}
"""Layers in a Caffe file for one ONNX node: a batch normalisation was two (BatchNorm and Scale), a view none."""


@dataclass(frozen=True, kw_only=True)
class SlideFigure:
    """Layers before and after, as the slide prints them. It names neither TensorRT's version nor what a layer is."""

    network: str
    before: int
    after: int


SLIDE = (
    SlideFigure(network="VGG19", before=43, after=27),
    SlideFigure(network="Inception v3", before=309, after=113),
    SlideFigure(network="ResNet-152", before=670, after=159),
)


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """One network today. `layers` counts as Caffe did, `nodes` as ONNX does without constants; kernels after our
    rewriting, and after NVIDIA's builder for SM89."""

    network: str
    layers: int | None
    nodes: int
    constants: int
    our_kernels: int
    nvidia_kernels: int
    provenance: Provenance


def caffe_layers(counts: Mapping[str, int]) -> int | None:
    """Layers as a Caffe file had them; None where the network uses an operator that is no Caffe layer.

    VGG19: 16 Conv + 18 Relu + 5 MaxPool + 3 Gemm + 1 Softmax = 43.
    """
    return sum(n * CAFFE[op] for op, n in counts.items()) if set(counts) <= set(CAFFE) else None


BLOCK = Counter(Conv=3, BatchNormalization=3, Relu=3, Sum=1)
"""One bottleneck block of a ResNet (Kaiming He et al., 2015, table 1). ResNet-50 has 3+4+6+3, ResNet-152 3+8+36+3."""
MORE_BLOCKS = (3 + 8 + 36 + 3) - (3 + 4 + 6 + 3)


def resnet152(resnet50: LayerCounts) -> tuple[int, int]:
    """(layers before, kernels after) of ResNet-152: ResNet-50 and 34 blocks more, each three kernels when fused."""
    more = MORE_BLOCKS * (caffe_layers(BLOCK) or 0), MORE_BLOCKS * BLOCK["Conv"]
    return (resnet50.layers or 0) + more[0], resnet50.our_kernels + more[1]


def count_layers(network: str) -> LayerCounts:
    """The counts of a `light_*` network, made now: a few seconds. CompilerMissing without a compiler."""
    model = light_model(network)
    agreement = compare_groups(model, name=network)
    found = operators(model)
    made = merged([agreement.report.provenance, live(["onnx"])])
    return LayerCounts(
        network=network,
        layers=caffe_layers(found),
        nodes=found.total(),
        constants=constants(model),
        our_kernels=agreement.our_kernels,
        nvidia_kernels=len(agreement.report.kernels),
        provenance=made[0],
    )


@functools.cache
def recorded_counts() -> tuple[LayerCounts, ...]:
    """The counts of NETWORKS, from the recording."""
    from cattrs.preconf.json import make_converter

    return make_converter().structure(json.loads(FILE.read_text(encoding="utf-8")), tuple[LayerCounts, ...])


def record() -> None:
    """Count every network now and write the recording."""
    rows = []
    for network in NETWORKS:
        found = count_layers(network)
        rows.append(asdict(replace(found, provenance=replace(found.provenance, command=COMMAND))))
        rows[-1]["provenance"]["origin"] = Origin.RECORDED.value
    FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
