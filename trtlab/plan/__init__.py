"""trtlab.plan: decisions with no device and no clock (memory placement, lifetimes, tactics; streams come with 07).

May import: the standard library, numpy, and trtlab.numeric and trtlab.graph; numba inside functions only.
"""
