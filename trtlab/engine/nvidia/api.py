"""engine/nvidia/api: which classes, methods and enumerators the installed compiler has, asked of the module itself.

In: nothing. Out: `Api`: names by class, LIVE from the worker, or RECORDED where no compiler can be installed. Claims
such as "enqueueV2 is gone, execute_v2 is not" are checked against it.
"""

import functools
from dataclasses import dataclass

from trtlab.engine import machine
from trtlab.engine.measure import Provenance, live
from trtlab.engine.nvidia.errors import CompilerMissing
from trtlab.engine.nvidia.explain import choose_compiler
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
        from trtlab.engine import recordings

        return recordings.load_api()
    with POOL.worker(chosen) as worker:
        answer, _ = worker.ask({"kind": "api"}, timeout_s=60.0)
        version = worker.version
    made = live([machine.DISTRIBUTIONS[chosen]])
    return Api(compiler=chosen, version=version, names=answer["values"], provenance=made)


def api_names(compiler: str | None = None) -> dict[str, tuple[str, ...]]:
    """Public names by class: `api_names()["BuilderFlag"]`."""
    return installed_api(compiler).names
