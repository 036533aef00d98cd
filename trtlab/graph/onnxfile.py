"""graph/onnxfile: a model as it arrives, whatever form it has.

In: a path, bytes, or an ONNX proto. Out: a frozen `OnnxSource` (bytes or path, name), a hash, and node counts with
constants apart. Reading never validates: the compiler's worker runs onnx.checker, where a crash harms nobody.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

OnnxModel = str | os.PathLike[str] | bytes | onnx.ModelProto


@dataclass(frozen=True, kw_only=True)
class OnnxSource:
    """Where a model's bytes are. Exactly one of `path` and `data` is set."""

    name: str
    path: Path | None = None
    data: bytes | None = None

    def read(self) -> bytes:
        """The serialised model. OSError when the file has gone."""
        return self.path.read_bytes() if self.path else self.data or b""

    def proto(self) -> onnx.ModelProto:
        """The model, without weights that stand in other files. ValueError for bytes that are no model."""
        try:
            return onnx.load_model_from_string(self.read())
        except DecodeError as error:
            raise ValueError(f"{self.name!r} is no ONNX model: {error}. Expected what onnx.save writes.") from error


@dataclass(frozen=True, kw_only=True)
class NodeCounts:
    """Nodes of a graph, its subgraphs and its functions: those that compute, and constants (Constant nodes and
    initializers), which are data."""

    nodes: int
    constants: int


def source_from_model(model: OnnxModel, name: str | None = None) -> OnnxSource:
    """A source for a path, bytes or a proto. FileNotFoundError and TypeError say what was expected."""
    if isinstance(model, (str, os.PathLike)):
        path = Path(model).expanduser()
        if path.is_dir() or not path.exists():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}. Expected the path of an .onnx file.")
        return OnnxSource(name=name or path.stem, path=path.resolve())
    if isinstance(model, (bytes, bytearray, memoryview)):
        return OnnxSource(name=name or "model", data=bytes(model))
    if isinstance(model, onnx.ModelProto):
        return OnnxSource(name=name or model.graph.name or "model", data=model.SerializeToString())
    raise TypeError(f"A model is a path, bytes, an onnx.ModelProto or a torch.nn.Module: got {type(model).__name__}.")


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256, the identity of a model in reports and manifests."""
    return hashlib.sha256(data).hexdigest()


def count_nodes(model: onnx.ModelProto | bytes) -> NodeCounts:
    """Node counts of a model, subgraphs and local functions included, constants apart. ValueError for bytes that are
    no model."""
    proto = model if isinstance(model, onnx.ModelProto) else source_from_model(model).proto()
    graphs = every_graph(proto)
    nodes = [node for graph in graphs for node in graph.node]
    constant_nodes = sum(node.op_type == "Constant" for node in nodes)
    stored = (graph for graph in graphs if isinstance(graph, onnx.GraphProto))
    initializers = sum(len(graph.initializer) + len(graph.sparse_initializer) for graph in stored)
    return NodeCounts(nodes=len(nodes) - constant_nodes, constants=constant_nodes + initializers)


def every_graph(model: onnx.ModelProto) -> list[onnx.GraphProto | onnx.FunctionProto]:
    """The main graph, the model's functions, and all graphs inside their nodes."""
    graphs: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for graph in graphs:  # grows while we walk
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return graphs
