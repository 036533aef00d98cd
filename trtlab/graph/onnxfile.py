"""graph/onnxfile: a model as it arrives, whatever form it has.

In: a path, bytes, or an ONNX proto. Out: a frozen `OnnxSource` (bytes or path, name), its weights wherever they stand,
a hash, and node counts with constants apart. Reading never validates: the compiler's worker runs onnx.checker, where a
crash harms nobody.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import uses_external_data

TOO_DEEP = """nests deeper than the 100 messages that protobuf reads, which are 33 Ifs: choose with Where in place of
the inner ones, or export them as models of their own.""".replace("\n", " ")
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
        except (DecodeError, RecursionError) as error:
            is_deep = "Depth" in str(error) or isinstance(error, RecursionError)
            why = f"is no ONNX model: {error}. Expected what onnx.save writes."
            raise ValueError(f"{self.name!r} {TOO_DEEP if is_deep else why}") from error


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
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is no plain file" if path.exists() else "does not exist"
            raise FileNotFoundError(f"{path} {what}. Expected the path of an .onnx file.")
        return OnnxSource(name=name or path.stem, path=path.absolute())  # of a link: weights stand beside the link
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
    graphs = every_graph(model if isinstance(model, onnx.ModelProto) else source_from_model(model).proto())
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


def outside(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The tensors whose numbers stand in another file: initializers and attributes, in any graph."""
    found: list[onnx.TensorProto] = []
    for graph in every_graph(model):
        found += graph.initializer if isinstance(graph, onnx.GraphProto) else []
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            found += [*attribute.tensors, attribute.t]
    return [tensor for tensor in found if uses_external_data(tensor)]


def load_outside(model: onnx.ModelProto, path: Path) -> None:
    """Reads what stands in other files into the model that came from `path`. FileNotFoundError and ValueError name the
    tensor and the file. A link may lead elsewhere, as in the cache of Hugging Face; a name in the model may not."""
    for tensor in outside(model):
        stored = {entry.key: entry.value for entry in tensor.external_data}
        name, where = f"the weights of {tensor.name!r}", stored.get("location", "")
        if not where or Path(where).is_absolute() or ".." in Path(where).parts:
            raise ValueError(f"{name} stand in {where!r}: expected a file beside {path.name}. Export the model again.")
        homes = [folder / where for folder in (path.parent, path.resolve().parent)]
        file = next((file for file in homes if file.is_file()), None)
        if file is None:
            raise FileNotFoundError(
                f"{name} stand in {homes[0]}, which does not exist: put it there, beside {path.name}."
            )
        with file.open("rb") as opened:
            opened.seek(int(stored.get("offset") or 0))
            wanted = int(stored.get("length") or -1)
            data = opened.read(wanted)
        if len(data) < wanted:
            raise ValueError(f"{name} are {wanted:,} bytes in {file}, which ends after {len(data):,}: fetch it again.")
        tensor.raw_data, tensor.data_location = data, onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
