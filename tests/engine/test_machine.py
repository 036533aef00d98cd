"""engine/machine: facts about this machine are plausible, and conclusions follow from them, here by a fake driver."""

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from trtlab.engine import machine
from trtlab.engine.machine import Driver, Gpu, LibraryState, Machine
from trtlab.engine.nvidia.worker import POOL

GPUS = [("RTX 4090", (8, 9), 24 << 30, 128), ("RTX 5090", (12, 0), 32 << 30, 170)]


class FakeCuda:
    """libcuda.so.1 as far as machine.py asks it: every function returns a status and writes through pointers."""

    def __init__(self, gpus, status):
        self.cuInit = lambda _flags: status
        self.cuDriverGetVersion = lambda out: self._write(out, 13000)
        self.cuDeviceGetCount = lambda out: self._write(out, len(gpus))
        self.cuDeviceGet = self._write
        self.cuDeviceGetName = lambda buffer, _size, handle: self._write(buffer, gpus[handle.value][0].encode())
        self.cuDeviceTotalMem_v2 = lambda out, handle: self._write(out, gpus[handle.value][2])
        self.cuDeviceGetAttribute = lambda out, which, handle: self._write(
            out, dict(zip((75, 76, 16), (*gpus[handle.value][1], gpus[handle.value][3]), strict=True))[which]
        )

    @staticmethod
    def _write(out, value):
        getattr(out, "_obj", out).value = value
        return 0


# --- this machine ----------------------------------------------------------------------------------------------------


def test_facts_are_plausible():
    here = machine.inspect_machine()
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.memory_bytes > 1 << 28
    flags = Path("/proc/cpuinfo").read_text().split()
    assert here.isa == tuple(name for name in machine.ISA_OF_INTEREST if name in flags) != ()
    assert [library.usable for library in here.libraries if library.name == "onnx"] == [True]
    values = json.loads(json.dumps(here.to_dict()))
    assert (values["can_build"], values["why_not_execute"]) == (here.can_build, here.why_not_execute)
    if machine.is_installed("tensorrt_rtx"):
        assert {"SM75", "SM86", "SM89", "SM120"} <= set(here.targets)


def test_looking_imports_no_compiler_and_no_torch():
    code = (
        "import sys; from trtlab.engine.machine import inspect_machine; assert inspect_machine() is inspect_machine()"
    )
    code += "; assert not {'tensorrt', 'tensorrt_rtx', 'torch', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the driver, by fakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "status", "version", "said"),
    [
        (GPUS, 0, "13.0", None),
        ((), 100, "13.0", "installed but finds no GPU"),
        ((), 999, None, "cuInit returned 999"),
    ],
)
def test_what_the_driver_says(monkeypatch, gpus, status, version, said):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: FakeCuda(gpus, status))
    driver = machine.cuda_driver.__wrapped__()
    assert (driver.version, said or driver.why_not) == (version, said)
    assert (said or "") in (driver.why_not or "")
    found = [(g.name, g.target, g.memory_bytes, g.multiprocessors) for g in driver.gpus]
    assert found == [("RTX 4090", "SM89", 24 << 30, 128), ("RTX 5090", "SM120", 32 << 30, 170)][: len(gpus)]


# --- conclusions -----------------------------------------------------------------------------------------------------

NO_DRIVER = Driver(version=None, gpus=(), why_not="no NVIDIA driver: libcuda.so.1 cannot be loaded")
ADA = Gpu(name="4090", compute_capability="8.9", memory_bytes=1, multiprocessors=1)
HOPPER = Gpu(name="H100", compute_capability="9.0", memory_bytes=1, multiprocessors=1)
LEAN, RTX, FULL = (
    LibraryState(name=name, version="1", usable=usable, targets=targets)
    for name, usable, targets in (
        ("tensorrt", False, ()), ("tensorrt_rtx", True, ("SM75", "SM89")), ("tensorrt", True, ("SM90",))
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("gpus", "libraries", "compiler", "why_not"),
    [
        ((), (), None, "neither tensorrt nor tensorrt_rtx can be used here"),
        ((), (RTX,), RTX, "no NVIDIA driver"),
        ((HOPPER,), (RTX,), RTX, "this GPU is SM90"),
        ((HOPPER, ADA), (RTX,), RTX, None),
        ((HOPPER,), (FULL, RTX), FULL, None),
        ((ADA,), (LEAN, RTX), RTX, None),
    ],
)
def test_what_follows(gpus, libraries, compiler, why_not):
    driver = replace(NO_DRIVER, gpus=gpus, why_not=None if gpus else NO_DRIVER.why_not)
    facts = {"system": "Linux x86_64", "processor": "cpu", "cores": 2, "isa": (), "memory_bytes": 1, "python": "3.12"}
    this = Machine(**facts, driver=driver, libraries=libraries)
    assert (this.compiler, this.targets) == ((compiler.name, compiler.targets) if compiler else (None, ()))
    assert (this.can_build, this.can_execute) == (compiler is not None, why_not is None)
    assert (why_not or "") in (this.why_not_execute or "")


# --- compilers, by small packages on PYTHONPATH ----------------------------------------------------------------------


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """A function: the state that device.py reports of a compiler package with this source."""

    def state(name, source, driver=NO_DRIVER):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        monkeypatch.setattr(machine, "is_installed", lambda _name: True)
        POOL.close()
        return machine._library_state(name, driver)

    yield state
    POOL.close()


PRINTS = """print('hello'); __version__ = '1.7'
class ILogger: pass
class Builder: pass
class ComputeCapability: __members__ = {'NONE': 0, 'SM89': 1}"""


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", (False, "its process ended at once", ())),
        ("__version__ = '11.4'\nclass ILogger: pass", (False, "it has a runtime but no Builder", ())),
        (PRINTS, (True, "", ("SM89",))),
    ],
    ids=["SIGSEGV", "lean", "one that prints"],
)
def test_a_compiler_is_usable_or_says_why_not(probe, source, state):
    found = probe("tensorrt_rtx", source)
    assert (found.usable, found.targets) == (state[0], state[2])
    assert state[1] in (found.why_not or "")


def test_tensorrt_is_never_imported_without_a_driver(probe, tmp_path):
    source = f"open({str(tmp_path / 'imported')!r}, 'w').close(); __version__ = '10'\nclass ILogger: pass"
    source += "\nclass Builder: pass"
    state = probe("tensorrt", source)
    assert not (tmp_path / "imported").exists()
    assert (state.usable, state.why_not) == (False, NO_DRIVER.why_not)
    state = probe("tensorrt", source, Driver(version="13.0", gpus=(ADA, HOPPER, ADA), why_not=None))
    assert (tmp_path / "imported").exists()
    assert (state.usable, state.targets) == (True, ("SM89", "SM90"))
