"""engine/recordings: one store for every type; what is shipped is whole and can be made again."""

import gzip
import importlib.util
import json
import re
from dataclasses import dataclass, replace
from enum import Enum

import pytest

from trtlab.engine import recordings
from trtlab.engine.measure import Origin, Provenance, live
from trtlab.engine.recordings import RecordingMissing, load, names, save


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Thing:
    numbers: tuple[float, ...]
    colours: dict[Colour, str | None]
    parts: tuple[Provenance, ...]


THING = Thing(
    numbers=(0.1, 1e-9, 3.0), colours={Colour.RED: "ä"}, parts=(live(["numpy"], samples=3), live(device="a GPU"))
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_value_survives_its_file_and_says_recorded():
    save(THING, "a-thing", "python it")
    back = load(Thing, "a-thing")
    stamped = tuple(replace(part, origin=Origin.RECORDED, command="python it") for part in THING.parts)
    assert back == replace(THING, parts=stamped)
    assert load(Thing, "a-thing") is back


def test_the_same_value_gives_the_same_file_and_large_ones_are_gzipped(folder):
    small = save(THING, "small", "c")
    assert (small.name, list(json.loads(small.read_text("utf-8")))) == ("small.json", ["numbers", "colours", "parts"])
    large = replace(THING, numbers=tuple(map(float, range(5000))))
    first = save(large, "large", "c").read_bytes()
    assert save(large, "large", "c").read_bytes() == first
    assert json.loads(gzip.decompress(first))["numbers"][-1] == 4999
    save(THING, "large", "c")  # small now: the packed file goes
    assert {path.name for path in folder.iterdir()} == {"small.json", "large.json"}
    assert (names(), names("sm")) == (("large", "small"), ("small",))


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_saved_or_loaded_says_what_there_is_and_the_command_for_its_like():
    with pytest.raises(ValueError, match=r"'bare' has no Provenance.*measure\.live"):
        save(replace(THING, parts=()), "bare", "c")
    assert names() == ()
    with pytest.raises(RecordingMissing, match="install the package again"):
        load(Thing, "x")
    save(THING, "sweep-cpu", "python -m sweeper")
    save(THING, "life-cpu", "python -m liver")
    with pytest.raises(RecordingMissing, match=r"'sweep-h100'.*life-cpu, sweep-cpu.*`python -m sweeper`"):
        load(Thing, "sweep-h100")
    with pytest.raises(ValueError, match=r"not a Provenance.*origin"):
        load(Provenance, "life-cpu")


@pytest.mark.parametrize("name", names())
def test_what_is_shipped_says_recorded_by_a_command_that_exists_and_nothing_of_its_machine(name):
    text = recordings._text(name, recordings.FOLDER)
    assert set(re.findall(r'"origin": "(\w+)"', text)) == {"RECORDED"}
    for command in set(re.findall(r'"command": (.*?),?\n', text)):
        module, then = re.fullmatch(r'"python -m tools\.(\w+)[^,]*(?:, at commit (\w+))?"', command).groups()
        assert then or importlib.util.find_spec(f"tools.{module}")  # a commit that has the meters of a GPU
    assert not re.search(r"/(tmp|home|work|root)/", text)
