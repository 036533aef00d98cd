"""teach/apicards: cards about the API and its errors: calls then and now, refusals, small tables.

In: study/calls, the recorded headers, the installed module, a model to be refused. Out: `Drawing`s.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from trtlab.engine.nvidia import Api, CompilerError, explain, installed_api
from trtlab.lab.history import ApiHistory, Declared
from trtlab.lab.history import load as load_history
from trtlab.study.calls import CALLS, Call
from trtlab.teach.drawing import Drawing, badge, escape, provenance_line, table, table_card, text_table
from trtlab.teach.tables import draw_engine, draw_error

SHOWN_TAGS = ("v8.6.1", "v10.0.0", "v10.12.0", "v11.1")
_NUMBER = re.compile(r"[-+−]?[\d.]|[-–]?$|inf|nan")
_KIND = {Declared.YES: "done", Declared.DEPRECATED: "stood", Declared.NO: "not"}


def draw_calls(calls: Iterable[Call] = CALLS) -> Drawing:
    """Said then, say now: each old name by release, whether the installed module has it, and what replaces it."""
    calls, history, api = list(calls), load_history(), installed_api()
    header = ("said then", *(tag.removeprefix("v") for tag in SHOWN_TAGS), "installed", "say now")
    rows = [(call.said, *(s.value for s in _states(history, call)), _installed(api, call), call.now) for call in calls]
    marked = [
        (
            f'<span class="mono">{escape(call.said)}</span>',
            *(badge(state.value, _KIND[state]) for state in _states(history, call)),
            escape(_installed(api, call)),
            escape(call.now),
        )
        for call in calls
    ]
    foot = "<br>".join(provenance_line(made) for made in (history.provenance, api.provenance))
    return Drawing(html=table_card(table(header, marked), foot=foot), text=text_table(header, rows))


def _states(history: ApiHistory, call: Call) -> list[Declared]:
    if call.header.endswith(".h"):
        return [Declared.YES if call.header in history.headers[tag] else Declared.NO for tag in SHOWN_TAGS]
    return [history.state(call.header, tag) for tag in SHOWN_TAGS]


def _installed(api: Api, call: Call) -> str:
    if call.python is None:
        return "C++ only"
    return "there" if api.has(*call.python) else "not there"


def draw_refusal(model: Any, **options: Any) -> Drawing:
    """Offer a model to the compiler and draw its error; the engine instead, where the compiler accepts it after all."""
    try:
        report = explain(model, **options)
    except CompilerError as error:
        return draw_error(error)
    return draw_engine(report)


def draw_rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Drawing:
    """A small table of a cell's own results; columns of numbers are aligned to the right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    marked = [[escape(cell) for cell in row] for row in cells]
    numeric = [i for i in range(1, len(header)) if all(_NUMBER.match(row[i]) for row in cells)]
    return Drawing(html=table_card(table(header, marked, numeric=numeric)), text=text_table(header, cells))


__all__ = ["draw_calls", "draw_refusal", "draw_rows"]
