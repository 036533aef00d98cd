"""engine/glassbox/library: every kernel, and for each its tactics: ways to compute the same.

In: a kernel's name and a `Call`. Out: the tactics that fit it on this machine. The builder times them and keeps the
fastest; the tests compare each with torch and ONNX Runtime.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import pointwise
from trtlab.engine.glassbox.epilogues import finished, generates
from trtlab.engine.glassbox.integers import INT8_CONV, INT8_MATMUL
from trtlab.engine.glassbox.kernels import FLOATS, Call, Kernel, Tactic, generated, with_weights
from trtlab.engine.glassbox.operators import OPERATORS, Window, is_host, max_pool, parameters, window
from trtlab.engine.glassbox.products import CONV, MATMUL


def _pointwise_with_torch(call: Call) -> Kernel:
    program, results = pointwise.checked(call.attributes["program"], call.attributes["results"], len(call.operands))
    operation = pointwise.POINTWISE[program[0][0]].torch
    if len(program) == 1 and program[0][1] == list(range(len(call.operands))) and all(call.present):
        attributes = program[0][2]
        return with_weights(lambda *tensors: operation(*tensors, **attributes), call)
    run = pointwise.run_with_torch
    if len(results) == 1:
        return with_weights(lambda *tensors: run(program, results, tensors)[0], call)
    return with_weights(lambda *tensors: run(program, results, tensors), call)


def _pointwise_generated(call: Call) -> Kernel:
    launch = generated(*pointwise.checked(call.attributes["program"], call.attributes["results"], len(call.operands)))
    launch_all = with_weights(launch, call)

    def run(*tensors: Tensor) -> Any:
        launch_all(*tensors)
        return tensors[-1] if call.results == 1 else tensors[-call.results :]

    return run


def _fits_generated(call: Call) -> bool:
    here = generates(call) or call.device.has_triton
    return here and call.dtype in FLOATS and pointwise.is_generated(call.attributes["program"])


def _max_pool_window(call: Call) -> Window:
    return window((call.shapes[0] or ())[2:], call.attributes["kernel_shape"], call.attributes)


def _max_pool_generated(call: Call) -> Kernel:
    from trtlab.engine.codegen import pooling

    at = _max_pool_window(call)
    return pooling.generated(at.kernel, at.strides, [before for before, _ in at.pairs])


def _fits_max_pool(call: Call) -> bool:
    if call.free != [0] or not call.shapes[0] or not generates(call):
        return False
    at = _max_pool_window(call)
    small = all(a < k for (a, _), k in zip(at.pairs, at.kernel, strict=True))
    return small and len(at.strides) == 2 and {*at.dilations} == {1}


def _operator(call: Call) -> Kernel:
    """The ONNX operator itself; weights that say how are read once, here."""
    attributes = dict(call.attributes)
    name = attributes.pop("operator")
    if "value" in attributes and isinstance(attributes["value"], Mapping):  # a tensor of one number
        value = attributes["value"]
        attributes["value"] = torch.tensor(value["number"], dtype=getattr(torch, value["dtype"]))
    if "results" in parameters(name):
        attributes["results"] = call.results
    host = is_host(name, len(call.operands))
    fixed = [
        tuple(w.flatten().tolist()) if h and w is not None else w for h, w in zip(host, call.operands, strict=True)
    ]
    return finished(with_weights(OPERATORS[name], call, fixed, attributes), call)


def _operator_into(call: Call) -> Kernel | None:
    """A change of shape copies the numbers once, in order, to where they belong."""
    if call.attributes["operator"] not in ("Reshape", "Flatten") or call.free != [0]:
        return None

    def run(x: Tensor, out: Tensor) -> Tensor:
        out.view(x.shape).copy_(x)
        return out

    return run


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


VIEW = "view"
"""The tactic of what is a part of its input's memory, seen otherwise: nothing to do."""
KERNELS: dict[str, dict[str, Tactic]] = {
    "conv": CONV,
    "matmul": MATMUL,
    "int8 conv": INT8_CONV,
    "int8 matmul": INT8_MATMUL,
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
            scratch=lambda call: 4 * math.prod((call.shapes[0] or ())[1::2]),
        ),
    },
    "operator": {
        "torch": Tactic(bind=_operator, into=_operator_into),
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
