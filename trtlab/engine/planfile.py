"""engine/planfile: a plan on disk, with a manifest beside it.

`digits.plan` holds NVIDIA's bytes unchanged, so that trtexec --loadEngine reads it; `digits.plan.json` says which
model, library, version, target and date it belongs to, with size and SHA-256. Both are written atomically. Loading
checks everything before a runtime sees a byte: header checks are all that NVIDIA's runtime does itself.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from trtlab.engine.files import write_atomically
from trtlab.engine.nvidia.errors import PlanFileError
from trtlab.engine.nvidia.report import BuildReport

FORMAT = "trtlab-plan-1"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a plan belongs to. `targets` empty means the GPU it was built on."""

    model_name: str
    model_sha256: str
    compiler: str
    compiler_version: str
    targets: tuple[str, ...]
    created: str
    size_bytes: int
    sha256: str
    format: str = FORMAT


def manifest_path(path: Path) -> Path:
    """`x.plan.json` for `x.plan`."""
    return path.with_name(path.name + ".json")


def save_plan(report: BuildReport, path: str | os.PathLike[str]) -> Manifest:
    """Write the plan and its manifest; a crash in between leaves the old pair or a pair that `load_plan` refuses."""
    if not report.plan:
        raise PlanFileError(
            "This report carries no plan (recordings keep only its size and hash).",
            hint="Build the model to get one.",
        )
    target = Path(path)
    manifest = Manifest(
        model_name=report.model_name,
        model_sha256=report.model_sha256,
        compiler=report.compiler,
        compiler_version=report.compiler_version,
        targets=report.targets,
        created=report.provenance.when,
        size_bytes=len(report.plan),
        sha256=report.plan_sha256,
    )
    write_atomically(target, report.plan)
    write_atomically(manifest_path(target), json.dumps(dataclasses.asdict(manifest), indent=2).encode())
    return manifest


def load_plan(
    path: str | os.PathLike[str], *, compiler: str | None = None, compiler_version: str | None = None
) -> tuple[bytes, Manifest]:
    """(plan, manifest) after every check. With `compiler` and `compiler_version`, a plan of another one is refused too.

    Raises PlanFileError: missing or unreadable manifest, truncated or altered plan, other compiler or version.
    """
    target = Path(path)
    manifest = _read_manifest(manifest_path(target))
    try:
        plan = target.read_bytes()
    except OSError as error:
        raise PlanFileError(
            f"The plan {target.name} cannot be read: {error.strerror}.", hint="Build and save it again."
        ) from None
    if len(plan) != manifest.size_bytes:
        raise PlanFileError(
            f"The plan {target.name} has {len(plan)} bytes, its manifest says {manifest.size_bytes}.",
            hint="Build it again.",
        )
    if hashlib.sha256(plan).hexdigest() != manifest.sha256:
        raise PlanFileError(
            f"The plan {target.name} was altered: its SHA-256 is not the manifest's.", hint="Build it again."
        )
    _check_version(manifest, compiler, compiler_version)
    return plan, manifest


def _check_version(manifest: Manifest, compiler: str | None, version: str | None) -> None:
    made_by = f"{manifest.compiler} {manifest.compiler_version}"
    if compiler not in (None, manifest.compiler) or version not in (None, manifest.compiler_version):
        wanted = " ".join(filter(None, (compiler, version)))
        raise PlanFileError(
            f"The plan was built by {made_by}, this is {wanted}.",
            hint="A plan runs on the version that built it: build it again.",
        )


def _read_manifest(path: Path) -> Manifest:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**(values | {"targets": tuple(values["targets"])}))
    except FileNotFoundError:
        raise PlanFileError(
            f"There is no manifest {path.name} beside the plan.",
            hint="A plan is loaded only with the manifest save_plan wrote.",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PlanFileError(
            f"The manifest {path.name} cannot be read: {error}.", hint="Build and save the plan again."
        ) from None
    types = {"targets": tuple, "size_bytes": int}
    facts = dataclasses.asdict(manifest).items()
    wrong = [name for name, value in facts if not isinstance(value, types.get(name, str))]
    if wrong or manifest.format != FORMAT:
        raise PlanFileError(
            f"The manifest {path.name} is not of format {FORMAT} ({', '.join(wrong) or manifest.format!r}).",
            hint="Save the plan again.",
        )
    return manifest
