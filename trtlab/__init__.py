"""trtlab: a workbook for TensorRT interviews in which every claim runs.

The package has seven rooms: numeric < graph < plan < engine < lab < study < teach. Importing `trtlab` loads none of
them; the names below open their room when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport, explain

__version__ = "0.1.0"
__all__ = ["BuildReport", "__version__", "explain"]

_HOME_OF = {"explain": "trtlab.engine.nvidia", "BuildReport": "trtlab.engine.nvidia"}
_ROOMS = ("numeric", "graph", "plan", "engine", "lab", "study", "teach")


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"trtlab.{name}")
    raise AttributeError(
        f"trtlab has no name {name!r}; it has {', '.join(sorted(_HOME_OF))} and the rooms {', '.join(_ROOMS)}"
    )


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
