"""trtlab.numeric: what a number means (formats, rounding, quantisation, calibration).

May import: the standard library, numpy; numba inside functions only. No other room. The formats load when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtlab.numeric.formats import FORMATS, BlockFormat, CodeBook, FloatFormat, Format, IntegerFormat

__all__ = ["FORMATS", "BlockFormat", "CodeBook", "FloatFormat", "Format", "IntegerFormat"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from trtlab.numeric import formats

        return getattr(formats, name)
    raise AttributeError(f"trtlab.numeric has no name {name!r}; it has {', '.join(__all__)}")
