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

_ROOMS = ("numeric", "graph", "plan", "engine", "lab", "study", "teach")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("trtlab.engine.nvidia"), name)
    if name in _ROOMS:
        return importlib.import_module(f"trtlab.{name}")
    raise AttributeError(f"trtlab has no name {name!r}; it has {', '.join(__all__)} and the rooms {', '.join(_ROOMS)}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
