r"""engine/nvidia/log: reads the builder's log.

In: log messages. Out: engine steps (from the VERBOSE message that starts with `Layers:`), memory figures, and the
messages that say why a build failed. With ProfilingVerbosity.DETAILED each engine step is one line:

    Name: conv1_myl0_1, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,3,8,8], Strides: [...], StrideOrder:
    [...], Datatype: Float, Format: (Linear) ... }], Constants: [...], Outputs: [...], TacticName: ..., StreamId: 0,
    Metadata: [ONNX Layer: conv1]\x1f[ONNX Layer: relu1]

A line that does not read like this is kept and reported, never guessed at.
"""

import re
from collections.abc import Iterable, Sequence

from trtlab.engine.nvidia.report import Kernel, LogLine, MemoryFigures, TensorInfo

_STEP = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>\w+), Inputs: \[(?P<inputs>.*)\], Constants: \[(?P<constants>.*)\], "
    r"Outputs: \[(?P<outputs>.*)\], TacticName: (?P<tactic>.*?), StreamId: (?P<stream>\d+)"
    r"(?:, EventId: (?P<event>\d+))?(?:, JumpTarget\w*: [^,]*)*, Metadata: ?(?P<metadata>.*)$",
    re.DOTALL,
)
_TENSOR = re.compile(
    r"\{ Name: (?P<name>.*?), Dimensions: \[(?P<shape>[-\d,]*)\], Strides: \[(?P<strides>[-\d,]*)\], "
    r"StrideOrder: \[[-\d,]*\], Datatype: (?P<dtype>[^,]+), Format: (?P<format>[^{}]*?) ?\}",
    re.DOTALL,
)
_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=$|[\x1e\x1f\[])", re.DOTALL)
_MEMORY = {
    "activation_bytes": re.compile(r"^Total Activation Memory: (\d+) bytes"),
    "weights_bytes": re.compile(r"^Total Weights Memory: (\d+) bytes"),
    "scratch_bytes": re.compile(r"^Max Scratch Memory: (\d+) bytes"),
    "host_persistent_bytes": re.compile(r"^Total Host Persistent Memory: (\d+) bytes"),
    "device_persistent_bytes": re.compile(r"^Total Device Persistent Memory: (\d+) bytes"),
}
_SPURIOUS = re.compile(
    r"catchCudaError|cudaError.*\b35\b|CUDA driver version is insufficient|differs from one already registered"
)
_FAILURES = ("INTERNAL_ERROR", "ERROR")


def onnx_nodes_from_metadata(metadata: str) -> tuple[str, ...]:
    r"""Node names inside `[ONNX Layer: a]\x1f[ONNX Layer: b]`, in order, each once."""
    return tuple(dict.fromkeys(_ONNX_NODE.findall(metadata)))


def steps_from_log(lines: Iterable[LogLine]) -> tuple[tuple[Kernel, ...], tuple[str, ...]]:
    """(engine steps in order, lines of the list that could not be read). Both empty when the log has no list."""
    steps: list[Kernel] = []
    unread: list[str] = []
    for message in (line.text for line in lines if line.text.startswith("Layers:\n")):
        listing = re.split(r"\n+I/O Tensors:\n(?!.*\nI/O Tensors:\n)", message, flags=re.DOTALL)[0].removeprefix(
            "Layers:\n"
        )
        for text in re.split(r"\n(?=Name: )", listing.strip("\n")):
            step = _step_from_text(text)
            if step is None:
                unread.append(text)
            else:
                steps.append(step)
    return tuple(steps), tuple(filter(None, unread))


def _step_from_text(text: str) -> Kernel | None:
    match = _STEP.match(text)
    if match is None:
        return None
    return Kernel(
        name=match["name"],
        type=match["type"],
        tactic=match["tactic"],
        stream=int(match["stream"]),
        event=int(match["event"]) if match["event"] else None,
        onnx_nodes=onnx_nodes_from_metadata(match["metadata"]),
        inputs=_tensors_from_text(match["inputs"]),
        constants=_tensors_from_text(match["constants"]),
        outputs=_tensors_from_text(match["outputs"]),
    )


def _tensors_from_text(text: str) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(
            name=match["name"],
            shape=_integers(match["shape"]),
            strides=_integers(match["strides"]),
            dtype=match["dtype"],
            format=match["format"].strip(),
        )
        for match in _TENSOR.finditer(text)
    )


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def memory_from_log(lines: Iterable[LogLine]) -> MemoryFigures:
    """The largest value of each memory figure in the log; None where the log has none."""
    found: dict[str, int] = {}
    for line in lines:
        for name, pattern in _MEMORY.items():
            if match := pattern.match(line.text):
                found[name] = max(found.get(name, 0), int(match[1]))
    return MemoryFigures(**found)


def is_spurious(text: str) -> bool:
    """Whether a message only says that this machine has no CUDA driver, or that a logger exists already."""
    return _SPURIOUS.search(text) is not None


def failures(lines: Sequence[LogLine]) -> tuple[str, ...]:
    """The error messages of a log in order, each once and readable, without the spurious ones."""
    texts = (line.text for line in lines if line.severity in _FAILURES and not is_spurious(line.text))
    return tuple(dict.fromkeys(readable(text) for text in texts))


def shortened(name: str, limit: int = 120) -> str:
    """A name that fits into a sentence."""
    return name if len(name) <= limit else f"{name[:limit]}…"


def readable(text: str) -> str:
    """A message of NVIDIA's without source positions, spurious lines and wrapping: what a person needs of it."""
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not is_spurious(line) and not line.startswith("Invalid Node")
    ]
    plain = re.sub(r"\s*\bIn \w+ at \S+:\d+|\s+at \S+:\d+", "", " ".join(lines))
    quoted = re.fullmatch(r'.+ && "(.*)"', plain.strip())
    if quoted:
        return quoted[1].rstrip("?.")
    wrapped = re.fullmatch(r"[\w:]+: Error Code \d+: [\w ]+ \((.*)\)", plain.strip())
    return (wrapped[1] if wrapped else plain).strip().rstrip(".")
