"""Both ways that arrays are computed, and float32 arithmetic in fractions."""

import pytest

from trtlab.numeric import codec

WAYS = {"numpy": 1 << 62, "numba": 0}  # COMPILED_FROM: every array through NumPy, or through numba


@pytest.fixture(params=WAYS)
def compiled(request, monkeypatch):
    monkeypatch.setattr(codec, "COMPILED_FROM", WAYS[request.param])


@pytest.fixture
def both_ways(monkeypatch):
    """both_ways(f) -> what f() gives by NumPy and by numba."""

    def run(f):
        found = []
        for first in WAYS.values():
            monkeypatch.setattr(codec, "COMPILED_FROM", first)
            found.append(f())
        return found

    return run
