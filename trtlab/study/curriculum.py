"""study/curriculum: the notebooks, in the order in which they answer the sheet's three questions; how far a reader is.

In: words/lessons, words/planned; graded replies. Out: frozen `Lesson`s, those of them that are present in a folder, and
what is planned; a line of a small file in the user's data folder; a score per lesson. Lines are only added, each in one
write, so two notebooks may answer at once; one that cannot be read is passed over.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from trtlab.study import bank
from trtlab.study.bank import Words

ASKED = re.compile(r"""\bquiz\(["']([\w-]+)""")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A notebook: the file's stem, the interview question it answers, what a learner can do afterwards, minutes; what
    is only planned has a question alone."""

    name: str
    question: Words
    outcome: Words = field(default_factory=Words)
    minutes: int = 0


LESSONS = tuple(bank.read("lessons", Lesson).values())


def lessons_in(folder: Path) -> tuple[Lesson, ...]:
    """The lessons whose notebook lies in `folder`. FileNotFoundError when the folder does not exist."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Expected the folder of the notebooks.")
    return tuple(lesson for lesson in LESSONS if (folder / f"{lesson.name}.ipynb").exists())


def planned_in(folder: Path) -> dict[str, Words]:
    """What the notebooks ask that do not lie in `folder` yet, by name."""
    planned = bank.read("planned", Lesson).values()
    return {one.name: one.question for one in planned if not (folder / f"{one.name}.ipynb").exists()}


# --- how far a reader is ----------------------------------------------------------------------------------------------


def progress_file() -> Path:
    """progress.jsonl in TRTLAB_DATA, else in the user's data folder. Delete it to begin again."""
    home = os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA") or Path("~/.local/share").expanduser()
    return Path(os.environ.get("TRTLAB_DATA") or Path(home) / "trtlab") / "progress.jsonl"


def keep_reply(quiz: str, right: bool) -> None:
    """Note a reply. A disk that takes no line is no reason to disturb a learner."""
    line = json.dumps({"quiz": quiz, "right": right, "when": datetime.now(UTC).isoformat(timespec="seconds")})
    with contextlib.suppress(OSError):
        progress_file().parent.mkdir(parents=True, exist_ok=True)
        with progress_file().open("ab", buffering=0) as file:
            file.write(f"\n{line}\n".encode())  # after half a line, too, it stands alone


def scores(folder: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """For each notebook in `folder` that asks: its name, its quizzes, how many were answered, were right at last, and
    right at the first try."""
    known: dict[str, list[bool]] = {}
    with contextlib.suppress(OSError):
        for line in progress_file().read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, LookupError, TypeError):
                reply = json.loads(line)
                known.setdefault(str(reply["quiz"]), []).append(reply["right"] is True)
    for lesson in lessons_in(folder):
        cells = json.loads((folder / f"{lesson.name}.ipynb").read_text("utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        if asked := set(ASKED.findall(code)):
            tried = [known[name] for name in asked if name in known]
            yield lesson.name, len(asked), len(tried), sum(map(any, tried)), sum(replies[0] for replies in tried)
