"""engine/machine: what this machine can do, found without importing torch or any compiler into this process.

In: the operating system, the CUDA driver (through ctypes), and a short child process that imports each compiler. Out:
a frozen `Machine`: processor, memory, GPUs, libraries, and what follows: can it build, for which targets, can it
execute, and if not, why. `trtlab doctor` prints it; notebook 00 draws it.
"""

import ctypes
import dataclasses
import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtlab.engine.measure import installed_version, processor_name, usable_cores

ISA_OF_INTEREST = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
                   "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve", "bf16", "i8mm")  # fmt: skip
DISTRIBUTIONS = {
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "onnxruntime": "onnxruntime",
    "torch": "torch",
    "onnx": "onnx",
}
COMPILERS = ("tensorrt", "tensorrt_rtx")
RTX_EXECUTES = frozenset({"SM75", "SM80", "SM86", "SM87", "SM89", "SM120", "SM121"})
"""Compute capabilities whose plans TensorRT-RTX 1.7 runs; it refuses SM90 when it deserialises."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One CUDA device as the driver describes it."""

    name: str
    compute_capability: str
    memory_bytes: int
    multiprocessors: int

    @property
    def target(self) -> str:
        """`SM89` for compute capability 8.9."""
        return "SM" + self.compute_capability.replace(".", "")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The CUDA driver: `version` such as 13.0 when it loads, else `why_not`."""

    version: str | None
    gpus: tuple[Gpu, ...]
    why_not: str | None


@dataclass(frozen=True, kw_only=True)
class LibraryState:
    """A library of interest. `usable` is only claimed after the library was really imported by a child process (for
    compilers) or found (for the others). `targets` are the compute capabilities a compiler can build for."""

    name: str
    version: str | None
    usable: bool
    why_not: str | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine, and what follows from it for a TensorRT workflow."""

    system: str
    processor: str
    cores: int
    isa: tuple[str, ...]
    memory_bytes: int | None
    python: str
    driver: Driver
    libraries: tuple[LibraryState, ...]

    @property
    def compiler(self) -> str | None:
        """The compiler that builds here: `tensorrt` when a driver loads, else `tensorrt_rtx`, else None."""
        usable = [lib.name for lib in self.libraries if lib.name in COMPILERS and lib.usable]
        return next((name for name in COMPILERS if name in usable), None)

    @property
    def can_build(self) -> bool:
        return self.compiler is not None

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities that plans can be built for here."""
        return next((lib.targets for lib in self.libraries if lib.name == self.compiler), ())

    @property
    def can_execute(self) -> bool:
        return self.why_not_execute is None

    @property
    def why_not_execute(self) -> str | None:
        """Why no plan can run here, or None when one can."""
        if self.compiler is None:
            return "neither tensorrt nor tensorrt_rtx can be used here"
        if self.driver.why_not:
            return self.driver.why_not
        targets = {gpu.target for gpu in self.driver.gpus}
        if self.compiler == "tensorrt_rtx" and not targets & RTX_EXECUTES:
            return f"TensorRT-RTX runs on {', '.join(sorted(RTX_EXECUTES))}; this GPU is {', '.join(sorted(targets))}"
        return None

    def library(self, name: str) -> LibraryState:
        """The state of one library by import name; KeyError names the known ones."""
        for library in self.libraries:
            if library.name == name:
                return library
        raise KeyError(f"no library {name!r}; known are {', '.join(lib.name for lib in self.libraries)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the conclusions included."""
        facts = dataclasses.asdict(self)
        conclusions = ("compiler", "can_build", "targets", "can_execute", "why_not_execute")
        return facts | {name: getattr(self, name) for name in conclusions}


@functools.cache
def inspect_machine() -> Machine:
    """Look at this machine; takes a fraction of a second the first time and is then remembered."""
    driver = cuda_driver()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=usable_cores(),
        isa=_instruction_sets(),
        memory_bytes=_memory_bytes(),
        python=platform.python_version(),
        driver=driver,
        libraries=tuple(_library_state(name, driver) for name in DISTRIBUTIONS),
    )


def _instruction_sets() -> tuple[str, ...]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            flags = next(
                (set(line.split(":", 1)[1].split()) for line in file if line.startswith(("flags", "Features"))),
                set(),
            )
    except OSError:
        return ()
    return tuple(name for name in ISA_OF_INTEREST if name in flags)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


# --- the CUDA driver ------------------------------------------------------------------------------------------------

_ATTRIBUTE_MULTIPROCESSORS, _ATTRIBUTE_MAJOR, _ATTRIBUTE_MINOR = 16, 75, 76
_NO_DEVICE = 100


@functools.cache
def cuda_driver() -> Driver:
    """The CUDA driver and its devices, asked through its C interface (cuda.h); never raises."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return Driver(version=None, gpus=(), why_not=f"no NVIDIA driver: {name} cannot be loaded")
    status = cuda.cuInit(0)
    if status == _NO_DEVICE:
        return Driver(version=_driver_version(cuda), gpus=(), why_not="an NVIDIA driver is installed but finds no GPU")
    if status != 0:
        return Driver(version=None, gpus=(), why_not=f"the NVIDIA driver does not start: cuInit returned {status}")
    return Driver(version=_driver_version(cuda), gpus=_gpus(cuda), why_not=None)


def _driver_version(cuda: Any) -> str | None:
    number = ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _gpus(cuda: Any) -> tuple[Gpu, ...]:
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    return tuple(_gpu(cuda, index) for index in range(count.value))


def _gpu(cuda: Any, index: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    return Gpu(
        name=name.value.decode("utf-8", "replace"),
        compute_capability=f"{attribute(_ATTRIBUTE_MAJOR)}.{attribute(_ATTRIBUTE_MINOR)}",
        memory_bytes=memory.value,
        multiprocessors=attribute(_ATTRIBUTE_MULTIPROCESSORS),
    )


def gpu_target() -> str | None:
    """`SM89` for this machine's first GPU, None without one."""
    gpus = cuda_driver().gpus
    return gpus[0].target if gpus else None


def is_installed(name: str) -> bool:
    """Whether an import name can be found, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# --- libraries ------------------------------------------------------------------------------------------------------

_PROBE = """
import json, sys
import {name} as trt
capability = getattr(trt, "ComputeCapability", None)
names = [n for n in capability.__members__ if n.startswith("SM")] if capability else []
print(json.dumps({{"version": trt.__version__, "builder": hasattr(trt, "Builder"), "targets": names}}))
"""


def _library_state(name: str, driver: Driver) -> LibraryState:
    version = installed_version(DISTRIBUTIONS[name])
    if not is_installed(name):
        return LibraryState(name=name, version=None, usable=False, why_not="not installed")
    if name not in COMPILERS:
        return LibraryState(name=name, version=version, usable=True)
    if name == "tensorrt" and driver.why_not:
        # Without a driver its lean runtime segfaults on first use, so it is not even tried.
        return LibraryState(name=name, version=version, usable=False, why_not=driver.why_not)
    return _probe_compiler(name, version, driver)


def _probe_compiler(name: str, version: str | None, driver: Driver) -> LibraryState:
    command = [sys.executable, "-c", _PROBE.format(name=name)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return LibraryState(name=name, version=version, usable=False, why_not="its import did not end within 60 s")
    answer = done.stdout.strip().splitlines()
    if done.returncode != 0 or not answer:
        reason = (done.stderr.strip().splitlines() or [f"its import ended with status {done.returncode}"])[-1]
        return LibraryState(name=name, version=version, usable=False, why_not=reason)
    facts = json.loads(answer[-1])
    if not facts["builder"]:
        return LibraryState(
            name=name, version=facts["version"], usable=False, why_not="it has a runtime but no Builder"
        )
    targets = tuple(facts["targets"]) or tuple(dict.fromkeys(gpu.target for gpu in driver.gpus))
    return LibraryState(name=name, version=facts["version"], usable=True, targets=targets)
