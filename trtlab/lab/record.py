"""lab/record: `python -m trtlab.lab.record` builds every teaching model again and records the reports.

Needs a compiler; overwrites the files of engine/recordings.
"""

from trtlab.engine.nvidia.api import installed_api
from trtlab.engine.recordings import API_FILE, fusions, key, light_report, save, save_values
from trtlab.lab import support
from trtlab.lab.workflow import Precision, Workflow

TARGETS = {"digits": ("SM75", "SM86", "SM89", "SM120"), "resnet18": ("SM89",), "transformer": ("SM89",)}
PRECISIONS: tuple[Precision, ...] = ("FP32", "FP16")
LIGHT = ("vgg19", "inception_v1", "resnet50")


def main() -> None:
    save_values(installed_api(), API_FILE)
    save_values(support.matrix(), support.FILE)
    for name in LIGHT:
        save(f"light-{name}-SM89", light_report(name))
    for name in fusions.recorded_names():
        save(f"fusion-{name}-SM89", fusions.report(name))
    for model, targets in TARGETS.items():
        for precision in PRECISIONS:
            for target in targets:
                for dynamic_batch in (False, True):
                    record(model, precision, target, dynamic_batch)


def record(model: str, precision: Precision, target: str, dynamic_batch: bool) -> None:
    """Build one variant and save its report; a variant that the target cannot run is named and left out."""
    from trtlab.engine.nvidia import UnsupportedTarget

    name = key(model, precision, target, dynamic_batch=dynamic_batch)
    flow = Workflow(model, precision=precision, target=target, dynamic_batch=dynamic_batch)
    try:
        list(flow.run(("export", "check", "parse", "configure", "build")))
    except UnsupportedTarget as error:
        print(f"{name}: left out: {error.what}")
        return
    path = save(name, flow.report)
    print(f"{name}: {len(flow.report.kernels)} kernels, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
