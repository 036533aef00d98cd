"""engine/nvidia/report: what a build is asked for, and what it said about itself, as frozen values.

In: options; figures collected by the worker. Out: `BuildRequest`, which the worker gets, and `BuildReport`, which
notebooks, the command line and recordings read and which round-trips through JSON. Tests compare it with the raw log.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from trtlab.engine.measure import Provenance
from trtlab.engine.nvidia.errors import BuildError
from trtlab.engine.recordings import converter, read

NOT_KERNELS = frozenset("signal wait shape_call jmp cjmp ShapeHostToDevice DeviceToShapeHost TrainStation".split())
"""Engine steps that launch nothing on the GPU: two halves of an event between streams, shape arithmetic on the host,
the jumps of If and Loop, copies of shapes from and to the host, and stops where it waits for one."""
_SUBGRAPH = re.compile(r"_myl(\d+)_\d+$")
_DERIVED = ("kernels", "activation_bytes", "weights_bytes")
_KERNEL_TABLE = ("name", "type", "dtype", "stream", "tactic", "onnx_nodes")


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """A tensor as the compiler prints it. -1 in `shape` is a dynamic dimension; `strides` count elements."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None
    format: str | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkLayer:
    """One layer of the network definition, as the parser made it, before any optimisation."""

    name: str
    type: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def is_constant(self) -> bool:
        """Constants are counted apart: a parser may make thousands of them, and none is work."""
        return self.type == "CONSTANT"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One step of the engine. `onnx_nodes` are the nodes merged into it; a kernel with none moves data or computes
    something the compiler invented. `tactic` is the chosen implementation: `__myelin_CASK_STUB` means that the
    just-in-time compiler chooses on the device."""

    name: str
    type: str
    tactic: str
    stream: int
    onnx_nodes: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    constants: tuple[TensorInfo, ...] = ()
    event: int | None = None

    @property
    def dtype(self) -> str:
        """What the kernel writes (`Float`, `Half`, `Int8`, ...); empty for a step without tensors."""
        tensors = self.outputs or self.inputs
        return tensors[0].dtype if tensors else ""

    @property
    def is_launch(self) -> bool:
        """Whether the step launches a kernel, as opposed to synchronising streams or computing a shape."""
        return self.type not in NOT_KERNELS


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of the work: `start_s` and `seconds` on the worker's clock, from the moment the model arrived."""

    name: str
    parent: str | None
    start_s: float
    seconds: float
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One event of a running build. `step` of `steps` where the phase counts; `done` when the phase has ended."""

    name: str
    parent: str | None
    step: int
    steps: int
    done: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One message of the compiler; `severity` as NVIDIA names it, or STDERR for what bypassed the logger."""

    severity: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An optimisation profile: for each dynamic input its minimum, optimum and maximum shape."""

    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """How to build a model. Its bytes travel beside it, unless it has a `path`. `targets` holds names such as SM89, or
    `portable`; empty means this machine's GPU. `stop_after` is `parse` or `build`. BuildError for a senseless option.
    """

    name: str = "model"
    path: str | None = None
    targets: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    set_flags: Sequence[str] = ()
    clear_flags: Sequence[str] = ()
    workspace_bytes: int | None = None
    max_aux_streams: int | None = None
    stop_after: str = "build"

    def __post_init__(self) -> None:
        if self.stop_after not in ("parse", "build"):
            raise BuildError(f"stop_after is {self.stop_after!r}.", hint="Expected 'parse' or 'build'.")
        for size in (self.workspace_bytes, self.max_aux_streams):
            if size is not None and (not isinstance(size, int) or size < 0):
                hint = "workspace_bytes and max_aux_streams are whole numbers, 0 or more, or None for the default."
                raise BuildError(f"{size!r} is no size.", hint=hint)


@dataclass(frozen=True, kw_only=True, repr=False)
class BuildReport:
    """Everything one build tells. The plan itself is `plan` (bytes; empty in recordings, which keep size and hash).

    `steps` is the engine in order; `kernels` are those steps that launch something. ONNX constants and network
    constants are counted apart from the nodes that compute.
    """

    model_name: str
    model_sha256: str
    onnx_nodes: int
    onnx_constants: int
    compiler: str
    compiler_version: str
    targets: tuple[str, ...]
    flags: tuple[str, ...]
    profiles: tuple[Profile, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    layers: tuple[NetworkLayer, ...]
    steps: tuple[Kernel, ...]
    memory: dict[str, int | None]
    phases: tuple[Phase, ...]
    log: tuple[LogLine, ...]
    unread_lines: tuple[str, ...]
    plan_size_bytes: int
    provenance: Provenance
    plan: bytes = field(repr=False)
    recorded_plan_sha256: str | None = None

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The steps that launch a kernel, in execution order."""
        return tuple(step for step in self.steps if step.is_launch)

    @property
    def activation_bytes(self) -> int | None:
        """Device memory for intermediate tensors, planned once per execution context."""
        return self.memory.get("activation_bytes")

    @property
    def weights_bytes(self) -> int | None:
        """Weights inside the plan, in the precision the kernels want."""
        return self.memory.get("weights_bytes")

    @functools.cached_property
    def plan_sha256(self) -> str:
        """Hash of the plan; a recording without its plan keeps the hash it had."""
        return self.recorded_plan_sha256 or hashlib.sha256(self.plan).hexdigest()

    @property
    def layer_counts(self) -> tuple[int, int]:
        """(layers that compute, constant layers) of the network definition."""
        constants = sum(layer.is_constant for layer in self.layers)
        return len(self.layers) - constants, constants

    def kernels_by_profile(self) -> tuple[tuple[Kernel, ...], ...]:
        """The kernels of each optimisation profile: one run launches those of one. The builder names them `_myl0_`,
        `_myl1_`; where such numbers and profiles do not match one to one, all kernels come as one group."""
        numbers = [match[1] if (match := _SUBGRAPH.search(kernel.name)) else "" for kernel in self.kernels]
        found = list(dict.fromkeys(numbers))
        if len(self.profiles) < 2 or len(found) != len(self.profiles):
            return (self.kernels,)
        return tuple(tuple(k for k, n in zip(self.kernels, numbers, strict=True) if n == one) for one in found)

    def __repr__(self) -> str:
        """One line; the whole report is in its attributes, `to_json()` and trtlab.teach.draw_engine(report)."""
        targets = ", ".join(self.targets) or "this GPU"
        made = f"{self.onnx_nodes} ONNX nodes -> {len(self.kernels)} kernels" if self.steps else "parsed only"
        return f"<BuildReport {self.model_name}: {made} for {targets}, {self.provenance.line()}>"

    def phase_seconds(self, name: str) -> float:
        """Seconds of a top-level phase: `check`, `parse`, `configure` or `build`. KeyError names the choices."""
        top = {phase.name: phase.seconds for phase in self.phases if phase.parent is None}
        if name not in top:
            raise KeyError(f"no phase {name!r}; this report has {', '.join(top)}")
        return top[name]

    def without_plan(self) -> "BuildReport":
        """The same report without the plan's bytes, for recordings; size and hash stay."""
        return dataclasses.replace(self, plan=b"", recorded_plan_sha256=self.plan_sha256)

    def to_json(self, indent: int | None = None) -> str:
        """The whole report as JSON text; the plan in base85. For readers, `kernels`, `activation_bytes` and
        `weights_bytes` are written besides the facts that they follow from."""
        values = converter().unstructure(self)
        values["kernels"] = [{name: getattr(kernel, name) for name in _KERNEL_TABLE} for kernel in self.kernels]
        values |= {"activation_bytes": self.activation_bytes, "weights_bytes": self.weights_bytes}
        return json.dumps(values, indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "BuildReport":
        """The report that `to_json` wrote. ValueError names what is wrong when the text is something else."""
        return read(cls, text, without=_DERIVED)
