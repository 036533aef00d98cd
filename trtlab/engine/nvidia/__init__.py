"""engine/nvidia: NVIDIA's compilers (`tensorrt` 10 and 11, `tensorrt_rtx` 1) behind one call, in a worker process.

`explain(model)` -> `BuildReport`. Nothing here imports a compiler into this process.
"""

from trtlab.engine.nvidia.api import installed_api
from trtlab.engine.nvidia.errors import CompilerError, CompilerMissing, ModelError
from trtlab.engine.nvidia.explain import explain, warm
from trtlab.engine.nvidia.report import BuildReport

__all__ = ["BuildReport", "CompilerError", "CompilerMissing", "ModelError", "explain", "installed_api", "warm"]
