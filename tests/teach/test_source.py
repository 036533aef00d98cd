"""teach/source: the code that is shown is the code that runs."""

import functools
import inspect
import json

import pytest

from trtlab.engine.trtexec import trtexec_command
from trtlab.graph.onnxfile import NodeCounts
from trtlab.lab import history
from trtlab.study.claims import find_claim
from trtlab.teach import source

from .markup import EVIL, read, said_by_both


@pytest.mark.parametrize("thing", [trtexec_command, NodeCounts, history.load, source.show], ids=lambda t: t.__name__)
def test_a_function_or_class_is_shown_as_it_stands_in_its_file(thing):
    lines, first = inspect.getsourcelines(thing)
    where = f"{inspect.getmodule(thing).__name__.replace('.', '/')}.py:{first}"
    made = source.show(thing)
    assert made.text == f"# {where}\n{''.join(lines)}"
    said_by_both(made, where, thing.__qualname__)


def test_the_html_holds_the_whole_code():
    page = read(source.show(trtexec_command))
    squeezed = "".join(page.words.split())
    assert "".join(inspect.getsource(trtexec_command).split()) in squeezed
    assert page.count("pre") == 1


def test_the_proof_of_a_claim_can_be_shown():
    said_by_both(source.show(find_claim("C74").prove), "_builder", "trtlab/study/claims/workflow.py:")


def test_code_with_markup_in_it_stays_code():
    page = read(source.show(hostile))
    assert "<script>alert(" in page.words
    assert page.count("img") == 0


def hostile():
    """<script>alert("x")</script><img src=x onerror=alert(1)>"""
    return EVIL


def test_code_from_elsewhere_names_its_file_alone():
    where = source.show(json.dumps).text.splitlines()[0]
    assert where.startswith("# __init__.py:")


@pytest.mark.parametrize("thing", [len, int, "text", 3, functools.partial(print), None])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(TypeError, match=r"has no Python source\. Expected a function or class of the package\."):
        source.show(thing)
