"""engine/glassbox/errors: everything that can go wrong between a model and its results, as types to act on.

Each message says what, which value, what was expected and the way out. After any of them the engine can go on.
"""


class GlassboxError(Exception):
    """Base of all errors of the glass box."""


class UnsupportedError(GlassboxError, ValueError):
    """The model needs an operator, an attribute or a type that the glass box does not have. Nothing was built."""


class InputError(GlassboxError, ValueError):
    """What was fed does not fit the engine's inputs. Nothing ran."""


class PlanError(GlassboxError, ValueError):
    """The file is no plan, or damaged, or of another format version, or asks for what this engine does not know."""


class DeviceError(GlassboxError, RuntimeError):
    """The plan needs a device or a library version that is not here."""


class RunError(GlassboxError, RuntimeError):
    """A kernel failed while running: out of memory, or values it cannot work with."""


class TimingCacheError(GlassboxError, ValueError):
    """The file is no timing cache, or damaged, or of another device or other versions. A build warns and goes on
    without it; the file is left as it is."""


class TimingCacheWarning(UserWarning):
    """What a build says where it leaves a timing cache alone."""
