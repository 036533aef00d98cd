"""graph/oracle: does a rewritten model still compute the same? Decided by running both.

In: two models and inputs. Out: a frozen `Comparison` for each tensor that both have by name; `check_same` raises and
names the first that differs. onnx's reference evaluator runs them unless told otherwise. Knows nothing of the rules.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

Arrays = Mapping[str, npt.NDArray[Any]]
Runner = Callable[[onnx.ModelProto, Arrays], Arrays]
RTOL = 1e-5
"""Of the largest number in a tensor: float32 sums of some hundred terms in another order differ by less."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far one tensor is from what it was. `error` is the largest difference, `size` the largest number."""

    name: str
    error: float
    size: float
    fault: str = ""


class Mismatch(AssertionError):
    """A rewritten model computes something else."""


def reference(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    """Every tensor of the main graph, computed by onnx's own, slow and simple evaluator."""
    with np.errstate(all="ignore"):
        values = dict(ReferenceEvaluator(model).run(None, dict(inputs), intermediate=True))
    return {name: np.asarray(a) for name, a in values.items() if name and isinstance(a, np.ndarray | np.generic)}


def check_same(
    before: onnx.ModelProto, after: onnx.ModelProto, inputs: Arrays, *, run: Runner = reference, rtol: float = RTOL
) -> tuple[Comparison, ...]:
    """Comparisons of all tensors that both models have, all outputs among them. Mismatch if an output is missing or a
    tensor differs in type, in shape, in where it is NaN or infinite, or by more than rtol times its largest number."""
    old, new = run(before, inputs), run(after, inputs)
    outputs = [value.name for value in before.graph.output]
    if outputs != [value.name for value in after.graph.output]:
        raise Mismatch(f"outputs were {outputs} and are {[value.name for value in after.graph.output]}")
    shared = [name for name in old if name in new]
    found = tuple(_compare(name, np.asarray(old[name]), np.asarray(new[name]), rtol) for name in shared)
    if bad := next((comparison for comparison in found if comparison.fault), None):
        raise Mismatch(f"{bad.name}: {bad.fault}")
    return found


def _compare(name: str, old: npt.NDArray[Any], new: npt.NDArray[Any], rtol: float) -> Comparison:
    def verdict(error: float, fault: str, size: float = 0.0) -> Comparison:
        return Comparison(name=name, error=error, size=size, fault=fault)

    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return verdict(np.inf, f"{old.dtype} {old.shape} became {new.dtype} {new.shape}")
    if old.dtype.kind != "f":
        differ = int(np.count_nonzero(old != new))
        return verdict(differ, f"{differ} of {old.size} values differ" if differ else "")
    finite = np.isfinite(old)
    if not np.array_equal(old[~finite], new[~finite], equal_nan=True) or not np.isfinite(new[finite]).all():
        return verdict(np.inf, "NaN or infinity in other places")
    a, b = old[finite].astype(np.float64), new[finite].astype(np.float64)
    size, error = float(np.abs(a).max(initial=0)), float(np.abs(a - b).max(initial=0))
    found = f"differs by {error:.3g}; largest number {size:.3g}, tolerance {rtol * size:.3g}"
    return verdict(error, found if error > rtol * size else "", size)


def sample_inputs(model: onnx.ModelProto, seed: int = 0) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Inputs on both sides of what rules and operators care about: numbers around 0, zeros, all negative, all positive,
    large, tiny, and all kinds mixed. A symbolic size is 2. Integers run from -3 to 3."""
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in weights]
    for kind in KINDS:
        yield {value.name: _draw(rng, value.type.tensor_type, kind) for value in given}


KINDS: Mapping[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "around zero": lambda x: x,
    "zero": lambda x: x * 0,
    "negative": lambda x: -np.abs(x),
    "positive": np.abs,
    "large": lambda x: x * 1e3,
    "tiny": lambda x: x * 1e-6,
    "mixed": lambda x: x * np.resize([0, 1, -1e3, 1e-6, -1], x.shape),
}
"""How inputs are made from normally distributed numbers."""


def _draw(rng: np.random.Generator, tensor: onnx.TypeProto.Tensor, kind: str) -> npt.NDArray[Any]:
    shape = [dim.dim_value if dim.HasField("dim_value") else 2 for dim in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if dtype.kind == "f":
        return np.asarray(KINDS[kind](rng.normal(size=shape))).astype(dtype)
    return np.asarray(rng.integers(-3, 4, shape)).astype(dtype)
