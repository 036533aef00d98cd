"""engine/nvidia/request: what to build and how, checked before any compiler sees it.

In: targets, profiles and options as people write them. Out: a `BuildRequest`, which the worker gets. It knows nothing
of a compiler's module: whether a target or flag exists there is for compiler.py to say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtlab.engine import machine
from trtlab.engine.nvidia.errors import BuildError, ProfileError, UnsupportedTarget
from trtlab.engine.nvidia.report import Profile

DEFAULT_TARGET = "SM89"
PORTABLE = "portable"
Shape = Sequence[int]
ProfileShapes = Mapping[str, tuple[Shape, Shape, Shape]]


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """How to build a model. Its bytes travel beside it, unless it has a `path`. `targets` holds names such as SM89, or
    `portable`; empty means this machine's GPU. `stop_after` is `parse` or `build`. BuildError for a senseless option.
    """

    name: str = "model"
    path: str | None = None
    targets: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    set_flags: tuple[str, ...] = ()
    clear_flags: tuple[str, ...] = ()
    workspace_bytes: int | None = None
    max_aux_streams: int | None = None
    stop_after: str = "build"

    def __post_init__(self) -> None:
        if self.stop_after not in ("parse", "build"):
            raise BuildError(f"stop_after is {self.stop_after!r}.", hint="Expected 'parse' or 'build'.")
        for name in ("workspace_bytes", "max_aux_streams"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 0):
                hint = "Expected a whole number, 0 or more, or None for the default."
                raise BuildError(f"{name} is {value!r}.", hint=hint)


def normalise_targets(target: str | Iterable[str] | None, compiler: str) -> tuple[str, ...]:
    """('SM89',) from 'sm_89', '8.9', 'SM89' or a list of such. UnsupportedTarget for anything else."""
    if target is None:
        here = machine.gpu_target()
        return () if compiler == "tensorrt" else (here if here in machine.RTX_EXECUTES else DEFAULT_TARGET,)
    if isinstance(target, (int, float)):
        target = str(target)
    names = re.split(r"[,\s]+", target.strip()) if isinstance(target, str) else list(target)
    if not names:
        hint = "Name one, such as SM89, or pass None."
        raise UnsupportedTarget("The list of targets is empty.", hint=hint, target="")
    return tuple(dict.fromkeys(_normalise_target(str(name)) for name in names))


def _normalise_target(name: str) -> str:
    if name.lower() == PORTABLE:
        return PORTABLE
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", name.strip(), re.IGNORECASE)
    if match is None:
        hint = "Expected a compute capability such as SM89 or 8.9, or 'portable'."
        raise UnsupportedTarget(f"{name!r} is no target.", hint=hint, target=name)
    return f"SM{match[1]}{match[2]}"


def normalise_profiles(profiles: ProfileShapes | Sequence[ProfileShapes] | None) -> tuple[Profile, ...]:
    """Frozen profiles from one mapping or several. ProfileError when an entry is not three shapes of integers."""
    mappings = [profiles] if isinstance(profiles, Mapping) else list(profiles or ())
    if not all(isinstance(mapping, Mapping) for mapping in mappings):
        hint = "Expected {input: (minimum, optimum, maximum)}, or a list of those."
        raise ProfileError(f"profiles is {profiles!r}.", hint=hint)
    return tuple(
        Profile(shapes=tuple(_profile_entry(name, shapes) for name, shapes in mapping.items()))
        for mapping in mappings
        if mapping
    )


def _profile_entry(name: str, shapes: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    try:
        smallest, optimal, largest = (tuple(int(size) for size in shape) for shape in shapes)
    except (TypeError, ValueError):
        hint = "Expected three shapes: ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))."
        raise ProfileError(f"The profile of {name!r} is {shapes!r}.", hint=hint) from None
    return name, smallest, optimal, largest
