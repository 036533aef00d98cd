"""teach/apicards: calls then and now, refusals, and small tables."""

import pytest

from trtlab.engine.digits import DIGITS_ONNX
from trtlab.engine.nvidia import installed_api
from trtlab.study.calls import CALLS
from trtlab.teach.apicards import SHOWN_TAGS, draw_calls, draw_refusal, draw_rows

needs_compiler = pytest.mark.skipif(installed_api().provenance.origin.value != "LIVE", reason="no compiler here")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.said)
def test_what_replaces_a_call_is_in_the_installed_module(call):
    assert call.python_now is not None
    assert installed_api().has(*call.python_now)


def test_gone_is_said_of_what_is_gone_and_only_of_that():
    lines = {line.split("  ")[0]: line for line in str(draw_calls()).splitlines()}
    assert lines["enqueueV2(bindings, stream)"].split()[2:6] == ["deprecated", "absent", "absent", "absent"]
    assert "not there" in lines["enqueueV2(bindings, stream)"]
    assert lines["executeV2(bindings)"].split()[1:5] == ["declared"] * len(SHOWN_TAGS)
    assert "not there" not in lines["executeV2(bindings)"]


@needs_compiler
def test_a_refused_model_is_drawn_with_the_way_out():
    drawn = draw_refusal(DIGITS_ONNX)
    assert str(drawn).startswith("ProfileError: ")
    assert "profiles=" in str(drawn)
    assert "Way out" in drawn.html


@needs_compiler
def test_an_accepted_model_is_drawn_as_its_engine():
    profile = {"image": ((1, 1, 8, 8), (2, 1, 8, 8), (4, 1, 8, 8))}
    assert "__myl_CorrMulAddRelu" in str(draw_refusal(DIGITS_ONNX, profiles=profile))


def test_a_table_of_numbers_is_readable_and_escaped():
    drawn = draw_rows(("what", "bytes"), [("<b>", 1234567)])
    assert "1,234,567" in str(drawn)
    assert "&lt;b&gt;" in drawn.html
