"""tools/leave_one_out: find out what each stage of the build cannot do without, and record it.

In: tensorrt_rtx and the digits model. Out: the recording `stage-needs`. Needed once for a compiler:
`python -m tools.leave_one_out`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trtlab.engine import recordings
from trtlab.engine.measure import live
from trtlab.lab.workflow import STAGES, StageNeeds

COMMAND = "python -m tools.leave_one_out"
BUILD_HALF = STAGES[: STAGES.index("deserialise") + 1]
Made = dict[str, Any]


def find_out() -> StageNeeds:
    """Run each stage with everything made, then with one product missing. Imports the compiler: in its own process."""
    import tensorrt_rtx as trt

    with tempfile.TemporaryDirectory() as folder:
        stages = _stages(trt, Path(folder) / "digits.plan")
        made: Made = {}
        for name, run in stages.items():
            made[name] = run(made)
        refusals = {
            name: {other: _refusal(run, made, other) for other in BUILD_HALF[: BUILD_HALF.index(name)]}
            for name, run in stages.items()
        }
    return StageNeeds(refusals=refusals, provenance=live(["tensorrt-rtx", "onnx"]))


def _refusal(run: Callable[[Made], Any], made: Made, missing: str) -> str | None:
    try:
        run({name: product for name, product in made.items() if name != missing})
    except Exception as error:  # noqa: BLE001 (whatever a library raises is its refusal)
        said = getattr(error, "strerror", None) or str(error)  # a path would name this machine's folders
        return f"{type(error).__name__}: {said}".splitlines()[0].rstrip(".")[:160]
    return None


def _stages(trt: Any, path: Path) -> dict[str, Callable[[Made], Any]]:
    """One function for each stage, from what was made so far to its product; it raises when the library refuses."""
    import onnx

    from trtlab.engine.networks import DIGITS_ONNX

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder, runtime = trt.Builder(logger), trt.Runtime(logger)
    parsers = []  # a parser must outlive its network

    def parse(made: Made) -> Any:
        network = builder.create_network(0)
        parsers.append(trt.OnnxParser(network, logger))
        return _expect(network, parsers[-1].parse(made.get("export", b"")) and network.num_outputs, "no output parsed")

    def configure(_made: Made) -> Any:
        config, profile = builder.create_builder_config(), builder.create_optimization_profile()
        profile.set_shape("image", (1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8))
        return _expect(config, config.add_optimization_profile(profile) == 0, "profile refused")

    def build(made: Made) -> Any:
        network = made.get("parse") or builder.create_network(0)
        plan = builder.build_serialized_network(network, made.get("configure"))
        return _expect(plan, plan is not None, "no plan: the network has no output")

    def serialise(made: Made) -> Any:
        return _expect(path, path.write_bytes(made.get("build")), "nothing written")  # type: ignore[arg-type]

    def deserialise(made: Made) -> Any:
        file = made.get("serialise", path.with_name("absent.plan"))
        return runtime.deserialize_cuda_engine(file.read_bytes())  # None without a GPU, but the runtime got its bytes

    products: tuple[Callable[[Made], Any], ...] = (
        lambda _made: Path(DIGITS_ONNX).read_bytes(),
        lambda made: onnx.checker.check_model(made.get("export", b"")),
        parse, configure, build, serialise, deserialise,
    )  # fmt: skip
    return dict(zip(BUILD_HALF, products, strict=True))


def _expect(product: Any, holds: object, otherwise: str) -> Any:
    if not holds:
        raise RuntimeError(otherwise)
    return product


def record() -> None:
    """Find out, and write the recording."""
    recordings.save(find_out(), "stage-needs", COMMAND)


if __name__ == "__main__":
    record()
