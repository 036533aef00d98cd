"""study/claims/formats: C01 to C23 hold, with the compiler and with recordings, and every proof can fail.

Each is run again in worlds that differ in one fact: the builder took what it refuses, or refused what it takes; the API
has lost or gained a type; a header never had one; a format has other bits.
"""

import functools
from dataclasses import replace

import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin
from trtlab.lab import history as api_history
from trtlab.lab.history import Declared
from trtlab.lab.support import Cell, Support, recorded
from trtlab.numeric import FORMATS, CodeBook, FloatFormat, IntegerFormat, quantize
from trtlab.study.claims import Verdict, find_claim, formats, observed

HISTORY = ("C18", "C21")
EVERY = [f"C{number:02}" for number in range(1, 24)]
PROVED = [name for name in EVERY if name not in HISTORY]
BUILT = ["C01", "C03", "C04", "C06", "C08", "C09", "C10", "C11", "C14", "C20", "C23"]


@pytest.fixture
def world(monkeypatch):
    """A machine without a compiler, to be changed."""
    matrix = recorded()
    monkeypatch.setattr(formats, "_support", lambda fmt, target: matrix.only([fmt], [target]))
    monkeypatch.setattr(formats, "_default_flags", lambda: recordings.load("digits-FP32-SM89-static").flags)
    monkeypatch.setattr(observed, "api", recordings.load_api)
    monkeypatch.setattr(observed, "history", api_history.load)
    return monkeypatch


def holds(name):
    return find_claim(name).prove().holds


# --- as it is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_claim_says_what_was_said_what_is_true_and_where(name):
    claim = find_claim(name)
    assert type(claim.verdict) is Verdict
    assert claim.said.endswith(".")
    assert claim.today.endswith(".")
    assert claim.source.startswith("https://")
    assert max(len(claim.said), len(claim.today)) <= 160
    assert (claim.prove is None) == (name in HISTORY)


@pytest.mark.parametrize("name", PROVED)
def test_it_holds_now_and_shows_its_evidence(name):
    evidence = find_claim(name).prove()
    assert evidence.holds
    assert evidence.shown.endswith((".", ":"))
    assert evidence.provenance.origin in (Origin.LIVE, Origin.RECORDED)
    assert all(len(row) == len(evidence.header) for row in evidence.rows)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", PROVED)
def test_it_holds_where_no_compiler_can_be_installed(name):
    assert holds(name)


# --- worlds with another builder -------------------------------------------------------------------------------------


def asked(name, world):
    """The cells of the matrix that a proof looks at."""
    found, support = [], formats._support
    world.setattr(formats, "_support", lambda *pair: (found.append(pair), support(*pair))[1])
    assert holds(name)
    world.setattr(formats, "_support", support)
    return list(dict.fromkeys(found))


def with_cell(world, changed):
    """The recorded matrix with one cell exchanged."""
    matrix = recorded()

    def support(fmt, target):
        cell = changed if (fmt, target) == (changed.format, changed.target) else matrix.cell(fmt, target)
        return Support(cells=(cell,), provenance=matrix.provenance)

    world.setattr(formats, "_support", support)


def test_these_and_no_others_ask_the_builder(world):
    assert [name for name in PROVED if asked(name, world)] == BUILT


@pytest.mark.parametrize("name", BUILT)
def test_every_word_of_the_builder_matters(name, world):
    for fmt, target in asked(name, world):
        was = recorded().cell(fmt, target)
        refused = Cell(format=fmt, target=target, refusal="not today", by="builder")
        other = replace(was, stored="Odd", reads=("Odd", "Odd"), kernels=("odd",), weights_bytes=2**20, refusal="")
        for changed in [refused] if (name, was.is_accepted) == ("C14", True) else [refused, other]:
            with_cell(world, changed)
            counted = name == "C10" and fmt == "FP16" and changed is other  # only its bytes are looked at
            assert counted or not holds(name), f"{fmt} on {target}: {changed.said} makes no difference"


def test_c10_counts_bytes(world):
    cell = recorded().cell("INT4", "SM89")
    with_cell(world, replace(cell, weights_bytes=65536))
    assert not holds("C10")


@pytest.mark.parametrize("flags", [(), ("TF32", "FP16")])
def test_c20_asks_for_the_default_flags(flags, world):
    world.setattr(formats, "_default_flags", lambda: flags)
    assert not holds("C20")


# --- worlds with another API or history ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "types"),
    [("C01", "FLOAT FP64"), ("C01", ""), ("C04", "HALF"), ("C05", "FLOAT"), ("C23", "INT4 FP4 NF4")],
)
def test_types_of_the_api_matter(name, types, world):
    api = recordings.load_api()
    world.setattr(observed, "api", lambda: replace(api, names=api.names | {"DataType": tuple(types.split())}))
    assert holds(name) is (name == "C01" and not types)  # no type at all is none too many; the headers have the twelve
    world.setattr(observed, "api", lambda: replace(api, names={}))
    assert not holds(name)


@pytest.mark.parametrize("name", ["C01", "C14"])
def test_a_type_that_was_never_there_refutes_the_claim(name, world):
    history = api_history.load()
    types = [each for each in history.names if each.startswith("DataType::")]
    refuting = []
    for each in types:
        names = history.names | {each: dict.fromkeys(history.tags, Declared.NO)}
        world.setattr(observed, "history", lambda names=names: replace(history, names=names))
        refuting += [] if holds(name) else [each.removeprefix("DataType::k")]
    assert refuting == (formats._TWELVE if name == "C01" else ["INT32", "BOOL", "UINT8", "INT64", "E8M0"])


# --- worlds with other numbers ---------------------------------------------------------------------------------------


def other(name, **facts):
    return replace(FORMATS[name], **facts)


UNIFORM = CodeBook(name="NF4", entries=[k / 8 for k in range(-8, 8)])
OTHER_BITS = [
    ("C02", "TF32", other("TF32", mantissa_bits=11)),
    ("C03", "FP64", other("FP64", mantissa_bits=51)),
    ("C04", "FP32", other("FP32", mantissa_bits=22)),
    ("C05", "FP16", other("FP16", exponent_bits=6, mantissa_bits=9)),
    ("C06", "BF16", other("BF16", mantissa_bits=8)),
    ("C07", "FP8_E4M3", other("FP8_E4M3", has_infinity=True)),
    ("C07", "FP8_E4M3_IEEE", other("FP8_E4M3_IEEE", bias=8)),
    ("C08", "FP8_E5M2", other("FP8_E5M2", top_nans=1)),
    ("C09", "INT8", IntegerFormat(bits=8, is_signed=False)),
    ("C10", "INT4", IntegerFormat(bits=4, is_signed=False)),
    ("C11", "FP4_E2M1", other("FP4_E2M1", bias=2)),
    ("C11", "FP4_E2M1", FloatFormat(exponent_bits=2, mantissa_bits=1)),
    ("C12", "NF4", FORMATS["FP4_E2M1"]),
    ("C13", "TF32", other("TF32", mantissa_bits=9)),
    ("C13", "FP16", FORMATS["BF16"]),
    ("C15", "BF16", FORMATS["FP16"]),
    ("C16", "BF16", FORMATS["FP16"]),
    ("C17", "BF16", FORMATS["FP16"]),
    ("C17", "FP16", other("FP16", mantissa_bits=9)),
    ("C19", "TF32", other("TF32", padding_bits=12, mantissa_bits=11)),
    ("C19", "TF32", FORMATS["FP32"]),
    ("C20", "TF32", other("TF32", mantissa_bits=9)),
    ("C20", "FP32", FORMATS["FP16"]),
    ("C22", "NF4", UNIFORM),
    ("C22", "INT4", FORMATS["NF4"]),
]


@pytest.mark.parametrize(("name", "fmt", "changed"), OTHER_BITS)
def test_other_bits_refute_the_claim(name, fmt, changed, world):
    known = FORMATS | {fmt: changed}
    world.setattr(formats, "_fmt", known.__getitem__)
    assert not holds(name)


def test_every_computed_claim_has_a_world_that_refutes_it():
    assert {name for name, *_ in OTHER_BITS} | set(BUILT) == set(PROVED)


def test_c10_knows_which_half_comes_first(world):
    pack = quantize.pack
    world.setattr(quantize, "pack", lambda codes: pack(codes[::-1]))
    assert not holds("C10")


def test_proofs_build_a_product_once(monkeypatch):
    from trtlab.lab import support

    calls = []
    fake = functools.partial(lambda formats, target: calls.append((*formats, target)) or recorded())
    monkeypatch.setattr(support, "matrix", fake)
    formats._support.cache_clear()
    try:
        assert formats._cell("NF4", "SM75") == formats._cell("NF4", "SM75")
    finally:
        formats._support.cache_clear()
    assert calls == [("NF4", "SM75")]
