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

from trtlab.engine.files import read_regular, write_atomically
from trtlab.engine.nvidia.errors import PlanFileError
from trtlab.engine.nvidia.report import BuildReport
from trtlab.engine.recordings import read

FORMAT = "trtlab-plan-1"
MANIFEST_BYTES = 2**16


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


def check_place(path: Path, model: Path) -> None:
    """PlanFileError where no plan can be saved, or where it would take the model's place: known before a build is."""
    wrong = {
        "is the model itself": path.exists() and model.exists() and path.samefile(model),
        "is a folder": path.is_dir(),
        "is no regular file": path.exists() and not path.is_file(),
        f"is nowhere: there is no folder {path.parent}": not path.parent.is_dir(),
    }
    if what := next((what for what, is_so in wrong.items() if is_so), ""):
        raise PlanFileError(f"The plan {path} {what}.", hint="Expected the name of a file to write, in a folder.")


def save_plan(report: BuildReport, path: str | os.PathLike[str]) -> Manifest:
    """Write the plan and its manifest; a crash in between leaves the old pair or a pair that `load_plan` refuses."""
    if not report.plan:
        what = "This report carries no plan (recordings keep only its size and hash)."
        raise PlanFileError(what, hint="Build the model to get one.")
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
    write_atomically(Path(path), report.plan)
    write_atomically(manifest_path(Path(path)), json.dumps(dataclasses.asdict(manifest), indent=2).encode())
    return manifest


def load_plan(path: str | os.PathLike[str], made_by: tuple[str, str] | None = None) -> tuple[bytes, Manifest]:
    """(plan, manifest) after every check. A plan that is not `made_by` this (compiler, version) is refused too.

    Raises PlanFileError: missing or unreadable manifest, truncated or altered plan, other compiler or version.
    """
    target, beside, again = Path(path), manifest_path(Path(path)), "Build and save the plan again."
    try:
        manifest, plan = read(Manifest, read_regular(beside, MANIFEST_BYTES)), read_regular(target, 2**40)
    except (OSError, ValueError) as error:
        what = f"The plan {target.name!r} or its manifest {beside.name!r} cannot be read"
        raise PlanFileError(f"{what}: {str(error).rstrip('.')}.", hint=again) from None
    digest = hashlib.sha256(plan).hexdigest()
    if (len(plan), digest, FORMAT) != (manifest.size_bytes, manifest.sha256, manifest.format):
        what = f"has {len(plan):,} bytes and the SHA-256 {digest[:12]}"
        beside_it = f"{manifest.size_bytes:,} bytes, {manifest.sha256[:12]} and {manifest.format}"
        raise PlanFileError(
            f"The plan {target.name!r} {what}; its manifest says {beside_it}: it was altered or cut.", hint=again
        )
    if made_by not in (None, (manifest.compiler, manifest.compiler_version)):
        what = f"The plan was built by {manifest.compiler} {manifest.compiler_version}, this is {' '.join(made_by)}."
        raise PlanFileError(what, hint="A plan runs on the version that built it: build it again.")
    return plan, manifest
