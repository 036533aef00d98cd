"""engine/nvidia: NVIDIA's compilers (`tensorrt` 10 and 11, `tensorrt_rtx` 1) behind one call, in a worker process.

`explain(model)` -> `BuildReport`. Nothing here imports a compiler into this process.
"""

from trtlab.engine.nvidia.api import Api, choose_compiler, installed_api
from trtlab.engine.nvidia.errors import BuildError, CompilerError, CompilerMissing, ModelError, ParseError, ProfileError
from trtlab.engine.nvidia.explain import explain, warm
from trtlab.engine.nvidia.report import BuildReport, Kernel, Progress

__all__ = [
    "Api",
    "BuildError",
    "BuildReport",
    "CompilerError",
    "CompilerMissing",
    "Kernel",
    "ModelError",
    "ParseError",
    "ProfileError",
    "Progress",
    "choose_compiler",
    "explain",
    "installed_api",
    "warm",
]
