"""teach/graph/report: what the compiler reports, as pictures: its network, its kernels, and a model with its kernels.

In: a BuildReport, and for the last one the picture of the ONNX model it came from. Out: `Picture`s. Every name is the
compiler's own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from trtlab.engine.nvidia.report import BuildReport, Kernel, NetworkLayer, TensorInfo
from trtlab.teach.graph.picture import Edge, Node, Picture, Tensor, dtype_text, family_of, picture_of

WHY_NO_KERNEL = "No kernel names this node: it became a view of a buffer, was computed at build time, or was removed."


def check_report(report: Any) -> BuildReport:
    """The report; TypeError for anything else."""
    if not isinstance(report, BuildReport):
        raise TypeError(f"expected the BuildReport that trtlab.explain returns: got {type(report).__name__}.")
    return report


def picture_from_network(report: BuildReport) -> Picture:
    """The network definition that the parser made. Constant layers are counted, not drawn."""
    constants = {tensor.name for layer in report.layers if layer.is_constant for tensor in layer.outputs}
    nodes = [_layer(layer, constants) for layer in report.layers if not layer.is_constant]
    return _picture(report, "network", nodes, "layer", len(constants))


def picture_from_kernels(report: BuildReport) -> Picture:
    """The kernels, connected by the tensors they read and write; dashed lines are events between streams."""
    nodes = [_kernel(number, kernel) for number, kernel in enumerate(report.kernels)]
    picture = _picture(report, "kernels", nodes, "kernel", sum(len(k.constants) for k in report.kernels))
    first = len(report.inputs)
    events = tuple(
        Edge(
            source=first + a, target=first + b, tensor=Tensor(name=f"event {e}", dtype="between streams"), is_event=True
        )
        for a, b, e in _events(report)
    )
    return replace(picture, edges=picture.edges + events)


def _picture(report: BuildReport, what: str, nodes: list[Node], word: str, constants: int) -> Picture:
    if not nodes:
        raise ValueError(f"the report of {report.model_name!r} lists no {word}s: expected one from trtlab.explain")
    title, foot = f"{report.model_name}: {what}", report.provenance.line()
    ends = _tensors(report.inputs), _tensors(report.outputs)
    return picture_of(title, ends[0], nodes, ends[1], constants=constants, word=word, foot=foot)


def _tensors(infos: Iterable[TensorInfo]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=t.name, shape=tuple(t.shape), dtype=dtype_text(t.dtype)) for t in infos)


def _layer(layer: NetworkLayer, constants: set[str]) -> Node:
    return Node(
        op=layer.type,
        name=layer.name,
        family=family_of(layer.type),
        home=layer.onnx_nodes[0] if layer.onnx_nodes else "",
        inputs=_tensors(t for t in layer.inputs if t.name not in constants),
        weights=_tensors(t for t in layer.inputs if t.name in constants),
        outputs=_tensors(layer.outputs),
        facts=tuple(("ONNX node", name) for name in layer.onnx_nodes or ("none: the parser added it",)),
    )


def _kernel(number: int, kernel: Kernel) -> Node:
    names = kernel.onnx_nodes
    more = f" + {len(names) - 1}" if len(names) > 1 else ""
    return Node(
        op=_short_name(kernel),
        name=kernel.name,
        family=f"stream {kernel.stream}",
        line=f"stream {kernel.stream}" + (f" · {names[0]}{more}" if names else ""),
        home=names[0] if names else "",
        inputs=_tensors(kernel.inputs),
        weights=_tensors(kernel.constants),
        outputs=_tensors(kernel.outputs),
        facts=(
            ("step", f"kernel {number}, {kernel.type}"),
            ("tactic", kernel.tactic or "not named in the log"),
            *(("ONNX node", name) for name in names or ("none: the compiler added this kernel",)),
        ),
        apart="" if names else "added by the compiler",
    )


def _short_name(kernel: Kernel) -> str:
    """`__myl_CorrMulAddRelu_myl0_2` -> `CorrMulAddRelu`; a kernel named after one ONNX node -> its type."""
    name = kernel.name.rsplit("_myl", 1)[0]
    return name.removeprefix("__myl_") if name.startswith("__myl_") else kernel.type


def _events(report: BuildReport) -> Iterator[tuple[int, int, int]]:
    """(kernel before the signal, kernel after the wait, event): what the second may not overtake."""
    last: dict[int, int] = {}
    signalled: dict[int, int] = {}
    waiting: dict[int, list[int]] = defaultdict(list)
    number = -1
    for step in report.steps:
        if step.event is not None and step.type == "signal" and step.stream in last:
            signalled[step.event] = last[step.stream]
        elif step.event is not None and step.type == "wait":
            waiting[step.stream].append(step.event)
        elif step.is_launch:
            number += 1
            yield from ((signalled[e], number, e) for e in waiting.pop(step.stream, ()) if e in signalled)
            last[step.stream] = number


def with_kernels(picture: Picture, report: BuildReport) -> Picture:
    """The model's picture, each node with the kernel that it was merged into.

    Raises ValueError when the report names no node of this model.
    """
    homes: dict[str, list[tuple[int, Kernel]]] = defaultdict(list)
    for number, kernel in enumerate(report.kernels):
        for name in kernel.onnx_nodes:
            homes[name].append((number, kernel))
    if not any(node.name in homes for node in picture.operators):
        raise ValueError(
            f"the report of {report.model_name!r} names no node of the model {picture.title!r}: "
            "expected the report that trtlab.explain made from this model"
        )
    nodes = tuple(node if node.is_end else _merged(node, homes.get(node.name, [])) for node in picture.nodes)
    return replace(picture, nodes=nodes, foot=report.provenance.line(), kernels=len(report.kernels))


def _merged(node: Node, kernels: list[tuple[int, Kernel]]) -> Node:
    if not kernels:
        return replace(node, facts=(*node.facts, ("kernel", WHY_NO_KERNEL)), apart="in no kernel")
    number, first = kernels[0]
    facts = (("kernel", f"{number}: {kernel.name}") for number, kernel in kernels)
    return replace(node, facts=(*node.facts, *facts), kernel=f"kernel {number} · {_short_name(first)}")
