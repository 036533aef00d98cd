"""engine/glassbox/library: every kernel, and for each its tactics: ways to compute the same.

In: a kernel's name and a `Call`. Out: the tactics that fit it on this machine. The builder times them and keeps the
fastest; the tests compare each with torch and ONNX Runtime, which runs the same Q/DQ pairs, too.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import images, pointwise, rows
from trtlab.engine.glassbox.kernels import (
    Call,
    Kernel,
    Tactic,
    finished,
    generates,
    weights_of,
    with_weights,
)  # fmt: skip
from trtlab.engine.glassbox.operators import OPERATORS, conv, is_host, max_pool, parameters, window
from trtlab.engine.glassbox.products import CONV, MATMUL

# --- elementwise programs, poolings and other operators ---------------------------------------------------------------


def _program(call: Call) -> tuple[Any, Any]:
    return pointwise.checked(call.attributes["program"], call.attributes["results"], len(call.operands))


def _pointwise_with_torch(call: Call) -> Kernel:
    program, results = _program(call)

    def run(*tensors: Tensor) -> Any:
        made = pointwise.run_with_torch(program, results, tensors)
        return made if len(made) > 1 else made[0]

    return with_weights(run, call)


def _pointwise_generated(call: Call) -> Kernel:
    launch = with_weights(pointwise.generated(*_program(call)), call)

    def run(*tensors: Tensor) -> Any:
        launch(*tensors)
        return tensors[-1] if call.results == 1 else tensors[-call.results :]

    return run


def _fits_generated(call: Call) -> bool:
    return generates(call, triton=True) and pointwise.is_generated(call.attributes["program"])


def _max_pool_generated(call: Call) -> Kernel:
    at = window((call.shapes[0] or ())[2:], call.attributes["kernel_shape"], call.attributes)
    return images.max_pool(at.kernel, at.strides, [before for before, _ in at.pairs])


def _fits_max_pool(call: Call) -> bool:
    shape = call.shapes[0] or ()  # () where it is not known
    if not generates(call, triton=True) or call.free != [0] or len(shape) != 4:
        return False
    at = window(shape[2:], call.attributes["kernel_shape"], call.attributes)
    small = all(a < k for (a, _), k in zip(at.pairs, at.kernel, strict=True))
    return small and {*at.dilations} == {1} and 0 < math.prod(shape) < 2**31  # a GPU counts in 32 bits


def _operator(call: Call) -> Kernel:
    """The ONNX operator itself; weights that say how are read once, here."""
    attributes = dict(call.attributes)
    name = attributes.pop("operator")
    if "value" in attributes and isinstance(attributes["value"], Mapping):  # a tensor of one number
        value = attributes["value"]
        attributes["value"] = torch.tensor(value["number"], dtype=getattr(torch, value["dtype"]))
    if "results" in parameters(name):
        attributes["results"] = call.results
    host = zip(is_host(name, len(call.operands)), call.operands, strict=True)
    fixed = [tuple(w.flatten().tolist()) if h and w is not None else w for h, w in host]
    return finished(with_weights(OPERATORS[name], call, fixed, attributes), call)


def _joined(call: Call) -> Kernel:
    """A concatenation that copies the parts which were not made where they belong."""
    axis, known = call.attributes.get("axis", 1), set[tuple[int, ...]]()

    def run(*tensors: Tensor) -> Tensor:
        *parts, out = tensors
        addresses = tuple([t.data_ptr() for t in tensors])
        if addresses not in known:
            places = out.split([p.shape[axis] for p in parts], axis)
            copies = [
                place.copy_(p) for p, place in zip(parts, places, strict=True) if p.data_ptr() != place.data_ptr()
            ]
            known.update([] if copies else [addresses])
        return out

    return with_weights(run, call)


# --- Softmax and LayerNormalization, generated ------------------------------------------------------------------------


def _rows(call: Call) -> Kernel:
    if call.attributes["operator"] == "Softmax":
        return rows.softmax
    scale, shift = weights_of(call), call.weight(2)
    numbers = scale.numpy(), (torch.zeros_like(scale) if shift is None else shift).numpy()
    return lambda x, out: rows.layer_norm(x, *numbers, call.attributes.get("epsilon", 1e-5), out)


def _fits_rows(call: Call) -> bool:
    """Over the last axis alone, with weights of the plan."""
    shape, known = call.shapes[0] or (), call.free == [0] and generates(call)
    if call.attributes["operator"] not in ("Softmax", "LayerNormalization") or not known or 0 in (*shape, len(shape)):
        return False
    axis = call.attributes.get("axis", 1 if call.attributes.get("opset", 13) < 13 else -1)
    return axis in (-1, len(shape) - 1) and all(w is None or w.shape == shape[-1:] for w in call.operands[1:])


# --- attention: operands q, k, v and perhaps a mask; k as it is multiplied, [..., D, N] -------------------------------


def _attention(call: Call) -> Kernel:
    scale = call.attributes["scale"]

    def run(q: Tensor, k: Tensor, v: Tensor, *mask: Tensor) -> Tensor:
        scores = torch.matmul(q, k).mul_(scale)
        return torch.matmul(torch.softmax(scores.add_(*mask) if mask else scores, -1), v)

    return with_weights(run, call)


def _in_heads(kernel: Callable[..., Tensor], call: Call) -> Kernel:
    """A kernel of [B, H, M, D], which reads and writes without looking, for tensors without heads, too."""
    shapes = [*call.shapes, (*(call.shapes[0] or ())[:-1], (call.shapes[2] or ())[-1])]

    def run(*tensors: Tensor, **room: Tensor) -> Tensor:
        dense = all(tensors[n].stride(-1) == 1 for n in (0, 2, 3))
        if not dense or [t.shape for t in tensors] != shapes:
            raise ValueError(f"attention walks through dense rows of {shapes}, not {[t.shape for t in tensors]}")
        kernel(*[t if t.ndim == 4 else t.unsqueeze(1) for t in tensors], **room)
        return tensors[-1]

    return run


def _fits_attention(call: Call) -> bool:
    """Every head with keys and values of its own, no mask."""
    if call.free != [0, 1, 2] or len(call.operands) != 3 or None in call.shapes or call.attributes["scale"] <= 0:
        return False
    q, k, v = (shape or () for shape in call.shapes)
    alike = len(q) in (3, 4) and q[:-2] == k[:-2] == v[:-2] and 0 not in (*q, *k, *v)
    return alike and (q[-1], k[-1]) == (k[-2], v[-2])


def _attention_generated(call: Call) -> Kernel:
    v = call.shapes[2] or ()
    return _in_heads(rows.attention(v[-2], v[-1], call.attributes["scale"]), call)


def _attention_by_triton(call: Call) -> Kernel:
    return _in_heads(rows.attention_by_triton(call.attributes["scale"]), call)


def _fits_triton(call: Call) -> bool:
    """Heads that fit into shared memory with a block of keys and values."""
    here = call.device.name == "cuda" and generates(call, triton=True) and _fits_attention(call)
    return here and max((call.shapes[0] or ())[-1], (call.shapes[2] or ())[-1]) <= 128


def _panels(call: Call) -> int:
    q, _, v = (shape or () for shape in call.shapes)
    return 4 * rows.panels_size(q[-1], v[-2], v[-1])


# --- products of INT8 codes, both symmetric: operands x, w, and the product of their scales ---------------------------


def _int8(function: Kernel) -> Callable[[Call], Kernel]:
    """Sums of products of codes, in float64, which holds them all exactly, in any order; times the scales, in the
    result's type; then the epilogue."""

    def bind(call: Call) -> Kernel:
        how, scale = {**call.attributes}, weights_of(call, 2)
        dtype = getattr(torch, how.pop("dtype"))
        codes = [None if w is None else w.double() for w in call.operands[:2]]

        def run(*given: Tensor) -> Tensor:
            there = (x.double() for x in given)
            return (function(*[next(there) if w is None else w for w in codes], **how) * scale).to(dtype)

        return finished(run, call)

    return bind


# --- all of them ------------------------------------------------------------------------------------------------------

VIEW = "view"
"""The tactic of what is a part of its input's memory, seen otherwise: nothing to do."""
KERNELS: dict[str, dict[str, Tactic]] = {
    "conv": CONV,
    "matmul": MATMUL,
    "int8 conv": {"exact": Tactic(bind=_int8(conv))},
    "int8 matmul": {"exact": Tactic(bind=_int8(torch.matmul))},
    "pointwise": {
        "torch": Tactic(bind=_pointwise_with_torch),
        "generated": Tactic(bind=_pointwise_generated, fits=_fits_generated, writes_out=True),
    },
    "attention": {
        "torch": Tactic(bind=_attention),
        "generated": Tactic(
            bind=_attention_generated,
            fits=lambda call: generates(call) and _fits_attention(call),
            writes_out=True,
            scratch=_panels,
        ),
        "triton": Tactic(bind=_attention_by_triton, fits=_fits_triton, writes_out=True),
    },
    "maxpool": {
        "torch": Tactic(bind=lambda call: with_weights(max_pool, call, attributes=call.attributes)),
        "generated": Tactic(
            bind=_max_pool_generated,
            fits=_fits_max_pool,
            writes_out=True,
            scratch=lambda call: 4 * math.prod((call.shapes[0] or ())[1::2]) if call.device.name == "cpu" else 0,
        ),
    },
    "operator": {
        "torch": Tactic(bind=_operator),
        "generated": Tactic(bind=_rows, fits=_fits_rows, writes_out=True),
        "joined": Tactic(bind=_joined, fits=lambda call: call.attributes["operator"] == "Concat", writes_out=True),
        VIEW: Tactic(bind=lambda _: lambda *tensors: tensors[-1], writes_out=True),
    },
}
"""Kernel -> tactic -> how. The first tactic of each works wherever torch does, and brings its own memory."""


def tactics(kernel: str, call: Call) -> dict[str, Tactic]:
    """The tactics that can compute this call on this machine."""
    is_product = kernel.removeprefix("int8 ") in ("conv", "matmul") or call.attributes.get("operator") == "Gemm"
    if call.epilogue.chain and not is_product:
        raise ValueError(f"{kernel} has an epilogue: only products, whose results are new memory, finish in place")
    return {name: tactic for name, tactic in KERNELS[kernel].items() if tactic.fits(call)}
