"""study/calls: what older answers say, and what to say now: names of calls, with NVIDIA's headers as witness.

In: words/calls. Out: frozen `Call`s. teach draws them beside the recorded headers and the installed module.
"""

from dataclasses import dataclass

from trtlab.study import bank
from trtlab.study.bank import Words


@dataclass(frozen=True, kw_only=True)
class Call:
    """`name` is what is said; `header` its name in NVIDIA's headers (recorded per release), or a header file; `python`
    the `Class.name` to look for in the installed module; `now` what replaces it, `python_now` where that is found."""

    name: str
    header: str
    now: Words
    python_now: str
    python: str | None = None


CALLS = tuple(bank.read("calls", Call).values())


@dataclass(frozen=True, kw_only=True)
class Term:
    """A word of the field, and what it means here."""

    name: str
    means: Words


def terms() -> dict[str, Term]:
    """The glossary, by word."""
    return bank.read("terms", Term)
