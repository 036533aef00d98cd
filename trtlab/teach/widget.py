"""teach/widget: what every widget of trtlab has in common.

A widget is an anywidget whose Python side owns the state and whose `.js` and `.css` files (in static/) only render it.
It also has a static form: the picture that stays in a saved notebook, on GitHub, and wherever no kernel runs.
"""

from typing import Any

import anywidget
import traitlets

from trtlab.teach.card import Drawing, asset


def script(*names: str) -> str:
    """The script of a widget: the .js files of these names, with what all widgets share (dom.js) in front of them, and
    what hands their `render` to the page."""
    return "".join(asset(f"{name}.js") for name in ("dom", *names)) + "export default { render: answered(render) };\n"


def styles(*names: str) -> str:
    """Several style sheets as one, with that of what all widgets say (waits.css)."""
    return "".join(asset(f"{name}.css") for name in (*names, "waits"))


class Widget(anywidget.AnyWidget):
    """Base of the widgets: subclasses set `_esm` (`script`) and `_css` (`styles`), hear the page, and know how they
    look at rest. `face` is what the page shows from the start, `shown` what follows from each wish."""

    face: Any = traitlets.Dict().tag(sync=True)
    shown: Any = traitlets.Dict().tag(sync=True)

    def hear(self, wish: dict[str, Any]) -> None:
        """A wish of the page, which may say anything."""

    def static(self) -> Drawing:
        """The widget at rest, without a kernel: everything a reader needs, nothing to click."""
        raise NotImplementedError

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        """A message of the page. A ping behind it is answered once all before it is done: the page then knows."""
        if isinstance(content, dict) and set(content) == {"ping"}:
            self.send({"pong": content["ping"]})
        else:
            self.hear(content if isinstance(content, dict) else {})
            super()._handle_custom_msg(content, buffers)

    def _repr_mimebundle_(self, **what_ipython_asks: Any) -> Any:
        data, metadata = super()._repr_mimebundle_(**what_ipython_asks) or ({}, {})
        return data | self.static()._repr_mimebundle_(), metadata
