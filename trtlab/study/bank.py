"""study/bank: the one reader of what is written down: questions, quizzes, claims, calls and lessons, in two languages.

In: the YAML files of a folder in words/, each a table of entries by name (`sources` holds anchors). Out: frozen values
of the type that is asked for. A fault is a `BadEntry`: which file, entry and field, what was found, what is expected.
"""

import difflib
import enum
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import cattrs
import yaml

WORDS = Path(__file__).parent / "words"
LANGUAGES = ("en", "zh")
MISSING = {"en": "(no English yet) ", "zh": "（暂无中文）"}
ANCHORS = "sources"
_WIDE, _STOP = r"[\u3000-\u9fff\uff00-\uffef]", r"[\u3001\u3002\uff00-\uffef]"
_GAP = re.compile(rf"(?<={_WIDE}) (?={_WIDE})|(?<={_STOP}) | (?={_STOP})")
T = TypeVar("T")


class BadEntry(ValueError):
    """An entry that breaks its schema: says the file, the entry, the field, what was found and what is expected."""


class UnknownEntry(LookupError):
    """No entry has this name: says which names are close."""


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C where PyYAML has it: six times as fast


class _NoDuplicates(_LOADER):  # type: ignore[misc]
    """YAML in which no name stands twice in a table: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} stands there twice", node.start_mark)
        table: dict[Any, Any] = super().construct_mapping(node, deep)
        return table


@dataclass(frozen=True, kw_only=True)
class Words:
    """The same words in both languages; `backticks` mark code. A plain string in YAML is the same in both; what is
    written in one alone is shown in the other with a word that it is missing."""

    en: str = ""
    zh: str = ""

    def __post_init__(self) -> None:
        for language, other in (LANGUAGES, LANGUAGES[::-1]):
            if self[other] and not self[language]:
                object.__setattr__(self, language, MISSING[language] + self[other])

    def filled(self, facts: Mapping[str, Any]) -> "Words":
        """The words with each `{place}` filled by the fact of that name, which may be `Words` too. KeyError names a
        fact that is missing."""
        filled = {}
        for language in LANGUAGES:
            spoken = {name: fact[language] if isinstance(fact, Words) else fact for name, fact in facts.items()}
            filled[language] = self[language].format_map(spoken)
        return Words(**filled)

    def then(self, other: "Words") -> "Words":
        """These words and the others in one line."""
        return Words(en=f"{self.en} {other.en}", zh=f"{self.zh}{other.zh}")

    def __getitem__(self, language: str) -> str:
        return str(getattr(self, language))


def read(folder: str, kind: type[T]) -> dict[str, T]:
    """Every entry of words/`folder`, by name, in the order of the files. BadEntry when a file breaks the schema."""
    found: dict[str, T] = {}
    for path in sorted((WORDS / folder).glob("*.yaml")):
        entries = entries_in(path.read_text(encoding="utf-8"), path.name, kind)
        if twice := sorted(entries.keys() & found.keys()):
            raise BadEntry(f"{path.name}, {twice[0]}: another file has an entry of that name; expected one of its own")
        found |= entries
    return found


def entries_in(text: str, file: str, kind: type[T]) -> dict[str, T]:
    """The entries that YAML `text` describes; `file` only names it in errors. BadEntry at the first faulty entry."""
    try:
        entries = yaml.load(text, _NoDuplicates)
    except yaml.YAMLError as error:
        raise BadEntry(f"{file}: no readable YAML ({error})") from error
    if not isinstance(entries, dict) or not set(entries) - {ANCHORS}:
        raise BadEntry(f"{file}: found {_kind_of(entries)}; expected a table of entries by name")
    return {name: _entry(entry, name, file, kind) for name, entry in entries.items() if name != ANCHORS}


def only_entry(text: str, kind: type[T]) -> T:
    """The one entry that a reader's own YAML describes. BadEntry for a fault, and for two."""
    entries = entries_in(text, "your text", kind)
    if len(entries) > 1:
        raise BadEntry(f"your text: found {', '.join(entries)}; expected one entry, a text and a cell for each")
    return next(iter(entries.values()))


def find(entries: Mapping[str, T], name: str, what: str) -> T:
    """The entry of that name. UnknownEntry names the close ones."""
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(str(name), entries, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(entries)}"
    raise UnknownEntry(f"there is no {what} {name!r}; {hint}")


def call(written: Any) -> Callable[..., Any]:
    """What words name: a function of study/truths, alone or as `{name: arguments}`: a list is arguments by place, a
    table of parameters arguments by name, any other table one argument. UnknownEntry names the close ones."""
    name, values = next(iter(written.items())) if isinstance(written, Mapping) else (written, [])
    function = _function(name)
    if isinstance(values, list):
        return functools.partial(function, *values)
    by_name = set(values) <= set(inspect.signature(function).parameters)
    return functools.partial(function, **values) if by_name else functools.partial(function, values)


def _function(name: str) -> Callable[..., Any]:
    """Files are opened until it is found, the usual shapes first: what is about formats opens no build."""
    known: dict[str, Callable[..., Any]] = {}
    files = sorted((Path(__file__).parent / "truths").glob("[!_]*.py"), key=lambda file: (file.stem != "kinds", file))
    for file in files:
        module = importlib.import_module(f"trtlab.study.truths.{file.stem}")
        known |= {each: value for each, value in vars(module).items() if callable(value)}
        if name in known:
            break
    return find(known, name, "function of study/truths")


_phrases = functools.cache(lambda: read("said", Words))


def said(name: str, **facts: Any) -> Words:
    """What cards and grading say, from words/said, with facts in its places."""
    return find(_phrases(), name, "phrase").filled(facts)


def _entry(entry: Any, name: str, file: str, kind: type[T]) -> T:
    if not isinstance(entry, dict):
        raise BadEntry(f"{file}, {name}: found {_kind_of(entry)}; expected the fields {_names(kind)}")
    try:
        return converter().structure(entry if kind is Words else {"name": name} | entry, kind)
    except Exception as error:
        faults = [fault.rpartition(" @ ") for fault in cattrs.transform_error(error, path="", format_exception=_said)]
        said = (f"{', '.join(filter(None, (file, name, path.strip('.'))))}: {fault}" for fault, _, path in faults)
        raise BadEntry("; ".join(said)) from error


def _said(error: BaseException, kind: Any) -> str:
    """One fault in a reader's words."""
    if isinstance(error, KeyError):
        return "required field missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown field {', '.join(map(repr, sorted(error.extra_fields)))}; expected only {_names(error.cl)}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"{error}; expected one of {', '.join(str(member.value) for member in kind)}"
    return str(error)


@functools.cache
def converter() -> cattrs.Converter:
    """Builds frozen values of plain ones: no field may be unknown, missing or empty, no text may be a number."""
    made = cattrs.Converter(forbid_extra_keys=True)
    made.register_structure_hook(str, _text)
    made.register_structure_hook(Words, lambda value, _: _words(value))
    made.register_structure_hook_func(lambda kind: kind is Any, lambda value, _: value)
    made.register_structure_hook_func(
        lambda kind: getattr(kind, "__origin__", None) is tuple,
        lambda value, kind: _tuple(made, get_args(kind)[0], value),
    )
    return made


def _text(value: Any, _: Any) -> str:
    """Lines whose folding left no double spaces, and no gap between Chinese characters."""
    if not isinstance(value, str):
        raise TypeError(f"found {_kind_of(value)}; expected text")
    lines = (_GAP.sub("", " ".join(line.split())) for line in value.splitlines())
    return "\n".join(filter(None, lines))


def _words(value: Any) -> Words:
    both = dict.fromkeys(LANGUAGES, value) if isinstance(value, str) else value
    if not isinstance(both, dict) or not both or set(both) - set(LANGUAGES):
        raise TypeError(f"found {_kind_of(value)}; expected text, or en and zh, or one of them")
    texts = {language: _text(text, str) for language, text in both.items()}
    if empty := [language for language, text in texts.items() if not text]:
        raise ValueError(f"nothing in {' and '.join(empty)}; expected text, or to leave a language out")
    return Words(**texts)


def _tuple(made: cattrs.Converter, kind: Any, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError(f"found {_kind_of(value)}; expected a list with at least one entry")
    return tuple(made.structure(value, list[kind]))


def _kind_of(value: Any) -> str:
    """What stands there, in a reader's words."""
    if value in (None, "", [], {}):
        return "nothing"
    if isinstance(value, dict):
        return f"the fields {', '.join(map(str, value))}"
    return "a list" if isinstance(value, list) else repr(value)


def _names(kind: type) -> str:
    return ", ".join(field.name for field in fields(kind) if field.name != "name")
