"""engine/recordings: one store for what was measured or built earlier, for machines that cannot do it.

In: a frozen value that has a `Provenance` somewhere in it, a name, the command that made it. Out: one JSON file for
each name, gzipped when large, in which every provenance says RECORDED and by which command; and the value again. The
store knows no types: cattrs reads the one that is asked for. tests/engine/test_recordings.py reads every file.
"""

import difflib
import functools
import gzip
import json
import re
import zlib
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from trtlab.engine.measure import Origin, Provenance

FOLDER = Path(__file__).parent
GZIPPED_FROM_BYTES = 2**13
T = TypeVar("T")


class RecordingMissing(LookupError):
    """Nothing was recorded under that name. The message names what was, and the command that records its like."""


def names(start: str = "") -> tuple[str, ...]:
    """Names of the recordings in the package, in order; those alone that begin with `start`."""
    return tuple(sorted({path.name.partition(".")[0] for path in FOLDER.glob(f"{start}*.json*")}))


def save(value: Any, name: str, command: str) -> Path:
    """Write `value` as the recording `name`; the same value gives the same file. ValueError without a Provenance."""
    stamped: list[Provenance] = []

    def stamp(made: Provenance) -> dict[str, Any]:
        stamped.append(made)
        return asdict(made) | {"origin": Origin.RECORDED.value, "command": command}

    stamping = converter().copy()
    stamping.register_unstructure_hook(Provenance, stamp)
    text = json.dumps(stamping.unstructure(value), ensure_ascii=False, indent=1) + "\n"
    if not stamped:
        raise ValueError(f"{name!r} has no Provenance in it: expected one beside the numbers, as of measure.live()")
    data = text.encode("utf-8")
    plain, packed = (FOLDER / f"{name}{suffix}" for suffix in (".json", ".json.gz"))
    path, other = (packed, plain) if len(data) >= GZIPPED_FROM_BYTES else (plain, packed)
    path.write_bytes(gzip.compress(data, mtime=0) if path is packed else data)
    other.unlink(missing_ok=True)
    return path


def load(kind: type[T], name: str) -> T:
    """The recording `name`, which is a `kind`; read once. RecordingMissing, with a way out, when there is none.

    >>> load(Sweep, "sweep-h100").provenance.origin
    <Origin.RECORDED: 'RECORDED'>
    """
    return _load(kind, name, FOLDER)  # type: ignore[arg-type]


@functools.cache
def _load(kind: Any, name: str, folder: Path) -> Any:
    return read(kind, _text(name, folder))


def read(kind: type[T], text: str | bytes, *, without: Collection[str] = ()) -> T:
    """The `kind` that JSON holds, but for the names in `without`. ValueError says what is wrong with any other text."""
    from cattrs import transform_error

    try:
        values = json.loads(text)
        for name in without:
            values.pop(name, None)
        return converter().structure(values, kind)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, ExceptionGroup) as error:
        said = transform_error(error)[:3] if isinstance(error, ExceptionGroup) else [f"{type(error).__name__}: {error}"]
        raise ValueError(
            f"this is not a {kind.__name__} in JSON: {'; '.join(said)}. Expected what was saved."
        ) from error


def _text(name: str, folder: Path) -> str:
    if (path := folder / f"{name}.json.gz").exists():
        try:
            return gzip.decompress(path.read_bytes()).decode("utf-8")
        except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise ValueError(f"the recording {path.name} is damaged: {error}; install the package again") from None
    if (path := folder / f"{name}.json").exists():
        return path.read_text("utf-8")
    near = "".join(difflib.get_close_matches(name, names(), n=1, cutoff=0))
    made = re.search(r'"command": "(.*?)"', _text(near, folder)) if near else None
    way_out = f"{near!r} was made by `{made[1]}`: run that where it can run" if made else "install the package again"
    raise RecordingMissing(f"no recording {name!r}; recorded are {', '.join(names())}. {way_out}")


@functools.cache
def converter() -> Any:
    """Frozen values to plain ones for JSON and back: bytes as text in base85; a surplus key is an error."""
    from cattrs.preconf.json import make_converter

    made = make_converter(forbid_extra_keys=True)
    for kind in (str, int, bool):  # which cattrs would make of anything
        made.register_structure_hook(kind, _exactly)
    return made


def _exactly(value: T, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.80} is no {kind.__name__}")
    return value
