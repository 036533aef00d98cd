"""lab/streams: what copies cost was measured whole, and a GPU can make it again."""

import pytest

from tools import transfer_meter
from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.lab.streams import SIZES_BYTES
from trtlab.lab.streams import load_transfers as load


def check(found):
    """What every such recording must hold, whatever the GPU."""
    kinds = [(copy.direction, copy.pinned, copy.size_bytes) for copy in found.copies]
    directions = ("host_to_device", "device_to_host")
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == {(d, pinned, size) for d in directions for pinned in (True, False) for size in SIZES_BYTES}
    assert all(1e6 < copy.bytes_per_s < 1e12 for copy in found.copies)
    assert 0 <= found.stale_reads <= found.fresh_reads == found.trials == found.provenance.samples > 0
    assert 0 < found.call_s <= found.total_s
    assert (found.provenance.origin, found.provenance.command) == (Origin.RECORDED, transfer_meter.COMMAND)
    assert "NVIDIA" in found.provenance.line()


def test_the_shipped_recording():
    check(load())
    copy = load().copies[0]
    assert load().bandwidth(copy.direction, pinned=copy.pinned, size_bytes=copy.size_bytes) == copy.bytes_per_s
    with pytest.raises(KeyError, match=r"direction='sideways'.*there are .*size_bytes=65536"):
        load().bandwidth("sideways", pinned=True, size_bytes=3)


@pytest.mark.gpu
@pytest.mark.slow
def test_a_gpu_makes_it_again(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    name = transfer_meter.record().name.split(".")[0]
    check(load(name.removeprefix("transfers-")))
