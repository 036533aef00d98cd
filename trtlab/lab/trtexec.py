"""lab/trtexec: the command line that builds the same plan with NVIDIA's own tool.

In: what a workflow was asked for, and a TensorRT major. Out: one command. Precision is where the majors differ: a flag
for 8, strong typing for 10, nothing at all for 11, where every network is typed. It builds for the GPU it runs on.
"""

from collections.abc import Mapping, Sequence

MAJORS = ("8", "10", "11")


def trtexec_command(
    model: str,
    *,
    precision: str,
    major: str,
    profile: Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] | None = None,
) -> str:
    """The `trtexec` command for a model file `model`.onnx. ValueError for a major that is not one of `MAJORS`.

    For 10 and 11 the ONNX file has its precision in it (INT8 as Q/DQ), so the file name says it.
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
