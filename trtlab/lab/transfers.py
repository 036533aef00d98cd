"""lab/transfers: what copies and streams cost on a GPU, as recorded once; claims about copying read it.

In: the recording `transfers-h100`, made by tools/transfer_meter.py on a GPU. Out: frozen `Transfers`.
"""

from dataclasses import dataclass

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance

SIZES_BYTES = (2**16, 2**20, 2**24, 2**28)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Median bandwidth of one direction and kind of host memory, in bytes per second."""

    direction: str
    pinned: bool
    size_bytes: int
    bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """`stale_reads` of `trials` reads before synchronising saw old data; `fresh_reads` of `trials` after. `call_s` is
    how long an asynchronous launch holds the caller, `total_s` how long its work takes (medians)."""

    copies: tuple[Copy, ...]
    trials: int
    stale_reads: int
    fresh_reads: int
    call_s: float
    total_s: float
    provenance: Provenance

    def bandwidth(self, direction: str, *, pinned: bool, size_bytes: int) -> float:
        """Bytes per second of one measured copy; KeyError names what was measured."""
        for copy in self.copies:
            if (copy.direction, copy.pinned, copy.size_bytes) == (direction, pinned, size_bytes):
                return copy.bytes_per_s
        raise KeyError(f"no copy {direction!r} of {size_bytes} bytes; measured are {SIZES_BYTES} both ways")


def load(gpu: str = "h100") -> Transfers:
    """The recording of a GPU. RecordingMissing when there is none."""
    return recordings.load(Transfers, f"transfers-{gpu}")
