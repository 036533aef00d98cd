"""engine/glassbox/plan: what a plan says: tensors, weights, and steps in order; and how it becomes one file.

    magic, 16 bytes | size of the manifest, 8 | SHA-256 of the manifest, 32, and of the rest, 32 | manifest | weights

The manifest is JSON; spaces behind it and zeros behind each weight align all weights to 64 bytes. Every byte is covered
and nothing is ever executed. What does not fit is a PlanError: tests/engine/glassbox/test_planfile.py mutates files.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import struct
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from trtlab.engine.glassbox.errors import GlassboxError, PlanError

if TYPE_CHECKING:
    from trtlab.plan.tactics import Race

DTYPES = tuple("float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool".split())
"""Types of tensors, under torch's names."""
MAGIC = b"trtlab.glassbox\n"
FORMAT = 4
"""Raised whenever an older reader would misunderstand the file."""
HEAD = struct.Struct("<16sQ32s32s")
ALIGN = 64


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

    @property
    def variables(self) -> dict[str, str]:
        """A Python name for each tensor, in the schedule: names in plans may be anything."""
        return {name: f"t{number}" for number, name in enumerate(self.tensors)}


@contextlib.contextmanager
def making_sense(what: str) -> Iterator[None]:
    """Plans come from files: whatever their values break is a PlanError."""
    try:
        yield
    except (GlassboxError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - nobody knows what a false value breaks
        why = f"{type(error).__name__}: {error}"
        raise PlanError(f"{what} does not make sense: {why}. Build the plan again.") from None


def bytes_from_plan(plan: Plan) -> bytes:
    """The file's bytes."""
    table, blob = dict[str, Any](), bytearray()
    for name, weight in plan.weights.items():
        spec = TensorSpec(dtype=str(weight.dtype)[6:], shape=tuple(weight.shape), offset=len(blob))
        table[name] = dataclasses.asdict(spec)
        blob += weight.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        blob += bytes(-len(blob) % ALIGN)
    values = dataclasses.asdict(dataclasses.replace(plan, weights={}, races=()))
    text = json.dumps(values | {"weights": table, "format": FORMAT}, separators=(",", ":")).encode()
    text += b" " * (-(HEAD.size + len(text)) % ALIGN)
    return HEAD.pack(MAGIC, len(text), *(hashlib.sha256(part).digest() for part in (text, blob))) + text + blob


def plan_from_bytes(data: bytes) -> Plan:
    """The plan in a file's bytes, after every check. PlanError says what is wrong, and where."""
    if len(data) < HEAD.size or not data.startswith(MAGIC):
        what = f"it does not start with {MAGIC!r} and {HEAD.size - len(MAGIC)} bytes more"
        raise PlanError(f"This is no plan of the glass box: {what}. Save one with engine.save.")
    _, size, *digests = HEAD.unpack_from(data)
    body = memoryview(bytearray(data))[HEAD.size :]  # torch shares what may be written to
    for what, part, digest in zip(("manifest is", "weights are"), (body[:size], body[size:]), digests, strict=True):
        if hashlib.sha256(part).digest() != digest:
            raise PlanError(f"The plan is damaged: its {what} not what was written. Build and save it again.")
    with making_sense("The plan's manifest"):
        values = json.loads(bytes(body[:size]))
        if (found := values["format"]) != FORMAT:
            raise PlanError(f"The plan has format {found!r}, this engine reads {FORMAT}. Build and save it again.")
        specs = _made(Mapping[str, TensorSpec], values["weights"])
        plan: Plan = _made(Plan, values | {"weights": {}})
        _check(plan, specs)
        return dataclasses.replace(plan, weights={name: _weight(spec, body[size:]) for name, spec in specs.items()})


def _weight(spec: TensorSpec, blob: memoryview) -> torch.Tensor:
    """A view of the file's bytes: nothing is copied."""
    shape, dtype, start = spec.shape or (), getattr(torch, spec.dtype), spec.offset or 0
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(blob, dtype=dtype, count=math.prod(shape), offset=start).reshape(shape)


def _made(kind: Any, value: Any) -> Any:
    """The value as a field of that type has it, from what JSON has. TypeError for one of another type. Integers are
    naturals here."""
    origin, (of, *more) = typing.get_origin(kind), typing.get_args(kind) or (None,)
    if dataclasses.is_dataclass(kind):
        fields = [field for field in dataclasses.fields(kind) if field.name != "races"]
        return typing.cast(Any, kind)(**{field.name: _made(field.type, value[field.name]) for field in fields})
    if type(None) in more:
        return None if value is None else _made(of, value)
    if origin is tuple and isinstance(value, list):
        return tuple(_made(of, one) for one in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _made(more[0], one) for key, one in value.items()}
    if kind is float:
        return float(value)
    if kind is not Any and (origin or not isinstance(value, kind) or isinstance(value, bool)):
        raise TypeError(f"{value!r} is not a {kind}")
    if kind is int and not 0 <= value < 2**48:
        raise TypeError(f"{value!r} is not a natural number")
    return value


def _check(plan: Plan, weights: Mapping[str, TensorSpec]) -> None:
    """ValueError unless every step reads what is there, and everything placed in the arena lies inside it."""
    known, ends = {*plan.inputs, *weights}, {*plan.inputs, *plan.outputs}
    for step in plan.steps:
        made = {*step.outputs} - {""}
        if lost := {*step.inputs} - known - {""}:
            raise ValueError(f"kernel {step.name!r} reads {min(lost)!r}, which nothing makes")
        if again := made & known:
            raise ValueError(f"kernel {step.name!r} writes {min(again)!r}, which is there already")
        known, ends = known | made, ends | made
    if lost := (ends - plan.tensors.keys()) | ({*plan.outputs} - known):
        raise ValueError(f"nothing makes or describes {min(lost)!r}")
    sure = plan.tensors.values() if plan.is_tuned else [plan.tensors[name] for name in plan.inputs]
    if strange := {spec.dtype for spec in (*weights.values(), *sure)}.difference(DTYPES):
        raise ValueError(f"{min(strange)!r} is not one of {', '.join(DTYPES)}")
    for name, spec in plan.tensors.items():
        is_whole = spec.shape is not None and len(spec.strides) == len(spec.shape)
        if spec.offset is not None and not (is_whole and spec.offset + spec.span_bytes <= plan.arena_bytes):
            raise ValueError(f"{name!r} does not fit into the arena of {plan.arena_bytes} bytes")
