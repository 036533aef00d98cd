"""study/questions: the bank of interview questions, in English and Chinese.

In: the .yaml files of this folder, one list of questions each. Out: frozen `Question`s. Checked while they are read:
every field is there, of its kind, spoken answers fit into 60 seconds, ids are unique. `teach/saycard` draws them.
"""

import difflib
import enum
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")
SPOKEN_WORDS = range(100, 161)  # English, about 60 seconds aloud
SPOKEN_CHARACTERS = range(160, 341)  # Chinese; a Latin word or number counts as two
ID = re.compile(r"Q\d+-\d\d")
PROOF = re.compile(r"C\d\d|[a-z0-9-]+/[a-z0-9-]+")
_WIDE = r"[\u3000-\u9fff\uff00-\uffef]"
_CHINESE_GAP = re.compile(
    rf"(?<={_WIDE}) (?={_WIDE})|(?<=[\u3001\u3002\uff00-\uffef]) | (?=[\u3001\u3002\uff00-\uffef])"
)
_CHINESE_OR_WORD = re.compile(r"[\u4e00-\u9fff]|[A-Za-z0-9_.]+")


class Level(enum.Enum):
    """Whom an interviewer asks this."""

    JUNIOR = "junior"
    MID = "mid"
    SENIOR = "senior"


@dataclass(frozen=True, kw_only=True)
class Text:
    """The same words in both languages; `backticks` mark code. A plain string in YAML is the same in both."""

    en: str
    zh: str


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """What the interviewer asks next, and a short answer."""

    question: Text
    answer: Text


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What candidates often say, and why it is wrong."""

    said: Text
    why: Text


@dataclass(frozen=True, kw_only=True)
class Change:
    """One row of said then / say now: what was right for TensorRT 8 and 10, and what is right for 11 and RTX 1.7."""

    topic: Text
    trt8: Text
    trt10: Text
    now: Text


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question with everything a learner says about it. `proofs` are names of claims."""

    id: str
    topic: str
    level: Level
    question: Text
    answer: Text
    follow_ups: tuple[FollowUp, ...]
    mistakes: tuple[Mistake, ...]
    changes: tuple[Change, ...]
    sources: tuple[str, ...]
    proofs: tuple[str, ...]


class BadQuestion(ValueError):
    """The bank breaks its schema: says the file, the question, the field, what was found, what is expected."""


class UnknownQuestion(LookupError):
    """No question has this id: says which ids are close."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the bank a value stands, so that every fault can say it."""

    file: str
    question: str
    field: str = ""

    def at(self, step: str | int) -> "Place":
        """One step further in: a field's name or a position in a list, counted from 1."""
        return replace(
            self, field=f"{self.field}[{step}]" if isinstance(step, int) else f"{self.field}.{step}".lstrip(".")
        )

    def fault(self, found: str, expected: str) -> BadQuestion:
        """An exception to raise: `workflow.yaml, Q3-01, answer.en: found 9 words; expected 100 to 160 words`."""
        where = ", ".join(filter(None, (self.file, self.question, self.field)))
        return BadQuestion(f"{where}: found {found}; expected {expected}")


@functools.cache
def load_questions() -> tuple[Question, ...]:
    """Every question of the bank, ordered by id. BadQuestion when a file breaks the schema."""
    bank: dict[str, tuple[Question, str]] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in questions_in(path.read_text(encoding="utf-8"), path.name):
            if entry.id in bank:
                place = Place(file=path.name, question=entry.id, field="id")
                raise place.fault(f"an id that {bank[entry.id][1]} has too", "an id of its own")
            bank[entry.id] = entry, path.name
    return tuple(bank[key][0] for key in sorted(bank))


def question(question_id: str) -> Question:
    """The question with this id, such as "Q3-01". UnknownQuestion names the ids that are close."""
    bank = {entry.id: entry for entry in load_questions()}
    if question_id in bank:
        return bank[question_id]
    close = difflib.get_close_matches(str(question_id).upper(), bank, n=4, cutoff=0.6)
    hint = f"close ones are {', '.join(close)}" if close else f"there are {', '.join(bank)}"
    raise UnknownQuestion(f"no question has the id {question_id!r}; {hint}")


def questions_in(text: str, file: str) -> list[Question]:
    """The questions that the YAML `text` describes; `file` only names it in errors. BadQuestion at the first fault."""
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Place(file=file, question="").fault(f"no readable YAML ({error})", "a YAML list of questions") from error
    if not isinstance(entries, list) or not entries:
        raise Place(file=file, question="").fault(_kind_of(entries), "a list of questions, each beginning with `- id:`")
    found = [_read_question(entry, file, number) for number, entry in enumerate(entries, 1)]
    for entry in found:
        _check_spoken(entry, Place(file=file, question=entry.id))
    return found


def _read_question(entry: Any, file: str, number: int) -> Question:
    name = str(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"question {number} of the file"
    place = Place(file=file, question=name)
    read: Question = _read(Question, entry, place)
    _check_form([read.id], ID, place.at("id"), "an id such as Q3-01")
    _check_form(read.proofs, PROOF, place.at("proofs"), "names of claims such as C74 or workflow/plan-is-bytes")
    return read


# --- reading one value of a kind ------------------------------------------------------------------------------------


def _read(kind: Any, value: Any, place: Place) -> Any:
    """`value` as an instance of `kind`: a string, a Level, a Text, a tuple of something, or a record of these."""
    if kind is str:
        return _string(value, place)
    if kind is Level:
        return _level(value, place)
    if get_origin(kind) is tuple:
        return _sequence(get_args(kind)[0], value, place)
    if kind is Text and isinstance(value, str):
        value = dict.fromkeys(LANGUAGES, value)
    return _record(kind, value, place)


def _string(value: Any, place: Place) -> str:
    if not isinstance(value, str) or not value.strip():
        raise place.fault(_kind_of(value), "text that is not empty")
    lines = (_CHINESE_GAP.sub("", " ".join(line.split())) for line in value.splitlines())
    return "\n".join(filter(None, lines))


def _level(value: Any, place: Place) -> Level:
    try:
        return Level(value)
    except ValueError:
        raise place.fault(repr(value), f"one of {', '.join(level.value for level in Level)}") from None


def _sequence(kind: Any, value: Any, place: Place) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise place.fault(_kind_of(value), "a list with at least one entry")
    return tuple(_read(kind, item, place.at(number)) for number, item in enumerate(value, 1))


def _record(kind: Any, value: Any, place: Place) -> Any:
    names = [field.name for field in fields(kind)]
    if not isinstance(value, dict):
        raise place.fault(_kind_of(value), f"the fields {', '.join(names)}")
    for unknown in [key for key in value if key not in names]:
        close = difflib.get_close_matches(str(unknown), names, n=1)
        raise place.fault(f"the unknown field {unknown!r}", f"{close[0]!r}" if close else f"only {', '.join(names)}")
    for missing in [name for name in names if name not in value]:
        raise place.at(missing).fault("nothing", "this field to be there")
    hints = get_type_hints(kind)
    return kind(**{name: _read(hints[name], value[name], place.at(name)) for name in names})


def _kind_of(value: Any) -> str:
    """What stands there, in a reader's words."""
    if value is None or value in ("", [], {}):
        return "nothing"
    words = {"dict": "fields", "list": "a list", "str": "a text"}
    return words.get(type(value).__name__, repr(value))


# --- rules beyond the kinds -----------------------------------------------------------------------------------------


def _check_form(words: Iterable[str], form: re.Pattern[str], place: Place, expected: str) -> None:
    for word in words:
        if not form.fullmatch(word):
            raise place.fault(repr(word), expected)


def _check_spoken(entry: Question, place: Place) -> None:
    """The spoken answer takes about 60 seconds in either language."""
    for language, size, allowed, unit in (
        ("en", english_words(entry.answer.en), SPOKEN_WORDS, "words"),
        ("zh", chinese_characters(entry.answer.zh), SPOKEN_CHARACTERS, "characters"),
    ):
        if size not in allowed:
            expected = f"{allowed.start} to {allowed.stop - 1} {unit}, about 60 seconds aloud"
            raise place.at("answer").at(language).fault(f"{size} {unit}", expected)


def english_words(text: str) -> int:
    """How many words a speaker says."""
    return len(text.split())


def chinese_characters(text: str) -> int:
    """How many syllables a speaker says, about: Chinese characters, and two for every Latin word or number."""
    return sum(1 if len(found) == 1 and found >= "一" else 2 for found in _CHINESE_OR_WORD.findall(text))
