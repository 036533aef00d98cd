"""engine/provenance: every number can say where it comes from."""

import datetime
import os

import pytest

from trtlab.engine.measure import (
    Origin,
    Provenance,
    describe_machine,
    installed_version,
    live,
    merged,
    processor_name,
    usable_cores,
)


def test_live_says_when_where_and_with_what():
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made_here = live(["numpy", "no-such-package"], samples=3)
    assert made_here.origin is Origin.LIVE
    assert before <= datetime.datetime.fromisoformat(made_here.when) <= datetime.datetime.now(datetime.UTC)
    assert [name for name, _ in made_here.versions] == ["numpy"]
    assert made_here.device == describe_machine()
    assert made_here.command is None


@pytest.mark.parametrize(
    ("samples", "line"),
    [
        (1, "RECORDED on a GPU, 2026-11-22, numpy 2.4, 1 sample"),
        (20, "RECORDED on a GPU, 2026-11-22, numpy 2.4, 20 samples"),
    ],
)
def test_the_line_for_a_figure(samples, line):
    when = "2026-11-22T10:00:00+00:00"
    made = Provenance(origin=Origin.RECORDED, device="a GPU", when=when, versions=(("numpy", "2.4"),), samples=samples)
    assert made.line() == line


def test_a_line_without_versions_has_no_gap():
    made = Provenance(origin=Origin.SIMULATED, device="a model", when="2026-11-22")
    assert made.line() == "SIMULATED on a model, 2026-11-22, 1 sample"


def test_versions_and_cores():
    import numpy as np

    assert installed_version("numpy") == np.__version__
    assert installed_version("no-such-package") is None
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert processor_name()


def test_a_system_without_cpuinfo_still_has_a_name(monkeypatch):
    def missing(*_args, **_options):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    monkeypatch.setattr("pathlib.Path.open", missing)
    assert processor_name()


def test_merging_keeps_one_line_per_origin_device_and_day():
    def made(origin, device, when, *versions):
        return Provenance(origin=origin, device=device, when=when, versions=versions)

    parts = [
        made(Origin.LIVE, "cpu", "2026-11-22T10:00", ("onnx", "1")),
        made(Origin.LIVE, "cpu", "2026-11-22T11:00", ("onnx", "1"), ("torch", "2")),
        made(Origin.RECORDED, "cpu", "2026-11-22T10:00"),
        made(Origin.LIVE, "gpu", "2026-11-22T10:00"),
        made(Origin.LIVE, "cpu", "2026-11-23T10:00"),
    ]
    found = merged(parts)
    assert len(found) == 4
    assert found[0].versions == (("onnx", "1"), ("torch", "2"))
