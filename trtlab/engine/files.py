"""engine/files: writing a file whole or not at all, reading one that has an end, and files without a name.

In: a path, bytes. Out: the file, its bytes. It imports nothing of ours, so that a light runtime may use it too. Models
and plans, tens of megabytes, pass between a worker and its child through a block, an open file that both hold, in a
third of the time that a connection takes; it has no name, so nothing is left behind whatever dies.
"""

import errno
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step; an interrupted write leaves the old file. Others may read the file as the
    umask says, or as they might the old one."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
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


def open_block() -> int:
    """The number of a new file without a name; in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("trtlab")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def put_block(number: int, block: bytes | memoryview) -> None:
    """Leave `block` for the other process, which is to be told when it is there."""
    with os.fdopen(os.dup(number), "wb") as file:
        file.seek(0)
        file.write(block)


def take_block(number: int) -> bytes:
    """What the other process left; it is gone then."""
    with os.fdopen(os.dup(number), "rb") as file:
        file.seek(0)
        block = file.read()
    os.ftruncate(number, 0)
    return block
