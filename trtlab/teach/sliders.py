"""teach/sliders: one widget for every model with a few whole numbers: sliders, buttons, a picture, facts below it.

In: a subclass that names its sliders and says what they mean. Out: the widget; it answers in one round trip, and its
static form is the picture with its facts. StreamView, ClipView and RooflineView are made of it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trtlab.teach import svg
from trtlab.teach.card import Cell, SvgDrawing, block, bold, card, facts, push, stack
from trtlab.teach.widget import Widget, script, styles

Slider = tuple[str, int, int, int]
"""What it says, least, most, and where it stands at first."""


class SliderView(Widget):
    """A picture that follows sliders; `setting` has their values, `set` changes them.

    ValueError for what a slider cannot say, TypeError for unknown names. A subclass gives `ABOUT`, `picture`, `facts`,
    and may give `BUTTONS`: name -> what pressing it sets.
    """

    _esm = script("sliders")
    _css = styles("cards", "sliders")
    ABOUT: ClassVar[str]
    POWERS: ClassVar[tuple[str, ...]] = ()
    """Sliders whose value is an exponent of two: the page shows the power."""

    def __init__(
        self, sliders: Mapping[str, Slider], setting: Mapping[str, int], *,
        buttons: Mapping[str, Mapping[str, int]] | None = None, hand: tuple[str, float, float] | None = None,
    ) -> None:  # fmt: skip
        """`hand`: the slider that a pointer in the picture drags, and the x of its ends."""
        super().__init__()
        self.sliders, self.buttons = dict(sliders), dict(buttons or {})
        self.face = {
            "about": self.ABOUT, "powers": self.POWERS, "sliders": [[name, *row[:3]] for name, row in sliders.items()],
            "buttons": [*self.buttons], "hand": hand and dict(zip(("name", "from", "to"), hand, strict=True)),
        }  # fmt: skip
        self.setting = {name: row[3] for name, row in sliders.items()}
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
            if name not in self.sliders:
                raise TypeError(f"there is no slider {name!r}: expected {', '.join(self.sliders)}")
            _, least, most, _ = self.sliders[name]
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} is {value!r}: expected a whole number from {least} to {most}")
        self.setting = self.setting | setting
        pressed = [name for name, wish in self.buttons.items() if wish.items() <= self.setting.items()]
        found = [list(fact) for fact in self.facts()]
        setting_shown = self.setting | {"pressed": pressed[0] if pressed else ""}
        self.shown = {"svg": self.picture(), "facts": found, "setting": setting_shown}

    def press(self, name: str) -> None:
        """What a button does. KeyError for one that is not there."""
        self.set(**self.buttons[name])

    def static(self) -> SvgDrawing:
        return pictured(self.shown["svg"], self.ABOUT, self.shown["facts"])

    def hear(self, wish: dict[str, Any]) -> None:
        """A slider was moved or a button pressed; what cannot be is left alone."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            moved = {key: value for key, value in wish.items() if key != "press"}
            self.set(**moved | (dict(self.buttons[wish["press"]]) if "press" in wish else {}))


def pictured(
    picture: str, title: str, found: Sequence[tuple[str, str, str]], says: str = "", below: Any = ""
) -> SvgDrawing:
    """A card with a picture, facts below it, and what else is to be said."""
    inside = stack([block(Cell(html=picture, text=""), "timeline"), facts(*found), below])
    return svg.drawing(card(inside, head=[bold(title), *([push(says)] if says else [])]), picture)
