"""teach: the only room that draws. May use every other room; nothing but cli.py may import it.

In: frozen values from the other rooms. Out: cards, tables and figures for a notebook, each with a plain-text form for
places that show no HTML, and with its provenance printed on it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtlab.teach.cards import (
        draw_badges,
        draw_comparison,
        draw_configuration,
        draw_engine,
        draw_error,
        draw_layers,
        draw_machine,
        draw_manifest,
        draw_map,
        draw_onnx,
        draw_stage,
        draw_workflow,
    )
    from trtlab.teach.figures import draw_predictions, draw_waterfall

_HOME_OF = {
    **dict.fromkeys(
        ("draw_badges", "draw_comparison", "draw_configuration", "draw_engine", "draw_error", "draw_layers", "draw_machine",
         "draw_manifest", "draw_map", "draw_onnx", "draw_stage", "draw_workflow"),
        "trtlab.teach.cards",
    ),
    **dict.fromkeys(("draw_predictions", "draw_waterfall"), "trtlab.teach.figures"),
}  # fmt: skip
__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"trtlab.teach has no name {name!r}; it has {', '.join(__all__)}")
