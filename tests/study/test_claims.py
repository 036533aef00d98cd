"""study/claims: every claim holds, with the compiler and with recordings, and every part of a proof can fail.

A proof that cannot fail proves nothing. So each part is run again in worlds that differ from ours in one fact (WORLDS):
a referee has other codes, the builder took or fused what it does not, the API lost a name, a GPU measured something
else. There it must not hold. A part without a world fails.
"""

import contextlib
import functools
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.nvidia import api as nvidia_api
from trtlab.lab import builds, precision, support
from trtlab.study import bank, claims, witnesses
from trtlab.study.claims import CAN_FAIL, Behind, Claim, counted, find_claim

from .worlds import WORLDS, as_recorded, worlds_of

ALL = claims.claims()
PROVED = [name for name, claim in ALL.items() if claim.proof]
PARTS = [(name, kind, call) for name in PROVED for kind, call in ALL[name].parts()]


IMAGES_NEEDED = functools.cache(precision.images_needed)


@pytest.fixture(autouse=True)
def networks_are_calibrated_once(monkeypatch):
    monkeypatch.setattr(precision, "images_needed", IMAGES_NEEDED)


@pytest.fixture
def world(monkeypatch):
    """A machine without a compiler, whose witnesses are recordings, to be changed. The workflow is the one of here."""
    recorded = support.recorded()
    monkeypatch.setattr(witnesses, "api", nvidia_api.recorded_api)
    monkeypatch.setattr(witnesses, "support", lambda fmt, target: recorded.only([fmt], [target]))
    monkeypatch.setattr(witnesses, "report_on", lambda name: builds.recorded(f"fusion-{name}-SM89"))
    monkeypatch.setattr(witnesses, "built", as_recorded)
    return monkeypatch


# --- as it is --------------------------------------------------------------------------------------------------------


def test_all_items_of_the_sheet_are_there_and_each_says_what_is_true_and_where_in_both_languages():
    assert list(ALL) == [f"C{number:02}" for number in range(1, 92)]
    assert set(ALL) - set(PROVED) == {"C18", "C21"}
    for claim in ALL.values():
        assert claim.source.startswith("https://")
        assert all(words.en.endswith((".", ":")) for words in (claim.said, claim.today))
        assert all(words.zh.endswith(("。", "：")) for words in (claim.said, claim.today))
        assert len(claim.today.en) <= 260
        assert claim.said != claim.today


@pytest.mark.parametrize("name", PROVED)
def test_it_holds_now_and_shows_its_evidence(name):
    claim, found = ALL[name], ALL[name].prove()
    assert found.holds
    assert all(len(row) == len(found.header or claim.header) for row in found.rows)
    shown, cells = claim.shown.filled(found.facts).en, [str(cell) for row in found.rows for cell in row]
    assert not [cell for cell in cells if len(cell) > 30 and cell in shown], "the sentence repeats the table"
    long = re.findall(r"(?<![\w.,])[1-9]\d{4,}(?![\w.])", " ".join([shown, *cells]))
    assert name == "C75" or not [digits for digits in long if set(digits) - {*"01"}], "65,504 has commas"
    assert found.provenance.origin is Origin.LIVE or found.provenance.command


RETIRED = {"优化配置": "optimization profile", "缩放因子": "scale", "码本": "码表", r"(?a:\bflags?\b)": "标志"}


def test_one_thing_has_one_name_in_chinese():
    """In claims, quizzes and questions alike; what stands in backticks is code."""
    for file in bank.WORDS.glob("*/*.yaml"):
        chinese = [line for line in file.read_text("utf-8").splitlines() if re.search("zh:|^ *[\u4e00-\u9fff]", line)]
        said = [re.sub(r"`[^`]*`|\{[^{}]*\}", "", line.partition("zh:")[2] or line) for line in chinese]
        assert [(line, RETIRED[term]) for line in said for term in RETIRED if re.search(term, line)] == [], file


def test_kinds_are_counted_and_what_is_not_there_or_cannot_be_proved_is_said():
    with pytest.raises(bank.UnknownEntry, match=r"no claim 'C7'; did you mean .*C7\d"):
        find_claim("C7")
    with pytest.raises(ValueError, match="C18 is a date or an author"):
        find_claim("C18").prove()
    counts = counted(ALL)
    assert set(counts) == set(Behind)
    assert counted(["C18", "C05"]) == {Behind.COMPUTED: 1, Behind.API: 1, Behind.HISTORY: 1}
    assert sum(counts[kind] for kind in CAN_FAIL) > len(ALL) / 2


def test_a_claim_of_no_kind_is_refused():
    made = {"said": "a.", "today": "b.", "source": "https://c.example", "verdict": "right", "shown": "{one}"}
    written = made | {"proof": {"computed": [{"fields": ["FP16", 1, 5, 10]}]}}
    (claim,) = bank.entries_in(bank.yaml.safe_dump({"X1": written}), "x.yaml", Claim).values()
    assert claim.prove().facts["one"] == "0 01111 0000000000"
    with pytest.raises(bank.UnknownEntry, match="no function of study/truths 'fieldz'; did you mean fields"):
        replace(claim, proof={Behind.COMPUTED: ("fieldz",)}).prove()
    for proof in ({"guessed": ["fp4_values"]}, {"computed": []}, [{"call": "fp4_values"}]):
        with pytest.raises(bank.BadEntry, match=r"x\.yaml, X1, proof"):
            bank.entries_in(bank.yaml.safe_dump({"X1": made | {"proof": proof}}), "x.yaml", Claim)


# --- worlds that refute -----------------------------------------------------------------------------------------------

REFEREES = {"numpy", "scipy", "ml_dtypes", "onnx", "onnxslim", "onnxruntime"}


def is_of_its_kind(kind, made):
    """What is said to be measured comes from a device, computed from a referee that is not ours, built from NVIDIA."""
    named = {name.replace("_", "-") for name, _ in made.versions}
    return {
        Behind.MEASURED: (made.device.startswith("NVIDIA ") and "torch" in named)
        or (made.origin is Origin.LIVE and made.samples >= 5),
        Behind.COMPUTED: bool({name for name, _ in made.versions} & REFEREES) and "tensorrt-rtx" not in named,
        Behind.BUILT: "tensorrt-rtx" in named,
        Behind.API: "tensorrt-rtx" in named,
        Behind.DEFINITION: named == {"onnx"},
        Behind.HISTORY: made.device.startswith("the headers of https://"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "call"), [part[1:] for part in PARTS], ids=[f"{name}-{call.func.__name__}" for name, _, call in PARTS]
)
def test_a_part_of_a_proof_is_of_its_kind_and_fails_in_each_of_its_worlds(kind, call, world):
    found, name = call(), call.func.__name__
    assert found.holds, f"{kind} does not hold here"
    assert is_of_its_kind(kind, found.provenance), f"{name} is no {kind.value}: {found.provenance.line()}"
    worlds = worlds_of(call)
    assert worlds, f"no world refutes {name}: add one to tests/study/worlds.py"
    for number, change in enumerate(worlds):
        with world.context() as inner:
            change(inner)
            with contextlib.suppress(witnesses.NoTruth):
                assert not call().holds, f"{name} holds in its world {number}, too"


def test_every_world_is_of_a_function_that_a_claim_calls():
    assert set(WORLDS) == {call.func.__name__ for *_, call in PARTS}


def leaves(written, *path):
    """(path, value) of all that is written in a part of a proof."""
    if isinstance(written, dict | list):
        for key, value in written.items() if isinstance(written, dict) else enumerate(written):
            yield from leaves(value, *path, key)
    else:
        yield path, written


def put(written, path, value):
    if not path:
        return value
    inner = put(written[path[0]], path[1:], value)
    return written | {path[0]: inner} if isinstance(written, dict) else [
        inner if at == path[0] else each for at, each in enumerate(written)
    ]  # fmt: skip


OTHER = {"declared": "absent", "deprecated": "declared", "absent": "declared"}
WRITTEN = [
    (name, part) for name in PROVED for parts in ALL[name].proof.values() for part in parts if type(part) is dict
]


@pytest.mark.parametrize(("name", "part"), WRITTEN, ids=[f"{name}-{next(iter(part))}" for name, part in WRITTEN])
@pytest.mark.usefixtures("world")
def test_every_word_of_a_proof_matters(name, part):
    """But for the releases that are shown, and names that are said to be missing."""
    for path, value in leaves(part):
        if {"tags", "model", "lacks"} & set(path):
            continue
        other = value + 1 if isinstance(value, int | float) else OTHER.get(value, f"{value}x")
        try:
            found = bank.call(put(part, path, other))()
        except (LookupError, ValueError, CompilerMissing):
            continue
        assert not found.holds, f"{name}: {value} may as well be {other}"


# --- no compiler -----------------------------------------------------------------------------------------------------

BLOCKED = """
import sys
sys.modules |= {"tensorrt": None, "tensorrt_rtx": None}  # as if they were not installed
from trtlab.study.claims import find_claim
for name in sys.argv[1:]:
    print(name, find_claim(name).prove().holds)
"""


@pytest.mark.slow
def test_where_no_compiler_can_be_installed_recordings_prove_what_it_builds():
    asked = [name for name in PROVED if {Behind.BUILT, Behind.API} & set(ALL[name].behind)]
    command = [sys.executable, "-c", BLOCKED, *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for name in asked for word in (name, "True")]
