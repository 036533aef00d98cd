r"""engine/nvidia/log: what NVIDIA's library says while it works, caught and read.

In: messages of its logger, phases of its progress monitor, EngineInspector's JSON. Out: engine steps, memory figures,
phases, and the messages that say why a build failed. With ProfilingVerbosity.DETAILED the VERBOSE message that starts
with `Layers:` has one line for each engine step, in the words of EngineInspector:

    Name: conv1_myl0_1, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,3,8,8], Strides: [...], StrideOrder:
    [...], Datatype: Float, Format: (Linear) ... }], Constants: [...], Outputs: [...], TacticName: ..., StreamId: 0,
    Metadata: [ONNX Layer: conv1]\x1f[ONNX Layer: relu1]

Copies of shapes between host and GPU, and stops that wait for one, leave some fields out and have others. A line that
does not read like this, or whose tensors do not, is kept and reported, never guessed at. `names` sees to it that no
name in a model reads like part of it.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from trtlab.engine.nvidia.report import Kernel, LogLine, NetworkLayer, Phase, Progress, TensorInfo

STEP_INTERVAL_S = 0.03
_TENSOR = (
    r"\{ Name: (?P<Name>[^{}]*?)(?:, Location: \w+)?, Dimensions: \[(?P<Dimensions>[-\d,]*)\]"
    r"(?:, Strides: \[(?P<Strides>[-\d,]*)\], StrideOrder: \[[-\d,]*\])?"
    r", Datatype: (?P<Datatype>[^,{}]+), Format: (?P<Format>[^{}]*?) *\}"
)
_TENSORS = rf"\[(?:,? ?{re.sub('P<[A-Za-z]+>', ':', _TENSOR)})* ?\]"
_FIELDS = {  # what follows each of these words
    "LayerType": r"\w+", "Inputs": _TENSORS, "Constants": _TENSORS, "Outputs": _TENSORS, "ParameterType": r"\w+",
    r"shapeValues\d+": r"\[[-\d, ]*\]", "TacticName": r"[^\[\]{}]*", "TacticValue": r"0x[\da-f]+", "StreamId": r"\d+",
    "EventId": r"\d+", r"JumpTarget\w*": r"[^\[\]{}]*", "Metadata": r".*",
}  # fmt: skip
_SIDES = ("Inputs", "Constants", "Outputs")
_NEEDED = {"LayerType", "Inputs", "Outputs", "StreamId", "Metadata"}
_WORD = re.compile(rf", ({'|'.join(_FIELDS)}): ?")
_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=$|[\x1e\x1f\[])", re.DOTALL)
_MEMORY = re.compile(r"(?:Total|Max) ([\w ]+) Memory: (\d+) bytes")
_SPURIOUS = re.compile(  # this machine has no CUDA driver, or a logger exists already
    r"catchCudaError|cudaError.*\b35\b|CUDA driver version is insufficient|differs from one already registered"
)
_PLACES = re.compile(r"\s*\bIn \S+ at \S+:\d+|\s+at \S+:\d+|\[\w+\.cpp[^\]]*\] |^\w+\.cpp:\d+: ")
_DUMP = re.compile(r"operation:\s+\d+: (\w+): .*? \| (\S+?)\[\][^/]*// ([^,]+), ")


# --- engine steps -----------------------------------------------------------------------------------------------------


def onnx_nodes_from_metadata(metadata: str) -> tuple[str, ...]:
    r"""Node names inside `[ONNX Layer: a]\x1f[ONNX Layer: b]`, in order, each once."""
    return tuple(dict.fromkeys(_ONNX_NODE.findall(metadata)))


def steps_from_log(lines: Iterable[LogLine]) -> tuple[tuple[Kernel, ...], tuple[str, ...]]:
    """(engine steps in order, lines of the list that could not be read). Both empty when the log has no list."""
    messages = (line.text for line in lines if line.text.startswith("Layers:\n"))
    listings = (text.removeprefix("Layers:\n").partition("\nI/O Tensors:\n")[0] for text in messages)
    read = [(text, _step_from_text(text)) for listing in listings for text in listing.split("\n") if text]
    return tuple(step for _, step in read if step), tuple(text for text, step in read if step is None)


def _step_from_text(text: str) -> Kernel | None:
    start, *rest = _WORD.split(text)
    forms = (form for word in rest[::2] for key, form in _FIELDS.items() if re.fullmatch(key, word))
    found, is_read = dict(zip(rest[::2], rest[1::2], strict=True)), all(map(re.fullmatch, forms, rest[1::2]))
    if not (is_read and start.startswith("Name: ") and found.keys() >= _NEEDED and 2 * len(found) == len(rest)):
        return None
    found.pop("TacticValue", None)  # a number, of steps that have no tactic
    sides = {side: [match.groupdict() for match in re.finditer(_TENSOR, found.get(side, ""))] for side in _SIDES}
    return _step(found | sides | {"Name": start.removeprefix("Name: ")})


def steps_from_inspector(text: str) -> tuple[Kernel, ...]:
    """Engine steps in order, from `get_engine_information(LayerInformationFormat.JSON)`. ValueError when the engine was
    not built with ProfilingVerbosity.DETAILED. TensorRT 10 joins `Format/Datatype` in one field, 11 splits them; both
    as documented, not yet run against tensorrt on a GPU."""
    layers = json.loads(text).get("Layers", [])
    if any(isinstance(layer, str) for layer in layers):
        raise ValueError("the inspector returned names only: expected an engine built with ProfilingVerbosity.DETAILED")
    return tuple(map(_step, layers))


def _step(fields: Mapping[str, Any]) -> Kernel:
    """The step that has these fields, in the inspector's words."""
    inputs, constants, outputs = (
        tuple(_tensor(tensor) for tensor in fields.get(side, []) if isinstance(tensor, dict)) for side in _SIDES
    )
    return Kernel(
        name=fields["Name"],
        type=fields.get("LayerType", ""),
        tactic=str(fields.get("TacticName") or fields.get("TacticValue") or ""),
        stream=int(fields.get("StreamId", 0)),
        event=None if fields.get("EventId") is None else int(fields["EventId"]),
        onnx_nodes=onnx_nodes_from_metadata(fields.get("Metadata") or ""),
        inputs=inputs,
        constants=constants,
        outputs=outputs,
    )


def _tensor(fields: Mapping[str, Any]) -> TensorInfo:
    joined, strides = fields.get("Format/Datatype", ""), fields.get("Strides")
    return TensorInfo(
        name=fields["Name"],
        shape=_integers(fields.get("Dimensions", [])),
        dtype=fields.get("Datatype") or joined.rpartition(" ")[2] or "?",
        strides=None if strides is None else _integers(strides),
        format=fields.get("Format") or joined or None,
    )


def _integers(sizes: str | Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in (sizes.split(",") if isinstance(sizes, str) else sizes) if size != "")


# --- memory and failures ----------------------------------------------------------------------------------------------


def memory_from_log(lines: Sequence[LogLine]) -> dict[str, int | None]:
    """The largest value of each memory figure in the log, by names such as `activation_bytes`: with several
    optimisation profiles one execution context runs one of them at a time."""
    sizes = dict[str, int | None]()
    for said in filter(None, (_MEMORY.match(line.text) for line in lines)):
        name = f"{said[1].lower().replace(' ', '_')}_bytes"
        sizes[name] = max(int(said[2]), sizes.get(name) or 0)
    return sizes


def failures(lines: Sequence[LogLine]) -> tuple[str, ...]:
    """The error messages of a log in order, each once and readable, without the spurious ones."""
    texts = (
        line.text for line in lines if line.severity in ("INTERNAL_ERROR", "ERROR") and not _SPURIOUS.search(line.text)
    )
    return tuple(dict.fromkeys(readable(text) for text in texts))


def readable(text: str) -> str:
    """A message of NVIDIA's without source positions, spurious lines and wrapping: what a person needs of it."""
    lines = (line for line in text.splitlines() if not _SPURIOUS.search(line) and not line.startswith("Invalid Node"))
    plain = _DUMP.sub(r"\1 (node \3, which reads \2): ", _PLACES.sub("", " ".join(filter(None, lines)))).strip()
    inside = re.fullmatch(r'.+ && "(.*)"|[\w:]+: Error Code \d+: [\w ]+ \((.*)\)', plain)
    return (plain if inside is None else inside[1] or inside[2]).strip().rstrip("?.")


# --- what a task hears ------------------------------------------------------------------------------------------------


class Session:
    """What the steps of one request read and write. `emit` gets ("progress", Progress), a few dozen times a second, and
    ("warning", text)."""

    def __init__(self, trt: ModuleType, logger: Any, emit: Callable[[str, Any], None]) -> None:
        self.trt, self.logger, self.emit = trt, logger, emit
        self.lines: list[LogLine] = []
        self.phases: list[Phase] = []
        self._open, self._started, self._told_at = dict[str, Progress](), time.perf_counter(), 0.0
        logger.lines = self.lines

    def tell(self, name: str, parent: str | None = None, *, step: int = 0, steps: int = 0, done: bool = False) -> None:
        """A phase began, has come to a step, or is done: only the first call says where it stands, and how long."""
        now = time.perf_counter() - self._started
        opened = self._open.setdefault(
            name, Progress(name=name, parent=parent, step=0, steps=steps, done=False, seconds=now)
        )
        if done:
            del self._open[name]
            start, parent, steps, step = opened.seconds, opened.parent, opened.steps, opened.steps
            self.phases.append(Phase(name=name, parent=parent, start_s=start, seconds=now - start, steps=steps))
        if done or step == 0 or now - self._told_at >= STEP_INTERVAL_S:
            self._told_at = now
            self.emit("progress", replace(opened, step=step, done=done, seconds=now))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase of our own around a `with` block; it stays open when the block raises."""
        self.tell(name)
        yield
        self.tell(name, done=True)


def make_logger(trt: ModuleType) -> Any:
    """A logger that appends to `logger.lines`. One per process: the library keeps the first it is given."""

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        lines: list[LogLine]

        def log(self, severity: Any, message: str) -> None:
            self.lines.append(LogLine(severity=severity.name, text=message))

    return Logger()


def make_monitor(session: Session) -> Any:
    """A progress monitor that reports phases. It never stops a build: a cancel ends the worker."""

    class Monitor(session.trt.IProgressMonitor):  # type: ignore[name-defined]
        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            session.tell(name, parent or "build", steps=steps)

        def step_complete(self, name: str, step: int) -> bool:
            session.tell(name, step=step)
            return True

        def phase_finish(self, name: str) -> None:
            session.tell(name, done=True)

    return Monitor()


# --- networks and flags as plain values ------------------------------------------------------------------------------


def describe_network(network: Any) -> dict[str, Any]:
    """Inputs, outputs and layers of a network definition as plain values."""
    return {
        "inputs": tuple(map(_info, map(network.get_input, range(network.num_inputs)))),
        "outputs": tuple(map(_info, map(network.get_output, range(network.num_outputs)))),
        "layers": tuple(map(_layer, map(network.get_layer, range(network.num_layers)))),
    }


def _layer(layer: Any) -> NetworkLayer:
    return NetworkLayer(
        name=layer.name,
        type=layer.type.name,
        onnx_nodes=onnx_nodes_from_metadata(layer.metadata),
        inputs=tuple(map(_info, filter(None, map(layer.get_input, range(layer.num_inputs))))),
        outputs=tuple(map(_info, filter(None, map(layer.get_output, range(layer.num_outputs))))),
    )


def _info(tensor: Any) -> TensorInfo:
    try:
        shape = tuple(int(size) for size in tensor.shape)
    except ValueError:  # the rank itself is not known yet
        shape = ()
    return TensorInfo(name=tensor.name, shape=shape, dtype=tensor.dtype.name)


def inspector_json(trt: ModuleType, engine: Any) -> str:
    """EngineInspector's JSON about the whole engine: its layers, if it was built with DETAILED verbosity."""
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
