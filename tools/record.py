"""Builds every teaching model again and records the reports: `python -m tools.record`. Needs a compiler; overwrites the
files of engine/recordings."""

from trtlab.engine import recordings
from trtlab.engine.networks import TRAINED
from trtlab.engine.nvidia.api import installed_api
from trtlab.engine.nvidia.report import BuildReport
from trtlab.lab import builds, support
from trtlab.lab.workflow import Precision, Workflow

COMMAND = "python -m tools.record"
TARGETS = {"digits": ("SM75", "SM86", "SM89", "SM120"), "resnet18": ("SM89",), "transformer": ("SM89",)}
PRECISIONS: tuple[Precision, ...] = ("FP32", "FP16", "INT8")
LIGHT = ("vgg19", "inception_v1", "resnet50")


def main() -> None:
    """Record everything."""
    recordings.save(installed_api(), "api-names", COMMAND)
    recordings.save(support.matrix(), "support", COMMAND)
    recordings.save(builds.why_slow(), "why-slow", COMMAND)
    for name in TRAINED:
        recordings.save(builds.engines(name), f"engines-{name}", COMMAND)
    for name in LIGHT:
        save(f"light-{name}-SM89", builds.light_report(name))
    for name in (*builds.names(), *builds.REWRITTEN):
        save(f"fusion-{name}-SM89", builds.report(name))
    for model, targets in TARGETS.items():
        for precision in PRECISIONS:
            for target in targets:
                for dynamic_batch in (False, True):
                    record(model, precision, target, dynamic_batch)


def save(name: str, report: BuildReport) -> None:
    """A report as a recording, without the plan's bytes, which are NVIDIA's, and large."""
    path = recordings.save(report.without_plan(), name, COMMAND)
    print(f"{name}: {len(report.kernels)} kernels, {path.stat().st_size:,} bytes")


def record(model: str, precision: Precision, target: str, dynamic_batch: bool) -> None:
    """Build one variant and save its report; a variant that the target cannot run is named and left out."""
    from trtlab.engine.nvidia.errors import UnsupportedTarget

    name = builds.key(model, precision, target, dynamic_batch=dynamic_batch)
    flow = Workflow(model, precision=precision, target=target, dynamic_batch=dynamic_batch)
    try:
        list(flow.run(("export", "check", "parse", "configure", "build")))
    except UnsupportedTarget as error:
        print(f"{name}: left out: {error.what}")
        return
    save(name, flow.report)


if __name__ == "__main__":
    main()
