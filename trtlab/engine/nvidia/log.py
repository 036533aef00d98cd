r"""engine/nvidia/log: reads the builder's log.

In: log messages. Out: engine steps (from the VERBOSE message that starts with `Layers:`), memory figures, and the
messages that say why a build failed. With ProfilingVerbosity.DETAILED each engine step is one line:

    Name: conv1_myl0_1, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,3,8,8], Strides: [...], StrideOrder:
    [...], Datatype: Float, Format: (Linear) ... }], Constants: [...], Outputs: [...], TacticName: ..., StreamId: 0,
    Metadata: [ONNX Layer: conv1]\x1f[ONNX Layer: relu1]

Copies of shapes between host and GPU, and stops that wait for one, leave some fields out and have others. A line that
does not read like this, or whose tensors do not, is kept and reported, never guessed at. `names` sees to it that no
name in a model reads like part of it.
"""

import re
from collections.abc import Iterable, Sequence

from trtlab.engine.nvidia.report import Kernel, LogLine, MemoryFigures, TensorInfo

_TENSOR = (
    r"\{ Name: (?P<name>[^{}]*?)(?:, Location: \w+)?, Dimensions: \[(?P<shape>[-\d,]*)\]"
    r"(?:, Strides: \[(?P<strides>[-\d,]*)\], StrideOrder: \[[-\d,]*\])?"
    r", Datatype: (?P<dtype>[^,{}]+), Format: (?P<format>[^{}]*?) ?\}"
)
_TENSORS = rf"\[(?:,? ?{re.sub('P<[a-z]+>', ':', _TENSOR)})* ?\]"
_FIELDS = {  # what follows each of these words
    "LayerType": r"\w+", "Inputs": _TENSORS, "Constants": _TENSORS, "Outputs": _TENSORS, "ParameterType": r"\w+",
    r"shapeValues\d+": r"\[[-\d, ]*\]", "TacticName": r"[^\[\]{}]*", "TacticValue": r"0x[\da-f]+", "StreamId": r"\d+",
    "EventId": r"\d+", r"JumpTarget\w*": r"[^\[\]{}]*", "Metadata": r".*",
}  # fmt: skip
_NEEDED = {"LayerType", "Inputs", "Outputs", "StreamId", "Metadata"}
_WORD = re.compile(rf", ({'|'.join(_FIELDS)}): ?")
_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=$|[\x1e\x1f\[])", re.DOTALL)
_MEMORY = {
    "activation_bytes": re.compile(r"^Total Activation Memory: (\d+) bytes"),
    "weights_bytes": re.compile(r"^Total Weights Memory: (\d+) bytes"),
    "scratch_bytes": re.compile(r"^Max Scratch Memory: (\d+) bytes"),
    "host_persistent_bytes": re.compile(r"^Total Host Persistent Memory: (\d+) bytes"),
    "device_persistent_bytes": re.compile(r"^Total Device Persistent Memory: (\d+) bytes"),
}
_SPURIOUS = re.compile(  # this machine has no CUDA driver, or a logger exists already
    r"catchCudaError|cudaError.*\b35\b|CUDA driver version is insufficient|differs from one already registered"
)
_PLACES = re.compile(r"\s*\bIn \S+ at \S+:\d+|\s+at \S+:\d+|\[\w+\.cpp[^\]]*\] |^\w+\.cpp:\d+: ")
_DUMP = re.compile(r"operation:\s+\d+: (\w+): .*? \| (\S+?)\[\][^/]*// ([^,]+), ")
_FAILURES = ("INTERNAL_ERROR", "ERROR")


def onnx_nodes_from_metadata(metadata: str) -> tuple[str, ...]:
    r"""Node names inside `[ONNX Layer: a]\x1f[ONNX Layer: b]`, in order, each once."""
    return tuple(dict.fromkeys(_ONNX_NODE.findall(metadata)))


def steps_from_log(lines: Iterable[LogLine]) -> tuple[tuple[Kernel, ...], tuple[str, ...]]:
    """(engine steps in order, lines of the list that could not be read). Both empty when the log has no list."""
    steps: list[Kernel] = []
    unread: list[str] = []
    for message in (line.text for line in lines if line.text.startswith("Layers:\n")):
        listing = message.removeprefix("Layers:\n").partition("\nI/O Tensors:\n")[0]
        for text in filter(None, listing.split("\n")):
            step = _step_from_text(text)
            if step is None:
                unread.append(text)
            else:
                steps.append(step)
    return tuple(steps), tuple(unread)


def _step_from_text(text: str) -> Kernel | None:
    start, *rest = _WORD.split(text)
    forms = (form for word in rest[::2] for key, form in _FIELDS.items() if re.fullmatch(key, word))
    found, is_read = dict(zip(rest[::2], rest[1::2], strict=True)), all(map(re.fullmatch, forms, rest[1::2]))
    if not (is_read and start.startswith("Name: ") and found.keys() >= _NEEDED and 2 * len(found) == len(rest)):
        return None
    return Kernel(
        name=start.removeprefix("Name: "),
        type=found["LayerType"],
        tactic=found.get("TacticName", ""),
        stream=int(found["StreamId"]),
        event=int(found["EventId"]) if "EventId" in found else None,
        onnx_nodes=onnx_nodes_from_metadata(found["Metadata"]),
        inputs=_tensors_from_text(found["Inputs"]),
        constants=_tensors_from_text(found.get("Constants", "")),
        outputs=_tensors_from_text(found["Outputs"]),
    )


def _tensors_from_text(text: str) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            name=match["name"],
            shape=_integers(match["shape"]),
            strides=None if match["strides"] is None else _integers(match["strides"]),
            dtype=match["dtype"],
            format=match["format"].strip(),
        )
        for match in re.finditer(_TENSOR, text)
    )


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def memory_from_log(lines: Sequence[LogLine]) -> MemoryFigures:
    """The largest value of each memory figure in the log; None where the log has none."""
    found = {name: [int(m[1]) for line in lines if (m := form.match(line.text))] for name, form in _MEMORY.items()}
    return MemoryFigures(**{name: max(sizes) for name, sizes in found.items() if sizes})


def failures(lines: Sequence[LogLine]) -> tuple[str, ...]:
    """The error messages of a log in order, each once and readable, without the spurious ones."""
    texts = (line.text for line in lines if line.severity in _FAILURES and not _SPURIOUS.search(line.text))
    return tuple(dict.fromkeys(readable(text) for text in texts))


def readable(text: str) -> str:
    """A message of NVIDIA's without source positions, spurious lines and wrapping: what a person needs of it."""
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not _SPURIOUS.search(line) and not line.startswith("Invalid Node")
    ]
    plain = _DUMP.sub(r"\1 (node \3, which reads \2): ", _PLACES.sub("", " ".join(lines)))
    quoted = re.fullmatch(r'.+ && "(.*)"', plain.strip())
    if quoted:
        return quoted[1].rstrip("?.")
    wrapped = re.fullmatch(r"[\w:]+: Error Code \d+: [\w ]+ \((.*)\)", plain.strip())
    return (wrapped[1] if wrapped else plain).strip().rstrip(".")
