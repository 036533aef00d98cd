"""study/quizzes: the bank. Each file beside this one holds the quizzes of one lesson; opening the bank reads them all.

In: a name such as `q3-stage-order`. Out: the `Quiz`, written when it is first needed, around what its truth function
finds then: the answer is computed on this machine, or recorded, and never typed in.
"""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from trtlab.study.quizbase import Quiz, QuizError, Truth

_SOURCES: dict[str, "Source"] = {}


class UnknownQuiz(LookupError):
    """No quiz has that name; the message lists the close ones."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """How a quiz comes about: `truth` finds the answer, `write` puts the question around it."""

    name: str
    truth: Callable[[], Truth]
    write: Callable[[str, Truth], Quiz]


def asked(name: str, *, truth: Callable[[], Truth]) -> Callable[[Callable[[str, Truth], Quiz]], Callable[..., Quiz]]:
    """Put a quiz into the bank: decorates a function that writes it from its name and its truth."""

    def put(write: Callable[[str, Truth], Quiz]) -> Callable[..., Quiz]:
        known = _SOURCES.get(name)
        if known is not None and known.write.__qualname__ != write.__qualname__:
            raise QuizError(f"quiz {name!r} is written twice: by {known.write.__qualname__} and {write.__qualname__}")
        _SOURCES[name] = Source(name=name, truth=truth, write=write)
        return write

    return put


@functools.cache
def _read_the_files() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def names() -> tuple[str, ...]:
    """The names of all quizzes, in the order of the files."""
    _read_the_files()
    return tuple(_SOURCES)


def source(name: str) -> Source:
    """How the quiz `name` comes about. UnknownQuiz names the close ones."""
    if name not in names():
        close = difflib.get_close_matches(str(name), names(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"The bank has {', '.join(names())}."
        raise UnknownQuiz(f"there is no quiz {name!r}. {hint}")
    return _SOURCES[name]


@functools.cache
def load(name: str) -> Quiz:
    """The quiz `name`; its truth is computed at the first call. UnknownQuiz, QuizError, or the truth's own error."""
    chosen = source(name)
    return chosen.write(name, chosen.truth())
