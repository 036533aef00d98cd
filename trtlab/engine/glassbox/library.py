"""engine/glassbox/library: every kernel, and for each its tactics: ways to compute the same.

In: a kernel's name and a `Call`. Out: the tactics that fit it on this machine. The builder times them and keeps the
fastest; the tests compare each with torch and ONNX Runtime. Products of INT8 codes are exact sums, one factor a
channel, then floats: ONNX Runtime running the same Q/DQ checks them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import images, pointwise
from trtlab.engine.glassbox.kernels import FLOATS, Call, Kernel, Tactic, finished, generates, weights_of, with_weights
from trtlab.engine.glassbox.operators import OPERATORS, conv, is_host, max_pool, parameters, window
from trtlab.engine.glassbox.products import CONV, MATMUL, PIXELS, ROWS, lies, windows

# --- elementwise programs, poolings and other operators ---------------------------------------------------------------


def _program(call: Call) -> tuple[Any, Any]:
    return pointwise.checked(call.attributes["program"], call.attributes["results"], len(call.operands))


def _pointwise_with_torch(call: Call) -> Kernel:
    program, results = _program(call)
    operation, reads, attributes = pointwise.POINTWISE[program[0][0]].torch, program[0][1], program[0][2]
    if len(program) == 1 and reads == list(range(len(call.operands))) and all(call.present):
        return with_weights(operation, call, attributes=attributes)
    run = pointwise.run_with_torch
    if len(results) == 1:
        return with_weights(lambda *tensors: run(program, results, tensors)[0], call)
    return with_weights(lambda *tensors: run(program, results, tensors), call)


def _pointwise_generated(call: Call) -> Kernel:
    launch = with_weights(pointwise.generated(*_program(call)), call)

    def run(*tensors: Tensor) -> Any:
        launch(*tensors)
        return tensors[-1] if call.results == 1 else tensors[-call.results :]

    return run


def _fits_generated(call: Call) -> bool:
    here = generates(call) or call.device.has_triton
    return here and call.dtype in FLOATS and pointwise.is_generated(call.attributes["program"])


def _max_pool_generated(call: Call) -> Kernel:
    at = window((call.shapes[0] or ())[2:], call.attributes["kernel_shape"], call.attributes)
    return images.max_pool(at.kernel, at.strides, [before for before, _ in at.pairs])


def _fits_max_pool(call: Call) -> bool:
    here = generates(call) or (call.device.has_triton and call.dtype in FLOATS)
    if not here or call.free != [0] or not 0 < math.prod(call.shapes[0] or ()) < 2**31:  # a GPU counts in 32 bits
        return False
    at = window((call.shapes[0] or ())[2:], call.attributes["kernel_shape"], call.attributes)
    small = all(a < k for (a, _), k in zip(at.pairs, at.kernel, strict=True))
    return small and len(at.strides) == 2 and {*at.dilations} == {1} and lies(call, (*PIXELS, 1), 1)


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


# --- products of INT8 codes, both symmetric: operands x, w, and the product of their scales ---------------------------

MOST = 128 * 128
"""The largest product of two codes."""


def _int8(sums_of: Callable[[Call], Kernel], fits: Callable[[Call], bool] | None = None) -> Tactic:
    """A tactic: sums of products of codes, times the scales, in the result's type; then the epilogue. Those that have
    to `fit` write where they are told."""

    def bind(call: Call) -> Kernel:
        sums, scale, dtype = sums_of(call), call.weight(2), getattr(torch, call.attributes["dtype"])
        if scale is None:
            raise ValueError("the scales of this kernel are not in the plan")
        if fits is None:
            return finished(lambda *codes: (sums(*codes) * scale).to(dtype), call)
        return finished(lambda *tensors: _scaled(sums(*tensors[:-1]), scale, tensors[-1]), call)

    return Tactic(bind=bind, fits=fits, writes_out=True) if fits else Tactic(bind=bind)


def _scaled(sums: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """Into `out`; torch would give a result of another size other memory."""
    if sums.shape != out.shape:
        raise ValueError(f"a product of shape {tuple(sums.shape)} does not go into {tuple(out.shape)}")
    return torch.mul(sums, scale, out=out)


def _wide(call: Call, terms: int | None) -> torch.dtype:
    """A float type that holds every sum of so many products exactly, in any order: float32 up to 2^24. On a GPU, where
    convolutions may take ways through other numbers, and for unknown sizes, float64."""
    known = terms is not None and call.device.name == "cpu" and terms * MOST <= 1 << 24
    return torch.float32 if known else torch.float64


def _multiplies(call: Call, rows: int, terms: int, columns: int) -> bool:
    """Whether torch has INT8 products of this size here: on a GPU tensor cores ask for more than 16 rows, and for
    multiples of 8."""
    return rows * terms * columns > 0 and (call.device.name == "cpu" or (rows > 16 and terms % 8 == columns % 8 == 0))


def _conv_in_floats(call: Call) -> Kernel:
    """Any convolution: floats that hold all sums."""
    w, how = weights_of(call), {name: value for name, value in call.attributes.items() if name != "dtype"}
    wide = _wide(call, math.prod(w.shape[1:]))
    filters = w.to(wide).contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w.to(wide)
    return lambda x: conv(x.to(wide), filters, **how)


def _conv_fits_integers(call: Call) -> bool:
    w, x = call.weight(1), call.shapes[0]
    if w is None or w.ndim != 4 or x is None or call.attributes.get("group", 1) != 1:
        return False
    rows = x[0] * math.prod(window(x[2:], w.shape[2:], call.attributes).counts)
    return _multiplies(call, rows, *w.flatten(1).t().shape)


def _conv_in_integers(call: Call) -> Kernel:
    """Every window is a row of codes: one product of matrices, whose sums are INT32."""
    columns, rows_of = weights_of(call).permute(2, 3, 1, 0).flatten(0, 2).contiguous(), windows(call)

    def run(x: Tensor) -> Tensor:
        rows = rows_of(x).permute(0, 2, 3, 1)
        return torch._int_mm(rows.flatten(0, 2), columns).view(*rows.shape[:3], -1).permute(0, 3, 1, 2)

    return run


def _matmul_in_floats(call: Call) -> Kernel:
    w, shape = call.weight(1), call.shapes[1]
    wide = _wide(call, None if not shape else shape[-2] if len(shape) > 1 else shape[0])
    if w is None:
        return lambda a, b: torch.matmul(a.to(wide), b.to(wide))
    matrix = w.to(wide)
    return lambda x: torch.matmul(x.to(wide), matrix)


def _matmul_fits_integers(call: Call) -> bool:
    w, x = call.weight(1), call.shapes[0]
    if w is None or w.ndim != 2 or call.free != [0] or x is None or len(x) < 2:
        return False
    return _multiplies(call, math.prod(x[:-1]), *w.shape)


def _matmul_in_integers(call: Call) -> Kernel:
    w = weights_of(call).contiguous()
    return lambda x: torch._int_mm(x.reshape(-1, len(w)).contiguous(), w).view(*x.shape[:-1], -1)


# --- all of them ------------------------------------------------------------------------------------------------------

VIEW = "view"
"""The tactic of what is a part of its input's memory, seen otherwise: nothing to do."""
KERNELS: dict[str, dict[str, Tactic]] = {
    "conv": CONV,
    "matmul": MATMUL,
    "int8 conv": {"exact": _int8(_conv_in_floats), "int8": _int8(_conv_in_integers, _conv_fits_integers)},
    "int8 matmul": {"exact": _int8(_matmul_in_floats), "int8": _int8(_matmul_in_integers, _matmul_fits_integers)},
    "pointwise": {
        "torch": Tactic(bind=_pointwise_with_torch),
        "generated": Tactic(bind=_pointwise_generated, fits=_fits_generated, writes_out=True),
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
        "generated": ROWS,
        "joined": Tactic(bind=_joined, fits=lambda call: call.attributes["operator"] == "Concat", writes_out=True),
        VIEW: Tactic(bind=lambda _: lambda *tensors: tensors[-1], writes_out=True),
    },
}
"""Kernel -> tactic -> how. The first tactic of each works wherever torch does, and brings its own memory."""


def tactics(kernel: str, call: Call) -> dict[str, Tactic]:
    """The tactics that can compute this call on this machine."""
    is_product = kernel.removeprefix("int8 ") in ("conv", "matmul") or call.attributes.get("operator") == "Gemm"
    if call.epilogue.chain and not is_product:
        raise ValueError(
            f"{kernel} has an epilogue: only products, whose results are new memory, are finished in place"
        )
    return {name: tactic for name, tactic in KERNELS[kernel].items() if tactic.fits(call)}
