"""teach/bits: a number format under the fingers: `BitEditor("FP8_E4M3", "1.5")`.

In: formats of numeric. Out: `BitEditor`. Flips, texts and choices come from the page or from Python, `exact` decodes
and encodes, bitwords puts it into words, and one message goes back; static/bits.js repaints the bits meanwhile.
"""

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, get_args

import numpy as np

from trtlab.numeric.describe import Overflow, Rounding
from trtlab.numeric.exact import Decoded, Real, Special, as_fraction, decode, encode, real
from trtlab.numeric.formats import FORMATS, FloatFormat, Format
from trtlab.teach import bitwords
from trtlab.teach.bitwords import number_text
from trtlab.teach.card import Drawing
from trtlab.teach.formats import find_format, has_codes, name_of
from trtlab.teach.widget import Widget, script, styles

_BASES = {"hex": ("hexadecimal", 16, "3c or 0x3c"), "bin": ("binary", 2, "0011 1100"), "dec": ("decimal", 10, "60")}


@dataclass(frozen=True, kw_only=True)
class Held:
    """What an editor holds: `code` in `fmt`, and `target`, the number that it stands for as well as it can."""

    fmt: Format
    code: int
    target: Real
    typed: str = ""
    rounding: Rounding = "nearest_even"
    overflow: Overflow | None = None

    @property
    def overflows(self) -> Overflow:
        """The overflow that was chosen, else the usual one: IEEE's wide formats reach infinity, others saturate."""
        is_wide = isinstance(self.fmt, FloatFormat) and self.fmt.has_infinity and self.fmt.bits > 8
        return self.overflow or ("ieee" if is_wide else "saturate")

    @functools.cached_property
    def found(self) -> Decoded:
        """What the code means."""
        return decode(self.fmt, self.code)


class BitEditor(Widget):
    """One code of one format, to flip, to type and to step through; `BitEditor("FP16", "1/3")`.

    `format` is a name of FORMATS or any format with codes of its own, also your own FloatFormat; `formats` are those
    offered and compared. `code` and `value` may be read and set, the rest is chosen on the page; `shown`, all that is
    on the page, changes with each of them and can be observed. ValueError says what has no code, KeyError which names
    there are.
    """

    _esm = script("bits")
    _css = styles("cards", "bits")

    def __init__(
        self,
        format: str | Format = "FP8_E4M3",  # noqa: A002
        value: Any = "1.5",
        *,
        formats: Iterable[str | Format] | None = None,
        rounding: Rounding = "nearest_even",
        overflow: Overflow | None = None,
    ) -> None:
        fmt = find_format(format)
        offered = [*filter(has_codes, FORMATS.values())] if formats is None else [*map(find_format, formats)]
        self._offered: dict[str, Format] = {}
        for each in offered if fmt in offered else [fmt, *offered]:
            if self._offered.setdefault(name_of(each), each) != each:
                raise ValueError(f"two formats are called {name_of(each)}; give yours a name of its own: name=...")
        self._generator = np.random.default_rng(0)
        start = Held(fmt=fmt, code=0, target=real(0), rounding=rounding, overflow=overflow)
        super().__init__()
        self._hold(self._with_value(start, value))

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
        return self._held.found.value

    @value.setter
    def value(self, value: Any) -> None:
        self._hold(self._with_value(self._held, value))

    @property
    def format(self) -> Format:
        """The format that was given, or chosen on the page."""
        return self._held.fmt

    def static(self) -> Drawing:
        """The editor without a kernel: bits, value, formula and the table of formats as a picture and as text."""
        return bitwords.draw_bits(self.face, self.shown)

    # --- state ------------------------------------------------------------------------------------------------------

    def _with_value(self, held: Held, value: Any) -> Held:
        target = real(value)
        typed = value.strip() if isinstance(value, str) else ""
        return coded(replace(held, target=target, typed=typed), self._generator)

    def _hold(self, held: Held, refusal: dict[str, str] | None = None) -> None:
        """Hold it, and tell the page everything, in one message."""
        self._held, name = held, name_of(held.fmt)
        shown = describe(held, self._offered.items(), self._generator)
        with self.hold_sync():
            if self.face.get("name") != name:
                layouts = [(n, f.fields) for n, f in self._offered.items()]  # a saved page sorts what is no list
                modes = {"roundings": [*get_args(Rounding)], "overflows": [*get_args(Overflow)]}
                self.face = {"name": name, "layouts": layouts, **modes, **bitwords.describe_format(held.fmt)}
            self.shown = shown | {"refusal": refusal or {}}

    # --- the page ---------------------------------------------------------------------------------------------------

    def hear(self, wish: dict[str, Any]) -> None:
        """Wishes by their name, the last one last; a refusal comes back as a sentence beside the entry it came from."""
        refused = None
        for what, text in wish.items():
            try:
                self._held = self._after(what, str(text))
            except ValueError as refusal:
                refused = {"at": what if what in _BASES else "value", "text": str(refusal)}
        self._hold(self._held, refused)

    def _after(self, what: str, text: str) -> Held:
        """What is held after a wish. A format without a code for the number starts at zero; modes stay as chosen."""
        match what:
            case "code":
                return _with_code(self._held, int(text, 16))
            case "hex" | "bin" | "dec" if text.strip():
                return _with_code(self._held, code_from_text(text, what))
            case "value" if text.strip():
                return self._with_value(self._held, text)
            case "format" if text in self._offered:
                wanted = replace(self._held, fmt=self._offered[text])
                self._held = _with_code(wanted, encode(wanted.fmt, 0))
                return coded(wanted, self._generator)
            case "rounding" | "overflow" if text in self.face[f"{what}s"]:
                chosen: dict[str, Any] = {what: text}
                self._held = replace(self._held, **chosen)
                return coded(self._held, self._generator)
        return self._held


def _with_code(held: Held, code: int) -> Held:
    return replace(held, code=code, target=decode(held.fmt, code).value, typed="")


def code_from_text(text: str, base: str) -> int:
    """The number that `text` spells in hex, bin or dec; spaces and _ may part digits, its 0x or 0b may lead."""
    name, radix, example = _BASES[base]
    try:
        return int("".join(text.split()) if len(text) < 200 else "", radix)
    except ValueError:
        known = f"digits 0 to {'0123456789abcdef'[radix - 1]}"
        raise ValueError(f"no {name} code: {text[:40]!r}; expected {known}, such as {example}") from None


# --- what is shown of a code ----------------------------------------------------------------------------------------


def describe(held: Held, offered: Iterable[tuple[str, Format]], generator: np.random.Generator) -> dict[str, Any]:
    """All that depends on the code, as one dict of text."""
    found, value = held.found, held.found.value
    fields = zip(held.fmt.fields, found.fields.values(), strict=True)
    return {
        "code": bitwords.hex_text(held.fmt, held.code), "dec": str(held.code),
        "bin": " ".join(f"{number:0{width}b}" for (_, width), number in fields),
        "entry": held.typed or _entry(held.target), "value": number_text(value), "kind": found.kind,
        "forms": bitwords.exact_forms(value) if isinstance(value, Fraction) and found.kind != "integer" else [],
        "decimal": bitwords.decimal_parts(value) if isinstance(value, Fraction) else [number_text(value)],
        "formula": bitwords.formula(found), "readings": bitwords.readings(found),
        "around": surroundings(held), "error": error(held),
        "rows": [row(held, name, other, generator) for name, other in offered],
        "rounding": held.rounding, "overflow": held.overflows,
    }  # fmt: skip


def _entry(value: Real) -> str:
    """Text to type that reads back as `value`."""
    if isinstance(value, Special):
        return value.value
    if abs(value) < 2**1024 and Fraction(float(value)) == value:
        return repr(float(value)).removesuffix(".0")
    is_short = max(abs(value.numerator), value.denominator) < 10**30
    return str(value) if is_short else number_text(value, 20, rounded=True).replace("−", "-")


def surroundings(held: Held) -> dict[str, Any]:
    """The values below and above, the ULP, and where here and the target stand between them (0 to 1)."""
    codes = [held.found.neighbour(step) for step in (-1, 1)]
    around = [None if code is None else decode(held.fmt, code) for code in codes]
    shown: dict[str, Any] = {
        name: one and {"code": bitwords.hex_text(held.fmt, one.code), "value": number_text(one.value)}
        for name, one in zip(("below", "above"), around, strict=True)
    }
    here, step, target = held.found.fraction, held.found.ulp, as_fraction(held.target)
    if here is None or step is None:
        return shown | {"ulp": "", "here": None, "target": None}
    low, high = (one.fraction if one else None for one in around)
    low, high = here - step if low is None else low, here + step if high is None else high
    place = None
    if target is not None and target != here:
        place = float(max(Fraction(-1), min(Fraction(2), (target - low) / (high - low))))
    at = float((here - low) / (high - low))
    return shown | {"ulp": bitwords.step_text(step), "short": number_text(here), "here": at, "target": place}


def verdict(held: Held) -> tuple[str, str]:
    """(kind, words): how well `code` stands for `target`; the kinds are exact, rounded, small and lost."""
    fmt, target, got = held.fmt, held.target, held.found.value
    wanted, value = as_fraction(target), held.found.fraction
    if target == got:
        return "exact", "exact"
    if wanted is None:
        return "lost", f"{number_text(target)} becomes NaN" if got is Special.NAN else "saturates"
    if value is None:
        beyond = wanted != 0 and (fmt.is_signed or wanted > 0) if isinstance(fmt, FloatFormat) else True
        return "lost", f"overflows to {number_text(got)}" if beyond else f"becomes {number_text(got)}"
    if value == wanted:
        return "rounded", "loses −0's sign"
    if wanted == 0:
        return "lost", "no zero"
    if wanted < 0 <= fmt.min:
        return "lost", "no negatives"
    if value == 0:
        return "lost", "underflows" if isinstance(fmt, FloatFormat) else "rounds to 0"
    if isinstance(fmt, FloatFormat) and not fmt.has_subnormals and abs(wanted) < fmt.min_normal:
        return "lost", "below the smallest"
    if _is_beyond(held, wanted):
        return "lost", "saturates"
    return ("small", "subnormal") if held.found.kind == "subnormal" else ("rounded", "rounded")


def _is_beyond(held: Held, wanted: Fraction) -> bool:
    """Whether `wanted` lies beyond the range by a step, or where IEEE's overflow gives another code, and not merely
    within the rounding of the largest value."""
    if Fraction(held.fmt.min) <= wanted <= Fraction(held.fmt.max):
        return False
    if abs(wanted - (held.found.fraction or 0)) >= (held.found.ulp or 0):
        return True
    try:
        rounding = "nearest_even" if held.rounding == "stochastic" else held.rounding
        return encode(held.fmt, wanted, rounding, "ieee") != held.code
    except ValueError:
        return True


def error(held: Held) -> dict[str, str]:
    """Code against target: absolute, relative, in steps of the format (ULP), and in words."""
    kind, words = verdict(held)
    found = {"target": held.typed or number_text(held.target, 12), "kind": kind, "words": words}
    wanted, value, step = as_fraction(held.target), held.found.fraction, held.found.ulp
    if wanted is None or value is None or step is None:
        return found | {"absolute": "–", "relative": "–", "steps": "–"}
    gap = value - wanted
    absolute, steps = (number_text(each, 3, rounded=True) for each in (gap, abs(gap) / step))
    relative = bitwords.relative_text(wanted, value)
    return found | {"absolute": "+" * (gap > 0) + absolute, "relative": relative, "steps": steps}


def coded(held: Held, generator: np.random.Generator) -> Held:
    """With the code of its target in its format and modes; ValueError where there is none."""
    return replace(held, code=encode(held.fmt, held.target, held.rounding, held.overflows, generator))


def row(held: Held, name: str, fmt: Format, generator: np.random.Generator) -> list[str]:
    """`target` in another format: name, code, value, relative error, kind, words. A refusal has no code."""
    other = replace(held, fmt=fmt)
    try:
        other = other if fmt == held.fmt else coded(other, generator)
    except ValueError:
        return [name, "", "–", "–", "lost", "no NaN" if held.target is Special.NAN else "no code for it"]
    wanted, value = as_fraction(held.target), other.found.fraction
    relative = "–" if wanted is None or value is None else bitwords.relative_text(wanted, value)
    return [name, bitwords.hex_text(fmt, other.code), number_text(other.found.value, 10), relative, *verdict(other)]
