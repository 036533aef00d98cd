"""lab/workflow: the TensorRT workflow, described once: its stages in order, what each does and makes, by which call.

In: a teaching model's name, a precision, a target. Out: `WORKFLOW`, the description, and a frozen `StageRecord` for
each stage that ran: what went in, what came out, seconds, the artefact, a log excerpt, LIVE or RECORDED, and where a
stage is not possible here, why. The answer is checked against torch, which shares nothing with the compiler.
"""

import enum
import functools
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trtlab.engine import machine, planfile, recordings
from trtlab.engine.measure import Provenance, live
from trtlab.engine.networks import teaching_model
from trtlab.engine.nvidia import BuildReport, Progress, choose_compiler, explain
from trtlab.engine.nvidia.errors import BuildCancelled, CompilerError, CompilerMissing, ExecutionImpossible
from trtlab.engine.nvidia.execute import Execution, execute
from trtlab.engine.nvidia.explain import DEFAULT_TARGET, ProfileShapes
from trtlab.engine.nvidia.worker import CancelFlag
from trtlab.graph.onnxfile import count_nodes, sha256_of
from trtlab.lab import builds
from trtlab.numeric.units import bytes_text, counted

Precision = Literal["FP32", "FP16", "INT8"]
TOLERANCES: dict[str, float] = {"FP32": 1e-4, "FP16": 2e-2, "INT8": 1e-1}
"""Largest accepted error of an output, relative to the largest reference output. INT8 keeps about two digits."""


class Status(enum.Enum):
    """DONE by the library that the stage names; STOOD_IN by ONNX Runtime; IMPOSSIBLE on this machine."""

    DONE = "done"
    STOOD_IN = "stood in"
    IMPOSSIBLE = "not possible here"


class StageOrderError(RuntimeError):
    """A stage was asked for before one that it needs."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: what it does, what it hands on, and the call behind it (`Class.method` where it is NVIDIA's)."""

    name: str
    title: str
    does: str
    makes: str
    call: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one stage did. `executor` is the library that did it; `why_not` says what could not be done here and why."""

    name: str
    status: Status = Status.DONE
    executor: str
    went_in: str
    came_out: str
    seconds: float | None
    provenance: Provenance
    why_not: str | None = None
    log: tuple[str, ...] = ()
    artefact: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An answer against the reference. Arrays are [batch, classes]; `labels` is None where the input has no label."""

    outputs: npt.NDArray[Any]
    reference: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None
    inputs: npt.NDArray[Any]
    tolerance: float
    executor: str
    provenance: Provenance

    @property
    def relative_error(self) -> float:
        """max |output - reference| / max |reference|; infinite when an output is not finite."""
        if not np.all(np.isfinite(self.outputs)):
            return float("inf")
        difference = np.abs(self.outputs.astype(np.float64) - self.reference.astype(np.float64))
        return float(difference.max() / np.abs(self.reference).max())

    @property
    def agrees(self) -> bool:
        return self.relative_error <= self.tolerance

    @property
    def predictions(self) -> npt.NDArray[Any]:
        """The class with the largest output for each sample of the batch."""
        return np.asarray(self.outputs.reshape(len(self.outputs), -1).argmax(axis=1))

    @property
    def verdict(self) -> str:
        """In words: whether the error is accepted, and how many labels are right."""
        words = f"{'agrees' if self.agrees else 'DISAGREES'}: error {self.relative_error:.1e}"
        words += f" of at most {self.tolerance:g}"
        if self.labels is None:
            return words
        return f"{words}; {sum(self.predictions == self.labels)} of {len(self.labels)} labels right"


Made = dict[str, Any]
"""Values of a StageRecord: what a stage hands to `_stage`, which adds its name."""


def _made(executor: str, went_in: str, came_out: str, seconds: float | None, artefact: Any, *packages: str) -> Made:
    """What a library did here, now; `packages` are the distributions whose versions matter."""
    values = {"executor": executor, "went_in": went_in, "came_out": came_out, "seconds": seconds, "artefact": artefact}
    return values | {"provenance": live(packages)}


def _impossible(executor: str, went_in: str, why: str, artefact: Any = None) -> Made:
    return _made(executor, went_in, "nothing", None, artefact) | {"status": Status.IMPOSSIBLE, "why_not": why}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work returns, and its seconds."""
    started = time.perf_counter()
    made = work()
    return made, time.perf_counter() - started


WORKFLOW: dict[str, Stage] = {}
"""The stages in order. The methods of `Workflow` below enter themselves: their docstring says what they do."""


def _stage(title: str, *, makes: str, call: str) -> Callable[..., Callable[["Workflow"], StageRecord]]:
    """A method of Workflow is the next stage: it is described in WORKFLOW, and what it makes becomes its record."""

    def enter(method: Callable[["Workflow"], Made]) -> Callable[["Workflow"], StageRecord]:
        name, does = method.__name__, " ".join((method.__doc__ or "").split())
        WORKFLOW[name] = Stage(name=name, title=title, does=does, makes=makes, call=call)

        @functools.wraps(method)
        def run(self: "Workflow") -> StageRecord:
            record = StageRecord(name=name, **method(self))
            earlier = {line for other in self.records.values() if other.name != name for line in other.log}
            self.records[name] = replace(record, log=tuple(line for line in record.log if line not in earlier))
            return self.records[name]

        return run

    return enter


class Workflow:
    """One model on its way from torch to an answer. Call the stages in order, or `run()` for all of them.

    State lives here because each stage needs what the last one made; what a reader sees is `records`, frozen.
    """

    def __init__(
        self, model: str = "digits", *, precision: Precision = "FP32", target: str | None = None,
        batch: int | None = None, dynamic_batch: bool = False, directory: str | Path | None = None,
        compiler: str | None = None, on_progress: Callable[[Progress], None] | None = None,
        cancel: CancelFlag | None = None,
    ) -> None:  # fmt: skip
        if precision not in TOLERANCES:
            raise ValueError(f"precision is {precision!r}; expected one of {', '.join(TOLERANCES)}")
        self.model = teaching_model(model)
        self.precision, self.target, self.dynamic_batch = precision, target, dynamic_batch
        self.batch = self.model.batch if batch is None else batch
        if directory is None:
            directory = tempfile.mkdtemp(prefix="trtlab-")
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.directory = Path(directory)
        self.compiler, self.on_progress, self.cancel = compiler, on_progress, cancel
        self.records: dict[str, StageRecord] = {}

    def run(self, stages: Sequence[str] | None = None) -> Iterator[StageRecord]:
        """Run stages (all of them when left out), yielding each record as it is made. Compiler errors pass through."""
        for name in WORKFLOW if stages is None else stages:
            if name not in WORKFLOW:
                raise ValueError(f"no stage {name!r}; the stages are {', '.join(WORKFLOW)}")
            yield getattr(self, name)()

    def artefact(self, name: str) -> Any:
        """What a finished stage made. StageOrderError when it has not run."""
        if name not in self.records:
            raise StageOrderError(f"this stage needs {name!r} first: call {name}() or run()")
        return self.records[name].artefact

    @property
    def onnx_bytes(self) -> bytes:
        return bytes(self.artefact("export"))

    @property
    def report(self) -> BuildReport:
        """The build's report, LIVE or RECORDED."""
        report: BuildReport = self.artefact("build")
        return report

    def profiles(self) -> ProfileShapes | None:
        """The optimisation profile of a dynamic batch: 1 at least, this batch at best, four times it at most."""
        smallest, optimal, largest = ((size, *self.model.sample_shape) for size in (1, self.batch, 4 * self.batch))
        return {self.model.input_name: (smallest, optimal, largest)} if self.dynamic_batch else None

    def feeds(self) -> dict[str, npt.NDArray[Any]]:
        """Input arrays in the model's precision; for digits, scans of the held-out test split."""
        dtype = np.float16 if self.precision == "FP16" else np.float32
        samples = self.model.example_input(self.batch).numpy()
        return {self.model.input_name: np.ascontiguousarray(samples, dtype=dtype)}

    # --- build phase ------------------------------------------------------------------------------------------------

    @_stage("Export", makes="model.onnx", call="torch.onnx.export")
    def export(self) -> Made:
        """From torch to ONNX. BatchNorm, which the exporter would fold, is kept: the compiler is seen doing it."""
        from trtlab.engine.export import export_onnx

        module, example = self.model.make(), self.model.example_input(self.batch)
        how: dict[str, Any] = {"precision": self.precision, "dynamic_batch": self.dynamic_batch}
        proto, seconds = _timed(lambda: export_onnx(self.model, example, fold_batchnorm=False, **how))
        counts, data = count_nodes(proto), proto.SerializeToString()
        parameters = sum(parameter.numel() for parameter in module.parameters())
        went_in = f"{type(module).__name__}, {parameters:,} parameters"
        came_out = f"{counts.nodes} ONNX nodes and {counts.constants} constants, {len(data):,} bytes"
        return _made("torch.onnx.export", went_in, came_out, seconds, data, "torch", "onnx")

    @_stage("Check", makes="a valid model.onnx", call="onnx.checker.check_model")
    def check(self) -> Made:
        """onnx.checker: is the file what the standard says?"""
        import onnx

        data = self.onnx_bytes
        _, seconds = _timed(lambda: onnx.checker.check_model(data))
        went_in = f"{len(data):,} bytes, SHA-256 {sha256_of(data)[:12]}"
        return _made("onnx.checker", went_in, "valid", seconds, onnx.load_model_from_string(data), "onnx")

    @_stage("Parse", makes="INetworkDefinition", call="OnnxParser.parse")
    def parse(self) -> Made:
        """From ONNX to a network definition: NVIDIA's layers, before any optimisation."""
        counts = count_nodes(self.artefact("check"))
        report = self._explain(stop_after="parse")
        layers, constants = report.layer_counts
        went_in = f"{counts.nodes} ONNX nodes and {counts.constants} constants"
        return _reported("parse", report, went_in, f"{layers} network layers and {constants} constant layers", report)

    @_stage("Configure", makes="IBuilderConfig", call="Builder.create_builder_config")
    def configure(self) -> Made:
        """Builder configuration: flags, target, optimisation profiles. No precision flags: the network is typed."""
        report: BuildReport = self.artefact("parse")
        profiles = f"{len(report.profiles)} optimisation profile" if report.profiles else "static shapes"
        went_in = f"target {', '.join(report.targets) or 'this GPU'}, {profiles}"
        came_out = f"flags {', '.join(report.flags) or 'none'}; profiling verbosity DETAILED"
        chosen = {"targets": report.targets, "flags": report.flags, "profiles": report.profiles}
        return _reported("configure", report, went_in, came_out, chosen)

    @_stage("Build", makes="the plan, in IHostMemory", call="Builder.build_serialized_network")
    def build(self) -> Made:
        """From network and configuration to kernels: everything TensorRT is known for happens here."""
        parsed: BuildReport = self.artefact("parse")
        report = self._explain(stop_after="build")
        kernels, streams = len(report.kernels), len({kernel.stream for kernel in report.kernels})
        sizes = f"{bytes_text(report.activation_bytes)} of activations, {bytes_text(report.weights_bytes)} of weights"
        came_out = f"{counted(kernels, 'kernel')} on {counted(streams, 'stream')}, {sizes}"
        return _reported("build", report, f"{parsed.layer_counts[0]} network layers", came_out, report)

    @_stage("Serialise", makes="model.plan and its manifest", call="planfile.save_plan")
    def serialise(self) -> Made:
        """From a plan to a file with a manifest, written atomically."""
        report = self.report
        if not report.plan:
            why = "the recording keeps the plan's size and hash, not its bytes"
            return _impossible(report.compiler, f"a plan of {report.plan_size_bytes:,} bytes", why)
        target = "-".join(report.targets) or machine.gpu_target() or "this-gpu"
        path = self.directory / f"{self.model.name}-{self.precision}-{target}.plan"
        manifest, seconds = _timed(lambda: planfile.save_plan(report, path))
        came_out = f"{path.name} with its manifest, SHA-256 {manifest.sha256[:12]}"
        package = machine.DISTRIBUTIONS[report.compiler]
        return _made(report.compiler, f"{len(report.plan):,} bytes of plan", came_out, seconds, path, package)

    # --- runtime phase: by NVIDIA's runtime, whose Execution is then what `deserialise` made, or by ONNX Runtime ------

    @_stage("Deserialise", makes="ICudaEngine", call="Runtime.deserialize_cuda_engine")
    def deserialise(self) -> Made:
        """From file to engine, its manifest checked first. Where no plan can run, ONNX Runtime opens the twin."""
        from trtlab.engine.ort import OrtSession

        ran, data = self._try_to_execute(), self.onnx_bytes
        if isinstance(ran, Execution):
            return self._executed("deserialise", ran, "plan file", "engine", ran)
        session, seconds = _timed(lambda: OrtSession(data))
        went_in = f"{len(data):,} bytes of the same ONNX"
        made = _made("ONNX Runtime", went_in, "ONNX Runtime session", seconds, session, "onnxruntime")
        return made | {"status": Status.STOOD_IN, "why_not": str(ran)}

    @_stage("Execution context", makes="IExecutionContext", call="ICudaEngine.create_execution_context")
    def context(self) -> Made:
        """From engine to execution context: shapes, profile, addresses, activation memory."""
        if isinstance(ran := self.artefact("deserialise"), Execution):
            return self._executed("context", ran, "engine", "execution context with its activation memory")
        return _impossible("ONNX Runtime", "session", "an ONNX Runtime session is engine and context in one")

    @_stage("Copy in (host to device)", makes="inputs on the GPU", call="cudaMemcpyAsync")
    def host_to_device(self) -> Made:
        """Copy inputs from pinned host memory to the device, on a stream."""
        ran, feeds = self.artefact("deserialise"), self.feeds()
        size = f"{sum(array.nbytes for array in feeds.values()):,} bytes"
        if isinstance(ran, Execution):
            return self._executed("host_to_device", ran, f"{size} in pinned memory", f"{size} on the GPU")
        why = "ONNX Runtime on the CPU reads the arrays where they are; there is no device to copy to"
        return _impossible("ONNX Runtime", size, why, feeds)

    @_stage("Enqueue", makes="outputs on the GPU", call="IExecutionContext.execute_async_v3")
    def enqueue(self) -> Made:
        """Run: execute_async_v3 on a stream, and the synchronous execute_v2, which still exists."""
        ran, feeds, went_in = self.artefact("deserialise"), self.feeds(), f"{self.batch} inputs"
        if isinstance(ran, Execution):
            took = {name: f"{1e6 * ran.seconds[name]:,.0f} µs" for name in ("enqueue", "enqueue_call", "execute_v2")}
            agree = "the same answer" if ran.calls_agree else "ANOTHER ANSWER"
            came_out = f"execute_async_v3 {took['enqueue']}, of which the call {took['enqueue_call']}"
            came_out += f"; execute_v2 {took['execute_v2']}, {agree}"
            return self._executed("enqueue", ran, went_in, came_out, ran.outputs)
        outputs, seconds = _timed(lambda: ran.run(feeds))
        shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        made = _made("ONNX Runtime", went_in, shapes, seconds, outputs, "onnxruntime")
        return made | {"status": Status.STOOD_IN, "why_not": self.records["deserialise"].why_not}

    @_stage("Copy out (device to host)", makes="outputs on the host", call="cudaMemcpyAsync")
    def device_to_host(self) -> Made:
        """Copy outputs back, after the stream is idle."""
        ran, outputs = self.artefact("deserialise"), self.artefact("enqueue")
        size = f"{sum(array.nbytes for array in outputs.values()):,} bytes"
        if isinstance(ran, Execution):
            return self._executed("device_to_host", ran, f"{size} on the GPU", f"{size} in host memory")
        return _impossible("ONNX Runtime", size, "the outputs are in host memory already")

    @_stage("Compare", makes="a verdict", call="torch.nn.Module.__call__")
    def compare(self) -> Made:
        """The answer against torch in FP32, and for digits against the labels."""
        import torch

        outputs, ran = self.artefact("enqueue")[self.model.output_name], self.records["enqueue"]
        samples, labels = self.model.example_input(self.batch), self.model.labels(self.batch)
        with torch.inference_mode():
            reference = self.model.make()(samples).numpy()
        result = Comparison(
            outputs=outputs, reference=reference, labels=labels, inputs=samples.numpy(),
            tolerance=TOLERANCES[self.precision], executor=ran.executor, provenance=ran.provenance,
        )  # fmt: skip
        went_in = f"{result.executor} {self.precision} against torch FP32"
        return _made("torch (reference)", went_in, result.verdict, None, result, "torch")

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _explain(self, stop_after: str) -> BuildReport:
        """The report, from the compiler or, where none can be installed, from a recording."""
        data = self.onnx_bytes
        try:
            compiler = choose_compiler(self.compiler)
        except CompilerMissing as missing:
            target = self.target or DEFAULT_TARGET
            key = builds.key(self.model.name, self.precision, target, dynamic_batch=self.dynamic_batch)
            return builds.recorded(key, missing)
        return explain(
            data, self.target, name=self.model.name, profiles=self.profiles(), compiler=compiler, stop_after=stop_after,
            cancel=self.cancel, on_progress=self.on_progress,
        )  # fmt: skip

    def _try_to_execute(self) -> Execution | ExecutionImpossible:
        path, report = self.artefact("serialise"), self.report
        if path is None:
            return ExecutionImpossible(f"There is no plan file to load: {self.records['serialise'].why_not}.")
        plan, _ = planfile.load_plan(path, made_by=(report.compiler, report.compiler_version))
        try:
            return execute(plan, self.feeds(), compiler=report.compiler, cancel=self.cancel)
        except BuildCancelled:
            raise
        except ExecutionImpossible as impossible:
            return impossible
        except CompilerError as error:
            return ExecutionImpossible(f"Running the plan failed: {error}")

    def _executed(self, name: str, ran: Execution, went_in: str, came_out: str, artefact: Any = None) -> Made:
        report = self.report
        executor, packages = f"{report.compiler} {report.compiler_version}", (machine.DISTRIBUTIONS[report.compiler],)
        made = live((*packages, "torch"), device=ran.device, samples=ran.repeats if name == "enqueue" else 1)
        return _made(executor, went_in, came_out, ran.seconds[name], artefact) | {"provenance": made}


STAGES = tuple(WORKFLOW)
"""Names of the stages, in order."""


@dataclass(frozen=True, kw_only=True)
class StageNeeds:
    """`refusals[stage][other]`: what `stage` said when only the product of `other` was missing; None when it worked."""

    refusals: dict[str, dict[str, str | None]]
    provenance: Provenance

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """For each stage the earlier ones without which it was refused."""
        return {stage: tuple(other for other, said in tried.items() if said) for stage, tried in self.refusals.items()}


def recorded_needs() -> StageNeeds:
    """What the stages of the build need, as tools/leave_one_out.py found."""
    return recordings.load(StageNeeds, "stage-needs")


def _reported(name: str, report: BuildReport, went_in: str, came_out: str, artefact: Any) -> Made:
    log = tuple(line.text for line in report.log if line.severity in ("WARNING", "INFO") and len(line.text) < 200)
    executor, seconds = f"{report.compiler} {report.compiler_version}", report.phase_seconds(name)
    return _made(executor, went_in, came_out, seconds, artefact) | {"provenance": report.provenance, "log": log}


# --- NVIDIA's own tool ------------------------------------------------------------------------------------------------

MAJORS = ("8", "10", "11")


def trtexec_command(model: str, *, precision: str, major: str, profile: ProfileShapes | None = None) -> str:
    """The `trtexec` command that builds the same plan from a model file `model`.onnx on the GPU it runs on. Precision
    is a flag for 8 and strong typing for 10; for 11 every network is typed. For 10 and 11 the ONNX file has its
    precision in it (INT8 as Q/DQ), so the file name says it. ValueError for a major that is not one of `MAJORS`.
    """
    if major not in MAJORS:
        raise ValueError(f"TensorRT major is {major!r}; expected one of {', '.join(MAJORS)}")
    name = model if major == "8" else f"{model}-{precision.lower()}"
    words = ["trtexec", f"--onnx={name}.onnx", f"--saveEngine={model}-{precision.lower()}.plan"]
    flags = {"FP16": ["--fp16"], "INT8": ["--int8", f"--calib={model}.cache"]}.get(precision, [])
    words += {"8": flags, "10": ["--stronglyTyped"], "11": []}[major]
    for index, option in enumerate(("--minShapes", "--optShapes", "--maxShapes")):
        shapes = (f"{tensor}:{'x'.join(map(str, three[index]))}" for tensor, three in (profile or {}).items())
        words += [f"{option}={text}" for text in [",".join(shapes)] if text]
    return " ".join([*words, "--profilingVerbosity=detailed", "--buildOnly" if major == "8" else "--skipInference"])
