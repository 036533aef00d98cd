"""study/proofs/kinds: the shapes that most proofs have; a claim's words give their arguments.

In: names, and what is expected of them. Out: a `Found`, with NVIDIA's, NumPy's or ml_dtypes' own words as rows.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtlab.study import witnesses
from trtlab.study.bank import Words, said
from trtlab.study.found import Found

if TYPE_CHECKING:
    from trtlab.engine.nvidia import BuildReport

SHOWN_TAGS = ("8.4.1", "8.5.1", "v8.6.1", "v10.0.0", "v10.6.0", "v10.7.0", "v11.1")
SHOWN_NODES = 6


def reads(expected: Mapping[str, Mapping[str, str]]) -> Found:
    """NVIDIA's parser and builder say of one product what is expected: {format: {target: "✓ what it reads"}}."""
    asked = [(name, target, part) for name, targets in expected.items() for target, part in targets.items()]
    rows = [(name, target, witnesses.support(name, target).cell(name, target).said) for name, target, _ in asked]
    holds = all(part[0] == words[0] and part[2:] in words for (*_, part), (*_, words) in zip(asked, rows, strict=True))
    return Found(
        value=holds, rows=rows, header=columns("product", "built_for", "reads"),
        facts={"said": "; ".join(f"{name}: {words}" for name, _, words in rows)},
        provenance=witnesses.support(*asked[0][:2]).provenance,
    )  # fmt: skip


def api(has: Mapping[str, str] | None = None, lacks: Mapping[str, str] | None = None) -> Found:
    """The installed compiler has all of `has` and none of `lacks`, written {class: "name name"}."""
    known = witnesses.api()
    wanted = [(owner, name, True) for owner, names in (has or {}).items() for name in names.split()]
    wanted += [(owner, name, False) for owner, names in (lacks or {}).items() for name in names.split()]
    rows = [(f"{owner}.{name}", said("there" if known.has(owner, name) else "not_there")) for owner, name, _ in wanted]
    holds = all(owner in known.names and known.has(owner, name) is expected for owner, name, expected in wanted)
    return Found(
        value=holds, rows=rows, header=(f"{known.compiler} {known.version}", "–"), provenance=known.provenance,
        facts={"compiler": known.compiler, "version": known.version},
    )  # fmt: skip


def history(states: Mapping[str, Mapping[str, str]], tags: Sequence[str] = SHOWN_TAGS) -> Found:
    """NVIDIA's headers had each name in the expected state at each release; the table shows the names at all `tags`."""
    known = witnesses.history()
    holds = all(known.state(name, tag).value == state for name, at in states.items() for tag, state in at.items())
    rows = [(name, *(said(known.state(name, tag).value) for tag in tags)) for name in states]
    return Found(value=holds, rows=rows, header=(said("name"), *tags), provenance=known.provenance)


def headers(last: Mapping[str, str], tags: Sequence[str]) -> Found:
    """Each header file was there up to its last release among `tags`, and not after it."""
    known = witnesses.history()
    found = {file: [file in known.headers[tag] for tag in tags] for file in last}
    expected = {file: [tags.index(tag) <= tags.index(last[file]) for tag in tags] for file in last}
    rows = [(file, *(said("there" if each else "not_there") for each in there)) for file, there in found.items()]
    gone = [file for file, there in found.items() if not there[-1]]
    facts = {"gone": witnesses.listed(gone), "until": last[gone[0]] if gone else ""}
    return Found(
        value=found == expected, rows=rows, header=(said("header"), *tags), facts=facts, provenance=known.provenance
    )


def build(
    model: str, *, fused: Sequence[str] = (), columns: Sequence[int] = (), gone: Sequence[str] = (),
    logged: str = "", layers: Sequence[str] = (), weights: int | None = None,
) -> Found:  # fmt: skip
    """Of NVIDIA's build of a model, what is asked for: one kernel alone holds the nodes `fused` and writes so many
    `columns`, none holds any of `gone`, the log has these words, the parser made these layers, weights are of so many
    bytes."""
    report = witnesses.report_on(model)
    header, rows = kernel_rows(report)
    types = witnesses.layer_types(report)
    written = [tensor for kernel in witnesses.homes(report, *fused) for tensor in kernel.outputs]
    wide = [size for tensor in written for size in tensor.shape[-1:]]
    facts: dict[str, Any] = {"logged": witnesses.says(report, logged), "layers": " + ".join(types)}
    parsed = {node for layer in report.layers for node in layer.onnx_nodes}
    holds = parsed >= {*gone} and (not fused or witnesses.is_fused(report, *fused))
    holds = holds and not witnesses.homes(report, *gone) and bool(facts["logged"] or not logged)
    holds = holds and weights in (None, report.weights_bytes)
    holds = holds and all([*asked] in ([], seen) for asked, seen in ((columns, wide), (layers, types)))
    facts |= {"columns": witnesses.listed(map(str, wide)), "weights": weights, "parsed": len(report.layers)}
    return Found(value=bool(holds), facts=facts, rows=rows, header=header, provenance=report.provenance)


def kernel_rows(report: "BuildReport") -> tuple[tuple[Words, ...], list[tuple[Any, ...]]]:
    """Header and rows: what NVIDIA's builder launches, and which ONNX nodes are inside, in the model's order."""
    order = [node for layer in report.layers for node in layer.onnx_nodes]

    def named(nodes: Sequence[str]) -> Any:
        if len(nodes) > SHOWN_NODES:
            return said("many_nodes", first=nodes[0], second=nodes[1], last=nodes[-1], count=len(nodes))
        return ", ".join(nodes) or said("changes_layout")

    header = columns("kernel", "nodes_in_it", "stream")
    return header, [(k.name, named(sorted(k.onnx_nodes, key=order.index)), k.stream) for k in report.kernels]


def columns(*names: str) -> tuple[Words, ...]:
    """Heads of columns, as words/said has them."""
    return tuple(map(said, names))
