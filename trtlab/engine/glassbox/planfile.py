"""engine/glassbox/planfile: a plan as one file. JSON manifest, raw weights, checksums; nothing in it is ever executed.

    magic, 16 bytes | size of the manifest, 8 | its SHA-256, 32 | manifest | zeros | weights, 64-byte aligned

The manifest holds the SHA-256 of the weights, so every byte of the file is covered. In and out: a `Plan`. What does not
fit is a PlanError; tests/engine/glassbox/test_planfile.py mutates files by the thousand.
"""

import dataclasses
import hashlib
import json
import os
import platform
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from trtlab.engine.files import write_atomically
from trtlab.engine.glassbox.errors import PlanError
from trtlab.engine.glassbox.plan import DTYPES, Plan, Step, TensorSpec

MAGIC = b"trtlab.glassbox\n"
FORMAT = 1
"""Raised whenever an older reader would misunderstand the file."""
HEAD = struct.Struct("<16sQ32s")
ALIGN = 64
AGAIN = "Build and save it again."


def made_with() -> dict[str, str]:
    """Versions that a plan remembers."""
    return {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write the file in one step: an interrupted save leaves the old file."""
    write_atomically(Path(path), bytes_from_plan(plan))


def bytes_from_plan(plan: Plan) -> bytes:
    """The file's bytes."""
    table, blob = {}, bytearray()
    for name, weight in plan.weights.items():
        blob += bytes(-len(blob) % ALIGN)
        raw = (
            weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if weight.numel() else b""
        )
        dtype = str(weight.dtype).removeprefix("torch.")
        table[name] = {"dtype": dtype, "shape": list(weight.shape), "offset": len(blob)}
        blob += raw
    values = {
        f.name: getattr(plan, f.name) for f in dataclasses.fields(plan) if f.name not in ("tensors", "weights", "steps")
    }
    values |= {
        "format": FORMAT,
        "tensors": {name: dataclasses.asdict(spec) for name, spec in plan.tensors.items()},
        "steps": [dataclasses.asdict(step) for step in plan.steps],
        "weights": table,
        "weights_bytes": len(blob),
        "weights_sha256": hashlib.sha256(blob).hexdigest(),
    }
    manifest = json.dumps(values, allow_nan=True, separators=(",", ":")).encode()
    head = HEAD.pack(MAGIC, len(manifest), hashlib.sha256(manifest).digest())
    gap = bytes(-(len(head) + len(manifest)) % ALIGN)
    return head + manifest + gap + bytes(blob)


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
        return _plan(values, blob)
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


def _plan(values: Mapping[str, Any], blob: memoryview) -> Plan:
    tensors = {_text(name): _spec(spec) for name, spec in values["tensors"].items()}
    plan = Plan(
        device=_text(values["device"]),
        precision=_text(values["precision"]),
        inputs=_texts(values["inputs"]),
        outputs=_texts(values["outputs"]),
        tensors=tensors,
        weights={_text(name): _weight(entry, blob) for name, entry in values["weights"].items()},
        steps=tuple(_step(step) for step in _list(values["steps"])),
        arena_bytes=_natural(values["arena_bytes"]),
        made_with={_text(k): _text(v) for k, v in values["made_with"].items()},
    )
    for name in tensors if plan.is_tuned else plan.inputs:
        _dtype(tensors[name].dtype)
    return plan


def _spec(value: Mapping[str, Any]) -> TensorSpec:
    offset = value["offset"]
    return TensorSpec(
        dtype=_dtype(value["dtype"]) if value["dtype"] != "" else "",
        shape=None if value["shape"] is None else _naturals(value["shape"]),
        strides=_naturals(value["strides"]),
        offset=None if offset is None else _natural(offset),
    )


def _step(value: Mapping[str, Any]) -> Step:
    if not isinstance(value["attributes"], dict):
        raise TypeError(f"attributes are {value['attributes']!r}, not a table")
    return Step(
        kernel=_text(value["kernel"]),
        tactic=_text(value["tactic"]),
        inputs=_texts(value["inputs"]),
        outputs=_texts(value["outputs"]),
        attributes=value["attributes"],
        nodes=_texts(value["nodes"]),
        time_us=float(value["time_us"]),
    )


def _weight(entry: Mapping[str, Any], blob: memoryview) -> torch.Tensor:
    """A view of the file's bytes: nothing is copied."""
    dtype, shape, offset = getattr(torch, _dtype(entry["dtype"])), _naturals(entry["shape"]), _natural(entry["offset"])
    count = 1
    for size in shape:
        count *= size
    if offset + count * dtype.itemsize > len(blob):
        raise ValueError(f"a weight ends at byte {offset + count * dtype.itemsize} of {len(blob)}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(blob, dtype=dtype, count=count, offset=offset).reshape(shape)


def _kind(what: str, fits: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not fits(value):
            raise TypeError(f"{value!r} is not {what}")
        return value

    return check


_text = _kind("a text", lambda v: isinstance(v, str))
_natural = _kind("a natural number", lambda v: type(v) is int and 0 <= v < 2**48)
_dtype = _kind(f"one of {', '.join(DTYPES)}", lambda v: v in DTYPES)


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(v) for v in _list(values))


def _naturals(values: Any) -> tuple[int, ...]:
    return tuple(_natural(v) for v in _list(values))


_list = _kind("a list", lambda v: isinstance(v, list))
