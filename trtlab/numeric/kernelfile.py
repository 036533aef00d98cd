"""numeric/kernelfile: generated source as a module of its own, so that numba keeps the compiled kernel on disk.

In: Python source that defines `kernel`. Out: that kernel, compiled by an earlier process where there was one.
"""

import functools
import hashlib
import importlib.machinery
import os
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(text: str) -> Callable[..., Any]:
    """The `kernel` of a generated text. It lies in a file because that is where numba puts its cache."""
    name = f"trtlab_kernel_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    if name not in sys.modules:
        path = folder() / f"{name}.py"
        if not path.exists() or path.read_text("utf-8") != text:
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
                file.write(text)
            Path(file.name).replace(path)
        module = types.ModuleType(name)
        importlib.machinery.SourceFileLoader(name, str(path)).exec_module(module)
        sys.modules[name] = module
    return sys.modules[name].kernel  # type: ignore[no-any-return]


@functools.cache
def folder() -> Path:
    """TRTLAB_CACHE, else the user's cache folder; where that cannot be written, a temporary one."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path("~/.cache").expanduser()
    found = Path(os.environ.get("TRTLAB_CACHE") or Path(home) / "trtlab") / "kernels"
    try:
        found.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=found):
            return found
    except OSError:
        return Path(tempfile.mkdtemp(prefix="trtlab-kernels-"))
