"""teach/widget: what every widget of trtlab has in common.

A widget is an anywidget whose Python side owns the state and whose `.js` and `.css` files (in static/) only render it.
It also has a static form: the picture that stays in a saved notebook, on GitHub, and wherever no kernel runs.
"""

from pathlib import Path
from typing import Any

import anywidget

from trtlab.teach.drawing import Drawing

STATIC = Path(__file__).parent / "static"


class Widget(anywidget.AnyWidget):
    """Base of the widgets: subclasses set `_esm` and `_css` to files in STATIC and say what they look like at rest."""

    def static(self) -> Drawing:
        """The widget at rest, without a kernel: everything a reader needs, nothing to click."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **what_ipython_asks: Any) -> Any:
        bundle = super()._repr_mimebundle_(**what_ipython_asks)
        if bundle is None:
            return None
        data, *metadata = bundle if isinstance(bundle, tuple) else (bundle,)
        data = self.static()._repr_mimebundle_() | {key: value for key, value in data.items() if key != "text/plain"}
        return (data, *metadata) if metadata else data
