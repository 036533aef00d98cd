"""graph/onnxfile: a model as it arrives, whatever form it has.

In: a path, bytes, or an ONNX proto. Out: a frozen `OnnxSource` (bytes or path, name), a hash, and node counts with
constants apart. Reading never validates: the compiler's worker runs onnx.checker, where a crash harms nobody.
"""

import contextlib
import hashlib
import mmap
import os
from collections.abc import Iterator
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

    @contextlib.contextmanager
    def mapped(self) -> "Iterator[bytes | mmap.mmap]":
        """The serialised model without copying it into memory. OSError when the file has gone."""
        if self.path is None:
            yield self.data or b""
        elif self.path.stat().st_size == 0:
            yield b""  # an empty file cannot be mapped
        else:
            with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                yield view


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


def sha256_of(data: bytes | mmap.mmap) -> str:
    """Hexadecimal SHA-256, the identity of a model in reports and manifests."""
    return hashlib.sha256(data).hexdigest()


def count_nodes(model: "onnx.ModelProto | bytes | memoryview | mmap.mmap") -> NodeCounts:
    """Node counts of a model, subgraphs and local functions included, constants apart.

    Serialised models are not loaded but walked over: weights, which are most of a file, are skipped unread. ValueError
    when the bytes are no protobuf message.
    """
    data = model.SerializeToString() if hasattr(model, "SerializeToString") else model
    found = [0, 0, 0]  # nodes, Constant nodes among them, initializers
    with memoryview(data) as view:
        _walk(view, "model", found)
    nodes, constant_nodes, initializers = found
    return NodeCounts(nodes=nodes - constant_nodes, constants=constant_nodes + initializers)


# What to enter, by field number of onnx.proto: ModelProto.graph is 7, .functions 25, GraphProto.node 1, and so on.
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "initializer", 15: "initializer"},
    "node": {4: "op_type", 5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}


def _walk(data: memoryview, kind: str, found: list[int]) -> None:
    if kind in ("node", "initializer"):
        found[0 if kind == "node" else 2] += 1
    if kind == "op_type":
        found[1] += bytes(data) == b"Constant"
    inside = _INSIDE.get(kind)
    if inside is None:
        return
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        start, at = _field(data, at, tag & 7)
        if at > len(data):
            raise ValueError(f"no protobuf message: a field of the {kind} ends at byte {at} of {len(data)}")
        if tag & 7 == _LENGTH_DELIMITED and tag >> 3 in inside:
            _walk(data[start:at], inside[tag >> 3], found)


_LENGTH_DELIMITED = 2


def _field(data: memoryview, at: int, wire_type: int) -> tuple[int, int]:
    """(where the value starts, where it ends) of a protobuf field of that wire type."""
    if wire_type == 0:
        return at, _varint(data, at)[1]
    if wire_type == _LENGTH_DELIMITED:
        size, at = _varint(data, at)
        return at, at + size
    if wire_type in (1, 5):
        return at, at + (8 if wire_type == 1 else 4)
    raise ValueError(f"no protobuf message: wire type {wire_type} at byte {at}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
    raise ValueError(f"no protobuf message: it breaks off at byte {at} of {len(data)}")
