"""engine/glassbox/timing: what was raced once need not be raced again: a cache of races as one JSON file.

In: a file, a device. Out: races by signature (how hard it was searched, kernel, attributes, types, shapes and layouts).
A cache is of one device and its versions of libraries; with it, two builds of a model are the same, byte for byte. A
file that is damaged, or of another machine, is never used and never written over. Also the table of races to look at.
"""

import contextlib
import hashlib
import itertools
import json
import os
import statistics
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Union

import torch

from trtlab.engine.files import read_regular, write_atomically
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import TimingCacheError, TimingCacheWarning
from trtlab.engine.measure import KernelTime, installed_version, processor_name
from trtlab.plan.tactics import WINNER, Candidate, Race

FORMAT, MOST_BYTES = 1, 2**28
LIBRARIES = "trtlab", "torch", "numpy", "numba", "triton"
Cache = Union["TimingCache", str, os.PathLike[str], None]


def made_with(device: Device) -> dict[str, str]:
    """What times depend on besides the work: the device, its instructions and threads, and who made the kernels."""
    chip = device.description().get("gpu") or f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"
    threads = {} if device.name == "cuda" else {"threads": str(torch.get_num_threads())}
    versions = {name: version for name in LIBRARIES if (version := installed_version(name))}
    return {"device": device.name, "chip": chip, **threads, **versions}


@dataclass(kw_only=True)
class TimingCache:
    """Races by signature, of one machine. `path` is where `save` writes; None keeps them in memory. Change a race to
    have its kernel built otherwise, as with TensorRT's editable timing cache."""

    made_with: dict[str, str]
    races: dict[str, Race] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "cpu") -> "TimingCache":
        """The cache in the file; an empty one where there is none. TimingCacheError for a file that is damaged, is no
        cache, or is of another device or of other versions."""
        cache = cls(made_with=made_with(Device(device)), path=Path(path))
        return cache.checked(cache.made_with) if Path(path).exists() else cache

    def checked(self, here: Mapping[str, str]) -> "TimingCache":
        """With what the file has besides. TimingCacheError for one that is damaged, and where either was made with
        something else than is `here`."""
        there = _read(self.path) if self.path and self.path.exists() else self
        for made, (key, want) in itertools.product((self.made_with, there.made_with), here.items()):
            if made.get(key) != want:
                raise TimingCacheError(
                    f"The timing cache {self.path} was made with {key} {made.get(key)}, this is {want}: its times say"
                    " nothing here. Name another file, or delete this one."
                )
        return replace(self, races=there.races | self.races)

    def save(self) -> None:
        """Write the file in one step, with what others have added to it meanwhile. TimingCacheError where it cannot be
        written, or is no cache of this machine."""
        if self.path is None:
            return
        self.races |= self.checked(self.made_with).races
        values = {"made_with": self.made_with, "races": {key: asdict(self.races[key]) for key in sorted(self.races)}}
        text = json.dumps({"format": FORMAT, "sha256": _digest(values), **values}, indent=1)
        try:
            write_atomically(self.path, text.encode())
        except OSError as error:
            raise TimingCacheError(
                f"The timing cache {self.path} cannot be written: {error.strerror}. Name a file in a folder of yours."
            ) from None


def opened(cache: Cache, device: Device) -> TimingCache:
    """The cache, or an empty one without a file, and a warning, where it is of no use here."""
    with left_alone():
        if isinstance(cache, TimingCache):
            cache.checked(made_with(device))
            return cache
        if cache is not None:
            return TimingCache.load(cache, device.name)
    return TimingCache(made_with=made_with(device))


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """A timing cache only saves time: what is wrong with it ends no build, and is said."""
    try:
        yield
    except TimingCacheError as error:
        warnings.warn(f"{error} The build goes on without it.", TimingCacheWarning, stacklevel=3)


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps({name: values[name] for name in ("made_with", "races")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> TimingCache:
    """What the file holds. TimingCacheError for anything but what `save` wrote."""
    from trtlab.engine.recordings import converter

    try:
        values = json.loads(read_regular(path, MOST_BYTES))
        if values["format"] != FORMAT or values["sha256"] != _digest(values):
            raise ValueError(f"it is of format {values['format']!r}, not {FORMAT}, or its checksum of another text")
        races = converter().structure(values["races"], dict[str, Race])
        return TimingCache(made_with=dict(values["made_with"]), races=races, path=path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ExceptionGroup) as error:
        why = f"{type(error).__name__}: {error}"
    raise TimingCacheError(f"{path} is no timing cache, or damaged: {why:.150}. Name another file, or delete this one.")


@dataclass(frozen=True)
class KernelRace:
    """A kernel and the race behind its tactic; None where nobody had a choice, or it was run elsewhere."""

    kernel: KernelTime
    race: Race | None


class Races(tuple[KernelRace, ...]):
    """Of every kernel in order. As text a table: every candidate with its best, quartiles and samples, and why it won
    or lost."""

    __slots__ = ()

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells, the head first; the winner of each race, then the others by their best."""
        rows: list[tuple[str, ...]] = [("kernel", "tactic", "best µs", "quartiles", "samples", "error", "state")]
        for kernel, race in ((one.kernel, one.race) for one in self):
            ran = sorted(race.candidates if race else (), key=lambda c: (c.state != WINNER, not c.samples_s, c.best_s))
            rows += [("" if n else kernel.name, *_cells(one)) for n, one in enumerate(ran)]
            rows += [] if race else [(kernel.name, kernel.tactic, *[""] * 5)]
        return rows

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cells(one: Candidate) -> tuple[str, ...]:
    taken = [s * 1e6 for s in one.samples_s]
    error = "" if one.error is None else f"{one.error:.1e}" if one.error else "0"
    if len(taken) < 2:
        return one.name, f"{taken[0]:,.1f}" if taken else "", "", str(len(taken)), error, one.state
    low, _, high = statistics.quantiles(taken, method="inclusive")
    return one.name, f"{min(taken):,.1f}", f"{low:,.1f} to {high:,.1f}", str(len(taken)), error, one.state
