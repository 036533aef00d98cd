"""trtlab.plan: decisions with no device and no clock: memory, tactics, streams. May import: the standard library,
numpy, and trtlab.numeric and trtlab.graph; numba inside functions only."""
