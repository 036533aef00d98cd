"""lab/workflow: the TensorRT workflow as data, one frozen record per stage.

In: a teaching model's name, a precision, a target. Out: `StageRecord`s in the order of `STAGES`: what went in, what
came out, seconds, the artefact, a log excerpt, LIVE or RECORDED, and where a stage is not possible here, why. The
answer is checked against torch, which shares nothing with the compiler.
"""

import enum
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trtlab.engine import machine, planfile, provenance
from trtlab.engine.nvidia import (
    BuildCancelled,
    BuildReport,
    CompilerError,
    CompilerMissing,
    ExecutionImpossible,
    Progress,
    choose_compiler,
    explain,
)
from trtlab.engine.nvidia.execute import Execution, execute
from trtlab.engine.nvidia.explain import DEFAULT_TARGET, ProfileShapes
from trtlab.engine.nvidia.worker import CancelFlag
from trtlab.engine.provenance import Provenance
from trtlab.graph.onnxfile import count_nodes, sha256_of

STAGES = (
    "export",
    "check",
    "parse",
    "configure",
    "build",
    "serialise",
    "deserialise",
    "context",
    "host_to_device",
    "enqueue",
    "device_to_host",
    "compare",
)
Precision = Literal["FP32", "FP16"]
TOLERANCES: dict[str, float] = {"FP32": 1e-4, "FP16": 2e-2}
"""Largest accepted error of an output, relative to the largest reference output. FP16 keeps about three digits."""

Images = npt.NDArray[np.float32]


class Status(enum.Enum):
    """DONE by the library that the stage names; STOOD_IN by ONNX Runtime; IMPOSSIBLE on this machine."""

    DONE = "done"
    STOOD_IN = "stood in"
    IMPOSSIBLE = "not possible here"


class StageOrderError(RuntimeError):
    """A stage was asked for before one that it needs."""


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one stage did. `executor` is the library that did it; `why_not` says what could not be done here and why."""

    name: str
    status: Status
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
    def predictions(self) -> npt.NDArray[np.int64]:
        """The class with the largest output for each sample of the batch."""
        chosen: npt.NDArray[np.int64] = self.outputs.reshape(len(self.outputs), -1).argmax(axis=1)
        return chosen


LARGEST_BATCH = 450  # as many as the held-out digits


class Workflow:
    """One model on its way from torch to an answer. Call the stages in order, or `run()` for all of them.

    State lives here because each stage needs what the last one made; what a reader sees is `records`, frozen.
    """

    def __init__(
        self,
        model: str = "digits",
        *,
        precision: Precision = "FP32",
        target: str | None = None,
        batch: int | None = None,
        dynamic_batch: bool = False,
        directory: str | Path | None = None,
        compiler: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: CancelFlag | None = None,
    ) -> None:
        from trtlab.engine.networks import teaching_model

        if precision not in TOLERANCES:
            raise ValueError(f"precision is {precision!r}; expected one of {', '.join(TOLERANCES)}")
        self.model = teaching_model(model)
        self.precision, self.target, self.dynamic_batch = precision, target, dynamic_batch
        self.batch = self.model.batch if batch is None else batch
        if not 1 <= self.batch <= LARGEST_BATCH:
            raise ValueError(f"batch is {batch!r}; expected 1 to {LARGEST_BATCH}")
        self.directory = Path(directory) if directory is not None else _temporary_folder(self)
        self.on_progress, self.cancel = on_progress, cancel
        self.records: dict[str, StageRecord] = {}
        self._compiler_wanted = compiler
        self._execution: Execution | ExecutionImpossible | None = None

    # --- what stages share ------------------------------------------------------------------------------------------

    def run(self, stages: Sequence[str] = STAGES) -> Iterator[StageRecord]:
        """Run stages in order, yielding each record as it is made. Compiler errors pass through."""
        for name in stages:
            if name not in STAGES:
                raise ValueError(f"no stage {name!r}; the stages are {', '.join(STAGES)}")
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
        if not self.dynamic_batch:
            return None
        smallest, optimal, largest = (self.model.input_shapes(n) for n in (1, self.batch, 4 * self.batch))
        return {name: (smallest[name], optimal[name], largest[name]) for name in self.model.input_names}

    def feeds(self) -> dict[str, npt.NDArray[Any]]:
        """Input arrays in the model's precision; for digits, scans of the held-out test split."""
        dtype = np.float16 if self.precision == "FP16" else np.float32
        tensors = self._samples()[0]
        return {
            name: np.ascontiguousarray(tensor, dtype=dtype)
            for name, tensor in zip(self.model.input_names, tensors, strict=True)
        }

    def _samples(self) -> tuple[tuple[npt.NDArray[Any], ...], npt.NDArray[Any] | None]:
        if self.model.name == "digits":
            from trtlab.engine.digits import load_digits_split

            split = load_digits_split()
            return (split.test_images[: self.batch],), split.test_labels[: self.batch]
        return tuple(tensor.numpy() for tensor in self.model.example_inputs(self.batch)), None

    def _record(self, name: str, **values: Any) -> StageRecord:
        defaults: dict[str, Any] = {"status": Status.DONE, "provenance": provenance.live(values.pop("packages", ()))}
        self.records[name] = StageRecord(name=name, **(defaults | values))
        return self.records[name]

    # --- build phase ------------------------------------------------------------------------------------------------

    def export(self) -> StageRecord:
        """From torch to ONNX. BatchNorm, which the exporter would fold, is kept: the compiler is seen doing it."""
        import torch

        from trtlab.engine.export import export_onnx

        module = self.model.make()
        inputs = tuple(torch.from_numpy(array.copy()) for array in self._samples()[0])
        started = time.perf_counter()
        proto = export_onnx(
            self.model.name,
            inputs,
            precision=self.precision,
            dynamic_batch=self.dynamic_batch,
            fold_batchnorm=False,
        )
        seconds = time.perf_counter() - started
        counts, data = count_nodes(proto), proto.SerializeToString()
        parameters = sum(parameter.numel() for parameter in module.parameters())
        return self._record(
            "export",
            executor="torch.onnx.export",
            went_in=f"{type(module).__name__}, {parameters:,} parameters",
            came_out=f"{counts.nodes} ONNX nodes and {counts.constants} constants, {len(data):,} bytes",
            seconds=seconds,
            packages=("torch", "onnx"),
            artefact=data,
        )

    def check(self) -> StageRecord:
        """onnx.checker: is the file what the standard says?"""
        import onnx

        data = self.onnx_bytes
        started = time.perf_counter()
        onnx.checker.check_model(data)
        return self._record(
            "check",
            executor="onnx.checker",
            went_in=f"{len(data):,} bytes, SHA-256 {sha256_of(data)[:12]}",
            came_out="valid",
            seconds=time.perf_counter() - started,
            packages=("onnx",),
            artefact=onnx.load_model_from_string(data),
        )

    def parse(self) -> StageRecord:
        """From ONNX to a network definition: NVIDIA's layers, before any optimisation."""
        counts = count_nodes(self.artefact("check"))
        report = self._explain(stop_after="parse")
        layers, constants = report.layer_counts
        return self._from_report(
            report,
            "parse",
            went_in=f"{counts.nodes} ONNX nodes and {counts.constants} constants",
            came_out=f"{layers} network layers and {constants} constant layers",
            artefact=report,
        )

    def configure(self) -> StageRecord:
        """Builder configuration: flags, target, optimisation profiles. No precision flags: the network is typed."""
        report: BuildReport = self.artefact("parse")
        profiles = f"{len(report.profiles)} optimisation profile" if report.profiles else "static shapes"
        return self._from_report(
            report,
            "configure",
            went_in=f"target {', '.join(report.targets) or 'this GPU'}, {profiles}",
            came_out=f"flags {', '.join(report.flags) or 'none'}; profiling verbosity DETAILED",
            artefact={"targets": report.targets, "flags": report.flags, "profiles": report.profiles},
        )

    def build(self) -> StageRecord:
        """From network and configuration to kernels: everything TensorRT is known for happens here."""
        parsed: BuildReport = self.artefact("parse")
        report = self._explain(stop_after="build")
        return self._from_report(
            report,
            "build",
            went_in=f"{parsed.layer_counts[0]} network layers",
            came_out=f"{len(report.kernels)} kernels on {len({k.stream for k in report.kernels})} stream(s),"
            f" {_mebibytes(report.activation_bytes)} of activations, {_mebibytes(report.weights_bytes)} of weights",
            artefact=report,
        )

    def serialise(self) -> StageRecord:
        """From a plan to a file with a manifest, written atomically."""
        report = self.report
        if not report.plan:
            why = "the recording keeps the plan's size and hash, not its bytes"
            return self._impossible("serialise", report.compiler, f"a plan of {report.plan_size_bytes:,} bytes", why)
        target = "-".join(report.targets) or machine.gpu_target() or "this-gpu"
        path = self.directory / f"{self.model.name}-{self.precision}-{target}.plan"
        started = time.perf_counter()
        manifest = planfile.save_plan(report, path)
        return self._record(
            "serialise",
            executor=report.compiler,
            went_in=f"{len(report.plan):,} bytes of plan",
            came_out=f"{path.name} with its manifest, SHA-256 {manifest.sha256[:12]}",
            seconds=time.perf_counter() - started,
            packages=(machine.DISTRIBUTIONS[report.compiler],),
            artefact=path,
        )

    # --- runtime phase ----------------------------------------------------------------------------------------------

    def deserialise(self) -> StageRecord:
        """From file to engine, its manifest checked first. Where no plan can run, ONNX Runtime opens the twin."""
        self._execution = self._try_to_execute()
        if isinstance(self._execution, Execution):
            return self._executed("deserialise", "plan file", "engine", artefact=self._execution.inspector)
        from trtlab.engine.ort import OrtSession

        started = time.perf_counter()
        session = OrtSession(self.onnx_bytes)
        seconds = time.perf_counter() - started
        return self._stood_in(
            "deserialise",
            f"{len(self.onnx_bytes):,} bytes of the same ONNX",
            "ONNX Runtime session",
            seconds,
            session,
        )

    def context(self) -> StageRecord:
        """From engine to execution context: shapes, profile, addresses, activation memory."""
        if isinstance(self._ran(), Execution):
            return self._executed("context", "engine", "execution context with its activation memory")
        return self._impossible(
            "context", "ONNX Runtime", "session", "an ONNX Runtime session is engine and context in one"
        )

    def host_to_device(self) -> StageRecord:
        """Copy inputs from pinned host memory to the device, on a stream."""
        feeds = self.feeds()
        size = sum(array.nbytes for array in feeds.values())
        if isinstance(self._ran(), Execution):
            return self._executed("host_to_device", f"{size:,} bytes in pinned memory", f"{size:,} bytes on the GPU")
        why = "ONNX Runtime on the CPU reads the arrays where they are; there is no device to copy to"
        return self._impossible("host_to_device", "ONNX Runtime", f"{size:,} bytes", why, artefact=feeds)

    def enqueue(self) -> StageRecord:
        """Run: execute_async_v3 on a stream, and the synchronous execute_v2, which still exists."""
        ran, feeds = self._ran(), self.feeds()
        if isinstance(ran, Execution):
            took = {name: f"{1e6 * ran.seconds[name]:,.0f} µs" for name in ("enqueue", "enqueue_call", "execute_v2")}
            agree = "the same answer" if ran.calls_agree else "ANOTHER ANSWER"
            came_out = f"execute_async_v3 {took['enqueue']}, of which the call {took['enqueue_call']}"
            came_out += f"; execute_v2 {took['execute_v2']}, {agree}"
            return self._executed("enqueue", f"{self.batch} inputs", came_out, artefact=ran.outputs)
        session = self.artefact("deserialise")
        started = time.perf_counter()
        outputs = session.run(feeds)
        seconds = time.perf_counter() - started
        shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        return self._stood_in("enqueue", f"{self.batch} inputs", shapes, seconds, outputs)

    def device_to_host(self) -> StageRecord:
        """Copy outputs back, after the stream is idle."""
        ran, outputs = self._ran(), self.artefact("enqueue")
        size = sum(array.nbytes for array in outputs.values())
        if isinstance(ran, Execution):
            return self._executed("device_to_host", f"{size:,} bytes on the GPU", f"{size:,} bytes in host memory")
        return self._impossible(
            "device_to_host", "ONNX Runtime", f"{size:,} bytes", "the outputs are in host memory already"
        )

    def compare(self) -> StageRecord:
        """The answer against torch in FP32, and for digits against the labels."""
        import torch

        outputs = self.artefact("enqueue")[self.model.output_names[0]]
        samples, labels = self._samples()
        with torch.inference_mode():
            reference = self.model.make()(*(torch.from_numpy(array.copy()) for array in samples)).numpy()
        result = Comparison(
            outputs=outputs,
            reference=reference,
            labels=labels,
            inputs=samples[0],
            tolerance=TOLERANCES[self.precision],
            executor=self.records["enqueue"].executor,
            provenance=self.records["enqueue"].provenance,
        )
        verdict = "agrees" if result.agrees else "DISAGREES"
        correct = (
            "" if labels is None else f"; {int((result.predictions == labels).sum())} of {len(labels)} labels right"
        )
        return self._record(
            "compare",
            executor="torch (reference)",
            went_in=f"{result.executor} {self.precision} against torch FP32",
            came_out=f"{verdict}: error {result.relative_error:.1e} of at most {result.tolerance:g}{correct}",
            seconds=None,
            packages=("torch",),
            artefact=result,
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _explain(self, stop_after: str) -> BuildReport:
        """The report, from the compiler or, where none can be installed, from a recording."""
        from trtlab.engine import recordings

        data = self.onnx_bytes
        try:
            compiler = choose_compiler(self._compiler_wanted)
        except CompilerMissing as missing:
            target = self.target or DEFAULT_TARGET
            key = recordings.key(self.model.name, self.precision, target, dynamic_batch=self.dynamic_batch)
            return recordings.load(key, missing)
        return explain(
            data,
            self.target,
            name=self.model.name,
            profiles=self.profiles(),
            compiler=compiler,
            stop_after=stop_after,
            cancel=self.cancel,
            on_progress=self.on_progress,
        )

    def _from_report(self, report: BuildReport, name: str, **values: Any) -> StageRecord:
        log = tuple(line.text for line in report.log if line.severity in ("WARNING", "INFO") and len(line.text) < 200)
        return self._record(
            name,
            executor=f"{report.compiler} {report.compiler_version}",
            seconds=report.phase_seconds(name),
            provenance=report.provenance,
            log=log,
            **values,
        )

    def _try_to_execute(self) -> Execution | ExecutionImpossible:
        record = self.records.get("serialise")
        if record is None:
            raise StageOrderError("this stage needs 'serialise' first: call serialise() or run()")
        if record.artefact is None:
            return ExecutionImpossible(f"There is no plan file to load: {record.why_not}.")
        report = self.report
        plan, _ = planfile.load_plan(
            record.artefact, compiler=report.compiler, compiler_version=report.compiler_version
        )
        try:
            return execute(plan, self.feeds(), compiler=report.compiler, cancel=self.cancel)
        except BuildCancelled:
            raise
        except ExecutionImpossible as impossible:
            return impossible
        except CompilerError as error:
            return ExecutionImpossible(f"Running the plan failed: {error}")

    def _ran(self) -> Execution | ExecutionImpossible:
        if self._execution is None:
            raise StageOrderError("this stage needs 'deserialise' first: call deserialise() or run()")
        return self._execution

    def _executed(self, name: str, went_in: str, came_out: str, artefact: Any = None) -> StageRecord:
        ran = self._ran()
        assert isinstance(ran, Execution)
        report = self.report
        return self._record(
            name,
            executor=f"{report.compiler} {report.compiler_version}",
            went_in=went_in,
            came_out=came_out,
            seconds=ran.seconds[name],
            provenance=provenance.live(
                (machine.DISTRIBUTIONS[report.compiler], "torch"),
                device=ran.device,
                samples=ran.repeats if name == "enqueue" else 1,
            ),
            artefact=artefact,
        )

    def _stood_in(self, name: str, went_in: str, came_out: str, seconds: float, artefact: Any) -> StageRecord:
        return self._record(
            name,
            status=Status.STOOD_IN,
            executor="ONNX Runtime",
            went_in=went_in,
            came_out=came_out,
            seconds=seconds,
            why_not=str(self._ran()),
            packages=("onnxruntime",),
            artefact=artefact,
        )

    def _impossible(self, name: str, executor: str, went_in: str, why: str, artefact: Any = None) -> StageRecord:
        return self._record(
            name,
            status=Status.IMPOSSIBLE,
            executor=executor,
            went_in=went_in,
            came_out="nothing",
            seconds=None,
            why_not=why,
            artefact=artefact,
        )


def _temporary_folder(owner: object) -> Path:
    """A folder that goes when `owner` does."""
    folder = Path(tempfile.mkdtemp(prefix="trtlab-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def _mebibytes(size_bytes: int | None) -> str:
    return "an unknown amount" if size_bytes is None else f"{size_bytes / 2**20:.2f} MiB"
