"""study/claims: sentences with a proof that runs. No answer in this workbook is left as prose.

In: a claim's name. Out: a `Claim`, whose `prove()` gives a `Found`. Claims C01 to C91 are the interview sheet's, said
in other words in words/claims, with what is true today, in two languages. A proof is a list of parts there: kinds of
proof with their values, or `call`, a function of study/proofs. teach.claim draws it, and fails the notebook when it is
refuted.
"""

import enum
import functools
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trtlab.study import bank, witnesses
from trtlab.study.bank import Words
from trtlab.study.found import Found, all_of, computed
from trtlab.study.witnesses import fmt

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport

SHOWN_TAGS = ("8.4.1", "8.5.1", "v8.6.1", "v10.0.0", "v10.6.0", "v10.7.0", "v11.1")
SHOWN_NODES = 6
PROOFS = ("formats", "fusion", "workflow", "streams")
KERNELS_HEADER = ("NVIDIA's kernel", "ONNX nodes in it", "stream")


class Verdict(enum.Enum):
    """What a careful candidate should think of the sheet's sentence."""

    RIGHT = "right"
    IMPRECISE = "imprecise"
    OUTDATED = "outdated"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`said`: the sheet's sentence in other words. `today`: what is true now, which the proof shows in a `shown` filled
    with its facts. `source`: where to read it. A claim about a date or an author has no proof: nothing that runs here
    could refute it."""

    name: str
    verdict: Verdict
    said: Words
    today: Words
    source: str
    shown: Words | None = None
    header: tuple[str, ...] = ()
    proof: tuple[Mapping[str, Any], ...] = ()

    def prove(self) -> Found:
        """What the parts of the proof found; it holds when all of them do. ValueError for a claim of history."""
        if not self.proof:
            raise ValueError(f"{self.name} is a date or an author: nothing here can prove it; read {self.source}")
        return all_of([part() for _, part in self.parts()])

    def parts(self) -> Iterator[tuple[Callable[..., Any], Callable[[], Found]]]:
        """Each part of the proof: the function whose source is shown, and the call that runs it."""
        for part in self.proof:
            for kind, values in part.items():
                function = _called(values) if kind == "call" else KINDS[kind]
                yield function, function if kind == "call" else functools.partial(_run, function, values)


def find_claim(name: str) -> Claim:
    """The claim of that name. UnknownEntry names the close ones."""
    return bank.find(claims(), name, "claim")


@functools.cache
def claims() -> dict[str, Claim]:
    """All claims by name, in the order of the sheet."""
    return dict(sorted(bank.read("claims", Claim).items()))


def _called(name: str) -> Callable[[], Found]:
    """A function of study/proofs by its name. KeyError when there is none."""
    for module in PROOFS:
        found = getattr(importlib.import_module(f"trtlab.study.proofs.{module}"), name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raise KeyError(f"no function {name!r} in study/proofs: expected one in {', '.join(PROOFS)}")


def _run(kind: Callable[..., Found], values: Any) -> Found:
    """`{model: qkv, nodes: [...]}` are arguments by name, `[FP64, 1, 11, 52]` by place; a table is one argument."""
    if isinstance(values, list):
        return kind(*values)
    names = kind.__annotations__
    return kind(**values) if set(values) <= set(names) else kind(values)


# --- kinds of proof ---------------------------------------------------------------------------------------------------


def fields(name: str, sign: int, exponent: int, mantissa: int) -> Found:
    """The codes have so many (sign, exponent, mantissa) bits: seen at 1, -1 and the number after 1; NumPy agrees."""
    from trtlab.study.proofs.formats import bits_of

    known = fmt(name)
    one, minus = int(known.encode(1.0)), int(known.encode(-1.0))
    signs, step = (one ^ minus).bit_count(), float(known.decode(one + (1 << known.padding_bits))) - 1
    found = [signs, known.bits - signs + math.log2(step), -math.log2(step)]
    native: Any = {"FP64": np.float64, "FP32": np.float32, "FP16": np.float16}.get(name)
    agrees = native is None or (np.finfo(native).nexp, np.finfo(native).nmant) == (exponent, mantissa)
    return computed(found == [sign, exponent, mantissa] and agrees, one=bits_of(name, one))


def reads(expected: Mapping[str, Mapping[str, str]]) -> Found:
    """NVIDIA's parser and builder say of one product what is expected: {format: {target: "✓ what it reads"}}."""
    asked = [(name, target, part) for name, targets in expected.items() for target, part in targets.items()]
    rows = [(name, target, witnesses.support(name, target).cell(name, target).said) for name, target, _ in asked]
    holds = all(part[0] == said[0] and part[2:] in said for (*_, part), (*_, said) in zip(asked, rows, strict=True))
    return Found(
        value=holds, rows=rows, header=("one product in", "built for", "what it reads, or why not"),
        facts={"said": "; ".join(f"{name}: {said}" for name, _, said in rows)},
        provenance=witnesses.support(*asked[0][:2]).provenance,
    )  # fmt: skip


def api(has: Mapping[str, str] | None = None, lacks: Mapping[str, str] | None = None) -> Found:
    """The installed compiler has all of `has` and none of `lacks`, written {class: "name name"}."""
    known = witnesses.api()
    wanted = [(owner, name, True) for owner, names in (has or {}).items() for name in names.split()]
    wanted += [(owner, name, False) for owner, names in (lacks or {}).items() for name in names.split()]
    rows = [(f"{owner}.{name}", "there" if known.has(owner, name) else "not there") for owner, name, _ in wanted]
    holds = all(owner in known.names and known.has(owner, name) is expected for owner, name, expected in wanted)
    return Found(
        value=holds, rows=rows, header=(f"{known.compiler} {known.version}", ""), provenance=known.provenance,
        facts={"compiler": known.compiler, "version": known.version},
    )  # fmt: skip


def history(states: Mapping[str, Mapping[str, str]], tags: Sequence[str] = SHOWN_TAGS) -> Found:
    """NVIDIA's headers had each name in the expected state at each release; the table shows the names at all `tags`."""
    known = witnesses.history()
    holds = all(known.state(name, tag).value == state for name, at in states.items() for tag, state in at.items())
    rows = [(name, *(known.state(name, tag).value for tag in tags)) for name in states]
    return Found(value=holds, rows=rows, header=("name", *tags), provenance=known.provenance)


def headers(last: Mapping[str, str], tags: Sequence[str]) -> Found:
    """Each header file was there up to its last release among `tags`, and not after it."""
    known = witnesses.history()
    rows = [(file, *("there" if file in known.headers[tag] else "not there" for tag in tags)) for file in last]
    until = {file: tags.index(tag) + 1 for file, tag in last.items()}
    expected = [(file, *["there"] * n, *["not there"] * (len(tags) - n)) for file, n in until.items()]
    return Found(value=rows == expected, rows=rows, header=("header", *tags), provenance=known.provenance)


def fused(model: str, nodes: Sequence[str]) -> Found:
    """One kernel of NVIDIA's build holds all of these nodes, and no other kernel any."""
    report = witnesses.report_on(model)
    header, rows = kernel_rows(report)
    return Found(value=witnesses.is_fused(report, *nodes), rows=rows, header=header, provenance=report.provenance)


def log(model: str, says: str) -> Found:
    """The builder's log of a model has a line with these words."""
    report = witnesses.report_on(model)
    logged = witnesses.says(report, says)
    return Found(value=bool(logged), facts={"logged": logged}, provenance=report.provenance)


def layers(model: str, types: Sequence[str]) -> Found:
    """NVIDIA's parser makes layers of just these types of a model."""
    report = witnesses.report_on(model)
    found = witnesses.layer_types(report)
    return Found(value=found == [*types], facts={"layers": " and ".join(found)}, provenance=report.provenance)


def rule(model: str, rule: str, steps: int) -> Found:
    """Our rule of that name, alone, takes so many steps on a model."""
    *_, report = witnesses.rewritten(model, rule)
    did = witnesses.did(report, rule)
    return computed(len(did) == steps, steps="; ".join(did))


KINDS: dict[str, Callable[..., Found]] = {
    kind.__name__: kind for kind in (fields, reads, api, history, headers, fused, log, layers, rule)
}


def kernel_rows(report: "BuildReport") -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Header and rows: what NVIDIA's builder launches, and which ONNX nodes are inside, in the model's order."""
    order = [node for layer in report.layers for node in layer.onnx_nodes]

    def named(nodes: Sequence[str]) -> str:
        if len(nodes) > SHOWN_NODES:
            return f"{nodes[0]}, {nodes[1]}, … {nodes[-1]}: {len(nodes)} nodes"
        return ", ".join(nodes) or "none: it changes the layout"

    return KERNELS_HEADER, [(k.name, named(sorted(k.onnx_nodes, key=order.index)), k.stream) for k in report.kernels]
