"""engine/machine: facts about this machine are plausible, and conclusions follow from them, here by a fake driver."""

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trtlab.engine import machine
from trtlab.engine.machine import Driver, Gpu, LibraryState, Machine
from trtlab.engine.nvidia.worker import POOL

HAS_DRIVER = machine.cuda_driver().why_not is None
GPUS = [("NVIDIA RTX 4090", (8, 9), 24 << 30, 128), ("NVIDIA RTX 5090", (12, 0), 32 << 30, 170)]


class FakeCuda:
    """libcuda.so.1 as far as machine.py asks it: every function returns a status and writes through pointers."""

    def __init__(self, gpus=(), status=0, version=13000):
        self.cuInit = lambda _flags: status
        self.cuDriverGetVersion = lambda out: self._write(out, version)
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


@pytest.fixture
def driver_with(monkeypatch):
    """A function: the Driver that machine.py finds when libcuda is this fake."""

    def find(cuda):
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: cuda)
        machine.cuda_driver.cache_clear()
        return machine.cuda_driver()

    yield find
    monkeypatch.undo()
    machine.cuda_driver.cache_clear()


def machine_of(driver, **libraries):
    """A machine with that driver and libraries given as name=LibraryState fields."""
    states = tuple(
        LibraryState(name=name, version="1", **({"usable": True} | facts)) for name, facts in libraries.items()
    )
    facts = {"system": "Linux x86_64", "processor": "cpu", "cores": 2, "isa": (), "memory_bytes": 1, "python": "3.12"}
    return Machine(**facts, driver=driver, libraries=states)


# --- this machine ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here():
    return machine.inspect_machine()


def test_facts_are_plausible(here):
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.memory_bytes > 1 << 28
    flags = Path("/proc/cpuinfo").read_text().split()
    assert here.isa == tuple(name for name in machine.ISA_OF_INTEREST if name in flags) != ()
    assert [library.usable for library in here.libraries if library.name == "onnx"] == [True]
    values = json.loads(json.dumps(here.to_dict()))
    assert (values["can_build"], values["why_not_execute"]) == (here.can_build, here.why_not_execute)
    if machine.is_installed("tensorrt_rtx"):
        assert {"SM75", "SM86", "SM89", "SM120"} <= set(here.targets)
    if not HAS_DRIVER:
        assert "libcuda" in here.why_not_execute or "neither" in here.why_not_execute


def test_looking_imports_no_compiler_and_no_torch():
    code = (
        "import sys; from trtlab.engine.machine import inspect_machine; assert inspect_machine() is inspect_machine()"
    )
    code += "; assert not {'tensorrt', 'tensorrt_rtx', 'torch', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the driver, by fakes --------------------------------------------------------------------------------------------


def test_two_gpus(driver_with):
    driver = driver_with(FakeCuda(GPUS))
    assert (driver.version, driver.why_not) == ("13.0", None)
    found = [(g.name, g.target, g.memory_bytes, g.multiprocessors) for g in driver.gpus]
    assert found == [("NVIDIA RTX 4090", "SM89", 24 << 30, 128), ("NVIDIA RTX 5090", "SM120", 32 << 30, 170)]


@pytest.mark.parametrize(
    ("status", "said", "version"),
    [(100, "installed but finds no GPU", "12.9"), (999, "does not start: cuInit returned 999", None)],
)
def test_a_driver_that_does_not_work(driver_with, status, said, version):
    driver = driver_with(FakeCuda(status=status, version=12090))
    assert said in driver.why_not
    assert (driver.version, driver.gpus) == (version, ())


# --- conclusions -----------------------------------------------------------------------------------------------------

NO_DRIVER = Driver(version=None, gpus=(), why_not="no NVIDIA driver: libcuda.so.1 cannot be loaded")
ADA = Gpu(name="4090", compute_capability="8.9", memory_bytes=1, multiprocessors=1)
HOPPER = Gpu(name="H100", compute_capability="9.0", memory_bytes=1, multiprocessors=1)
RTX = {"targets": ("SM75", "SM89")}
FULL = {"targets": ("SM90",)}


def driver_of(*gpus):
    return Driver(version="13.0", gpus=gpus, why_not=None)


FULL_TOO, LEAN = {"tensorrt": FULL, "tensorrt_rtx": RTX}, {"tensorrt": {"usable": False}, "tensorrt_rtx": RTX}


@pytest.mark.parametrize(
    ("driver", "libraries", "compiler", "targets", "why_not"),
    [
        (NO_DRIVER, {}, None, (), "neither tensorrt nor tensorrt_rtx can be used here"),
        (NO_DRIVER, {"tensorrt_rtx": RTX}, "tensorrt_rtx", RTX["targets"], "no NVIDIA driver"),
        (driver_of(ADA), {"tensorrt_rtx": RTX}, "tensorrt_rtx", RTX["targets"], None),
        (driver_of(HOPPER), {"tensorrt_rtx": RTX}, "tensorrt_rtx", RTX["targets"], "this GPU is SM90"),
        (driver_of(HOPPER, ADA), {"tensorrt_rtx": RTX}, "tensorrt_rtx", RTX["targets"], None),
        (driver_of(HOPPER), FULL_TOO, "tensorrt", FULL["targets"], None),
        (driver_of(ADA), LEAN, "tensorrt_rtx", RTX["targets"], None),
    ],
)
def test_what_follows(driver, libraries, compiler, targets, why_not):
    this = machine_of(driver, **libraries)
    assert (this.compiler, this.targets, this.can_build) == (compiler, targets, compiler is not None)
    assert this.can_execute is (why_not is None)
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
    state = probe("tensorrt", source, driver_of(ADA, HOPPER, ADA))
    assert (tmp_path / "imported").exists()
    assert (state.usable, state.targets) == (True, ("SM89", "SM90"))
