"""study/proofs/precision: C48 to C58: types, Q/DQ pairs and calibration, in builds, on arrays, on trained networks.

In: builds and recordings. Out: `Found`s; the words are in words/claims.
"""

from typing import Any

from trtlab.study import witnesses
from trtlab.study.found import Found, computed
from trtlab.study.proofs.kinds import kernel_rows

EVERY = 128  # candidates between those that SciPy is asked about


def mixed_types_are_refused() -> Found:
    from trtlab.study.truths import builds

    found = builds.built(builds.mixed_types)
    holds = found.value == "parse error" and "same input types" in found.evidence
    return Found(value=holds, evidence=found.evidence, provenance=found.provenance)


def weights_halve() -> Found:
    from trtlab.lab import builds

    rows, holds, made = [], True, None
    for network in ("digits", "resnet18"):
        full, half = (builds.recorded(builds.key(network, p, "SM89", dynamic_batch=False)) for p in ("FP32", "FP16"))
        weights = [full.weights_bytes or 0, half.weights_bytes or 0]
        rows.append((network, *(f"{n:,}" for n in (*weights, full.plan_size_bytes, half.plan_size_bytes))))
        holds = holds and 1.9 < weights[0] / max(1, weights[1]) < 2.1
        made = full.provenance
    assert made is not None
    return Found(value=holds, rows=rows, provenance=made)


def _types(tensors: Any) -> str:
    return witnesses.listed(dict.fromkeys(tensor.dtype for tensor in tensors))


def int8_is_read() -> Found:
    report = witnesses.report_on("qdq_behind_relu")
    found = witnesses.homes(report, "conv", "conv2")
    rows = [(k.name, _types(k.inputs), _types(c for c in k.constants if len(c.shape) == 4 and c.shape[3] > 1),
             _types(k.outputs)) for k in found]  # fmt: skip
    holds = len(found) == 2 and all((activations, weights) == ("Int8", "Int8") for _, activations, weights, _ in rows)
    return Found(value=holds, rows=rows, provenance=report.provenance)


def misplaced_pair() -> Found:
    good, bad = (witnesses.report_on(f"qdq_{place}_relu") for place in ("behind", "before"))
    header, rows = kernel_rows(bad)
    (second,) = witnesses.homes(bad, "conv2")
    reads = _types(second.inputs)
    facts = {"good": len(good.kernels), "bad": len(bad.kernels), "reads": reads}
    holds = len(bad.kernels) > len(good.kernels) and reads == "Float"
    return Found(value=holds, rows=rows, header=header, facts=facts, provenance=bad.provenance)


def _activations() -> Any:
    """What one layer of the digits network gave: a ReLU, so none is below 0, and few are large."""
    import onnx

    from trtlab.engine.digits import load_digits_split
    from trtlab.engine.ort import OrtSession
    from trtlab.lab import precision

    shown = onnx.ModelProto.FromString(precision.network("digits").SerializeToString())
    shown.graph.output.append(onnx.helper.make_empty_tensor_value_info("relu"))
    return OrtSession(shown).run({"image": load_digits_split().calibration_images[:256]})["relu"]


def histogram_and_divergence() -> Found:
    import numpy as np
    from scipy import stats

    from trtlab.numeric import calibrate

    values = _activations()
    h = calibrate.Histogram.of(values)
    counts, _ = np.histogram(np.abs(values).astype(np.float64), bins=h.counts.size, range=(0, h.limit))
    chosen = calibrate.entropy(h)
    asked = [k for k in (*chosen.candidates[::EVERY], chosen.bin) if np.isfinite(chosen.losses[k - calibrate.START])]
    ours = [chosen.losses[k - calibrate.START] for k in asked]
    theirs = [float(stats.entropy(one.p, one.q)) for one in (calibrate.candidate(h, int(k)) for k in asked)]
    same = bool((counts == h.counts).all() and np.allclose(ours, theirs, rtol=1e-9, atol=1e-12))
    holds = same and min(theirs) == theirs[-1] and np.isclose(chosen.scale, chosen.value / 127)
    facts = {"bins": h.counts.size, "values": values.size, "chosen": f"{chosen.value:.3f}"}
    return computed(bool(holds), referees=("numpy", "scipy"), **facts)


def losses_disagree() -> Found:
    import numpy as np

    from trtlab.numeric import calibrate

    values = _activations()
    h = calibrate.Histogram.of(values)
    entropy, mse = calibrate.entropy(h), calibrate.mse(h)

    def error(threshold: float) -> float:
        """NumPy's, on the values themselves."""
        step = threshold / 127
        return float(np.square(np.clip(np.rint(values / step), -128, 127) * step - values).mean())

    holds = abs(entropy.value - mse.value) > 0.05 * mse.value and error(mse.value) < min(
        error(entropy.value), error(h.amax)
    )
    return computed(holds, entropy=entropy.value, mse=mse.value, maximum=h.amax)


def fp16_is_faster() -> Found:
    from trtlab.lab import gemm

    recorded, size = gemm.load(), 4096
    taken = {name.lower(): recorded.run(name, size).median_s * 1e6 for name in ("FP16", "TF32", "FP32")}
    holds = taken["fp16"] < 0.7 * taken["tf32"] < 0.5 * taken["fp32"]
    facts = {"m": size, "n": size, "k": size, **taken}
    return Found(value=holds, facts=facts, provenance=recorded.provenance)


def few_images_are_enough() -> Found:
    import numpy as np

    from trtlab.engine.measure import live
    from trtlab.lab import precision

    needed = precision.images_needed("transformer", "entropy", counts=(1, 16, 64), draws=3)
    medians = {count: float(np.median(found)) for count, found in needed.items()}
    rows = [(count, *(f"{pick(found):.1%}" for pick in (min, np.median, max))) for count, found in needed.items()]
    holds = medians[64] - medians[16] < 0.03 and medians[16] > 0.9
    return Found(value=bool(holds), rows=rows, provenance=live(["onnxruntime", "torch"], samples=9))
