"""engine/glassbox/timing: a cache makes builds repeat; one that is damaged or of another machine is left alone."""

import json
import random
import re
from dataclasses import replace

import pytest

from trtlab.engine import glassbox
from trtlab.engine.glassbox import builder, timing
from trtlab.engine.glassbox.device import Device
from trtlab.engine.glassbox.errors import TimingCacheError, TimingCacheWarning
from trtlab.engine.glassbox.plan import bytes_from_plan
from trtlab.engine.glassbox.timing import TimingCache
from trtlab.graph.models import TEACHING_MODELS
from trtlab.lab import builds
from trtlab.plan import tactics

MODEL = TEACHING_MODELS["attention"]()


def no_clock(*_):
    raise AssertionError("timed again")


@pytest.fixture
def cache(tmp_path):
    """The file of a cache that knows the model."""
    glassbox.build(MODEL, timing_cache=tmp_path / "cache.json")
    return tmp_path / "cache.json"


@pytest.mark.parametrize("name", ["transformer", "light_squeezenet", "attention"])
def test_with_a_cache_builds_are_the_same_byte_for_byte_and_nothing_is_timed(name, tmp_path, monkeypatch):
    model = TEACHING_MODELS[name]() if name in TEACHING_MODELS else builds.network(name)
    first = glassbox.build(model, timing_cache=tmp_path / "cache")
    written = (tmp_path / "cache").read_bytes()
    monkeypatch.setattr(Device, "timer", no_clock)
    for cache in (tmp_path / "cache", TimingCache.load(tmp_path / "cache")):
        again = glassbox.build(model, timing_cache=cache)
        assert bytes_from_plan(again.plan) == bytes_from_plan(first.plan)
        assert again.plan.races == first.plan.races
    assert (tmp_path / "cache").read_bytes() == written
    monkeypatch.setattr(builder, "is_here", lambda _: False)
    glassbox.build(model).save(tmp_path / "untuned")  # a plan built elsewhere is tuned from the cache when it is loaded
    assert glassbox.load(tmp_path / "untuned", timing_cache=tmp_path / "cache").inspect() == first.inspect()


def test_networks_levels_and_builds_at_the_same_time_share_a_cache(cache):
    model, known = TEACHING_MODELS["conv_bn_relu"](), TimingCache.load(cache).races
    ours = TimingCache.load(cache)
    glassbox.build(model, timing_cache=cache, optimization_level=1)
    glassbox.build(model, timing_cache=ours, optimization_level=5)  # which was read before the other was written
    races = TimingCache.load(cache).races
    assert races == ours.races
    assert races.items() >= known.items()
    assert {key.partition(":")[0] for key in races} == {"level 1", "level 3", "level 5"}


def test_a_race_that_is_changed_changes_the_build_and_one_that_cannot_be_is_run_again(cache):
    races, found = TimingCache.load(cache).races, {}
    for winner in ("torch", "generated", "nobody"):
        edited = TimingCache.load(cache)
        edited.races = {key: replace(race, winner=winner) for key, race in races.items()}
        found[winner] = {k.tactic for k in glassbox.build(MODEL, timing_cache=edited).inspect()} - {"view"}
    assert found["torch"] == {"torch"}
    assert "generated" in found["generated"]
    assert "nobody" not in found["nobody"]


def build_without(cache, words):
    """That a build warns with these words, and leaves the file as it is."""
    there = cache.read_bytes() if cache.is_file() else None
    with pytest.warns(TimingCacheWarning, match=words) as said:
        engine = glassbox.build(MODEL, timing_cache=cache)
    assert (len(said), engine.plan.is_tuned) == (1, True)
    assert str(cache) in str(said[0].message)
    assert there is None or cache.read_bytes() == there


@pytest.mark.parametrize("change", ["device", "chip", "threads", "torch", "numba", "trtlab"])
def test_a_cache_of_another_machine_or_of_other_versions_is_left_alone(change, cache):
    other = TimingCache.load(cache)
    other.made_with[change] = "7"
    cache.unlink()
    other.save()
    with pytest.raises(TimingCacheError, match=f"was made with {change} 7, this is .* Name another file, or delete"):
        TimingCache.load(cache)
    build_without(cache, f"was made with {change} 7, .* The build goes on without it")
    with pytest.warns(TimingCacheWarning, match=f"{change} 7"):
        glassbox.build(MODEL, timing_cache=other)


def test_damaged_caches_are_left_alone(cache):
    data, rng, said = cache.read_bytes(), random.Random(0), []
    values = json.loads(data)
    texts = [b"", b"null", b"[]", b"{}", b"\x00\xff", b"[" * 100_000, data[:-9], data + b"}", b"{" + data,
             json.dumps(values | {"format": 2}).encode(), json.dumps(values | {"races": {}}).encode(),
             json.dumps(values | {"sha256": None}).encode()]  # fmt: skip
    key = next(iter(values["races"]))
    for race in (None, [], {"winner": "torch"}, values["races"][key] | {"more": 1}):  # though the checksum is right
        bad = values | {"races": {key: race}}
        texts.append(json.dumps(bad | {"sha256": timing._digest(bad)}).encode())
    for _ in range(300):
        where = rng.randrange(len(data))
        texts.append(data[:where] + bytes([rng.choice(b'09aZ"}{,. \n')]) + data[where + 1 :])
    accepted = []
    for text in texts:
        cache.write_bytes(text)
        try:
            TimingCache.load(cache)
            accepted.append(text)
        except TimingCacheError as error:
            said.append(str(error))
    assert all(json.loads(text) == values for text in accepted)  # a blank for a blank
    assert len(said) > 250
    assert all(re.search(r"damaged: .* Name another file, or delete this", text) for text in said)
    cache.write_bytes(texts[0])
    build_without(cache, "is no timing cache, or damaged")


def test_where_no_file_can_be_read_or_written_a_build_goes_on(tmp_path):
    build_without(tmp_path, "is no regular file")
    build_without(tmp_path / "missing" / "cache", "cannot be written: .* Name a file in a folder")
    with pytest.raises(ValueError, match="leave out pick= or timing_cache="):
        glassbox.build(MODEL, timing_cache=tmp_path / "c", pick=tactics.prefer())
    with pytest.raises(ValueError, match="level=6: expected 0"):
        glassbox.build(MODEL, optimization_level=6)


def test_the_table_lists_every_candidate_with_its_samples_and_why_it_lost(tmp_path):
    engine = glassbox.build(MODEL)
    races = engine.inspect(tactics=True)
    assert [(one.kernel, one.race and one.race.winner) for one in races] == [
        (k, None if k.tactic == "view" else k.tactic) for k in engine.inspect()
    ]
    rows = races.rows()[1:]
    for one in (one for one in races if one.race):
        first = next(n for n, row in enumerate(rows) if row[:2] == (one.kernel.name, one.race.winner))
        want = {(c.name, str(len(c.samples_s)), c.state) for c in one.race.candidates}
        assert {(r[1], r[4], r[6]) for r in rows[first : first + len(want)]} == want
    assert len(rows) == sum(len(one.race.candidates) if one.race else 1 for one in races)
    assert len(repr(races).splitlines()) == len(rows) + 1
    engine.save(tmp_path / "plan")
    loaded = glassbox.load(tmp_path / "plan").inspect(tactics=True)  # it brings its tactics, not the races
    assert [(one.kernel.tactic, one.race) for one in loaded] == [(k.tactic, None) for k in engine.inspect()]
