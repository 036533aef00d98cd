"""Runs trtlab as on a processor without AVX-512: `python -m tools.as_avx2 bench glassbox`.

torch, oneDNN and numba are told by variables. ONNX Runtime asks the processor itself, so the run gets a copy of it, in
a temporary folder, whose XGETBV instructions are replaced: they say that the system keeps no registers of AVX-512.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnxruntime

XGETBV, NO_AVX512 = b"\x0f\x01\xd0", b"\x6a\x07\x58"
"""xgetbv, and push 7; pop rax: x87, SSE and AVX alone."""
TOLD = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+lzcnt",
    "NUMBA_CPU_NAME": "znver2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def main() -> int:
    """The exit status of `trtlab` with these arguments."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(Path(onnxruntime.__file__).parent, Path(folder, "onnxruntime"))
        (library,) = copy.glob("capi/onnxruntime_pybind11_state*.so")
        library.write_bytes(library.read_bytes().replace(XGETBV, NO_AVX512))
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        told = TOLD | {"PYTHONPATH": path, "TRTLAB_CACHE": str(Path(folder, "cache"))}
        return subprocess.run([sys.executable, "-m", "trtlab", *sys.argv[1:]], env=os.environ | told).returncode


if __name__ == "__main__":
    sys.exit(main())
