"""engine/nvidia/api: which compiler can be used here, and which classes, methods and enumerators it has.

In: nothing. Out: its name; `Api`: names by class, LIVE from the module in a worker, or RECORDED where no compiler can
be installed. Claims such as "enqueueV2 is gone, execute_v2 is not" are checked against it.
"""

import functools
from dataclasses import dataclass

from trtlab.engine import machine, recordings
from trtlab.engine.measure import Provenance, live
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.worker import POOL


@dataclass(frozen=True, kw_only=True)
class Api:
    """`names["IBuilderConfig"]` lists its public attributes, `names["BuilderFlag"]` its members."""

    compiler: str
    version: str
    names: dict[str, tuple[str, ...]]
    provenance: Provenance

    def has(self, owner: str, name: str) -> bool:
        """Whether class `owner` has `name`; False too when there is no such class."""
        return name in self.names.get(owner, ())


@functools.cache
def installed_api(compiler: str | None = None) -> Api:
    """The API of the compiler here, else the recorded one. CompilerMissing when one that is named cannot be used."""
    try:
        chosen = choose_compiler(compiler)
    except CompilerMissing:
        if compiler is not None:
            raise
        return recorded_api()
    (version, names), *_ = POOL.ask(chosen, "api", timeout_s=60.0)
    return Api(compiler=chosen, version=version, names=names, provenance=live([machine.DISTRIBUTIONS[chosen]]))


def recorded_api() -> Api:
    """The public names of a compiler as they were recorded."""
    return recordings.load(Api, "api-names")


def choose_compiler(compiler: str | None = None) -> str:
    """`tensorrt` when it is installed and a CUDA driver loads, else `tensorrt_rtx`; or the one named, if it is usable.

    Raises CompilerMissing with what to install. Imports neither.
    """
    if compiler not in (None, *machine.COMPILERS):
        expected = f"Expected one of {', '.join(machine.COMPILERS)}."
        raise CompilerMissing(f"There is no compiler {compiler!r}.", hint=expected)
    asked, reasons = ([compiler] if compiler else machine.COMPILERS), dict[str, str]()
    for name in asked:
        why_not = machine.cuda_driver().why_not if name == "tensorrt" else None
        reason = why_not if machine.is_installed(name) else "not installed"
        if reason is None:
            return name
        reasons[name] = reason
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    hint = f"{'Leave compiler out. ' * bool(compiler)}On Linux x86-64: pip install tensorrt-rtx (needs no GPU)."
    hint += " Elsewhere notebooks show recordings."
    raise CompilerMissing(f"No TensorRT compiler can be used here ({why}).", hint=hint)
