"""The bit editor's Python side: what it says of every code is compared with arithmetic done here."""

import bisect
import json
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtlab.numeric import FORMATS, CodeBook, FloatFormat, IntegerFormat, exact
from trtlab.numeric.exact import Special, as_fraction, encode, real
from trtlab.teach import BitEditor
from trtlab.teach.bits import Held, code_from_text, describe, verdict
from trtlab.teach.bitwords import decimal_parts, exact_forms, formula, number_text, relative_text, weights
from trtlab.teach.formats import has_codes

from .markup import alike

OWN = FloatFormat(exponent_bits=3, mantissa_bits=2, bias=2, has_infinity=False, has_negative_zero=False)
ODD = FloatFormat(name="ODD", exponent_bits=3, mantissa_bits=1, has_subnormals=False)  # signed, and no zero
BARE = FloatFormat(name="BARE", exponent_bits=3, mantissa_bits=0, bias=-2, has_infinity=False, top_nans=0)
PADDED = FloatFormat(name="PADDED", exponent_bits=2, mantissa_bits=1, padding_bits=3)
WITH_CODES = {name: fmt for name, fmt in FORMATS.items() if has_codes(fmt)}
WITH_CODES |= {"own": OWN, "odd": ODD, "bare": BARE, "padded": PADDED}
SMALL = {name: fmt for name, fmt in WITH_CODES.items() if fmt.bits <= 8}
LARGE = {name: fmt for name, fmt in WITH_CODES.items() if fmt.bits > 8}


def codes_of(fmt):
    """Every code of a small format; of a large one those around every power of two of codes."""
    if fmt.bits <= 8:
        return fmt.all_codes().tolist()
    near = {(1 << k) + d for k in range(fmt.bits + 1) for d in (-2, -1, 0, 1)} | {0x3FD5555555555555}
    return sorted(code << fmt.padding_bits for code in near if 0 <= code < 1 << fmt.bits)


def decode(fmt, code):
    return exact.decode(fmt, code).value


def value_of(fmt, code):
    """The code's value as a fraction, None for infinity and NaN."""
    return as_fraction(decode(fmt, code))


def send(editor, **message):
    """As the page sends it."""
    editor._handle_custom_msg(message, [])
    return editor.shown


def evaluated(line):
    """The fraction that a line of the formula comes to, by Python's own arithmetic."""
    text, raised = "", False
    for part, _, is_raised in line:
        text += ("" if is_raised == raised else "**(" if is_raised else ")") + part
        raised = is_raised
    text = text.translate(str.maketrans({"×": "*", "·": "*", "−": "-"}))
    return eval(re.sub(r"\d+", r"F(\g<0>)", text + ")" * raised), {"F": Fraction})


# --- every code -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_CODES)
def test_the_formula_comes_to_the_value_of_every_code(name):
    fmt = WITH_CODES[name]
    for code in codes_of(fmt):
        first, value = formula(exact.decode(fmt, code))[0], decode(fmt, code)
        text = "".join(part for part, _, _ in first)
        if not isinstance(value, Fraction) and value is not Special.NEGATIVE_ZERO:
            assert text.endswith(number_text(value))
        elif isinstance(fmt, CodeBook):
            assert text == f"table[{code}] = {number_text(value, 12)}"
        else:
            assert evaluated([part for part in first if not part[0].startswith("= ")]) == value_of(fmt, code)


@pytest.mark.parametrize("name", SMALL)
def test_neighbours_are_the_next_values_of_the_whole_format(name):
    fmt = SMALL[name]
    infinity = {Special.INFINITY: Fraction(10**9), Special.NEGATIVE_INFINITY: Fraction(-(10**9))}
    values = {c: infinity.get(decode(fmt, c), value_of(fmt, c)) for c in codes_of(fmt)}
    ladder = sorted({v for v in values.values() if v is not None})
    for code, value in values.items():
        below, above = (exact.decode(fmt, code).neighbour(step) for step in (-1, 1))
        at = bisect.bisect_left(ladder, value) if value is not None else None
        assert values.get(below) == (ladder[at - 1] if at else None)
        assert values.get(above) == (ladder[at + 1] if at is not None and at + 1 < len(ladder) else None)
        if isinstance(fmt, CodeBook):
            low = min(at, len(ladder) - 2)
            assert exact.decode(fmt, code).ulp == ladder[low + 1] - ladder[low]
        elif value is not None and 0 <= value < fmt.max:
            assert exact.decode(fmt, code).ulp == ladder[at + 1] - value


@pytest.mark.parametrize("name", WITH_CODES)
def test_everything_said_of_a_code_is_consistent_and_can_be_sent(name):
    fmt, generator = WITH_CODES[name], np.random.default_rng(0)
    for code in codes_of(fmt)[::9]:
        held = Held(fmt=fmt, code=code, target=decode(fmt, code), overflow="ieee")
        shown = describe(held, [("FP64", FORMATS["FP64"])], generator)
        assert json.loads(json.dumps(shown))["code"] == shown["code"]
        assert int(shown["code"], 16) == int(shown["dec"]) == int(shown["bin"].replace(" ", ""), 2) == code
        assert [len(part) for part in shown["bin"].split()] == [width for _, width in fmt.fields]
        assert len(shown["readings"]) == len(fmt.fields)
        if decode(fmt, code) is not Special.NAN:
            assert decode(fmt, encode(fmt, shown["entry"], overflow="ieee")) == decode(fmt, code), "it reads back"
        assert shown["error"]["kind"] == "exact"
        assert shown["rows"][0][5] == "exact", "FP64 holds every value of every format"


@pytest.mark.parametrize("name", [name for name, fmt in WITH_CODES.items() if not isinstance(fmt, CodeBook)])
def test_the_weights_add_up(name):
    fmt = WITH_CODES[name]
    kinds = [kind for kind, width in fmt.fields for _ in range(width)]
    numbers = [
        evaluated([(re.sub("2([⁻⁰-⁹¹²³]+)", _lowered, w), "", False)]) if w.strip("±") else 0 for w in weights(fmt)
    ]
    sums = {kind: sum(n for k, n in zip(kinds, numbers, strict=True) if k == kind) for kind in kinds}
    if isinstance(fmt, IntegerFormat):
        assert (sums["value"], sums.get("sign", 0)) == (fmt.max, fmt.min)
    else:
        assert sums["exponent"] == (1 << fmt.exponent_bits) - 1
        assert sums.get("mantissa", 0) == 1 - Fraction(1, 1 << fmt.mantissa_bits)


def _lowered(found):
    return "2**(" + found[1].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) + ")"


# --- numbers as text ------------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_exact_decimal_and_the_exact_forms_are_exact(number):
    value = Fraction(number)
    full = decimal_parts(value)[-1]
    assert "…" not in full
    assert Fraction(full.replace("−", "-").replace(",", "")) == value
    for form in exact_forms(value):
        plain = re.sub("2([⁻⁰-⁹¹²³]+)", _lowered, form.replace("−", "-").replace("×", "*"))
        if "x" in form:
            assert Fraction(float.fromhex(plain)) == value
        else:
            sign, plain = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
            plain = re.sub(r"(?<![-0-9])[0-9]+", r"F(0+\g<0>)", plain)
            assert eval(f"{sign}({plain})", {"F": Fraction}) == value


@given(st.fractions(min_value=-(10**30), max_value=10**30), st.integers(1, 17))
def test_shortened_numbers_say_so(value, digits):
    text = number_text(value, digits)
    mantissa, _, exponent = text.replace("−", "-").replace(",", "").partition("e")
    shown = Fraction(mantissa.rstrip("…").replace("…", "")) * Fraction(10) ** int(exponent or 0)
    assert (shown == value) == ("…" not in text)
    assert abs(shown) <= abs(value)
    assert value == 0 or abs(value - shown) < Fraction(10) ** (1 - digits) * abs(value)


def test_numbers_look_like_this():
    values = {
        "1/3": "0.33333333333333333…",
        "-65504.5": "−65,504.5",
        "1e300": "1e300",
        "-0.00001": "−1e−5",
        "nan": "NaN",
        "-inf": "−∞",
    }
    assert {value: number_text(real(value)) for value in values} == values
    third = Fraction(1, 3)
    assert relative_text(third, Fraction(11, 32)) == "3.12%"
    assert relative_text(third, Fraction(1, 3) + Fraction(1, 10**9)) == "3e−9"
    assert (relative_text(third, third), relative_text(Fraction(0), third)) == ("0", "–")


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "overflow", "kind", "words"),
    [
        ("FP8_E4M3", "448", "saturate", "exact", "exact"), ("FP8_E4M3", "460", "saturate", "rounded", "rounded"),
        ("FP8_E4M3", "464.1", "saturate", "lost", "saturates"),
        ("FP8_E4M3", "464.1", "ieee", "lost", "overflows to NaN"),
        ("FP8_E4M3", "inf", "saturate", "lost", "saturates"), ("FP8_E4M3", "inf", "ieee", "lost", "∞ becomes NaN"),
        ("FP16", "65520", "ieee", "lost", "overflows to ∞"), ("FP16", "65519", "ieee", "rounded", "rounded"),
        ("FP16", "-inf", "ieee", "exact", "exact"), ("FP16", "1e-9", "saturate", "lost", "underflows"),
        ("FP16", "1e-7", "saturate", "small", "subnormal"),
        ("FP8_E4M3_FNUZ", "-0", "saturate", "rounded", "loses −0's sign"),
        ("E8M0", "0", "saturate", "lost", "no zero"), ("E8M0", "-2", "saturate", "lost", "no negatives"),
        ("E8M0", "1e-50", "saturate", "lost", "below the smallest"), ("E8M0", "-2", "ieee", "lost", "becomes NaN"),
        ("UINT8", "-2", "saturate", "lost", "no negatives"), ("INT8", "127.4", "saturate", "rounded", "rounded"),
        ("INT8", "128", "saturate", "lost", "saturates"), ("INT8", "0.4", "saturate", "lost", "rounds to 0"),
        ("NF4", "0.3", "saturate", "rounded", "rounded"),
    ],
)  # fmt: skip
def test_verdicts(name, value, overflow, kind, words):
    editor = BitEditor(name, value, overflow=overflow)
    assert (editor.shown["error"]["kind"], editor.shown["error"]["words"]) == (kind, words)


@pytest.mark.parametrize("rounding", ["toward_zero", "down", "stochastic"])
def test_what_lies_a_step_beyond_the_largest_value_is_lost_however_it_is_rounded(rounding):
    for value, words in ((65504 + 31, "rounded"), (65504 + 32, "saturates"), (1e9, "saturates")):
        if (rounding, words) != ("stochastic", "rounded"):
            shown = BitEditor("FP16", value, rounding=rounding, overflow="saturate").shown
            assert (shown["value"], shown["error"]["words"]) == ("65,504", words)


@pytest.mark.parametrize("name", SMALL)
def test_saturates_is_said_exactly_where_ieee_overflow_would_differ(name):
    fmt = SMALL[name]
    for code in codes_of(fmt)[:: 1 + fmt.bits // 8]:
        for factor in (Fraction(17, 16), Fraction(5, 2)):
            target = (value_of(fmt, code) or 0) * factor
            if target == 0 or target < min(fmt.min, 0) * 3 or abs(target) < Fraction(fmt.min):
                continue
            held = Held(fmt=fmt, code=encode(fmt, target), target=target)
            try:
                differs = encode(fmt, target, overflow="ieee") != held.code
            except ValueError:
                differs = True
            assert (verdict(held)[1] == "saturates") == differs, (target, verdict(held))


def test_errors_are_measured_exactly():
    shown = BitEditor("FP8_E4M3", "1/3").shown
    error, around = shown["error"], shown["around"]
    assert [error[w] for w in ("absolute", "relative", "steps")] == ["+0.0104", "3.12%", "0.333"]
    assert (around["below"]["value"], around["above"]["value"]) == ("0.3125", "0.375")
    assert around["target"] == pytest.approx(1 / 3)
    assert BitEditor("FP8_E4M3", "1.5").shown["around"]["target"] is None


# --- the editor -----------------------------------------------------------------------------------------------------


def test_python_reads_and_sets_code_and_value_and_the_entry_says_what_was_asked_for():
    editor, seen = BitEditor("FP16", "1.5"), []
    editor.observe(lambda change: seen.append(change.new["code"]), "shown")
    assert (editor.code, editor.value, editor.format) == (0x3E00, Fraction(3, 2), FORMATS["FP16"])
    editor.code = 0x3C01
    assert editor.value == 1 + Fraction(1, 1024)
    editor.value = np.float32(70000)
    assert (editor.code, editor.value) == (0x7C00, Special.INFINITY)
    assert len(seen) == 2
    modes = {"rounding": "toward_zero", "overflow": "ieee"}
    assert BitEditor("FP16", 70000, **modes).code == BitEditor("FP16", 70000, overflow="saturate").code == 0x7BFF
    entries = {0.1: "0.1", Fraction(1, 3): "1/3", 2**53 + 1: "9007199254740993", 10**400: "1e400", -np.inf: "-inf"}
    assert {value: BitEditor("FP16", value).shown["entry"] for value in entries} == entries


KINDS = {"zero": 0x00, "subnormal": 0x01, "normal": 0x04, "infinity": 0x7C, "NaN": 0x7D}


REASONS = {
    ("FP16", 0xFC00): "Exponent all ones, mantissa zero: −∞", ("FP8_E4M3", 0xFF): "The highest code of each sign: NaN",
    ("FP8_E4M3_FNUZ", 0x80): "The code that would be −0: NaN",
}  # fmt: skip


def test_codes_have_a_kind_and_special_ones_say_why():
    for (name, code), why in REASONS.items():
        assert formula(exact.decode(FORMATS[name], code)) == [[(why, "", False)]]
    assert {kind: exact.decode(FORMATS["FP8_E5M2"], code).kind for kind, code in KINDS.items()} == {k: k for k in KINDS}
    kinds = {"INT8": "integer", "NF4": "table entry", "E8M0": "normal"}
    assert {name: exact.decode(FORMATS[name], 3).kind for name in kinds} == kinds


def test_64_bit_codes_and_numbers_are_exact():
    editor = BitEditor("FP64", 2**53 + 1)
    assert (editor.value, editor.shown["error"]["absolute"], editor.shown["error"]["steps"]) == (2**53, "−1", "0.5")
    assert send(editor, hex="ffff ffff_ffff FFFF")["kind"] == "NaN"


@pytest.mark.parametrize("name", WITH_CODES)
def test_notable_codes_are_what_they_are_called(name):
    fmt = WITH_CODES[name]
    found = {
        label: int(code, 16) for labels, code in BitEditor(fmt, 1).face["notable"] for label in labels.split(" = ")
    }
    values = {label: decode(fmt, code) for label, code in found.items()}
    wanted = {"0": 0, "1": 1, "max": fmt.max, "∞": Special.INFINITY, "NaN": Special.NAN}
    wanted["min"] = None if isinstance(fmt, FloatFormat) else fmt.min
    wanted |= {label: getattr(fmt, label.replace(" ", "_"), None) for label in ("min normal", "min subnormal")}
    for code in codes_of(fmt):  # whatever the format can say is offered
        wanted_here = [label for label, value in wanted.items() if value is not None and value == decode(fmt, code)]
        assert set(wanted_here) <= set(values)
    assert all(values[label] == wanted[label] for label in values)


def test_an_own_format_has_a_name_and_a_row():
    editor = BitEditor(OWN, "3.7", formats=["FP16", "INT8"])
    assert [row[0] for row in editor.shown["rows"]] == ["E3M2", "FP16", "INT8"]
    assert editor.value == decode(OWN, encode(OWN, "3.7"))
    assert send(editor, format="FP16")["rows"][1][5] == "rounded"
    assert editor.format is FORMATS["FP16"]
    infinity = send(editor, code="0x7c00")["rows"]
    assert infinity[1][1:3] + infinity[1][5:] == ["0x7c00", "∞", "exact"], "the row of the format is the code at hand"
    assert infinity[2][5] == "saturates"


def test_wrong_arguments_say_what_is_there_and_change_nothing():
    twin = FloatFormat(exponent_bits=3, mantissa_bits=2, bias=7)
    for arguments, error, message in (
        (("FP7",), KeyError, "'FP7'; there are FP64, FP32"),
        (("NVFP4",), TypeError, "NVFP4 has no codes of its own; take its element format"),
        (("INT8", float("nan")), ValueError, "INT8 has no NaN"),
        ((OWN, "1", [twin]), ValueError, "two formats are called E3M2; give yours a name of its own"),
        (("FP16", "1", None, "odd"), ValueError, "rounding is one of nearest_even, .* got 'odd'"),
    ):
        with pytest.raises(error, match=message):
            BitEditor(*arguments[:2], **dict(zip(("formats", "rounding"), arguments[2:], strict=False)))
    editor = BitEditor("FP8_E4M3", "nan")
    for name, value, error in (("code", 256, ValueError), ("code", 1.0, TypeError), ("value", "x", ValueError)):
        with pytest.raises(error, match=r"codes 0 to 0xff: got 0x100|float|no number"):
            setattr(editor, name, value)
    assert editor.code == 0x7F


def test_stochastic_rounding_draws_anew():
    editor = BitEditor("INT8", "0.5", rounding="stochastic")
    assert {send(editor, value="0.5")["code"] for _ in range(20)} == {"0x00", "0x01"}


# --- messages -------------------------------------------------------------------------------------------------------


def test_a_flip_is_answered_by_one_message(monkeypatch):
    editor, sent = BitEditor("FP8_E4M3", "1.5"), []
    monkeypatch.setattr(editor, "_send", lambda message, **_buffers: sent.append(message))
    send(editor, code="0x3d")
    (message,) = sent
    assert set(message["state"]) == {"shown"}, "what the format fixes is not sent again"
    assert message["state"]["shown"]["value"] == "1.625"
    send(editor, code="0x3d")
    assert len(sent) == 1, "the same answer is not sent twice"
    send(editor, code="0x3c", format="FP16", value="2")
    assert set(sent[1]["state"]) == {"face", "shown"}
    assert (editor.value, editor.format, len(sent)) == (2, FORMATS["FP16"], 2)


@pytest.mark.parametrize(
    ("message", "at", "text"),
    [
        ({"value": "1,5"}, "value", "no number: '1,5'; expected decimal (1.5e-3), a fraction (1/3)"),
        ({"value": "nan"}, "value", "INT8 has no NaN"),
        ({"hex": "1ff"}, "hex", "INT8 has codes 0 to 0xff: got 0x1ff"),
        ({"dec": "-1"}, "dec", "INT8 has codes 0 to 0xff: got -0x1"),
        ({"bin": "12"}, "bin", "no binary code: '12'; expected digits 0 to 1"),
        ({"hex": "x" * 200}, "hex", "no hexadecimal code"), ({"code": "0x100"}, "value", "INT8 has codes 0 to 0xff"),
    ],
)  # fmt: skip
def test_a_refusal_is_a_sentence_beside_its_entry_and_changes_nothing(message, at, text):
    editor = BitEditor("INT8", "7")
    shown = send(editor, **message)
    assert (shown["refusal"]["at"], editor.code) == (at, 7)
    assert shown["refusal"]["text"].startswith(text)
    assert send(editor, code="0x08")["refusal"] == {}


def test_overflow_is_the_usual_one_of_each_format_until_it_is_chosen():
    usual = {name: BitEditor(name, "1e400").shown["value"] for name in ("FP64", "FP32", "TF32", "FP16", "BF16")}
    assert set(usual.values()) == {"∞"}
    editor = BitEditor("FP16", "1e400")
    rows = {row[0]: (row[2], row[5]) for row in editor.shown["rows"]}
    assert (rows["FP32"], rows["FP8_E4M3"]) == (("∞", "overflows to ∞"), ("448", "saturates"))
    send(editor, rounding="up")
    shown = send(editor, format="FP8_E5M2")
    assert (shown["overflow"], shown["value"]) == ("saturate", "57,344")
    send(editor, overflow="ieee")
    shown = send(editor, format="FP8_E4M3")
    assert (shown["overflow"], shown["kind"]) == ("ieee", "NaN")


def test_a_format_without_the_number_starts_at_zero_and_says_why():
    editor = BitEditor("FP16", "nan")
    shown = send(editor, format="FP4_E2M1")
    assert (editor.format.name, editor.code) == ("FP4_E2M1", 0)
    assert "FP4_E2M1 has no NaN" in shown["refusal"]["text"]
    send(editor, format="INT8", value="1000")
    shown = send(editor, rounding="up", overflow="ieee")
    assert (shown["overflow"], editor.code) == ("ieee", 127)
    assert "neither infinity nor NaN" in shown["refusal"]["text"]


def test_a_code_as_long_as_a_book_is_refused_in_a_line():
    assert len(send(BitEditor("FP16", 1), bin="1" * 20_000)["refusal"]["text"]) < 120


def test_other_messages_and_cleared_entries_change_nothing():
    editor = BitEditor("INT8", "7")
    cleared = {"value": " "}, {"hex": " "}
    for message in ("text", None, {}, {"dance": "x"}, {"format": "x"}, {"rounding": "odd"}, *cleared):
        editor._handle_custom_msg(message, [])
        assert (editor.code, editor.shown["refusal"]) == (7, {})


EDITORS = {name: BitEditor(fmt, 1, formats=["FP16"]) for name, fmt in WITH_CODES.items()}
TEXTS = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?(e[+-]?[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"-?(0x[0-9a-f]{0,9}\.?[0-9a-f]{0,4}(p-?[0-9]{1,4})?|[0-9]{1,4}/[0-9]{1,4}|inf|nan)", fullmatch=True),
)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(EDITORS)), text=TEXTS)
def test_any_text_is_a_number_or_a_sentence(name, text):
    editor, fmt = EDITORS[name], WITH_CODES[name]
    before, shown = editor.code, send(EDITORS[name], value=text)
    try:
        wanted = encode(fmt, real(text), overflow=shown["overflow"])
    except ValueError:
        at = "value" if text.strip() else None  # a cleared entry is quiet
        assert (shown["refusal"].get("at"), editor.code) == (at, before)
        return
    assert (shown["refusal"], editor.code, shown["entry"]) == ({}, wanted, text.strip())


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(EDITORS)), data=st.data())
def test_codes_survive_every_entry(name, data):
    editor, fmt = EDITORS[name], WITH_CODES[name]
    code = data.draw(st.integers(0, (1 << fmt.bits) - 1)) << fmt.padding_bits
    shown = send(editor, code=hex(code))
    for base in ("hex", "bin", "dec"):
        text = shown["code"] if base == "hex" else shown[base]
        assert code_from_text(text, base) == code
        send(editor, code="0x0")
        assert send(editor, **{base: text})["refusal"] == {}
        assert editor.code == code


def test_a_flip_gives_up_what_was_typed():
    shown = send(BitEditor("FP8_E4M3", "1/3"), code="0x2c")
    assert (shown["entry"], shown["error"]["target"], shown["error"]["kind"]) == ("0.375", "0.375", "exact")


# --- without a kernel -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "first"), [("TF32", "sign"), ("INT8", "top bit, −128"), ("NF4", "index")])
def test_the_picture_and_the_words_say_what_the_editor_says(name, first):
    editor, fmt = BitEditor(name, "1.3"), FORMATS[name]
    drawing, shown = editor.static(), editor.shown
    assert editor.face["names"][0] == first, "two's complement has no sign field"
    rows = [word for row in shown["rows"] for word in row[:4] if word]
    page = alike(drawing, name, first, shown["value"], shown["kind"], *shown["readings"], *shown["bin"].split(), *rows)
    boxes = [attributes for tag, attributes in page.tags if tag == "rect" and "fill-opacity" in attributes]
    assert len(boxes) == fmt.bits + fmt.padding_bits
    assert "".join("1" if box["fill-opacity"] == "1" else "0" for box in boxes) == shown["bin"].replace(" ", "")
