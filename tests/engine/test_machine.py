"""engine/machine: facts about this machine are plausible, and conclusions follow from them, here by a fake driver."""

import ctypes
import json
import os
import subprocess
import sys
import textwrap

import pytest

from trtlab.engine import machine
from trtlab.engine.machine import Driver, Gpu, LibraryState, Machine
from trtlab.engine.nvidia.worker import POOL

HAS_DRIVER = machine.cuda_driver().why_not is None
GPUS = [("NVIDIA RTX 4090", (8, 9), 24 << 30, 128), ("NVIDIA RTX 5090", (12, 0), 32 << 30, 170)]


class FakeCuda:
    """libcuda.so.1 as far as machine.py asks it: every function returns a status and writes through pointers."""

    def __init__(self, gpus=(), status=0, version=13000):
        self.gpus = gpus
        self.cuInit = lambda _flags: status
        self.cuDriverGetVersion = lambda out: self._write(out, version)
        self.cuDeviceGetCount = lambda out: self._write(out, len(gpus))
        self.cuDeviceGet = self._write
        self.cuDeviceTotalMem_v2 = lambda out, handle: self._write(out, gpus[handle.value][2])

    def cuDeviceGetName(self, buffer, _size, handle):  # noqa: N802
        buffer.value = self.gpus[handle.value][0].encode()
        return 0

    def cuDeviceGetAttribute(self, out, which, handle):  # noqa: N802
        _, (major, minor), _, multiprocessors = self.gpus[handle.value]
        return self._write(out, {16: multiprocessors, 75: major, 76: minor}[which])

    @staticmethod
    def _write(out, value):
        out._obj.value = value
        return 0


@pytest.fixture
def driver_with(monkeypatch):
    """A function: the Driver that machine.py finds when libcuda is this fake (or cannot be loaded)."""

    def find(cuda):
        def load(_name):
            if cuda is None:
                raise OSError("cannot open shared object file")
            return cuda

        monkeypatch.setattr(ctypes, "CDLL", load)
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
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert here.memory_bytes is None or here.memory_bytes > 1 << 28
    assert set(here.isa) <= set(machine.ISA_OF_INTEREST)
    assert [library.usable for library in here.libraries if library.name == "onnx"] == [True]
    values = json.loads(json.dumps(here.to_dict()))
    assert (values["can_build"], values["why_not_execute"]) == (here.can_build, here.why_not_execute)
    if machine.is_installed("tensorrt_rtx"):
        assert {"SM75", "SM86", "SM89", "SM120"} <= set(here.targets)
    if not HAS_DRIVER:
        assert "libcuda" in here.why_not_execute or "neither" in here.why_not_execute


def test_looking_imports_no_compiler_and_no_torch(here):
    assert here is machine.inspect_machine()
    code = """
        import sys
        from trtlab.engine.machine import inspect_machine
        inspect_machine()
        print([name for name in ("tensorrt", "tensorrt_rtx", "torch", "onnxruntime") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the driver, by fakes --------------------------------------------------------------------------------------------


def test_two_gpus_and_none(driver_with):
    driver = driver_with(FakeCuda(GPUS))
    assert (driver.version, driver.why_not) == ("13.0", None)
    assert [(gpu.name, gpu.compute_capability, gpu.target) for gpu in driver.gpus] == [
        ("NVIDIA RTX 4090", "8.9", "SM89"),
        ("NVIDIA RTX 5090", "12.0", "SM120"),
    ]
    assert [(gpu.memory_bytes, gpu.multiprocessors) for gpu in driver.gpus] == [(24 << 30, 128), (32 << 30, 170)]
    driver = driver_with(None)
    assert (driver.version, driver.gpus) == (None, ())
    assert driver.why_not.startswith("no NVIDIA driver: ")


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


@pytest.mark.parametrize(
    ("this", "compiler", "targets", "why_not"),
    [
        (machine_of(NO_DRIVER), None, (), "neither tensorrt nor tensorrt_rtx can be used here"),
        (machine_of(NO_DRIVER, tensorrt_rtx=RTX), "tensorrt_rtx", RTX["targets"], "no NVIDIA driver"),
        (machine_of(driver_of(ADA), tensorrt_rtx=RTX), "tensorrt_rtx", RTX["targets"], None),
        (machine_of(driver_of(HOPPER), tensorrt_rtx=RTX), "tensorrt_rtx", RTX["targets"], "this GPU is SM90"),
        (machine_of(driver_of(HOPPER, ADA), tensorrt_rtx=RTX), "tensorrt_rtx", RTX["targets"], None),
        (machine_of(driver_of(HOPPER), tensorrt=FULL, tensorrt_rtx=RTX), "tensorrt", FULL["targets"], None),
        (
            machine_of(driver_of(ADA), tensorrt={"usable": False}, tensorrt_rtx=RTX),
            "tensorrt_rtx",
            RTX["targets"],
            None,
        ),
    ],
    ids=["nothing", "rtx alone", "rtx, Ada", "rtx, Hopper", "rtx, both", "full", "lean"],
)
def test_what_follows(this, compiler, targets, why_not):
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


@pytest.mark.parametrize(
    ("source", "why_not"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process ended at once"),
        ("__version__ = '11.4'\nclass ILogger: pass", "it has a runtime but no Builder"),
    ],
    ids=["SIGSEGV", "lean"],
)
def test_a_broken_compiler_is_not_usable_and_says_why(probe, source, why_not):
    state = probe("tensorrt_rtx", source)
    assert not state.usable
    assert state.why_not
    assert why_not in state.why_not


def test_prints_of_a_compiler_do_not_confuse_the_probe(probe):
    source = """
        print("hello")
        __version__ = "1.7"
        class ILogger: pass
        class Builder: pass
        class ComputeCapability: __members__ = {"NONE": 0, "SM89": 1}
    """
    state = probe("tensorrt_rtx", source)
    assert (state.usable, state.version, state.targets) == (True, "1.7", ("SM89",))


def test_tensorrt_is_never_imported_without_a_driver(probe, tmp_path):
    source = f"open({str(tmp_path / 'imported')!r}, 'w').close(); __version__ = '10'\nclass ILogger: pass"
    source += "\nclass Builder: pass"
    state = probe("tensorrt", source)
    assert not (tmp_path / "imported").exists()
    assert (state.usable, state.why_not) == (False, NO_DRIVER.why_not)
    state = probe("tensorrt", source, driver_of(ADA, HOPPER, ADA))
    assert (tmp_path / "imported").exists()
    assert (state.usable, state.targets) == (True, ("SM89", "SM90"))


def test_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(machine, "is_installed", lambda _name: False)
    state = LibraryState(name="tensorrt", version=None, usable=False, why_not="not installed")
    assert machine._library_state("tensorrt", NO_DRIVER) == state
