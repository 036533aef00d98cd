"""engine/nvidia/errors: everything that can go wrong between a model and a plan, as types a reader can act on.

Each error says what happened, to which value, what was expected, and the way out (`hint`). They cross the process
border between worker and parent by pickle, so every detail is a plain value in `details`.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any


class CompilerError(Exception):
    """Base of all errors here. `str(error)` is a paragraph meant for people; `hint` is its last sentence; `details` are
    the values in it by name, `phase` among them where a build had begun."""

    def __init__(self, what: str, *, hint: str = "", log: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(what)
        self.what, self.hint, self.log, self.details = what, hint, tuple(log), details

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), hint=self.hint, log=self.log, **self.details), (self.what,)


class CompilerMissing(CompilerError):
    """Neither `tensorrt` nor `tensorrt_rtx` can be used here."""


class ModelError(CompilerError, ValueError):
    """The file is not a valid ONNX model: unreadable, empty, or refused by `onnx.checker`."""


class ParseError(CompilerError):
    """NVIDIA's ONNX parser refused a node. Details: `node`, `op`, `index`, `code`, `description`."""


class ProfileError(CompilerError, ValueError):
    """An optimisation profile is missing, or does not fit the model's inputs."""


class UnsupportedTarget(CompilerError, ValueError):
    """The target is unknown to this compiler, or cannot run something the model needs. Details: `target`."""


class BuildError(CompilerError):
    """The builder returned no plan."""


class BuildCrashed(CompilerError):
    """The worker died during the build: inside the builder, or killed from outside. Details: `signal`, `phase`."""


class BuildCancelled(CompilerError):
    """You asked for it: through `cancel`, or by interrupting the cell."""


class BuildTimeout(CompilerError, TimeoutError):
    """The build took longer than `timeout_s`; the worker was ended."""


class PlanFileError(CompilerError, ValueError):
    """A plan file is damaged, incomplete, or belongs to another version; no runtime has seen it."""


class BuildWarning(UserWarning):
    """Something about a build that its caller should know, but that stops nothing."""


class ExecutionImpossible(CompilerError):
    """The plan cannot be executed on this machine; the message says why."""


_HINTS: dict[str, str] = json.loads(Path(__file__).with_name("hints.json").read_text("utf-8"))
"""Ways out, keyed by a pattern of what NVIDIA's messages contain. The first match wins."""
MEANT = re.compile("|".join(_HINTS))
"""In a name of the user, these are no words of NVIDIA's."""


def hint_for(text: str) -> str:
    """The way out for a message of NVIDIA's, or an empty string when none is known."""
    return next((hint for pattern, hint in _HINTS.items() if re.search(pattern, text)), "")
