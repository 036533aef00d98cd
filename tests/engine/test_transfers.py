"""engine/recordings/transfers: the shipped measurement is whole, and a GPU can make it again."""

import pytest

from trtlab.engine.measure import Origin
from trtlab.engine.recordings import transfers
from trtlab.engine.recordings.transfers import SIZES_BYTES, load


def check(found):
    """What every such recording must hold, whatever the GPU."""
    kinds = {(copy.direction, copy.pinned, copy.size_bytes) for copy in found.copies}
    assert kinds == {
        (direction, pinned, size)
        for direction in ("host_to_device", "device_to_host")
        for pinned in (True, False)
        for size in SIZES_BYTES
    }
    assert len(kinds) == len(found.copies)
    assert all(1e6 < copy.bytes_per_s < 1e12 for copy in found.copies)
    assert 0 <= found.stale_reads <= found.trials
    assert found.fresh_reads == found.trials > 0
    assert 0 < found.call_s <= found.total_s
    made = found.provenance
    assert (made.origin, made.command) == (Origin.RECORDED, "python -m trtlab.engine.recordings.transfers")
    assert (made.samples, set(dict(made.versions))) == (transfers.SAMPLES, {"torch", "CUDA"})
    assert "NVIDIA" in made.line()


def test_the_shipped_recording():
    check(load())
    assert "H100" in load().provenance.device
    assert load() is load()


def test_bandwidth_finds_the_copy_or_names_what_was_measured():
    copy = load().copies[0]
    assert load().bandwidth(copy.direction, pinned=copy.pinned, size_bytes=copy.size_bytes) == copy.bytes_per_s
    with pytest.raises(KeyError, match=r"no copy 'host_to_device' of 3 bytes; measured are \(65536, "):
        load().bandwidth("host_to_device", pinned=True, size_bytes=3)
    with pytest.raises(KeyError, match="no copy 'sideways'"):
        load().bandwidth("sideways", pinned=True, size_bytes=SIZES_BYTES[0])


def test_a_gpu_that_was_not_measured():
    with pytest.raises(FileNotFoundError, match=r"transfers-abacus\.json"):
        load("abacus")


@pytest.mark.gpu
@pytest.mark.slow
def test_a_gpu_makes_it_again(tmp_path, monkeypatch):
    transfers.record(tmp_path / "transfers-here.json")
    monkeypatch.setattr(transfers, "FOLDER", tmp_path)
    check(load.__wrapped__("here"))
