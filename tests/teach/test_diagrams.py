"""teach/diagrams: the committed pictures are what the code draws."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from trtlab.lab.workflow import STAGES
from trtlab.teach.diagrams import DIAGRAMS, HANDS_ON, draw_diagram, write_all
from trtlab.teach.tables import TITLES

IMAGES = Path(__file__).parents[2] / "images"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_the_committed_picture_is_the_drawn_one(name, tmp_path):
    write_all(tmp_path)
    assert (IMAGES / f"{name}.svg").read_text("utf-8") == (tmp_path / f"{name}.svg").read_text("utf-8")


def test_every_stage_stands_in_the_workflow_with_what_it_hands_on():
    words = [element.text for element in ElementTree.fromstring(DIAGRAMS["workflow"]()).iter() if element.text]
    for number, name in enumerate(STAGES, 1):
        assert f"{number}  {TITLES[name].split(' (')[0]}" in words
        assert set(HANDS_ON[name]) <= set(words)


def test_a_diagram_of_no_known_name():
    with pytest.raises(KeyError, match="no diagram 'none'; there are workflow"):
        draw_diagram("none")
