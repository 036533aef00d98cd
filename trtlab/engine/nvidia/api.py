"""engine/nvidia/api: which classes, methods and enumerators the installed compiler has, asked of the module itself.

In: nothing. Out: `Api`: names by class, LIVE from the worker, or RECORDED where no compiler can be installed. Claims
such as "enqueueV2 is gone, execute_v2 is not" are checked against it.
"""

import functools
from dataclasses import dataclass

from trtlab.engine import machine, recordings
from trtlab.engine.measure import Provenance, live
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.explain import choose_compiler
from trtlab.engine.nvidia.session import Session
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
    with POOL.worker(chosen) as worker:
        (names, _), version = worker.ask("api", timeout_s=60.0), worker.version
    return Api(compiler=chosen, version=version, names=names, provenance=live([machine.DISTRIBUTIONS[chosen]]))


def recorded_api() -> Api:
    """The public names of a compiler as they were recorded."""
    return recordings.load(Api, "api-names")


def public_names(session: Session, _block: bytes) -> tuple[dict[str, tuple[str, ...]], bytes]:
    """In the worker: public names of every class of the module; for an enumeration, its members."""
    classes = {name: value for name, value in vars(session.trt).items() if isinstance(value, type) and name[0] != "_"}
    return {name: _names_of(value) for name, value in sorted(classes.items())}, b""


def _names_of(kind: type) -> tuple[str, ...]:
    members = getattr(kind, "__members__", None)
    return tuple(members) if members else tuple(name for name in dir(kind) if not name.startswith("_"))
