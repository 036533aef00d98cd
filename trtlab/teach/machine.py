"""teach/machine: what is there: this machine, the promise of badges, notebooks, NVIDIA's calls, formats that are taken.

In: a `Machine`, lessons, calls with the recorded headers and the installed module, a `Support` built now or recorded, a
model to be refused. Out: `Drawing`s.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trtlab.engine.machine import Machine
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import CompilerError, explain, installed_api
from trtlab.lab import support
from trtlab.lab.support import ApiHistory, Declared
from trtlab.numeric import FORMATS
from trtlab.numeric.units import bytes_text, counted
from trtlab.study import bank
from trtlab.study.bank import said
from trtlab.study.curriculum import scores
from trtlab.study.questions import CALLS, Call, terms
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, bilingual, both
from trtlab.teach.tables import draw_engine, draw_error

SHOWN_TAGS = ("v8.6.1", "v10.0.0", "v10.12.0", "v11.1")
_KIND = {Declared.YES: "done", Declared.DEPRECATED: "stood", Declared.NO: "not"}
TAKEN = "Taken means: the builder made a plan for that target. No GPU ran it."
_STORED = "← names how weights are stored where the product reads another type."


def draw_machine(machine: Machine) -> Drawing:
    """What this machine can do: build, execute, and with what."""
    gpu = ", ".join(f"{g.name} ({g.target})" for g in machine.driver.gpus) or "none"
    compiler, instead = f"{machine.compiler} for {', '.join(machine.targets)}", "recordings stand in"
    can_not = f"{machine.why_not_execute}; ONNX Runtime stands in"
    found = ui.facts(
        ("Build TensorRT plans?", *(("yes", compiler, "yes") if machine.can_build else ("no", instead, "no"))),
        ("Execute them?", *(("yes", gpu, "yes") if machine.can_execute else ("no", can_not, "no"))),
        ("Processor", counted(machine.cores, "core"), f"{machine.processor}; {' '.join(machine.isa)}"),
        ("Memory", bytes_text(machine.memory_bytes), f"{machine.system}, Python {machine.python}"),
        ("GPU", gpu, machine.driver.why_not or f"CUDA driver {machine.driver.version}"),
    )
    rows = [(lib.name, lib.version, "yes" if lib.usable else "no", lib.why_not or "") for lib in machine.libraries]
    libraries = ui.details("Libraries", ui.table(("library", "version", "usable", "why not"), rows))
    return ui.card(found, libraries, head=[ui.bold("This machine"), ui.badge(Origin.LIVE.value)])


def draw_badges() -> Drawing:
    """What LIVE, RECORDED and SIMULATED promise."""
    return _titled("badges", "badge promise", [(ui.badge(o.value), both(said(o.value.lower()))) for o in Origin])


def draw_progress(folder: Path) -> Drawing:
    """The quizzes that were answered on this machine, for each notebook in `folder` that asks some, and how well."""
    rows = [(ui.link(name, f"{name}.ipynb"), *numbers) for name, *numbers in scores(folder)]
    foot = [both(said("progress_kept"))]
    return _titled("progress", "notebook quizzes answered right_at_last right_at_first", rows, foot=foot)


def _titled(title: str, columns: str, rows: Iterable[Any], **options: Any) -> Drawing:
    """A table under a title and heads in both languages."""
    table = ui.table([both(said(f"column_{column}")) for column in columns.split()], rows)
    return bilingual(ui.card(table, head=[ui.bold(both(said(title)))], **options))


# --- NVIDIA's API -----------------------------------------------------------------------------------------------------


def draw_calls(calls: Iterable[Call] = CALLS) -> Drawing:
    """Said then, say now: each old name by release, whether the installed module has it, and what replaces it."""
    history, api, rows = support.api_history(), installed_api(), []
    for call in calls:
        found = "cpp_only"
        if call.python is not None:
            found = "there" if api.has(*call.python.split(".")) else "not_there"
        states = (_declared(history, call, name) for name in SHOWN_TAGS)
        rows.append((ui.tag("span", call.name, "mono"), *states, both(said(found)), both(call.now)))
    then, installed, now = (both(said(f"column_{name}")) for name in ("then", "installed", "say_now"))
    header = (then, *(name.removeprefix("v") for name in SHOWN_TAGS), installed, now)
    table, made = ui.block(ui.table(header, rows), "below"), [history.provenance, api.provenance]
    return bilingual(ui.card(table, head=[ui.bold(both(said("calls")))], made=made))


def draw_terms(*names: str) -> Drawing:
    """Words of the field and what they mean; all of the glossary without names. UnknownEntry names close ones."""
    known = terms()
    found = [bank.find(known, name, "term") for name in names or known]
    return _titled("words", "word means", [(ui.bold(term.name), both(term.means)) for term in found])


def _declared(history: ApiHistory, call: Call, release: str) -> Cell:
    state = Declared.YES if call.header in history.headers[release] else Declared.NO
    if not call.header.endswith(".h"):
        state = history.state(call.header, release)
    return ui.badge(both(said(state.value)), _KIND[state])


def draw_refusal(model: Any, **options: Any) -> Drawing:
    """Offer a model to the compiler and draw its error; the engine instead, where the compiler accepts it after all."""
    try:
        report = explain(model, **options)
    except CompilerError as error:
        return draw_error(error)
    return draw_engine(report)


# --- formats and targets ----------------------------------------------------------------------------------------------


def draw_support(found: support.Support | None = None) -> Drawing:
    """The matrix: rows are formats, columns targets; refusals word for word below. Builds all of it now when none is
    given (seconds).

    >>> draw_support(support.matrix(targets=("SM75", "SM89", "SM120")))
    """
    found = support.matrix() if found is None else found
    header = ("y = x @ w in", *(f"{target} {support.GENERATIONS.get(target, '')}".strip() for target in found.targets))
    rows = [(ui.bold(fmt), *(_taken(found.cell(fmt, target)) for target in found.targets)) for fmt in found.formats]
    heard: dict[tuple[str, str], dict[str, None]] = {}  # formats by refusal, targets left out of the words
    for one in found.cells:
        if not one.is_accepted:
            heard.setdefault((one.refusal.replace(one.target.lower(), "smNN"), one.by), {})[one.format] = None
    words = [(text, by, ", ".join(of)) for (text, by), of in heard.items()]
    refused = ui.details(f"{counted(len(words), 'refusal')}, word for word", ui.table(("", "who", "said of"), words))
    head = [ui.bold("What TensorRT stores and computes in")]
    foot = [TAKEN, "Half is FP16, Float FP32.", *[_STORED] * any("←" in str(cell) for row in rows for cell in row)]
    return ui.card(ui.table(header, rows), refused, head=head, foot=[" ".join(foot)], made=[found.provenance])


_PLAIN = {
    r"HW-specific datatypes: (.*)": "no {1} on {of}",
    r"(\w+) GEMM is not supported": "no {1} product on {of}",
    r"ONNX initializer w cannot be imported": "TensorRT has no such type",
    r"Non-zero zero point is not supported": "the zero point must be 0",
    r"Found unsupported input type of (\w+)": "{1} is no quantised type",
    r"no tensor type": "ONNX has no such type",
}
"""What a refusal means, in plain words, by a piece of it."""
_BITS = {"Float": 32, "Half": 16, "BFloat16": 16}


def _taken(cell: support.Cell) -> Cell:
    """`✓ Half × Half ← FP4E2M1`, `≈ narrowed to Float`, `✗ no FP8_E4M3 on Turing`; the words themselves are below."""
    if not cell.is_accepted:
        of = support.GENERATIONS.get(cell.target, cell.target)
        heard = ((re.search(piece, cell.refusal), plain) for piece, plain in _PLAIN.items())
        plain = next((words.format("", *map(str.upper, found.groups()), of=of) for found, words in heard if found), "")
        return ui.tag("span", f"✗ {plain or f'the {cell.by} refuses'}", "dim")
    fmt = FORMATS.get(cell.format)
    if fmt and cell.stored in _BITS and _BITS[cell.stored] < fmt.bits:
        return ui.tag("span", f"≈ narrowed to {cell.stored}", "stood")
    stored = "" if cell.stored in cell.reads else f" ← {cell.stored}"
    return ui.tag("span", f"✓ {' × '.join(cell.reads)}{stored}", "yes")
