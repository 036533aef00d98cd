"""study/truths/precision: what calibration, NVIDIA's builder and a GPU's record say, for quizzes.

In: numeric/calibrate, builds, recordings. Out: `Found`s; the words are in words/quizzes.
"""

from trtlab.study import witnesses
from trtlab.study.found import Found, computed


def scale_of_maximum() -> Found:
    """The scale of the max calibrator for values from -1.27 to 6.35."""
    import numpy as np

    from trtlab.numeric import calibrate

    values = np.array([-1.27, 0.0, 2.5, 6.35], np.float32)
    found = calibrate.maximum(calibrate.Histogram.of(values))
    low, high = float(values.min()), float(values.max())
    return computed(
        round(found.scale, 6),
        amax=round(found.value, 6),
        affine=round((high - low) / 255, 6),
        lowest=round(-low / 127, 6),
    )


def place_of_the_pair() -> Found:
    """Where a pair of Q and DQ leaves fewer kernels of NVIDIA's builder."""
    reports = {place: witnesses.report_on(f"qdq_{place}_relu") for place in ("behind", "before")}
    kernels = {place: len(report.kernels) for place, report in reports.items()}
    reads = {place: witnesses.homes(r, "conv2")[0].inputs[0].dtype for place, r in reports.items()}
    said = ", ".join(reads.values())
    best = min(kernels, key=lambda place: kernels[place])
    return Found(value=best, facts=kernels | {"reads": said}, provenance=reports[best].provenance)


def fastest_for_one_row() -> Found:
    """The format in which a product with one row took least, of three."""
    from trtlab.lab import gemm

    recorded, asked = gemm.load(), ("W4A16", "FP8", "FP16")
    taken = {m: {name: recorded.run(name, m).median_s * 1e6 for name in asked} for m in (1, 256)}
    said = {m: ", ".join(f"{name} {us:.1f}" for name, us in row.items()) for m, row in taken.items()}
    best = min(taken[1], key=lambda name: taken[1][name])
    return Found(value=best, facts={"taken": said[1], "many": said[256]}, provenance=recorded.provenance)


def what_needs_data() -> Found:
    """Of the tensors that an INT8 convolution reads, which have values in the file of the digits network."""
    import onnx

    from trtlab.engine.digits import DIGITS_ONNX

    model = onnx.load(DIGITS_ONNX)
    weights = {tensor.name for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    alone, run = ([name for name in first.input[:2] if (name in weights) is there] for there in (True, False))
    value = "activations" if alone and run else "both"
    return computed(value, referees=("onnx",), alone=", ".join(alone), run=", ".join(run))
