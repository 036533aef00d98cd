"""engine/nvidia/wire: frames between the parent and the compiler's worker process.

A frame is two lengths, a pickled message and an optional block of raw bytes (a model, a plan). Both ends are this
package, started by this package: nothing from outside is ever unpickled.
"""

import pickle
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">QQ")
PIPE_BYTES = 1 << 20


def send(stream: BinaryIO, message: dict[str, Any], block: bytes | memoryview = b"") -> None:
    """Write one frame. BrokenPipeError when the other end is gone."""
    head = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    view = memoryview(block).cast("B")
    stream.write(_LENGTHS.pack(len(head), view.nbytes) + head)
    if view.nbytes:
        stream.write(view)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read one frame, or None when the other end has closed or died in the middle of one."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head_bytes, block_bytes = _LENGTHS.unpack(lengths)
    head = stream.read(head_bytes)
    block = stream.read(block_bytes) if block_bytes else b""
    if len(head) < head_bytes or len(block) < block_bytes:
        return None
    return pickle.loads(head), block


def widen_pipe(file_descriptor: int) -> None:
    """Let a pipe hold 1 MiB where the system allows it; plans are tens of megabytes."""
    try:
        import fcntl

        fcntl.fcntl(file_descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return
