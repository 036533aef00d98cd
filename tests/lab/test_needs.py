"""lab/needs: what stages of the build need, as recorded, and found again with the real compiler."""

import json
import subprocess
import sys

import pytest

from tests.engine.nvidia.rtx import needs_rtx
from trtlab.engine.measure import Origin
from trtlab.lab import needs


def test_the_recording_has_every_pair_of_stages():
    found = needs.load()
    assert {stage: tuple(tried) for stage, tried in found.refusals.items()} == {
        stage: needs.BUILD_HALF[:place] for place, stage in enumerate(needs.BUILD_HALF)
    }
    assert (found.provenance.origin, found.provenance.command) == (Origin.RECORDED, needs.COMMAND)
    assert dict(found.provenance.versions).keys() == {"tensorrt-rtx", "onnx"}
    assert "/tmp" not in needs.FILE.read_text("utf-8")


def test_a_build_needs_network_and_configuration_and_a_configuration_needs_nothing():
    found = needs.load().needs
    assert found["configure"] == ()
    assert found["build"] == ("parse", "configure")
    assert found["deserialise"] == ("serialise",)


@needs_rtx
@pytest.mark.slow
def test_the_compiler_here_refuses_the_same():
    code = "import json; from trtlab.lab import needs; print(json.dumps(needs.find_out().needs))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    again = json.loads(done.stdout)
    assert {stage: tuple(needed) for stage, needed in again.items()} == needs.load().needs
