"""trtlab.numeric: what a number means (formats, rounding, quantisation, calibration).

May import: the standard library, numpy; numba inside functions only. No other room.
"""

from trtlab.numeric.formats import FORMATS, BlockFormat, CodeBook, FloatFormat, Format, IntegerFormat

__all__ = ["FORMATS", "BlockFormat", "CodeBook", "FloatFormat", "Format", "IntegerFormat"]
