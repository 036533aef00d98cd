"""lab/gemm: the roofline against sums by hand, and what follows from it; the recording beside it."""

import pytest

from trtlab.lab import gemm
from trtlab.lab.gemm import GPUS, gemm_time


def test_sums_by_hand():
    one = gemm_time(1, 4096, 4096, "FP16", "H100")
    assert one.memory_s == pytest.approx((4096 * 4096 * 2 + 2 * 4096 * 2) / 3.35e12)
    assert one.compute_s == pytest.approx(2 * 4096 * 4096 / 989.4e12)
    assert (one.limit, one.seconds) == ("memory", one.memory_s)
    many = gemm_time(4096, 4096, 4096, "FP16", "H100")
    assert (many.limit, many.seconds) == ("compute", pytest.approx(2 * 4096**3 / 989.4e12))
    assert many.intensity == pytest.approx(2 * 4096**3 / (3 * 4096 * 4096 * 2))
    nvfp4 = gemm_time(1, 4096, 4096, "NVFP4", "B200")
    assert nvfp4.memory_s == pytest.approx((4096 * 4096 * 4.5 / 8 + 4096 * 4.5 / 8 + 4096 * 2) / 8e12)


@pytest.mark.parametrize("gpu", GPUS)
def test_weight_only_wins_where_memory_limits_and_nothing_where_compute_does(gpu):
    formats = [name for name, how in gemm.FORMATS.items() if how[-1] in GPUS[gpu]]
    single, batch = ({name: gemm_time(m, 4096, 4096, name, gpu) for name in formats} for m in (1, 4096))
    assert min(single.values(), key=lambda t: t.seconds).format in ("W4A16", "NVFP4")
    assert single["FP16"].seconds / single["W4A16"].seconds == pytest.approx(2 / (0.5 + 2 / 128), rel=0.01)
    assert batch["W4A16"].seconds == batch["FP16"].seconds
    assert batch["FP16"].seconds / batch["INT8"].seconds == pytest.approx(2, rel=0.01)
    assert {t.limit for t in single.values()} == {"memory"}
    assert {t.limit for t in batch.values()} == {"compute"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 8, 8, "FP8", "A100"), "A100 has no tensor cores for FP8.*TF32, FP16, BF16, INT8"),
        ((0, 8, 8, "FP16", "A100"), "m=0"),
        ((1, 8, 8, "FP7", "A100"), "'FP7'.*W4A16"),
        ((1, 8, 8, "FP16", "H20"), "'H20'.*A100, H100, B200"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gemm_time(*arguments)


def test_what_an_h100_did():
    """Weight-only pays for one row alone; INT8 with Q/DQ in kernels of their own loses to FP16."""

    def took(kind, m):
        return gemm.load().run(kind, m, 4096).median_s

    assert took("W4A16", 1) < 0.5 * took("FP16", 1)
    assert took("W4A16", 256) > 5 * took("FP16", 256)
    assert took("INT8", 4096) < took("FP16", 4096) < sum(took(k, 4096) for k in ("quantise", "INT8", "dequantise"))
    with pytest.raises(KeyError, match=r"no format='quantise', m=17, k=4096; there are .*m=256"):
        took("quantise", 17)


def test_no_run_beats_the_roofline_and_large_products_come_near():
    found = gemm.load()
    for run in found.runs:
        if run.format in gemm.FORMATS:
            assert run.median_s > 0.9 * gemm_time(run.m, run.n, run.k, run.format, "H100").seconds, run
    for kind, near in (("FP16", 2.5), ("BF16", 2.5), ("FP8", 3), ("INT8", 5)):
        assert found.run(kind, 4096).median_s < near * gemm_time(4096, 4096, 4096, kind, "H100").seconds
