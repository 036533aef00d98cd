"""engine/nvidia/names: what a model calls its parts, kept apart from what NVIDIA's tools write about them.

In: a ModelProto. Out: `Names`. A name that could be read as part of a log (a line break, a brace, a colon) goes into
the build as a short safe one, and is put back in reports and errors. All others stay, so that plan, log and model speak
of the same things. Which tensor has a type that the parser does not take, `not_taken` says.
"""

import dataclasses
import re
from typing import Any

import onnx

from trtlab.engine.nvidia.errors import MEANT, CompilerError
from trtlab.engine.nvidia.report import Kernel, LogLine, NetworkLayer, TensorInfo
from trtlab.graph.onnxfile import every_graph

LONGEST = 200
TAKEN = "FLOAT DOUBLE FLOAT16 BFLOAT16 FLOAT8E4M3FN FLOAT4E2M1 INT64 INT32 INT8 INT4 UINT8 BOOL".split()
"""ONNX's element types that the parser of tensorrt_rtx 1.7 takes: every one was tried."""
_UNSAFE = re.compile(rf": |[{{}}\"]|\]\[|trtlab\d+_|{MEANT.pattern}")
_WORDS = {number: word for word, number in onnx.TensorProto.DataType.items()}
_SAFE = re.compile(r"trtlab\d+_")


class Names:
    """The names of one model, and the safe ones that stand for some of them in a build."""

    def __init__(self, proto: onnx.ModelProto | None = None) -> None:
        """Replaces what is not safe in `proto`, one name by one everywhere: nothing is shadowed or shared anew."""
        self._known, self.own = dict[str | bytes, str](), dict[str, str]()
        for graph in every_graph(proto or onnx.ModelProto()):
            self._replace(graph)

    def _replace(self, graph: onnx.GraphProto | onnx.FunctionProto) -> None:
        named: list[Any] = [*graph.node, *graph.value_info]
        lists: list[Any] = [side for node in graph.node for side in (node.input, node.output)]
        if isinstance(graph, onnx.FunctionProto):
            lists += [graph.input, graph.output]
        else:
            named += [*graph.input, *graph.output, *graph.initializer, *(s.values for s in graph.sparse_initializer)]
        for part in named:
            part.name = self.safe(part.name)
        for names in lists:
            names[:] = map(self.safe, names)

    def safe(self, name: str | bytes) -> str:
        """What the build calls `name`; bytes are a name that is no UTF-8."""
        if name not in self._known:
            own = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
            is_safe = own is name and own.isprintable() and len(own) <= LONGEST and not _UNSAFE.search(own)
            self._known[name] = own if is_safe else f"trtlab{len(self.own)}_"
            self.own |= {} if is_safe else {self._known[name]: own}
        return self._known[name]

    def put_back(self, value: Any, *, shown: bool = False) -> Any:
        """`value`, of texts, tuples, mappings and dataclasses, with the model's own names; `shown`: in sentences and
        logs, where control characters are spelled out and long names cut."""
        if isinstance(value, str):
            return _SAFE.sub(lambda found: (shown_name if shown else str)(self.own.get(found[0], found[0])), value)
        if isinstance(value, tuple):
            return tuple(self.put_back(part, shown=shown) for part in value)
        if isinstance(value, dict):
            return {self.put_back(key): self.put_back(part) for key, part in value.items()}
        if not self.own or not isinstance(value, TensorInfo | NetworkLayer | Kernel | LogLine):
            return value
        parts = {name: self.put_back(part, shown=shown) for name, part in vars(value).items()}
        if isinstance(value, Kernel):
            del parts["name"]  # the compiler's own, which may have a part of a node's in it
        return dataclasses.replace(value, **parts)

    def told(self, error: CompilerError) -> CompilerError:
        """The error in the model's own names."""
        error.what, error.hint, error.log = self.put_back((error.what, error.hint, error.log), shown=True)
        error.details = self.put_back(error.details)
        return error


def shown_name(name: str) -> str:
    """A name that fits into a sentence: control characters spelled out, and cut where it is long."""
    plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}…"


def where_is(model: bytes, node: str, op: str, index: int) -> str:
    """`node 'conv1' (operator Conv)`; one without a name by what it writes."""
    graphs = every_graph(onnx.load_model_from_string(model))
    nodes = (graph.node[index] for graph in graphs if 0 <= index < len(graph.node))
    found = next((one for one in nodes if (one.name, one.op_type) == (node, op) and one.output), None)
    writes = f"the node that writes {shown_name(found.output[0])!r}" if found else "a node without a name"
    return f"{f'node {shown_name(node)!r}' if node else writes} (operator {op})"


def not_taken(model: bytes) -> str:
    """Which tensor has a type that the parser does not take, and which it takes; empty where all are taken."""
    graphs = every_graph(onnx.load_model_from_string(model))
    stored = [graph for graph in graphs if isinstance(graph, onnx.GraphProto)]
    ends = [(v.name, v.type) for side in ("input", "output") for graph in stored for v in getattr(graph, side)]
    found = [(tensor.name, tensor.data_type) for graph in stored for tensor in graph.initializer]
    attributes = ((node, attribute) for graph in graphs for node in graph.node for attribute in node.attribute)
    found += [(n.output[0], a.i or a.t.data_type) for n, a in attributes if a.HasField("t") or a.name == "to"]
    found += [(name, kind.tensor_type.elem_type or kind.WhichOneof("value")) for name, kind in ends]
    said = ((name, _WORDS.get(kind, str(kind)).removesuffix("_type").upper()) for name, kind in found if kind)
    refused = (f"{shown_name(name)!r} is {word}" for name, word in said if word not in TAKEN)
    return next((f"{what}; the parser takes {', '.join(TAKEN)}" for what in refused), "")


def incomplete(graph: onnx.GraphProto) -> str:
    """Which input or output lacks its name, type or shape, which onnx.checker leaves open."""
    for value in (*graph.input, *graph.output):
        kind = value.type.WhichOneof("value")
        has_shape = kind != "tensor_type" or value.type.tensor_type.HasField("shape")
        if not (value.name and kind and has_shape):
            return f"{value.name!r} lacks its {'name' if not value.name else 'shape' if kind else 'type'}"
    return ""
