"""teach/bits: a number format under the fingers: `BitEditor("FP8_E4M3", "1.5")`.

In: formats of numeric. Out: `BitEditor`. Flips, texts and choices come from the page or from Python, `exact` decodes
and encodes, bitfacts puts it into words, and one message goes back; static/bits.js repaints the bits meanwhile.
"""

import operator
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import traitlets

from trtlab.numeric.exact import Real, check_modes, decode, encode, real
from trtlab.numeric.formats import FORMATS, Format, Overflow, Rounding
from trtlab.teach.bitfacts import Held, code_for, describe
from trtlab.teach.bitpicture import draw_bits
from trtlab.teach.bitwords import describe_format
from trtlab.teach.drawing import Drawing
from trtlab.teach.formats import find_format, has_codes, name_of
from trtlab.teach.widget import STATIC, Widget

_BASES = {"hex": (16, "0x"), "bin": (2, "0b"), "dec": (10, "")}
_NOBODY = ["", 0]


class BitEditor(Widget):
    """One code of one format, to flip, to type and to step through; `BitEditor("FP16", "1/3")`.

    `format` is a name of FORMATS or any format with codes of its own, also your own FloatFormat; `formats` are those
    offered and compared. `code`, `value`, `format`, `rounding` and `overflow` may be read and set; `shown`, all that is
    on the page, changes with each of them and can be observed. ValueError says what has no code, KeyError which names
    there are. `generator` draws for stochastic rounding.
    """

    _esm = STATIC / "bits.js"
    _css = (STATIC / "cards.css").read_text("utf-8") + (STATIC / "bits.css").read_text("utf-8")
    face = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        format: str | Format = "FP8_E4M3",  # noqa: A002
        value: Any = "1.5",
        *,
        formats: Iterable[str | Format] | None = None,
        rounding: Rounding = "nearest_even",
        overflow: Overflow = "saturate",
        generator: np.random.Generator | None = None,
    ) -> None:
        fmt = find_format(format)
        names = [n for n, f in FORMATS.items() if has_codes(f)] if formats is None else formats
        offered = [*map(find_format, names)]
        self._offered: dict[str, Format] = {}
        for each in offered if fmt in offered else [fmt, *offered]:
            self._offer(each)
        self._generator = generator or np.random.default_rng(0)
        start = Held(fmt=fmt, code=0, target=real(0), rounding=rounding, overflow=overflow)
        self._held = self._with_value(start, value)
        self._refusal, self._answers = dict[str, str](), _NOBODY
        super().__init__()
        self._show()
        self.on_msg(self._on_message)

    # --- for Python -------------------------------------------------------------------------------------------------

    @property
    def code(self) -> int:
        """The code; setting it gives up what was typed."""
        return self._held.code

    @code.setter
    def code(self, code: int) -> None:
        self._hold(_with_code(self._held, operator.index(code)))

    @property
    def value(self) -> Real:
        """The exact value of the code; set to anything that `exact.real` reads, and rounded to a code."""
        return decode(self._held.fmt, self._held.code)

    @value.setter
    def value(self, value: Any) -> None:
        self._hold(self._with_value(self._held, value))

    @property
    def format(self) -> Format:
        """The format; another one takes over the number that was asked for, not the bits."""
        return self._held.fmt

    @format.setter  # noqa: A003
    def format(self, which: str | Format) -> None:
        fmt = find_format(which)
        held = self._again(replace(self._held, fmt=fmt))
        self._offer(fmt)
        self._hold(held)

    @property
    def rounding(self) -> Rounding:
        """How typed values and the table are rounded."""
        return self._held.rounding

    @rounding.setter
    def rounding(self, rounding: Rounding) -> None:
        self._hold(self._again(replace(self._held, rounding=rounding)))

    @property
    def overflow(self) -> Overflow:
        """Whether typed values and the table saturate, or go to infinity and NaN."""
        return self._held.overflow

    @overflow.setter
    def overflow(self, overflow: Overflow) -> None:
        self._hold(self._again(replace(self._held, overflow=overflow)))

    def static(self) -> Drawing:
        """The editor without a kernel: bits, value, formula and the table of formats as a picture and as text."""
        return draw_bits(self.face, self.shown)

    # --- state ------------------------------------------------------------------------------------------------------

    def _offer(self, fmt: Format) -> None:
        """Offer a format under its name. ValueError if another one has it."""
        if self._offered.setdefault(name_of(fmt), fmt) != fmt:
            raise ValueError(f"two formats are called {name_of(fmt)}; give yours a name of its own: name=...")

    def _with_value(self, held: Held, value: Any) -> Held:
        target = real(value)
        typed = value.strip() if isinstance(value, str) else ""
        return self._again(replace(held, target=target, typed=typed))

    def _again(self, held: Held) -> Held:
        """The same target under the format and modes of `held`."""
        check_modes(held.rounding, held.overflow, self._generator)
        return replace(held, code=code_for(held, self._generator))

    def _hold(self, held: Held) -> None:
        self._held, self._refusal, self._answers = held, {}, _NOBODY
        self._show()

    def _show(self) -> None:
        """Tell the page everything, in one message."""
        held = self._held
        name = name_of(held.fmt)
        shown = describe(held, self._offered.items(), self._generator)
        with self.hold_sync():
            if self.face.get("name") != name:
                layouts = {n: describe_format(f)["fields"] for n, f in self._offered.items()}
                modes = {"roundings": get_args(Rounding), "overflows": get_args(Overflow)}
                self.face = {"name": name, "layouts": layouts, **modes, **describe_format(held.fmt)}
            self.shown = shown | {"refusal": self._refusal, "answers": self._answers}

    # --- the page ---------------------------------------------------------------------------------------------------

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """A wish of the page; one that cannot be fulfilled comes back as a sentence beside the entry it came from."""
        if not isinstance(content, dict):
            return
        self._refusal, self._answers = {}, content.get("answers", _NOBODY)
        try:
            self._held = self._after(content)
        except ValueError as refusal:
            self._refusal = {"at": content.get("base", "value"), "text": str(refusal)}
        self._show()

    def _after(self, content: dict[str, Any]) -> Held:
        """What is held after a message. A format without a code for the number starts at zero; modes stay as chosen."""
        match content:
            case {"do": "code", "code": str(text)}:
                return _with_code(self._held, int(text, 16))
            case {"do": "text", "base": "hex" | "bin" | "dec" as base, "text": str(text)}:
                return _with_code(self._held, code_from_text(text, base))
            case {"do": "value", "text": str(text)}:
                return self._with_value(self._held, text)
            case {"do": "format", "name": str(name)} if name in self._offered:
                fmt = self._offered[name]
                wanted = replace(self._held, fmt=fmt)
                self._held = _with_code(wanted, encode(fmt, 0))
                return self._again(wanted)
            case {"do": "modes", "rounding": str(rounding), "overflow": str(overflow)}:
                check_modes(rounding, overflow, self._generator)
                self._held = replace(self._held, rounding=rounding, overflow=overflow)  # type: ignore[arg-type]
                return self._again(self._held)
        return self._held


def _with_code(held: Held, code: int) -> Held:
    return replace(held, code=code, target=decode(held.fmt, code), typed="")


def code_from_text(text: str, base: str) -> int:
    """The number that `text` spells in hex, bin or dec; spaces and _ may part digits, 0x and 0b may lead."""
    radix, prefix = _BASES[base]
    word = "".join(text.lower().replace("_", "").split())
    if base != "hex" and word.startswith("0x"):
        radix, prefix = _BASES["hex"]
    elif base == "dec" and word.startswith("0b"):
        radix, prefix = _BASES["bin"]
    digits = word.removeprefix(prefix)
    known = "0123456789abcdef"[:radix]
    if not digits or len(digits) > 100 or digits.strip(known):
        example = {"hex": "3c or 0x3c", "bin": "0011 1100", "dec": "60"}[base]
        raise ValueError(f"no {base} code: {text[:40]!r}; expected digits {known[0]} to {known[-1]}, such as {example}")
    return int(digits, radix)
