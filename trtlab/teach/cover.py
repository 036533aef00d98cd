"""teach/cover: a guess comes first. What a cell shows below the bar of `guess()` stays covered until a guess is entered
or Show is pressed; so does what follows a quiz card, until it is answered.

In: what is guessed, and what was measured. Out: a bar in front of what the cell shows. What the cell and the two
behind it show is covered by the page (static/tongue.js, cover.css); pages without scripts show all, in its order.
"""

from typing import Any

from IPython.display import DisplayHandle, display

from trtlab.study.bank import said
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, apart, bilingual, block, both, join, labelled, live, stack_of, tag

_ENTRY = '<input type="text" class="trt-entry" autocomplete="off" spellcheck="false">'
_BOX = '<input type="checkbox" class="trt-show">'


def guess(unit: str = "") -> "Guess":
    """Ask for a guess, in `unit`, before anything else that the cell shows.

    >>> asked = guess("kernels")
    >>> asked.measured(len(report.kernels))  # shown beside the guess, once it is made
    """
    return Guess(unit)


class Guess:
    """A bar on the page. Outside a notebook it is a printed line."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._shown: DisplayHandle | None = display(self.bar(), display_id=True)

    def _ipython_display_(self) -> None:
        """It is on the page already."""

    def measured(self, value: Any) -> None:
        """Show the true value beside the guess; it stays covered as long as the rest."""
        if self._shown:
            self._shown.update(self.bar(value))

    def bar(self, value: Any = None) -> Drawing:
        """The entry, what was measured once it is known, and what uncovers both."""
        entry = Cell(html=f"{_ENTRY} {ui.escape(self.unit)}", text=self.unit or " ")
        asks = join([both(said("your_guess")), entry], ": " if self.unit else live(": ", ""))
        found = tag("span", labelled(both(said("measured")), ui.bold(value)), "trt-found") if value is not None else ""
        line = stack_of([join([tag("label", asks), found], apart()), shows()])
        return ui.styled("cover", bilingual(block(block(line), "card trt-guess")))


def uncovers() -> Cell:
    """What uncovers all that follows."""
    return tag("label", Cell(html=_BOX + both(said("show_what_follows")).html, text=""), "trt-uncovers")


def shows() -> Cell:
    """That, and what uncovers all of this page."""
    button = tag("button", both(said("show_all")), "trt-all", type="button")
    return live(uncovers().html + button.html, "trt-shows")
