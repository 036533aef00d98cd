"""engine/recordings: build reports of the teaching models, for machines where no NVIDIA compiler can be installed.

In: a key such as `digits-FP32-SM89-static`. Out: a `BuildReport` whose provenance says RECORDED, when, by which
version and with which command. Files are gzipped JSON, without the plan's bytes (NVIDIA's, and large).
Make them again with `python -m trtlab.lab.record`.
"""

import functools
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtlab.engine.measure import Origin
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.report import BuildReport

if TYPE_CHECKING:
    from trtlab.engine.nvidia.api import Api

FOLDER = Path(__file__).parent
SUFFIX = ".json.gz"
COMMAND = "python -m trtlab.engine.recordings"


def key(model: str, precision: str, target: str, *, dynamic_batch: bool) -> str:
    """`digits-FP32-SM89-static`: the name of a recording, whether or not it exists."""
    return f"{model}-{precision}-{target}-{'dynamic' if dynamic_batch else 'static'}"


def names() -> tuple[str, ...]:
    """Keys of the recordings in the package."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}")))


def load(name: str, missing: CompilerMissing | None = None) -> BuildReport:
    """The recorded report. CompilerMissing, with the choices, when there is none of that name."""
    if name not in names():
        why = f"{missing.what} " if missing is not None else ""
        raise CompilerMissing(
            f"{why}There is no recording {name!r} to show instead.",
            hint=f"Recorded are {', '.join(names()) or 'none'}.",
        )
    return _load(name)


@functools.cache
def _load(name: str) -> BuildReport:
    return BuildReport.from_json(gzip.decompress((FOLDER / f"{name}{SUFFIX}").read_bytes()).decode("utf-8"))


def light_path(name: str) -> Path:
    """Where one of the onnx package's `light_*` networks lies. Each of their weights is a ConstantOfShape node."""
    import onnx

    return Path(onnx.__file__).parent / f"backend/test/data/light/light_{name}.onnx"


def light_nodes(name: str) -> int:
    """Nodes of a `light_*` network that compute; its weights, which are nodes there, are not among them."""
    import onnx

    return sum(node.op_type not in ("Constant", "ConstantOfShape") for node in onnx.load(light_path(name)).graph.node)


def light_report(name: str) -> BuildReport:
    """What the compiler makes of one of the onnx package's `light_*` networks: LIVE, or RECORDED without a compiler."""
    from trtlab.engine.nvidia import explain

    try:
        return explain(light_path(name).read_bytes(), "SM89", name=f"light-{name}", compiler="tensorrt_rtx")
    except CompilerMissing as missing:
        return load(f"light-{name}-SM89", missing)


API_FILE = FOLDER / "api-names.json"


@functools.cache
def load_api() -> "Api":
    """The public names of a recorded compiler, for machines where none can be installed."""
    from cattrs.preconf.json import make_converter

    from trtlab.engine.nvidia.api import Api

    return make_converter().structure(json.loads(API_FILE.read_text(encoding="utf-8")), Api)


def save_values(found: Any, path: Path) -> None:
    """Write an Api or a Support as its recording."""
    from cattrs.preconf.json import make_converter

    recorded = replace(found, provenance=replace(found.provenance, origin=Origin.RECORDED, command=COMMAND))
    path.write_text(json.dumps(make_converter().unstructure(recorded), separators=(",", ":")) + "\n", encoding="utf-8")


def save(name: str, report: BuildReport) -> Path:
    """Write a report as a recording: RECORDED, with the command, without plan bytes; the same report, the same file."""
    recorded = replace(
        report.without_plan(), provenance=replace(report.provenance, origin=Origin.RECORDED, command=COMMAND)
    )
    path = FOLDER / f"{name}{SUFFIX}"
    path.write_bytes(gzip.compress(recorded.to_json().encode("utf-8"), mtime=0))
    return path
