"""lab: what lessons measure, live or recorded, one file for each question.

May use numpy, onnx and the rooms below; torch, onnxruntime and compilers inside functions only. Draws nothing: that is
teach.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def find(rows: Iterable[T], **wanted: Any) -> T:
    """The first row with these values. KeyError says which values there are.

    >>> find(streams.load().cases, name="16 requests on 4")
    """
    known = []
    for row in rows:
        values = {name: getattr(row, name) for name in wanted}
        if values == wanted:
            return row
        known.append(values)
    there = "; ".join(dict.fromkeys(", ".join(map(_shown, values.items())) for values in known))
    raise KeyError(f"there is no {', '.join(map(_shown, wanted.items()))}; there are {there}")


def _shown(pair: tuple[str, Any]) -> str:
    return f"{pair[0]}={getattr(pair[1], 'value', pair[1])!r}"
