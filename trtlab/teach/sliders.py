"""teach/sliders: one widget for every model with a few whole numbers: sliders, buttons, a picture, facts below it.

In: a subclass that names its sliders and says what they mean. Out: the widget; it answers in one round trip, and its
static form is the picture with its facts. StreamView, ClipView and RooflineView are made of it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trtlab.teach import svg
from trtlab.teach.card import SvgDrawing, bold, card, facts, push, stack
from trtlab.teach.widget import Widget, script, styles

Slider = tuple[str, int, int, int]
"""What it says, least, most, and where it stands at first."""


class SliderView(Widget):
    """A picture that follows sliders; `setting` has their values, `set` changes them.

    ValueError for what a slider cannot say, TypeError for unknown names. A subclass gives `ABOUT`, `SLIDERS`,
    `picture`, `facts`, and may give the others.
    """

    _esm = script("sliders")
    _css = styles("cards", "sliders")
    ABOUT: ClassVar[str]
    SLIDERS: Mapping[str, Slider]
    POWERS: ClassVar[tuple[str, ...]] = ()
    """Sliders whose value is an exponent of two: the page shows the power."""
    BUTTONS: Mapping[str, Mapping[str, int]] = {}
    """Name -> what pressing it sets."""
    HAND: Mapping[str, Any] | None = None
    """The `name` of the slider that a pointer in the picture drags; it moves `from` x `to` x."""

    def __init__(self, **setting: int) -> None:
        super().__init__()
        sliders = [[name, *row[:3]] for name, row in self.SLIDERS.items()]
        face = {"about": self.ABOUT, "powers": self.POWERS, "sliders": sliders}
        self.face = face | {"buttons": [*self.BUTTONS], "hand": self.HAND}
        self.setting = {name: row[3] for name, row in self.SLIDERS.items()}
        self.set(**setting)

    def picture(self) -> str:
        """The SVG of `setting`."""
        raise NotImplementedError

    def facts(self) -> Sequence[tuple[str, str, str]]:
        """Label, value and note of what `setting` leads to."""
        raise NotImplementedError

    def set(self, **setting: int) -> None:
        """Move sliders; nothing changes when one cannot be moved so far."""
        for name, value in setting.items():
            if name not in self.SLIDERS:
                raise TypeError(f"there is no slider {name!r}: expected {', '.join(self.SLIDERS)}")
            _, least, most, _ = self.SLIDERS[name]
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} is {value!r}: expected a whole number from {least} to {most}")
        self.setting = self.setting | setting
        pressed = next((name for name, wish in self.BUTTONS.items() if wish.items() <= self.setting.items()), "")
        shown = self.setting | {"pressed": pressed}
        self.shown = {"svg": self.picture(), "facts": [*map(list, self.facts())], "setting": shown}

    def static(self) -> SvgDrawing:
        return pictured(self.shown["svg"], self.ABOUT, self.shown["facts"])

    def hear(self, wish: dict[str, Any]) -> None:
        """A slider was moved or a button pressed; what cannot be is left alone."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            moved = {key: value for key, value in wish.items() if key != "press"}
            self.set(**moved | (dict(self.BUTTONS[wish["press"]]) if "press" in wish else {}))


def pictured(
    picture: str, title: str, found: Sequence[tuple[str, str, str]], says: str = "", below: Any = ""
) -> SvgDrawing:
    """A card with a picture, facts below it, and what else is to be said."""
    inside = stack([svg.shown(picture, "timeline"), facts(*found), below])
    return svg.drawing(card(inside, head=[bold(title), *([push(says)] if says else [])]), picture)
