"""teach/source: the code that is shown is the code that runs."""

import functools
import inspect
import json

import pytest

from trtlab.engine.planfile import Manifest
from trtlab.teach import source
from trtlab.teach.card import asset

from .markup import EVIL, alike


def hostile():
    """<script>alert("x")</script><img src=x onerror=alert(1)>"""
    return EVIL


@pytest.mark.parametrize("thing", [Manifest, asset, source.show, hostile], ids=lambda t: t.__name__)
def test_a_function_or_class_is_shown_as_it_stands_in_its_file(thing):
    lines, first = inspect.getsourcelines(thing)
    where = f"{inspect.getmodule(thing).__name__.replace('.', '/')}.py:{first}"
    made = source.show(thing)
    assert source.show(json.dumps).text.startswith("dumps · __init__.py:")  # a file from elsewhere, alone
    head, _, code = made.text.partition("\n")
    assert head.startswith(thing.__qualname__)
    assert code == "".join(lines)
    page = alike(made, *[where] * (thing is not hostile))
    assert (page.count("pre"), page.count("img"), page.count("script")) == (1, 0, 0)


@pytest.mark.parametrize("thing", [len, int, "text", 3, functools.partial(print), None])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(TypeError, match="has no Python source"):
        source.show(thing)
