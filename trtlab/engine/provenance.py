"""engine/provenance: where a number comes from.

In: a device description, versions, a sample count. Out: a frozen `Provenance` that every report, record and
measurement carries and every figure prints. Nothing on a screen goes without one.
"""

import datetime
import enum
import functools
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path


class Origin(enum.Enum):
    """LIVE: produced by this machine when the cell ran. RECORDED: read from a file, made earlier by a command that the
    file names. SIMULATED: computed from a model of a device, not observed on one."""

    LIVE = "LIVE"
    RECORDED = "RECORDED"
    SIMULATED = "SIMULATED"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a reader needs to trust a number, or to make it again.

    `when` is UTC, ISO 8601. `versions` holds (package, version) pairs. `samples` counts repetitions behind the number.
    """

    origin: Origin
    device: str
    when: str
    versions: tuple[tuple[str, str], ...] = ()
    samples: int = 1
    command: str | None = None

    def line(self) -> str:
        """One line for the foot of a figure: `LIVE on 2 cores of ..., 2026-11-22, tensorrt_rtx 1.7.1, 1 sample`."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions)
        samples = f"{self.samples} sample" + ("" if self.samples == 1 else "s")
        return ", ".join(filter(None, [f"{self.origin.value} on {self.device}", self.when[:10], versions, samples]))


@functools.cache
def describe_machine() -> str:
    """`AMD EPYC 9B14, 2 cores`: the processor that LIVE CPU numbers were made on."""
    return f"{processor_name()}, {usable_cores()} cores"


def processor_name() -> str:
    """The marketing name where the system tells it, else the architecture (`arm64`)."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on; containers often allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_version(package: str) -> str | None:
    """The installed version of a distribution, or None; imports nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def live(packages: Iterable[str] = (), *, samples: int = 1, device: str | None = None) -> Provenance:
    """Provenance of something made on this machine, now. `packages` are the distributions whose versions matter."""
    versions = tuple((name, version) for name in packages if (version := installed_version(name)) is not None)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Provenance(
        origin=Origin.LIVE, device=device or describe_machine(), when=now, versions=versions, samples=samples
    )


def merged(parts: Iterable[Provenance]) -> tuple[Provenance, ...]:
    """One provenance for each origin, device and day among `parts`, with the versions of all of them."""
    found: dict[tuple[Origin, str, str], Provenance] = {}
    for part in parts:
        key = (part.origin, part.device, part.when[:10])
        known = found.get(key, part)
        found[key] = replace(known, versions=tuple(dict.fromkeys(known.versions + part.versions)))
    return tuple(found.values())
