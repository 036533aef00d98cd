"""engine/machine: what this machine can do, found without importing torch or any compiler into this process.

In: the operating system, the CUDA driver (through ctypes), and a worker process that imports each compiler. Out: a
frozen `Machine`: processor, memory, GPUs, libraries, and what follows: can it build, for which targets, can it
execute, and if not, why. `trtlab doctor` prints it; notebook 00 draws it.
"""

import ctypes
import dataclasses
import functools
import importlib.util
import os
import platform
from dataclasses import dataclass, replace
from typing import Any

from trtlab.engine.measure import cpu_facts, installed_version, processor_name, usable_cores

ISA_OF_INTEREST = """sse4_2 avx avx2 fma f16c avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16
    asimd sve bf16 i8mm""".split()
DISTRIBUTIONS = {name: name.replace("_", "-") for name in "tensorrt tensorrt_rtx onnxruntime torch onnx".split()}
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

    version: str | None = None
    gpus: tuple[Gpu, ...] = ()
    why_not: str | None = None


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
    memory_bytes: int
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the conclusions included."""
        facts = dataclasses.asdict(self)
        conclusions = ("compiler", "can_build", "targets", "can_execute", "why_not_execute")
        return facts | {name: getattr(self, name) for name in conclusions}


@functools.cache
def inspect_machine() -> Machine:
    """Look at this machine; takes a fraction of a second the first time and is then remembered."""
    driver, facts = cuda_driver(), cpu_facts()
    flags = f"{facts.get('flags')} {facts.get('Features')}".split()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=usable_cores(),
        isa=tuple(name for name in ISA_OF_INTEREST if name in flags),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        driver=driver,
        libraries=tuple(_library_state(name, driver) for name in DISTRIBUTIONS),
    )


# --- the CUDA driver ------------------------------------------------------------------------------------------------

_ATTRIBUTES = (75, 76, 16)  # of a device, in cuda.h: compute capability, major and minor, and multiprocessors
_NO_DEVICE = 100


@functools.cache
def cuda_driver() -> Driver:
    """The CUDA driver and its devices, asked through its C interface (cuda.h); never raises."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Driver(why_not="no NVIDIA driver: libcuda.so.1 cannot be loaded")
    status = cuda.cuInit(0)
    if status not in (0, _NO_DEVICE):
        return Driver(why_not=f"the NVIDIA driver does not start: cuInit returned {status}")
    number = _asked(cuda.cuDriverGetVersion)
    version = f"{number // 1000}.{number % 1000 // 10}" if number else None
    if status == _NO_DEVICE:
        return Driver(version=version, why_not="an NVIDIA driver is installed but finds no GPU")
    return Driver(version=version, gpus=tuple(_gpu(cuda, index) for index in range(_asked(cuda.cuDeviceGetCount))))


def _asked(function: Any, *arguments: Any) -> int:
    """The number that a function of the driver writes through its first argument; 0 where it fails."""
    number = ctypes.c_int()
    function(ctypes.byref(number), *arguments)
    return number.value


def _gpu(cuda: Any, index: int) -> Gpu:
    device = ctypes.c_int(_asked(cuda.cuDeviceGet, index))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor, multiprocessors = (_asked(cuda.cuDeviceGetAttribute, which, device) for which in _ATTRIBUTES)
    return Gpu(
        name=name.value.decode("utf-8", "replace"),
        compute_capability=f"{major}.{minor}",
        memory_bytes=memory.value,
        multiprocessors=multiprocessors,
    )


def gpu_target() -> str | None:
    """`SM89` for this machine's first GPU, None without one."""
    gpus = cuda_driver().gpus
    return gpus[0].target if gpus else None


def is_installed(name: str) -> bool:
    """Whether an import name can be found, without importing it."""
    return importlib.util.find_spec(name) is not None


# --- libraries ------------------------------------------------------------------------------------------------------


def _library_state(name: str, driver: Driver) -> LibraryState:
    state = LibraryState(name=name, version=installed_version(DISTRIBUTIONS[name]), usable=False)
    if not is_installed(name):
        return replace(state, version=None, why_not="not installed")
    if name not in COMPILERS:
        return replace(state, usable=True)
    if name == "tensorrt" and driver.why_not:
        return replace(state, why_not=driver.why_not)  # its lean runtime segfaults then, so it is not even tried
    from trtlab.engine.nvidia.errors import CompilerError
    from trtlab.engine.nvidia.worker import POOL

    try:
        (version, names), *_ = POOL.ask(name, "api", timeout_s=60.0)
    except CompilerError as error:
        return replace(state, why_not=error.what)
    if "Builder" not in names:
        return replace(state, why_not="it has a runtime but no Builder")
    targets = tuple(target for target in names.get("ComputeCapability", ()) if target.startswith("SM"))
    targets = targets or tuple(dict.fromkeys(gpu.target for gpu in driver.gpus))
    return replace(state, version=version, usable=True, targets=targets)
