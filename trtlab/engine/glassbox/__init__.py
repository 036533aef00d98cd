"""engine/glassbox: our own engine, in the open. Build a model, save the plan, load it, run it: TensorRT's words.

In: an ONNX model, or a plan file. Out: an `Engine` with execution contexts. What loads and runs a plan needs numpy and
torch alone; builder and lower, which make one, need onnx as well, and trial chooses tactics for the machine. Checked by
ONNX Runtime, and by the tests of ONNX's own backend suite, which share none of this code.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtlab.engine.glassbox.builder import build
    from trtlab.engine.glassbox.device import Stream
    from trtlab.engine.glassbox.runtime import Engine, ExecutionContext, load

__all__ = ["Engine", "ExecutionContext", "Stream", "build", "load"]

_HOME_OF = dict.fromkeys(__all__, "runtime") | {"build": "builder", "Stream": "device"}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"trtlab.engine.glassbox has no name {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
