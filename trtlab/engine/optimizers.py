"""engine/optimizers: one ONNX model through several optimisers: ours, NVIDIA's builder, onnxslim and ONNX Runtime.

In: a model. Out: a frozen `Row`: what each optimiser left, counted by one rule for all, and how far its results are
from those of the model as it was. Kernel by kernel: `compare_groups` (engine/kernelgroups). Who checks it: ONNX Runtime
with all optimisation off runs every model before and after; tests compare that referee with onnx's own evaluator.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from trtlab.engine import recordings
from trtlab.engine.kernelgroups import CONSTANTS, TARGET, Agreement, Verdict, compare_groups, nvidia_report
from trtlab.engine.nvidia.errors import CompilerError
from trtlab.engine.ort import OptimizationLevel, OrtError, OrtSession
from trtlab.engine.provenance import Provenance, live
from trtlab.graph import optimize
from trtlab.graph.cost import model_cost
from trtlab.graph.models import TEACHING_MODELS, randomized
from trtlab.graph.oracle import Arrays, Mismatch, check_same, sample_inputs

__all__ = [
    "NVIDIA", "OPTIMIZERS", "Agreement", "Outcome", "Row", "Verdict", "compare", "compare_groups", "compare_light",
    "compare_teaching_models", "constants", "light_model", "operators", "referee",
]  # fmt: skip
NVIDIA = "TensorRT"
NOT_RUN = "an engine runs on its GPU alone: counted, not executed"
Optimizer = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one optimiser left of a model. `kernels` counts launches by one rule for all (graph/cost): a fused node is
    one, a view none. `nodes` and `constants` are None for an engine, which has steps and no nodes. `removed` and
    `added` are operator types with how many fewer or more there are. `error` is the largest difference of an output
    from what it was, relative to its largest number; None where nothing ran, and `note` says why."""

    optimizer: str
    kernels: int | None = None
    nodes: int | None = None
    constants: int | None = None
    removed: tuple[tuple[str, int], ...] = ()
    added: tuple[tuple[str, int], ...] = ()
    error: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model through all optimisers. `outcomes[0]` is the model as it was."""

    model: str
    outcomes: tuple[Outcome, ...]
    provenance: tuple[Provenance, ...]

    def outcome(self, optimizer: str) -> Outcome:
        """The outcome of one optimiser; KeyError names the others."""
        for outcome in self.outcomes:
            if outcome.optimizer == optimizer:
                return outcome
        raise KeyError(f"no optimiser {optimizer!r}; there are {', '.join(o.optimizer for o in self.outcomes)}")


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # onnxslim works in place
    return onnxslim.slim(copy)


def _ort(level: OptimizationLevel, model: onnx.ModelProto) -> onnx.ModelProto:
    return OrtSession(model, level=level).optimized_model()


OPTIMIZERS: Mapping[str, Optimizer] = {
    "trtlab": lambda model: optimize(model)[0],
    "onnxslim": _slim,
    **{f"ONNX Runtime {level.name}": functools.partial(_ort, level) for level in OptimizationLevel},
}
"""Name -> function that returns the optimised model. NVIDIA's builder is the one more: it returns an engine."""


def compare(model: onnx.ModelProto, name: str = "", *, target: str = TARGET, seed: int = 0) -> Row:
    """The model through every optimiser. Each result runs on the same seeded inputs as the model as it was.

    >>> compare(TEACHING_MODELS["gelu"]()).outcome("ONNX Runtime BASIC").added
    (('Gelu', 1),)
    """
    inputs = next(sample_inputs(model, seed))
    answers = referee(model, inputs)
    outcomes = [_counted("as written", model, model)]
    for title, optimizer in OPTIMIZERS.items():
        try:
            after = optimizer(model)
            error = _error(model, after, inputs, answers)
            outcomes.append(_counted(title, model, after, error))
        except (OrtError, ValueError, Mismatch) as refused:  # of this optimiser; the others go on
            outcomes.append(Outcome(optimizer=title, note=str(refused)))
    engine, made = _built(model, target)
    outcomes.insert(2, engine)
    parts = (live(["onnx", "onnxslim", "onnxruntime"]), *made)
    return Row(model=name or model.graph.name, outcomes=tuple(outcomes), provenance=parts)


def compare_teaching_models() -> tuple[Row, ...]:
    """All of TEACHING_MODELS, in seconds."""
    return tuple(compare(make(), name) for name, make in TEACHING_MODELS.items())


def compare_light(name: str) -> Row:
    """One of onnx's `light_*` networks, such as `squeezenet`, with seeded random weights."""
    return compare(light_model(name), f"light_{name}")


def light_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """A `light_*` network with seeded random weights."""
    return randomized(onnx.load(recordings.light_path(name)), seed)


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each type compute. Constants are data, whether they are nodes or not."""
    return Counter(node.op_type for node in model.graph.node if node.op_type not in CONSTANTS)


def constants(model: onnx.ModelProto) -> int:
    """Initializers and constant nodes."""
    return len(model.graph.initializer) + sum(node.op_type in CONSTANTS for node in model.graph.node)


def _counted(title: str, before: onnx.ModelProto, after: onnx.ModelProto, error: float | None = None) -> Outcome:
    old, new = operators(before), operators(after)
    return Outcome(
        optimizer=title,
        kernels=model_cost(after).kernels,
        nodes=new.total(),
        constants=constants(after),
        removed=tuple((old - new).items()),
        added=tuple((new - old).items()),
        error=error,
    )


def _built(model: onnx.ModelProto, target: str) -> tuple[Outcome, tuple[Provenance, ...]]:
    try:
        report = nvidia_report(model, target)
    except CompilerError as error:
        return Outcome(optimizer=NVIDIA, note=error.what), ()
    kinds = Counter(kernel.type for kernel in report.kernels)
    outcome = Outcome(optimizer=NVIDIA, kernels=len(report.kernels), added=tuple(kinds.items()), note=NOT_RUN)
    return outcome, (report.provenance,)


def referee(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """The referee: ONNX Runtime with all optimisation off."""
    return OrtSession(model, level=OptimizationLevel.DISABLE_ALL).run(inputs)


def _error(before: onnx.ModelProto, after: onnx.ModelProto, inputs: Arrays, answers: Arrays) -> float:
    """The largest relative difference of an output; Mismatch if it is more than the oracle's RTOL."""

    def run(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
        return answers if model is before else referee(model, feeds)

    found = check_same(before, after, inputs, run=run)
    return max((one.error / one.size for one in found if one.size), default=0.0)
