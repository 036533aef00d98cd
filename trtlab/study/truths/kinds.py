"""study/truths/kinds: the shapes that most proofs have; a claim's words give their arguments.

In: names, and what is expected of them. Out: a `Found`, with NVIDIA's, NumPy's or ml_dtypes' own words as rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trtlab.engine.nvidia import BuildReport
from trtlab.lab import support
from trtlab.study import bank, witnesses
from trtlab.study.bank import Words, said
from trtlab.study.found import Found, seen
from trtlab.study.witnesses import listed

SHOWN_TAGS = ("8.4.1", "8.5.1", "v8.6.1", "v10.0.0", "v10.6.0", "v10.7.0", "v11.1")
SHOWN_NODES = 6


def reads(expected: Mapping[str, Mapping[str, str]]) -> Found:
    """NVIDIA's parser and builder say of one product what is expected: {format: {target: "✓ what it reads"}}."""
    asked = [(name, target, part) for name, targets in expected.items() for target, part in targets.items()]
    rows = [(name, target, witnesses.support(name, target).cell(name, target).said) for name, target, _ in asked]
    holds = all(part[0] == words[0] and part[2:] in words for (*_, part), (*_, words) in zip(asked, rows, strict=True))
    heard = "; ".join(f"{name}: {words}" for name, _, words in rows)
    found = seen(witnesses.support(*asked[0][:2]), holds, rows, said=heard)
    return replace(found, header=columns("product", "built_for", "reads"))


def api(has: Mapping[str, str] | None = None, lacks: Mapping[str, str] | None = None) -> Found:
    """The installed compiler has all of `has` and none of `lacks`, written {class: "name name"}."""
    known = witnesses.api()
    wanted = [(owner, name, True) for owner, names in (has or {}).items() for name in names.split()]
    wanted += [(owner, name, False) for owner, names in (lacks or {}).items() for name in names.split()]
    rows = [(f"{owner}.{name}", said("there" if known.has(owner, name) else "not_there")) for owner, name, _ in wanted]
    holds = all(owner in known.names and known.has(owner, name) is expected for owner, name, expected in wanted)
    found = seen(known, holds, rows, compiler=known.compiler, version=known.version)
    return replace(found, header=(said("name"), f"{known.compiler} {known.version}"))


def nothing_but(owner: str, names: str) -> Found:
    """The installed compiler's class has no other names than these."""
    known = witnesses.api()
    there = known.names.get(owner, ())
    holds = bool(there) and {*there} <= {*names.split()}
    return seen(known, holds, compiler=known.compiler, version=known.version, names=listed(there))


def history(states: Mapping[str, Mapping[str, str]], tags: Sequence[str] = SHOWN_TAGS) -> Found:
    """NVIDIA's headers had each name, or file, in the expected state at each release; shown at all `tags`."""
    known = support.api_history()
    holds = all(known.state(name, tag).value == state for name, at in states.items() for tag, state in at.items())
    rows = [(name, *(said(known.state(name, tag).value) for tag in tags)) for name in states]
    return replace(seen(known, holds, rows), header=(said("name"), *(tag.removeprefix("v") for tag in tags)))


def answers(find: Any, value: Any, words: str = "") -> Found:
    """The function `find`, with its arguments, finds this value here, too, and heard these words."""
    found = witnesses.built(bank.call(find))
    holds = found.value == value and words in found.evidence
    return replace(found, value=holds, facts={**found.facts, "refusal": found.evidence})


def in_kernels(report: BuildReport, value: Any, **facts: Any) -> Found:
    """Found in a build. The table is what it launches, and which ONNX nodes are inside, in the model's order; `kernels`
    as a fact is their names, `nodes` how many there were."""
    order = [node for layer in report.layers for node in layer.onnx_nodes]

    def named(nodes: Sequence[str]) -> Any:
        if len(nodes) > SHOWN_NODES:
            return said("many_nodes", first=nodes[0], second=nodes[1], last=nodes[-1], count=len(nodes))
        return ", ".join(nodes) or said("changes_layout")

    rows = [(k.name, named(sorted(k.onnx_nodes, key=order.index)), k.stream) for k in report.kernels]
    facts = {"kernels": listed(kernel.name for kernel in report.kernels), "nodes": report.onnx_nodes} | facts
    return replace(seen(report, value, rows, **facts), header=columns("kernel", "nodes_in_it", "stream"))


def columns(*names: str) -> tuple[Words, ...]:
    """Heads of columns, as words/said has them."""
    return tuple(map(said, names))
