"""study/truths/precision: types, Q/DQ pairs and calibration, in builds, on arrays, on trained networks: C48 to C58.

In: numeric/calibrate, builds, recordings. Out: `Found`s.
"""

from typing import Any

import numpy as np
import onnx

from trtlab.engine.networks import DIGITS_ONNX, load_digits_split
from trtlab.engine.ort import OrtSession
from trtlab.lab import builds, gemm, precision
from trtlab.numeric import calibrate
from trtlab.study import witnesses
from trtlab.study.found import Found, computed, seen
from trtlab.study.truths.kinds import in_kernels
from trtlab.study.witnesses import homes, listed, sizes, told_bytes

EVERY = 128  # candidates between those that SciPy is asked about


# --- quizzes ----------------------------------------------------------------------------------------------------------


def scale_of_maximum() -> Found:
    """The scale of the max calibrator for values from -1.27 to 6.35."""
    values = np.array([-1.27, 0.0, 2.5, 6.35], np.float32)
    found, low, high = calibrate.maximum(calibrate.Histogram.of(values)), float(values.min()), float(values.max())
    affine, lowest = round((high - low) / 255, 6), round(-low / 127, 6)
    return computed(round(found.scale, 6), amax=round(found.value, 6), affine=affine, lowest=lowest)


def place_of_the_pair() -> Found:
    """Where a pair of Q and DQ leaves fewer kernels of NVIDIA's builder, and lets the second convolution read INT8."""
    reports = {place: witnesses.report_on(f"qdq_{place}_relu") for place in ("behind", "before")}
    kernels = {place: len(report.kernels) for place, report in reports.items()}
    reads = {place: _types(homes(report, "conv2")[0].inputs[:1]) for place, report in reports.items()}
    differ = kernels["behind"] != kernels["before"] and reads == {"behind": "Int8", "before": "Float"}
    value = min(kernels, key=kernels.__getitem__) if differ else "neither"
    return in_kernels(reports["before"], value, **kernels, reads=listed(reads.values()), then=reads["before"])


def fastest_for_one_row() -> Found:
    """The format in which a product with one row took least, of three."""
    recorded, asked = gemm.load(), ("W4A16", "FP8", "FP16")
    one, many = ({name: recorded.run(name, m).median_s * 1e6 for name in asked} for m in (1, 256))
    return seen(recorded, min(one, key=one.__getitem__), taken=sizes(one, ".1f"), many=sizes(many, ".1f"))


def what_needs_data() -> Found:
    """Of the tensors that an INT8 convolution reads, which have values in the file of the digits network."""
    model = onnx.load(DIGITS_ONNX)
    weights = {tensor.name for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    alone, run = ([name for name in first.input[:2] if (name in weights) is there] for there in (True, False))
    value = "activations" if alone and run else "both"
    return computed(value, referees=("onnx",), alone=", ".join(alone), run=", ".join(run))


# --- claims -----------------------------------------------------------------------------------------------------------


def mixed_types() -> Found:
    """What tensorrt_rtx says to a product of a Float and a Half matrix without a Cast."""
    return witnesses.told(builds.model("matmul_mixed"), target="SM89")


def weights_halve() -> Found:
    rows = list[tuple[Any, ...]]()
    for network in ("digits", "resnet18"):
        full, half = (builds.recorded(builds.key(network, p, "SM89", dynamic_batch=False)) for p in ("FP32", "FP16"))
        weights = [told_bytes(report, "weights") for report in (full, half)]
        rows.append((network, *weights, full.plan_size_bytes, half.plan_size_bytes))
    return seen(full, all(1.9 < wide / narrow < 2.1 for _, wide, narrow, *_ in rows), rows)


def fp16_is_faster() -> Found:
    recorded, size = gemm.load(), 4096
    taken = {name.lower(): recorded.run(name, size).median_s * 1e6 for name in ("FP16", "TF32", "FP32")}
    holds = taken["fp16"] < 0.7 * taken["tf32"] < 0.5 * taken["fp32"]
    return seen(recorded, holds, m=size, n=size, k=size, **taken)


def _types(tensors: Any) -> str:
    return listed(dict.fromkeys(tensor.dtype for tensor in tensors))


def int8_is_read() -> Found:
    report = witnesses.report_on("qdq_behind_relu")
    rows = [
        (k.name, _types(k.inputs), _types(c for c in k.constants if c.shape[3:] > (1,)), _types(k.outputs))
        for k in homes(report, "conv", "conv2")
    ]
    holds = len(rows) == 2 and all((activations, weights) == ("Int8", "Int8") for _, activations, weights, _ in rows)
    return seen(report, holds, rows)


def _activations() -> Any:
    """What one layer of the digits network gave: a ReLU, so none is below 0, and few are large."""
    shown = onnx.ModelProto.FromString(precision.network("digits").SerializeToString())
    shown.graph.output.append(onnx.helper.make_empty_tensor_value_info("relu"))
    return OrtSession(shown).run({"image": load_digits_split().calibration_images[:256]})["relu"]


def histogram_and_divergence() -> Found:
    from scipy import stats

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
    values = _activations()
    h = calibrate.Histogram.of(values)
    entropy, mse, maximum = calibrate.entropy(h).value, calibrate.mse(h).value, h.amax

    def error(threshold: float) -> float:
        """NumPy's, on the values themselves."""
        step = threshold / 127
        return float(np.square(np.clip(np.rint(values / step), -128, 127) * step - values).mean())

    holds = abs(entropy - mse) > 0.05 * mse and error(mse) < min(error(entropy), error(maximum))
    return computed(holds, entropy=entropy, mse=mse, maximum=maximum)


def few_images_are_enough() -> Found:
    needed = precision.images_needed("transformer", "entropy", counts=(1, 16, 64), draws=3)
    medians = {count: float(np.median(found)) for count, found in needed.items()}
    rows = [(count, *(f"{pick(found):.1%}" for pick in (min, np.median, max))) for count, found in needed.items()]
    holds = medians[64] - medians[16] < 0.03 and medians[16] > 0.9
    return computed(holds, rows, referees=("onnxruntime", "torch"), samples=9)
