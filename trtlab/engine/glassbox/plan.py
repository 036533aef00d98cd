"""engine/glassbox/plan: what a plan says: tensors, weights, and steps in order; and how it becomes one file.

    magic, 16 bytes | size of the manifest, 8 | its SHA-256, 32 | manifest | zeros | weights, 64-byte aligned

The manifest is JSON and holds the SHA-256 of the weights, so every byte of the file is covered; nothing in it is ever
executed. What does not fit is a PlanError: tests/engine/glassbox/test_planfile.py mutates files by the thousand.
"""

import dataclasses
import hashlib
import json
import math
import os
import platform
import struct
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trtlab.engine.files import write_atomically
from trtlab.engine.glassbox.errors import PlanError

if TYPE_CHECKING:
    from trtlab.plan.tactics import Race

DTYPES = tuple("float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool".split())
"""Types of tensors, under torch's names."""
MAGIC = b"trtlab.glassbox\n"
FORMAT = 3
"""Raised whenever an older reader would misunderstand the file. 2: kernels have epilogues. 3: and scratch memory."""
HEAD = struct.Struct("<16sQ32s")
ALIGN = 64
AGAIN = "Build and save it again."


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A tensor while the engine runs. `shape` is None where only a run can tell. `strides` count elements.
    `offset` is its place in the arena in bytes; None where a kernel brings the memory itself. Before a plan is tuned,
    `dtype` may be "": not known."""

    dtype: str
    shape: tuple[int, ...] | None
    strides: tuple[int, ...] = ()
    offset: int | None = None

    @property
    def span_bytes(self) -> int:
        """Bytes from the first number to behind the last."""
        if self.shape is None or 0 in self.shape:
            return 0
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return (last + 1) * getattr(torch, self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{'?' if self.shape is None else ', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kernel launch. `name` says what it does, in ONNX's words; `inputs` name tensors and weights, "" is an input
    left out; `nodes` are the ONNX nodes merged into it. `time_us` is what was measured for the tactic that was picked;
    "" is none yet. `scratch` names bytes of the arena that it may use while it runs."""

    name: str
    kernel: str
    tactic: str = ""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    nodes: tuple[str, ...]
    time_us: float = 0.0
    scratch: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything an engine needs. Tensors include inputs and outputs; `arena_bytes` holds all that has an offset."""

    device: str
    precision: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorSpec]
    weights: Mapping[str, torch.Tensor]
    steps: tuple[Step, ...]
    arena_bytes: int = 0
    made_with: Mapping[str, str]
    races: tuple["Race | None", ...] = dataclasses.field(default=(), compare=False, repr=False)
    """Of each step, where it was tuned here and there was a choice; not in the file."""

    @property
    def is_tuned(self) -> bool:
        """Whether every step has a tactic. A plan built on a machine without its device has none; loading tunes it."""
        return all(step.tactic for step in self.steps)


FIELDS = tuple(field.name for field in dataclasses.fields(Plan) if field.name != "races")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What an engine needs, in bytes, by what its plan says: weights once (kernels keep them packed, in copies), and an
    arena for each context. In the arena lie activations and, while a kernel runs, its scratch: `scratch_bytes` is the
    largest. `apart` has results without a place: views of inputs, which need none, results whose shape only a run
    tells, as 0, and on a GPU those of PyTorch's kernels, which lie in the memory of the CUDA graph."""

    weights_bytes: int
    arena_bytes: int
    scratch_bytes: int
    apart: Mapping[str, int]

    def total_bytes(self, contexts: int = 1) -> int:
        """With so many contexts, at most: as if no two results apart ever shared memory."""
        return self.weights_bytes + contexts * (self.arena_bytes + sum(self.apart.values()))


def memory_of(plan: Plan) -> Memory:
    """The sums of a tuned plan."""
    made = [name for step in plan.steps for name in step.outputs if name]
    return Memory(
        weights_bytes=sum(weight.nbytes for weight in plan.weights.values()),
        arena_bytes=plan.arena_bytes,
        scratch_bytes=max((plan.tensors[s.scratch].span_bytes for s in plan.steps if s.scratch), default=0),
        apart={name: plan.tensors[name].span_bytes for name in made if plan.tensors[name].offset is None},
    )


def made_with() -> dict[str, str]:
    """Versions that a plan remembers."""
    return {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}


# --- as a file --------------------------------------------------------------------------------------------------------


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write the file in one step: an interrupted save leaves the old file."""
    write_atomically(Path(path), bytes_from_plan(plan))


def bytes_from_plan(plan: Plan) -> bytes:
    """The file's bytes."""
    table, blob = {}, bytearray()
    for name, weight in plan.weights.items():
        blob += bytes(-len(blob) % ALIGN)
        table[name] = {"dtype": str(weight.dtype)[6:], "shape": list(weight.shape), "offset": len(blob)}
        flat = weight.detach().cpu().contiguous().flatten()
        blob += flat.view(torch.uint8).numpy().tobytes() if weight.numel() else b""
    values = {name: getattr(plan, name) for name in FIELDS} | {
        "format": FORMAT,
        "tensors": {name: dataclasses.asdict(spec) for name, spec in plan.tensors.items()},
        "steps": [dataclasses.asdict(step) for step in plan.steps],
        "weights": table,
        "weights_sha256": hashlib.sha256(blob).hexdigest(),
    }
    manifest = json.dumps(values, allow_nan=True, separators=(",", ":")).encode()
    head = HEAD.pack(MAGIC, len(manifest), hashlib.sha256(manifest).digest())
    return head + manifest + bytes(-(len(head) + len(manifest)) % ALIGN) + bytes(blob)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan, after every check. PlanError says what is wrong with the file."""
    try:
        data = bytearray(Path(path).read_bytes())
    except OSError as error:
        raise PlanError(f"The plan {Path(path).name} cannot be read: {error.strerror}. {AGAIN}") from None
    return plan_from_bytes(data)


def plan_from_bytes(data: bytes | bytearray) -> Plan:
    """The plan in a file's bytes."""
    values, blob = _checked_parts(bytearray(data))
    try:
        weights = {str(name): _weight(entry, blob) for name, entry in values.pop("weights").items()}
        plan: Plan = _made(Plan, values | {"weights": weights})
        for name in plan.tensors if plan.is_tuned else plan.inputs:
            _torch_type(plan.tensors[name].dtype)
        return plan
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, RecursionError) as error:
        raise PlanError(f"The plan's manifest does not make sense: {error!r}. {AGAIN}") from None


def _checked_parts(data: bytearray) -> tuple[dict[str, Any], memoryview]:
    """(manifest, weights), both as they were written."""
    if len(data) < HEAD.size or not data.startswith(MAGIC):
        raise PlanError(
            f"This is no plan of the glass box: it does not start with {MAGIC!r}. Save one with engine.save."
        )
    _, size, digest = HEAD.unpack_from(data)
    text = data[HEAD.size : HEAD.size + size]
    if len(text) != size or hashlib.sha256(text).digest() != digest:
        raise PlanError(f"The plan is damaged: its manifest is not what was written. {AGAIN}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"The plan's manifest is no JSON: {error}. {AGAIN}") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise PlanError(f"The plan has format {found!r}, this engine reads {FORMAT}. {AGAIN}")
    start = HEAD.size + size
    start += -start % ALIGN
    gap, blob = data[HEAD.size + size : start], memoryview(data)[start:]
    if any(gap) or hashlib.sha256(blob).hexdigest() != values.get("weights_sha256"):
        raise PlanError(f"The plan is damaged: its weights are not what was written. {AGAIN}")
    return values, blob


def _torch_type(word: Any) -> Any:
    if word not in DTYPES:
        raise TypeError(f"{word!r} is not one of {', '.join(DTYPES)}")
    return getattr(torch, word)


def _weight(entry: Mapping[str, Any], blob: memoryview) -> torch.Tensor:
    """A view of the file's bytes: nothing is copied."""
    shape, offset = _made(tuple[int, ...], entry["shape"]), _made(int, entry["offset"])
    dtype, count = _torch_type(entry["dtype"]), math.prod(shape)
    if offset + count * dtype.itemsize > len(blob):
        raise ValueError(f"a weight ends at byte {offset + count * dtype.itemsize} of {len(blob)}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(blob, dtype=dtype, count=count, offset=offset).reshape(shape)


def _made(kind: Any, value: Any) -> Any:
    """The value as a field of that type has it, from what JSON has. TypeError for one of another type: plans come from
    files. Integers are naturals here."""
    origin, (of, *more) = typing.get_origin(kind), typing.get_args(kind) or (None,)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**{f.name: _made(f.type, value[f.name]) for f in dataclasses.fields(kind) if f.name != "races"})
    if type(None) in more:
        return None if value is None else _made(of, value)
    if origin is tuple and isinstance(value, list):
        return tuple(_made(of, one) for one in value)
    if origin is Mapping and isinstance(value, dict):
        return {_made(of, key): _made(more[0], one) for key, one in value.items()}
    if kind is float:
        return float(value)
    if kind is not Any and (origin or not isinstance(value, kind) or isinstance(value, bool)):
        raise TypeError(f"{value!r} is not a {kind}")
    if kind is int and not 0 <= value < 2**48:
        raise TypeError(f"{value!r} is not a natural number")
    return value
