"""teach/source: show the real code of a function in a notebook, so that a lesson never quotes a copy that has aged.

In: a function or class of the package. Out: a `Drawing` with its source, file and lines.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import trtlab
from trtlab.teach.card import Cell, Drawing, block, bold, card, dim, tag

_ROOT = Path(trtlab.__file__).parent.parent


def show(thing: Callable[..., Any]) -> Drawing:
    """The source of a function or class, as it runs now. TypeError when it has none (a builtin, say)."""
    where, first, code = located(thing)
    return card(python(code), head=[bold(getattr(thing, "__qualname__", thing)), dim(f"{where}:{first}")])


def located(thing: Callable[..., Any]) -> tuple[str, int, str]:
    """File, first line and source of a function or class. TypeError when it has none."""
    try:
        inner = inspect.unwrap(thing)  # a cached function has no source, the function inside has
        lines, first = inspect.getsourcelines(inner)
        path = Path(inspect.getsourcefile(inner) or "")
    except (TypeError, OSError):
        raise TypeError(f"{thing!r} has no Python source. Expected a function or class of the package.") from None
    code = textwrap.dedent("".join(lines))  # of a method
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name, first, code


def call_and_code(call: Any) -> tuple[str, str]:
    """(file and call with its arguments, source of the function) of a function, alone or partial; empty where there is
    no source."""
    try:
        bound = call if isinstance(call, functools.partial) else functools.partial(call)
        where, _, code = located(bound.func)
    except TypeError:
        return "", ""
    given = [*map(repr, bound.args), *(f"{name}={value!r}" for name, value in bound.keywords.items())]
    return f"{where}, {bound.func.__name__}({', '.join(given)})", code


def python(text: str) -> Cell:
    """Python code with its colours."""
    coloured = highlight(text, PythonLexer(), HtmlFormatter(nowrap=True))
    return block(tag("pre", Cell(html=coloured, text=text), "mono"), "highlight")
