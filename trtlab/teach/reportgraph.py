"""teach/reportgraph: what the compiler reports, as pictures: its network, its kernels, and a model with its kernels.

In: a BuildReport, and for the last one the picture of the ONNX model it came from. Out: `Picture`s. Every name is the
compiler's own.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from trtlab.engine.nvidia.report import BuildReport, Kernel, NetworkLayer, TensorInfo
from trtlab.graph.picture import Edge, Kind, Node, Picture, Tensor, connected, family_of, keyed, module_path

ENDS = "input, output"
DTYPES = {"FLOAT": "float32", "Float": "float32", "HALF": "float16", "Half": "float16", "BF16": "bfloat16"}
NO_KERNEL = "no kernel"
ADDED = "added by the compiler"
WHY_NO_KERNEL = "No kernel names this node: it became a view of a buffer, was computed at build time, or was removed."


def tensor_from(info: TensorInfo) -> Tensor:
    """The same tensor in the words of a picture."""
    return Tensor(name=info.name, shape=tuple(info.shape), dtype=DTYPES.get(info.dtype, info.dtype.lower()))


def picture_from_network(report: BuildReport) -> Picture:
    """The network definition that the parser made. Constant layers are counted, not drawn."""
    layers = [layer for layer in report.layers if not layer.is_constant]
    if not layers:
        raise ValueError(f"the report of {report.model_name!r} lists no layers: expected one from trtlab.explain")
    constants = {tensor.name for layer in report.layers if layer.is_constant for tensor in layer.outputs}
    nodes = [_layer(layer, constants) for layer in layers]
    home_of = {tensor.name: node.home for node in reversed(nodes) for tensor in node.inputs}
    at_home = [node if node.home else replace(node, home=home_of.get(node.outputs[0].name, "")) for node in nodes]
    return _picture(report, "network", at_home, "layer", len(constants))


def _layer(layer: NetworkLayer, constants: set[str]) -> Node:
    return Node(
        op=layer.type,
        name=layer.name,
        family=family_of(layer.type),
        home=layer.onnx_nodes[0] if layer.onnx_nodes else "",  # without: that of its first reader
        inputs=tuple(tensor_from(t) for t in layer.inputs if t.name not in constants),
        weights=tuple(tensor_from(t) for t in layer.inputs if t.name in constants),
        outputs=tuple(map(tensor_from, layer.outputs)),
        facts=tuple(("ONNX node", name) for name in layer.onnx_nodes) or (("ONNX node", "none: the parser added it"),),
    )


def picture_from_kernels(report: BuildReport) -> Picture:
    """The kernels, connected by the tensors they read and write; dashed lines are events between streams."""
    if not report.kernels:
        raise ValueError(f"the report of {report.model_name!r} lists no kernels: expected one from trtlab.explain")
    nodes = [_kernel(number, kernel) for number, kernel in enumerate(report.kernels)]
    picture = _picture(report, "kernels", nodes, "kernel", sum(len(k.constants) for k in report.kernels))
    first = next(number for number, node in enumerate(picture.nodes) if node.kind is not Kind.INPUT)
    events = [Edge(source=first + a, target=first + b, note=f"event {e}") for a, b, e in _events(report)]
    return replace(picture, edges=(*picture.edges, *events))


def _kernel(number: int, kernel: Kernel) -> Node:
    made = () if kernel.onnx_nodes else (("ONNX nodes", "none: the compiler added this kernel"),)
    return Node(
        op=short_name(kernel),
        name=kernel.name,
        kind=Kind.OPERATOR if kernel.onnx_nodes else Kind.ADDED,
        family=f"stream {kernel.stream}",
        line=f"stream {kernel.stream} · {_merged_text(kernel.onnx_nodes)}",
        home=_common_home(kernel.onnx_nodes),
        inputs=tuple(map(tensor_from, kernel.inputs)),
        weights=tuple(map(tensor_from, kernel.constants)),
        outputs=tuple(map(tensor_from, kernel.outputs)),
        facts=(
            ("step", f"kernel {number}, {kernel.type}"),
            ("stream", str(kernel.stream)),
            ("tactic", kernel.tactic or "not named in the log"),
            *made,
            *(("ONNX node", name) for name in kernel.onnx_nodes),
        ),
    )


def short_name(kernel: Kernel) -> str:
    """`__myl_CorrMulAddRelu_myl0_2` -> `CorrMulAddRelu`; a kernel named after one ONNX node -> its type."""
    name = kernel.name.rsplit("_myl", 1)[0]
    return name.removeprefix("__myl_") if name.startswith("__myl_") else kernel.type


def _common_home(names: tuple[str, ...]) -> str:
    """A name in the innermost module that holds all `names`: `block.conv1/Conv`, `block/Add` -> `block/`."""
    shared = [part for part, *others in zip(*map(module_path, names), strict=False) if all(o == part for o in others)]
    return f"{shared[-1]}/" if shared else ""


def _merged_text(names: tuple[str, ...]) -> str:
    """`conv1/Conv + 2`: the first node and how many more."""
    more = f" + {len(names) - 1}" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else "added"


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


def _picture(report: BuildReport, what: str, nodes: list[Node], word: str, constants: int) -> Picture:
    known = {name for node in nodes for name in (t.name for t in node.inputs)}
    read = [tensor_from(t) for t in report.inputs if t.name in known]
    written = [tensor_from(t) for t in report.outputs]
    everything = keyed(
        [
            *(Node(op="input", name=t.name, kind=Kind.INPUT, family=ENDS, outputs=(t,)) for t in read),
            *nodes,
            *(Node(op="output", name=t.name, kind=Kind.OUTPUT, family=ENDS, inputs=(t,)) for t in written),
        ]
    )
    return Picture(
        title=f"{report.model_name}: {what}",
        nodes=everything,
        edges=connected(everything),
        constants=constants,
        word=word,
        foot=report.provenance.line(),
    )


# --- a model and the kernels its nodes went into --------------------------------------------------------------------


def with_kernels(picture: Picture, report: BuildReport) -> Picture:
    """The model's picture, each node with its kernel; kernels that the compiler added stand between dashed lines.

    Raises ValueError when the report names no node of this model.
    """
    homes: dict[str, list[int]] = defaultdict(list)
    for number, kernel in enumerate(report.kernels):
        for name in kernel.onnx_nodes:
            homes[name].append(number)
    if not any(node.name in homes for node in picture.operators):
        raise ValueError(
            f"the report of {report.model_name!r} names no node of the model {picture.title!r}: "
            "expected the report that trtlab.explain made from this model"
        )
    nodes = [_told(node, homes.get(node.name, []), report.kernels) for node in picture.nodes]
    merged = [
        (n, kernel_label(homes[node.name][0], report.kernels[homes[node.name][0]]))
        for n, node in enumerate(nodes)
        if node.kind is Kind.OPERATOR and node.name in homes
    ]
    merged.sort(key=lambda pair: int(pair[1].split()[1]))
    added, lines = _added(nodes, dict(merged), report)
    edges = (*picture.edges, *lines)
    foot = report.provenance.line()
    return replace(picture, nodes=keyed([*nodes, *added]), edges=edges, merged=tuple(merged), foot=foot)


def kernel_label(number: int, kernel: Kernel) -> str:
    """`kernel 3 · CorrMulAddRelu`."""
    return f"kernel {number} · {short_name(kernel)}"


def _told(node: Node, numbers: list[int], kernels: tuple[Kernel, ...]) -> Node:
    if node.kind is not Kind.OPERATOR:
        return node
    facts = tuple(("kernel", f"{number}: {kernels[number].name}") for number in numbers)
    if not facts:
        return replace(node, facts=(*node.facts, ("kernel", WHY_NO_KERNEL)), unused=NO_KERNEL)
    return replace(node, facts=(*node.facts, *facts))


def _added(nodes: list[Node], label_of: Mapping[int, str], report: BuildReport) -> tuple[list[Node], list[Edge]]:
    """The kernels without ONNX nodes, and dashed lines from the last node before each and to the first after it."""
    first, last = _first_and_last(label_of)
    invented = [number for number, kernel in enumerate(report.kernels) if not kernel.onnx_nodes]
    place = {number: len(nodes) + i for i, number in enumerate(invented)}
    kernels = [_kernel(number, kernel) for number, kernel in enumerate(report.kernels)]
    ends = [node for node in nodes if node.kind in {Kind.INPUT, Kind.OUTPUT}]
    position = {len(kernels) + i: nodes.index(node) for i, node in enumerate(ends)}
    edges = []
    for edge in connected([*kernels, *ends]):
        if edge.source in place or edge.target in place:
            source = {**last, **place, **position}.get(edge.source)
            target = {**first, **place, **position}.get(edge.target)
            if source is not None and target is not None:
                edges.append(Edge(source=source, target=target, tensor=edge.tensor, note=ADDED))
    line = "added, no ONNX node"
    return [replace(kernels[n], family=ADDED, line=line) for n in invented], edges


def _first_and_last(label_of: Mapping[int, str]) -> tuple[dict[int, int], dict[int, int]]:
    """For each kernel the first and the last of the nodes merged into it."""
    members: dict[int, list[int]] = defaultdict(list)
    for number, label in label_of.items():
        members[int(label.split()[1])].append(number)
    return {k: min(found) for k, found in members.items()}, {k: max(found) for k, found in members.items()}
