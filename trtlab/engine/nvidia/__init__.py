"""engine/nvidia: NVIDIA's compilers (`tensorrt` 10 and 11, `tensorrt_rtx` 1) behind one call, in a worker process.

`explain(model)` -> `BuildReport`. Nothing here imports a compiler into this process.
"""

from trtlab.engine.nvidia.api import Api, choose_compiler, installed_api
from trtlab.engine.nvidia.errors import (
    BuildCancelled,
    BuildCrashed,
    BuildError,
    BuildTimeout,
    BuildWarning,
    CompilerError,
    CompilerMissing,
    ExecutionImpossible,
    ModelError,
    ParseError,
    PlanFileError,
    ProfileError,
    UnsupportedTarget,
)
from trtlab.engine.nvidia.explain import explain, warm
from trtlab.engine.nvidia.report import BuildReport, Kernel, Phase, Progress

__all__ = [
    "Api",
    "BuildCancelled",
    "BuildCrashed",
    "BuildError",
    "BuildReport",
    "BuildTimeout",
    "BuildWarning",
    "CompilerError",
    "CompilerMissing",
    "ExecutionImpossible",
    "Kernel",
    "ModelError",
    "ParseError",
    "Phase",
    "PlanFileError",
    "ProfileError",
    "Progress",
    "UnsupportedTarget",
    "choose_compiler",
    "explain",
    "installed_api",
    "warm",
]
