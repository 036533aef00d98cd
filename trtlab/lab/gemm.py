"""lab/gemm: what a number format buys for one matrix product: the roofline of three GPUs, beside a run on one.

In: y [m, n] = x [m, k] times w [k, n], a format, a GPU. Out: a frozen `GemmTime` that names what limits; the recording
`gemm-h100`. Computed is the least time there can be: every byte moved once, every multiply-add at the data sheet's
rate. Checked by tests/lab/test_gemm.py against sums by hand and the recording.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance
from trtlab.lab import find

GPUS: Mapping[str, Mapping[str, float]] = {
    "A100": {"memory": 2.039, "TF32": 156, "FP16": 312, "BF16": 312, "INT8": 624},
    "H100": {"memory": 3.35, "TF32": 494.7, "FP16": 989.4, "BF16": 989.4, "INT8": 1978.9, "FP8": 1978.9},
    "B200": {"memory": 8, "TF32": 1100, "FP16": 2250, "BF16": 2250, "INT8": 4500, "FP8": 4500, "NVFP4": 9000},
}
"""Peaks in tera per second: bytes of memory, and operations of dense products by format (a multiply-add is two).
From NVIDIA's data sheets of A100 (SXM, 80 GB) and H100 (SXM, 80 GB) and its Blackwell technical brief for B200 (of an
HGX, 1,000 W); of the last two half of what they give with sparsity. All three stand side by side at
glennklockwood.com/garden/processors."""
FORMATS: Mapping[str, tuple[float, float, float, str]] = {
    "TF32": (4, 4, 4, "TF32"),
    "FP16": (2, 2, 2, "FP16"),
    "BF16": (2, 2, 2, "BF16"),
    "INT8": (1, 1, 2, "INT8"),
    "FP8": (1, 1, 2, "FP8"),
    "W4A16": (0.5 + 2 / 128, 2, 2, "FP16"),
    "NVFP4": (0.5 + 1 / 16, 0.5 + 1 / 16, 2, "NVFP4"),
}
"""Bytes of a weight, an activation and a result, with the scales of blocks; and as what they are multiplied. W4A16 is
INT4 weights with an FP16 scale for each 128, decoded on the way; NVFP4 has an FP8 scale for each 16."""


@dataclass(frozen=True, kw_only=True)
class GemmTime:
    """The least time of one product. `intensity` is operations per byte moved; where it is below the GPU's rate over
    its bandwidth, memory limits."""

    format: str
    gpu: str
    memory_s: float
    compute_s: float
    intensity: float

    @property
    def seconds(self) -> float:
        """Both happen at once: the longer one counts."""
        return max(self.memory_s, self.compute_s)

    @property
    def limit(self) -> str:
        """`memory` or `compute`."""
        return "memory" if self.memory_s >= self.compute_s else "compute"


def gemm_time(m: int, n: int, k: int, format: str, device: str) -> GemmTime:  # noqa: A002
    """The roofline of y [m, n] = x [m, k] w [k, n]; ValueError for a format that the GPU does not multiply.

    compute = 2 m n k / rate; memory = (n k weights + m k activations + m n results, in bytes) / bandwidth. At m = 1,
    4096 x 4096 in FP16 on an H100: 33.6 MB / 3.35 TB/s = 10 µs, and 0.03 µs to compute.
    """
    if min(m, n, k) < 1:
        raise ValueError(f"a product has at least one row, column and term: got m={m}, n={n}, k={k}")
    if device not in GPUS or format not in FORMATS:
        raise ValueError(f"got {format!r} on {device!r}: expected one of {', '.join(FORMATS)} on {', '.join(GPUS)}")
    peaks, (weight, activation, result, multiplied) = GPUS[device], FORMATS[format]
    if multiplied not in peaks:
        raise ValueError(
            f"{device} has no tensor cores for {multiplied}: its data sheet has {', '.join(peaks)}; "
            "decode such weights to one of those"
        )
    moved, operations = n * k * weight + m * k * activation + m * n * result, 2 * m * n * k
    times = moved / (peaks["memory"] * 1e12), operations / (peaks[multiplied] * 1e12)
    return GemmTime(format=format, gpu=device, memory_s=times[0], compute_s=times[1], intensity=operations / moved)


# --- a run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GemmRun:
    """Median and quartiles in seconds, and the kernel that ran. `format` is one of FORMATS or FP32, or `quantise`
    (activations [m, k], FP16 to INT8) and `dequantise` (sums [m, n], INT32 to FP16): kernels of their own."""

    format: str
    m: int
    n: int
    k: int
    median_s: float
    low_s: float
    high_s: float
    kernel: str


@dataclass(frozen=True, kw_only=True)
class GemmRuns:
    """What a GPU did. Weights come from memory: products in a row read others, more than its caches hold."""

    runs: tuple[GemmRun, ...]
    provenance: Provenance

    def run(self, format: str, m: int, k: int = 4096) -> GemmRun:  # noqa: A002
        """The run with so many rows and terms; KeyError says what was measured."""
        return find(self.runs, format=format, m=m, k=k)


def load(gpu: str = "h100") -> GemmRuns:
    """The recording of a GPU. RecordingMissing when there is none."""
    return recordings.load(GemmRuns, f"gemm-{gpu}")
