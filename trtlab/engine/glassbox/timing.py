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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Union

import torch

from trtlab.engine.files import read_regular, write_atomically
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import TimingCacheError, TimingCacheWarning
from trtlab.engine.glassbox.plan import KernelInfo
from trtlab.engine.measure import installed_version, processor_name
from trtlab.plan.tactics import Race

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
        here, path = made_with(Device(device)), Path(path)
        if not path.exists():
            return cls(made_with=here, path=path)
        cache = cls(**_checked(path), path=path)
        cache.check(here)
        return cache

    def check(self, here: dict[str, str]) -> None:
        """TimingCacheError unless it was made by such a machine."""
        for key in (*here, *self.made_with):
            if (there := self.made_with.get(key)) != here.get(key):
                raise TimingCacheError(
                    f"The timing cache {self.path} was made with {key} {there}, this is {here.get(key)}: its times say"
                    " nothing here. Name another file, or delete this one."
                )

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the file in one step, if there is anything new, with what others have added to it meanwhile.
        TimingCacheError where it cannot be written, or is no cache of this machine."""
        target = Path(path) if path else self.path
        if target is None:
            return
        there = TimingCache(**_checked(target), path=target) if target.exists() else None
        if there is not None:
            there.check(self.made_with)
            self.races |= {key: race for key, race in there.races.items() if key not in self.races}
        if there is None or there.races != self.races:
            races = {key: asdict(self.races[key]) for key in sorted(self.races)}
            values = {"made_with": self.made_with, "races": races}
            text = json.dumps({"format": FORMAT, "sha256": _digest(values), **values}, indent=1)
            try:
                write_atomically(target, text.encode())
            except OSError as error:
                raise TimingCacheError(
                    f"The timing cache {target} cannot be written: {error.strerror}. Name a file in a folder of yours."
                ) from None


def opened(cache: Cache, device: Device) -> TimingCache:
    """The cache, or an empty one without a file, and a warning, where it is of no use here."""
    here = made_with(device)
    with left_alone():
        if isinstance(cache, TimingCache):
            cache.check(here)
            return cache
        if cache is not None:
            return TimingCache.load(cache, device.name)
    return TimingCache(made_with=here)


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


def _checked(path: Path) -> dict[str, Any]:
    """What the file holds. TimingCacheError for anything but what `save` wrote."""
    from trtlab.engine.recordings import converter

    try:
        values = json.loads(read_regular(path, MOST_BYTES))
        if values["format"] != FORMAT or values["sha256"] != _digest(values):
            raise ValueError(
                f"its format is {values['format']!r}, not {FORMAT}, or its checksum is that of another text"
            )
        races = {key: converter().structure(race, Race) for key, race in values["races"].items()}
        if lost := [key for key, race in races.items() if race.winner not in {c.name for c in race.candidates}]:
            raise ValueError(f"nobody of that name ran in the race {lost[0]:.60}")
        return {"made_with": dict(values["made_with"]), "races": races}
    except OSError as error:
        why = error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ExceptionGroup) as error:
        why = f"{type(error).__name__}: {error}"
    raise TimingCacheError(f"{path} is no timing cache, or damaged: {why:.150}. Name another file, or delete this one.")


@dataclass(frozen=True, kw_only=True)
class KernelRace:
    """A kernel and the race behind its tactic; None where nobody had a choice, or it was run elsewhere."""

    kernel: KernelInfo
    race: Race | None


class Races(tuple[KernelRace, ...]):
    """Of every kernel in order. As text a table: every candidate with its median, quartiles and samples, and why it won
    or lost."""

    __slots__ = ()

    def __new__(cls, kernels: Sequence[KernelInfo], races: Sequence[Race | None]) -> "Races":
        return super().__new__(
            cls, (KernelRace(kernel=k, race=r) for k, r in itertools.zip_longest(kernels, races[: len(kernels)]))
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells, the head first."""
        rows: list[tuple[str, ...]] = [("kernel", "tactic", "median us", "quartiles", "samples", "error", "state")]
        for one in self:
            rows += _rows(one.race, one.kernel.name) if one.race else [(one.kernel.name, one.kernel.tactic, *[""] * 5)]
        return rows

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _rows(race: Race, kernel: str) -> Iterator[tuple[str, ...]]:
    """The winner first, then the others by their medians; those without samples come last."""
    order = sorted(race.candidates, key=lambda c: (c.name != race.winner, not c.samples_s, c.median_s))
    for number, one in enumerate(order):
        taken = [s * 1e6 for s in one.samples_s]
        low, _, high = statistics.quantiles(taken, method="inclusive") if len(taken) > 1 else (taken or [0.0]) * 3
        yield (
            "" if number else kernel, one.name, f"{one.median_s * 1e6:,.1f}" if taken else "",
            f"{low:,.1f} to {high:,.1f}" if taken else "", str(len(taken)),
            "" if one.error is None else f"{one.error:.1e}", one.state,
        )  # fmt: skip
