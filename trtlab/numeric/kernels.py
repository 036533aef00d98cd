"""numeric/kernels: for each description, the few lines of arithmetic that encode or decode one element.

In: a description, a float width, modes. Out: lines of Python with all constants in them, valid for numbers (numba) and
arrays (NumPy) alike; `codec` runs them. In them U, I, F are the unsigned, signed and float types of `width` bits.
"""

import struct

from trtlab.numeric import exact
from trtlab.numeric.describe import BookFacts, FloatFacts, FormatFacts, IntegerFacts, Overflow, Rounding

_MANTISSA_AND_BIAS = {32: (23, 127), 64: (52, 1023)}


def encode_lines(
    fmt: FormatFacts, width: int = 32, rounding: Rounding = "nearest_even", overflow: Overflow = "saturate"
) -> list[str]:
    """From `x` (for floats its bits `u`), and `draw` for stochastic rounding, to `code`; `bad` if there may be none."""
    match fmt:
        case FloatFacts():
            return _FloatLines(fmt, width).encode(rounding, overflow)
        case IntegerFacts():
            return _encode_integer(fmt, rounding, overflow)
        case BookFacts():
            return _encode_entry(fmt, width, rounding, overflow)
    raise exact.unknown(fmt)


def decode_lines(fmt: FormatFacts, width: int = 32) -> list[str]:
    """From `c` to `value` (its bits for floats), and `bad` where an integer may be no code."""
    lines = ["c = U(c)"]
    if fmt.padding_bits:
        lines += [f"bad = U(c & U({(1 << fmt.padding_bits) - 1:#x})) > U(0)", f"c = U(c >> U({fmt.padding_bits}))"]
    if fmt.bits + fmt.padding_bits < fmt.container_bits:
        beyond = f"c > U({(1 << fmt.bits) - 1:#x})"
        lines.append(f"bad = bad | ({beyond})" if fmt.padding_bits else f"bad = {beyond}")
    match fmt:
        case FloatFacts():
            return lines + _FloatLines(fmt, width).decode()
        case IntegerFacts():
            sign = fmt.is_signed << (fmt.bits - 1)  # flip the sign bit, then subtract what it weighs
            return [*lines, f"value = F(I(I(c ^ U({sign})) - I({sign})))"]
        case BookFacts():
            return [*lines, "value = table[c]"]
    raise exact.unknown(fmt)


def fits(fmt: FormatFacts, width: int) -> bool:
    """Whether floats of `width` bits hold every value of `fmt` so that its kernels may work in them."""
    if not isinstance(fmt, FloatFacts) or width == 64:
        return True
    is_fp32 = (fmt.exponent_bits, fmt.bias, fmt.mantissa_bits) == (8, 127, 23)
    return is_fp32 or (fmt.mantissa_bits < 23 and fmt.bias <= 127 and fmt.max_exponent <= 127)


class _FloatLines:
    """The lines for one float format, from or to the bits of IEEE floats of `width` bits.

    The code without its sign is w / 2^h, rounded: for normal results w is the value's bits with the bias moved, h the
    mantissa bits that go; for subnormal ones w is the significand, and h grows by one with every binade below.
    """

    def __init__(self, fmt: FloatFacts, width: int) -> None:
        self.fmt, self.width = fmt, width
        self.mantissa, self.bias = _MANTISSA_AND_BIAS[width]
        self.drop = self.mantissa - fmt.mantissa_bits
        self.lowest = self.bias - fmt.bias + fmt.has_subnormals  # the exponent where the spacing ends to shrink
        self.sign, self.infinity = 1 << (width - 1), (2 * self.bias + 1) << self.mantissa

    def encode(self, rounding: Rounding, overflow: Overflow) -> list[str]:
        if rounding == "nearest_even" and self._has_room_to_add():
            rounded = self._rounded_by_adder()
        else:
            rounded = self._rounded(rounding)
        return [f"a = U(u & U({self.sign - 1:#x}))", *rounded, *self._finished(rounding, overflow)]

    def _has_room_to_add(self) -> bool:
        top_exponent = ((self.fmt.max_code + 1) >> self.fmt.mantissa_bits) - self.fmt.bias
        if not self.fmt.mantissa_bits:
            return False  # ties go to the even code, but the adder looks at the significand, which is always odd
        return self.fmt.has_subnormals and self.lowest > 1 and 0 < self.drop < self.bias - top_exponent

    def _rounded_by_adder(self) -> list[str]:
        """Let the float adder round: next to a number 2^drop times as large, only the kept bits find room."""
        lowest = self.lowest << self.fmt.mantissa_bits
        top = float(self.fmt.magnitude(self.fmt.max_code + 1))
        return [
            f"near = U(minimum(a, U({_place(top, self.width):#x})))",
            f"binade = U(maximum(U(near & U({self.infinity:#x})), U({self.lowest << self.mantissa:#x})))",
            f"large = U(binade + U({self.drop << self.mantissa:#x}))",
            "total = F(near.view(F) + large.view(F)).view(U)",
            f"code = U(U(total - large) + U(U(binade >> U({self.drop})) - U({lowest:#x})))",
        ]

    def _placed(self) -> list[str]:
        """w and h."""
        if not self.fmt.has_subnormals:
            least = f"U({max(self.lowest, 1) << self.mantissa:#x})"
            w = f"U(maximum(a, {least}) - {least})"
            if self.lowest == 0:  # the lowest binade lies in the input's subnormals (E8M0 from float32)
                w = f"where(a < {least}, U(maximum(U(a << U(1)), {least}) - {least}), a)"
            return [f"w = {w}", f"h = U({self.drop})"]
        if self.lowest == 1:
            return ["w = a", f"h = U({self.drop})"]
        return [
            f"e = U(maximum(U(a >> U({self.mantissa})), U(1)))",
            f"below = U(U(maximum(e, U({self.lowest}))) - e)",
            f"normal = U(a - U({(self.lowest - 1) << self.mantissa:#x}))",
            f"w = where(below > U(0), U(a - U(U(e - U(1)) << U({self.mantissa}))), normal)",
            f"h = U(below + U({self.drop}))",
        ]

    def _rounded(self, rounding: Rounding) -> list[str]:
        placed = self._placed()
        if rounding == "nearest_even" and self.drop and len(placed) == 2:  # the usual addition, where h is a constant
            half = (1 << (self.drop - 1)) - 1
            return [*placed, f"code = U(U(U(w + U({half:#x})) + U(U(w >> h) & U(1))) >> h)"]
        most = self.width - 2  # so far below that nothing of w but "not zero" is left
        split = [f"s = U(minimum(h, U({most})))", "code = U(w >> s)", "rest = U(w - U(code << s))"]
        twice, one = "U(rest << U(1))", "U(U(1) << s)"
        match rounding:
            case "nearest_even":
                away = [f"away = ({twice} > {one}) | (({twice} == {one}) & (U(code & U(1)) > U(0)))"]
            case "nearest_away":
                away = [f"away = ({twice} >= {one})"]
            case "toward_zero":
                return placed + split
            case "up":
                away = [f"away = (rest > U(0)) & (u < U({self.sign:#x}))"]
            case "down":
                away = [f"away = (rest > U(0)) & (u > U({self.sign:#x}))"]
            case "stochastic":  # draw / 2^32 < rest / 2^h, on the scale of the draw
                away = [
                    "shift = U(minimum(U(U(maximum(h, U(32))) - U(32)), U(62)))",
                    "chance = U(U(rest + U(U(U(1) << shift) - U(1))) >> shift)",
                    "away = U(draw) < U(chance << U(U(32) - U(minimum(h, U(32)))))",
                ]
        return [*placed, *split, *away, "code = U(code + U(away))"]

    def _finished(self, rounding: Rounding, overflow: Overflow) -> list[str]:
        """Overflow, sign, NaN, padding; and `bad` for what has no code."""
        fmt, most, lines, bad = self.fmt, f"U({self.fmt.max_code:#x})", [], []
        signed = " | sign" if fmt.is_signed else ""
        infinity = f"U({fmt.infinity_code:#x}{signed})" if fmt.infinity_code is not None else None
        nan = f"U({fmt.nan_code:#x}{signed if fmt.top_nans else ''})" if fmt.nan_code is not None else None

        def choose(condition: str, code: str | None) -> None:
            if code is None:
                bad.append(f"({condition})")
            else:
                lines.append(f"code = where({condition}, {code}, code)")

        if overflow == "saturate":
            lines.append(f"code = U(minimum(code, {most}))")
        else:
            finite, negative = f"(a < U({self.infinity:#x}))", f"(u > U({self.sign:#x}))"
            stays = {"toward_zero": finite, "up": f"{finite} & {negative}", "down": f"u < U({self.infinity:#x})"}
            if rounding in stays:  # what lies beyond the largest is rounded back to it
                lines.append(f"code = where({stays[rounding]}, U(minimum(code, {most})), code)")
            lines.append(f"over = code > {most}")
        if least := self._is_below_all():
            lines.append(f"least = {least}")
        if fmt.is_signed:
            sign = f"U(U(u >> U({self.width - 1 - fmt.magnitude_bits})) & U({1 << fmt.magnitude_bits:#x}))"
            lines += [f"sign = {sign}", "code = U(code | sign)"]
            if not fmt.has_negative_zero:
                choose(f"code == U({1 << fmt.magnitude_bits:#x})", "U(0)")
        if overflow == "ieee":
            choose("over", infinity or nan)
        if least and (overflow == "ieee" or not fmt.is_signed):
            choose("least", nan if overflow == "ieee" else "U(0)")
        choose(f"a > U({self.infinity:#x})", nan)
        shift = [f"code = U(code << U({fmt.padding_bits}))"] if fmt.padding_bits else []
        return lines + shift + ([f"bad = {' | '.join(bad)}"] if bad else [])

    def _is_below_all(self) -> str | None:
        """When a value lies below an unsigned format, or is zero where there is no zero."""
        is_zero, is_negative = "(a == U(0))", f"(u >= U({self.sign:#x}))"
        if self.fmt.has_subnormals:
            return None if self.fmt.is_signed else f"{is_negative} & (code > U(0))"
        return is_zero if self.fmt.is_signed else f"{is_zero} | {is_negative}"

    def decode(self) -> list[str]:
        fmt, first = self.fmt, 1 << self.fmt.mantissa_bits
        is_cut_off = (
            self.lowest == 1 and self.infinity >> self.drop == fmt.infinity_code == (1 << fmt.magnitude_bits) - first
        )
        if is_cut_off and fmt.is_signed and fmt.has_negative_zero:  # a float without its last bits: BF16, TF32
            return [f"value = U(c << U({self.drop}))"]
        lines = [
            f"a = U(c & U({(1 << fmt.magnitude_bits) - 1:#x}))",
            f"value = U(U(a << U({self.drop})) + U({(self.bias - fmt.bias) << self.mantissa:#x}))",
        ]
        if fmt.has_subnormals and self.lowest > 1:  # exponent field 0: the significand times the smallest step
            step = 2.0 ** (1 - fmt.bias - fmt.mantissa_bits)
            lines.append(f"value = where(a < U({first:#x}), F(F(I(a)) * F({step!r})).view(U), value)")
        if not fmt.has_subnormals and self.lowest == 0:  # the lowest binade is subnormal as a float
            lines.append(f"value = maximum(value, U(U(a + U({first:#x})) << U({self.drop - 1})))")
        not_a_number = f"U({self.infinity | 1 << (self.mantissa - 1):#x})"
        if fmt.has_infinity:
            lines.append(f"value = where(a == U({fmt.infinity_code:#x}), U({self.infinity:#x}), value)")
        if fmt.top_nans:
            top = (1 << fmt.magnitude_bits) - fmt.top_nans
            lines.append(f"value = where(a >= U({top:#x}), {not_a_number}, value)")
        if fmt.is_signed:
            lines.append(f"value = U(value | U(U(c >> U({fmt.magnitude_bits})) << U({self.width - 1})))")
            if not fmt.has_negative_zero:
                lines.append(f"value = where(c == U({1 << fmt.magnitude_bits:#x}), {not_a_number}, value)")
        return lines


# --- integers and code books -----------------------------------------------------------------------------------------


def _encode_integer(fmt: IntegerFacts, rounding: Rounding, overflow: Overflow) -> list[str]:
    low, high = fmt.min, fmt.max
    away = {"nearest_away": "fabs(x - t) >= F(0.5)", "stochastic": "F(draw) < fabs(x - t) * F(4294967296.0)"}
    rounded = {"nearest_even": "rint(x)", "up": "ceil(x)", "down": "floor(x)"}.get(rounding, "trunc(x)")
    lines = [
        "bad = x != x",
        f"x = where(bad, F(0.0), minimum(maximum(x, F({low - 1}.0)), F({high + 1}.0)))",
        f"t = {rounded}",
    ]
    if rounding in away:
        lines.append(f"t = where({away[rounding]}, t + where(x < F(0.0), F(-1.0), F(1.0)), t)")
    if overflow == "ieee":
        lines.append(f"bad = bad | (t < F({low}.0)) | (t > F({high}.0))")
    return [*lines, f"code = I(minimum(maximum(t, F({low}.0)), F({high}.0))) & I({(1 << fmt.bits) - 1:#x})"]


def _encode_entry(fmt: BookFacts, width: int, rounding: Rounding, overflow: Overflow) -> list[str]:
    """A code is the number of boundaries at or below the value."""
    steps = [f"U(x >= F({_boundary(fmt, code, width, rounding)!r}))" for code in range(1, len(fmt.entries))]
    beyond = f" | (x < F({fmt.min!r})) | (x > F({fmt.max!r}))" if overflow == "ieee" else ""
    return ["bad = (x != x)" + beyond, f"code = {steps[0]}", *(f"code = U(code + {step})" for step in steps[1:])]


def _boundary(fmt: BookFacts, code: int, width: int, rounding: Rounding) -> float:
    """The smallest float of `width` bits that becomes `code`, found by bisection over floats."""
    low, high = (_place(fmt.entries[i], width) for i in (code - 1, code))
    while high - low > 1:
        middle = (low + high) // 2
        is_reached = exact.encode(fmt, _float_at(middle, width), rounding) >= code
        low, high = (low, middle) if is_reached else (middle, high)
    return _float_at(high, width)


def _place(value: float, width: int) -> int:
    """The place of a float among all floats of `width` bits in ascending order; 0 is at 0."""
    bits: int = struct.unpack("<i" if width == 32 else "<q", struct.pack("<f" if width == 32 else "<d", abs(value)))[0]
    return -bits if value < 0 else bits


def _float_at(place: int, width: int) -> float:
    bits = struct.pack("<i" if width == 32 else "<q", abs(place))
    value: float = struct.unpack("<f" if width == 32 else "<d", bits)[0]
    return -value if place < 0 else value
