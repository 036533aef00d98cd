"""engine/files: writing a file whole or not at all, and reading one that has an end.

In: a path, bytes. Out: the file, its bytes. It imports nothing of ours, so that a light runtime may use it too.
"""

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step; an interrupted write leaves the old file. Others may read the file as the
    umask says, or as they might the old one. OSError for what is there and no file: a device would be gone."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "there is something that is no regular file", str(path))
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The bytes of a file. OSError where it cannot be read, for what may have no end (a pipe, a device), and for more
    than `most_bytes`."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if state.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it has {state.st_size:,} bytes, more than {most_bytes:,}")
    return path.read_bytes()
