"""lab/streams: what copies cost was measured whole."""

import pytest

from trtlab.lab.streams import load_transfers


def test_the_shipped_recording():
    found = load_transfers()
    kinds = [(copy.direction, copy.pinned, copy.size_bytes) for copy in found.copies]
    directions, sizes = ("host_to_device", "device_to_host"), (2**16, 2**20, 2**24, 2**28)
    assert sorted(kinds) == sorted((d, pinned, size) for d in directions for pinned in (True, False) for size in sizes)
    assert all(1e6 < copy.bytes_per_s < 1e12 for copy in found.copies)
    assert 0 <= found.stale_reads <= found.fresh_reads == found.trials == found.provenance.samples > 0
    assert 0 < found.call_s <= found.total_s
    assert "NVIDIA" in found.provenance.line()
    copy = found.copies[0]
    assert found.bandwidth(copy.direction, pinned=copy.pinned, size_bytes=copy.size_bytes) == copy.bytes_per_s
    with pytest.raises(KeyError, match=r"direction='sideways'.*there are .*size_bytes=65536"):
        found.bandwidth("sideways", pinned=True, size_bytes=3)
