"""engine/nvidia/errors: everything that can go wrong between a model and a plan, as types a reader can act on.

Each error says what happened, to which value, what was expected, and the way out (`hint`). They cross the process
border between worker and parent by pickle, so every detail is a plain value in `details`.
"""

import functools
import re
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
    """The worker died inside the builder. Details: `signal`, `phase`. The next build uses a fresh worker."""


class BuildCancelled(CompilerError):
    """You asked for it: through `cancel`, or by interrupting the cell."""


class BuildTimeout(CompilerError, TimeoutError):
    """The build took longer than `timeout_s`; the worker was ended."""


class PlanFileError(CompilerError, ValueError):
    """A plan file is damaged, incomplete, or belongs to another version; no runtime has seen it."""


class ExecutionImpossible(CompilerError):
    """The plan cannot be executed on this machine; the message says why."""


# Hints keyed by a pattern of what NVIDIA's messages contain. First match wins.
_HINTS = {
    r"Plugin not found": "TensorRT has no operator of this name and no plugin for it is registered. Replace it by"
    " standard ONNX operators before export, or write a plugin (IPluginV3).",
    r"must have same input types|have the same (input )?type": "Networks are strongly typed: nothing is cast for you."
    " Insert a Cast so that both inputs have one type, or export the whole model in one precision.",
    r"[Nn]on-zero zero[ -]?point": "TensorRT's INT8 is symmetric: quantise again with every zero point 0"
    " (ActivationSymmetric and WeightSymmetric in ONNX Runtime's quantiser).",
    r"INT32.*(Dequantize|DQ)|bias.*Int32": "Quantise with QuantizeBias=False: TensorRT keeps biases in floating point.",
    r"profile|kMIN|kOPT|kMAX": "Give each dynamic input minimum <= optimum <= maximum, equal to the"
    " model's static dimensions elsewhere.",
    r"HW-specific datatypes|not supported.*SM\d+|Cannot compile operation": "Choose a newer target or another"
    " precision: BF16 needs SM80, FP8 SM89, FP4 SM120; SM75 has no FP32 GEMM.",
    r"workspace": "Raise workspace_bytes, or leave it out: the default is all the device has.",
    r"training_mode|train": "Export the model in evaluation mode (model.eval()).",
    r"Failed to open|should be stored in|external": "The weights lie in a second file. Pass the path of the .onnx"
    " file with its weight file beside it, or export with external_data=False.",
}


def hint_for(text: str) -> str:
    """The way out for a message of NVIDIA's, or an empty string when none is known."""
    return next((hint for pattern, hint in _HINTS.items() if re.search(pattern, text)), "")
