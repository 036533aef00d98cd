"""graph/onnxfile: a model as it arrives, whatever form it has.

In: a path, bytes, or an ONNX proto. Out: a frozen `OnnxSource` (bytes or path, name), a hash, and node counts with
constants apart. Reading never validates: the compiler's worker runs onnx.checker, where a crash harms nobody.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class OnnxSource:
    """Where a model's bytes are. Exactly one of `path` and `data` is set."""

    name: str
    path: Path | None = None
    data: bytes | None = None

    def read(self) -> bytes:
        """The serialised model. OSError when the file has gone."""
        return self.data if self.path is None else self.path.read_bytes()  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class NodeCounts:
    """Nodes of a graph, its subgraphs and its functions: those that compute, and constants (Constant nodes and
    initializers), which are data."""

    nodes: int
    constants: int


def source_from_model(model: "str | os.PathLike[str] | bytes | onnx.ModelProto", name: str | None = None) -> OnnxSource:
    """A source for a path, bytes or a proto. FileNotFoundError and TypeError say what was expected."""
    if isinstance(model, (str, os.PathLike)):
        path = Path(model).expanduser()
        if path.is_dir() or not path.exists():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}. Expected the path of an .onnx file.")
        return OnnxSource(name=name or path.stem, path=path.resolve())
    if isinstance(model, (bytes, bytearray, memoryview)):
        return OnnxSource(name=name or "model", data=bytes(model))
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return OnnxSource(name=name or model.graph.name or "model", data=model.SerializeToString())
    raise TypeError(f"A model is a path, bytes, an onnx.ModelProto or a torch.nn.Module: got {type(model).__name__}.")


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256, the identity of a model in reports and manifests."""
    return hashlib.sha256(data).hexdigest()


def count_nodes(model: "onnx.ModelProto") -> NodeCounts:
    """Node counts of a model, subgraphs and local functions included, constants apart."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    constants = 0
    while graphs:
        graph = graphs.pop()
        constants += len(graph.initializer) + len(graph.sparse_initializer)
        nodes.extend(graph.node)
        graphs.extend(attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
    in_nodes = sum(node.op_type == "Constant" for node in nodes)
    return NodeCounts(nodes=len(nodes) - in_nodes, constants=constants + in_nodes)
